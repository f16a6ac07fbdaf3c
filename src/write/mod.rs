//! Writes encoded runs to MongoDB in batches, and determines the outcome of every document.
//!
//! [`machine`] makes the decisions and does no I/O. `bulk` sends commands to the server. `writer` connects the two.
//! This module never parses a source and does not know how a record is made.

mod batch;
mod bulk;
mod group;
mod lanes;
pub mod machine;
mod outcome;
mod run;
mod seen;
#[cfg(test)]
mod simulation;
mod sweep;
mod writer;

pub use batch::{BatchId, Member, Step};
pub use bulk::Bulk;
pub use group::Losers;
pub use lanes::write_all;
pub use machine::Limits;
pub use outcome::{Mode, Outcome, Policy, Refusal};
pub use run::{Chunk, EncodedRun, RUN_BYTES_DEFAULT, RUNS_MAX, RunBuilder};
pub use writer::{Settled, WriteError, Writer};
