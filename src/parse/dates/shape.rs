//! Recognises dates that Medlift cannot read, so that the error message can describe how they are written.

use super::calendar::Civil;
use super::{DateFormat, parse_date};

/// A way to write dates that Medlift does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `16-07-68`: a year of two digits.
    ShortYear,
    /// `16 Jul 1968`.
    MonthName,
    /// `19680716`.
    YearMonthDay,
    /// `16071968` or `07161968`.
    DayMonthYear,
    /// `19680716093000`, as in HL7 version 2.
    WithTime,
    /// `16/07/1968 9:30 PM`.
    HalfDay,
    /// `25035`: the number of a day, as spreadsheets store dates.
    DayNumber,
    /// `1706691600`: seconds or milliseconds since 1970-01-01.
    Epoch,
    /// `1968` or `1968-07`: the day is missing.
    NoDay,
}

impl Shape {
    /// All shapes, in the order in which the enum declares them.
    pub(super) const ALL: [Self; 9] = [
        Self::ShortYear,
        Self::MonthName,
        Self::YearMonthDay,
        Self::DayMonthYear,
        Self::WithTime,
        Self::HalfDay,
        Self::DayNumber,
        Self::Epoch,
        Self::NoDay,
    ];

    /// Returns a description of the shape for error messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ShortYear => "dates with a year of two digits, such as DD-MM-YY",
            Self::MonthName => "dates with a month in letters, such as DD-Mon-YYYY",
            Self::YearMonthDay => "dates without separators, YYYYMMDD",
            Self::DayMonthYear => "dates without separators, DDMMYYYY or MMDDYYYY",
            Self::WithTime => "dates and times without separators, YYYYMMDDhhmmss",
            Self::HalfDay => "times with AM or PM",
            Self::DayNumber => "numbers of days, as spreadsheets store dates",
            Self::Epoch => "seconds or milliseconds since 1970",
            Self::NoDay => "a year, or a year and a month, without a day",
        }
    }
}

/// Returns the shape of a text that is not a date in any known format. Returns `None` if the text does not look like a
/// date.
pub(super) fn shape_of(text: &str) -> Option<Shape> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return shape_of_digits(text);
    }
    if has_half_day(text) {
        return Some(Shape::HalfDay);
    }
    let parts: Vec<&str> = text.split(|sign: char| !sign.is_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let is_number = |part: &&str| part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    match parts.as_slice() {
        [whole, _] if is_day_number(whole) && text.contains('.') => Some(Shape::DayNumber),
        [year, month] if is_year(year) && is_number(month) => Some(Shape::NoDay),
        [day, month, year, ..] if is_number(day) && is_number(month) && is_number(year) => Some(Shape::ShortYear),
        parts if parts.len() > 1 && parts.iter().any(|part| is_month(part)) => Some(Shape::MonthName),
        [part] if is_joined_month(part) => Some(Shape::MonthName),
        _ => None,
    }
}

fn shape_of_digits(text: &str) -> Option<Shape> {
    let number = |range: std::ops::Range<usize>| text[range].parse().unwrap_or(0);
    let is_real = |year, month, day| Civil { year, month, day }.is_real() && year > 1800 && year < 2200;
    match text.len() {
        4 if is_year(text) => Some(Shape::NoDay),
        5 if is_day_number(text) => Some(Shape::DayNumber),
        8 if is_real(number(0..4), number(4..6), number(6..8)) => Some(Shape::YearMonthDay),
        8 => {
            let (first, second, year) = (number(0..2), number(2..4), number(4..8));
            (is_real(year, second, first) || is_real(year, first, second)).then_some(Shape::DayMonthYear)
        }
        10 | 13 => Some(Shape::Epoch),
        12 | 14 if is_real(number(0..4), number(4..6), number(6..8)) => Some(Shape::WithTime),
        _ => None,
    }
}

/// Returns true if the text is a date with a time that ends in AM or PM.
fn has_half_day(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some(time) = ["am", "pm", "a.m.", "p.m."].iter().find_map(|end| lower.strip_suffix(end)) else { return false };
    DateFormat::ALL.iter().any(|&format| parse_date(format, time.trim_end()).is_some())
}

fn is_year(part: &str) -> bool {
    part.len() == 4 && (part.starts_with("18") || part.starts_with("19") || part.starts_with("20"))
}

fn is_day_number(part: &str) -> bool {
    part.len() == 5 && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns true if the text consists of letters and begins like the name of a month in English, German, French, Spanish
/// or Italian.
fn is_month(part: &str) -> bool {
    const BEGINNINGS: [&str; 30] = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "jän", "mär", "mai", "okt",
        "dez", "fév", "fev", "avr", "juin", "juil", "aoû", "déc", "ene", "abr", "ago", "dic", "gen", "mag",
    ];
    let lower = part.to_lowercase();
    lower.chars().all(char::is_alphabetic) && BEGINNINGS.iter().any(|beginning| lower.starts_with(beginning))
}

/// Returns true if the text consists of a day, a month in letters and a year, without separators: `16JUL1968`.
fn is_joined_month(part: &str) -> bool {
    let rest = part.trim_start_matches(|sign: char| sign.is_ascii_digit());
    let month = rest.trim_end_matches(|sign: char| sign.is_ascii_digit());
    month.len() < rest.len() && rest.len() < part.len() && is_month(month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_nearly_dates_are_recognised() {
        let check = |texts: &[&str], expected| {
            for text in texts {
                assert_eq!(shape_of(text), expected, "{text}");
            }
        };
        check(&["16-07-68", "1/2/05", "01.02.05 10:30"], Some(Shape::ShortYear));
        check(&["16 Jul 1968", "16-JUL-68", "July 16, 1968", "3. März 2024", "16JUL1968"], Some(Shape::MonthName));
        check(&["19680716"], Some(Shape::YearMonthDay));
        check(&["16071968", "07161968"], Some(Shape::DayMonthYear));
        check(&["19680716093000", "202401310905"], Some(Shape::WithTime));
        check(&["31/01/2024 9:05 PM", "2024-01-31 09:05am"], Some(Shape::HalfDay));
        check(&["45322", "45322.5"], Some(Shape::DayNumber));
        check(&["1706691600", "1706691600000"], Some(Shape::Epoch));
        check(&["1968", "1968-07", "2024/1"], Some(Shape::NoDay));
        check(&["soon", "unknown", "maybe", "12345678901", "99999999", "-", "2024-02-30", "31/31/2024", ""], None);
    }

    #[test]
    fn shapes_are_numbered_as_they_are_listed() {
        assert!(Shape::ALL.iter().enumerate().all(|(index, &shape)| shape as usize == index));
    }

    proptest::proptest! {
        #[test]
        fn it_never_panics(text in "\\PC{0,20}|[0-9]{0,15}|[0-9/:. apmT-]{0,20}") {
            let _ = shape_of(&text);
        }
    }
}
