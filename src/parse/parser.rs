//! One row to its cells, whatever the format.

use super::csv::{BadCell, Signs, split_row};
use super::multiline::{Lines, LongCell, breaks};
use super::ndjson::Ndjson;
use super::quotes::is_blank;
use super::{Cells, Format, Layout, Notices, REJECT_COLUMNS};
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// U+FFFD, as UTF-8: in a reject file it stands for what could not be read.
pub(super) const LOST_CHARACTER: &[u8] = "\u{fffd}".as_bytes();

/// Divides the rows of a source into cells, as its layout says. What a row leaves behind never changes how the next is read.
#[derive(Debug, Clone)]
pub struct Parser {
    plan: Plan,
    /// Whether the rows come from a reject file: a U+FFFD in them stands for bytes that nobody could decode.
    is_from_rejects: bool,
    cell_of_field: Vec<Option<usize>>,
    notices: Notices,
}

#[derive(Debug, Clone)]
enum Plan {
    Csv(Box<Csv>),
    Ndjson(Box<Ndjson>),
}

/// What rows of delimited text are held against.
#[derive(Debug, Clone)]
struct Csv {
    lines: Lines,
    /// Cells a row must have.
    columns: usize,
    /// Whether a row may have a blank cell more.
    extra_cell: bool,
    /// Whether cells may hold lines that look like rows.
    multiline_cells: bool,
    header: Vec<String>,
}

impl Parser {
    /// A parser for rows of that layout.
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

    /// Divides `row`, whose span is `span`, into `cells`: [`Layout::columns`] of them, or for NDJSON one for each field.
    ///
    /// The cells of a CSV are bytes as the row has them, UTF-8 or not; those of NDJSON are UTF-8. Of a row that is refused,
    /// `cells` holds what could be told apart, the rest as one last cell, for the reject file.
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

    /// What was noticed in the rows since the last call.
    pub fn take_notices(&mut self) -> Notices {
        std::mem::take(&mut self.notices)
    }

    /// A reject that was undecodable is no better as long as U+FFFD stands where its bytes could not be read.
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

/// Why a row of delimited text is refused, and which of its cells is to blame.
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

    /// Counts the cells that hold line breaks, and refuses the row if one of them looks like whole rows.
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

    /// Whether the row is the header once more. Nearly all rows are answered by their first cell.
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

    /// Adds the lines that a refused row takes in, if they are more than one.
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

/// A cell without white space, quotes and a byte order mark around it, as a repeated header may have them.
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
