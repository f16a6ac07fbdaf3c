//! Ranges of numbers. The bounds in a spec are read exactly, and then converted to the type of the field.

use std::cmp::Ordering;
use std::fmt;

/// Largest absolute value of the exponent of a range's bound. Every bound within this limit can be stored as a BSON
/// decimal128.
const EXPONENT_MAX: i32 = 6000;
/// BSON stores the exponent plus this number, so that the stored exponent is never negative (BSON decimal128
/// specification).
const BIAS: i32 = 6176;
/// Number of the low bits of a BSON decimal128 that contain the coefficient. The exponent is above them.
const COEFFICIENT_BITS: u32 = 113;

/// A finite decimal number with at most 34 digits: `coefficient` × 10^`exponent`.
#[derive(Debug, Clone, Copy)]
pub struct Decimal {
    /// True if the number has a minus sign. A zero can have one too.
    pub negative: bool,
    /// The digits as an integer below 10^34.
    pub coefficient: u128,
    /// The power of ten.
    pub exponent: i32,
}

impl Decimal {
    /// Largest number of digits in a BSON decimal128.
    pub(crate) const DIGITS_MAX: usize = 34;

    /// Decodes the 16 bytes of a BSON decimal128. Returns `None` for an infinity, for a NaN, and for a coefficient of
    /// more than 34 digits. BSON can represent such a coefficient, but no encoder writes it (IEEE 754-2008, 3.5.2).
    pub fn from_bson(bytes: [u8; 16]) -> Option<Self> {
        let bits = u128::from_le_bytes(bytes);
        let coefficient = bits & ((1 << COEFFICIENT_BITS) - 1);
        let is_plain = (bits >> 125) & 0b11 != 0b11 && coefficient < 10_u128.pow(Self::DIGITS_MAX as u32);
        let exponent = ((bits >> COEFFICIENT_BITS) & 0x3fff) as i32 - BIAS;
        is_plain.then_some(Self { negative: bits >> 127 == 1, coefficient, exponent })
    }

    /// Returns the 16 bytes of a BSON decimal128. The caller must make sure that BSON can store the exponent. Because
    /// of [`EXPONENT_MAX`], this is true of every bound.
    pub fn to_bson(self) -> [u8; 16] {
        let exponent = u128::from((self.exponent + BIAS).unsigned_abs()) << COEFFICIENT_BITS;
        (u128::from(self.negative) << 127 | exponent | self.coefficient).to_le_bytes()
    }

    /// Compares two numbers by their exact values. Trailing zeros do not matter, and -0 equals 0.
    pub fn compare(self, other: Self) -> Ordering {
        match (self.sign(), other.sign()) {
            (1, 1) => self.compare_magnitude(other),
            (-1, -1) => other.compare_magnitude(self),
            (left, right) => left.cmp(&right),
        }
    }

    /// Returns -1, 0 or 1. The sign of -0 is 0.
    pub(crate) fn sign(self) -> i32 {
        match (self.coefficient, self.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        }
    }

    /// Compares the absolute values of two numbers that are not zero. First compares the powers of ten of their first
    /// digits, for example 10^2 of `345` with 10^-1 of `0.6`. If the powers are equal, scales the numbers to the same
    /// exponent and compares the digits. The scaled digits stay below 10^34.
    fn compare_magnitude(self, other: Self) -> Ordering {
        let digits = |number: Self| number.coefficient.ilog10().cast_signed();
        let scaled = |number: Self, to: Self| {
            number.coefficient * 10_u128.pow((number.exponent - to.exponent).max(0).unsigned_abs())
        };
        (digits(self) + self.exponent)
            .cmp(&(digits(other) + other.exponent))
            .then_with(|| scaled(self, other).cmp(&scaled(other, self)))
    }

