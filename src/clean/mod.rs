//! Cells to typed records: every rule a small pure function, every refusal a [`Reject`](crate::reject::Reject) with a stable reason.
//!
//! No I/O, clock, randomness, async or logging in here: the same row gives the same record, always.

mod record;
mod tally;

pub use record::{Record, Value};
pub use tally::Tally;
