//! Splits one row into cells, in every format.

use std::sync::Arc;

use super::csv::{BadRow, Csv};
use super::fhir::Fhir;
use super::hl7::{Hl7, wrong_count};
use super::items::Arrays;
use super::json::Json;
use super::{BundleIds, Cells, Format, Layout, Notices};
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject, RowKinds};
use crate::spec::Spec;

/// U+FFFD in UTF-8. In a reject file it replaces bytes that could not be decoded. It also precedes a JSON value that
/// could not become a cell, for example an object in the column of a string.
pub(super) const LOST_CHARACTER: &[u8] = "\u{fffd}".as_bytes();

/// Splits the rows of a source into cells. Each row is read alone: earlier rows do not change the result.
#[derive(Debug, Clone)]
pub struct Parser {
    rows: Rows,
    /// True if the source is a reject file. A U+FFFD in its rows then marks text that must be corrected.
    is_from_rejects: bool,
    /// True if the source is a file of rejected FHIR resources. A U+FFFD in them marks text that must be corrected.
    is_of_resource_rejects: bool,
    cell_of_field: Vec<Option<usize>>,
    arrays: Arrays,
    notices: Notices,
}

#[derive(Debug, Clone)]
enum Rows {
    Csv(Box<Csv>),
    Json(Box<Json>),
    Hl7(Box<Hl7>),
    Fhir(Box<Fhir>),
}

impl Parser {
    /// Creates a parser for the rows of a source with this layout.
    pub fn new(layout: &Layout, spec: &Spec) -> Self {
        let is_from_rejects = layout.is_reject_file();
        let rows = match layout.format {
            Format::Csv(dialect) => Rows::Csv(Box::new(Csv::new(layout, dialect))),
            Format::Ndjson => Rows::Json(Box::new(Json::new(&spec.columns(), &spec.fields))),
            Format::Json => Rows::Json(Box::new(Json::new(&spec.columns(), &spec.fields).of_documents())),
            Format::Hl7 => Rows::Hl7(Box::new(Hl7::new(spec, layout.charset))),
            Format::Fhir(_) => Rows::Fhir(Box::new(Fhir::new(spec))),
        };
        let cell_of_field = layout.cell_of_field.clone();
        // `Rows::Fhir` itself makes the cells of the items of arrays, so it needs no parser for arrays.
        let arrays = if matches!(rows, Rows::Fhir(_)) { Arrays::default() } else { Arrays::new(spec, &cell_of_field) };
        let is_of_resource_rejects = layout.is_of_resource_rejects;
        Self { rows, is_from_rejects, is_of_resource_rejects, cell_of_field, arrays, notices: Notices::default() }
    }

    /// Sets the ids of the resources in the source's Bundles. References to these resources are resolved with them.
    pub(crate) fn set_bundle_ids(&mut self, ids: Option<Arc<BundleIds>>) {
        if let Rows::Fhir(fhir) = &mut self.rows {
            fhir.set_ids(ids);
        }
    }

    /// Splits `row` into `cells` and then parses its arrays. `span` is the position of the row. In delimited text,
    /// there is one cell per column of the source. In the other formats, there is one cell per column of the spec.
    ///
    /// In delimited text, a cell may be invalid UTF-8. In JSON, the cells of an accepted row are valid UTF-8, because a
    /// row with invalid UTF-8 is refused.
    ///
    /// # Errors
    /// The row is refused. In delimited text and JSON, `cells` then contains the cells that could be read. If the row
    /// could not be split to its end, the rest of the row is one more cell. These cells are written to the reject file.
    /// A message or a resource is written there as a whole.
    pub fn parse(&mut self, row: &[u8], span: RowSpan, cells: &mut Cells) -> Result<(), Reject> {
        match &mut self.rows {
            Rows::Csv(csv) => csv.parse(row, span, cells, &mut self.notices).map_err(|bad| self.reject(bad))?,
            Rows::Json(json) => {
                let parsed = json.parse(row, cells);
                check_ending(span.ending, json.cause_of_length())?;
                parsed?;
            }
            Rows::Hl7(hl7) => {
                check_ending(span.ending, "")?;
                if let Ending::WrongCount(counted) = span.ending {
                    let message = wrong_count(row, counted);
                    return Err(Reject { field: None, reason: Reason::WrongCount, message });
                }
                let parsed = hl7.parse(row, cells);
                self.notices.kept_escapes += hl7.take_kept_escapes();
                parsed?;
            }
            Rows::Fhir(fhir) => {
                fhir.forget();
                check_ending(span.ending, "")?;
                fhir.parse(row, span.object, cells)?;
                self.notices.lost_references += fhir.lost_references();
                if self.is_of_resource_rejects && memchr::memmem::find(row, LOST_CHARACTER).is_some() {
                    return Err(lost_character(None));
                }
            }
        }
        if self.is_from_rejects {
            self.check_corrected(row, cells)?;
        }
        if self.arrays.is_empty() { Ok(()) } else { self.arrays.parse(row, cells) }
    }

