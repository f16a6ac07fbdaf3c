//! Writes encoded chunks to MongoDB in batches, and determines the outcome of every document.
//!
//! [`machine`] makes the decisions and does no I/O. `bulk` sends commands to the server. `writer` connects the two.
//! This module never parses a source and does not know how a record is made.

mod batch;
mod bulk;
mod chunk;
mod group;
mod lanes;
pub mod machine;
mod outcome;
mod planned;
mod seen;
#[cfg(test)]
mod simulation;
mod step;
mod sweep;
mod writer;

pub use batch::{BatchId, Step};
pub(crate) use bulk::Bulk;
pub use chunk::{CHUNK_BYTES_DEFAULT, CHUNKS_MAX, Chunk, ChunkBuilder, KindChunk};
#[cfg(test)]
pub(crate) use group::Losers;
pub use lanes::write_all;
pub use machine::Limits;
pub(crate) use outcome::Refusal;
pub use outcome::{Mode, Outcome, Policy};
pub(crate) use writer::Settled;
pub use writer::{WriteError, Writer};