    /// Parses a number in TOML notation without underscores: sign, digits, point, exponent. Returns `None` if the
    /// number has more than 34 digits (leading and trailing zeros do not count). Returns `None` too if the absolute
    /// value of its exponent is above [`EXPONENT_MAX`].
    pub(super) fn from_toml(text: &str) -> Option<Self> {
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (number, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        // Trailing zeros are removed only if the number has more digits than allowed. Otherwise `1.50` would be shown
        // as `1.5`.
        let kept = if digits.len() > Self::DIGITS_MAX { digits.trim_end_matches('0') } else { digits };
        let places = i32::try_from(fraction.len()).ok()? - i32::try_from(digits.len() - kept.len()).ok()?;
        let exponent = power.parse::<i32>().ok()?.checked_sub(places)?;
        let coefficient = if kept.is_empty() { 0 } else { kept.parse().ok()? };
        (kept.len() <= Self::DIGITS_MAX && exponent.abs() <= EXPONENT_MAX).then_some(Self {
            negative,
            coefficient,
            exponent,
        })
    }

    /// Returns the double nearest to the number.
    pub(super) fn to_double(self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}e{}", self.coefficient, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// Returns the largest integer that is not greater than the number. If the number is far outside the range of
    /// `i64`, only the sign of the result is correct.
    fn floor(self) -> i128 {
        let (whole, has_fraction) = self.magnitude();
        if self.negative { -whole - i128::from(has_fraction) } else { whole }
    }

    /// Returns the smallest integer that is not less than the number. If the number is far outside the range of `i64`,
    /// only the sign of the result is correct.
    fn ceil(self) -> i128 {
        let (whole, has_fraction) = self.magnitude();
        if self.negative { -whole } else { whole + i128::from(has_fraction) }
    }

    /// Returns the integer part without its sign, and true if the number has a fraction.
    fn magnitude(self) -> (i128, bool) {
        let power = 10_u128.checked_pow(self.exponent.unsigned_abs());
        let (whole, rest) = match power {
            Some(power) if self.exponent < 0 => (self.coefficient / power, self.coefficient % power),
            None if self.exponent < 0 => (0, self.coefficient),
            _ => (power.and_then(|power| self.coefficient.checked_mul(power)).unwrap_or(u128::MAX), 0),
        };
        (i128::try_from(whole).unwrap_or(i128::MAX >> 1), rest > 0)
    }
}

/// Formats the number in plain digits, such as `1.50` or `0.007`. If the exponent is positive, formats it with the
/// exponent, such as `15E+3`.
impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        if self.exponent > 0 {
            return write!(out, "{sign}{}E+{}", self.coefficient, self.exponent);
        }
        let decimals = self.exponent.unsigned_abs() as usize;
        let digits = format!("{:0>width$}", self.coefficient, width = decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - decimals);
        let point = if fraction.is_empty() { "" } else { "." };
        write!(out, "{sign}{whole}{point}{fraction}")
    }
}

/// One bound of a range in a spec.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// `-inf`: no lower limit.
    Lowest,
    /// A number.
    At(Decimal),
    /// `inf`: no upper limit.
    Highest,
}

impl Bound {
    pub(super) fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::At(left), Self::At(right)) => left.compare(right),
            _ => self.place().cmp(&other.place()),
        }
    }

    const fn place(self) -> u8 {
        match self {
            Self::Lowest => 0,
            Self::At(_) => 1,
            Self::Highest => 2,
        }
    }

    /// Returns the bound as a whole number, or `None` if it is infinite or has a fraction.
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Self::At(number) if number.floor() == number.ceil() => Some(number.floor()),
            _ => None,
        }
    }

    const fn finite(self) -> Option<Decimal> {
        match self {
            Self::At(number) => Some(number),
            _ => None,
        }
    }

    fn to_double(self) -> f64 {
        match self {
            Self::Lowest => f64::NEG_INFINITY,
            Self::At(number) => number.to_double(),
            Self::Highest => f64::INFINITY,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Lowest => out.write_str("-inf"),
            Self::At(number) => number.fmt(out),
            Self::Highest => out.write_str("inf"),
        }
    }
}

/// The smallest and the largest allowed number of a field. They have the field's own type, so that comparisons are
/// exact.
#[derive(Debug, Clone, Copy)]
pub enum Range {
    /// For int32 and int64 fields. `i64::MIN` and `i64::MAX` mean that there is no bound.
    Whole(i64, i64),
    /// For double fields. An infinite bound means that there is no bound.
    Double(f64, f64),
    /// For decimal128 fields. `None` means that there is no bound.
    Decimal(Option<Decimal>, Option<Decimal>),
}

