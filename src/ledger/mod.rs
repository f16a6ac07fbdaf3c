//! Runs, checkpoints and counts, kept in a collection beside the data.
//!
//! A document a load: what was read (name, size, hash), with which spec and options, how far it is durable, and what the
//! counts and the content digest were. It holds no value of any patient. This room never sees a document of the data.

mod counts;
mod run;
mod store;

pub use counts::Counts;
pub use run::{Checkpoint, LoadRun, Options, SourceIdentity, State};
pub use store::{LEDGER_COLLECTION, Ledger};