    /// Returns the text to which the borrowed cells of `row` refer. `row` must be the row that was parsed last.
    pub fn text<'a>(&self, row: &'a [u8]) -> &'a [u8] {
        match &self.rows {
            Rows::Csv(_) | Rows::Json(_) => row,
            // A message can be in any character set, so it is not returned as text. The text is not needed, because the
            // cells of messages and resources are copies and not ranges of the row.
            Rows::Hl7(_) | Rows::Fhir(_) => &[],
        }
    }

    /// Returns the bytes that are stored in a field with the whole record: the BSON of a FHIR resource, otherwise
    /// `row`. `row` must be the row that was parsed last.
    pub fn whole<'a>(&'a self, row: &'a [u8]) -> &'a [u8] {
        match &self.rows {
            Rows::Fhir(fhir) => fhir.resource(),
            Rows::Csv(_) | Rows::Json(_) | Rows::Hl7(_) => row,
        }
    }

    /// Returns the kinds of documents that the last row gives. If the row was refused, these kinds count it as
    /// rejected.
    pub(crate) fn kinds(&self) -> RowKinds {
        match &self.rows {
            Rows::Fhir(fhir) => fhir.kind().map_or(RowKinds::None, RowKinds::One),
            Rows::Csv(_) | Rows::Json(_) | Rows::Hl7(_) => RowKinds::All,
        }
    }

    /// Returns the resources to which the last row refers. The first value is the index of the kind of document, or
    /// `None` if the spec does not describe the type. The second value is the id.
    pub(crate) fn references(&self) -> impl Iterator<Item = (Option<usize>, &str)> {
        let fhir = if let Rows::Fhir(fhir) = &self.rows { Some(fhir) } else { None };
        fhir.into_iter().flat_map(|fhir| fhir.references())
    }

    /// Returns the parser of the arrays.
    pub(super) fn arrays(&self) -> &Arrays {
        &self.arrays
    }

    /// Returns the notices about the rows since the last call.
    pub fn take_notices(&mut self) -> Notices {
        std::mem::take(&mut self.notices)
    }

    /// Refuses a row of a reject file if a cell that a field reads contains U+FFFD. Such a cell still has to be
    /// corrected by the user.
    fn check_corrected(&self, row: &[u8], cells: &Cells) -> Result<(), Reject> {
        let is_lost = |&cell: &usize| cells.get(row, cell).windows(3).any(|bytes| bytes == LOST_CHARACTER);
        let lost = self.cell_of_field.iter().position(|cell| cell.as_ref().is_some_and(is_lost));
        if lost.is_some() { Err(lost_character(lost)) } else { Ok(()) }
    }

    fn reject(&self, BadRow { cell, reason, message }: BadRow) -> Reject {
        let field = cell.and_then(|cell| self.cell_of_field.iter().position(|&source| source == Some(cell)));
        Reject { field, reason, message }
    }
}

fn lost_character(field: Option<usize>) -> Reject {
    let message =
        "the character U+FFFD is still in place of bytes that could not be read; replace it by the right text";
    Reject { field, reason: Reason::Undecodable, message: message.into() }
}

/// Refuses a row that is too long. Refuses the last row of a JSON source that ends inside an object or an array.
/// Accepts open quotes and wrong counts, because the parsers of CSV and of HL7 refuse them themselves.
///
/// `cause_of_length` is the end of the message for a row that is too long: a semicolon and a possible cause, or an
/// empty text.
pub(super) fn check_ending(ending: Ending, cause_of_length: &str) -> Result<(), Reject> {
    let (reason, message) = match ending {
        Ending::Whole | Ending::OpenQuote | Ending::WrongCount(_) => return Ok(()),
        Ending::TooLong => {
            let length = "the row is too long for a document of 16 MiB, so only its beginning is in the reject file";
            (Reason::RowTooLong, format!("{length}{cause_of_length}"))
        }
        Ending::Truncated => (Reason::NotJson, "the source ends inside this object; is the export complete?".into()),
        Ending::OpenArray => {
            (Reason::NotJson, "the source ends before the `]` of its array; is the export complete?".into())
        }
    };
    Err(Reject { field: None, reason, message })
}
