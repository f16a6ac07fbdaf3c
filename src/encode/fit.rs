//! Checks that a stored document fits the spec: it can be written as a row, and loading this row gives the same
//! document again. Cleaning rules and constraints are not checked here, because the load that stored the document has
//! applied them. For the document of another program, the check is therefore not complete.

use bson::spec::BinarySubtype;
use bson::{RawBsonRef, RawDocument};

use super::stored::LINEAGE_FIELD;
use crate::parse::dates::{DAY_MS, YEARS_MS};
use crate::spec::{Decimal, Field, FieldType, Node, Presence, Spec, trim};

/// The reason why a stored document does not fit the spec. The document cannot be written as a row, or loading the row
/// would give another document or a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The dotted name of the field.
    pub field: String,
    /// The problem. It contains no value of the document.
    pub problem: &'static str,
}

/// Returns the document if it fits the spec. Besides `_id` and lineage, it must have exactly the fields of the spec,
/// and each value must fit the type of its field.
pub fn fit<'a>(document: &'a [u8], spec: &Spec) -> Result<&'a RawDocument, Misfit> {
    let document = RawDocument::from_bytes(document).map_err(|_| misfit("", "the document is not valid BSON"))?;
    check_values(document, &spec.shape.roots, spec)?;
    let own = document.iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "_id" | LINEAGE_FIELD)).count();
    if own > spec.shape.roots.len() || has_unknown(document, &spec.shape.roots) {
        return Err(misfit("", "the document has fields that are not in the spec"));
    }
    Ok(document)
}

fn misfit(field: &str, problem: &'static str) -> Misfit {
    Misfit { field: field.to_owned(), problem }
}

fn check_values(document: &RawDocument, nodes: &[Node], spec: &Spec) -> Result<(), Misfit> {
    for node in nodes {
        let first = spec.fields[node.first_field()].name.as_str();
        let value = document.get(node.name()).ok().flatten();
        let value = value.ok_or_else(|| misfit(first, "the document does not have this field"))?;
        match node {
            Node::Leaf { field, .. } => check_value(value, &spec.fields[*field])?,
            Node::List { field, .. } => {
                let field = &spec.fields[*field];
                for item in array(value, &field.name, field.presence)? {
                    check_value(item, field)?;
                }
            }
            Node::Group { repeats: None, children, .. } => {
                let inner =
                    value.as_document().ok_or_else(|| misfit(first, "the document does not have this field"))?;
                check_values(inner, children, spec)?;
            }
            Node::Group { repeats: Some(group), children, .. } => {
                let group = &spec.shape.groups[*group];
                for item in array(value, &group.name, group.presence)? {
                    let item = item.as_document();
                    let item =
                        item.ok_or_else(|| misfit(&group.name, "the array has an item that is not a document"))?;
                    check_values(item, children, spec)?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the items of an array, or the reason why the array does not fit.
fn array<'a>(value: RawBsonRef<'a>, name: &str, presence: Presence) -> Result<Vec<RawBsonRef<'a>>, Misfit> {
    let RawBsonRef::Array(items) = value else { return Err(misfit(name, "its BSON type is not that of the spec")) };
    let items: Result<Vec<_>, _> = items.into_iter().collect();
    let items = items.map_err(|_| misfit(name, "the document is not valid BSON"))?;
    if items.is_empty() && presence == Presence::Required {
        return Err(misfit(name, "the array is empty, but the spec requires at least one item"));
    }
    Ok(items)
}

fn check_value(value: RawBsonRef<'_>, field: &Field) -> Result<(), Misfit> {
    fits(value, field).map_err(|problem| misfit(&field.name, problem))
}

/// Returns true if a nested document has fields that are not in the spec. The caller must have checked that all fields
/// of the spec are present.
fn has_unknown(document: &RawDocument, nodes: &[Node]) -> bool {
    let has_more = |inner: &RawDocument, children: &[Node]| {
        inner.iter().flatten().count() > children.len() || has_unknown(inner, children)
    };
    nodes.iter().any(|node| match (node, document.get(node.name()).ok().flatten()) {
        (Node::Group { children, .. }, Some(RawBsonRef::Document(inner))) => has_more(inner, children),
        (Node::Group { children, .. }, Some(RawBsonRef::Array(items))) => {
            items.into_iter().flatten().filter_map(RawBsonRef::as_document).any(|item| has_more(item, children))
        }
        _ => false,
    })
}

fn fits(value: RawBsonRef<'_>, field: &Field) -> Result<(), &'static str> {
    match (&field.kind, value) {
        (_, RawBsonRef::Null) if field.presence == Presence::Required => {
            Err("it is null, but the spec requires a value")
        }
        (_, RawBsonRef::Null)
        | (FieldType::Int32(_), RawBsonRef::Int32(_))
        | (FieldType::Int64(_), RawBsonRef::Int64(_))
        | (FieldType::Bool { .. }, RawBsonRef::Boolean(_))
        | (FieldType::Resource, RawBsonRef::Document(_)) => Ok(()),
        (FieldType::String, RawBsonRef::String(text)) => string_fits(text, field),
        (FieldType::Enum { values, .. }, RawBsonRef::String(text)) => {
            check(values.iter().any(|value| value == text), "its text is not in the list of allowed values")
        }
        (FieldType::Double(_), RawBsonRef::Double(number)) => check(number.is_finite(), "it is NaN or infinite"),
        (FieldType::Decimal128(_), RawBsonRef::Decimal128(number)) => {
            check(Decimal::from_bson(number.bytes()).is_some(), "it is NaN, infinite, or has more than 34 digits")
        }
        (FieldType::Date, RawBsonRef::DateTime(date)) => {
            check(date.timestamp_millis() % DAY_MS == 0, "the date has a time of day")?;
            year_fits(date.timestamp_millis())
        }
        (FieldType::Datetime, RawBsonRef::DateTime(date)) => year_fits(date.timestamp_millis()),
        (FieldType::Whole, RawBsonRef::Binary(whole)) => {
            check(whole.subtype == BinarySubtype::Generic, "the subtype of its binary value is not 0")
        }
        (FieldType::PatientKey, RawBsonRef::Binary(key)) => {
            check(key.subtype == BinarySubtype::Uuid, "its binary value is not a UUID")
        }
        _ => Err("its BSON type is not that of the spec"),
    }
}

fn check(holds: bool, problem: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(problem) }
}

/// Checks that cleaning would neither change nor reject the text. Only the steps for every text are checked: trimming,
/// null markers and control characters. The cleaning rules of the field are not applied.
fn string_fits(text: &str, field: &Field) -> Result<(), &'static str> {
    check(!text.is_empty(), "it is an empty text, which a load reads as null")?;
    check(trim(text) == text, "there is white space around the text, which a load removes")?;
    let is_control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n');
    check(!text.bytes().any(is_control), "the text contains a control character, which a load rejects")?;
    let is_marker = field.null_markers.iter().any(|marker| marker.eq_ignore_ascii_case(text));
    check(!is_marker, "the text is a null marker, which a load reads as null")
}

fn year_fits(ms: i64) -> Result<(), &'static str> {
    check(YEARS_MS.contains(&ms), "the year of the date is not between 1 and 9999")
}
