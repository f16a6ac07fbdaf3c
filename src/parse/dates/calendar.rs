//! Converts dates to day numbers and back, in the proleptic Gregorian calendar. The algorithms are `days_from_civil`
//! and `civil_from_days` from Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

/// Milliseconds per day.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Number of days from 0000-03-01 to 1970-01-01. The calendar repeats every 400 years. Here such an era of 400 years
/// begins on 0000-03-01.
const EPOCH_DAYS: i64 = 719_468;
/// Number of days in an era of 400 years.
const ERA_DAYS: i64 = 146_097;
const MONTH_DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A date: year, month (1 to 12) and day (from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: u32,
    pub month: u32,
    pub day: u32,
}

impl Civil {
    /// Returns true if the date exists in the calendar and its year is 1 to 9999.
    pub(crate) fn is_real(self) -> bool {
        let Some(&days) = MONTH_DAYS.get((self.month as usize).wrapping_sub(1)) else { return false };
        let leap_day = u32::from(self.month == 2 && is_leap(self.year));
        (1..=9999).contains(&self.year) && (1..=days + leap_day).contains(&self.day)
    }

    /// Returns the date that is `days` after 1970-01-01. Returns `None` if its year is not 1 to 9999.
    fn from_days(days: i64) -> Option<Self> {
        let (year, month, day) = civil_from_days(days);
        let part = |number: i64| u32::try_from(number).ok();
        Some(Self { year: part(year)?, month: part(month)?, day: part(day)? }).filter(|civil| civil.is_real())
    }
}

fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Returns the number of days since 1970-01-01.
pub(crate) fn days_from_civil(Civil { year, month, day }: Civil) -> i64 {
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    // Here a year begins in March, so that the leap day is the last day of the year.
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * ERA_DAYS + day_of_era - EPOCH_DAYS
}

/// Returns year, month and day of the date that is `days` after 1970-01-01. The year may be outside 1 to 9999.
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Formats milliseconds since 1970-01-01T00:00:00Z as text, for example `2024-01-31T09:05:07.123Z`. Returns `None` if
/// the year is not 1 to 9999.
pub(crate) fn iso_text(ms: i64) -> Option<[u8; 24]> {
    let Civil { year, month, day } = Civil::from_days(ms.div_euclid(DAY_MS))?;
    let time_ms = u32::try_from(ms.rem_euclid(DAY_MS)).ok()?;
    let (hour, minute, second) = (time_ms / 3_600_000, time_ms / 60_000 % 60, time_ms / 1000 % 60);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let parts = [(3, year), (6, month), (9, day), (12, hour), (15, minute), (18, second), (22, time_ms % 1000)];
    for (last_digit, part) in parts {
        write_number(&mut text[..=last_digit], part);
    }
    Some(text)
}

/// Writes the digits of `number` at the end of `text`. The zeros in front of them stay.
fn write_number(text: &mut [u8], mut number: u32) {
    for digit in text.iter_mut().rev() {
        if number == 0 {
            return;
        }
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_numbers_have_no_gap_in_ten_thousand_years() {
        let mut days = days_from_civil(Civil { year: 1, month: 1, day: 1 });
        for year in 1..=9999 {
            for month in 1..=12 {
                // All months have the days 1 to 28. Of the days 1 to 28, only the first and the last are tested, to
                // save time.
                for day in [1, 28, 29, 30, 31] {
                    let civil = Civil { year, month, day };
                    if civil.is_real() {
                        assert_eq!((days_from_civil(civil), Civil::from_days(days)), (days, Some(civil)));
                        days += if day == 1 { 27 } else { 1 };
                    }
                }
            }
        }
        assert_eq!(days, 2_932_897, "9999-12-31 is day 2,932,896 after the epoch");
        assert_eq!(Civil::from_days(days), None);
    }

    #[test]
    fn a_point_in_time_is_formatted_as_iso_8601() {
        let check = |ms, expected: Option<&[u8; 24]>| assert_eq!(iso_text(ms).as_ref(), expected);
        check(0, Some(b"1970-01-01T00:00:00.000Z"));
        check(-1, Some(b"1969-12-31T23:59:59.999Z"));
        check(1_706_691_907_123, Some(b"2024-01-31T09:05:07.123Z"));
        check(-62_135_596_800_000, Some(b"0001-01-01T00:00:00.000Z"));
        check(253_402_300_799_999, Some(b"9999-12-31T23:59:59.999Z"));
        check(253_402_300_800_000, None);
        check(-62_135_596_800_001, None);
        check(i64::MAX, None);
        check(i64::MIN, None);
    }
}
