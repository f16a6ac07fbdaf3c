//! Bytes to cells: one file a format, pure functions without I/O, clock or logging.
//!
//! A [`Layout`] says which cell of a row feeds which field; it is bound once a source, before anything is written.

mod cells;
pub mod dates;
mod layout;

pub use cells::Cells;
pub use dates::DateFormat;
pub use layout::{Dialect, Format, Layout};
