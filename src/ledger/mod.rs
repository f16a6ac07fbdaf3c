//! The ledger: a collection that records every load. It is in the same database as the data.
//!
//! Each load has one document. It contains name, size and hash of each source, name and hash of the spec, the options,
//! the checkpoint, the counts and the content digest. All blocks before the checkpoint are committed: their documents
//! are durable at a majority, and their rejects are on disk.
//!
//! A second collection, `medlift_runs.leases`, contains documents of six other types:
//! - leases: which process may write a load, and until when
//! - identities: the fields and the key from which the `_id`s of a collection are made
//! - exceptions: the `_id`s of records that the server refused, or that were not written because other content is
//!   stored under their `_id`
//! - the record of the fold: the collection whose messages are folded in this database
//! - one document that is written to find out whether the database takes writes
//! - parts: if several workers share a load, each part has its own document, of the same form as that of a load
//!
//! The ledger contains no patient's values, and this module never reads the documents of the data.

mod claim;
mod counts;
mod files;
mod fold;
mod identity;
mod lease;
mod leases;
mod owner;
mod parts;
mod ready;
mod run;
mod store;

pub use crate::namespace::LEDGER_COLLECTION;
pub use claim::Claim;
pub(crate) use claim::Guard;
pub use counts::Counts;
pub use files::LoadFiles;
pub use fold::FoldRecord;
pub use identity::CollectionIdentity;
pub use lease::Lease;
pub use leases::Held;
pub use owner::Owner;
pub use parts::PartProgress;
pub(crate) use run::SourceIdentity;
pub use run::{
    Checkpoint, Exceptions, LoadDocument, OfManifest, Options, PartOf, Proof, Reading, RejectsState, SegmentsOf, State,
    TargetState, token_key,
};
pub use store::{LEASE_DEFAULT, Ledger, LedgerError, require_collection};