impl Range {
    /// Returns the range of the integers between the bounds, or `None` if no integer is between them.
    pub(super) fn whole(least: Bound, most: Bound) -> Option<Self> {
        let (smallest, largest) = (i128::from(i64::MIN), i128::from(i64::MAX));
        let least = least.finite().map_or(if least.place() == 0 { smallest } else { largest + 1 }, Decimal::ceil);
        let most = most.finite().map_or(if most.place() == 0 { smallest - 1 } else { largest }, Decimal::floor);
        let (least, most) = (least.max(smallest), most.min(largest));
        (least <= most).then_some(Self::Whole(least as i64, most as i64))
    }

    /// Returns the range between the doubles nearest to the bounds.
    pub(super) fn double(least: Bound, most: Bound) -> Self {
        Self::Double(least.to_double(), most.to_double())
    }

    /// Returns the range of decimal numbers between the bounds. Nothing is rounded.
    pub(super) const fn decimal(least: Bound, most: Bound) -> Self {
        Self::Decimal(least.finite(), most.finite())
    }

    /// Returns true if the integer is within the range. A range of another type allows every integer.
    pub fn has_whole(&self, number: i64) -> bool {
        !matches!(self, Self::Whole(least, most) if !(least..=most).contains(&&number))
    }

    /// Returns true if the double is within the range. A range of another type allows every double.
    pub fn has_double(&self, number: f64) -> bool {
        !matches!(self, Self::Double(least, most) if !(least..=most).contains(&&number))
    }

    /// Returns true if the decimal number is within the range. A range of another type allows every number.
    pub fn has_decimal(&self, number: Decimal) -> bool {
        let Self::Decimal(least, most) = self else { return true };
        least.is_none_or(|least| number.compare(least).is_ge()) && most.is_none_or(|most| number.compare(most).is_le())
    }
}

