//! Parses numbers in decimal notation. Other texts, such as "NaN", "inf" and hexadecimal numbers, are refused.

use crate::reject::Reason;
use crate::spec::NumberFormat;

/// Parses a whole number, which is an optional sign and digits.
pub(super) fn integer(text: &str) -> Result<i64, Reason> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reason::NotAnInteger);
    }
    // The smallest `i64` has no positive counterpart. Therefore the sum is computed as a negative number.
    let add = |sum: i64, digit: &u8| sum.checked_mul(10)?.checked_sub(i64::from(digit - b'0'));
    let sum = digits.iter().try_fold(0_i64, add).ok_or(Reason::NumberTooLarge)?;
    if negative { Ok(sum) } else { sum.checked_neg().ok_or(Reason::NumberTooLarge) }
}

/// Returns the double nearest to the decimal number in the text, as the standard library computes it.
pub(super) fn double(text: &str) -> Result<f64, Reason> {
    // The standard library also accepts words such as "inf", so the first character is checked here.
    if !text.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(Reason::NotANumber);
    }
    let number: f64 = text.parse().map_err(|_| Reason::NotANumber)?;
    if number.is_finite() { Ok(number) } else { Err(Reason::NumberTooLarge) }
}

/// Returns true if the text is a number: an optional sign, digits with an optional decimal point, an optional exponent.
/// There must be at least one digit before the exponent.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text).as_bytes();
    let whole = digits(unsigned);
    let rest = &unsigned[whole..];
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => (digits(rest), &rest[digits(rest)..]),
        _ => (0, rest),
    };
    whole + fraction > 0 && is_exponent(rest)
}

fn is_exponent(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b'e' | b'E', b'-' | b'+', rest @ ..] | [b'e' | b'E', rest @ ..] => {
            !rest.is_empty() && digits(rest) == rest.len()
        }
        _ => false,
    }
}

/// Returns the number of digits at the start of `bytes`.
fn digits(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len())
}

/// Writes the number to `out` without currency sign and thousands separators, and with a point as decimal mark. For
/// example, `-$1,234.50` becomes `-1234.50`. Returns `None` if the digits are grouped wrongly or the decimal mark is
/// wrong. Other errors in the number remain in `out`. The caller finds them when it parses `out`.
pub(super) fn undecorated(text: &str, format: &NumberFormat, out: &mut String) -> Option<()> {
    out.clear();
    let (sign, rest) = split_sign(text);
    let (rest, before) = without_currency_before(rest, format);
    let (late_sign, rest) = if before && sign.is_none() { split_sign(rest) } else { (None, rest) };
    let rest = if before { rest } else { without_currency_after(rest, format) };
    out.extend(sign.or(late_sign));
    let is_group = |c: char| c.is_ascii_digit() || is_separator(c, format.thousands);
    let whole_end = rest.find(|c| !is_group(c)).unwrap_or(rest.len());
    let (whole, tail) = rest.split_at(whole_end);
    push_groups(whole, format.thousands, out)?;
    let mark = if format.decimal_comma { ',' } else { '.' };
    match tail.strip_prefix(mark) {
        Some(fraction) => {
            out.push('.');
            out.push_str(fraction);
        }
        None if tail.starts_with(['.', ',']) => return None,
        None => out.push_str(tail),
    }
    Some(())
}

fn split_sign(text: &str) -> (Option<char>, &str) {
    match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.chars().next(), rest),
        None => (None, text),
    }
}

fn without_currency_before<'a>(text: &'a str, format: &NumberFormat) -> (&'a str, bool) {
    for sign in &format.currency {
        if text.get(..sign.len()).is_some_and(|head| head.eq_ignore_ascii_case(sign)) {
            return (text[sign.len()..].trim_start(), true);
        }
    }
    (text, false)
}

fn without_currency_after<'a>(text: &'a str, format: &NumberFormat) -> &'a str {
    for sign in &format.currency {
        let at = text.len().saturating_sub(sign.len());
        if text.get(at..).is_some_and(|tail| tail.eq_ignore_ascii_case(sign)) {
            return text[..at].trim_end();
        }
    }
    text
}

/// Returns true if `c` separates groups of digits. If the format's separator is a space or an apostrophe, its
/// typographic variants are accepted too, such as the non-breaking space.
fn is_separator(c: char, thousands: Option<char>) -> bool {
    match thousands {
        Some(' ') => matches!(c, ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}'),
        Some('\'') => matches!(c, '\'' | '’'),
        Some(separator) => c == separator,
        None => false,
    }
}

