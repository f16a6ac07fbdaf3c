//! Cells to typed records: every rule a small pure function, every refusal a [`Reject`](crate::reject::Reject) with a stable reason.
//!
//! No I/O, clock, randomness, async or logging in here: the same row gives the same record, always. A rule has the shape
//! `fn(text, out) -> bool`: true when it changed the text, which `out` then holds; false when the text stands as it is,
//! whatever `out` holds.

mod cleaner;
mod constraints;
mod convert;
mod decimal128;
mod letter_case;
mod normal_form;
mod number;
mod organisation_name;
mod person_name;
mod record;
mod short_text;
mod tally;
mod whitespace;

pub use cleaner::Cleaner;
pub use record::{Record, Value};
pub use tally::{Tally, slot_names};
