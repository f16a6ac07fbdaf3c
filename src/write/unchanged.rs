//! The queries of [`Step::ReplaceOlder`](super::Step): they find a document only if it is still the one with which a
//! record was compared. The server replaces what they find, so two loads that write at the same time cannot replace a
//! newer document by an older one.
//!
//! The updates with these queries have `upsert: true`. If the document has changed, the query finds nothing. The server
//! then tries to insert the record, and refuses it because the `_id` is taken. Its answer names the refused record.
//! Without `upsert`, the answer would only contain the number of documents that were found.
//!
//! Limit: an update with `upsert` permits no `$expr`, so the query does not notice every change of a document. Inside
//! arrays and nested documents, the int 1 counts as equal to the double 1.0. Everywhere, the decimal 1.0 counts as
//! equal to 1.00. If a document changes only in this way between comparison and replacement, and has the same value as
//! the record in the field that orders them, the change is lost.

use bson::raw::{CString, cstr};
use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};

use crate::encode::{Id, OrderField};

/// Returns the query for a stored document that is older than a record. If the values of `field` show that it is older,
/// `tie_bytes_max` is 0. If only the digests show it, `tie_bytes_max` is the approximate maximum size of the query in
/// bytes.
pub(super) fn unchanged(id: Id, field: &OrderField, stored: &[u8], tie_bytes_max: usize) -> RawDocumentBuf {
    let mut query = rawdoc! { "_id": id.to_binary() };
    // If the values decide, this condition is enough: every document that it finds is older than the record.
    let ordered = field.value(stored).filter(|value| field.orders(*value));
    match ordered {
        Some(value) => append(&mut query, field.name(), &has(value)),
        None => query.append(cstr!("$or"), unordered(field)),
    }
    if tie_bytes_max > 0
        && let Ok(stored) = RawDocument::from_bytes(stored)
    {
        // Otherwise the digests decide, and the server cannot compute them. So all fields must still have the values
        // that were read, and there must be no further fields. Values that do not fit into a command are left out.
        let is_asked = |name: &str| ordered.is_some() && name == field.name();
        let is_plain = |name: &str| {
            !(name == "_id" || name.is_empty() || name.starts_with('$') || name.contains('.') || is_asked(name))
        };
        let fields = i64::try_from(stored.iter().flatten().count()).unwrap_or(i64::MAX);
        query.append(cstr!("$jsonSchema"), rawdoc! { "maxProperties": fields });
        for (name, value) in stored.iter().flatten().filter(|(name, _)| is_plain(name.as_str())) {
            let condition = has(value);
            if query.as_bytes().len() + name.as_str().len() + condition.as_bytes().len() <= tie_bytes_max {
                append(&mut query, name.as_str(), &condition);
            }
        }
    }
    query
}

/// Returns conditions that find the documents without a usable value in the field that orders them. A document is found
/// if one of the conditions is true: the path of the field leads through an array, or the type of the value is not one
/// of `field.types()`. Such a document counts as older than all records with a value.
fn unordered(field: &OrderField) -> RawArrayBuf {
    let mut any = RawArrayBuf::new();
    let name = field.name();
    let ends = name.match_indices('.').map(|(end, _)| end).chain([name.len()]);
    let mut add = |name: &str, condition: &RawDocument| {
        let mut item = RawDocumentBuf::new();
        append(&mut item, name, condition);
        any.push(item);
    };
    ends.for_each(|end| add(&name[..end], &rawdoc! { "$type": "array" }));
    let mut types = RawArrayBuf::new();
    field.types().iter().for_each(|kind| types.push(i32::from(*kind as u8)));
    add(name, &rawdoc! { "$not": { "$type": types } });
    any
}

/// Returns the condition that a field has this value. The server compares numbers of different types by their values,
/// so the type must be equal, too.
fn has(value: RawBsonRef<'_>) -> RawDocumentBuf {
    let mut condition = RawDocumentBuf::new();
    // The server refuses comparisons with the deprecated type `undefined`.
    if !matches!(value, RawBsonRef::Undefined) {
        condition.append(cstr!("$eq"), value);
    }
    // The number of the type `minKey` is -1.
    condition.append(cstr!("$type"), i32::from((value.element_type() as u8).cast_signed()));
    condition
}

fn append(query: &mut RawDocumentBuf, name: &str, condition: &RawDocument) {
    if let Ok(name) = CString::try_from(name) {
        query.append(name, condition.to_owned());
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
        let by_time = doc! { "at.value": { "$eq": at.clone(), "$type": 9 } };
        check(&stored, 0, by_time.clone());
        let mut by_all = by_time.clone();
        by_all.extend(doc! { "$jsonSchema": { "maxProperties": 5_i64 } });
        let mut by_size = by_all.clone();
        by_all.extend(doc! { "id": { "$eq": "x", "$type": 2 }, "at": { "$eq": { "value": at.clone() }, "$type": 3 } });
        check(&stored, 1_000, by_all);
        check(&stored, 70, by_size.clone());
        by_size.extend(doc! { "id": { "$eq": "x", "$type": 2 } });
        check(&stored, 170, by_size);
        // If the stored document has no time, the query finds it only if it still has none.
        let array = |name: &str| Bson::from(doc! { name: { "$type": "array" } });
        let other = doc! { "at.value": { "$not": { "$type": [9] } } };
        let without = doc! { "$or": [array("at"), array("at.value"), other] };
        for value in [Bson::Null, "text".into(), Bson::Undefined, vec![at.clone()].into(), Bson::Double(7.0)] {
            check(&doc! { "_id": 1, "at": { "value": value } }, 0, without.clone());
        }
        check(&doc! { "_id": 1 }, 0, without.clone());
        check(&doc! { "_id": 1, "at": [{ "value": at }] }, 0, without.clone());
        let mut tie = without;
        tie.extend(doc! { "$jsonSchema": { "maxProperties": 3_i64 }, "u": { "$type": 6 }, "m": { "$eq": Bson::MinKey, "$type": -1 } });
        check(&doc! { "_id": 1, "u": Bson::Undefined, "m": Bson::MinKey }, 1_000, tie);
    }
}
