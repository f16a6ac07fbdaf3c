//! The settings that are tried on the refused cells of a field.

use crate::clean::Trial;
use crate::parse::DateFormat;
use crate::spec::{Field, FieldType, NumberFormat};

/// A setting of a field that differs from the current one.
pub(super) struct Setting {
    /// The option or the lines of the spec, e.g. `decimal = ","`.
    pub(super) text: String,
    /// True if it is an option of the command line, false if it belongs into the spec.
    pub(super) is_option: bool,
    /// Number of keys that differ from the current setting.
    changes: usize,
    field: Field,
    date: DateFormat,
}

/// Returns true if a setting that accepts this number of refused cells may be proposed.
pub(super) const fn is_enough(accepted: usize, tried: usize) -> bool {
    tried > 0 && accepted * 100 >= tried * 95
}

/// Returns the settings that accept enough of the cells, each with the number of accepted cells. Of these, only the
/// settings with the fewest changes are returned. There can be several: `1,234` is a number with a decimal comma, and
/// also one with a comma between thousands.
pub(super) fn fitting<'s>(settings: &'s [Setting], cells: &[&[u8]]) -> Vec<(&'s Setting, usize)> {
    let accepted = |setting: &Setting| {
        let trial = Trial::new(&setting.field, setting.date);
        cells.iter().filter(|cell| trial.accepts(cell)).count()
    };
    let counted = settings.iter().map(|setting| (setting, accepted(setting)));
    let fitting: Vec<_> = counted.filter(|&(_, accepted)| is_enough(accepted, cells.len())).collect();
    let fewest = fitting.iter().map(|(setting, _)| setting.changes).min();
    fitting.into_iter().filter(|(setting, _)| Some(setting.changes) == fewest).collect()
}

/// Returns the other formats of a date. A `date` that is written with a time of day may be a `datetime`.
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
