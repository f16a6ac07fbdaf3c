//! Writes encoded chunks to MongoDB in batches, and determines the outcome of every record.
//!
//! [`machine`] decides what to send next and does no I/O. `bulk` sends commands to the server. `writer` executes the
//! machine's decisions with `bulk`. This module does not parse sources, and does not know the fields of a record.

mod batch;
mod budget;
mod bulk;
mod chunk;
mod group;
mod lanes;
pub mod machine;
mod outcome;
mod planned;
mod seen;
mod shards;
#[cfg(test)]
mod simulation;
mod step;
mod sweep;
mod unchanged;
mod writer;

pub use batch::{BatchId, Step};
pub use budget::Budget;
pub(crate) use bulk::Bulk;
pub use chunk::{CHUNK_BYTES_DEFAULT, CHUNKS_MAX, Chunk, ChunkBuilder, KindChunk};
#[cfg(test)]
pub(crate) use group::Losers;
pub use lanes::write_all;
pub use machine::Limits;
pub(crate) use outcome::Refusal;
pub use outcome::{Mode, Outcome, Policy};
pub use shards::ShardMap;
pub(crate) use writer::Settled;
pub use writer::{WriteError, Writer};
