//! Objects in S3, or in a store with the same interface, as sources.
//!
//! Medlift examines each object when the command begins, and pins its version. Every later request for the object
//! contains the `ETag` of this version, and its version id if there is one. The request fails if this version does not
//! exist any more.
//!
//! An object is read in ranges of bytes, and several ranges are requested at the same time. If the reply for a range
//! ends too early, the remaining bytes of the range are requested again.

mod reader;

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use self::reader::{Content, ObjectReader};
use super::Version;
use super::reject_name::{is_reject_path, wants_rejects};
use crate::read::ReadError;
use crate::s3::{Address, Bucket, Pin, Problem, SCHEME, runtime, wait_for};

/// Maximum number of objects of a pattern that are examined at the same time.
const EXAMINED_MAX: usize = 16;

/// An object, as it was when the command began.
#[derive(Debug, Clone)]
pub struct ObjectOrigin {
    content: Arc<Content>,
    size_bytes: u64,
}

impl ObjectOrigin {
    /// Returns true if an argument is the address of objects, and not a path.
    pub(super) fn is_address(argument: &str) -> bool {
        argument.starts_with(SCHEME)
    }

    /// Returns the object with this address. If `version` is given, it must be the version of the object.
    pub(super) fn new(name: &str, version: Option<&Version>) -> Result<Self, ReadError> {
        let failed = |problem| ReadError::in_object(name, problem);
        let Address { bucket, key } = Address::parse(name).map_err(failed)?;
        let (bucket, key) = (Bucket::open(bucket).map_err(failed)?, path(key).map_err(failed)?);
        let pin = version.map(pin_of).transpose().map_err(failed)?.unwrap_or_default();
        let examined = wait_for(async move {
            bucket.sign_in().await?;
            examine(bucket, key, &pin).await
        });
        examined.map_err(|error| ReadError::from_io(name, 0, error))?.map_err(failed)
    }

    /// Returns the objects that match a pattern, sorted by key. If the pattern is the exact key of an object, returns
    /// only this object. Leaves out the empty objects of folders. Also leaves out reject files, except if the pattern
    /// itself has the name of a reject file, such as `*.rejects.csv`.
    pub(super) fn matching(name: &str) -> Result<Vec<Self>, ReadError> {
        let failed = |problem| ReadError::in_object(name, problem);
        let address = Address::parse(name).map_err(failed)?;
        match Self::new(name, None) {
            Err(ReadError::Object { problem: Problem::NoObject | Problem::Denied { .. }, .. }) => {}
            exact => return Ok(vec![exact?]),
        }
        let pattern = glob::Pattern::new(address.key)
            .map_err(|error| ReadError::BadPattern { pattern: name.to_owned(), reason: error.msg })?;
        let (prefix, is_nested) = (address.prefix().to_owned(), address.is_nested());
        let bucket = Bucket::open(address.bucket).map_err(failed)?;
        let examined = wait_for(async move { matches(bucket, prefix, is_nested, pattern).await });
        examined.map_err(|error| ReadError::from_io(name, 0, error))?.map_err(failed)
    }

