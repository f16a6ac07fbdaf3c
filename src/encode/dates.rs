//! Writes dates as text.

use crate::parse::DateFormat;
use crate::parse::dates::{DAY_MS, civil_from_days};

/// Formats a day in the format of a source, for example `2024-01-31`, `31/01/2024` or `01/31/2024`.
pub fn date_text(format: DateFormat, ms: i64) -> String {
    let (year, month, day) = civil_from_days(ms.div_euclid(DAY_MS));
    match format {
        DateFormat::Iso | DateFormat::Hl7 { .. } => format!("{year:04}-{month:02}-{day:02}"),
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
