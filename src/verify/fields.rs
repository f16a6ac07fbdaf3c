//! Finds the names of the fields that differ, for the listed differences. The expected documents are read again from
//! the sources.

use std::collections::HashMap;

use bson::RawDocument;

use super::report::{DifferingField, Verification};
use super::scan::{Scan, ScanError};
use crate::encode::{Digest, Encoded, Id, extended_json, fields_that_differ, value_at};

/// Maximum size of the expected documents in memory. Differences beyond this size are reported without the names of
/// fields.
const WANTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Expected documents to find again in the sources, by `_id` and digest. They are needed to name the fields in which
/// the stored documents differ.
#[derive(Debug, Default)]
pub struct Wanted {
    open: HashMap<Id, Digest>,
    found: HashMap<Id, Vec<u8>>,
    bytes: usize,
}

impl Verification {
    /// Returns which documents to look for in the sources: the expected documents of those listed differences that do
    /// not name their differing fields yet. Pass each document of the sources to [`offer`](Wanted::offer). Then call
    /// [`name_fields`].
    pub fn wanted(&self) -> Wanted {
        let unnamed = self.listed.iter().filter(|difference| difference.fields.is_empty());
        Wanted { open: unnamed.filter_map(|difference| difference.wanted).collect(), ..Wanted::default() }
    }
}

impl Wanted {
    /// Returns true if all documents were found.
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Stores a copy of `document` if the list contains it. If the copies would exceed 64 MiB, only notes that the
    /// document was found.
    pub fn offer(&mut self, encoded: &Encoded, document: &[u8]) {
        if self.open.get(&encoded.id) != Some(&encoded.digest) {
            return;
        }
        self.open.remove(&encoded.id);
        self.bytes += document.len();
        if self.bytes <= WANTED_BYTES_MAX {
            self.found.insert(encoded.id, document.to_vec());
        }
    }
}

/// Adds the names of the differing fields to each listed difference. Skips a difference if its expected document was
/// not found. Reads the stored documents again. If a stored document is now deleted or equal, its difference stays in
/// the list, without names. Adds the values only if `show_values` is true.
pub async fn name_fields(
    scan: &Scan,
    verification: &mut Verification,
    wanted: &Wanted,
    show_values: bool,
) -> Result<(), ScanError> {
    for difference in &mut verification.listed {
        let Some((id, _)) = difference.wanted else { continue };
        let Some(expected) = wanted.found.get(&id) else { continue };
        let Some(stored) = scan.document(id).await? else { continue };
        let names = fields_that_differ(expected, stored.as_bytes());
        let value = |document: &[u8], name: &str| show_values.then(|| value_of(document, name)).flatten();
        let field = |name: String| DifferingField {
            expected: value(expected, &name),
            stored: value(stored.as_bytes(), &name),
            name,
        };
        difference.fields = names.into_iter().map(field).collect();
    }
    Ok(())
}

/// Returns the value of the field `name` as text that shows the type: `{"$numberInt":"1"}` is another value than
/// `{"$numberLong":"1"}`.
fn value_of(document: &[u8], name: &str) -> Option<String> {
    value_at(RawDocument::from_bytes(document).ok()?, name).map(extended_json::canonical)
}

#[cfg(test)]
mod tests {
    use super::super::report::{Difference, Kind};
    use super::*;

    fn listed(id: u8, digest: Option<u128>, fields: Vec<DifferingField>) -> Difference {
        let wanted = digest.map(|digest| (Id([id; 16]), Digest(digest)));
        Difference { kind: Kind::Different, id: String::new(), rows: Vec::new(), fields, wanted }
    }

    fn offer(wanted: &mut Wanted, id: u8, digest: u128, document: &[u8]) {
        wanted.offer(&Encoded { id: Id([id; 16]), digest: Digest(digest), len: document.len() }, document);
    }

    #[test]
    fn of_several_records_with_one_id_only_the_expected_one_is_stored() {
        let named = DifferingField { name: "Age".to_owned(), expected: None, stored: None };
        let found = Verification {
            listed: vec![
                listed(1, Some(10), Vec::new()),
                listed(2, Some(20), Vec::new()),
                listed(3, None, Vec::new()),
                listed(4, Some(40), vec![named]),
            ],
            ..Verification::default()
        };
        let mut wanted = found.wanted();
        offer(&mut wanted, 1, 11, b"another content");
        offer(&mut wanted, 2, 10, b"another record's content");
        offer(&mut wanted, 4, 40, b"named before");
        assert!(wanted.found.is_empty() && !wanted.is_complete());
        offer(&mut wanted, 1, 10, b"first");
        offer(&mut wanted, 1, 10, b"again");
        assert!(!wanted.is_complete());
        offer(&mut wanted, 2, 20, b"second");
        assert!(wanted.is_complete());
        let document = |id: u8| wanted.found.get(&Id([id; 16])).map(Vec::as_slice);
        assert_eq!((document(1), document(2), wanted.found.len()), (Some(&b"first"[..]), Some(&b"second"[..]), 2));
    }

    #[test]
    fn documents_are_kept_up_to_64_mib() {
        let check = |before: usize, length: usize, is_kept: bool| {
            let open = HashMap::from([(Id([1; 16]), Digest(1))]);
            let mut wanted = Wanted { open, bytes: before, ..Wanted::default() };
            offer(&mut wanted, 1, 1, &vec![0; length]);
            assert_eq!((wanted.is_complete(), wanted.found.len()), (true, usize::from(is_kept)));
        };
        check((64 << 20) - 3, 3, true);
        check((64 << 20) - 3, 4, false);
    }

    #[test]
    fn a_value_is_shown_with_its_type() {
        let document = bson::serialize_to_vec(&bson::doc! { "a": { "b": 1_i64 }, "c": 1 }).expect("BSON");
        assert_eq!(value_of(&document, "a.b").as_deref(), Some(r#"{"$numberLong":"1"}"#));
        assert_eq!(value_of(&document, "c").as_deref(), Some(r#"{"$numberInt":"1"}"#));
        assert_eq!((value_of(&document, "a.d"), value_of(&document[1..], "c")), (None, None));
    }
}
