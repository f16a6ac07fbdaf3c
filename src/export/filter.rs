//! Compares the filter of an export with the spec. Reason: a filter with a misspelled field, or with a value of another
//! type than the field, usually matches no document. The server reports no error for such a filter.

use bson::{Bson, Document};

use crate::encode::LINEAGE_FIELD;
use crate::spec::{FieldType, Spec, closest};

/// The types of values that this check distinguishes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Text,
    Number,
    Bool,
    Date,
    Binary,
    Uuid,
    Any,
}

/// Returns one sentence for each part of the filter that names an unknown field, or that compares a field with a value
/// of another type. A sentence names fields and types, but no value of the filter.
///
/// An unknown field or another type is not an error, because other programs may have stored documents with fields and
/// types that the spec does not have.
pub fn filter_doubts(filter: &Document, spec: &Spec) -> Vec<String> {
    let mut doubts = Vec::new();
    add_doubts(filter, spec, &mut doubts);
    doubts.dedup();
    doubts
}

fn add_doubts(filter: &Document, spec: &Spec, doubts: &mut Vec<String>) {
    for (key, value) in filter {
        match value {
            Bson::Array(parts) if matches!(key.as_str(), "$and" | "$or" | "$nor") => {
                parts.iter().filter_map(Bson::as_document).for_each(|part| add_doubts(part, spec, doubts));
            }
            _ if key.starts_with('$') => {}
            _ => add_doubts_of_field(key, value, spec, doubts),
        }
    }
}

fn add_doubts_of_field(path: &str, value: &Bson, spec: &Spec, doubts: &mut Vec<String>) {
    // A number in a path is a position in an array, and not part of a name: `names.0.family`.
    let is_name = |part: &&str| part.parse::<usize>().is_err();
    let name = path.split('.').filter(is_name).collect::<Vec<_>>().join(".");
    let is_below = |above: &str, below: &str| below.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'));
    if name == "_id" {
        add_doubts_of_value(path, Wanted::Uuid, value, doubts);
    } else if let Some(field) = spec.fields.iter().find(|field| field.name == name) {
        add_doubts_of_value(path, wanted(&field.kind), value, doubts);
    } else if name != LINEAGE_FIELD
        && !is_below(LINEAGE_FIELD, &name)
        && !spec.fields.iter().any(|field| is_below(&name, &field.name))
        && !spec.whole().is_some_and(|whole| is_below(&whole.name, &name))
    {
        let nearest = closest(&name, spec.fields.iter().map(|field| field.name.as_str()));
        let nearest = nearest.map_or_else(String::new, |nearest| format!("; did you mean `{nearest}`?"));
        doubts.push(format!("the spec has no field `{path}`{nearest}"));
    }
}

/// Adds a sentence if the filter compares the field with a value of another type.
fn add_doubts_of_value(path: &str, wanted: Wanted, value: &Bson, doubts: &mut Vec<String>) {
    let Bson::Document(operators) = value else {
        doubts.extend(doubt(path, wanted, value));
        return;
    };
    for (operator, value) in operators {
        match (operator.as_str(), value) {
            ("$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte" | "$not", _) => {
                add_doubts_of_value(path, wanted, value, doubts);
            }
            ("$in" | "$nin", Bson::Array(values)) => {
                for value in values {
                    add_doubts_of_value(path, wanted, value, doubts);
                }
            }
            _ => {}
        }
    }
}

fn doubt(path: &str, wanted: Wanted, value: &Bson) -> Option<String> {
    let (found, kind) = match value {
        Bson::String(_) => (Some(Wanted::Text), "a text"),
        Bson::RegularExpression(_) => (Some(Wanted::Text), "a pattern"),
        Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_) | Bson::Decimal128(_) => (Some(Wanted::Number), "a number"),
        Bson::Boolean(_) => (Some(Wanted::Bool), "true or false"),
        Bson::DateTime(_) => (Some(Wanted::Date), "a date"),
        Bson::Binary(_) => (Some(Wanted::Uuid), "a binary value"),
        Bson::ObjectId(_) => (None, "an ObjectId"),
        _ => return None,
    };
    // A filter may compare the `_id` with an ObjectId, because documents of other programs can have such an `_id`.
    let is_binary = wanted == Wanted::Binary && found == Some(Wanted::Uuid);
    if wanted == Wanted::Any || found == Some(wanted) || is_binary || wanted == Wanted::Uuid && found.is_none() {
        return None;
    }
    let (is, write) = match wanted {
        Wanted::Text => ("a text", "write it in double quotes"),
        Wanted::Number => ("a number", "write it without quotes"),
        Wanted::Bool => ("true or false", "write it without quotes"),
        Wanted::Date => ("a date", "write it as {\"$date\": \"2024-01-31T00:00:00Z\"}"),
        Wanted::Binary => ("a binary value", "write it as {\"$binary\": {\"base64\": \"TVNI\", \"subType\": \"00\"}}"),
        Wanted::Any => return None,
        Wanted::Uuid => ("a UUID", "write it as {\"$uuid\": \"00000000-0000-8000-8000-000000000000\"}"),
    };
    Some(format!("the field `{path}` is {is}, but the filter compares it with {kind}, which never matches; {write}"))
}

