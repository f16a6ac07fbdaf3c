//! Finds the names of the fields in which documents differ. A second pass over the source reads the expected documents
//! again.

use std::collections::HashMap;

use bson::RawDocument;

use super::report::{DifferingField, Verification};
use super::scan::{Scan, ScanError};
use crate::encode::text::value_at;
use crate::encode::{Digest, Encoded, Id, extended_json, fields_that_differ};

/// Most bytes of documents that are kept for this. Further documents remain listed, but without names of fields.
const WANTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The expected documents whose differing fields are not known yet.
#[derive(Debug, Default)]
pub struct Wanted {
    open: HashMap<Id, Digest>,
    found: HashMap<Id, Vec<u8>>,
    bytes: usize,
}

impl Verification {
    /// The listed documents whose differing fields are not known yet. Offer the source's documents to the result, then
    /// call [`name_fields`].
    pub fn wanted(&self) -> Wanted {
        let unnamed = self.listed.iter().filter(|difference| difference.fields.is_empty());
        Wanted { open: unnamed.filter_map(|difference| difference.wanted).collect(), ..Wanted::default() }
    }
}

impl Wanted {
    /// Returns true if no more documents need to be offered.
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Keeps a copy of `document` if it is wanted.
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

/// Adds the names of the differing fields to the listed documents that `wanted` has found. Each is read again from the
/// collection. A document that was deleted or corrected meanwhile is left unchanged in the list. The values are
/// included only with `show_values`.
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

/// The value with a dotted name, in a form that distinguishes types: `{"$numberInt":"1"}` is not `{"$numberLong":"1"}`.
fn value_of(document: &[u8], name: &str) -> Option<String> {
    value_at(RawDocument::from_bytes(document).ok()?, name).map(extended_json::canonical)
}
