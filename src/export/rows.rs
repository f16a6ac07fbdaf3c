//! Converts documents to the text of the exported file.

use bson::RawDocument;

use super::{EXAMPLES_MAX, ExportFormat, ExportOptions, Exported, Foreign};
use crate::encode::text::cell_texts;
use crate::encode::{LINEAGE_FIELD, Misfit, Stored, entry_of, extended_json, fit, whole_of};
use crate::parse::{DELIMITERS, segment_end, write_line};
use crate::spec::{FormatName, Spec};

/// Collects the lines of the file until they are written.
pub(super) struct Rows<'a> {
    spec: &'a Spec,
    /// For each column of the spec, whether a CSV has it. A CSV lacks derived columns, because a load derives them
    /// again.
    is_shown: Vec<bool>,
    options: &'a ExportOptions,
    ready: Vec<u8>,
    /// True if the file already has an entry of a Bundle.
    has_entries: bool,
    exported: Exported,
    /// Number of documents that could not be written. Always 0 if the option `skip_foreign` is true.
    refused: u64,
}

impl<'a> Rows<'a> {
    /// Creates the lines of an empty file: the header for CSV, nothing for other formats.
    pub(super) fn new(spec: &'a Spec, options: &'a ExportOptions) -> Self {
        let mut ready = Vec::new();
        let columns = spec.columns();
        let is_shown: Vec<bool> = columns.iter().map(|column| !spec.is_derived(column)).collect();
        if let ExportFormat::Csv { delimiter } = options.format {
            let names =
                columns.iter().filter(|column| !spec.is_derived(column)).map(|column| match spec.source.format {
                    // The columns of such a spec are paths such as `MSH-9.1`, which say little to a reader. So the
                    // header has the names of the fields. A CSV cannot be loaded with such a spec in any case.
                    Some(FormatName::Hl7 | FormatName::Fhir) => column.name.as_str(),
                    _ => column.column,
                });
            write_header(names, delimiter, &mut ready);
        }
        Self { spec, is_shown, options, ready, has_entries: false, exported: Exported::default(), refused: 0 }
    }

    /// Puts `before` in front of the lines. `has_entries` is true if the file already has an entry of a Bundle.
    pub(super) fn after(mut self, before: Option<&[u8]>, has_entries: bool) -> Self {
        self.ready.splice(0..0, before.unwrap_or_default().iter().copied());
        Self { has_entries, ..self }
    }

    /// Returns true if as many documents as the user allows have been written.
    pub(super) fn is_full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.exported.written >= limit)
    }

    pub(super) fn ready(&self) -> &[u8] {
        &self.ready
    }

    pub(super) fn clear(&mut self) {
        self.ready.clear();
    }

    /// Returns the counts. Returns an error if a document could not be written and the option `skip_foreign` is false.
    pub(super) fn finish(self) -> Result<Exported, Foreign> {
        if self.refused > 0 { Err(self.exported.foreign) } else { Ok(self.exported) }
    }

    /// Adds the line of a document. A document that cannot be written is only counted. Does nothing if the limit has
    /// been reached.
    pub(super) fn push(&mut self, document: &[u8]) {
        if self.is_full() {
            return;
        }
        let start = self.ready.len();
        let misfit = match self.options.format {
            ExportFormat::Csv { delimiter } => self.push_csv(document, delimiter),
            ExportFormat::Ndjson => self.push_json(document),
            ExportFormat::Hl7 => self.push_whole(document, segment_end),
            ExportFormat::Fhir => self.push_whole(document, |_| b"\n"),
            ExportFormat::Bundle => self.push_entry(document),
        };
        match misfit {
            Ok(()) => self.exported.written += 1,
            Err(misfit) => {
                self.ready.truncate(start);
                self.refused += u64::from(!self.options.skip_foreign);
                self.count_foreign(document, &misfit);
            }
        }
    }

    fn push_csv(&mut self, document: &[u8], delimiter: u8) -> Result<(), Misfit> {
        let mut cells = cell_texts(document, self.spec, &self.options.dates)?;
        let mut is_shown = self.is_shown.iter();
        cells.retain(|_| is_shown.next() == Some(&true));
        write_row(&cells, delimiter, &mut self.ready);
        Ok(())
    }

    fn push_json(&mut self, document: &[u8]) -> Result<(), Misfit> {
        let misfit = fit(document, self.spec).err();
        if let Some(misfit) = misfit.as_ref().filter(|_| self.options.skip_foreign) {
            return Err(misfit.clone());
        }
        let invalid = |_| Misfit { field: String::new(), problem: "the document is not valid BSON" };
        write_json(document, misfit.is_some(), &mut self.ready).map_err(invalid)?;
        if let Some(misfit) = &misfit {
            self.count_foreign(document, misfit);
        }
        Ok(())
    }

    /// Adds the whole record of a document: an HL7 message or a FHIR resource. Then adds the end of the record, which
    /// `end` returns. For a message, this is the segment end that its first segment has.
    fn push_whole(&mut self, document: &[u8], end: impl Fn(&[u8]) -> &'static [u8]) -> Result<(), Misfit> {
        fit(document, self.spec)?;
        let name = &self.spec.whole().ok_or_else(no_whole)?.name;
        let whole = whole_of(document, name).ok_or_else(no_whole)?;
        self.ready.extend_from_slice(&whole);
        self.ready.extend_from_slice(end(&whole));
        Ok(())
    }

    /// Adds the resource of a document as an entry of a Bundle. A comma is before all entries but the first.
    fn push_entry(&mut self, document: &[u8]) -> Result<(), Misfit> {
        fit(document, self.spec)?;
        let whole = self.spec.whole().and_then(|field| entry_of(document, &field.name));
        let entry = whole.ok_or_else(no_whole)?;
        if self.has_entries {
            self.ready.extend_from_slice(b",\n");
        }
        self.has_entries = true;
        self.ready.extend_from_slice(&entry);
        Ok(())
    }

    fn count_foreign(&mut self, document: &[u8], misfit: &Misfit) {
        let foreign = &mut self.exported.foreign;
        foreign.count += 1;
        if foreign.examples.len() < EXAMPLES_MAX {
            // An `_id` that another program made may be a person's name or number, so it is not shown.
            let id =
                Stored::parse(document).map_or("an _id of another program".to_owned(), |stored| stored.id.to_string());
            let field = if misfit.field.is_empty() { String::new() } else { format!("{}: ", misfit.field) };
            foreign.examples.push(format!("{id}: {field}{}", misfit.problem));
        }
    }
}

