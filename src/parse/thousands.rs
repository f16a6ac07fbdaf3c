//! Finds columns of numbers that can be read in two ways. For example, `12.345` is about 12 if the point is the decimal
//! mark, and 12345 if the point separates thousands. Only the first rows of a source are examined, so the load itself
//! is not slower.

use crate::spec::{Field, FieldType};

/// How the numbers of one column are written, in the first rows of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Number of values with digits.
    values: u64,
    /// Number of values that can be read in two ways: one to three digits that do not begin with 0, the decimal mark of
    /// the spec, and exactly three digits. An example is `1.234`.
    ambiguous: u64,
    /// True if a value is certainly a decimal number with the decimal mark of the spec. If the mark is a point,
    /// examples are `1.5`, `0.125` and `1234.567`.
    is_decimal: bool,
    /// True if the decimal mark of the spec certainly separates thousands in a value. If the mark is a point, examples
    /// are `1.234,56` and `1.234.567`.
    has_thousands: bool,
}

/// Returns the decimal mark that the spec gives a field. `None` if the field does not store decimal numbers.
pub(super) const fn decimal_mark(field: &Field) -> Option<u8> {
    match &field.kind {
        FieldType::Double(format) | FieldType::Decimal128(format) if format.decimal_comma => Some(b','),
        FieldType::Double(_) | FieldType::Decimal128(_) => Some(b'.'),
        _ => None,
    }
}

impl Marks {
    /// Adds a value of the column. Characters before the first digit and after the last digit are ignored, for example
    /// currency signs.
    pub(super) fn add(&mut self, cell: &[u8], mark: u8) {
        let Some(first) = cell.iter().position(u8::is_ascii_digit) else { return };
        let last = cell.iter().rposition(u8::is_ascii_digit).unwrap_or(first);
        let number = &cell[first..=last];
        let other = if mark == b'.' { b',' } else { b'.' };
        self.values += 1;
        let place = number.iter().position(|&byte| byte == mark);
        let is_repeated = place != number.iter().rposition(|&byte| byte == mark);
        let other_place = number.iter().position(|&byte| byte == other);
        match (place, other_place) {
            (None, _) => {}
            // `1.234.567` and `1.234,56`
            _ if is_repeated => self.has_thousands = true,
            (Some(place), Some(other)) if place < other => self.has_thousands = true,
            (Some(_), Some(_)) => self.is_decimal = true,
            (Some(place), None) => {
                let (whole, fraction) = (&number[..place], &number[place + 1..]);
                let is_group = (1..=3).contains(&whole.len()) && whole[0] != b'0' && fraction.len() == 3;
                if is_group && number.iter().all(|byte| byte.is_ascii_digit() || *byte == mark) {
                    self.ambiguous += 1;
                } else {
                    self.is_decimal = true;
                }
            }
        }
    }

    /// Returns the notice about a column if its numbers may be read wrongly. That is so if some values are ambiguous,
    /// and either no value is certainly a decimal number or a value certainly has separated thousands.
    pub(super) fn notice(&self, column: &str, field: &Field) -> Option<String> {
        let mark = decimal_mark(field)?;
        if self.ambiguous == 0 || self.is_decimal && !self.has_thousands {
            return None;
        }
        let (mark, word, other) = if mark == b'.' { ('.', "point", ',') } else { (',', "comma", '.') };
        let (ambiguous, values, name) = (self.ambiguous, self.values, &field.name);
        let evidence =
            if self.has_thousands { format!("; other values have a {word} between thousands") } else { String::new() };
        Some(format!(
            "column `{column}`: {ambiguous} of the first {values} values have exactly three digits after a {word}{evidence}; \
             they are read as decimals; if they are thousands, set thousands = \"{mark}\" and decimal = \"{other}\" under \
             the field `{name}` of the spec"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{NumberFormat, Spec};

    #[test]
    fn values_with_three_digits_after_the_mark_are_doubtful_unless_others_show_decimals() {
        let field = |decimal_comma| Field {
            kind: FieldType::Double(NumberFormat { decimal_comma, ..NumberFormat::default() }),
            ..Spec::built_in().fields[0].clone()
        };
        let notice = |decimal_comma: bool, cells: &[&str]| {
            let (field, mut marks) = (field(decimal_comma), Marks::default());
            let mark = decimal_mark(&field).expect("a number");
            for cell in cells {
                marks.add(cell.as_bytes(), mark);
            }
            marks.notice("Bill", &field)
        };
        let check = |cells: &[&str], expected: Option<&str>| {
            for decimal_comma in [false, true] {
                let swap = |sign: char| match sign {
                    '.' => ',',
                    ',' => '.',
                    other => other,
                };
                let cells: Vec<String> = cells
                    .iter()
                    .map(|cell| cell.chars().map(|sign| if decimal_comma { swap(sign) } else { sign }).collect())
                    .collect();
                let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
                let found = notice(decimal_comma, &cells);
                assert_eq!(found.is_some(), expected.is_some(), "{cells:?}: {found:?}");
                assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{cells:?}");
            }
        };
        check(&["12.345", "1.234"], Some("column `Bill`: 2 of the first 2 values have exactly three digits"));
        check(&["12.345", "500", "", "-", "N/A"], Some("1 of the first 2 values"));
        check(&["-12.345", "1.234 €", "$ 7.000"], Some("3 of the first 3 values"));
        check(&["12.345", "1.234,56"], Some("between thousands; they are read as decimals"));
        check(&["12.345", "1.234.567"], Some("between thousands"));
        check(&["12.345", "1.234,56", "1.5"], Some("between thousands"));
        check(&["12.345", "1.5"], None);
        check(&["12.345", "0.125"], None);
        check(&["12.345", "1234.567"], None);
        check(&["12.345", "1,234.567"], None);
        check(&["12.345", "1.5e3"], None);
        check(&["12345", "1.50", "1.234,56"], None);
        check(&[], None);
        let text = notice(false, &["1.234"]).expect("a notice");
        assert!(text.contains("thousands = \".\" and decimal = \",\""), "{text}");
        let text = notice(true, &["1,234"]).expect("a notice");
        assert!(text.contains("after a comma") && text.contains("thousands = \",\" and decimal = \".\""), "{text}");
    }
}
