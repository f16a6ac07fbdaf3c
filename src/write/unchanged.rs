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

/// Returns the query for a stored document that is older than a record. `tie_bytes_max` is 0 if their values in the field
/// that orders them decide. Otherwise these values are equal, and the query has at most about this many bytes.
pub(super) fn unchanged(id: Id, field: &OrderField, stored: &[u8], tie_bytes_max: usize) -> RawDocumentBuf {
    let mut query = rawdoc! { "_id": id.to_binary() };
    // Whatever document has this value is older than the record, if the values decide.
    require(&mut query, field.name(), field.value(stored).unwrap_or(RawBsonRef::Null));
    if tie_bytes_max > 0
        && let Ok(stored) = RawDocument::from_bytes(stored)
    {
        // Otherwise the digests decide, and the server cannot compute them. So all fields must still have the values
        // that were read. Values that do not fit into a command are left out.
        let is_plain = |name: &str| {
            !(name == "_id" || name == field.name() || name.is_empty() || name.starts_with('$') || name.contains('.'))
        };
        for (name, value) in stored.iter().flatten().filter(|(name, _)| is_plain(name.as_str())) {
            let before = query.clone();
            require(&mut query, name.as_str(), value);
            if query.as_bytes().len() > tie_bytes_max {
                query = before;
            }
        }
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
    fn check(stored: &bson::Document, tie_bytes_max: usize, expected: bson::Document) {
        let field = OrderField::of(&Spec::from_toml(TOML, "test").unwrap()).unwrap();
        let stored = bson::serialize_to_vec(stored).unwrap();
        let mut wanted = doc! { "_id": Id([7; 16]).to_binary() };
        wanted.extend(expected);
        let found = unchanged(Id([7; 16]), &field, &stored, tie_bytes_max);
        assert_eq!(bson::deserialize_from_slice::<bson::Document>(found.as_bytes()).unwrap(), wanted);
    }

    #[test]
    fn an_older_document_is_found_by_its_time_and_an_equally_old_one_by_all_its_fields() {
        let at: Bson = DateTime::from_millis(5).into();
        let stored =
            doc! { "_id": Id([7; 16]).to_binary(), "id": "x", "at": { "value": at.clone() }, "a.b": 1, "$c": 2 };
        let by_time = doc! { "at.value": { "$eq": at.clone() } };
        check(&stored, 0, by_time.clone());
        let mut by_all = by_time.clone();
        by_all.extend(doc! { "id": { "$eq": "x" }, "at": { "$eq": { "value": at } } });
        check(&stored, 1_000, by_all);
        check(&stored, 70, by_time);
        check(&doc! { "_id": 1 }, 0, doc! { "at.value": { "$eq": Bson::Null } });
        check(&doc! { "_id": 1, "at": { "value": "text" } }, 0, doc! { "at.value": { "$eq": "text" } });
        check(&doc! { "_id": 1, "at": { "value": Bson::Undefined } }, 0, doc! { "at.value": { "$eq": Bson::Null } });
    }
}