/// Writes the digits of all groups. The first group must have one to three digits, each other group exactly three.
/// Without separators, any number of digits is accepted.
fn push_groups(whole: &str, thousands: Option<char>, out: &mut String) -> Option<()> {
    if whole.bytes().all(|byte| byte.is_ascii_digit()) {
        out.push_str(whole);
        return Some(());
    }
    for (index, group) in whole.split(|c| is_separator(c, thousands)).enumerate() {
        let fits = if index == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 };
        if !fits {
            return None;
        }
        out.push_str(group);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_signs_and_digits() {
        for (input, expected) in [
            ("30", Ok(30)),
            ("-30", Ok(-30)),
            ("+7", Ok(7)),
            ("007", Ok(7)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("9223372036854775808", Err(Reason::NumberTooLarge)),
            ("99999999999999999999x", Err(Reason::NotAnInteger)),
            ("30.0", Err(Reason::NotAnInteger)),
            ("3e1", Err(Reason::NotAnInteger)),
            ("0x1f", Err(Reason::NotAnInteger)),
            ("1,234", Err(Reason::NotAnInteger)),
            ("--1", Err(Reason::NotAnInteger)),
            ("-", Err(Reason::NotAnInteger)),
            ("", Err(Reason::NotAnInteger)),
            ("٣", Err(Reason::NotAnInteger)),
        ] {
            assert_eq!(integer(input), expected, "{input}");
        }
    }

    #[test]
    fn the_nearest_double_is_returned() {
        for (input, expected) in [
            ("18856.281305978155", Ok(18_856.281_305_978_155)),
            ("0.1", Ok(0.1)),
            (".5", Ok(0.5)),
            ("5.", Ok(5.0)),
            ("1E3", Ok(1000.0)),
            ("+1.5e-3", Ok(0.0015)),
            ("1e-400", Ok(0.0)),
            ("1e400", Err(Reason::NumberTooLarge)),
            ("-1e400", Err(Reason::NumberTooLarge)),
            ("NaN", Err(Reason::NotANumber)),
            ("inf", Err(Reason::NotANumber)),
            ("-Infinity", Err(Reason::NotANumber)),
            ("0x1p3", Err(Reason::NotANumber)),
            ("1.2.3", Err(Reason::NotANumber)),
            ("1e", Err(Reason::NotANumber)),
            ("e5", Err(Reason::NotANumber)),
            (".", Err(Reason::NotANumber)),
            ("1 2", Err(Reason::NotANumber)),
            ("1_000", Err(Reason::NotANumber)),
            ("", Err(Reason::NotANumber)),
        ] {
            assert_eq!(double(input).map(f64::to_bits), expected.map(f64::to_bits), "{input}");
        }
        assert_eq!(double("-0.0").map(f64::to_bits), Ok((-0.0_f64).to_bits()));
    }

    fn check_undecorated(format: &NumberFormat, cases: &[(&str, Option<&str>)]) {
        for (input, expected) in cases {
            let mut out = String::new();
            let plain = undecorated(input, format, &mut out).map(|()| out.as_str()).filter(|text| is_number(text));
            assert_eq!(plain, *expected, "{input}");
        }
    }

    #[test]
    fn groups_after_the_first_have_three_digits() {
        let format = NumberFormat { thousands: Some(','), ..NumberFormat::default() };
        check_undecorated(
            &format,
            &[
                ("1,234.5", Some("1234.5")),
                ("-12,345,678", Some("-12345678")),
                ("1234", Some("1234")),
                ("12,34", None),
                ("1234,567", None),
                (",123", None),
                ("1,,234", None),
                ("1,234,", None),
                ("1.234,5", None),
                ("$5", None),
            ],
        );
        let french = NumberFormat { thousands: Some(' '), decimal_comma: true, ..NumberFormat::default() };
        let swiss = NumberFormat { thousands: Some('\''), ..NumberFormat::default() };
        check_undecorated(&swiss, &[("1'234.5", Some("1234.5")), ("1’234", Some("1234")), ("1,234", None)]);
        for space in [' ', '\u{a0}', '\u{2009}', '\u{202f}'] {
            check_undecorated(&french, &[(&format!("1{space}234"), Some("1234"))]);
        }
        check_undecorated(&french, &[("1\u{202f}234,5", Some("1234.5")), ("1 234", Some("1234")), ("1.5", None)]);
    }

    #[test]
    fn a_currency_may_be_before_or_after_the_number() {
        let currency = vec!["$".to_owned(), "EUR".to_owned(), "€".to_owned()];
        check_undecorated(
            &NumberFormat { thousands: Some(','), decimal_comma: false, currency },
            &[
                ("$1,234.50", Some("1234.50")),
                ("-$5", Some("-5")),
                ("$-5", Some("-5")),
                ("$ 5", Some("5")),
                ("5 eur", Some("5")),
                ("-5€", Some("-5")),
                ("€5€", None),
                ("--$5", None),
                ("-$-5", None),
                ("$", None),
                ("5 USD", None),
            ],
        );
    }

    proptest! {
        #[test]
        fn every_double_is_read_from_its_own_text(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            prop_assert_eq!(double(&number.to_string()).map(f64::to_bits), Ok(number.to_bits()));
            prop_assert_eq!(double(&format!("{number:e}")).map(f64::to_bits), Ok(number.to_bits()));
        }

        #[test]
        fn double_accepts_exactly_what_is_number_accepts(text in "[-+.0-9eE]{0,8}|[-+]?(inf|nan|infinity|NaN)|.{0,4}") {
            prop_assert_eq!(double(&text) != Err(Reason::NotANumber), is_number(&text));
        }

        #[test]
        fn integers_agree_with_the_standard_library(text in "[-+]?[0-9]{1,21}") {
            prop_assert_eq!(integer(&text).ok(), text.parse::<i64>().ok());
        }

        #[test]
        fn a_number_without_currency_or_separators_is_unchanged(text in "[-+.0-9eE]{0,12}") {
            let mut out = String::new();
            let plain = undecorated(&text, &NumberFormat::default(), &mut out).is_some() && is_number(&out);
            prop_assert_eq!(plain, is_number(&text));
            prop_assert!(!plain || out == text);
        }
    }
}
