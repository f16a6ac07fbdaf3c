//! Text to typed values.

use super::Value;
use super::decimal128::{self, decimal128};
use super::number::{double, integer, undecorated};
use crate::parse::DateFormat;
use crate::parse::dates::parse_date;
use crate::reject::Reason;
use crate::spec::{FieldType, NumberFormat, same_spelling};

const DAY_MS: i64 = 86_400_000;

/// The value of a text whose field is neither string nor enum, and the text of the number where it is one. `scratch` holds
/// a number whose decoration had to go.
pub(super) fn typed<'a>(
    text: &'a str,
    kind: &FieldType,
    date: DateFormat,
    scratch: &'a mut String,
) -> Result<(Value, &'a str), Reason> {
    let value = match kind {
        FieldType::Int32(format) => {
            let text = digits(text, format, scratch).ok_or(Reason::NotAnInteger)?;
            let number = i32::try_from(integer(text)?).map_err(|_| Reason::NumberTooLarge)?;
            return Ok((Value::Int32(number), text));
        }
        FieldType::Int64(format) => {
            let text = digits(text, format, scratch).ok_or(Reason::NotAnInteger)?;
            return Ok((Value::Int64(integer(text)?), text));
        }
        FieldType::Double(format) => {
            let text = digits(text, format, scratch).ok_or(Reason::NotANumber)?;
            return Ok((Value::Double(double(text)?), text));
        }
        FieldType::Decimal128(format) => {
            let text = digits(text, format, scratch).ok_or(Reason::NotANumber)?;
            return Ok((Value::Decimal128(decimal128(text)?), text));
        }
        FieldType::Bool { truthy, falsy } => {
            boolean(text, truthy, falsy).map(Value::Bool).ok_or(Reason::NotABoolean)?
        }
        FieldType::Date => {
            let midnight = parse_date(date, text).filter(|ms| ms.rem_euclid(DAY_MS) == 0);
            Value::Datetime(midnight.ok_or(Reason::NotADate)?)
        }
        FieldType::Datetime => Value::Datetime(parse_date(date, text).ok_or(Reason::NotADate)?),
        FieldType::String | FieldType::Enum { .. } => unreachable!("texts are not converted"),
    };
    Ok((value, text))
}

/// The number without its decoration; the text itself where the format allows none.
fn digits<'a>(text: &'a str, format: &NumberFormat, scratch: &'a mut String) -> Option<&'a str> {
    if format.is_plain() {
        return Some(text);
    }
    undecorated(text, format, scratch).map(|()| scratch.as_str())
}

fn boolean(text: &str, truthy: &[String], falsy: &[String]) -> Option<bool> {
    let among = |list: &[String]| list.iter().any(|listed| same_spelling(listed, text));
    if among(truthy) {
        return Some(true);
    }
    among(falsy).then_some(false)
}

/// The canonical spelling of a listed value.
pub(super) fn listed<'v>(text: &str, values: &'v [String], synonyms: &[(String, usize)]) -> Option<&'v str> {
    let exact = values.iter().find(|value| *value == text);
    let respelled = || values.iter().find(|value| same_spelling(value, text));
    let synonym = || synonyms.iter().find(|(known, _)| same_spelling(known, text)).map(|&(_, index)| &values[index]);
    exact.or_else(respelled).or_else(synonym).map(String::as_str)
}

/// Whether a number is below zero.
pub(super) fn is_negative(value: &Value) -> bool {
    match value {
        Value::Int32(number) => *number < 0,
        Value::Int64(number) => *number < 0,
        Value::Double(number) => *number < 0.0,
        Value::Decimal128(bytes) => decimal128::is_negative(*bytes),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_spelling_becomes_the_listed_one() {
        let values = ["A+", "A-", "Élevé"].map(str::to_owned);
        let synonyms = [("A POS".to_owned(), 0)];
        for (input, expected) in [
            ("A+", Some("A+")),
            ("a-", Some("A-")),
            ("a pos", Some("A+")),
            ("ÉLEVÉ", Some("Élevé")),
            ("A", None),
            ("A +", None),
            ("", None),
        ] {
            assert_eq!(listed(input, &values, &synonyms), expected, "{input}");
        }
    }

    #[test]
    fn booleans_are_listed_texts() {
        let (truthy, falsy) = (["yes".to_owned(), "1".to_owned()], ["no".to_owned()]);
        for (input, expected) in [("YES", Some(true)), ("1", Some(true)), ("No", Some(false)), ("0", None)] {
            assert_eq!(boolean(input, &truthy, &falsy), expected, "{input}");
        }
    }
}
