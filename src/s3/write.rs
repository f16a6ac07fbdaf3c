//! Writes objects. An existing object is never replaced: each write has the condition `If-None-Match: *`.

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
};

use super::bucket::Bucket;
use super::problem::{Failed, Problem};

/// Size of the parts of an upload. S3 permits 10,000 parts, so the largest object has 156 GiB.
pub(super) const PART_BYTES: usize = 16 << 20;

/// The name of the metadata that says who wrote an object.
const MARK: &str = "medlift-load";

/// An object that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) bytes: u64,
    /// The mark with which the object was written. `None` if another program wrote it.
    pub(crate) mark: Option<String>,
}

/// An upload in parts.
pub(super) struct Upload<'a> {
    bucket: &'a Bucket,
    key: &'a Path,
    id: String,
    parts: Vec<PartId>,
}

impl Bucket {
    /// Writes an object. Returns false, and writes nothing, if an object with this key exists.
    pub(super) async fn create(&self, key: &Path, mark: &str, content: Bytes) -> Result<bool, Problem> {
        let put = || {
            let options = PutOptions { mode: PutMode::Create, attributes: marked(mark), ..PutOptions::default() };
            self.store.put_opts(key, content.clone().into(), options)
        };
        Ok(self.unless(Problem::Replaced, "s3:PutObject", put).await?.is_some())
    }

    /// Returns the content of an object, or `None` if there is no such object.
    pub(super) async fn content(&self, key: &Path) -> Result<Option<Bytes>, Problem> {
        self.unless(Problem::NoObject, "s3:GetObject", || async { self.store.get(key).await?.bytes().await }).await
    }

    /// Returns the size of an object and its mark (who wrote it), or `None` if there is no such object.
    pub(super) async fn find(&self, key: &Path) -> Result<Option<Found>, Problem> {
        let head = || self.store.get_opts(key, GetOptions { head: true, ..GetOptions::default() });
        let found = self.unless(Problem::NoObject, "s3:GetObject", head).await?;
        Ok(found.map(|found| Found {
            bytes: found.meta.size,
            mark: found.attributes.get(&Attribute::Metadata(MARK.into())).map(|mark| mark.as_ref().to_owned()),
        }))
    }

    /// Deletes an object, if it exists. In a bucket with versions, the content stays as an earlier version.
    pub(super) async fn delete(&self, key: &Path) -> Result<(), Problem> {
        self.unless(Problem::NoObject, "s3:DeleteObject", || self.store.delete(key)).await.map(drop)
    }

    /// Begins an upload in parts.
    pub(super) async fn upload<'a>(&'a self, key: &'a Path, mark: &str) -> Result<Upload<'a>, Problem> {
        let begin = || {
            let options = PutMultipartOptions { attributes: marked(mark), ..PutMultipartOptions::default() };
            self.store.create_multipart_opts(key, options)
        };
        let id = self.patiently("s3:PutObject", begin).await?.map_err(|problem| problem.of_action("s3:PutObject"))?;
        Ok(Upload { bucket: self, key, id, parts: Vec::new() })
    }

    /// Sends a request. Returns `None` if the store's answer is `expected`.
    async fn unless<T, F>(
        &self,
        expected: Problem,
        action: &'static str,
        send: impl Fn() -> F,
    ) -> Result<Option<T>, Problem>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        match self.patiently(action, send).await? {
            Ok(done) => Ok(Some(done)),
            Err(problem) if problem == expected => Ok(None),
            Err(problem) => Err(problem.of_action(action)),
        }
    }

    /// Sends a request, and repeats it while it may succeed later. The inner error is the store's answer.
    async fn patiently<T, F>(&self, action: &'static str, send: impl Fn() -> F) -> Result<Result<T, Problem>, Problem>
    where
        F: Future<Output = object_store::Result<T>>,
    {
        let mut tries = self.tries();
        loop {
            let failed = match send().await {
                Ok(done) => return Ok(Ok(done)),
                Err(error) => self.facts.judge(&error),
            };
            if let Failed::Lasting(problem) = failed {
                return Ok(Err(problem));
            }
            tries.wait_after(failed, &self.facts).await.map_err(|problem| problem.of_action(action))?;
        }
    }
}

impl Upload<'_> {
    /// Uploads the next part. All parts except the last must have the size [`PART_BYTES`].
    pub(super) async fn put(&mut self, content: Bytes) -> Result<(), Problem> {
        let (number, action) = (self.parts.len(), "s3:PutObject");
        let put = || self.bucket.store.put_part(self.key, &self.id, number, content.clone().into());
        let part = self.bucket.patiently(action, put).await?.map_err(|problem| problem.of_action(action))?;
        self.parts.push(part);
        Ok(())
    }

    /// Makes the object from the parts. Returns false if an object with this key exists. An attempt whose reply was
    /// lost may have made that object. To find this out, the caller compares the object's mark, which says who wrote
    /// the object.
    pub(super) async fn complete(self) -> Result<bool, Problem> {
        let complete = || self.bucket.store.complete_multipart(self.key, &self.id, self.parts.clone());
        match self.bucket.patiently("s3:PutObject", complete).await? {
            Ok(_) => Ok(true),
            // `Replaced`: an object with this key exists. `NoObject`: the store does not know the upload any more. An
            // attempt whose reply was lost has then probably made the object.
            Err(Problem::Replaced | Problem::NoObject) => {
                self.abort().await;
                Ok(false)
            }
            Err(problem) => {
                self.abort().await;
                Err(problem.of_action("s3:PutObject"))
            }
        }
    }

    /// Removes the parts. Errors are ignored, because a rule of the bucket can remove the parts later.
    pub(super) async fn abort(&self) {
        let _ = self.bucket.store.abort_multipart(self.key, &self.id).await;
    }
}

fn marked(mark: &str) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(MARK.into()), mark.to_owned())])
}
