//! The ledger: loads, checkpoints and counts, stored in a collection beside the data.
//!
//! Each load has one document. It records the sources (name, size, hash), the spec and the options, the checkpoint up
//! to which the load is durable, the counts and the content digest. The ledger also stores the leases (which process
//! may write a load), one document for each collection (the identity of its `_id`s), and the `_id`s of records that
//! were refused or kept out. It contains no patient's values. This module never reads the documents of the data.

mod claim;
mod counts;
mod identity;
mod lease;
mod leases;
mod owner;
mod run;
mod store;

pub use claim::Claim;
pub(crate) use claim::Guard;
pub use counts::Counts;
pub use identity::CollectionIdentity;
pub use lease::Lease;
pub use leases::Held;
pub use owner::Owner;
pub(crate) use run::SourceIdentity;
pub use run::{Checkpoint, Exceptions, LoadDocument, Options, Reading, RejectsState, State, TargetState};
pub use store::{LEASE_DEFAULT, LEDGER_COLLECTION, Ledger, LedgerError};
