//! Which format a column's dates have, decided from all values of a sample.
//!
//! Every value that reads as a date speaks for the formats it fits. Day-first and month-first fit many values alike: those
//! decide nothing, and where all do, nobody but the user can tell.

use super::{DateFormat, parse_date};

/// A format is a column's own if at most one value in this many speaks against it.
const ODD_ONE_IN: u64 = 100;
const SEPARATORS: [u8; 3] = [b'/', b'-', b'.'];

/// What the values of a column allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// One format.
    One(DateFormat),
    /// No value reads as a date, or there is none at all.
    NoValues,
    /// Two formats that fit all values alike.
    Ambiguous(DateFormat, DateFormat),
    /// Values of several formats: each with the number of values that fit it, most first.
    Mixed(Vec<(DateFormat, u64)>),
}

/// The values of a column seen so far, counted by what they fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    iso: u64,
    by_separator: [Orders; 3],
}

/// Dates with one separator, by the orders they allow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Orders {
    day_first: u64,
    month_first: u64,
    either: u64,
}

impl Orders {
    fn total(self) -> u64 {
        self.day_first + self.month_first + self.either
    }
}

/// The format of a column with these values; empty ones and null markers left out by the caller.
pub fn decide<'v>(values: impl Iterator<Item = &'v str>) -> Decision {
    let mut evidence = Evidence::default();
    values.for_each(|value| evidence.add(value));
    evidence.decide()
}

impl Evidence {
    /// Takes one more value into account. What is no date in any format says nothing.
    pub fn add(&mut self, value: &str) {
        if parse_date(DateFormat::Iso, value).is_some() {
            self.iso += 1;
            return;
        }
        for (separator, orders) in SEPARATORS.into_iter().zip(&mut self.by_separator) {
            let day_first = parse_date(DateFormat::DayMonthYear(separator), value).is_some();
            let month_first = parse_date(DateFormat::MonthDayYear(separator), value).is_some();
            match (day_first, month_first) {
                (true, true) => orders.either += 1,
                (true, false) => orders.day_first += 1,
                (false, true) => orders.month_first += 1,
                (false, false) => {}
            }
        }
    }

    /// What all the values together allow.
    pub fn decide(&self) -> Decision {
        let totals = self.by_separator.map(Orders::total);
        let dates = self.iso + totals.iter().sum::<u64>();
        let most = totals.into_iter().fold(self.iso, u64::max);
        if dates == 0 {
            Decision::NoValues
        } else if is_too_many(dates - most, dates) {
            Decision::Mixed(self.fits())
        } else if self.iso == most {
            Decision::One(DateFormat::Iso)
        } else {
            let place = totals.iter().position(|&total| total == most).unwrap_or_default();
            self.decide_order(SEPARATORS[place], self.by_separator[place])
        }
    }

    fn decide_order(&self, separator: u8, orders: Orders) -> Decision {
        let (day_first, month_first) = (DateFormat::DayMonthYear(separator), DateFormat::MonthDayYear(separator));
        let telling = orders.day_first + orders.month_first;
        if telling == 0 {
            Decision::Ambiguous(day_first, month_first)
        } else if is_too_many(orders.day_first.min(orders.month_first), telling) {
            Decision::Mixed(self.fits())
        } else {
            Decision::One(if orders.day_first > orders.month_first { day_first } else { month_first })
        }
    }

    /// The formats that fit any value, each with how many, most first.
    fn fits(&self) -> Vec<(DateFormat, u64)> {
        let mut fits = vec![(DateFormat::Iso, self.iso)];
        for (separator, orders) in SEPARATORS.into_iter().zip(self.by_separator) {
            fits.push((DateFormat::DayMonthYear(separator), orders.day_first + orders.either));
            fits.push((DateFormat::MonthDayYear(separator), orders.month_first + orders.either));
        }
        fits.retain(|&(_, values)| values > 0);
        fits.sort_by_key(|&(_, values)| std::cmp::Reverse(values));
        fits
    }
}

/// Whether `minority` of `all` is more than odd values in a column of another format.
fn is_too_many(minority: u64, all: u64) -> bool {
    minority * ODD_ONE_IN > all
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_FIRST: DateFormat = DateFormat::DayMonthYear(b'/');
    const MONTH_FIRST: DateFormat = DateFormat::MonthDayYear(b'/');

    fn check(values: &[(&str, usize)], expected: &Decision) {
        let all = values.iter().flat_map(|&(value, times)| std::iter::repeat_n(value, times));
        assert_eq!(&decide(all), expected, "{values:?}");
    }

    #[test]
    fn one_format_that_all_values_allow_is_the_columns() {
        check(&[("2024-01-31", 3)], &Decision::One(DateFormat::Iso));
        check(&[("2024-01-31T10:00:00Z", 1)], &Decision::One(DateFormat::Iso));
        check(&[("03/04/2024", 99), ("31/01/2024", 1)], &Decision::One(DAY_FIRST));
        check(&[("3/4/2024", 99), ("1/31/2024", 1)], &Decision::One(MONTH_FIRST));
        check(&[("31-01-2024", 1), ("unknown", 50)], &Decision::One(DateFormat::DayMonthYear(b'-')));
        check(&[("31.01.2024 10:00", 1)], &Decision::One(DateFormat::DayMonthYear(b'.')));
        check(&[], &Decision::NoValues);
        check(&[("soon", 1)], &Decision::NoValues);
    }

    #[test]
    fn two_readings_of_every_value_are_not_decided() {
        check(&[("03/04/2024", 5)], &Decision::Ambiguous(DAY_FIRST, MONTH_FIRST));
        check(&[("05/05/2024", 1)], &Decision::Ambiguous(DAY_FIRST, MONTH_FIRST));
    }

    #[test]
    fn a_few_odd_values_do_not_change_a_columns_format_but_many_do() {
        check(&[("31/01/2024", 199), ("01/31/2024", 1)], &Decision::One(DAY_FIRST));
        check(&[("2024-01-31", 100), ("03/04/2024", 1)], &Decision::One(DateFormat::Iso));
        check(
            &[("31/01/2024", 9), ("01/31/2024", 1), ("03/04/2024", 990)],
            &Decision::Mixed(vec![(DAY_FIRST, 999), (MONTH_FIRST, 991)]),
        );
        check(&[("2024-01-31", 3), ("31/01/2024", 7)], &Decision::Mixed(vec![(DAY_FIRST, 7), (DateFormat::Iso, 3)]));
    }
}
