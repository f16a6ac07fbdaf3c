//! The settings that are tried on the refused cells of a field.

use crate::clean::{Trial, Value};
use crate::parse::DateFormat;
use crate::spec::{Field, FieldType, NumberFormat};

/// A setting of a field that differs from the current one.
pub(super) struct Setting {
    /// The option or the lines of the spec, e.g. `decimal = ","`.
    pub(super) text: String,
    /// True for an option of the command line, false for lines of the spec.
    pub(super) is_option: bool,
    /// Number of options or keys of the spec that must be changed for this setting.
    changes: usize,
    field: Field,
    date: DateFormat,
}

/// Returns true if a setting that accepts this number of refused cells may be proposed.
pub(super) const fn is_enough(accepted: usize, tried: usize) -> bool {
    tried > 0 && accepted * 100 >= tried * 95
}

/// Finds the settings that accept enough of the cells. Of these, returns only those with the fewest changes, each with
/// the number of accepted cells. If several settings give the same values, returns only the first of them. The result
/// can still have several settings: `1,234` is a number with a decimal comma, and also one with a comma between
/// thousands.
pub(super) fn fitting<'s>(settings: &'s [Setting], cells: &[&[u8]]) -> Vec<(&'s Setting, usize)> {
    let mut fitting: Vec<(&Setting, Vec<Option<Value>>)> = Vec::new();
    for setting in settings {
        let trial = Trial::new(&setting.field, setting.date);
        let values: Vec<Option<Value>> = cells.iter().map(|cell| trial.value(cell)).collect();
        if is_enough(accepted(&values), cells.len()) {
            fitting.push((setting, values));
        }
    }
    let fewest = fitting.iter().map(|(setting, _)| setting.changes).min();
    fitting.retain(|(setting, _)| Some(setting.changes) == fewest);
    let is_first = |index: &usize| fitting[..*index].iter().all(|(_, earlier)| *earlier != fitting[*index].1);
    let first = (0..fitting.len()).filter(is_first);
    first.map(|index| (fitting[index].0, accepted(&fitting[index].1))).collect()
}

fn accepted(values: &[Option<Value>]) -> usize {
    values.iter().flatten().count()
}

/// Returns the other formats of a date. For a field of type `date`, also returns the type `datetime`, because its cells
/// may contain a time of day.
pub(super) fn of_date(field: &Field, date: DateFormat) -> Vec<Setting> {
    let formats = DateFormat::ALL.into_iter().filter(|other| *other != date).map(|other| Setting {
        text: format!("--date-format '{}={}'", field.column, other.name()),
        is_option: true,
        changes: 1,
        field: field.clone(),
        date: other,
    });
    let with_time = (field.kind == FieldType::Date).then(|| Setting {
        text: "type = \"datetime\"".to_owned(),
        is_option: false,
        changes: 1,
        field: Field { kind: FieldType::Datetime, ..field.clone() },
        date,
    });
    formats.chain(with_time).collect()
}

/// Returns the other ways to write the numbers of a field: decimal mark, separator of thousands, and currency.
pub(super) fn of_number(field: &Field) -> Vec<Setting> {
    const CURRENCIES: [Option<&str>; 6] = [None, Some("$"), Some("€"), Some("£"), Some("USD"), Some("EUR")];
    let (current, with): (_, fn(NumberFormat) -> FieldType) = match &field.kind {
        FieldType::Int32(format) => (format, FieldType::Int32),
        FieldType::Int64(format) => (format, FieldType::Int64),
        FieldType::Double(format) => (format, FieldType::Double),
        FieldType::Decimal128(format) => (format, FieldType::Decimal128),
        _ => return Vec::new(),
    };
    let is_whole = matches!(field.kind, FieldType::Int32(_) | FieldType::Int64(_));
    let marks: &[bool] = if is_whole { &[current.decimal_comma] } else { &[false, true] };
    let mut settings = Vec::new();
    for &decimal_comma in marks {
        for thousands in [None, Some(','), Some('.'), Some('\''), Some(' ')] {
            for sign in CURRENCIES {
                let currency = with_sign(&current.currency, sign);
                let format = NumberFormat { thousands, decimal_comma, currency };
                let mark = if decimal_comma { ',' } else { '.' };
                if format != *current && (is_whole || thousands != Some(mark)) {
                    settings.push(number_setting(field, current, format, with));
                }
            }
        }
    }
    settings
}

