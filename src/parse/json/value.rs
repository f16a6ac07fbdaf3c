//! The text of a JSON value, as a CSV cell would contain it.

use std::borrow::Cow;

use super::walk::walk;
use crate::parse::dates::iso_text;
use crate::reject::{Reason, Reject};
use crate::spec::{Column, Field, FieldType, same_spelling};

/// The notation in which a column expects numbers and booleans: `1,5` for the JSON number 1.5, or `ja` for true. The
/// notation is needed because the cleaner reads every cell by the rules of the spec, even if the source is JSON.
#[derive(Debug, Clone, Default)]
pub(in crate::parse) struct Spelling {
    /// True if the cell is the JSON text of an array.
    pub(super) is_array: bool,
    /// True if JSON numbers must be written with a decimal comma, false if with a decimal point. `None` if no field of
    /// the column requires one of the two.
    decimal_comma: Option<bool>,
    /// The words for true and false that every boolean field of the column accepts. `None` if the column has no boolean
    /// field.
    words: Option<Words>,
    /// True if no text can be right for all fields of the column. One field needs a decimal comma and another a decimal
    /// point, or the fields have no common word for true or for false.
    pub(super) is_contradictory: bool,
}

/// The words for true and false.
#[derive(Debug, Clone)]
struct Words {
    truthy: Vec<String>,
    falsy: Vec<String>,
}

impl Spelling {
    pub(super) fn of_column(column: &Column<'_>, fields: &[Field]) -> Self {
        if column.node.is_array() {
            return Self { is_array: true, ..Self::default() };
        }
        Self::of(&fields[column.field])
    }

    pub(in crate::parse) fn of(field: &Field) -> Self {
        match &field.kind {
            FieldType::Int32(format) | FieldType::Int64(format) => {
                // The JSON number 1.234 is not an integer. If the field's thousands separator is `.`, the text `1.234`
                // would be read as 1234. Therefore the cell gets the text `1,234`, which is then refused.
                let decimal_comma = match format.thousands {
                    Some(',') => Some(false),
                    Some('.') => Some(true),
                    _ => None,
                };
                Self { decimal_comma, ..Self::default() }
            }
            FieldType::Double(format) | FieldType::Decimal128(format) => {
                Self { decimal_comma: Some(format.decimal_comma), ..Self::default() }
            }
            FieldType::Bool { truthy, falsy } => {
                let words = Words { truthy: truthy.clone(), falsy: falsy.clone() };
                Self { words: Some(words), ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    /// Adds the notation of another field that reads the same column. The two fields belong to different kinds of
    /// documents.
    pub(super) fn join(&mut self, other: Self) {
        let has_other_mark =
            matches!((self.decimal_comma, other.decimal_comma), (Some(mark), Some(other)) if mark != other);
        self.decimal_comma = self.decimal_comma.or(other.decimal_comma);
        let words_are_shared = match (&mut self.words, other.words) {
            (Some(words), Some(other)) => words.keep_shared(&other),
            (words, other) => {
                *words = words.take().or(other);
                true
            }
        };
        self.is_contradictory |= has_other_mark || !words_are_shared;
    }

    /// Converts a JSON value to the notation of the column, for example `true` to the column's word for true, or `1.5`
    /// to `1,5`. `value` is the JSON text, and `text` is what [`scalar`] returned for it.
    pub(in crate::parse) fn spell<'t>(&self, value: &str, text: Text<'t>) -> Text<'t> {
        let first = |words: &[String]| Text::Owned(words.first().cloned().unwrap_or_default());
        match (value, &self.words) {
            ("true", Some(words)) => first(&words.truthy),
            ("false", Some(words)) => first(&words.falsy),
            _ if self.decimal_comma == Some(true) && is_number(value) => Text::Owned(text.as_str().replace('.', ",")),
            _ => text,
        }
    }
}

impl Words {
    /// Removes the words that `other` lacks. Returns true if at least one word for true and one word for false are
    /// left.
    fn keep_shared(&mut self, other: &Self) -> bool {
        let lists = [(&mut self.truthy, &other.truthy), (&mut self.falsy, &other.falsy)];
        lists.into_iter().all(|(words, others)| {
            words.retain(|word| others.iter().any(|other| same_spelling(word, other)));
            !words.is_empty()
        })
    }
}

/// Returns true if the value is a number in JSON or in Extended JSON.
fn is_number(value: &str) -> bool {
    let inside = value.trim_start_matches(|letter: char| letter == '{' || letter.is_ascii_whitespace());
    value.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit()) || inside.starts_with("\"$number")
}

/// The text of a cell.
#[derive(Clone)]
pub(in crate::parse) enum Text<'t> {
    Borrowed(&'t str),
    Owned(String),
}

impl Text<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Owned(text) => text,
        }
    }
}

