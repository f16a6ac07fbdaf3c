//! Checks that a stored document fits the spec: written as a row and read again, it would become the same document.

use bson::{RawBsonRef, RawDocument};

use super::stored::LINEAGE_FIELD;
use crate::spec::{Decimal, Field, FieldType, Node, Presence, Spec, trim};

pub(super) const DAY_MS: i64 = 86_400_000;
/// 0001-01-01 and 10000-01-01. Dates outside this range need a year with more or fewer than four digits.
pub(super) const YEAR_1_MS: i64 = -62_135_596_800_000;
pub(super) const YEAR_10000_MS: i64 = 253_402_300_800_000;

/// Why a document cannot be written as a row of the spec's source: read again, the row would become another document or
/// a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The field's dotted name.
    pub field: String,
    /// The problem. Contains no value.
    pub problem: &'static str,
}

/// Returns the document if it fits the spec: each value matches its field, and there are no other fields.
pub fn fit<'a>(document: &'a [u8], spec: &Spec) -> Result<&'a RawDocument, Misfit> {
    let document = RawDocument::from_bytes(document).map_err(|_| misfit("", "the document is not valid BSON"))?;
    check_values(document, &spec.shape.roots, spec)?;
    let own = document.iter().flatten().filter(|(name, _)| !matches!(name.as_str(), "_id" | LINEAGE_FIELD)).count();
    if own > spec.shape.roots.len() || has_unknown(document, &spec.shape.roots) {
        return Err(misfit("", "the document has fields that the spec does not know"));
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
        let value = value.ok_or_else(|| misfit(first, "there is no such field"))?;
        match node {
            Node::Leaf { field, .. } => check_value(value, &spec.fields[*field])?,
            Node::List { field, .. } => {
                let field = &spec.fields[*field];
                for item in array(value, &field.name, field.presence)? {
                    check_value(item, field)?;
                }
            }
            Node::Group { repeats: None, children, .. } => {
                let inner = value.as_document().ok_or_else(|| misfit(first, "there is no such field"))?;
                check_values(inner, children, spec)?;
            }
            Node::Group { repeats: Some(group), children, .. } => {
                let group = &spec.shape.groups[*group];
                for item in array(value, &group.name, group.presence)? {
                    let item = item.as_document();
                    let item = item.ok_or_else(|| misfit(&group.name, "an item that is not a document"))?;
                    check_values(item, children, spec)?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the items of an array.
fn array<'a>(value: RawBsonRef<'a>, name: &str, presence: Presence) -> Result<Vec<RawBsonRef<'a>>, Misfit> {
    let RawBsonRef::Array(items) = value else { return Err(misfit(name, "another BSON type than the spec's")) };
    let items: Result<Vec<_>, _> = items.into_iter().collect();
    let items = items.map_err(|_| misfit(name, "the document is not valid BSON"))?;
    if items.is_empty() && presence == Presence::Required {
        return Err(misfit(name, "no items, where at least one must be"));
    }
    Ok(items)
}

fn check_value(value: RawBsonRef<'_>, field: &Field) -> Result<(), Misfit> {
    fits(value, field).map_err(|problem| misfit(&field.name, problem))
}

/// Returns true if a nested document has more fields than the spec. All fields of the spec are there.
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
        (_, RawBsonRef::Null) if field.presence == Presence::Required => Err("null, where a value must be"),
        (_, RawBsonRef::Null)
        | (FieldType::Int32(_), RawBsonRef::Int32(_))
        | (FieldType::Int64(_), RawBsonRef::Int64(_))
        | (FieldType::Bool { .. }, RawBsonRef::Boolean(_)) => Ok(()),
        (FieldType::String, RawBsonRef::String(text)) => string_fits(text, field),
        (FieldType::Enum { values, .. }, RawBsonRef::String(text)) => {
            check(values.iter().any(|value| value == text), "a text that is not in the field's list")
        }
        (FieldType::Double(_), RawBsonRef::Double(number)) => check(number.is_finite(), "NaN or infinite"),
        (FieldType::Decimal128(_), RawBsonRef::Decimal128(number)) => {
            check(Decimal::from_bson(number.bytes()).is_some(), "NaN, infinite, or of more than 34 digits")
        }
        (FieldType::Date, RawBsonRef::DateTime(date)) => {
            check(date.timestamp_millis() % DAY_MS == 0, "a date with a time of day")?;
            year_fits(date.timestamp_millis())
        }
        (FieldType::Datetime, RawBsonRef::DateTime(date)) => year_fits(date.timestamp_millis()),
        _ => Err("another BSON type than the spec's"),
    }
}

fn check(holds: bool, problem: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(problem) }
}

/// Checks that the text could be the result of cleaning, which trims texts, turns null markers into null and rejects
/// control characters.
fn string_fits(text: &str, field: &Field) -> Result<(), &'static str> {
    check(!text.is_empty(), "an empty text, which reads as no value")?;
    check(trim(text) == text, "white space around the text, which reading takes away")?;
    let is_control = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n');
    check(!text.bytes().any(is_control), "a control character, which cleaning refuses")?;
    let is_marker = field.null_markers.iter().any(|marker| marker.eq_ignore_ascii_case(text));
    check(!is_marker, "a text that reads as no value")
}

fn year_fits(ms: i64) -> Result<(), &'static str> {
    check((YEAR_1_MS..YEAR_10000_MS).contains(&ms), "a date outside the years 1 to 9999")
}
