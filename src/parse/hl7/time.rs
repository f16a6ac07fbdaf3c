//! HL7 times: `YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]` (HL7 v2.8, 2A.3.22).

use crate::parse::dates::{Civil, DAY_MS, YEARS_MS, days_from_civil};
use crate::spec::Zone;

/// The largest offset from UTC that any place on earth uses, in minutes.
const OFFSET_MIN_MAX: i16 = 14 * 60;

/// A point in time, and how precisely it was given. It is the first point of the time that was given: `1988` is the
/// beginning of the year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    /// Milliseconds since 1970-01-01T00:00:00Z. Smaller parts of a fraction are cut off.
    pub ms: i64,
    /// The last part that was given.
    pub precision: Precision,
    /// True if the offset from UTC was given.
    pub has_offset: bool,
}

/// The smallest unit that was given: `198807` gives the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    /// A fraction of a second.
    Fraction,
}

impl Precision {
    /// All precisions.
    pub(crate) const ALL: [Self; 7] =
        [Self::Year, Self::Month, Self::Day, Self::Hour, Self::Minute, Self::Second, Self::Fraction];

    /// Returns the precision with this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Returns the name in documents.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Minute => "minute",
            Self::Second => "second",
            Self::Fraction => "fraction",
        }
    }
}

impl Time {
    /// Reads a time. A time that is given without offset is a local time of `zone`. Returns `None` if the text is not
    /// an HL7 time, if the calendar has no such time, or if its year is not 1 to 9999.
    pub(crate) fn read(text: &[u8], zone: Zone) -> Option<Self> {
        let sign = text.iter().position(|byte| matches!(byte, b'+' | b'-'));
        let (local, offset) = text.split_at(sign.unwrap_or(text.len()));
        let has_offset = !offset.is_empty();
        let zone = if has_offset { Zone::Offset(read_offset(offset)?) } else { zone };
        let (local_ms, precision) = read_local(local)?;
        let ms = zone.utc_ms(local_ms);
        YEARS_MS.contains(&ms).then_some(Self { ms, precision, has_offset })
    }

    /// Reads a day, a month or a year as it begins in UTC, whatever zone or offset it has: a day of birth is the same
    /// day everywhere. A more precise time is read as [`read`](Self::read) does.
    pub(crate) fn read_day(text: &[u8], zone: Zone) -> Option<Self> {
        let time = Self::read(text, zone)?;
        if time.precision > Precision::Day {
            return Some(time);
        }
        let day = text.split(|byte| matches!(byte, b'+' | b'-')).next()?;
        Self::read(day, Zone::UTC)
    }
}

/// Reads a time without offset. Returns it as if it were in UTC.
fn read_local(text: &[u8]) -> Option<(i64, Precision)> {
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = text.split_at(point.unwrap_or(text.len()));
    let precision = match (whole.len(), fraction.len()) {
        (4, 0) => Precision::Year,
        (6, 0) => Precision::Month,
        (8, 0) => Precision::Day,
        (10, 0) => Precision::Hour,
        (12, 0) => Precision::Minute,
        (14, 0) => Precision::Second,
        // The point and one to four digits.
        (14, 2..=5) => Precision::Fraction,
        _ => return None,
    };
    let part = |from: usize, to: usize, default| whole.get(from..to).map_or(Some(default), number);
    let date = Civil { year: part(0, 4, 0)?, month: part(4, 6, 1)?, day: part(6, 8, 1)? };
    let (hour, minute, second) = (part(8, 10, 0)?, part(10, 12, 0)?, part(12, 14, 0)?);
    if !date.is_real() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    Some((days_from_civil(date) * DAY_MS + seconds * 1000 + fraction_ms(fraction)?, precision))
}

/// Returns the milliseconds of a fraction with its point, for example 250 for `.25`.
fn fraction_ms(fraction: &[u8]) -> Option<i64> {
    let digits = fraction.get(1..).unwrap_or_default();
    let ten_thousandths = number(digits)? * 10_u32.pow(4 - digits.len() as u32);
    Some(i64::from(ten_thousandths / 10))
}

/// Reads an offset from UTC, in minutes: `+0530` is 330.
fn read_offset(text: &[u8]) -> Option<i16> {
    let (sign, digits) = text.split_first()?;
    let (hours, minutes) = digits.split_at_checked(2).filter(|(_, minutes)| minutes.len() == 2)?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let offset = i16::try_from(hours * 60 + minutes).ok()?;
    let is_real = minutes < 60 && offset <= OFFSET_MIN_MAX;
    is_real.then_some(if *sign == b'-' { -offset } else { offset })
}

