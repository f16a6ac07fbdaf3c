//! The origins of a load's bytes: files and standard input. Each kind of origin has its own file.

mod expand;
mod file;
mod reject_name;
mod stdin;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use expand::expand;
pub(crate) use file::FileOrigin;
pub(crate) use reject_name::reject_path;
pub(crate) use stdin::StdinOrigin;

use super::ReadError;
use super::archive::Plain;

const CHUNK_BYTES: usize = 256 * 1024;

/// The origin of a source's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, a pipe or a device.
    File(FileOrigin),
    /// Standard input.
    Stdin(StdinOrigin),
}

/// Identifies the content of a source. Two sources with equal hashes have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// BLAKE3 hash of the bytes on disk, in hexadecimal.
    Blake3(String),
    /// The source can be read only once, for example standard input. Its content is not known before it is loaded.
    #[default]
    ReadOnce,
}

impl Origin {
    /// Returns the name that users see: the path, or `standard input`.
    pub fn name(&self) -> &str {
        match self {
            Self::File(file) => file.name(),
            Self::Stdin(_) => StdinOrigin::NAME,
        }
    }

    /// Returns the path of the file, or `None` for standard input.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file.path()),
            Self::Stdin(_) => None,
        }
    }

    /// Returns the number of bytes on disk. `None` for standard input, pipes and devices.
    pub fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.size_bytes(),
            Self::Stdin(_) => None,
        }
    }

    /// Returns true if the source can be read only once, which is true of standard input, pipes and devices.
    pub fn is_read_once(&self) -> bool {
        self.size_bytes().is_none()
    }

    /// Returns the version of the content. A regular file is read to its end to compute its hash.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn version(&self) -> Result<Version, ReadError> {
        match self {
            Self::File(file) => file.version(),
            Self::Stdin(_) => Ok(Version::ReadOnce),
        }
    }

    /// Returns an error if a file was changed since the command began, because the rows that were read may then be out
    /// of date. A file counts as changed if its size or its time of last change differs. Standard input, pipes and
    /// devices are not checked.
    pub fn check_unchanged(&self) -> Result<(), ReadError> {
        match self {
            Self::File(file) => file.check_unchanged(),
            Self::Stdin(_) => Ok(()),
        }
    }

    /// Returns the path from which the names of the source's reject files are made. For a file this is the path of the
    /// source. For a part of a file, the path is followed by the position of the part. For standard input it is `stdin`,
    /// relative to the working directory.
    pub fn rejects_base(&self) -> PathBuf {
        let Some(path) = self.path() else { return StdinOrigin::REJECTS_BASE.into() };
        let mut base = path.as_os_str().to_owned();
        if let Some(part) = self.part_bytes() {
            base.push(format!(".bytes-{}", part.start));
        }
        base.into()
    }

    /// Returns a part of the source as an origin of its own. `bytes` are positions in a file that is not compressed.
    /// Returns `None` if the source is not a regular file.
    pub(crate) fn part(&self, bytes: Range<u64>) -> Option<Self> {
        match self {
            Self::File(file) if !self.is_read_once() => Some(Self::File(file.part(bytes))),
            Self::File(_) | Self::Stdin(_) => None,
        }
    }

    /// Returns the positions in the source if this origin is only a part of it.
    pub(super) fn part_bytes(&self) -> Option<Range<u64>> {
        match self {
            Self::File(file) => file.part_bytes(),
            Self::Stdin(_) => None,
        }
    }

    /// Returns true if this origin is a part of a source and more bytes follow the part.
    pub(super) fn ends_inside(&self) -> bool {
        match self {
            Self::File(file) => file.ends_inside(),
            Self::Stdin(_) => false,
        }
    }

    /// Returns true if the source is compressed. Reads its first bytes.
    ///
    /// # Errors
    /// The source cannot be read.
    pub(crate) fn is_archive(&self) -> Result<bool, ReadError> {
        Ok(Plain::new(self.name(), self.open()?)?.is_archive())
    }

    /// Reads at most `length_max` bytes at the beginning of this origin, as they are.
    ///
    /// # Errors
    /// The source cannot be read.
    pub(crate) fn first_bytes(&self, length_max: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let read = self.open()?.take(length_max as u64).read_to_end(&mut bytes);
        read.map_err(|error| ReadError::from_io(self.name(), bytes.len() as u64, error))?;
        Ok(bytes)
    }

    /// Checks that a compressed file is complete and undamaged. Reading the file to its end verifies its checksums.
    ///
    /// If the file is not compressed, reads only its first bytes. Such a file has no checksums, and
    /// [`version`](Self::version) already reads it to its end.
    ///
    /// # Errors
    /// The file cannot be read, or is truncated or damaged.
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

    /// Returns true if both origins are standard input, or if they are the same file, even by different paths.
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
