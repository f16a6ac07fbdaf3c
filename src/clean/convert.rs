//! Converts the text of a cell to the type of its field.

use super::Value;
use super::decimal128::{self, decimal128};
use super::number::{double, integer, undecorated};
use crate::parse::DateFormat;
use crate::parse::dates::{DAY_MS, parse_date};
use crate::reject::Reason;
use crate::spec::{Decimal, FieldType, NumberFormat, same_spelling};

/// Converts the text of a number, a boolean or a date. `scratch` is a buffer for a number without its currency sign
/// and separators.
pub(super) fn typed(text: &str, kind: &FieldType, date: DateFormat, scratch: &mut String) -> Result<Value, Reason> {
    match kind {
        FieldType::Int32(format) => {
            let text = digits(text, format, scratch).ok_or(Reason::NotAnInteger)?;
            i32::try_from(integer(text)?).map(Value::Int32).map_err(|_| Reason::NumberTooLarge)
        }
        FieldType::Int64(format) => {
            integer(digits(text, format, scratch).ok_or(Reason::NotAnInteger)?).map(Value::Int64)
        }
        FieldType::Double(format) => {
            double(digits(text, format, scratch).ok_or(Reason::NotANumber)?).map(Value::Double)
        }
        FieldType::Decimal128(format) => {
            decimal128(digits(text, format, scratch).ok_or(Reason::NotANumber)?).map(Value::Decimal128)
        }
        FieldType::Bool { truthy, falsy } => boolean(text, truthy, falsy).map(Value::Bool).ok_or(Reason::NotABoolean),
        FieldType::Date => {
            let midnight = parse_date(date, text).filter(|ms| ms.rem_euclid(DAY_MS) == 0);
            midnight.map(Value::Datetime).ok_or(Reason::NotADate)
        }
        FieldType::Datetime => parse_date(date, text).map(Value::Datetime).ok_or(Reason::NotADate),
        FieldType::String | FieldType::Enum { .. } | FieldType::Whole | FieldType::Resource | FieldType::PatientKey => {
            unreachable!("not converted")
        }
    }
}

/// Returns true if two values of one field are equal. The decimal numbers 1.0 and 1.00 are equal.
pub(super) fn same_value(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Decimal128(left), Value::Decimal128(right)) => {
            let both = Decimal::from_bson(*left).zip(Decimal::from_bson(*right));
            both.is_some_and(|(left, right)| left.compare(right).is_eq())
        }
        _ => left == right,
    }
}

/// Returns the number without currency sign and thousands separators, and with a point as decimal mark. If the format
/// is [plain](NumberFormat::is_plain), returns the text unchanged. Returns `None` if the digits are grouped wrongly or
/// the decimal mark is wrong.
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

/// Returns the canonical spelling of a value from the field's list. Returns `None` if the text is not in the list.
pub(super) fn listed<'v>(text: &str, values: &'v [String], synonyms: &[(String, usize)]) -> Option<&'v str> {
    let exact = values.iter().find(|value| *value == text);
    let respelled = || values.iter().find(|value| same_spelling(value, text));
    let synonym = || synonyms.iter().find(|(known, _)| same_spelling(known, text)).map(|&(_, index)| &values[index]);
    exact.or_else(respelled).or_else(synonym).map(String::as_str)
}

/// Returns true if a number is less than zero.
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
    fn every_spelling_becomes_the_canonical_one() {
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
    fn a_synonym_becomes_its_own_value() {
        let values = ["one", "two"].map(str::to_owned);
        let synonyms = [("I".to_owned(), 0), ("II".to_owned(), 1)];
        assert_eq!(["i", "ii"].map(|text| listed(text, &values, &synonyms)), [Some("one"), Some("two")]);
    }

    #[test]
    fn zero_is_not_negative_in_any_type() {
        let decimal = |text| Value::Decimal128(decimal128(text).expect("a decimal"));
        for zero in [Value::Int32(0), Value::Int64(0), Value::Double(0.0), Value::Double(-0.0), decimal("-0.0")] {
            assert!(!is_negative(&zero), "{zero:?}");
        }
        for negative in [Value::Int32(-1), Value::Int64(-1), Value::Double(-1e-300), decimal("-1e-10")] {
            assert!(is_negative(&negative), "{negative:?}");
        }
        assert!(!is_negative(&Value::Datetime(-1)) && !is_negative(&Value::Null));
    }

    #[test]
    fn booleans_are_listed_texts() {
        let (truthy, falsy) = (["yes".to_owned(), "1".to_owned()], ["no".to_owned()]);
        for (input, expected) in [("YES", Some(true)), ("1", Some(true)), ("No", Some(false)), ("0", None)] {
            assert_eq!(boolean(input, &truthy, &falsy), expected, "{input}");
        }
    }
}
