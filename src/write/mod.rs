//! Encoded runs into MongoDB: runs, batches, and the outcome of every document.
//!
//! [`machine`] decides and does no I/O; `bulk` talks to the server; `writer` carries out the one with the other.
//! This room never parses a source and never decides what a record is.

mod batch;
mod bulk;
mod group;
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
pub use machine::Limits;
pub use outcome::{Mode, Outcome, Policy, Refusal};
pub use run::{EncodedRun, RUN_BYTES_DEFAULT, RUNS_MAX, RunBuilder};
pub use writer::{Settled, WriteError, Writer};
