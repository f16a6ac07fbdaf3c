//! Requests to S3, or to a store with the same interface: addresses, credentials, reads and writes of objects. If a
//! failed request may succeed later, it is repeated for a limited time.
//!
//! This module does not know what an object contains.

#[cfg(not(feature = "s3"))]
mod absent;
#[cfg(feature = "s3")]
mod address;
#[cfg(feature = "s3")]
mod bucket;
#[cfg(feature = "s3")]
mod create_only;
#[cfg(feature = "s3")]
mod credentials;
#[cfg(feature = "s3")]
mod patience;
#[cfg(feature = "s3")]
mod prefix;
#[cfg(feature = "s3")]
mod problem;
#[cfg(all(test, feature = "s3"))]
mod tests;
#[cfg(feature = "s3")]
mod write;

#[cfg(not(feature = "s3"))]
pub(crate) use absent::Prefix;
#[cfg(not(feature = "s3"))]
pub use absent::Problem;
#[cfg(feature = "s3")]
pub(crate) use address::Address;
#[cfg(all(test, feature = "s3"))]
pub(crate) use bucket::Limits;
#[cfg(feature = "s3")]
pub(crate) use bucket::{Bucket, Pin, runtime, wait_for};
#[cfg(feature = "s3")]
pub(crate) use prefix::Prefix;
#[cfg(feature = "s3")]
pub use problem::Problem;

/// The beginning of the address of an object.
pub(crate) const SCHEME: &str = "s3://";

/// Returns true if a text is the address of an object or a prefix, and not a path.
pub fn is_address(text: &str) -> bool {
    text.starts_with(SCHEME)
}

/// Objects that together contain one file, each with the first line of the file. Example: the reject file of a source
/// while the load runs.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "s3"), expect(dead_code, reason = "without S3, segments cannot be read"))]
pub(crate) struct Segments {
    /// The names of the objects, in order.
    pub(crate) names: Vec<String>,
    /// Length of the first line. It is left out of all objects except the first when they are joined.
    pub(crate) header_bytes: usize,
}
