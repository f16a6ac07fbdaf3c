//! Tries another setting of a field on cells that were refused. If the setting accepts them, a message can propose it.

use super::field_cleaner::{FieldCleaner, Marks, Scratch};
use super::{Record, Value};
use crate::parse::DateFormat;
use crate::spec::Field;

/// Cleans single cells of a field that is a number, a boolean or a date.
pub(crate) struct Trial(FieldCleaner);

impl Trial {
    /// Creates a trial of a field. If it is a date, its dates have the format `date`.
    pub(crate) fn new(field: &Field, date: DateFormat) -> Self {
        Self(FieldCleaner::of(0, field, None, date))
    }

    /// Returns the value of the cell, or `None` if the cell is refused.
    pub(crate) fn value(&self, cell: &[u8]) -> Option<Value> {
        let text = std::str::from_utf8(cell).ok()?;
        let (mut scratch, mut marks, mut record) = (Scratch::default(), Marks::default(), Record::default());
        self.0.clean(text, false, &mut scratch, &mut marks, &mut record).ok()?;
        record.values.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{FieldType, NumberFormat, Spec};

    #[test]
    fn a_cell_is_accepted_if_the_field_with_its_settings_accepts_it() {
        let mut field = Spec::built_in().fields[12].clone();
        let check = |field: &Field, cell: &[u8], expected: Option<Value>| {
            assert_eq!(Trial::new(field, DateFormat::Iso).value(cell), expected, "{cell:?}");
        };
        check(&field, b"1.5", Some(Value::Double(1.5)));
        check(&field, b"1,5", None);
        field.kind = FieldType::Double(NumberFormat { decimal_comma: true, ..NumberFormat::default() });
        check(&field, b" 1,5 ", Some(Value::Double(1.5)));
        check(&field, b"1.5", None);
        check(&field, b"\xff", None);
    }

    #[test]
    fn a_date_is_read_in_the_given_format() {
        let field = &Spec::built_in().fields[13];
        assert!(Trial::new(field, DateFormat::DayMonthYear(b'/')).value(b"31/01/2024").is_some());
        assert!(Trial::new(field, DateFormat::MonthDayYear(b'/')).value(b"31/01/2024").is_none());
    }
}
