//! Proves that a collection holds what its source says, field by field.
//!
//! The source is reread and its records are pushed into an [`Expectation`]; [`compare`] streams the collection in `_id`
//! order, computes every document's digest anew from the stored bytes, and joins the two. Nothing that the writer
//! counted comes in here. No value of a document leaves this room unless the user asked for it.

mod compare;
mod excused;
mod expected;
mod fields;
mod report;
mod scan;

pub use compare::{Options, compare};
pub use excused::{Excused, Excuses};
pub use expected::{Expectation, Expected, ExpectedDocument, ExpectedRange, ROWS_LISTED_MAX};
pub use fields::{Wanted, name_fields};
pub use report::{Difference, DifferingField, Kind, RowOfSource, Verification};
pub use scan::{Batch, Range, RangeScan, Scan, ScanError};

use crate::spill::SpillError;

/// Why a verification could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The collection could not be read.
    #[error("cannot verify: {0}")]
    Scan(#[from] ScanError),
    /// The source's records could not be sorted.
    #[error("cannot verify: {0}")]
    Spill(#[from] SpillError),
    /// A part of the comparison was stopped from outside, or broke.
    #[error("cannot verify: a part of the comparison stopped before its end; run the command again")]
    Stopped,
}
