//! The origins of a load's bytes: files and standard input. One file per kind of origin.

mod expand;
mod file;
mod stdin;

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use expand::expand;
pub(crate) use file::FileOrigin;
pub(crate) use stdin::StdinOrigin;

use super::ReadError;
use super::archive::Plain;

/// Suffix of the names of reject files.
pub(crate) const REJECTS_SUFFIX: &str = ".rejects.csv";

const CHUNK_BYTES: usize = 256 * 1024;

/// Where the bytes of a source come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, a pipe or a device.
    File(FileOrigin),
    /// Standard input.
    Stdin(StdinOrigin),
}

/// The version of a source's content. Two sources with the same version have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// BLAKE3 hash of the bytes as they are stored, in hexadecimal.
    Blake3(String),
    /// The source can be read only once, so its content has no known version.
    #[default]
    ReadOnce,
}

impl Origin {
    /// The name shown to users: the path as given or as the pattern matched it, or `standard input`.
    pub fn name(&self) -> &str {
        match self {
            Self::File(file) => file.name(),
            Self::Stdin(_) => StdinOrigin::NAME,
        }
    }

    /// The path of the file; `None` for standard input.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file.path()),
            Self::Stdin(_) => None,
        }
    }

    /// Number of bytes as they are stored, compressed or not. `None` for standard input, pipes and devices.
    pub fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.size_bytes(),
            Self::Stdin(_) => None,
        }
    }

    /// Returns true if the bytes can be read only once, as with standard input, pipes and devices.
    pub fn is_read_once(&self) -> bool {
        self.size_bytes().is_none()
    }

    /// Returns the version of the content. Reads a file to its end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn version(&self) -> Result<Version, ReadError> {
        match self {
            Self::File(file) => file.version(),
            Self::Stdin(_) => Ok(Version::ReadOnce),
        }
    }

    /// Fails if the file changed after it was opened, because part of what was read is then out of date.
    pub fn check_unchanged(&self) -> Result<(), ReadError> {
        match self {
            Self::File(file) => file.check_unchanged(),
            Self::Stdin(_) => Ok(()),
        }
    }

    /// Returns the path with which the names of the source's reject files begin: that of the file, or `stdin` in the
    /// working directory.
    pub fn rejects_base(&self) -> PathBuf {
        self.path().map_or_else(|| StdinOrigin::REJECTS_BASE.into(), Path::to_owned)
    }

    /// Reads a compressed file to its end and verifies its checksums. Does nothing for a file that is not compressed:
    /// it has no checksums, and [`version`](Self::version) already reads it to its end.
    ///
    /// # Errors
    /// If the file cannot be read, or is truncated or damaged.
    pub fn read_to_end(&self) -> Result<(), ReadError> {
        let mut plain = Plain::new(self.name(), self.open()?)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        while plain.is_archive() && plain.fill(&mut chunk)? == chunk.len() {}
        Ok(())
    }

    /// Opens the source at its beginning.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        match self {
            Self::File(file) => file.open(),
            Self::Stdin(_) => Ok(Box::new(std::io::stdin())),
        }
    }

    /// Returns true if both are the same file, whatever their paths are.
    fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.identity(), other.identity());
        self.path() == other.path() || (ours.is_some() && ours == theirs)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        match self {
            Self::File(file) => Some(file.identity()),
            Self::Stdin(stdin) => stdin.identity(),
        }
    }
}

#[cfg(test)]
mod tests;
