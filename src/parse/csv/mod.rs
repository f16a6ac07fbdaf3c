//! Splits a row of delimited text (RFC 4180) into cells and checks it against the header.

mod dialect;
mod header;
mod multiline;
mod quotes;
mod split;
mod write;

pub(crate) use dialect::{DELIMITERS, detect_dialect};
pub(super) use header::{read_header, row_rules};
pub(crate) use write::write_line;

use super::parser::check_ending;
use super::{Cells, Dialect, Layout, Notices, REJECT_COLUMNS};
use crate::read::RowSpan;
use crate::reject::Reason;
use multiline::{Lines, LongCell, breaks};
use quotes::is_blank;
use split::{BadCell, Signs, split_row};

/// Splits the rows of one source and checks them.
#[derive(Debug, Clone)]
pub(super) struct Csv {
    lines: Lines,
    /// True if a row may have one more cell than the header. This cell must be blank.
    extra_cell: bool,
    /// True if a cell may contain lines that look like rows.
    multiline_cells: bool,
    /// The names of the columns. A row must have one cell for each of them.
    header: Vec<String>,
}

/// The reason why a row is refused, and the cell that caused it. `cell` is `None` if no single cell caused it.
pub(super) struct BadRow {
    pub cell: Option<usize>,
    pub reason: Reason,
    pub message: String,
}

impl BadRow {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { cell: None, reason, message: message.into() }
    }
}

impl Csv {
    /// Creates the parser for the rows of a source with this layout and dialect.
    pub(super) fn new(layout: &Layout, dialect: Dialect) -> Self {
        let foreign = if layout.is_reject_file() { REJECT_COLUMNS.len() } else { 0 };
        let cells = layout.header.len() + usize::from(layout.rules.extra_cell);
        Self {
            lines: Lines { dialect, foreign, delimiters: cells.saturating_sub(1 + foreign) },
            extra_cell: layout.rules.extra_cell,
            multiline_cells: layout.rules.multiline_cells,
            header: layout.header.clone(),
        }
    }

    /// Returns the end of the message for a row that is too long. If quotes are ordinary characters, this end is empty,
    /// because the cause of the length is unknown.
    const fn cause_of_length(&self) -> &'static str {
        match self.lines.dialect.quote {
            Some(_) => "; perhaps a quote in it is never closed, so that the lines after it became part of the row",
            None => "",
        }
    }

    pub(super) fn parse(
        &self,
        row: &[u8],
        span: RowSpan,
        cells: &mut Cells,
        notices: &mut Notices,
    ) -> Result<(), BadRow> {
        let divided = split_row(row, self.lines.dialect, cells);
        if let Err(bad) = divided {
            cells.end_with(bad.cell, &(bad.start..row.len()));
        }
        check_ending(span.ending, self.cause_of_length())
            .map_err(|reject| BadRow::new(reject.reason, reject.message))?;
        let signs = divided
            .map_err(bad_cell)
            .and_then(|signs| self.check_count(row, cells).map(|()| signs))
            .map_err(|bad| self.with_lines(bad, row, span))?;
        if let Signs::Some { loose_quotes } = signs {
            notices.loose_quotes += loose_quotes;
            self.check_lines(row, span, cells, notices)?;
        }
        if self.is_header(row, cells) {
            let message = "the row repeats the header; remove it if two files were joined";
            return Err(BadRow::new(Reason::RepeatedHeader, message));
        }
        Ok(())
    }

    fn check_count(&self, row: &[u8], cells: &mut Cells) -> Result<(), BadRow> {
        let (count, columns) = (cells.len(), self.header.len());
        let reason = match count.cmp(&columns) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => Reason::TooFewCells,
            std::cmp::Ordering::Greater => Reason::TooManyCells,
        };
        if self.extra_cell && count == columns + 1 && is_blank(cells.get(row, columns)) {
            cells.truncate(columns);
            return Ok(());
        }
        Err(BadRow::new(reason, format!("the row has {count} cells, but the header has {columns}")))
    }

    /// Counts the cells that contain line breaks. Refuses the row if a cell looks like complete rows and
    /// `multiline_cells` is false.
    fn check_lines(&self, row: &[u8], span: RowSpan, cells: &Cells, notices: &mut Notices) -> Result<(), BadRow> {
        if memchr::memchr(self.lines.dialect.line_end, row).is_none() {
            return Ok(());
        }
        for LongCell { index, first, last, is_rows } in self.lines.long_cells(row, cells) {
            let (first, last) = (span.line + first, span.line + last);
            if is_rows && !self.multiline_cells {
                let message = format!(
                    "cell {} contains lines {first} to {last}, which look like rows; if they are rows, correct the \
                     quote that opens the cell or load with --quote none; if they are text, load with --multiline-cells",
                    index + 1
                );
                return Err(BadRow { cell: Some(index), reason: Reason::SwallowedRows, message });
            }
            notices.add_multiline(first, last);
        }
        Ok(())
    }

    /// Returns true if the row is a copy of the header. For nearly all rows the first cell is enough to decide.
    fn is_header(&self, row: &[u8], cells: &Cells) -> bool {
        let is_name = |(index, name): (usize, &String)| {
            let (cell, name) = (cells.get(row, index), name.as_bytes());
            match (cell.first(), name.first()) {
                (_, None) => is_blank(cell),
                (None, _) => false,
                (Some(first), begin) if first.is_ascii_alphanumeric() && Some(first) != begin => false,
                _ => trim_name(cell) == name,
            }
        };
        self.header.iter().enumerate().all(is_name)
    }

    /// Adds the line numbers of the row to the message if the row has several lines.
    fn with_lines(&self, bad: BadRow, row: &[u8], span: RowSpan) -> BadRow {
        let text = row.strip_suffix(&[self.lines.dialect.line_end]).unwrap_or(row);
        match breaks(text, self.lines.dialect) {
            0 => bad,
            more => {
                let (first, last) = (span.line, span.line + more);
                BadRow { message: format!("{}; the row contains lines {first} to {last}", bad.message), ..bad }
            }
        }
    }
}

/// Removes white space, quotes and a byte order mark around a cell. If two files were joined, the header of the second
/// file may have them.
fn trim_name(cell: &[u8]) -> &[u8] {
    let cell = cell.strip_prefix("\u{feff}".as_bytes()).unwrap_or(cell).trim_ascii();
    cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell).trim_ascii()
}

fn bad_cell(BadCell { cell, reason, .. }: BadCell) -> BadRow {
    let number = cell + 1;
    let message = match reason {
        Reason::StrayQuote => {
            format!("cell {number} has text after its closing quote; write a quote inside a cell twice")
        }
        _ => format!("the quote that opens cell {number} is never closed"),
    };
    BadRow { cell: Some(cell), reason, message }
}
