//! The origins of a load's bytes: files, objects in S3, and standard input. Each kind of origin has its own file.

mod expand;
mod file;
#[cfg(not(feature = "s3"))]
mod no_object;
#[cfg(feature = "s3")]
mod object;
mod part;
mod reject_name;
mod stdin;
mod stream;

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use expand::STDIN;
pub(crate) use expand::expand;
pub(crate) use file::FileOrigin;
#[cfg(not(feature = "s3"))]
pub(crate) use no_object::ObjectOrigin;
#[cfg(feature = "s3")]
pub(crate) use object::ObjectOrigin;
pub(crate) use part::PartOrigin;
pub(crate) use reject_name::{RejectKind, is_reject_path, reject_path, segment_name, segment_stem, source_of_rejects};
pub(crate) use stdin::StdinOrigin;
pub(crate) use stream::StreamOrigin;

use super::ReadError;
use super::archive::Plain;

const CHUNK_BYTES: usize = 256 * 1024;

/// The origin of a source's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, a pipe or a device.
    File(FileOrigin),
    /// An object in S3.
    Object(ObjectOrigin),
    /// A part of a file or object.
    Part(Box<PartOrigin>),
    /// Standard input.
    Stdin(StdinOrigin),
    /// Bytes that another program sends.
    Stream(StreamOrigin),
}

/// Identifies the content of a source. Two sources with equal hashes have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Version {
    /// BLAKE3 hash of the bytes on disk, in hexadecimal.
    Blake3(String),
    /// An object in S3. The store gives each new content of an object another `ETag` or version id.
    Object {
        /// The address, as `s3://bucket/key`. It is part of the version, because the `ETag`s of different objects can
        /// be equal.
        address: String,
        /// The `ETag`, with its quotes.
        etag: String,
        /// The version id, if the bucket stores versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version_id: Option<String>,
    },
    /// The source can be read only once, for example standard input. Its content is not known before it is loaded.
    #[default]
    ReadOnce,
}

impl Origin {
    /// Returns the source with this name: `-`, the address of an object, or a path. If `version` is given and the
    /// source is an object, the object must have this version. The version of a file is not compared.
    pub(crate) fn named(name: &str, version: Option<&Version>) -> Result<Self, ReadError> {
        if name == STDIN {
            return Ok(Self::Stdin(StdinOrigin::new()));
        }
        if ObjectOrigin::is_address(name) {
            return ObjectOrigin::new(name, version).map(Self::Object);
        }
        FileOrigin::new(Path::new(name)).map(Self::File)
    }

    /// Returns the name that users see: the path, the address of the object, or `standard input`.
    pub fn name(&self) -> &str {
        match self {
            Self::File(file) => file.name(),
            Self::Object(object) => object.name(),
            Self::Part(part) => part.name(),
            Self::Stdin(_) => StdinOrigin::NAME,
            Self::Stream(stream) => stream.name(),
        }
    }

