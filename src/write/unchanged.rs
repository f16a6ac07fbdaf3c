//! The queries of [`Step::ReplaceOlder`](super::Step): they find a document only if it is still the one with which a
//! record was compared. The server replaces what they find, so two loads that write at the same time cannot replace a
//! newer document by an older one.
//!
//! Every such update has `upsert: true`. If the document has changed, the query finds nothing, the server tries to
//! insert the record, and refuses it because the `_id` is taken. The answer then names this record. Without `upsert`,
//! it would only contain the number of documents that were found.

use bson::raw::CString;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use crate::encode::{Id, OrderField};

/// Returns the query for a stored document that is older than a record. `is_tie` is true if both have the same value in
/// the field that orders them, so that their digests have decided.
pub(super) fn unchanged(id: Id, field: &OrderField, stored: &[u8], is_tie: bool) -> RawDocumentBuf {
    let mut query = rawdoc! { "_id": id.to_binary() };
    if is_tie {
        // The server cannot compute a digest. So all fields must still have the values that were read.
        if let Ok(stored) = RawDocument::from_bytes(stored) {
            let is_usable =
                |name: &str| !(name == "_id" || name.is_empty() || name.starts_with('$') || name.contains('.'));
            stored.iter().flatten().for_each(|(name, value)| {
                if is_usable(name.as_str()) {
                    require(&mut query, name.as_str(), value);
                }
            });
        }
    } else {
        // Whatever document has this value is older than the record.
        require(&mut query, field.name(), field.value(stored).unwrap_or(RawBsonRef::Null));
    }
    query
}

/// Adds the condition that a field has this value. Null also finds documents without the field.
fn require(query: &mut RawDocumentBuf, name: &str, value: RawBsonRef<'_>) {
    // The server refuses comparisons with the deprecated type `undefined`.
    let value = if matches!(value, RawBsonRef::Undefined) { RawBsonRef::Null } else { value };
    let mut condition = RawDocumentBuf::new();
    condition.append(bson::raw::cstr!("$eq"), value);
    if let Ok(name) = CString::try_from(name) {
        query.append(name, condition);
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, DateTime, doc};

    use super::*;
    use crate::spec::Spec;

    const TOML: &str = "name = 'a'\n[identity]\nfields = ['id']\non_conflict = 'newest'\norder_by = 'at.value'\n\
                        [[field]]\nname = 'id'\ntype = 'string'\nprivacy = 'none'\n\
                        [[field]]\nname = 'at.value'\ntype = 'datetime'\npresence = 'nullable'\nprivacy = 'none'\n";

    #[track_caller]
    fn check(stored: &bson::Document, is_tie: bool, expected: bson::Document) {
        let field = OrderField::of(&Spec::from_toml(TOML, "test").unwrap()).unwrap();
        let stored = bson::serialize_to_vec(stored).unwrap();
        let mut wanted = doc! { "_id": Id([7; 16]).to_binary() };
        wanted.extend(expected);
        let found = unchanged(Id([7; 16]), &field, &stored, is_tie);
        assert_eq!(bson::deserialize_from_slice::<bson::Document>(found.as_bytes()).unwrap(), wanted);
    }

    #[test]
    fn an_older_document_is_found_by_its_time_and_an_equally_old_one_by_all_its_fields() {
        let at: Bson = DateTime::from_millis(5).into();
        let stored =
            doc! { "_id": Id([7; 16]).to_binary(), "id": "x", "at": { "value": at.clone() }, "a.b": 1, "$c": 2 };
        check(&stored, false, doc! { "at.value": { "$eq": at.clone() } });
        check(&stored, true, doc! { "id": { "$eq": "x" }, "at": { "$eq": { "value": at } } });
        check(&doc! { "_id": 1 }, false, doc! { "at.value": { "$eq": Bson::Null } });
        check(&doc! { "_id": 1, "at": { "value": "text" } }, false, doc! { "at.value": { "$eq": "text" } });
        check(
            &doc! { "_id": 1, "at": { "value": Bson::Undefined } },
            false,
            doc! { "at.value": { "$eq": Bson::Null } },
        );
    }
}
