//! Turns bytes into cells, with one file per format. The functions are pure: no I/O, clock or logging.
//!
//! A [`Layout`] assigns the cells of a row to fields. It is determined once per source, before anything is written.

mod cells;
mod columns;
mod csv;
pub mod dates;
mod error;
mod format;
mod items;
mod json;
mod layout;
mod notices;
mod parser;

pub use cells::Cells;
pub use columns::REJECT_COLUMNS;
pub use csv::{DELIMITERS, detect_dialect};
pub use dates::DateFormat;
pub use error::LayoutError;
pub use format::{Format, FormatName};
pub use layout::{Layout, LayoutOptions, RowRules};
pub use notices::Notices;
pub use parser::Parser;

pub use crate::read::Dialect;

#[cfg(test)]
mod tests;
