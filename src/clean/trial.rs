//! Tries the settings of a field on single cells. A cell that was refused may be accepted with another setting.

use super::Record;
use super::field_cleaner::{FieldCleaner, Marks, Scratch};
use crate::parse::DateFormat;
use crate::spec::Field;

/// Cleans single cells of a field, and only says whether they are accepted.
pub(crate) struct Trial(FieldCleaner);

impl Trial {
    /// Creates a trial of a field. If it is a date, its dates have the format `date`.
    pub(crate) fn new(field: &Field, date: DateFormat) -> Self {
        Self(FieldCleaner::of(0, field, None, date))
    }

    /// Returns true if the cell is accepted.
    pub(crate) fn accepts(&self, cell: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(cell) else { return false };
        let (mut scratch, mut marks, mut record) = (Scratch::default(), Marks::default(), Record::default());
        self.0.clean(text, false, &mut scratch, &mut marks, &mut record).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{FieldType, NumberFormat, Spec};

    #[test]
    fn a_cell_is_accepted_if_the_field_with_its_settings_accepts_it() {
        let mut field = Spec::built_in().fields[12].clone();
        let check = |field: &Field, cell: &[u8], accepted: bool| {
            assert_eq!(Trial::new(field, DateFormat::Iso).accepts(cell), accepted, "{cell:?}");
        };
        check(&field, b"1.5", true);
        check(&field, b"1,5", false);
        field.kind = FieldType::Double(NumberFormat { decimal_comma: true, ..NumberFormat::default() });
        check(&field, b" 1,5 ", true);
        check(&field, b"1.5", false);
        check(&field, b"\xff", false);
    }

    #[test]
    fn a_date_is_read_in_the_given_format() {
        let field = &Spec::built_in().fields[13];
        assert!(Trial::new(field, DateFormat::DayMonthYear(b'/')).accepts(b"31/01/2024"));
        assert!(!Trial::new(field, DateFormat::MonthDayYear(b'/')).accepts(b"31/01/2024"));
    }
}
