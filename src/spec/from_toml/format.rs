//! Reads the `[source]` table of a spec: how the dataset's sources are written.

use super::source::Table;
use crate::spec::{FormatName, Sign, SourceFormat, SpecError};

const KEYS: &[&str] = &["type", "system", "time_zone", "delimiter", "quote", "escape", "multiline_cells"];
/// Keys that only delimited text needs.
const KEYS_OF_TEXT: &[&str] = &["delimiter", "quote", "escape", "multiline_cells"];
const TYPES: &[(&str, FormatName)] =
    &[("csv", FormatName::Csv), ("json", FormatName::Json), ("hl7", FormatName::Hl7), ("fhir", FormatName::Fhir)];
const DELIMITERS: &[(&str, u8)] = &[(",", b','), (";", b';'), ("|", b'|'), ("tab", b'\t')];

/// Reads the format, the delimiter, the quote, the escape character, and whether cells can have several lines. Notes
/// all errors.
pub(super) fn read(root: &Table<'_>) -> SourceFormat {
    let Some(table) = root.noted(root.table("source")) else { return SourceFormat::default() };
    table.only(KEYS);
    let format = SourceFormat {
        format: table.noted(table.choice("type", TYPES)),
        offset_minutes: table.noted(offset_minutes(&table)).unwrap_or(0),
        delimiter: table.noted(table.choice("delimiter", DELIMITERS)),
        quote: table.noted(sign(&table, "quote")),
        escape: table.noted(sign(&table, "escape")),
        multiline_cells: table.noted(table.flag("multiline_cells")).unwrap_or(false),
    };
    table.note(check_signs(&table, format));
    table.note(check_type(&table, format));
    format
}

/// Reads the name of the source system, which is part of the identity of FHIR resources.
pub(super) fn system(root: &Table<'_>) -> Option<String> {
    let table = root.noted(root.table("source"))?;
    let system = table.noted(table.text("system"))?;
    let is_for_resources = matches!(table.choice("type", TYPES), Ok(Some(FormatName::Fhir)));
    if !is_for_resources {
        table.add(table.wrong("system", "it is only for sources with type = \"fhir\"", "remove it"));
    } else if system.trim() != system || system.is_empty() {
        table.add(table.wrong("system", "empty, or with white space around it", "name the system, e.g. \"north\""));
    }
    Some(system.to_owned())
}

/// Refuses the settings of delimited text if the sources have another format.
fn check_type(table: &Table<'_>, format: SourceFormat) -> Result<(), SpecError> {
    let Some(name) = format.format.filter(|name| *name != FormatName::Csv).map(FormatName::name) else { return Ok(()) };
    match KEYS_OF_TEXT.iter().find(|key| table.has(key)) {
        None => Ok(()),
        Some(key) => {
            let problem = format!("it is for delimited text, and the sources have the type {name}");
            Err(table.wrong(key, problem, "remove it"))
        }
    }
}

/// Checks that delimiter, quote and escape character are three different characters.
fn check_signs(table: &Table<'_>, format: SourceFormat) -> Result<(), SpecError> {
    let [quote, escape] = [format.quote, format.escape].map(|sign| sign.and_then(Sign::byte));
    for (key, sign, others) in
        [("quote", quote, [format.delimiter, None]), ("escape", escape, [format.delimiter, quote])]
    {
        if sign.is_some() && others.contains(&sign) {
            let problem = "one character cannot have two meanings";
            return Err(table.wrong(
                key,
                problem,
                "choose another; if quotes are escaped by doubling them, leave out `escape`",
            ));
        }
    }
    Ok(())
}

/// Reads the offset from UTC of times that do not name theirs.
fn offset_minutes(table: &Table<'_>) -> Result<Option<i16>, SpecError> {
    let Some(text) = table.text("time_zone")? else { return Ok(None) };
    let wrong = |problem: &str| Err(table.wrong("time_zone", problem, "write the offset from UTC, e.g. \"+01:00\""));
    if table.text("type")? != Some(FormatName::Hl7.name()) {
        return wrong("it is only for sources with type = \"hl7\"");
    }
    let number = |text: &str| text.parse::<i16>().ok().filter(|_| text.len() == 2 && !text.starts_with(['+', '-']));
    let offset = text.strip_prefix(['+', '-']).and_then(|rest| rest.split_once(':'));
    match offset.and_then(|(hours, minutes)| Some((number(hours)?, number(minutes)?))) {
        Some((hours @ 0..=14, minutes @ 0..=59)) => {
            let offset = hours * 60 + minutes;
            Ok(Some(if text.starts_with('-') { -offset } else { offset }))
        }
        _ => wrong("not an offset from UTC"),
    }
}

fn sign(table: &Table<'_>, key: &str) -> Result<Option<Sign>, SpecError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    let remedy = "write one punctuation character, or \"none\"";
    Sign::from_text(text).map(Some).ok_or_else(|| table.wrong(key, format!("`{text}` is not known here"), remedy))
}
