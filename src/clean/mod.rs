//! Turns the cells of rows into typed records. Each cleaning rule is a small pure function. A row that cannot be
//! cleaned gives a [`Reject`](crate::reject::Reject) with a stable reason.
//!
//! This module uses no I/O, clock, randomness, async or logging, so the same row always gives the same record. The
//! function of a text rule gets a text and a buffer `out`, and returns a `bool`. If the rule changes the text, the
//! function writes the new text to `out` and returns true. If it returns false, `out` may contain anything.

mod arrays;
mod cleaner;
mod constraints;
mod convert;
mod decimal128;
mod field_cleaner;
mod letter_case;
mod normal_form;
mod number;
mod organisation_name;
mod person_name;
mod record;
mod short_text;
mod tally;
mod trial;
mod whitespace;

pub use cleaner::Cleaner;
pub use record::{Record, Value};
pub use tally::Tally;
pub(crate) use tally::slot_names;
pub(crate) use trial::Trial;
