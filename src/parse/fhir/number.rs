//! Numbers of a resource. FHIR says that the digits of a number have a meaning: `1.0` is not `1`. So each number is
//! stored in a form from which its text can be made again, letter by letter.

use crate::spec::Decimal;

/// The largest exponent of a BSON decimal128.
const EXPONENT_MAX: i32 = 6111;
/// The largest number of decimal places of a BSON decimal128.
const PLACES_MAX: usize = 6176;

/// How a number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Int32(i32),
    Int64(i64),
    Decimal128([u8; 16]),
    /// No BSON number gives this text back, so the text itself is stored.
    Text,
}

impl Number {
    /// Chooses the form of a number. `text` must be a JSON number.
    pub(super) fn of(text: &[u8]) -> Self {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        if digits.len() <= 18 && digits.iter().all(u8::is_ascii_digit) && text != b"-0" {
            let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
            let number = if digits.len() < text.len() { -number } else { number };
            return i32::try_from(number).map_or(Self::Int64(number), Self::Int32);
        }
        let text = std::str::from_utf8(text).unwrap_or_default();
        match text.parse::<i64>() {
            Ok(number) if text != "-0" => Self::Int64(number),
            _ => decimal(text).map_or(Self::Text, |decimal| Self::Decimal128(decimal.to_bson())),
        }
    }
}

/// Returns the decimal whose [`text_of`] is `text`. Returns `None` if there is none.
fn decimal(text: &str) -> Option<Decimal> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (number, power) = unsigned.split_once('e').map_or((unsigned, None), |(number, power)| (number, Some(power)));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let exponent = match power {
        None if fraction.len() <= PLACES_MAX => -i32::try_from(fraction.len()).ok()?,
        // `1e2` is the only form in which `text_of` writes a power of ten.
        Some(power) if fraction.is_empty() && power.starts_with(|first| matches!(first, '1'..='9')) => {
            power.parse().ok().filter(|power| *power <= EXPONENT_MAX)?
        }
        _ => return None,
    };
    let mut coefficient: u128 = 0;
    let mut digits = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        digits += usize::from(coefficient > 0 || digit != b'0');
        if digits > Decimal::DIGITS_MAX {
            return None;
        }
        coefficient = coefficient * 10 + u128::from(digit - b'0');
    }
    Some(Decimal { negative, coefficient, exponent })
}

/// Returns the text of a number that [`Number::of`] stored as a decimal.
pub(crate) fn text_of(number: Decimal) -> String {
    let sign = if number.negative { "-" } else { "" };
    let digits = number.coefficient.to_string();
    match number.exponent {
        0 => format!("{sign}{digits}"),
        power @ 1.. => format!("{sign}{digits}e{power}"),
        places => {
            let places = places.unsigned_abs() as usize;
            let digits = format!("{digits:0>width$}", width = places + 1);
            let (whole, fraction) = digits.split_at(digits.len() - places);
            format!("{sign}{whole}.{fraction}")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(number: Number) -> Option<String> {
        match number {
            Number::Int32(number) => Some(number.to_string()),
            Number::Int64(number) => Some(number.to_string()),
            Number::Decimal128(bytes) => Decimal::from_bson(bytes).map(text_of),
            Number::Text => None,
        }
    }

    #[test]
    fn each_number_has_the_smallest_form_that_gives_its_text_back() {
        let int32 =
            |text: &str| assert_eq!(Number::of(text.as_bytes()), Number::Int32(text.parse().unwrap()), "{text}");
        let int64 =
            |text: &str| assert_eq!(Number::of(text.as_bytes()), Number::Int64(text.parse().unwrap()), "{text}");
        ["0", "1", "-1", "2147483647", "-2147483648"].into_iter().for_each(int32);
        let long = ["2147483648", "-2147483649", "999999999999999999", "9223372036854775807", "-9223372036854775808"];
        long.into_iter().for_each(int64);
        let places = format!("0.{}1", "0".repeat(PLACES_MAX - 1));
        for text in [
            "-0",
            "-0.0",
            "0.0",
            "1.0",
            "1.10",
            "-12.340",
            "0.000001",
            "9223372036854775808",
            "1e2",
            "0e5",
            "-7e6111",
            "1234567890123456789012345678901234",
            "12345678901234567.89012345678901234",
            &places,
        ] {
            let number = Number::of(text.as_bytes());
            assert!(matches!(number, Number::Decimal128(_)), "{text}: {number:?}");
            assert_eq!(back(number).as_deref(), Some(text));
        }
        let places = format!("0.{}1", "0".repeat(PLACES_MAX));
        let digits = "1".repeat(35);
        for text in ["1E2", "1e+2", "1e-2", "1.0e1", "1e0", "1e02", "1e6112", &digits, &places] {
            assert_eq!(Number::of(text.as_bytes()), Number::Text, "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_text_of_every_number_comes_back(text in "-?(0|[1-9][0-9]{0,36})(\\.[0-9]{1,40})?([eE][+-]?[0-9]{1,5})?") {
            let number = Number::of(text.as_bytes());
            prop_assert_eq!(back(number).unwrap_or_else(|| text.clone()), text);
        }
    }
}
