//! Files, pipes and devices as sources.

use std::fs::{self, File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Version;
use super::part::hash;
use crate::read::ReadError;

/// A file, a pipe or a device, with its size and time of change when the command began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOrigin {
    name: String,
    path: PathBuf,
    /// Size of the file on disk. `None` for pipes and devices.
    size_bytes: Option<u64>,
    /// Time of the last change. `None` if the file system does not record it.
    modified: Option<SystemTime>,
    /// Numbers of the device and the inode. All paths and links to one file have the same numbers.
    identity: (u64, u64),
}

impl FileOrigin {
    /// Examines the file at `path`.
    ///
    /// # Errors
    /// The file does not exist, cannot be examined, or is a directory. For a regular file, it is also an error if the
    /// file cannot be opened, or is empty and not under `/proc`.
    pub fn new(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        let metadata = fs::metadata(path).map_err(|error| ReadError::from_io(&name, 0, error))?;
        if metadata.is_dir() {
            return Err(ReadError::IsDirectory { name });
        }
        if metadata.is_file() {
            // A regular file is opened to see whether that is permitted. A pipe is not opened here. Reason: after a
            // pipe was opened and closed again, the process that writes to it could lose its data.
            File::open(path).map_err(|error| ReadError::from_io(&name, 0, error))?;
            if metadata.len() == 0 && !is_in_proc(path) {
                return Err(ReadError::Empty { name });
            }
        }
        Ok(Self {
            size_bytes: size_of(&metadata),
            modified: metadata.modified().ok(),
            identity: identity_of(&metadata),
            path: path.to_owned(),
            name,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }

    pub(super) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Computes the hash of the file's bytes on disk. A compressed file is not decompressed. A pipe or a device is not
    /// read, and its version is `ReadOnce`.
    pub(super) fn version(&self) -> Result<Version, ReadError> {
        if self.size_bytes.is_none() {
            return Ok(Version::ReadOnce);
        }
        hash(&self.name, self.open_at(0, None)?)
    }

    pub(super) fn check_unchanged(&self) -> Result<(), ReadError> {
        if self.size_bytes.is_none() {
            return Ok(());
        }
        let now = fs::metadata(&self.path).map_err(|error| ReadError::from_io(&self.name, 0, error))?;
        let unchanged = size_of(&now) == self.size_bytes && now.modified().ok() == self.modified;
        if unchanged { Ok(()) } else { Err(ReadError::Changed { name: self.name.clone() }) }
    }

    pub(super) fn open_at(&self, offset: u64, length: Option<u64>) -> Result<Box<dyn Read + Send>, ReadError> {
        let failed = |error| ReadError::from_io(&self.name, offset, error);
        let mut file = File::open(&self.path).map_err(failed)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        Ok(match length {
            Some(length) => Box::new(file.take(length)),
            None => Box::new(file),
        })
    }
}

pub(super) fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn size_of(metadata: &Metadata) -> Option<u64> {
    metadata.is_file().then_some(metadata.len())
}

/// Returns true for a file under `/proc`. Such files report the size 0 even if they have content.
fn is_in_proc(path: &Path) -> bool {
    path.starts_with("/proc")
}
