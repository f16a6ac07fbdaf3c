//! Turns cells into typed records. Every rule is a small pure function, and every refusal is a
//! [`Reject`](crate::reject::Reject) with a stable reason.
//!
//! This module uses no I/O, clock, randomness, async or logging, so the same row always gives the same record. A rule
//! has the signature `fn(text, out) -> bool`. It returns true if it changed the text; the new text is then in `out`.
//! It returns false if the text is unchanged; the content of `out` then has no meaning.

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
mod whitespace;

pub use cleaner::Cleaner;
pub use record::{Record, Value};
pub use tally::Tally;
pub(crate) use tally::slot_names;
