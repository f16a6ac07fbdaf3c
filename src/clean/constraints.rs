//! Checks the constraints of values, and writes the messages for refused cells. No message contains the value of the
//! cell.

use super::Value;
use crate::parse::DateFormat;
use crate::reject::Reason;
use crate::spec::{Constraints, Decimal, Field, FieldType, Range};

/// A message lists at most this many allowed values. If there are more, it says how many more.
const NAMED_VALUES_MAX: usize = 20;

/// Checks the constraints of a text, and that it contains no control character except tab and line ends. `plain` is
/// true if the text is known to be printable ASCII.
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

/// Returns true if a number is within the range. The number and the bounds have the field's type, so the comparison is
/// exact, as on the server.
pub(super) fn in_range(value: &Value, range: &Range) -> bool {
    match value {
        Value::Int32(number) => range.has_whole(i64::from(*number)),
        Value::Int64(number) => range.has_whole(*number),
        Value::Double(number) => range.has_double(*number),
        Value::Decimal128(bytes) => Decimal::from_bson(*bytes).is_some_and(|number| range.has_decimal(number)),
        _ => true,
    }
}

/// Returns the message for a cell that was refused for `reason`. The message says which values are expected.
pub(super) fn expectation(field: &Field, date: DateFormat, reason: Reason) -> String {
    let constraints = &field.constraints;
    match (reason, &field.kind) {
        (Reason::Missing, _) => "expected a value: the field is required".to_owned(),
        (Reason::NotAllowed, FieldType::Enum { values, .. }) => format!("expected one of {}", named(values)),
        (Reason::NotABoolean, FieldType::Bool { truthy, falsy }) => {
            format!("expected {} for true or {} for false", named(truthy), named(falsy))
        }
        (Reason::NotADate, FieldType::Date) => format!("expected a date as {} without a time of day", date_form(date)),
        (Reason::NotADate, _) => format!("expected a date as {}, with or without a time of day", date_form(date)),
        (Reason::NumberTooLarge, FieldType::Decimal128(_)) => "expected a number of at most 34 digits".to_owned(),
        (Reason::NumberTooLarge, kind) => format!("expected a number that fits {}", kind.name()),
        (Reason::OutOfRange, _) => {
            constraints.range.map_or_else(String::new, |range| format!("expected a number from {range}"))
        }
        (Reason::WrongLength, _) => constraints
            .length
            .map_or_else(String::new, |(least, most)| format!("expected {least} to {most} characters")),
        (Reason::PatternMismatch, _) => constraints
            .pattern
            .as_ref()
            .map_or_else(String::new, |pattern| format!("expected a text that matches {}", pattern.as_str())),
        (Reason::NotAnInteger, _) => "expected a whole number".to_owned(),
        (Reason::NotANumber, _) => "expected a number".to_owned(),
        (Reason::UnstableText, _) => {
            "expected a text that stops changing when the cleaning rules are repeated".to_owned()
        }
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
        DateFormat::Hl7 { .. } => "YYYYMMDD".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::super::decimal128::decimal128;
    use super::*;

    #[test]
    fn texts_are_checked() {
        let pattern = Regex::new(r"\A(?:[a-zé\t\x00]+)\z").expect("a valid pattern");
        let constraints = Constraints { range: None, length: Some((2, 4)), pattern: Some(pattern) };
        for (input, expected) in [
            ("ab", Ok(())),
            ("éééé", Ok(())),
            ("a", Err(Reason::WrongLength)),
            ("abcde", Err(Reason::WrongLength)),
            ("AB", Err(Reason::PatternMismatch)),
            ("a\tb", Ok(())),
            ("a\rb", Err(Reason::PatternMismatch)),
            ("a\nb", Err(Reason::PatternMismatch)),
            ("a\0b", Err(Reason::ControlCharacter)),
            ("a\u{1f}b", Err(Reason::ControlCharacter)),
            ("a\u{7f}b", Err(Reason::PatternMismatch)),
        ] {
            assert_eq!(check_text(input, false, &constraints), expected, "{input:?}");
        }
    }

    #[test]
    fn the_message_names_the_first_twenty_values() {
        let values: Vec<String> = (1..=22).map(|number| number.to_string()).collect();
        assert!(named(&values[..20]).ends_with(", 19, 20"));
        assert!(named(&values[..21]).ends_with(", 19, 20 and 1 more"));
        assert!(named(&values).ends_with(", 19, 20 and 2 more"));
    }

    #[test]
    fn a_refusal_says_what_was_expected() {
        let check = |keys: &str, reason, expected: &str| {
            let text = format!("name = 'x'\n[[field]]\nname = 'f'\nprivacy = 'none'\n{keys}");
            let spec = crate::spec::Spec::from_toml(&text, "test").expect("a valid spec");
            assert_eq!(expectation(&spec.fields[0], DateFormat::MonthDayYear(b'.'), reason), expected);
        };
        check(
            "type = 'bool'\ntruthy = ['y']\nfalsy = ['n']",
            Reason::NotABoolean,
            "expected y for true or n for false",
        );
        check("type = 'date'", Reason::NotADate, "expected a date as MM.DD.YYYY without a time of day");
        check("type = 'datetime'", Reason::NotADate, "expected a date as MM.DD.YYYY, with or without a time of day");
        check("type = 'decimal128'", Reason::NumberTooLarge, "expected a number of at most 34 digits");
        check("type = 'int64'", Reason::NumberTooLarge, "expected a number that fits int64");
        check("type = 'double'\nrange = [-1.5, inf]", Reason::OutOfRange, "expected a number from -1.5 to inf");
        check("type = 'string'\nlength = [2, 3]", Reason::WrongLength, "expected 2 to 3 characters");
        let unstable = "expected a text that stops changing when the cleaning rules are repeated";
        check("type = 'string'", Reason::UnstableText, unstable);
        check("type = 'string'", Reason::Undecodable, "expected valid text");
    }

    #[test]
    fn ranges_include_their_ends() {
        let decimal = |text| decimal128(text).expect("a number");
        let tenths = [decimal("0.1"), decimal("0.3")].map(Decimal::from_bson);
        let (whole, double, decimals) =
            (Range::Whole(0, 130), Range::Double(0.0, 130.0), Range::Decimal(tenths[0], tenths[1]));
        for (value, range, expected) in [
            (Value::Int32(0), whole, true),
            (Value::Int32(131), whole, false),
            (Value::Int64(-1), whole, false),
            (Value::Int64(i64::MAX), whole, false),
            (Value::Int64(9_007_199_254_740_993), Range::Whole(0, 9_007_199_254_740_992), false),
            (Value::Int64(i64::MIN), Range::Whole(i64::MIN, 0), true),
            (Value::Double(130.0), double, true),
            (Value::Double(130.000_01), double, false),
            (Value::Decimal128(decimal("0.10")), decimals, true),
            (Value::Decimal128(decimal("0.3")), decimals, true),
            (Value::Decimal128(decimal("0.30000000000000001")), decimals, false),
            (Value::Decimal128(decimal("1e-7")), decimals, false),
            (Value::Decimal128(decimal("99")), Range::Decimal(tenths[0], None), true),
        ] {
            assert_eq!(in_range(&value, &range), expected, "{value:?} {range}");
        }
    }
}
