//! Verifies that a collection contains exactly the documents that its sources give.
//!
//! The sources are read again and encoded as in a load. Their records are collected in an [`Expectation`].
//! [`compare()`] reads the collection in `_id` order, computes the digest of every document from the stored bytes,
//! and compares this digest with the expected one.
//!
//! The writer's counts are not used. Two things are from the ledger: the list of records that were not written (the
//! server refused them, or other content was kept under their `_id`s), and whether other loads can have stored
//! documents. The result contains values of documents only if the user requested them.

mod compare;
mod excused;
mod expected;
mod fields;
mod references;
mod report;
mod scan;

pub use compare::{Options, Share, compare};
pub(crate) use excused::{Excused, Excuses};
pub use expected::{Expectation, Expected};
pub use fields::{Wanted, name_fields};
pub use references::ToNothing;
pub(crate) use references::{Referenced, References};
#[cfg(test)]
pub(crate) use report::DifferingField;
pub use report::{Difference, Kind, OtherLoad, OtherLoads, RowOfSource, Verification};
pub(crate) use scan::{Batch, RangeScan, ScanError};
pub use scan::{Range, Scan};

use crate::spill::SpillError;

/// The reason why a verification did not complete.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The collection could not be read.
    #[error("cannot verify: {0}")]
    Scan(#[from] ScanError),
    /// A temporary file for the source's records could not be used.
    #[error("cannot verify: {0}")]
    Spill(#[from] SpillError),
    /// A task of the comparison was cancelled or panicked.
    #[error("cannot verify: a part of the comparison stopped before its end; run the command again")]
    Stopped,
}
