//! Replaces the rest of this module if Medlift is built without the feature `s3`. No object can be read or written.

use super::Segments;

/// The reason why an object cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The program lacks the code for S3.
    #[error("this medlift was built without S3; build it with the feature s3, or use a file")]
    NotBuilt,
}

impl Problem {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotBuilt => 2,
        }
    }
}

/// An object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) bytes: u64,
    pub(crate) mark: Option<String>,
}

/// A prefix of a bucket. This type has no values, because no prefix can be opened.
#[derive(Debug, Clone)]
pub(crate) enum Prefix {}

impl Prefix {
    pub(crate) fn open(_address: &str, _probe: &str) -> Result<Self, Problem> {
        Err(Problem::NotBuilt)
    }

    pub(crate) fn address(&self, _name: &str) -> String {
        match *self {}
    }

    pub(crate) fn create(&self, _name: &str, _mark: &str, _content: Vec<u8>) -> Result<bool, Problem> {
        match *self {}
    }

    pub(crate) fn find(&self, _name: &str) -> Result<Option<Found>, Problem> {
        match *self {}
    }

    pub(crate) fn delete(&self, _name: &str) -> Result<(), Problem> {
        match *self {}
    }

    pub(crate) fn delete_all(&self, _beginning: &str) -> Result<(), Problem> {
        match *self {}
    }

    pub(crate) fn hash(&self, _segments: Segments) -> Result<Option<(u64, blake3::Hasher)>, Problem> {
        match *self {}
    }

    pub(crate) fn join(&self, _segments: Segments, _name: &str, _mark: &str, _blake3: &str) -> Result<bool, Problem> {
        match *self {}
    }
}