fn with_sign(currency: &[String], sign: Option<&str>) -> Vec<String> {
    let new = sign.filter(|sign| !currency.iter().any(|known| known == sign));
    currency.iter().cloned().chain(new.map(str::to_owned)).collect()
}

fn number_setting(
    field: &Field,
    current: &NumberFormat,
    format: NumberFormat,
    with: fn(NumberFormat) -> FieldType,
) -> Setting {
    let mut texts = Vec::new();
    if format.decimal_comma != current.decimal_comma {
        texts.push(format!("decimal = \"{}\"", if format.decimal_comma { ',' } else { '.' }));
    }
    if format.thousands != current.thousands {
        texts.push(match format.thousands {
            Some(sign) => format!("thousands = \"{sign}\""),
            None => "no `thousands`".to_owned(),
        });
    }
    if format.currency != current.currency {
        texts.push(format!("currency = {:?}", format.currency));
    }
    Setting {
        text: texts.join(" and "),
        is_option: false,
        changes: texts.len(),
        field: Field { kind: with(format), ..field.clone() },
        date: DateFormat::Iso,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    /// Returns the texts of the settings that accept the cells.
    fn texts(settings: &[Setting], cells: &[&str]) -> Vec<String> {
        let cells: Vec<&[u8]> = cells.iter().map(|cell| cell.as_bytes()).collect();
        fitting(settings, &cells).into_iter().map(|(setting, _)| setting.text.clone()).collect()
    }

    #[test]
    fn a_setting_must_accept_nineteen_of_twenty_cells() {
        let cases = [(19, 20, true), (18, 20, false), (94, 100, false), (95, 100, true), (1, 1, true), (0, 0, false)];
        for (accepted, tried, expected) in cases {
            assert_eq!(is_enough(accepted, tried), expected, "{accepted} of {tried}");
        }
    }

    #[test]
    fn numbers_are_tried_with_other_marks_and_currencies() {
        let field =
            |number: NumberFormat| Field { kind: FieldType::Double(number), ..Spec::built_in().fields[12].clone() };
        let check = |number: NumberFormat, cells: &[&str], expected: &[&str]| {
            assert_eq!(texts(&of_number(&field(number)), cells), expected, "{cells:?}");
        };
        let plain = NumberFormat::default;
        check(plain(), &["1,5", "22,50"], &["decimal = \",\""]);
        check(plain(), &["1,234", "1,234"], &["thousands = \",\"", "decimal = \",\""]);
        check(plain(), &["1 234,5"], &["decimal = \",\" and thousands = \" \""]);
        check(plain(), &["€ 1'234.5"], &["thousands = \"'\" and currency = [\"€\"]"]);
        check(plain(), &["many"], &[]);
        let english = NumberFormat { thousands: Some(','), currency: vec!["$".to_owned()], ..plain() };
        check(english.clone(), &["1,5"], &["decimal = \",\" and no `thousands`"]);
        check(english.clone(), &["1.234,5"], &["decimal = \",\" and thousands = \".\""]);
        check(english, &["EUR 5"], &["currency = [\"$\", \"EUR\"]"]);
        let german = NumberFormat { decimal_comma: true, ..plain() };
        check(german, &["1.5"], &["decimal = \".\""]);
    }

    #[test]
    fn both_orders_of_day_and_month_are_proposed_if_both_fit() {
        let field = &Spec::built_in().fields[13];
        let settings = of_date(field, DateFormat::Iso);
        let day_first = "--date-format 'Date of Admission=DD/MM/YYYY'";
        assert_eq!(texts(&settings, &["31/01/2024", "01/02/2024"]), [day_first]);
        assert_eq!(texts(&settings, &["03/04/2024"]), [day_first, "--date-format 'Date of Admission=MM/DD/YYYY'"]);
        assert_eq!(texts(&settings, &["2024-01-31 09:30"]), ["type = \"datetime\""]);
    }
}
