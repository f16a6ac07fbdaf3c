//! Reads the `[source]` table of a spec: how the dataset's sources are written.

use super::source::Table;
use crate::spec::{FormatName, Sign, SourceFormat, SpecError, Zone};

const KEYS: &[&str] = &["type", "system", "base", "time_zone", "delimiter", "quote", "escape", "multiline_cells"];
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
        zone: table.noted(zone(&table)).unwrap_or_default(),
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

/// Reads the URL of the server that the resources are from.
pub(super) fn base(root: &Table<'_>) -> Option<String> {
    // The errors of the table are noted where its format is read.
    let table = root.table("source").ok()??;
    let base = table.noted(table.text("base"))?;
    let is_for_resources = matches!(table.choice("type", TYPES), Ok(Some(FormatName::Fhir)));
    if !is_for_resources {
        table.add(table.wrong("base", "it is only for sources with type = \"fhir\"", "remove it"));
    } else if !base.contains("://") || base.trim() != base {
        table.add(table.wrong("base", "not a URL", "write the URL of the server, e.g. \"https://a.example/fhir\""));
    }
    Some(base.to_owned())
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

/// Reads the time zone of times that have no offset from UTC.
fn zone(table: &Table<'_>) -> Result<Option<Zone>, SpecError> {
    const REMEDY: &str = "write the name of a zone or its offset from UTC, e.g. \"Europe/Berlin\" or \"+01:00\"";
    let Some(text) = table.text("time_zone")? else { return Ok(None) };
    if table.text("type")? != Some(FormatName::Hl7.name()) {
        return Err(table.wrong("time_zone", "it is only for sources with type = \"hl7\"", "remove it"));
    }
    let unknown = || {
        let remedy = Zone::closest_name(text).map(|near| format!("did you mean `{near}`?"));
        table.wrong("time_zone", "not a time zone", remedy.unwrap_or_else(|| REMEDY.to_owned()))
    };
    Zone::from_text(text).map(Some).ok_or_else(unknown)
}

fn sign(table: &Table<'_>, key: &str) -> Result<Option<Sign>, SpecError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    let remedy = "write one punctuation character, or \"none\"";
    Sign::from_text(text).map(Some).ok_or_else(|| table.wrong(key, format!("`{text}` is not known here"), remedy))
}