/// Reads a number of at most nine digits. A text without digits is 0.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::dates::iso_text;

    #[test]
    fn a_time_has_the_precision_with_which_it_was_given() {
        let check = |text: &str, iso: &str, precision, has_offset| {
            let time = Time::read(text.as_bytes(), Zone::Offset(60)).unwrap_or_else(|| panic!("{text}"));
            let seen = iso_text(time.ms).unwrap();
            assert_eq!(std::str::from_utf8(&seen).unwrap(), iso, "{text}");
            assert_eq!((time.precision, time.has_offset), (precision, has_offset), "{text}");
        };
        // A time without offset is one hour east of UTC here.
        check("1988", "1987-12-31T23:00:00.000Z", Precision::Year, false);
        check("198807", "1988-06-30T23:00:00.000Z", Precision::Month, false);
        check("19880229", "1988-02-28T23:00:00.000Z", Precision::Day, false);
        check("2004062916", "2004-06-29T15:00:00.000Z", Precision::Hour, false);
        check("200406291658", "2004-06-29T15:58:00.000Z", Precision::Minute, false);
        check("20040629165819", "2004-06-29T15:58:19.000Z", Precision::Second, false);
        check("20040629165819.5", "2004-06-29T15:58:19.500Z", Precision::Fraction, false);
        check("20040629165819.0129", "2004-06-29T15:58:19.012Z", Precision::Fraction, false);
        check("20040629165819+0000", "2004-06-29T16:58:19.000Z", Precision::Second, true);
        check("20040629165819.1234-0500", "2004-06-29T21:58:19.123Z", Precision::Fraction, true);
        check("20040629+0545", "2004-06-28T18:15:00.000Z", Precision::Day, true);
        check("1988-1200", "1988-01-01T12:00:00.000Z", Precision::Year, true);
    }

    #[test]
    fn a_day_is_the_same_day_in_all_zones() {
        let check = |text: &str, iso: &str| {
            let time = Time::read_day(text.as_bytes(), Zone::Offset(60)).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(std::str::from_utf8(&iso_text(time.ms).unwrap()).unwrap(), iso, "{text}");
        };
        check("1988", "1988-01-01T00:00:00.000Z");
        check("19800102", "1980-01-02T00:00:00.000Z");
        check("19800102+0545", "1980-01-02T00:00:00.000Z");
        check("198001020030", "1980-01-01T23:30:00.000Z");
        assert_eq!(Time::read_day(b"19800102+9900", Zone::UTC), None);
    }

    #[test]
    fn a_text_that_is_not_a_time_is_refused() {
        let texts = [
            "",
            "198",
            "19880",
            "1988070",
            "20040230",
            "00000101",
            "20041301",
            "2004060",
            "20040600",
            "2004062924",
            "200406291660",
            "20040629165860",
            "20040629165819.",
            "20040629165819.12345",
            "2004.5",
            "200406291658.5",
            "2004062916581",
            "+0100",
            "2004+01",
            "2004+01:00",
            "2004+1500",
            "2004+0160",
            "2004-0500x",
            "2004+",
            "2004 ",
            "2004-06-29",
            "20040629T1658",
            "２００４",
            "20040629165819.1+0100-0100",
            "20040629165819.x",
            "200406291658Z",
        ];
        for text in texts {
            assert_eq!(Time::read(text.as_bytes(), Zone::UTC), None, "{text:?}");
        }
    }

    #[test]
    fn precisions_have_names() {
        let names = [Precision::Year, Precision::Month, Precision::Day, Precision::Hour].map(Precision::name);
        assert_eq!(names, ["year", "month", "day", "hour"]);
        let names = [Precision::Minute, Precision::Second, Precision::Fraction].map(Precision::name);
        assert_eq!(names, ["minute", "second", "fraction"]);
    }

    proptest! {
        #[test]
        fn a_written_time_is_read_again(ms in -62_135_596_800_000_i64..253_402_300_800_000) {
            let iso = iso_text(ms).unwrap();
            let digits: Vec<u8> = iso.iter().copied().filter(|byte| !b"-T:Z".contains(byte)).collect();
            let expected = Time { ms, precision: Precision::Fraction, has_offset: false };
            prop_assert_eq!(Time::read(&digits, Zone::UTC), Some(expected));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[0-9.+-]{0,25}") {
            let _ = Time::read(text.as_bytes(), Zone::Offset(i16::MAX));
        }
    }
}