    /// Returns the path of the file, or `None` for objects and standard input. For a part of a file, it is the path of
    /// the whole file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::File(file) => Some(file.path()),
            Self::Part(part) => part.whole().path(),
            Self::Object(_) | Self::Stdin(_) | Self::Stream(_) => None,
        }
    }

    /// Returns the number of bytes on disk or in the store. `None` for sources that can be read only once.
    pub fn size_bytes(&self) -> Option<u64> {
        match self {
            Self::File(file) => file.size_bytes(),
            Self::Object(object) => Some(object.size_bytes()),
            Self::Part(part) => Some(part.size_bytes()),
            Self::Stdin(_) | Self::Stream(_) => None,
        }
    }

    /// Returns the number of bytes, for estimates. In contrast to `size_bytes`, it may be the word of another program.
    pub(crate) fn size_guess(&self) -> Option<u64> {
        if let Self::Stream(stream) = self { stream.size_guess() } else { self.size_bytes() }
    }

    /// Returns true if the source can be read only once, which is true of standard input, streams, pipes and devices.
    pub fn is_read_once(&self) -> bool {
        self.size_bytes().is_none()
    }

    /// Returns the version of the content. A regular file is read to its end to compute its hash. The version of an
    /// object is known already.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn version(&self) -> Result<Version, ReadError> {
        match self {
            Self::File(file) => file.version(),
            Self::Object(object) => Ok(object.version()),
            Self::Part(part) => part.version(),
            Self::Stdin(_) | Self::Stream(_) => Ok(Version::ReadOnce),
        }
    }

    /// Returns an error if the source was changed since the command began, because the rows that were read may then be
    /// out of date. A file counts as changed if its size or its time of last change differs. An object counts as
    /// changed if the version that was read does not exist any more. Standard input, pipes and devices are not checked.
    pub fn check_unchanged(&self) -> Result<(), ReadError> {
        match self {
            Self::File(file) => file.check_unchanged(),
            Self::Object(object) => object.check_unchanged(),
            Self::Part(part) => part.whole().check_unchanged(),
            Self::Stdin(_) | Self::Stream(_) => Ok(()),
        }
    }

    /// Returns the path with which the names of the source's reject files begin. For a file, it is the path of the
    /// file. For an object, it is the last part of the key, and for standard input, it is `stdin`. The files of objects
    /// and of standard input are in the working directory. For a part of a source, the position of the part is added to
    /// the path of the source.
    pub fn rejects_base(&self) -> PathBuf {
        match self {
            Self::File(file) => file.path().to_owned(),
            Self::Object(object) => object.rejects_base(),
            Self::Part(part) => part.rejects_base(),
            Self::Stdin(_) => StdinOrigin::REJECTS_BASE.into(),
            Self::Stream(stream) => stream.name().into(),
        }
    }

    /// Returns a part of the source as an origin of its own. The source must not be compressed. `bytes` are the
    /// positions of the part in the source. Returns `None` if the source can be read only once.
    pub(crate) fn part(&self, bytes: Range<u64>) -> Option<Self> {
        (!self.is_read_once()).then(|| Self::Part(Box::new(PartOrigin::new(self.clone(), bytes))))
    }

    /// If this origin is a part of a source, returns the positions of the part in the source. Otherwise returns `None`.
    pub(super) fn part_bytes(&self) -> Option<Range<u64>> {
        if let Self::Part(part) = self { Some(part.bytes()) } else { None }
    }

    /// Returns true if this origin is a part of a source and more bytes follow the part.
    pub(super) fn ends_inside(&self) -> bool {
        if let Self::Part(part) = self { part.ends_inside() } else { false }
    }

    /// Returns true if the source is compressed. Reads its first bytes.
    ///
    /// # Errors
    /// The source cannot be read.
    pub(crate) fn is_archive(&self) -> Result<bool, ReadError> {
        Ok(Plain::new(self.name(), self.open_at(0, None)?)?.is_archive())
    }

    /// Reads at most `length_max` bytes at the beginning of this origin, without decompression.
    ///
    /// # Errors
    /// The source cannot be read.
    pub(crate) fn first_bytes(&self, length_max: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        let read = self.open_at(0, Some(length_max as u64))?.read_to_end(&mut bytes);
        read.map_err(|error| ReadError::from_io(self.name(), bytes.len() as u64, error))?;
        Ok(bytes)
    }

    /// Checks that a compressed source is complete and undamaged. Reading it to its end verifies its checksums.
    ///
    /// If the source is not compressed, reads only its first bytes, because it has no checksums.
    ///
    /// # Errors
    /// The source cannot be read, or is truncated or damaged.
    pub fn read_to_end(&self) -> Result<(), ReadError> {
        let mut plain = Plain::new(self.name(), self.open_at(0, None)?)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        while plain.is_archive() && plain.fill(&mut chunk)? == chunk.len() {}
        Ok(())
    }

    /// Opens the source for reading from byte `offset`, without decompression. If `length` is given, at most this
    /// number of bytes is read. Standard input is always read from its beginning to its end.
    pub(super) fn open_at(&self, offset: u64, length: Option<u64>) -> Result<Box<dyn Read + Send>, ReadError> {
        match self {
            Self::File(file) => file.open_at(offset, length),
            Self::Object(object) => object.open_at(offset, length),
            Self::Part(part) => part.open_at(offset, length),
            Self::Stdin(_) => Ok(Box::new(std::io::stdin())),
            Self::Stream(stream) => stream.open(),
        }
    }

    /// Returns true if both origins have the same name, or if they are the same file under different paths. Standard
    /// input that is redirected from a file is the same as this file.
    fn is_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.identity(), other.identity());
        self.name() == other.name() || (ours.is_some() && ours == theirs)
    }

    fn identity(&self) -> Option<(u64, u64)> {
        match self {
            Self::File(file) => Some(file.identity()),
            Self::Object(_) | Self::Part(_) | Self::Stream(_) => None,
            Self::Stdin(stdin) => stdin.identity(),
        }
    }
}

#[cfg(test)]
mod tests;
