//! What a value must satisfy, and how a refusal says so without quoting the value.

use super::Value;
use crate::parse::DateFormat;
use crate::reject::Reason;
use crate::spec::{Constraints, Field, FieldType};

/// How many values of a list a message names before it says how many more there are.
const NAMED_VALUES_MAX: usize = 20;

/// Checks a text. `plain` says that its row is printable ASCII.
pub(super) fn check_text(text: &str, plain: bool, constraints: &Constraints) -> Result<(), Reason> {
    if !plain && text.bytes().any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n')) {
        return Err(Reason::ControlCharacter);
    }
    if let Some((least, most)) = constraints.length
        && !(least as usize..=most as usize).contains(&text.chars().count())
    {
        return Err(Reason::WrongLength);
    }
    match &constraints.pattern {
        Some(pattern) if !pattern.is_match(text) => Err(Reason::PatternMismatch),
        _ => Ok(()),
    }
}

/// Whether a number lies in the range. `text` is the number's own; a decimal128 is compared by the double nearest to it.
pub(super) fn in_range(value: &Value, text: &str, (least, most): (f64, f64)) -> bool {
    match value {
        Value::Int32(number) => (least..=most).contains(&f64::from(*number)),
        Value::Int64(number) => (least.ceil() as i128..=most.floor() as i128).contains(&i128::from(*number)),
        Value::Double(number) => (least..=most).contains(number),
        Value::Decimal128(_) => text.parse().is_ok_and(|number: f64| (least..=most).contains(&number)),
        _ => true,
    }
}

/// What was expected of a cell that was refused for `reason`.
pub(super) fn expectation(field: &Field, date: DateFormat, reason: Reason) -> String {
    let constraints = &field.constraints;
    match (reason, &field.kind) {
        (Reason::Missing, _) => "expected a value: the field is required".to_owned(),
        (Reason::NotAllowed, FieldType::Enum { values, .. }) => format!("expected one of {}", named(values)),
        (Reason::NotABoolean, FieldType::Bool { truthy, falsy }) => {
            format!("expected {} for true or {} for false", named(truthy), named(falsy))
        }
        (Reason::NotADate, FieldType::Date) => format!("expected a date as {} at midnight", date_form(date)),
        (Reason::NotADate, _) => format!("expected a date as {} and perhaps a time", date_form(date)),
        (Reason::NumberTooLarge, FieldType::Decimal128(_)) => "expected a number of at most 34 digits".to_owned(),
        (Reason::NumberTooLarge, kind) => format!("expected a number that fits {}", kind.name()),
        (Reason::OutOfRange, _) => constraints
            .range
            .map_or_else(String::new, |(least, most)| format!("expected a number from {least} to {most}")),
        (Reason::WrongLength, _) => constraints
            .length
            .map_or_else(String::new, |(least, most)| format!("expected {least} to {most} characters")),
        (Reason::PatternMismatch, _) => constraints
            .pattern
            .as_ref()
            .map_or_else(String::new, |pattern| format!("expected a text that matches {}", pattern.as_str())),
        (Reason::NotAnInteger, _) => "expected a whole number".to_owned(),
        (Reason::NotANumber, _) => "expected a number".to_owned(),
        (Reason::ControlCharacter, _) => "expected text without control characters".to_owned(),
        _ => "expected valid text".to_owned(),
    }
}

fn named(values: &[String]) -> String {
    let (first, rest) = values.split_at(values.len().min(NAMED_VALUES_MAX));
    let list = first.join(", ");
    if rest.is_empty() { list } else { format!("{list} and {} more", rest.len()) }
}

fn date_form(format: DateFormat) -> String {
    match format {
        DateFormat::Iso => "YYYY-MM-DD".to_owned(),
        DateFormat::DayMonthYear(separator) => ["DD", "MM", "YYYY"].join(&char::from(separator).to_string()),
        DateFormat::MonthDayYear(separator) => ["MM", "DD", "YYYY"].join(&char::from(separator).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn texts_are_checked() {
        let pattern = Regex::new(r"\A(?:[a-zé\t\x00]+)\z").expect("a right pattern");
        let constraints = Constraints { range: None, length: Some((2, 4)), pattern: Some(pattern) };
        for (input, expected) in [
            ("ab", Ok(())),
            ("éééé", Ok(())),
            ("a", Err(Reason::WrongLength)),
            ("abcde", Err(Reason::WrongLength)),
            ("AB", Err(Reason::PatternMismatch)),
            ("a\tb", Ok(())),
            ("a\0b", Err(Reason::ControlCharacter)),
        ] {
            assert_eq!(check_text(input, false, &constraints), expected, "{input:?}");
        }
    }

    #[test]
    fn ranges_hold_their_ends() {
        for (value, text, expected) in [
            (Value::Int32(0), "0", true),
            (Value::Int32(131), "131", false),
            (Value::Int64(-1), "-1", false),
            (Value::Int64(i64::MAX), "9223372036854775807", false),
            (Value::Double(130.0), "130", true),
            (Value::Double(130.000_01), "130.00001", false),
            (Value::Decimal128([0; 16]), "130.0", true),
            (Value::Decimal128([0; 16]), "130.1", false),
        ] {
            assert_eq!(in_range(&value, text, (0.0, 130.0)), expected, "{text}");
        }
    }
}
