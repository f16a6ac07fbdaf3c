//! Reads the `[source]` table of a spec: how the dataset's sources are written.

use super::source::Table;
use crate::spec::{Sign, SourceFormat, SpecError};

const KEYS: &[&str] = &["delimiter", "quote", "escape", "multiline_cells"];
const DELIMITERS: &[(&str, u8)] = &[(",", b','), (";", b';'), ("|", b'|'), ("tab", b'\t')];

/// Reads the delimiter, the quote, the escape character, and whether cells can have several lines. Notes all errors.
pub(super) fn read(root: &Table<'_>) -> SourceFormat {
    let Some(table) = root.noted(root.table("source")) else { return SourceFormat::default() };
    table.only(KEYS);
    let format = SourceFormat {
        delimiter: table.noted(table.choice("delimiter", DELIMITERS)),
        quote: table.noted(sign(&table, "quote")),
        escape: table.noted(sign(&table, "escape")),
        multiline_cells: table.noted(table.flag("multiline_cells")).unwrap_or(false),
    };
    table.note(check_signs(&table, format));
    format
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

fn sign(table: &Table<'_>, key: &str) -> Result<Option<Sign>, SpecError> {
    let Some(text) = table.text(key)? else { return Ok(None) };
    let remedy = "write one punctuation character, or \"none\"";
    Sign::from_text(text).map(Some).ok_or_else(|| table.wrong(key, format!("`{text}` is not known here"), remedy))
}
