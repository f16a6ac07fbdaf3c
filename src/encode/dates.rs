//! Writes dates as text.

use super::fit::DAY_MS;
use crate::parse::DateFormat;

/// Formats a day in the format of a source, for example `2024-01-31`, `31/01/2024` or `01/31/2024`.
pub fn date_text(format: DateFormat, ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    match format {
        DateFormat::Iso => format!("{year:04}-{month:02}-{day:02}"),
        DateFormat::DayMonthYear(mark) => format!("{day:02}{mark}{month:02}{mark}{year:04}", mark = char::from(mark)),
        DateFormat::MonthDayYear(mark) => format!("{month:02}{mark}{day:02}{mark}{year:04}", mark = char::from(mark)),
    }
}

/// Formats a day with its time in UTC. In ISO 8601: `2024-01-31T10:20:30Z`. In other formats: `31/01/2024 10:20:30`.
pub fn datetime_text(format: DateFormat, ms: i64) -> String {
    let (between, after) = if format == DateFormat::Iso { ('T', "Z") } else { (' ', "") };
    let date = date_text(format, ms);
    let ms = ms.rem_euclid(DAY_MS);
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let fraction = if ms % 1000 == 0 { String::new() } else { format!(".{:03}", ms % 1000) };
    format!("{date}{between}{hours:02}:{minutes:02}:{seconds:02}{fraction}{after}")
}

/// Formats a time as `2024-01-31T10:20:30.456Z`. The fraction is left out if it is zero.
pub(super) fn iso_datetime(ms: i64) -> String {
    datetime_text(DateFormat::Iso, ms)
}

/// Converts days since 1970-01-01 to year, month and day in the proleptic Gregorian calendar.
/// <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}