    pub(super) fn name(&self) -> &str {
        &self.content.name
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the pinned version: the address, the `ETag`, and the version id if there is one. Sends no request.
    pub(super) fn version(&self) -> Version {
        let Pin { etag, version_id } = self.content.pin.clone();
        Version::Object { address: self.content.name.clone(), etag: etag.unwrap_or_default(), version_id }
    }

    /// Asks the store whether the pinned version still exists.
    pub(super) fn check_unchanged(&self) -> Result<(), ReadError> {
        let content = &self.content;
        match Self::new(&content.name, Some(&self.version())) {
            Err(ReadError::Object { name, problem: Problem::NoObject | Problem::Empty }) => {
                Err(ReadError::Object { name, problem: Problem::Replaced })
            }
            checked => checked.map(drop),
        }
    }

    /// Returns the last part of the key. The names of the reject files begin with it. They are in the working
    /// directory.
    pub(super) fn rejects_base(&self) -> PathBuf {
        self.content.key.filename().unwrap_or_default().into()
    }

    /// Opens the object for reading from byte `offset`. If `length` is given, at most this number of bytes is read.
    pub(super) fn open_at(&self, offset: u64, length: Option<u64>) -> Result<Box<dyn Read + Send>, ReadError> {
        let runtime = runtime().map_err(|error| ReadError::from_io(self.name(), offset, error))?;
        let end = length.map_or(self.size_bytes, |length| self.size_bytes.min(offset.saturating_add(length)));
        Ok(Box::new(ObjectReader::new(Arc::clone(&self.content), runtime, offset..end)))
    }
}

/// Two origins are equal if they are the same version of the same object.
impl PartialEq for ObjectOrigin {
    fn eq(&self, other: &Self) -> bool {
        self.version() == other.version()
    }
}

impl Eq for ObjectOrigin {}

fn path(key: &str) -> Result<Path, Problem> {
    Path::parse(key).map_err(|_| Problem::Address("the key has a character that is not permitted"))
}

fn pin_of(version: &Version) -> Result<Pin, Problem> {
    match version {
        Version::Object { etag, version_id, .. } => {
            Ok(Pin { etag: Some(etag.clone()), version_id: version_id.clone() })
        }
        Version::Blake3(_) | Version::ReadOnce => Err(Problem::Address("the version is not that of an object")),
    }
}

/// Requests size, `ETag` and version id of an object, and pins it.
async fn examine(bucket: Arc<Bucket>, key: Path, pin: &Pin) -> Result<ObjectOrigin, Problem> {
    let ObjectMeta { size, e_tag, version, .. } = bucket.describe(&key, pin).await?;
    if size == 0 {
        return Err(Problem::Empty);
    }
    if e_tag.is_none() {
        return Err(Problem::Other("without an ETag".to_owned()));
    }
    // The id `null` does not identify a version: stores give it to all objects that were written without versions.
    let version_id = version.filter(|version| version != "null");
    let name = format!("{SCHEME}{}/{key}", bucket.name());
    let content = Content { name, bucket, key, pin: Pin { etag: e_tag, version_id } };
    Ok(ObjectOrigin { content: Arc::new(content), size_bytes: size })
}

/// Lists the objects whose keys begin with `prefix`, and examines those that match.
async fn matches(
    bucket: Arc<Bucket>,
    prefix: String,
    is_nested: bool,
    pattern: glob::Pattern,
) -> Result<Vec<ObjectOrigin>, Problem> {
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    let is_rejects = |key: &str| is_reject_path(std::path::Path::new(key));
    let wants_rejects = wants_rejects(pattern.as_str());
    let is_wanted = |key: &str| pattern.matches_with(key, options) && (wants_rejects || !is_rejects(key));
    let (mut found, listed) = bucket.list(&prefix, is_nested, is_wanted).await?;
    found.sort_by(|one, other| one.location.cmp(&other.location));
    let keys: Vec<Path> =
        found.iter().filter(|object| !is_folder(object, &found)).map(|o| o.location.clone()).collect();
    if keys.is_empty() {
        return Err(Problem::NoMatch { prefix, listed });
    }
    let examined = stream::iter(keys).map(|key| {
        let bucket = Arc::clone(&bucket);
        async move { examine(bucket, key, &Pin::default()).await }
    });
    examined.buffered(EXAMINED_MAX).try_collect().await
}

/// Returns true if an object represents a folder: it is empty, and the key of another object in `all` is inside this
/// folder. The console of AWS makes such objects.
fn is_folder(object: &ObjectMeta, all: &[ObjectMeta]) -> bool {
    object.size == 0
        && all.iter().any(|other| other.location != object.location && other.location.prefix_matches(&object.location))
}

#[cfg(test)]
mod tests;
