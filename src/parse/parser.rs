//! One row to its cells, whatever the format.

use super::Cells;
use super::columns::REJECT_COLUMNS;
use super::csv::{BadCell, split_row};
use super::ndjson::Ndjson;
use super::{Format, Layout};
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// U+FFFD, as UTF-8: in a reject file it stands for what could not be read.
pub(super) const LOST_CHARACTER: &[u8] = "\u{fffd}".as_bytes();

/// Divides the rows of a source into cells, as its layout says. What a row leaves behind never changes how the next is read.
#[derive(Debug, Clone)]
pub struct Parser {
    plan: Plan,
    /// Cells a row must have.
    columns: usize,
    /// Whether the rows come from a reject file: a U+FFFD in them stands for bytes that nobody could decode.
    is_from_rejects: bool,
    cell_of_field: Vec<Option<usize>>,
}

#[derive(Debug, Clone)]
enum Plan {
    Csv { delimiter: u8 },
    Ndjson(Box<Ndjson>),
}

impl Parser {
    /// A parser for rows of that layout.
    pub fn new(layout: &Layout, spec: &Spec) -> Self {
        let plan = match layout.format {
            Format::Csv(dialect) => Plan::Csv { delimiter: dialect.delimiter },
            Format::Ndjson => Plan::Ndjson(Box::new(Ndjson::new(spec))),
        };
        let is_from_rejects = REJECT_COLUMNS.iter().all(|name| layout.header.iter().any(|column| column == name));
        Self { plan, columns: layout.columns, is_from_rejects, cell_of_field: layout.cell_of_field.clone() }
    }

    /// Divides `row`, whose span is `span`, into `cells`: [`Layout::columns`] of them, or for NDJSON one a field.
    ///
    /// The cells of a CSV are bytes as the row has them, UTF-8 or not; those of NDJSON are UTF-8. Of a row that is refused,
    /// `cells` holds what could be told apart, the rest as one last cell, for the reject file.
    pub fn parse(&mut self, row: &[u8], span: RowSpan, cells: &mut Cells) -> Result<(), Reject> {
        let parsed = match &mut self.plan {
            Plan::Csv { delimiter } => split_row(row, *delimiter, cells).map_err(|bad| {
                cells.end_with(bad.cell, &(bad.start..row.len()));
                self.bad_cell(bad)
            }),
            Plan::Ndjson(ndjson) => ndjson.parse(row, cells),
        };
        check_ending(span.ending, row)?;
        parsed?;
        if self.columns > 0 {
            self.check_count(cells.len())?;
        }
        if self.is_from_rejects { self.check_corrected(row, cells) } else { Ok(()) }
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

    fn bad_cell(&self, BadCell { cell, reason, .. }: BadCell) -> Reject {
        let field = self.cell_of_field.iter().position(|&source| source == Some(cell));
        let message = match reason {
            Reason::StrayQuote => {
                format!("cell {} has text after its closing quote; a quote inside is to be doubled", cell + 1)
            }
            _ => format!("the quote that opens cell {} is never closed", cell + 1),
        };
        Reject { field, reason, message }
    }

    fn check_count(&self, count: usize) -> Result<(), Reject> {
        let reason = match count.cmp(&self.columns) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Less => Reason::TooFewCells,
            std::cmp::Ordering::Greater => Reason::TooManyCells,
        };
        Err(Reject { field: None, reason, message: format!("{count} cells where the header has {}", self.columns) })
    }
}

fn check_ending(ending: Ending, row: &[u8]) -> Result<(), Reject> {
    let (reason, message) = match ending {
        Ending::Whole => return Ok(()),
        Ending::OpenQuote => {
            let lines = memchr::memchr_iter(b'\n', row).count() + 1;
            (Reason::UnterminatedQuote, format!("the source ends inside a quoted cell, which takes {lines} lines with it"))
        }
        Ending::TooLong => (
            Reason::RowTooLong,
            "the row is longer than any that fits a document of 16 MiB, so only its beginning is kept; perhaps a quote \
             in it is never closed, and takes all lines up to the next row with it"
                .to_owned(),
        ),
    };
    Err(Reject { field: None, reason, message })
}