const fn wanted(kind: &FieldType) -> Wanted {
    match kind {
        FieldType::String | FieldType::Enum { .. } => Wanted::Text,
        FieldType::Int32(_) | FieldType::Int64(_) | FieldType::Double(_) | FieldType::Decimal128(_) => Wanted::Number,
        FieldType::Bool { .. } => Wanted::Bool,
        FieldType::Date | FieldType::Datetime => Wanted::Date,
        FieldType::Whole => Wanted::Binary,
        // The spec says nothing about the values in a resource.
        FieldType::Resource => Wanted::Any,
        FieldType::PatientKey => Wanted::Uuid,
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, Uuid, doc};

    use super::*;

    fn spec() -> Spec {
        let field =
            |name: &str, kind: &str| format!("[[field]]\nname = \"{name}\"\ntype = {kind}\nprivacy = \"none\"\n");
        let fields = [
            field("Full Name", "\"string\""),
            field("Age", "\"int32\""),
            field("Born", "\"date\""),
            field("Alive", "\"bool\""),
            field("Stay.Ward", "\"string\""),
        ];
        Spec::from_toml(&format!("name = \"t\"\n{}", fields.concat()), "test").expect("a spec")
    }

    #[test]
    fn a_filter_that_fits_the_spec_has_no_doubts() {
        let day = DateTime::from_millis(0);
        for filter in [
            doc! {},
            doc! { "Full Name": "Canary", "Age": 3, "Born": day, "Alive": true },
            doc! { "Age": { "$gte": 3_i64, "$lt": 5.5, "$exists": true }, "Born": null },
            doc! { "Stay": { "Ward": "Canary" }, "Stay.Ward": { "$in": ["Canary", null] } },
            doc! { "Stay.0.Ward": { "$regex": "^C", "$options": "i" } },
            doc! { "$or": [{ "Age": 1 }, { "$and": [{ "Born": { "$gt": day } }] }], "$comment": "x" },
            doc! { "_id": Uuid::new(), "_medlift.run": Uuid::new(), "_medlift": { "$exists": false } },
            doc! { "_id": bson::oid::ObjectId::new() },
        ] {
            assert_eq!(filter_doubts(&filter, &spec()), Vec::<String>::new(), "{filter}");
        }
    }

    #[test]
    fn unknown_fields_and_other_types_are_named_without_values() {
        let check = |filter: Document, parts: &[&str]| {
            let found = filter_doubts(&filter, &spec());
            assert_eq!(found.len(), parts.len(), "{found:?}");
            for (doubt, part) in found.iter().zip(parts) {
                assert!(doubt.contains(part) && !doubt.contains("Canary"), "{doubt}");
            }
        };
        check(doc! { "FullName": "Canary" }, &["no field `FullName`; did you mean `Full Name`?"]);
        check(doc! { "Zzyzx Road": 1 }, &["no field `Zzyzx Road`"]);
        check(doc! { "Stay.Wart": "Canary", "Stay.Ward.x": 1 }, &["mean `Stay.Ward`?", "no field `Stay.Ward.x`"]);
        let date =
            "`Born` is a date, but the filter compares it with a text, which never matches; write it as {\"$date\"";
        check(doc! { "Born": "Canary" }, &[date]);
        check(doc! { "Born": { "$gte": "Canary", "$lt": "Canary" } }, &[date]);
        check(doc! { "$nor": [{ "Born": { "$not": { "$gte": 5 } } }] }, &["compares it with a number"]);
        check(doc! { "Age": { "$in": ["Canary", 3] } }, &["`Age` is a number"]);
        check(doc! { "Alive": "Canary" }, &["`Alive` is true or false"]);
        check(doc! { "Full Name": 7 }, &["`Full Name` is a text"]);
        check(doc! { "_id": "Canary" }, &["`_id` is a UUID"]);
    }
}
