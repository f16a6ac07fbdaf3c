//! The resources of a Bundle by their UUIDs. An entry of a Bundle can have a full URL such as `urn:uuid:…`, and other
//! entries refer to it by this URL.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use super::reference::uuid;

/// The type and the id of the resource behind each `urn:uuid` of a Bundle.
#[derive(Debug, Clone, Default)]
pub struct BundleIds {
    by_uuid: HashMap<[u8; 16], Entry>,
    /// The types of the resources.
    types: Vec<Box<str>>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Index into the types.
    kind: u16,
    /// The id. `None` if it is the UUID.
    id: Option<Box<str>>,
}

/// The parts of a Bundle's entry that identify its resource.
#[derive(Deserialize)]
struct BundleEntry<'e> {
    #[serde(rename = "fullUrl", borrow)]
    full_url: Cow<'e, str>,
    #[serde(borrow)]
    resource: IdOfResource<'e>,
}

#[derive(Deserialize)]
struct IdOfResource<'e> {
    #[serde(rename = "resourceType", borrow)]
    kind: Cow<'e, str>,
    #[serde(borrow)]
    id: Option<Cow<'e, str>>,
}

impl BundleIds {
    /// Adds the resource of an entry, if the entry's full URL is a `urn:uuid`.
    pub(crate) fn add_entry(&mut self, row: &[u8]) {
        let Ok(entry) = serde_json::from_slice::<BundleEntry<'_>>(row) else { return };
        if let Some(uuid) = uuid(&entry.full_url) {
            self.add(uuid, &entry.resource.kind, entry.resource.id.as_deref().unwrap_or(uuid));
        }
    }

    /// Adds a resource. Ignores a text that is not a UUID. If a UUID occurs twice, the first resource counts.
    fn add(&mut self, uuid: &str, kind: &str, id: &str) {
        let Some(bytes) = bytes_of(uuid) else { return };
        let known = self.types.iter().position(|known| **known == *kind);
        let place = known.unwrap_or_else(|| {
            self.types.push(kind.into());
            self.types.len() - 1
        });
        let Ok(kind) = u16::try_from(place) else { return };
        let id = (id != text_of(bytes)).then(|| id.into());
        self.by_uuid.entry(bytes).or_insert(Entry { kind, id });
    }

    /// Returns true if no entry has a `urn:uuid`.
    pub fn is_empty(&self) -> bool {
        self.by_uuid.is_empty()
    }

    /// Appends the type and the id of the resource with this UUID, as `Type/id`. Returns `None` if there is none.
    pub(super) fn write(&self, uuid: &str, out: &mut String) -> Option<()> {
        let bytes = bytes_of(uuid)?;
        let Entry { kind, id } = self.by_uuid.get(&bytes)?;
        out.push_str(&self.types[usize::from(*kind)]);
        out.push('/');
        match id {
            Some(id) => out.push_str(id),
            None => out.push_str(&text_of(bytes)),
        }
        Some(())
    }
}

fn bytes_of(uuid: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').map(digit).collect::<Option<_>>()?;
    let pairs: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    if digits.len() == 32 { pairs.try_into().ok() } else { None }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

fn text_of(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let digits = format!("{number:032x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_leads_to_the_first_resource_that_has_it() {
        let mut ids = BundleIds::default();
        assert!(ids.is_empty());
        let uuid = "0123abcd-4567-89ef-0123-456789abcdef";
        ids.add(uuid, "Patient", uuid);
        ids.add(&uuid.to_uppercase(), "Patient", "later");
        ids.add("ffffffff-4567-89ef-0123-456789abcdef", "Encounter", "e1");
        ids.add("no-uuid", "Patient", "p");
        let found = |uuid: &str| {
            let mut out = String::new();
            ids.write(uuid, &mut out).map(|()| out)
        };
        assert_eq!(found(&uuid.to_uppercase()), Some(format!("Patient/{uuid}")));
        assert_eq!(found("ffffffff-4567-89ef-0123-456789abcdef").as_deref(), Some("Encounter/e1"));
        assert_eq!([found("no-uuid"), found("00000000-4567-89ef-0123-456789abcdef")], [None, None]);
    }
}
