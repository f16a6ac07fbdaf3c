//! Parses dates. All values of a column are parsed in the same format.

mod calendar;
mod decide;
mod shape;

use std::ops::Range;

use super::hl7::Time;
use crate::spec::Zone;

pub(crate) use calendar::{Civil, DAY_MS, civil_from_days, days_from_civil, iso_text};
pub(crate) use decide::{Decision, Evidence};

/// The range of the years 1 to 9999, in milliseconds since 1970-01-01T00:00:00Z.
pub(crate) const YEARS_MS: Range<i64> = -62_135_596_800_000..253_402_300_800_000;

/// A format of dates: the order of day, month and year, and the separator between them. A time may follow the date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DateFormat {
    /// `2024-01-31` or `2024/01/31`. `T` or a space, a time, a fraction of a second and an offset from UTC may follow
    /// (ISO 8601).
    Iso,
    /// Day, month and year with this separator: `31/01/2024` if it is `/`.
    DayMonthYear(u8),
    /// Month, day and year with this separator: `01/31/2024` if it is `/`.
    MonthDayYear(u8),
    /// A time in HL7 v2, such as `2024`, `20240131` or `20240131102030.456+0100` (data type DTM). If it has no offset
    /// from UTC, it is a local time of `zone`.
    Hl7 {
        /// The time zone.
        zone: Zone,
    },
}

impl DateFormat {
    /// All formats that a user can give.
    pub const ALL: [Self; 7] = [
        Self::Iso,
        Self::DayMonthYear(b'/'),
        Self::MonthDayYear(b'/'),
        Self::DayMonthYear(b'-'),
        Self::MonthDayYear(b'-'),
        Self::DayMonthYear(b'.'),
        Self::MonthDayYear(b'.'),
    ];

    /// Returns the format's name on the command line and in the summary, for example `YYYY-MM-DD`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Iso => "YYYY-MM-DD",
            Self::DayMonthYear(b'/') => "DD/MM/YYYY",
            Self::DayMonthYear(b'-') => "DD-MM-YYYY",
            Self::DayMonthYear(_) => "DD.MM.YYYY",
            Self::MonthDayYear(b'/') => "MM/DD/YYYY",
            Self::MonthDayYear(b'-') => "MM-DD-YYYY",
            Self::MonthDayYear(_) => "MM.DD.YYYY",
            Self::Hl7 { .. } => "HL7",
        }
    }

    /// Returns the format with this name, in any letter case. `iso` means `YYYY-MM-DD`.
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("iso") {
            return Some(Self::Iso);
        }
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }
}

/// Parses a date of this format, with or without a time. Returns milliseconds since 1970-01-01T00:00:00Z. Returns
/// `None` if the text is not such a date, or if its year is not 1 to 9999.
///
/// A time without an offset is read as UTC. Digits after the milliseconds are dropped. If the format is not
/// [`DateFormat::Iso`], day and month may have one digit: `1/2/2024`. The calendar is the proleptic Gregorian calendar.
pub fn parse_date(format: DateFormat, text: &str) -> Option<i64> {
    if format == DateFormat::Iso
        && let Some(days) = iso_days(text.as_bytes())
    {
        return Some(days * DAY_MS);
    }
    parse_any(format, text.as_bytes())
}

/// Parses the form that nearly all dates have, such as `2024-01-31`. Returns the days since 1970-01-01. If it returns
/// `None`, the text may still be a date in another form, which `parse_any` can read.
fn iso_days(text: &[u8]) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2].map(|byte| u32::from(byte.wrapping_sub(b'0')));
    if digits.iter().any(|&digit| digit > 9) {
        return None;
    }
    let [y1, y2, y3, y4, m1, m2, d1, d2] = digits;
    let civil = Civil { year: y1 * 1000 + y2 * 100 + y3 * 10 + y4, month: m1 * 10 + m2, day: d1 * 10 + d2 };
    civil.is_real().then(|| days_from_civil(civil))
}

fn parse_any(format: DateFormat, text: &[u8]) -> Option<i64> {
    let mut rest = Rest(text);
    let civil = match format {
        DateFormat::Iso => rest.iso_date()?,
        DateFormat::DayMonthYear(separator) => {
            let [day, month, year] = rest.short_date(separator)?;
            Civil { year, month, day }
        }
        DateFormat::MonthDayYear(separator) => {
            let [month, day, year] = rest.short_date(separator)?;
            Civil { year, month, day }
        }
        DateFormat::Hl7 { zone } => return Time::read(text, zone).map(|time| time.ms),
    };
    let time_ms = if rest.0.is_empty() { 0 } else { rest.time_ms()? };
    let ms = (civil.is_real() && rest.0.is_empty()).then(|| days_from_civil(civil) * DAY_MS + time_ms);
    // Because of its offset, a time can be before the year 1 or after the year 9999 in UTC. Such a time is refused,
    // because it cannot be written with a year of four digits.
    ms.filter(|ms| YEARS_MS.contains(ms))
}

