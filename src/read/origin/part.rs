//! A part of a file or object that is not compressed, as a source of its own.

use std::io::{self, Read};
use std::ops::Range;
use std::path::PathBuf;

use super::{CHUNK_BYTES, Origin, Version};
use crate::read::ReadError;

/// A part of another source, given by a range of bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartOrigin {
    name: String,
    whole: Origin,
    bytes: Range<u64>,
}

impl PartOrigin {
    /// Returns the part with these bytes. It must be possible to read `whole` more than once.
    pub(super) fn new(whole: Origin, bytes: Range<u64>) -> Self {
        let name = format!("{} (bytes {} to {})", whole.name(), bytes.start, bytes.end);
        Self { name, whole, bytes }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn whole(&self) -> &Origin {
        &self.whole
    }

    pub(super) fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Returns true if the source has more bytes after this part.
    pub(super) fn ends_inside(&self) -> bool {
        self.whole.size_bytes().is_some_and(|size| self.bytes.end < size)
    }

    /// Returns the version. For a part of a file, it is the hash of the bytes of the part. For a part of an object, it
    /// is the version of the object.
    pub(super) fn version(&self) -> Result<Version, ReadError> {
        match &self.whole {
            Origin::File(_) => hash(self.name(), self.open_at(0, None)?),
            whole => whole.version(),
        }
    }

    /// Returns the path with which the names of this part's reject files begin. It is the path for the whole source,
    /// followed by the position of the part.
    pub(super) fn rejects_base(&self) -> PathBuf {
        let mut base = self.whole.rejects_base().into_os_string();
        base.push(format!(".bytes-{}", self.bytes.start));
        base.into()
    }

    /// Opens the part for reading from byte `offset`, counted from the beginning of the part.
    pub(super) fn open_at(&self, offset: u64, length: Option<u64>) -> Result<Box<dyn Read + Send>, ReadError> {
        let left = self.size_bytes().saturating_sub(offset);
        self.whole.open_at(self.bytes.start + offset, Some(length.map_or(left, |length| length.min(left))))
    }
}

/// Computes the hash of all bytes of `from`.
pub(super) fn hash(name: &str, mut from: impl Read) -> Result<Version, ReadError> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(Version::Blake3(hasher.finalize().to_hex().to_string())),
            Ok(length) => hasher.update(&chunk[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::from_io(name, hasher.count(), error)),
        };
    }
}
