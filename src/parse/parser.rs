//! Splits one row into cells, for every format.

use super::csv::{BadRow, Csv};
use super::items::Arrays;
use super::json::Json;
use super::{Cells, Format, Layout, Notices};
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// U+FFFD as UTF-8. In a reject file it replaces bytes that could not be decoded.
pub(super) const LOST_CHARACTER: &[u8] = "\u{fffd}".as_bytes();

/// Splits the rows of a source into cells, according to its layout. A row never affects how later rows are read.
#[derive(Debug, Clone)]
pub struct Parser {
    rows: Rows,
    /// Whether the rows are from a reject file. In such rows U+FFFD replaces bytes that could not be decoded.
    is_from_rejects: bool,
    cell_of_field: Vec<Option<usize>>,
    arrays: Arrays,
    notices: Notices,
}

#[derive(Debug, Clone)]
enum Rows {
    Csv(Box<Csv>),
    Json(Box<Json>),
}

impl Parser {
    /// Creates a parser for rows with this layout.
    pub fn new(layout: &Layout, spec: &Spec) -> Self {
        let is_from_rejects = layout.is_reject_file();
        let rows = match layout.format {
            Format::Csv(dialect) => Rows::Csv(Box::new(Csv::new(layout, dialect))),
            Format::Ndjson => Rows::Json(Box::new(Json::new(&spec.columns(), &spec.fields))),
            Format::Json => Rows::Json(Box::new(Json::new(&spec.columns(), &spec.fields).of_documents())),
        };
        let cell_of_field = layout.cell_of_field.clone();
        let arrays = Arrays::new(spec, &cell_of_field);
        Self { rows, is_from_rejects, cell_of_field, arrays, notices: Notices::default() }
    }

    /// Splits `row`, whose position is `span`, into `cells`: one per column of the source for a CSV, or one per
    /// column of the spec for JSON. Then parses the items of the arrays.
    ///
    /// The cells of a CSV contain the bytes of the row, which may not be valid UTF-8. The cells of JSON are UTF-8.
    ///
    /// # Errors
    /// If the row is refused. `cells` then contains the cells before the error, and the rest of the row as one last
    /// cell, for the reject file.
    pub fn parse(&mut self, row: &[u8], span: RowSpan, cells: &mut Cells) -> Result<(), Reject> {
        match &mut self.rows {
            Rows::Csv(csv) => csv.parse(row, span, cells, &mut self.notices).map_err(|bad| self.reject(bad))?,
            Rows::Json(json) => {
                let parsed = json.parse(row, cells);
                check_ending(span.ending)?;
                parsed?;
            }
        }
        if self.is_from_rejects {
            self.check_corrected(row, cells)?;
        }
        if self.arrays.is_empty() { Ok(()) } else { self.arrays.parse(row, cells) }
    }

    /// Returns the parser for the items of arrays.
    pub(super) fn arrays(&self) -> &Arrays {
        &self.arrays
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

/// Refuses a row that the source does not contain as a whole.
pub(super) fn check_ending(ending: Ending) -> Result<(), Reject> {
    let (reason, message) = match ending {
        Ending::Whole | Ending::OpenQuote => return Ok(()),
        Ending::TooLong => (
            Reason::RowTooLong,
            "the row is longer than any that fits a document of 16 MiB, so only its beginning is kept; perhaps a quote \
             in it is never closed, and takes all lines up to the next row with it",
        ),
        Ending::Truncated => (Reason::NotJson, "the source ends inside this object; is the export complete?"),
        Ending::OpenArray => (Reason::NotJson, "the source ends before the `]` of its array; is the export complete?"),
    };
    Err(Reject { field: None, reason, message: message.to_owned() })
}