/// Formats the range, for example as `0 to 130` or `1 to inf`.
impl fmt::Display for Range {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let end =
            |number: i64, none: i64, name: &str| if number == none { name.to_owned() } else { number.to_string() };
        let decimal = |number: Option<Decimal>, name: &str| number.map_or_else(|| name.to_owned(), |n| n.to_string());
        match *self {
            Self::Whole(least, most) => {
                write!(out, "{} to {}", end(least, i64::MIN, "-inf"), end(most, i64::MAX, "inf"))
            }
            Self::Double(least, most) => write!(out, "{least} to {most}"),
            Self::Decimal(least, most) => write!(out, "{} to {}", decimal(least, "-inf"), decimal(most, "inf")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_toml(text).expect(text)
    }

    #[test]
    fn decimals_are_compared_exactly() {
        for (left, right, expected) in [
            ("0.1", "0.10", Ordering::Equal),
            ("-0.0", "0", Ordering::Equal),
            ("0.1", "0.3", Ordering::Less),
            ("-0.1", "-0.3", Ordering::Greater),
            ("-1", "1e-40", Ordering::Less),
            ("9007199254740993", "9007199254740992", Ordering::Greater),
            ("1e33", "999999999999999999999999999999999.9", Ordering::Greater),
            ("9999999999999999999999999999999999", "1e34", Ordering::Less),
            ("1e5000", "9e4999", Ordering::Greater),
        ] {
            assert_eq!(decimal(left).compare(decimal(right)), expected, "{left} {right}");
            assert_eq!(decimal(right).compare(decimal(left)), expected.reverse(), "{right} {left}");
        }
    }

    #[test]
    fn bounds_are_stored_as_the_spec_writes_them() {
        for text in ["0.1", "-12.5", "9007199254740993", "0.30000000000000004"] {
            let bound = decimal(text);
            assert_eq!(bound.to_string(), text);
            let back = Decimal::from_bson(bound.to_bson()).expect("finite");
            assert_eq!(back.to_string(), text);
        }
        assert_eq!(decimal("0.1").to_double().to_bits(), 0.1_f64.to_bits());
        let long = format!("1{}", "0".repeat(40));
        assert_eq!(decimal(&long).compare(decimal("1e40")), Ordering::Equal);
        for text in ["1234567890123456789012345678901234", "1e6000", "1e-6000", "-1e-6000"] {
            assert!(Decimal::from_toml(text).is_some(), "{text}");
        }
        for text in ["12345678901234567890123456789012345", "1e6001", "1e-6001", "1e7000", "1e-7000", "x"] {
            assert!(Decimal::from_toml(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_range_includes_both_of_its_ends() {
        let at = |text| Bound::At(decimal(text));
        let both = Range::decimal(at("-0.5"), at("0.5"));
        for (number, expected) in [("-0.5", true), ("-0.51", false), ("0.50", true), ("0.51", false), ("0", true)] {
            assert_eq!(both.has_decimal(decimal(number)), expected, "{number}");
        }
        let open = [Range::decimal(Bound::Lowest, at("1")), Range::decimal(at("1"), Bound::Highest)];
        assert_eq!(open.map(|range| range.has_decimal(decimal("-1e9"))), [true, false]);
        assert_eq!(open.map(|range| range.has_decimal(decimal("1e9"))), [false, true]);
        let double = Range::double(at("-0.5"), Bound::Highest);
        for (number, expected) in [(-0.5, true), (-0.500_001, false), (f64::MAX, true), (f64::NAN, false)] {
            assert_eq!(double.has_double(number), expected, "{number}");
        }
        assert!(Range::double(Bound::Lowest, at("0.5")).has_double(0.5));
        assert!(!Range::double(Bound::Lowest, at("0.5")).has_double(0.500_001));
        let whole = Range::whole(at("-2"), at("2")).expect("some number");
        assert_eq!([-3, -2, 2, 3].map(|number| whole.has_whole(number)), [false, true, true, false]);
    }

    #[test]
    fn a_range_is_formatted_as_smallest_to_largest() {
        let at = |text| Bound::At(decimal(text));
        let whole = |least, most| Range::whole(least, most).expect("some number").to_string();
        assert_eq!(whole(at("0"), at("130")), "0 to 130");
        assert_eq!(whole(Bound::Lowest, at("-1")), "-inf to -1");
        assert_eq!(whole(at("-1"), Bound::Highest), "-1 to inf");
        assert_eq!(Range::double(at("-1.5"), at("2")).to_string(), "-1.5 to 2");
        assert_eq!(Range::double(Bound::Lowest, Bound::Highest).to_string(), "-inf to inf");
        assert_eq!(Range::decimal(at("0.10"), at("1e3")).to_string(), "0.10 to 1E+3");
        assert_eq!(Range::decimal(Bound::Lowest, Bound::Highest).to_string(), "-inf to inf");
    }

    #[test]
    fn whole_numbers_between_fractions() {
        let check = |least: Bound, most: Bound, expected: Option<(i64, i64)>| {
            let found = Range::whole(least, most).map(|range| match range {
                Range::Whole(least, most) => (least, most),
                other => panic!("{other:?}"),
            });
            assert_eq!(found, expected, "{least} {most}");
        };
        let at = |text| Bound::At(decimal(text));
        check(at("0.5"), at("3.5"), Some((1, 3)));
        check(at("-3.5"), at("-0.5"), Some((-3, -1)));
        check(at("0.2"), at("0.8"), None);
        check(at("9007199254740993.0"), Bound::Highest, Some((9_007_199_254_740_993, i64::MAX)));
        check(Bound::Lowest, at("1e300"), Some((i64::MIN, i64::MAX)));
        check(at("1e30"), Bound::Highest, None);
        check(at("-9223372036854775808"), at("9223372036854775807"), Some((i64::MIN, i64::MAX)));
        check(at("1e-50"), at("1"), Some((1, 1)));
    }

    proptest! {
        #[test]
        fn comparing_agrees_with_whole_numbers(left in -1_000_000_i64..1_000_000, right in -1_000_000_i64..1_000_000, power in 0_u32..8) {
            let shifted = |number: i64| {
                let scaled = number * 10_i64.pow(power);
                Decimal { negative: scaled < 0, coefficient: u128::from(scaled.unsigned_abs()), exponent: -power.cast_signed() }
            };
            let plain = |number: i64| {
                Decimal { negative: number < 0, coefficient: u128::from(number.unsigned_abs()), exponent: 0 }
            };
            prop_assert_eq!(shifted(left).compare(plain(right)), left.cmp(&right));
        }
    }
}
