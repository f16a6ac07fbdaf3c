//! Turns bytes into cells, with one file per format. The functions are pure: no I/O, clock or logging.
//!
//! A [`Layout`] assigns the cells of a row to fields. It is determined once per source, before anything is written.

mod cells;
mod columns;
mod csv;
pub mod dates;
mod dialect;
mod error;
mod layout;
mod multiline;
mod ndjson;
mod notices;
mod parser;
mod quotes;

pub use cells::Cells;
pub use columns::REJECT_COLUMNS;
pub use dates::DateFormat;
pub use dialect::{DELIMITERS, FormatName, detect_dialect, detect_format};
pub use error::LayoutError;
pub use layout::{Layout, LayoutOptions, RowRules};
pub use notices::Notices;
pub use parser::Parser;

pub use crate::read::{Dialect, Format};

#[cfg(test)]
mod tests;
