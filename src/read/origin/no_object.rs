//! Replaces the module `object` if Medlift is built without the feature `s3`. No object can be opened.

use std::io::Read;
use std::path::PathBuf;

use super::{S3_SCHEME, Version};
use crate::read::ReadError;

/// The reason why an object cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The program lacks the code for S3.
    #[error("this medlift was built without S3; build it with the feature s3, or copy the object to a file")]
    NotBuilt,
}

impl Problem {
    pub(in crate::read) const fn exit_code(&self) -> u8 {
        match self {
            Self::NotBuilt => 2,
        }
    }
}

/// An object in S3. This type has no values, because no object can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectOrigin {}

impl ObjectOrigin {
    pub(super) fn is_address(argument: &str) -> bool {
        argument.starts_with(S3_SCHEME)
    }

    pub(super) fn new(name: &str, _version: Option<&Version>) -> Result<Self, ReadError> {
        Err(ReadError::in_object(name, Problem::NotBuilt))
    }

    pub(super) fn matching(name: &str) -> Result<Vec<Self>, ReadError> {
        Err(ReadError::in_object(name, Problem::NotBuilt))
    }

    pub(super) fn name(&self) -> &str {
        match *self {}
    }

    pub(super) fn size_bytes(&self) -> u64 {
        match *self {}
    }

    pub(super) fn version(&self) -> Version {
        match *self {}
    }

    pub(super) fn check_unchanged(&self) -> Result<(), ReadError> {
        match *self {}
    }

    pub(super) fn rejects_base(&self) -> PathBuf {
        match *self {}
    }

    pub(super) fn open_at(&self, _offset: u64, _length: Option<u64>) -> Result<Box<dyn Read + Send>, ReadError> {
        match *self {}
    }
}
