//! Verifies, field by field, that a collection contains the documents that its source requires.
//!
//! The source is read again and its records are added to an [`Expectation`]. [`compare`] reads the collection in `_id`
//! order, computes every document's digest from the stored bytes, and joins the two. The writer's counts are not used.
//! The result contains no value of a document unless the user requested it.

mod compare;
mod excused;
mod expected;
mod fields;
mod report;
mod scan;

pub use compare::{Options, compare};
pub(crate) use excused::{Excused, Excuses};
pub use expected::{Expectation, Expected};
pub use fields::{Wanted, name_fields};
#[cfg(test)]
pub(crate) use report::DifferingField;
pub use report::{Difference, Kind, RowOfSource, Verification};
pub(crate) use scan::ScanError;
pub use scan::{Range, Scan};

use crate::spill::SpillError;

/// Why a verification could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The collection could not be read.
    #[error("cannot verify: {0}")]
    Scan(#[from] ScanError),
    /// The source's records could not be sorted.
    #[error("cannot verify: {0}")]
    Spill(#[from] SpillError),
    /// A task of the comparison was cancelled or panicked.
    #[error("cannot verify: a part of the comparison stopped before its end; run the command again")]
    Stopped,
}
