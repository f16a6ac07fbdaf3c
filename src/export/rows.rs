//! Documents to lines of CSV or NDJSON.

use bson::RawDocument;

use super::{EXAMPLES_MAX, ExportFormat, ExportOptions, Exported, Foreign};
use crate::encode::text::{Misfit, cell_texts, field_values};
use crate::encode::{LINEAGE_FIELD, Stored, extended_json};
use crate::spec::Spec;

/// Collects lines until they are taken away.
pub(super) struct Rows<'a> {
    spec: &'a Spec,
    options: &'a ExportOptions,
    ready: Vec<u8>,
    exported: Exported,
    /// Documents that were to be written and could not.
    refused: u64,
}

impl<'a> Rows<'a> {
    /// Begins with the header, where the format has one.
    pub(super) fn new(spec: &'a Spec, options: &'a ExportOptions) -> Self {
        let mut ready = Vec::new();
        if let ExportFormat::Csv { delimiter } = options.format {
            write_row(spec.fields.iter().map(|field| field.column.as_str()), delimiter, &mut ready);
        }
        Self { spec, options, ready, exported: Exported::default(), refused: 0 }
    }

    /// Whether the limit is reached.
    pub(super) fn is_full(&self) -> bool {
        self.options.limit.is_some_and(|limit| self.exported.written >= limit)
    }

    pub(super) fn ready(&self) -> &[u8] {
        &self.ready
    }

    pub(super) fn clear(&mut self) {
        self.ready.clear();
    }

    /// What was written, or `Err` where documents were left out that were not to be skipped.
    pub(super) fn finish(self) -> Result<Exported, Foreign> {
        if self.refused > 0 { Err(self.exported.foreign) } else { Ok(self.exported) }
    }

    /// Adds a document, unless the limit is reached.
    pub(super) fn push(&mut self, document: &[u8]) {
        if self.is_full() {
            return;
        }
        let start = self.ready.len();
        let misfit = match self.options.format {
            ExportFormat::Csv { delimiter } => self.push_csv(document, delimiter),
            ExportFormat::Ndjson => self.push_json(document),
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
        let cells = cell_texts(document, self.spec, &self.options.dates)?;
        write_row(cells.iter().map(String::as_str), delimiter, &mut self.ready);
        Ok(())
    }

    fn push_json(&mut self, document: &[u8]) -> Result<(), Misfit> {
        let misfit = field_values(document, self.spec).err();
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

    fn count_foreign(&mut self, document: &[u8], misfit: &Misfit) {
        let foreign = &mut self.exported.foreign;
        foreign.count += 1;
        if foreign.examples.len() < EXAMPLES_MAX {
            // A foreign `_id` may be a person's name or number.
            let id = Stored::parse(document).map_or("a foreign _id".to_owned(), |stored| stored.id.to_string());
            let field = if misfit.field.is_empty() { String::new() } else { format!("{}: ", misfit.field) };
            foreign.examples.push(format!("{id}: {field}{}", misfit.problem));
        }
    }
}

/// One line of RFC 4180. A row of one empty cell is quoted, or readers would take it for a blank line.
fn write_row<'a>(cells: impl Iterator<Item = &'a str>, delimiter: u8, out: &mut Vec<u8>) {
    let start = out.len();
    for (position, cell) in cells.enumerate() {
        if position > 0 {
            out.push(delimiter);
        }
        write_cell(cell, delimiter, out);
    }
    if out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
}

fn write_cell(cell: &str, delimiter: u8, out: &mut Vec<u8>) {
    let needs_quotes = |byte: u8| matches!(byte, b'"' | b'\n' | b'\r') || byte == delimiter;
    if !cell.bytes().any(needs_quotes) {
        return out.extend_from_slice(cell.as_bytes());
    }
    out.push(b'"');
    for (position, part) in cell.split('"').enumerate() {
        if position > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(part.as_bytes());
    }
    out.push(b'"');
}

/// One line of relaxed Extended JSON, with `_id` and lineage only if `whole`.
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
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_only_where_they_must_be() {
        let check = |cells: &[&str], delimiter: u8, expected: &str| {
            let mut out = Vec::new();
            write_row(cells.iter().copied(), delimiter, &mut out);
            assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
        };
        check(&["a", "", "b c"], b',', "a,,b c\n");
        check(&["a,b", "x;y", "é"], b',', "\"a,b\",x;y,é\n");
        check(&["a,b", "x;y"], b';', "a,b;\"x;y\"\n");
        check(
            &["say \"hi\"", "two\nlines", "a\rb", "\""],
            b',',
            "\"say \"\"hi\"\"\",\"two\nlines\",\"a\rb\",\"\"\"\"\n",
        );
        check(&[""], b',', "\"\"\n");
        check(&["", ""], b',', ",\n");
    }
}
