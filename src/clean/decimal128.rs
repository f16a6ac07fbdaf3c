//! Converts text to a BSON decimal128. The result is exactly the number in the text. `1.50` stays `1.50`. If a number
//! has more than 34 digits, the extra zeros at its end are removed. A number that cannot be stored exactly is refused.

use bson::Decimal128;

use super::number::is_number;
use crate::reject::Reason;
use crate::spec::Decimal;

/// Longest text that `fast` converts. With longer texts, the exponent could become too small for BSON.
const FAST_BYTES_MAX: usize = 64;

/// Converts a number to the 16 bytes of a BSON decimal128.
pub(super) fn decimal128(text: &str) -> Result<[u8; 16], Reason> {
    if !is_number(text) {
        return Err(Reason::NotANumber);
    }
    fast(text).or_else(|| slow(text)).ok_or(Reason::NumberTooLarge)
}

/// Returns true if the number is less than zero. Negative zero is not less than zero.
pub(super) fn is_negative(bytes: [u8; 16]) -> bool {
    Decimal::from_bson(bytes).is_some_and(|number| number.sign() < 0)
}

/// Converts a number without exponent, with at most 34 digits, in a text of at most [`FAST_BYTES_MAX`] bytes. Returns
/// `None` for other numbers.
fn fast(text: &str) -> Option<[u8; 16]> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut coefficient: u128 = 0;
    let mut digits = 0;
    let mut fraction: Option<i32> = None;
    for byte in unsigned.bytes() {
        match byte {
            b'0'..=b'9' => {
                coefficient = coefficient.checked_mul(10)?.checked_add(u128::from(byte - b'0'))?;
                digits += usize::from(coefficient > 0);
                fraction = fraction.map(|count| count + 1);
            }
            b'.' => fraction = Some(0),
            _ => return None,
        }
    }
    if digits > Decimal::DIGITS_MAX || text.len() > FAST_BYTES_MAX {
        return None;
    }
    let number = Decimal { negative: text.starts_with('-'), coefficient, exponent: -fraction.unwrap_or(0) };
    Some(number.to_bson())
}

/// Converts any number. Returns `None` if the number cannot be stored exactly.
fn slow(text: &str) -> Option<[u8; 16]> {
    text.parse::<Decimal128>().ok().map(|decimal| decimal.bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let widest = "9".repeat(34);
        for (input, expected) in [
            ("1.50", Ok("1.50")),
            ("-0.0", Ok("-0.0")),
            ("+12", Ok("12")),
            ("1e3", Ok("1E+3")),
            (&widest, Ok(widest.as_str())),
            (&format!("{widest}0"), Ok("9.999999999999999999999999999999999E+34")),
            (&format!("{widest}1"), Err(Reason::NumberTooLarge)),
            ("1e7000", Err(Reason::NumberTooLarge)),
            ("1e-7000", Err(Reason::NumberTooLarge)),
            ("NaN", Err(Reason::NotANumber)),
            ("1,5", Err(Reason::NotANumber)),
        ] {
            let text = decimal128(input).map(|bytes| Decimal128::from_bytes(bytes).to_string());
            assert_eq!(text.as_deref(), expected.as_ref().map(|text| *text), "{input}");
        }
    }

    #[test]
    fn negative_zero_is_not_negative() {
        for (input, expected) in [("-0.00", false), ("-0.01", true), ("0.01", false), ("-5e-3", true)] {
            assert_eq!(decimal128(input).map(is_negative), Ok(expected), "{input}");
        }
    }

    proptest! {
        #[test]
        fn fast_and_slow_agree(text in "[-+]?[0-9]{1,40}|[-+]?[0-9]{0,20}\\.[0-9]{1,20}|[-+]?0{0,40}[0-9]{0,3}\\.0{0,30}[0-9]") {
            if let Some(bytes) = fast(&text) {
                prop_assert_eq!(Some(bytes), slow(&text));
            }
        }
    }
}
