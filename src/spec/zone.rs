//! The time zone of times that do not name their offset from UTC.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

use super::closest;

const MINUTE_MS: i64 = 60_000;
/// 9999-12-29, in milliseconds since 1970. The time zone library `jiff` converts times until 9999-12-30. Times after
/// this constant are converted with the offset at this time.
const RULES_END_MS: i64 = 253_402_041_600_000;

/// A time zone: a fixed offset from UTC, or a zone with rules that change over time, such as `Europe/Berlin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Zone {
    /// Minutes that local time is ahead of UTC.
    Offset(i16),
    /// A zone of the IANA time zone database. The database is part of the program.
    Named(&'static NamedZone),
}

/// A zone of the IANA time zone database. There is at most one value for each zone, and it lives as long as the
/// program.
#[derive(Debug)]
pub struct NamedZone {
    name: String,
    rules: TimeZone,
}

impl PartialEq for NamedZone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for NamedZone {}

impl Hash for NamedZone {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self::UTC
    }
}

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self::Offset(0);

    /// Reads an offset such as `+01:00`, or the name of a zone in any letter case.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.starts_with(['+', '-']) { offset(text).map(Self::Offset) } else { named(text).map(Self::Named) }
    }

    /// Returns the name of the zone, or the offset as in `+01:00`.
    pub fn name(self) -> String {
        match self {
            Self::Offset(minutes) => {
                let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
                format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
            Self::Named(zone) => zone.name.clone(),
        }
    }

    /// Returns the name of the zone that is spelled most similarly.
    pub(super) fn closest_name(text: &str) -> Option<String> {
        let known: Vec<String> = TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect();
        closest(text, known.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Converts a local time to UTC. Both are in milliseconds since 1970.
    ///
    /// If the clocks are set back, a local time occurs twice. It is then read as the first of the two, which is in
    /// summer time. If the clocks are set forward, a local time does not occur. It is then read with the offset before
    /// the change, so 02:30 becomes 03:30 in summer time. Source: RFC 5545, section 3.3.5.
    pub fn utc_ms(self, local_ms: i64) -> i64 {
        match self {
            Self::Offset(minutes) => local_ms - i64::from(minutes) * MINUTE_MS,
            Self::Named(zone) => {
                let known_ms = local_ms.min(RULES_END_MS);
                local_ms - known_ms + zone.utc_ms(known_ms).unwrap_or(known_ms)
            }
        }
    }
}

impl NamedZone {
    fn utc_ms(&self, local_ms: i64) -> Option<i64> {
        let local = Offset::UTC.to_datetime(Timestamp::from_millisecond(local_ms).ok()?);
        Some(self.rules.to_ambiguous_timestamp(local).compatible().ok()?.as_millisecond())
    }
}

fn named(name: &str) -> Option<&'static NamedZone> {
    static KNOWN: Mutex<BTreeMap<String, &NamedZone>> = Mutex::new(BTreeMap::new());
    let rules = TimeZoneDatabase::bundled().get(name).ok().filter(|rules| !rules.is_unknown())?;
    let name = rules.iana_name()?.to_owned();
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    Some(known.entry(name.clone()).or_insert_with(|| Box::leak(Box::new(NamedZone { name, rules }))))
}

/// Reads an offset from UTC, in minutes: `-05:30` is -330.
fn offset(text: &str) -> Option<i16> {
    let number = |text: &str| text.parse::<i16>().ok().filter(|_| text.len() == 2 && !text.starts_with(['+', '-']));
    let (hours, minutes) = text.strip_prefix(['+', '-'])?.split_once(':')?;
    match (number(hours)?, number(minutes)?) {
        (hours @ 0..=14, minutes @ 0..=59) => {
            let offset = hours * 60 + minutes;
            Some(if text.starts_with('-') { -offset } else { offset })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the UTC time of a local time, both as ISO texts.
    fn utc(zone: &str, local: &str) -> String {
        let ms = |text: &str| format!("{text}Z").parse::<Timestamp>().expect(text).as_millisecond();
        let found = Zone::from_text(zone).expect(zone).utc_ms(ms(local));
        Timestamp::from_millisecond(found).expect("in range").to_string()
    }

    #[test]
    fn local_times_become_utc() {
        let check = |zone: &str, local: &str, expected: &str| assert_eq!(utc(zone, local), expected, "{zone} {local}");
        check("+01:00", "2026-07-01T12:00:00", "2026-07-01T11:00:00Z");
        check("-05:30", "2026-07-01T12:00:00", "2026-07-01T17:30:00Z");
        check("Europe/Berlin", "2026-01-01T12:00:00", "2026-01-01T11:00:00Z");
        check("Europe/Berlin", "2026-07-01T12:00:00.250", "2026-07-01T10:00:00.25Z");
        check("america/new_york", "2026-07-01T12:00:00", "2026-07-01T16:00:00Z");
        check("Asia/Kathmandu", "2026-07-01T12:00:00", "2026-07-01T06:15:00Z");
        check("UTC", "2026-07-01T12:00:00", "2026-07-01T12:00:00Z");
        // Far in the future, the last rule of the zone applies.
        check("Europe/Berlin", "2500-07-01T12:00:00", "2500-07-01T10:00:00Z");
        // Before 1893, Berlin had its local mean time.
        check("Europe/Berlin", "1888-01-01T00:00:00", "1887-12-31T23:06:32Z");
    }

    #[test]
    fn a_time_that_occurs_twice_is_the_first_and_one_that_does_not_occur_has_the_offset_before_the_change() {
        let check = |zone: &str, local: &str, expected: &str| assert_eq!(utc(zone, local), expected, "{zone} {local}");
        check("Europe/Berlin", "2026-10-25T01:59:59", "2026-10-24T23:59:59Z");
        check("Europe/Berlin", "2026-10-25T02:30:00", "2026-10-25T00:30:00Z");
        check("Europe/Berlin", "2026-10-25T03:00:00", "2026-10-25T02:00:00Z");
        check("Europe/Berlin", "2026-03-29T02:00:00", "2026-03-29T01:00:00Z");
        check("Europe/Berlin", "2026-03-29T02:30:00", "2026-03-29T01:30:00Z");
        check("Europe/Berlin", "2026-03-29T03:00:00", "2026-03-29T01:00:00Z");
        // The examples of RFC 5545.
        check("America/New_York", "2007-11-04T01:30:00", "2007-11-04T05:30:00Z");
        check("America/New_York", "2007-03-11T02:30:00", "2007-03-11T07:30:00Z");
    }

    #[test]
    fn the_end_of_the_calendar_has_an_offset() {
        let last = 253_402_300_799_000;
        let zone = Zone::from_text("Europe/Berlin").expect("a zone");
        assert_eq!(zone.utc_ms(last), last - 60 * MINUTE_MS);
        let first = -62_135_596_800_000;
        assert!((zone.utc_ms(first) - first).abs() < 60 * MINUTE_MS);
    }

    #[test]
    fn a_zone_is_written_as_it_is_read() {
        for text in ["+00:00", "+05:45", "-03:30", "Europe/Berlin"] {
            assert_eq!(Zone::from_text(text).map(Zone::name).as_deref(), Some(text));
        }
    }

    #[test]
    fn a_zone_has_one_value_and_unknown_names_are_refused() {
        assert_eq!(Zone::from_text("europe/berlin"), Zone::from_text("Europe/Berlin"));
        assert_ne!(Zone::from_text("Europe/Paris"), Zone::from_text("Europe/Berlin"));
        assert_eq!(Zone::from_text("+00:00"), Some(Zone::UTC));
        for text in ["", "1:00", "+1:00", "+15:00", "+01:60", "+-1:00", "Europe/Berln", "Etc/Unknown", "CEST", "local"]
        {
            assert_eq!(Zone::from_text(text), None, "{text}");
        }
        assert_eq!(Zone::closest_name("Europe/Berln").as_deref(), Some("Europe/Berlin"));
    }
}
