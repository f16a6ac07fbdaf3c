//! Replaces the module `object` if Medlift is built without the feature `s3`. No object can be opened.

use std::io::Read;
use std::path::PathBuf;

use super::Version;
use crate::read::ReadError;
use crate::s3::{Problem, SCHEME};

/// An object in S3. This type has no values, because no object can be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectOrigin {}

impl ObjectOrigin {
    pub(super) fn is_address(argument: &str) -> bool {
        argument.starts_with(SCHEME)
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
