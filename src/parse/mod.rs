//! Splits the rows of a source into cells. Each format has its own folder. The functions are pure: no I/O, clock or
//! logging.
//!
//! A `Layout` says which cell of a row belongs to which field. It is determined once per source, before anything is
//! written.

mod cells;
mod columns;
mod csv;
pub mod dates;
mod error;
pub(crate) mod fhir;
mod format;
pub(crate) mod hl7;
mod items;
mod json;
mod layout;
mod notices;
mod parser;
mod thousands;

pub use cells::Cells;
pub(crate) use columns::REJECT_COLUMNS;
pub(crate) use csv::DELIMITERS;
pub(crate) use csv::write_line;
pub use dates::{DateFormat, parse_date};
pub(crate) use error::LayoutError;
pub use fhir::BundleIds;
pub use format::{FhirForm, Format};
pub(crate) use hl7::{Charset, segment_end};
pub use layout::LayoutOptions;
pub(crate) use layout::{Layout, RowRules};
pub(crate) use notices::Notices;
pub use parser::Parser;

pub(crate) use crate::read::Dialect;
pub use crate::spec::FormatName;

#[cfg(test)]
mod tests;
