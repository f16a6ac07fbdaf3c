//! Splits one row into cells, for every format.

use super::csv::{BadCell, Signs, split_row};
use super::multiline::{Lines, LongCell, breaks};
use super::ndjson::Ndjson;
use super::quotes::is_blank;
use super::{Cells, Format, Layout, Notices, REJECT_COLUMNS};
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// U+FFFD as UTF-8. In a reject file it replaces bytes that could not be decoded.
pub(super) const LOST_CHARACTER: &[u8] = "\u{fffd}".as_bytes();

/// Splits the rows of a source into cells, according to its layout. A row never affects how later rows are read.
#[derive(Debug, Clone)]
pub struct Parser {
    plan: Plan,
    /// Whether the rows are from a reject file. In such rows U+FFFD replaces bytes that could not be decoded.
    is_from_rejects: bool,
    cell_of_field: Vec<Option<usize>>,
    notices: Notices,
}

#[derive(Debug, Clone)]
enum Plan {
    Csv(Box<Csv>),
    Ndjson(Box<Ndjson>),
}

/// The rules that a row of delimited text is checked against.
#[derive(Debug, Clone)]
struct Csv {
    lines: Lines,
    /// Number of cells that a row must have.
    columns: usize,
    /// Whether a row may have one additional blank cell.
    extra_cell: bool,
    /// Whether cells may contain lines that look like rows.
    multiline_cells: bool,
    header: Vec<String>,
}

impl Parser {
    /// Creates a parser for rows with this layout.
    pub fn new(layout: &Layout, spec: &Spec) -> Self {
        let is_from_rejects = layout.is_reject_file();
        let plan = match layout.format {
            Format::Csv(dialect) => {
                let foreign = if is_from_rejects { REJECT_COLUMNS.len() } else { 0 };
                let delimiters = (layout.columns + usize::from(layout.rules.extra_cell)).saturating_sub(1 + foreign);
                Plan::Csv(Box::new(Csv {
                    lines: Lines { dialect, foreign, delimiters },
                    columns: layout.columns,
                    extra_cell: layout.rules.extra_cell,
                    multiline_cells: layout.rules.multiline_cells,
                    header: layout.header.clone(),
                }))
            }
            Format::Ndjson => Plan::Ndjson(Box::new(Ndjson::new(spec))),
        };
        let cell_of_field = layout.cell_of_field.clone();
        Self { plan, is_from_rejects, cell_of_field, notices: Notices::default() }
    }

    /// Splits `row`, whose position is `span`, into `cells`: [`Layout::columns`] cells for a CSV, or one per field
    /// for NDJSON.
    ///
    /// The cells of a CSV contain the bytes of the row, which may not be valid UTF-8. The cells of NDJSON are UTF-8.
    ///
    /// # Errors
    /// If the row is refused. `cells` then contains the cells before the error, and the rest of the row as one last
    /// cell, for the reject file.
    pub fn parse(&mut self, row: &[u8], span: RowSpan, cells: &mut Cells) -> Result<(), Reject> {
        match &mut self.plan {
            Plan::Csv(csv) => csv.parse(row, span, cells, &mut self.notices).map_err(|bad| self.reject(bad))?,
            Plan::Ndjson(ndjson) => {
                let parsed = ndjson.parse(row, cells);
                check_length(span.ending)?;
                parsed?;
            }
        }
        if self.is_from_rejects { self.check_corrected(row, cells) } else { Ok(()) }
    }

    /// Returns the notices for the rows since the last call.
    pub fn take_notices(&mut self) -> Notices {
        std::mem::take(&mut self.notices)
    }

    /// Refuses a row of a reject file that still contains a U+FFFD: its undecodable bytes were not corrected.
    fn check_corrected(&self, row: &[u8], cells: &Cells) -> Result<(), Reject> {
        let is_lost = |&cell: &usize| cells.get(row, cell).windows(3).any(|bytes| bytes == LOST_CHARACTER);
        let lost = self.cell_of_field.iter().position(|cell| cell.as_ref().is_some_and(is_lost));
        let message = "U+FFFD still stands for what could not be read; put in what the source means";
        match lost {
            Some(field) => Err(Reject { field: Some(field), reason: Reason::Undecodable, message: message.into() }),
            None => Ok(()),
        }
    }

    fn reject(&self, BadRow { cell, reason, message }: BadRow) -> Reject {
        let field = cell.and_then(|cell| self.cell_of_field.iter().position(|&source| source == Some(cell)));
        Reject { field, reason, message }
    }
}