/// The part of the text that has not been parsed yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    /// Removes and returns the next byte if it is one of `wanted`.
    fn take(&mut self, wanted: &[u8]) -> Option<u8> {
        let (&byte, rest) = self.0.split_first().filter(|(byte, _)| wanted.contains(byte))?;
        self.0 = rest;
        Some(byte)
    }

    /// Removes and returns a number of `fewest` to `most` digits.
    fn number(&mut self, fewest: usize, most: usize) -> Option<u32> {
        let length = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        (length >= fewest).then(|| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    fn iso_date(&mut self) -> Option<Civil> {
        let year = self.number(4, 4)?;
        let separator = self.take(b"-/")?;
        let month = self.number(2, 2)?;
        self.take(&[separator])?;
        Some(Civil { year, month, day: self.number(2, 2)? })
    }

    /// Parses two numbers of one or two digits and a year of four digits.
    fn short_date(&mut self, separator: u8) -> Option<[u32; 3]> {
        let first = self.number(1, 2)?;
        self.take(&[separator])?;
        let second = self.number(1, 2)?;
        self.take(&[separator])?;
        Some([first, second, self.number(4, 4)?])
    }

    /// Parses `T` or a space, a time `HH:MM[:SS[.fraction]]`, and an offset if there is one. Returns milliseconds since
    /// midnight UTC.
    fn time_ms(&mut self) -> Option<i64> {
        self.take(b"T t")?;
        let hour = self.number(1, 2)?;
        self.take(b":")?;
        let minute = self.number(2, 2)?;
        let mut seconds_ms = 0;
        if self.take(b":").is_some() {
            seconds_ms = self.seconds_ms()?;
        }
        let local_ms = i64::from(hour * 60 + minute) * 60_000 + i64::from(seconds_ms);
        (hour < 24 && minute < 60).then_some(local_ms - self.offset_ms()?)
    }

    fn seconds_ms(&mut self) -> Option<u32> {
        let seconds = self.number(2, 2).filter(|&seconds| seconds < 60)?;
        if self.take(b".,").is_none() {
            return Some(seconds * 1000);
        }
        let before = self.0;
        self.number(1, 9)?;
        let digits = &before[..before.len() - self.0.len()];
        let digit = |place: usize| digits.get(place).map_or(0, |digit| u32::from(digit - b'0'));
        Some(seconds * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2))
    }

    /// Parses the offset from UTC: `Z`, `+hh:mm`, `+hhmm`, `+hh` or nothing. The sign may be `-`. Returns the offset in
    /// milliseconds.
    fn offset_ms(&mut self) -> Option<i64> {
        let Some(sign) = self.take(b"Zz+-").filter(|sign| !sign.eq_ignore_ascii_case(&b'Z')) else { return Some(0) };
        let hours = self.number(2, 2).filter(|&hours| hours < 24)?;
        let has_minutes = self.take(b":").is_some() || !self.0.is_empty();
        let minutes = if has_minutes { self.number(2, 2).filter(|&minutes| minutes < 60)? } else { 0 };
        let offset_ms = i64::from(hours * 60 + minutes) * 60_000;
        Some(if sign == b'-' { -offset_ms } else { offset_ms })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn check(format: DateFormat, text: &str, expected: Option<i64>) {
        assert_eq!(parse_date(format, text), expected, "{text} as {}", format.name());
    }

    #[test]
    fn iso_dates() {
        let midnight = 1_706_659_200_000;
        for (text, after_ms) in [
            ("2024-01-31", 0),
            ("2024/01/31", 0),
            ("2024-01-31T00:00", 0),
            ("2024-01-31 09:05", 545 * MINUTE_MS),
            ("2024-01-31t09:05z", 545 * MINUTE_MS),
            ("2024-01-31 9:05:07", 545 * MINUTE_MS + 7000),
            ("2024-01-31T09:05:07.1", 545 * MINUTE_MS + 7100),
            ("2024-01-31T09:05:07.123456789Z", 545 * MINUTE_MS + 7123),
            ("2024-01-31T09:05:07.1239Z", 545 * MINUTE_MS + 7123),
            ("2024-01-31T09:05:07,5Z", 545 * MINUTE_MS + 7500),
            ("2024-01-31T09:05+02:00", 425 * MINUTE_MS),
            ("2024-01-31T09:05-0230", 695 * MINUTE_MS),
            ("2024-01-31T01:00+02", -60 * MINUTE_MS),
        ] {
            check(DateFormat::Iso, text, Some(midnight + after_ms));
        }
        check(DateFormat::Iso, "1970-01-01", Some(0));
        check(DateFormat::Iso, "1969-12-31T23:59:59.999Z", Some(-1));
        check(DateFormat::Iso, "0001-01-01", Some(-62_135_596_800_000));
        check(DateFormat::Iso, "9999-12-31", Some(253_402_214_400_000));
    }

    #[test]
    fn texts_that_are_not_iso_dates() {
        for text in [
            "",
            "2024",
            "2024-01",
            "2024-1-31",
            "24-01-31",
            "2024-01/31",
            "2024-02-30",
            "2023-02-29",
            "1900-02-29",
            "2024-04-31",
            "2024-13-01",
            "2024-00-01",
            "2024-01-00",
            "0000-01-01",
            "2024-01-31T",
            "2024-01-31T24:00",
            "2024-01-31T10:60",
            "2024-01-31T10:00:60",
            "2024-01-31T10:00:00.",
            "2024-01-31T10:00Zx",
            "2024-01-31T10:00+24:00",
            "2024-01-31T10:00+02:60",
            "2024-01-31T10:00+",
            "2024-01-31x",
            " 2024-01-31",
            "31/01/2024",
            "2024-01-31T10:00+02:",
            "２０２４-01-31",
            "-024-01-31",
        ] {
            check(DateFormat::Iso, text, None);
        }
        check(DateFormat::Iso, "2024-02-29", Some(1_709_164_800_000));
        for text in ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00+00:01", "9999-12-31T23:59:59.999-00:01"] {
            check(DateFormat::Iso, text, None);
        }
        check(DateFormat::Iso, "9999-12-31T23:59:00-00:01", None);
        check(DateFormat::Iso, "9999-12-31T23:58:59.999-00:01", Some(253_402_300_799_999));
        check(DateFormat::Iso, "0001-01-01T00:01+00:01", Some(-62_135_596_800_000));
        check(DateFormat::Iso, "10000-01-01", None);
        check(DateFormat::DayMonthYear(b'/'), "31/12/9999", Some(253_402_214_400_000));
        check(DateFormat::DayMonthYear(b'/'), "1/1/0001", Some(-62_135_596_800_000));
        check(DateFormat::DayMonthYear(b'/'), "1/1/0000", None);
        check(DateFormat::MonthDayYear(b'/'), "1/1/10000", None);
        check(DateFormat::Iso, "2024-01-31T23:59:59.999+23:59", Some(1_706_659_259_999));
        check(DateFormat::Iso, "9999-12-31T23:59:59.999+14:00", Some(253_402_250_399_999));
        check(DateFormat::Iso, "2000-02-29", Some(951_782_400_000));
    }

    #[test]
    fn short_dates_are_read_in_the_order_of_their_format() {
        let (april, march) = (1_712_102_400_000, 1_709_510_400_000);
        check(DateFormat::DayMonthYear(b'/'), "03/04/2024", Some(april));
        check(DateFormat::MonthDayYear(b'/'), "03/04/2024", Some(march));
        check(DateFormat::DayMonthYear(b'/'), "3/4/2024", Some(april));
        check(DateFormat::DayMonthYear(b'-'), "03-04-2024 01:00", Some(april + 60 * MINUTE_MS));
        check(DateFormat::MonthDayYear(b'.'), "3.04.2024", Some(march));
        for text in
            ["31/02/2024", "13/13/2024", "03-04-2024", "03/04-2024", "3/4/24", "003/4/2024", "/4/2024", "2024-04-03"]
        {
            check(DateFormat::DayMonthYear(b'/'), text, None);
        }
        check(DateFormat::MonthDayYear(b'/'), "31/01/2024", None);
    }

    #[test]
    fn every_name_is_read_as_its_format() {
        for format in DateFormat::ALL {
            assert_eq!(DateFormat::from_name(&format.name().to_lowercase()), Some(format));
        }
        assert_eq!(DateFormat::from_name("ISO"), Some(DateFormat::Iso));
        assert_eq!(DateFormat::from_name("YYYY"), None);
    }

    proptest! {
        #[test]
        fn the_fast_implementation_agrees_with_the_slow_one(text in "[0-9]{2}[0-9a:]{2}-[0-9:]{2}-[0-9/]{2}|[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]") {
            let slow = parse_any(DateFormat::Iso, text.as_bytes());
            prop_assert_eq!(parse_date(DateFormat::Iso, &text), slow);
        }

        #[test]
        fn it_never_panics(text in "[0-9/:. TZ+é-]{0,30}") {
            for format in DateFormat::ALL {
                let parsed = parse_date(format, &text);
                prop_assert!(parsed.is_none_or(|ms| iso_text(ms).is_some()));
            }
        }

        #[test]
        fn iso_text_is_parsed_to_the_same_time(ms in -62_135_596_800_000_i64..253_402_300_800_000) {
            let text = iso_text(ms).unwrap();
            prop_assert_eq!(parse_date(DateFormat::Iso, std::str::from_utf8(&text).unwrap()), Some(ms));
        }
    }
}
