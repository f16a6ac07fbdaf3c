//! A prefix of a bucket, under which objects are written. All functions wait for the replies of the store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream, StreamExt};
use object_store::path::Path;

use super::address::Address;
use super::bucket::{Bucket, wait_for};
use super::problem::Problem;
use super::write::{Found, PART_BYTES};
use super::{SCHEME, Segments};

/// Maximum number of segments that are requested at the same time. Together they are in memory.
const SEGMENTS_MAX: usize = 4;

/// A prefix such as `s3://bucket/rejects/`.
#[derive(Debug, Clone)]
pub(crate) struct Prefix {
    bucket: Arc<Bucket>,
    /// The beginning of all keys. It is empty or ends with `/`.
    prefix: String,
}

impl Prefix {
    /// Checks that objects can be listed, written, read and deleted under this address. A process checks an address
    /// only once. `probe` is the name of an object that does not exist: the check writes it and deletes it.
    ///
    /// # Errors
    /// The address is wrong, the store cannot be reached, or an action is not permitted. The error names the action.
    pub(crate) fn open(address: &str, probe: &str) -> Result<Self, Problem> {
        static CHECKED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
        let (bucket, prefix) = Address::parse_prefix(address)?;
        let opened = Self::of(Bucket::open(bucket)?, prefix);
        let mut checked = CHECKED.lock().unwrap_or_else(PoisonError::into_inner);
        if !checked.contains(address) {
            opened.check(probe)?;
            checked.insert(address.to_owned());
        }
        Ok(opened)
    }

    pub(super) fn of(bucket: Arc<Bucket>, prefix: &str) -> Self {
        Self { bucket, prefix: prefix.to_owned() }
    }

    fn check(&self, probe: &str) -> Result<(), Problem> {
        let key = self.key(probe)?;
        self.wait(async move |prefix| {
            let bucket = &prefix.bucket;
            bucket.sign_in().await?;
            bucket
                .list(&prefix.prefix, false, |_| false)
                .await
                .map_err(|problem| problem.of_action("s3:ListBucket"))?;
            bucket.create(&key, "", Bytes::new()).await?;
            bucket.content(&key).await?;
            bucket.delete(&key).await
        })
    }

    /// Returns the address of an object, as `s3://bucket/key`.
    pub(crate) fn address(&self, name: &str) -> String {
        format!("{SCHEME}{}/{}{name}", self.bucket.name(), self.prefix)
    }

    /// Writes an object. Returns false, and writes nothing, if an object with this name exists.
    pub(crate) fn create(&self, name: &str, mark: &str, content: Vec<u8>) -> Result<bool, Problem> {
        let (key, mark) = (self.key(name)?, mark.to_owned());
        self.wait(async move |prefix| prefix.bucket.create(&key, &mark, content.into()).await)
    }

    /// Returns the size of an object and its mark (who wrote it), or `None` if there is no such object.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Found>, Problem> {
        let key = self.key(name)?;
        self.wait(async move |prefix| prefix.bucket.find(&key).await)
    }

    /// Deletes an object, if it exists.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Problem> {
        let key = self.key(name)?;
        self.wait(async move |prefix| prefix.bucket.delete(&key).await)
    }

    /// Deletes all objects whose names begin with `beginning`.
    pub(crate) fn delete_all(&self, beginning: &str) -> Result<(), Problem> {
        let beginning = format!("{}{beginning}", self.prefix);
        self.wait(async move |prefix| {
            let bucket = &prefix.bucket;
            let (found, _) = bucket.list(&beginning, false, |_| true).await?;
            let mut deleted = stream::iter(found).map(|found| async move { bucket.delete(&found.location).await });
            let mut deleted = deleted.by_ref().buffer_unordered(SEGMENTS_MAX);
            while let Some(result) = deleted.next().await {
                result?;
            }
            Ok(())
        })
    }

    /// Returns length and hash of the file that the segments contain. Returns `None` if a segment is missing.
    pub(crate) fn hash(&self, segments: Segments) -> Result<Option<(u64, blake3::Hasher)>, Problem> {
        self.wait(async move |prefix| {
            let (mut bytes, mut hasher) = (0, blake3::Hasher::new());
            let mut contents = std::pin::pin!(prefix.contents(&segments));
            while let Some(content) = contents.next().await {
                let Some(content) = content? else { return Ok(None) };
                bytes += content.len() as u64;
                hasher.update(&content);
            }
            Ok(Some((bytes, hasher)))
        })
    }

    /// Joins the segments to a new object. Returns false, and writes no object, if an object with this name exists.
    ///
    /// # Errors
    /// A segment is missing, or the hash of the joined file is not `blake3`. Also if a request fails.
    pub(crate) fn join(&self, segments: Segments, name: &str, mark: &str, blake3: &str) -> Result<bool, Problem> {
        let (key, mark, blake3) = (self.key(name)?, mark.to_owned(), blake3.to_owned());
        self.wait(async move |prefix| {
            let mut upload = prefix.bucket.upload(&key, &mark).await?;
            let (mut part, mut hasher) = (BytesMut::new(), blake3::Hasher::new());
            let mut contents = std::pin::pin!(prefix.contents(&segments));
            let joined: Result<(), Problem> = async {
                while let Some(content) = contents.next().await {
                    let content = content?.ok_or(Problem::Replaced)?;
                    hasher.update(&content);
                    part.extend_from_slice(&content);
                    while part.len() >= PART_BYTES {
                        upload.put(part.split_to(PART_BYTES).freeze()).await?;
                    }
                }
                if hasher.finalize().to_hex().as_str() != blake3 {
                    return Err(Problem::Replaced);
                }
                if part.is_empty() { Ok(()) } else { upload.put(part.split().freeze()).await }
            }
            .await;
            match joined {
                Ok(()) => upload.complete().await,
                Err(problem) => {
                    upload.abort().await;
                    Err(problem)
                }
            }
        })
    }

    /// Returns the contents of the segments in order, without the first line of all segments except the first. `None`
    /// if a segment is missing.
    fn contents<'a>(&'a self, segments: &'a Segments) -> impl Stream<Item = Result<Option<Bytes>, Problem>> + 'a {
        let contents = segments.names.iter().enumerate().map(async move |(number, name)| {
            let content = self.bucket.content(&self.key(name)?).await?;
            let header_bytes = if number == 0 { 0 } else { segments.header_bytes };
            Ok(content.map(|content| content.slice(header_bytes.min(content.len())..)))
        });
        stream::iter(contents).buffered(SEGMENTS_MAX)
    }

    fn key(&self, name: &str) -> Result<Path, Problem> {
        let key = format!("{}{name}", self.prefix);
        Path::parse(key).map_err(|_| Problem::Address("the key has a character that is not permitted"))
    }

    fn wait<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        wait_for(work(self.clone())).map_err(|error| Problem::Other(error.to_string()))?
    }
}
