//! Names the fields of documents that differ, in a second pass over the source for these documents alone.

use std::collections::HashMap;

use bson::RawDocument;

use super::report::{DifferingField, Verification};
use super::scan::{Scan, ScanError};
use crate::encode::text::value_at;
use crate::encode::{Digest, Encoded, Id, extended_json, fields_that_differ};

/// Most bytes of documents that wait for their fields to be named. What comes after goes unnamed, but stays listed.
const WANTED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The expected documents whose fields are to be named.
#[derive(Debug, Default)]
pub struct Wanted {
    open: HashMap<Id, Digest>,
    found: HashMap<Id, Vec<u8>>,
    bytes: usize,
}

impl Verification {
    /// The listed documents whose differing fields are not named yet: offer them the source's documents, then call
    /// [`name_fields`].
    pub fn wanted(&self) -> Wanted {
        let unnamed = self.listed.iter().filter(|difference| difference.fields.is_empty());
        Wanted { open: unnamed.filter_map(|difference| difference.wanted).collect(), ..Wanted::default() }
    }
}

impl Wanted {
    /// Whether no further document needs to be offered.
    pub fn is_complete(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes a copy of `document` if it is wanted.
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

/// Names the differing fields of the listed documents that `wanted` got hold of, reading each from the collection anew.
/// One that was deleted or mended meanwhile stays as it is. Values stand beside the names only with `show_values`.
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

/// The value under a dotted name, which tells types apart: `{"$numberInt":"1"}` is not `{"$numberLong":"1"}`.
fn value_of(document: &[u8], name: &str) -> Option<String> {
    value_at(RawDocument::from_bytes(document).ok()?, name).map(extended_json::canonical)
}
