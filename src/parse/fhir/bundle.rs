//! The resources of the Bundles of a source by their full URLs. An entry of a Bundle can have a full URL such as
//! `urn:uuid:…`, and other entries of the same Bundle refer to it by this URL.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use serde::Deserialize;

use super::reference::{id_of, literal, uuid};

/// The type and the id of the resource behind each full URL of a Bundle. URLs that end with a type and an id are left
/// out, because they need no Bundle.
#[derive(Debug, Clone, Default)]
pub struct BundleIds {
    /// The key is the number of the Bundle, and the URL.
    by_url: HashMap<(u32, Url), Entry>,
    /// The types of the resources.
    types: Vec<Box<str>>,
}

/// A full URL. Most are UUIDs, which need less memory without their text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Url {
    Uuid([u8; 16]),
    Text(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    /// Index into the types. `None` if resources with different ids have the URL.
    kind: Option<u16>,
    /// The id. `None` if the id is the UUID in the URL.
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
    /// Adds the resource of an entry of the Bundle with this number.
    pub(crate) fn add_entry(&mut self, bundle: u32, row: &[u8]) {
        let Ok(entry) = serde_json::from_slice::<BundleEntry<'_>>(row) else { return };
        if literal(&entry.full_url).is_none()
            && let Some(id) = id_of(entry.resource.id.as_deref(), Some(&entry.full_url))
        {
            self.add((bundle, &entry.full_url), &entry.resource.kind, id);
        }
    }

    /// Adds a resource. If resources with different ids have the same URL, it leads to none of them.
    fn add(&mut self, (bundle, url): (u32, &str), kind: &str, id: &str) {
        let known = self.types.iter().position(|known| **known == *kind);
        let place = known.unwrap_or_else(|| {
            self.types.push(kind.into());
            self.types.len() - 1
        });
        let Ok(kind) = u16::try_from(place) else { return };
        let url = Url::of(url);
        let is_uuid = matches!(url, Url::Uuid(bytes) if id == text_of(bytes));
        let entry = Entry { kind: Some(kind), id: (!is_uuid).then(|| id.into()) };
        match self.by_url.entry((bundle, url)) {
            Slot::Occupied(known) if *known.get() == entry => {}
            Slot::Occupied(mut known) => *known.get_mut() = Entry { kind: None, id: None },
            Slot::Vacant(new) => _ = new.insert(entry),
        }
    }

    /// Returns true if no entry has a URL that is needed.
    pub fn is_empty(&self) -> bool {
        self.by_url.is_empty()
    }

    /// Appends the type and the id of the resource with this URL in a Bundle, as `Type/id`. Returns `None` if there is
    /// none.
    pub(super) fn write(&self, bundle: u32, url: &str, out: &mut String) -> Option<()> {
        let key = (bundle, Url::of(url));
        let Entry { kind, id } = self.by_url.get(&key)?;
        out.push_str(&self.types[usize::from((*kind)?)]);
        out.push('/');
        match (id, key.1) {
            (Some(id), _) => out.push_str(id),
            (None, Url::Uuid(bytes)) => out.push_str(&text_of(bytes)),
            (None, Url::Text(text)) => out.push_str(&text),
        }
        Some(())
    }
}

impl Url {
    fn of(text: &str) -> Self {
        uuid(text).and_then(bytes_of).map_or_else(|| Self::Text(text.into()), Self::Uuid)
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

    const UUID: &str = "urn:uuid:0123abcd-4567-89ef-0123-456789abcdef";

    fn found(ids: &BundleIds, bundle: u32, url: &str) -> Option<String> {
        let mut out = String::new();
        ids.write(bundle, url, &mut out).map(|()| out)
    }

    fn entry(url: &str, kind: &str, id: &str) -> Vec<u8> {
        let id = if id.is_empty() { String::new() } else { format!(",\"id\":\"{id}\"") };
        format!("{{\"fullUrl\":\"{url}\",\"resource\":{{\"resourceType\":\"{kind}\"{id}}}}}").into_bytes()
    }

    #[test]
    fn a_full_url_leads_to_the_resource_of_its_own_bundle() {
        let mut ids = BundleIds::default();
        assert!(ids.is_empty());
        for (bundle, url, kind, id) in [
            (1, UUID, "Patient", "a"),
            (2, UUID, "Patient", " b "),
            (1, "urn:uuid:ffffffff-4567-89ef-0123-456789abcdef", "Encounter", ""),
            (1, "urn:uuid:p1", "Patient", ""),
            (1, "urn:oid:1.2", "Patient", "c"),
            (1, "https://x.example/y", "Patient", "d"),
            (1, "https://x.example/Patient/e", "Patient", "e"),
            (1, "urn:oid:1.3", "Patient", ""),
        ] {
            ids.add_entry(bundle, &entry(url, kind, id));
        }
        for (bundle, url, expected) in [
            (1, UUID, Some("Patient/a")),
            (2, UUID, Some("Patient/b")),
            (3, UUID, None),
            (
                1,
                "urn:uuid:FFFFFFFF-4567-89ef-0123-456789ABCDEF",
                Some("Encounter/ffffffff-4567-89ef-0123-456789abcdef"),
            ),
            (1, "urn:uuid:p1", Some("Patient/p1")),
            (1, "urn:oid:1.2", Some("Patient/c")),
            (1, "https://x.example/y", Some("Patient/d")),
            (1, "https://x.example/Patient/e", None),
            (1, "urn:oid:1.3", None),
        ] {
            assert_eq!(found(&ids, bundle, url).as_deref(), expected, "{bundle} {url}");
        }
    }

    #[test]
    fn a_full_url_of_two_resources_leads_to_none() {
        let mut ids = BundleIds::default();
        for id in ["a", "a"] {
            ids.add_entry(1, &entry(UUID, "Patient", id));
        }
        assert_eq!(found(&ids, 1, UUID).as_deref(), Some("Patient/a"), "two versions of one resource");
        for id in ["b", "a"] {
            ids.add_entry(1, &entry(UUID, "Patient", id));
        }
        assert_eq!(found(&ids, 1, UUID), None);
    }
}