fn no_whole() -> Misfit {
    Misfit { field: String::new(), problem: "it does not contain the whole record" }
}

/// Writes the names of the columns. Some names are quoted, because otherwise a load could detect a wrong delimiter or
/// format. A comma, semicolon, tab or `|` in a name looks like a delimiter. If the first column is called `{a}`, the
/// file looks like JSON. If it is called `ORC`, the file looks like an ORC file.
fn write_header<'n>(names: impl Iterator<Item = &'n str>, delimiter: u8, out: &mut Vec<u8>) {
    let names = names.enumerate().map(|(position, name)| {
        let is_risky = position == 0 && !begins_like_text(name);
        (name.as_bytes(), is_risky || has_delimiter(name))
    });
    write_line(names, delimiter, out);
}

/// Returns false if the name could be mistaken for the beginning of another format, for example `{` or `ORC`. A name is
/// safe if it begins with a letter and its first three characters are not all ASCII capitals.
fn begins_like_text(name: &str) -> bool {
    let begins_with_letter = name.starts_with(char::is_alphabetic);
    begins_with_letter && name.chars().take(3).any(|c| !c.is_ascii_uppercase())
}

/// Writes one line of a CSV.
///
/// If all cells are empty, the first is quoted, because a load skips blank rows.
///
/// In a file with one column, a cell such as `a;b` is quoted. Reason: the header of such a file has no delimiter, so a
/// load could take the `;` for the delimiter.
fn write_row(cells: &[String], delimiter: u8, out: &mut Vec<u8>) {
    let is_empty = cells.iter().all(String::is_empty);
    let cells = cells.iter().enumerate().map(|(position, cell)| {
        let is_mark = is_empty && position == 0;
        let is_lone = cells.len() == 1 && has_delimiter(cell);
        (cell.as_bytes(), is_mark || is_lone)
    });
    write_line(cells, delimiter, out);
}

/// Returns true if the text contains a character that a load can detect as the delimiter.
fn has_delimiter(text: &str) -> bool {
    text.bytes().any(|byte| DELIMITERS.contains(&byte))
}

/// Writes one line of relaxed Extended JSON. If `whole` is true, the line includes `_id` and lineage.
fn write_json(document: &[u8], whole: bool, out: &mut Vec<u8>) -> bson::error::Result<()> {
    let left_out = |name: &str| !whole && matches!(name, "_id" | LINEAGE_FIELD);
    let mut position = 0;
    out.push(b'{');
    for element in RawDocument::from_bytes(document)? {
        let (name, value) = element?;
        if !left_out(name.as_str()) {
            extended_json::write_name(name.as_str(), position, out);
            extended_json::write_relaxed(value, out)?;
            position += 1;
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

#[cfg(test)]
mod tests;
