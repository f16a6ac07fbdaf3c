//! Determines the date format of a column from the values in a sample.
//!
//! Each date is counted for the formats that it fits. `31/01/2024` fits only day-first. `03/04/2024` fits day-first and
//! month-first, so it does not show the order. If all values of a column are like `03/04/2024`, the user must give the
//! format.

use super::shape::{Shape, shape_of};
use super::{DateFormat, parse_date};

/// A column has a format if at most one in 100 of its dates does not fit the format.
const ODD_ONE_IN: u64 = 100;
const SEPARATORS: [u8; 3] = [b'/', b'-', b'.'];

/// The result for one column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The column has this format.
    One(DateFormat),
    /// The sample contains no values of the column.
    NoValues,
    /// More than half of the values fit no format.
    Unknown {
        /// Number of values.
        values: u64,
        /// Number of values that fit no format.
        unfit: u64,
        /// How the unfit values are probably written: descriptions, each with its number of values. The most frequent
        /// is first.
        shapes: Vec<(&'static str, u64)>,
    },
    /// Every date with the most frequent separator fits both formats, day-first and month-first.
    Ambiguous(DateFormat, DateFormat),
    /// The values have different formats. Each format has the number of values that fit it. The most frequent is first.
    Mixed(Vec<(DateFormat, u64)>),
}

/// Counts the values of a column by the formats that they fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    values: u64,
    iso: u64,
    by_separator: [Orders; 3],
    /// The number of values of each shape. These values fit no format. Values without a shape are not counted.
    unfit: [u64; Shape::ALL.len()],
}

/// Counts dates with the same separator by the order of day and month.
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

impl Evidence {
    pub(crate) fn add(&mut self, value: &str) {
        self.values += 1;
        if parse_date(DateFormat::Iso, value).is_some() {
            self.iso += 1;
            return;
        }
        let mut is_date = false;
        for (separator, orders) in SEPARATORS.into_iter().zip(&mut self.by_separator) {
            let day_first = parse_date(DateFormat::DayMonthYear(separator), value).is_some();
            let month_first = parse_date(DateFormat::MonthDayYear(separator), value).is_some();
            is_date |= day_first || month_first;
            match (day_first, month_first) {
                (true, true) => orders.either += 1,
                (true, false) => orders.day_first += 1,
                (false, true) => orders.month_first += 1,
                (false, false) => {}
            }
        }
        if !is_date && let Some(shape) = shape_of(value) {
            self.unfit[shape as usize] += 1;
        }
    }

    /// Returns the shapes of the values that fit no format, each with its number of values. The most frequent is first.
    fn shapes(&self) -> Vec<(&'static str, u64)> {
        let mut shapes: Vec<_> = Shape::ALL.iter().map(|shape| shape.name()).zip(self.unfit).collect();
        shapes.retain(|&(_, values)| values > 0);
        shapes.sort_by_key(|&(_, values)| std::cmp::Reverse(values));
        shapes
    }

    /// Decides on the format from all values counted so far.
    pub(crate) fn decide(&self) -> Decision {
        let totals = self.by_separator.map(Orders::total);
        let dates = self.iso + totals.iter().sum::<u64>();
        let most = totals.into_iter().fold(self.iso, u64::max);
        let unfit = self.values - dates;
        if self.values == 0 {
            Decision::NoValues
        } else if unfit * 2 > self.values {
            Decision::Unknown { values: self.values, unfit, shapes: self.shapes() }
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

    /// Returns the formats that fit at least one value, each with its number of values. The most frequent is first.
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

/// Returns true if `minority` is more than one in 100 of `all`.
fn is_too_many(minority: u64, all: u64) -> bool {
    minority * ODD_ONE_IN > all
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_FIRST: DateFormat = DateFormat::DayMonthYear(b'/');
    const MONTH_FIRST: DateFormat = DateFormat::MonthDayYear(b'/');

    fn check(values: &[(&str, usize)], expected: &Decision) {
        let mut evidence = Evidence::default();
        let all = values.iter().flat_map(|&(value, times)| std::iter::repeat_n(value, times));
        all.for_each(|value| evidence.add(value));
        assert_eq!(&evidence.decide(), expected, "{values:?}");
    }

    #[test]
    fn the_only_format_that_fits_all_values_is_chosen() {
        check(&[("2024-01-31", 3)], &Decision::One(DateFormat::Iso));
        check(&[("2024-01-31T10:00:00Z", 1)], &Decision::One(DateFormat::Iso));
        check(&[("03/04/2024", 99), ("31/01/2024", 1)], &Decision::One(DAY_FIRST));
        check(&[("3/4/2024", 99), ("1/31/2024", 1)], &Decision::One(MONTH_FIRST));
        check(&[("31-01-2024", 50), ("unknown", 50)], &Decision::One(DateFormat::DayMonthYear(b'-')));
        check(&[("31.01.2024 10:00", 1)], &Decision::One(DateFormat::DayMonthYear(b'.')));
        check(&[], &Decision::NoValues);
    }

    #[test]
    fn a_column_whose_values_mostly_fit_no_format_is_unknown() {
        let unknown = |values, unfit, shapes: &[(&'static str, u64)]| Decision::Unknown {
            values,
            unfit,
            shapes: shapes.to_vec(),
        };
        check(&[("soon", 1)], &unknown(1, 1, &[]));
        check(&[("2024-01-31", 2), ("unknown", 2), ("16-07-68", 1)], &unknown(5, 3, &[(Shape::ShortYear.name(), 1)]));
        check(
            &[("16-07-68", 1), ("20240131", 2)],
            &unknown(3, 3, &[(Shape::YearMonthDay.name(), 2), (Shape::ShortYear.name(), 1)]),
        );
    }

    #[test]
    fn a_column_whose_values_all_fit_two_formats_is_ambiguous() {
        check(&[("03/04/2024", 5)], &Decision::Ambiguous(DAY_FIRST, MONTH_FIRST));
        check(&[("05/05/2024", 1)], &Decision::Ambiguous(DAY_FIRST, MONTH_FIRST));
    }

    #[test]
    fn a_few_values_of_another_format_are_ignored_but_many_are_not() {
        for most in [199, 99] {
            check(&[("31/01/2024", most), ("01/31/2024", 1)], &Decision::One(DAY_FIRST));
        }
        check(&[("31/01/2024", 98), ("01/31/2024", 1)], &Decision::Mixed(vec![(DAY_FIRST, 98), (MONTH_FIRST, 1)]));
        check(&[("2024-01-31", 100), ("03/04/2024", 1)], &Decision::One(DateFormat::Iso));
        check(
            &[("31/01/2024", 9), ("01/31/2024", 1), ("03/04/2024", 990)],
            &Decision::Mixed(vec![(DAY_FIRST, 999), (MONTH_FIRST, 991)]),
        );
        check(&[("2024-01-31", 3), ("31/01/2024", 7)], &Decision::Mixed(vec![(DAY_FIRST, 7), (DateFormat::Iso, 3)]));
    }
}