/// A refused row of delimited text: the cell with the error, and the reason.
struct BadRow {
    cell: Option<usize>,
    reason: Reason,
    message: String,
}

impl BadRow {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { cell: None, reason, message: message.into() }
    }
}

impl Csv {
    fn parse(&self, row: &[u8], span: RowSpan, cells: &mut Cells, notices: &mut Notices) -> Result<(), BadRow> {
        let divided = split_row(row, self.lines.dialect, cells);
        if let Err(bad) = divided {
            cells.end_with(bad.cell, &(bad.start..row.len()));
        }
        check_length(span.ending).map_err(|reject| BadRow::new(reject.reason, reject.message))?;
        let signs = divided
            .map_err(bad_cell)
            .and_then(|signs| self.check_count(row, cells).map(|()| signs))
            .map_err(|bad| self.with_lines(bad, row, span))?;
        if let Signs::Some { loose_quotes } = signs {
            notices.loose_quotes += loose_quotes;
            self.check_lines(row, span, cells, notices)?;
        }
        if self.is_header(row, cells) {
            let message = "the header again; take it out, if two files were put together";
            return Err(BadRow::new(Reason::RepeatedHeader, message));
        }
        Ok(())
    }

    fn check_count(&self, row: &[u8], cells: &mut Cells) -> Result<(), BadRow> {
        let count = cells.len();
        let reason = match count.cmp(&self.columns) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => Reason::TooFewCells,
            std::cmp::Ordering::Greater => Reason::TooManyCells,
        };
        if self.extra_cell && count == self.columns + 1 && is_blank(cells.get(row, self.columns)) {
            cells.truncate(self.columns);
            return Ok(());
        }
        Err(BadRow::new(reason, format!("{count} cells where the header has {}", self.columns)))
    }

    /// Counts the cells that contain line breaks. Refuses the row if one of them looks like complete rows.
    fn check_lines(&self, row: &[u8], span: RowSpan, cells: &Cells, notices: &mut Notices) -> Result<(), BadRow> {
        if memchr::memchr(self.lines.dialect.line_end, row).is_none() {
            return Ok(());
        }
        for LongCell { index, first, last, is_rows } in self.lines.long_cells(row, cells) {
            let (first, last) = (span.line + first, span.line + last);
            if is_rows && !self.multiline_cells {
                let message = format!(
                    "cell {} takes in lines {first} to {last}, which look like rows; if they are rows, correct the quote \
                     that opens the cell or load with --quote none; if they are text, load with --multiline-cells",
                    index + 1
                );
                return Err(BadRow { cell: Some(index), reason: Reason::SwallowedRows, message });
            }
            notices.add_multiline(first, last);
        }
        Ok(())
    }

    /// Returns true if the row repeats the header. For nearly all rows the first cell decides.
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

    /// Adds the range of lines to the message of a refused row that spans several lines.
    fn with_lines(&self, bad: BadRow, row: &[u8], span: RowSpan) -> BadRow {
        let text = row.strip_suffix(&[self.lines.dialect.line_end]).unwrap_or(row);
        match breaks(text, self.lines.dialect) {
            0 => bad,
            more => {
                let (first, last) = (span.line, span.line + more);
                BadRow { message: format!("{}; the row takes in lines {first} to {last}", bad.message), ..bad }
            }
        }
    }
}

/// Removes white space, quotes and a byte order mark around a cell. A repeated header may contain them.
fn trim_name(cell: &[u8]) -> &[u8] {
    let cell = cell.strip_prefix("\u{feff}".as_bytes()).unwrap_or(cell).trim_ascii();
    cell.strip_prefix(b"\"").and_then(|cell| cell.strip_suffix(b"\"")).unwrap_or(cell).trim_ascii()
}

fn bad_cell(BadCell { cell, reason, .. }: BadCell) -> BadRow {
    let number = cell + 1;
    let message = match reason {
        Reason::StrayQuote => {
            format!("cell {number} has text after its closing quote; a quote inside is to be doubled")
        }
        _ => format!("the quote that opens cell {number} is never closed"),
    };
    BadRow { cell: Some(cell), reason, message }
}

fn check_length(ending: Ending) -> Result<(), Reject> {
    if ending != Ending::TooLong {
        return Ok(());
    }
    let message = "the row is longer than any that fits a document of 16 MiB, so only its beginning is kept; perhaps a quote \
                   in it is never closed, and takes all lines up to the next row with it";
    Err(Reject { field: None, reason: Reason::RowTooLong, message: message.to_owned() })
}