/// Returns the text of a value. `value` must be valid JSON.
///
/// # Errors
/// The value is an array, an object that is not a number or date of Extended JSON, a string with a wrong escape, or a
/// date outside the years 1 to 9999.
pub(in crate::parse) fn scalar(value: &str) -> Result<Text<'_>, Reject> {
    match value.as_bytes() {
        [b'"', ..] => string(value),
        [b'n', ..] => Ok(Text::Borrowed("")),
        [b'{', ..] if is_extended(value) => extended(value),
        [b'{' | b'[', ..] => Err(unfit("is an object or an array")),
        _ => Ok(Text::Borrowed(value)),
    }
}

fn unfit(what: &str) -> Reject {
    reject(None, Reason::NotJson, format!("the value {what} where a string, number, boolean, date or null is expected"))
}

/// Returns the text of a JSON string without its quotes, with its escapes replaced by the characters.
fn string(value: &str) -> Result<Text<'_>, Reject> {
    let inside = value.get(1..value.len() - 1).unwrap_or_default();
    if !inside.contains('\\') {
        return Ok(Text::Borrowed(inside));
    }
    serde_json::from_str(value).map(Text::Owned).map_err(|_| {
        reject(
            None,
            Reason::NotJson,
            "the string contains an escape that is not a character, such as half of a surrogate pair",
        )
    })
}

/// Returns true if the value is an object, but not a value of Extended JSON.
pub(in crate::parse) fn is_nested(value: &str) -> bool {
    value.starts_with('{') && !is_extended(value)
}

/// Returns true if the object is a value of Extended JSON: its first key begins with `$`.
fn is_extended(object: &str) -> bool {
    let inside = object.get(1..).unwrap_or_default();
    inside.trim_start().starts_with("\"$")
}

fn extended(object: &str) -> Result<Text<'_>, Reject> {
    match only_entry(object) {
        Some(("$numberInt" | "$numberLong" | "$numberDouble" | "$numberDecimal", value)) => scalar(value),
        Some(("$date", value)) if value.starts_with('"') => string(value),
        Some(("$date", value)) => date(value),
        _ => Err(unfit("is of another type")),
    }
}

/// Returns the key and the value of an object that has exactly one entry.
fn only_entry(object: &str) -> Option<(&str, &str)> {
    let (mut entry, mut count) = (None, 0);
    let walked = walk(object, 0, &mut |key, value| {
        count += 1;
        if let Cow::Borrowed(key) = key {
            entry = Some((key, value.get()));
        }
        Ok(())
    });
    entry.filter(|_| count == 1 && walked.is_ok())
}

/// Returns the ISO text of a date that is given as milliseconds since 1970, as a plain number or as `$numberLong`.
fn date(value: &str) -> Result<Text<'_>, Reject> {
    let digits = match only_entry(value) {
        Some(("$numberLong", digits)) => digits.trim_matches('"'),
        _ => value,
    };
    let text = digits.parse().ok().and_then(iso_text).and_then(|text| String::from_utf8(text.to_vec()).ok());
    text.map(Text::Owned).ok_or_else(|| reject(None, Reason::NotADate, "not a date in the years 0001 to 9999"))
}

pub(in crate::parse) fn reject(field: Option<usize>, reason: Reason, message: impl Into<String>) -> Reject {
    Reject { field, reason, message: message.into() }
}
