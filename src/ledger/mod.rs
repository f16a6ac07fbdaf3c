//! Loads, checkpoints and counts, kept in a collection beside the data.
//!
//! Each load has a document: what was read (name, size, hash), with which spec and options, how far it is durable, and what the
//! counts and the content digest were. Beside them stand the leases (who may write a load), one record per collection
//! (which identity its documents have), and the `_id`s of records that the server refused. No document holds a value of a
//! patient. This module never sees a document of the data.

mod claim;
mod counts;
mod identity;
mod lease;
mod owner;
mod run;
mod store;

pub use claim::{Claim, Guard};
pub use counts::Counts;
pub use identity::CollectionIdentity;
pub use lease::Lease;
pub use owner::Owner;
pub use run::{Checkpoint, Exceptions, LoadRun, Options, RejectsState, SourceIdentity, State};
pub use store::{Held, LEASE_DEFAULT, LEDGER_COLLECTION, Ledger, LedgerError};
