//! Reads a collection in `_id` order, in ranges. If a cursor fails, the range continues after the last document.
//!
//! Every query is bounded by `min` and `max` on the index `_id_`. A `$gt` in a filter would match only values of its
//! own BSON type. Index bounds include every document, even if its `_id` has a type that this program never writes.

use bson::{Bson, Document, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::StreamExt;
use mongodb::Collection;
use mongodb::options::{FindOptions, Hint, ReadConcern, ReadPreference, SelectionCriteria};
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use crate::encode::Id;
use crate::server::{ATTEMPTS_MAX, Failure, patiently, pause};

/// Most documents in one reply. The server ends a reply at 16 MiB in any case. Measured with documents of 430 bytes:
/// 2,000 are slower; more than 8,000 use more memory and are not faster.
const BATCH_DOCUMENTS_MAX: u32 = 8_000;

/// Reading the collection failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read collection `{namespace}` in `_id` order: {failure}")]
pub struct ScanError {
    namespace: String,
    failure: Failure,
}

impl ScanError {
    /// The failure of the server or the driver.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

/// A collection that is read from the primary with read concern majority.
#[derive(Debug, Clone)]
pub struct Scan {
    collection: Collection<RawDocumentBuf>,
}

/// A half-open range of `_id`s in the server's order over all BSON types. `None` means that the range has no limit at
/// that end.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// The first `_id`.
    pub from: Option<Bson>,
    /// The first `_id` after the range.
    pub to: Option<Bson>,
}

impl Scan {
    /// All documents of `collection`.
    pub fn new(collection: &Collection<RawDocumentBuf>) -> Self {
        Self { collection: collection.clone() }
    }

    /// Begins to read a range. The query is sent when the first batch is requested.
    pub fn range(&self, range: Range) -> RangeScan {
        RangeScan { scan: self.clone(), range, last: None, cursor: None, done: false }
    }

    /// One document by its `_id`, as it is stored.
    pub async fn document(&self, id: Id) -> Result<Option<RawDocumentBuf>, ScanError> {
        let find = || {
            let found = self.collection.find_one(doc! { "_id": uuid(id) }).read_concern(ReadConcern::majority());
            found.selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary)).into_future()
        };
        patiently(find).await.map_err(|failure| self.error(failure))
    }

    fn error(&self, failure: Failure) -> ScanError {
        ScanError { namespace: self.collection.namespace().to_string(), failure }
    }

    async fn open(&self, range: &Range) -> mongodb::error::Result<RawBatchCursor> {
        let bound = |id: &Option<Bson>| id.as_ref().map(|id| doc! { "_id": id });
        let mut options = FindOptions::builder()
            .hint(Hint::Keys(doc! { "_id": 1 }))
            .sort(doc! { "_id": 1 })
            .batch_size(BATCH_DOCUMENTS_MAX)
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let mut filter = Document::new();
        if range.from == Some(Bson::MaxKey) {
            filter = doc! { "_id": Bson::MaxKey };
        } else {
            options.min = bound(&range.from);
            options.max = bound(&range.to);
        }
        self.collection.find(filter).with_options(options).batch().await
    }
}

/// Reads one range batch by batch.
pub struct RangeScan {
    scan: Scan,
    range: Range,
    /// The `_id` of the last document that was returned.
    last: Option<RawBson>,
    cursor: Option<RawBatchCursor>,
    done: bool,
}

impl RangeScan {
    /// Returns the next documents, at least one, or `None` at the end of the range.
    ///
    /// If the cursor fails (killed, expired, connection lost, another primary elected), the scan continues after the
    /// last document that it returned, so that each is seen once. It gives up after [`ATTEMPTS_MAX`] failures without
    /// progress.
    pub async fn next_batch(&mut self) -> Result<Option<Batch>, ScanError> {
        let mut attempt = 0;
        while !self.done {
            match self.try_next_batch().await {
                Ok(Some(batch)) => return Ok(Some(batch)),
                Ok(None) => {}
                Err(error) => {
                    self.cursor = None;
                    attempt += 1;
                    let failure = Failure::of(&error);
                    if attempt == ATTEMPTS_MAX || !failure.is_retryable() {
                        return Err(self.scan.error(failure));
                    }
                    tokio::time::sleep(pause(attempt)).await;
                }
            }
        }
        Ok(None)
    }

    /// Returns `None` for a reply without new documents. This may or may not be the end of the range.
    async fn try_next_batch(&mut self) -> mongodb::error::Result<Option<Batch>> {
        let mut resumed = None;
        let cursor = if let Some(cursor) = &mut self.cursor {
            cursor
        } else {
            // `last` is kept until a reply arrives, because the query itself may fail more than once.
            if let Some(last) = &self.last {
                self.range.from = Some(Bson::try_from(last.clone())?);
                resumed = Some(last.clone());
            }
            self.cursor.insert(self.scan.open(&self.range).await?)
        };
        let Some(reply) = cursor.next().await.transpose()? else {
            self.end();
            return Ok(None);
        };
        let batch = Batch::new(reply, resumed.as_ref())?;
        self.last = batch.last.clone().or(self.last.take());
        Ok((batch.documents > batch.skip).then_some(batch))
    }

    /// A query with `min` and without `max` ends before the `_id` `MaxKey`. A separate query asks for that `_id`.
    fn end(&mut self) {
        let asked_for_all = self.range.from.is_none() || self.range.from == Some(Bson::MaxKey);
        self.done = asked_for_all || self.range.to.is_some();
        self.range.from = Some(Bson::MaxKey);
        (self.cursor, self.last) = (None, None);
    }
}

/// The documents of one reply, in `_id` order.
#[derive(Debug)]
pub struct Batch {
    reply: RawBatch,
    documents: usize,
    /// 1 if the first document was returned before, because a resumed range begins at the last one returned. Otherwise
    /// 0.
    skip: usize,
    last: Option<RawBson>,
}

impl Batch {
    /// Checks the whole reply once, so that returning its documents cannot fail.
    fn new(reply: RawBatch, seen: Option<&RawBson>) -> mongodb::error::Result<Self> {
        let (mut documents, mut skip, mut last) = (0, 0, None);
        for document in reply.doc_slices()? {
            last = document?.as_document();
            if documents == 0 && seen.is_some() {
                skip = usize::from(last.and_then(id_of) == seen.map(RawBson::as_raw_bson_ref));
            }
            documents += 1;
        }
        let last = last.and_then(id_of).map(Into::into);
        Ok(Self { reply, documents, skip, last })
    }

    /// The documents as the server stores them.
    pub fn documents(&self) -> impl Iterator<Item = &[u8]> {
        let documents = self.reply.doc_slices().ok().into_iter().flatten();
        documents.filter_map(|document| Some(document.ok()?.as_document()?.as_bytes())).skip(self.skip)
    }
}

fn id_of(document: &RawDocument) -> Option<RawBsonRef<'_>> {
    document.get("_id").ok().flatten()
}

/// The `_id` as a BSON value.
pub(super) fn uuid(id: Id) -> Bson {
    Bson::Binary(id.to_binary())
}
