//! Reads a collection in `_id` order, in ranges. If a cursor fails, continues after the last document that was read.
//!
//! The query for a range uses `min` and `max` on the index `_id_`, not a filter with `$gt`. `$gt` matches only values
//! of the same BSON type. `min` and `max` also match documents whose `_id` has a type that Medlift never writes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{Bson, Document, RawBson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::{StreamExt, TryStreamExt};
use mongodb::Collection;
use mongodb::options::{FindOptions, Hint, ReadConcern, ReadPreference, SelectionCriteria};
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use crate::encode::Id;
use crate::server::{ATTEMPTS_MAX, Failure, Patience, patiently};

/// Maximum number of documents in one reply. The server also limits a reply to 16 MiB. Measured with documents of 430
/// bytes: with 2,000 documents the scan is slower, and with more than 8,000 it is not faster but uses more memory.
const BATCH_DOCUMENTS_MAX: u32 = 8_000;

/// The collection could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read collection `{namespace}`: {failure}{}", if *.has_filter { "; check the query" } else { "" })]
pub struct ScanError {
    namespace: String,
    failure: Failure,
    /// True if the scan has a filter and the server answered with an error code. The filter may then be the cause.
    has_filter: bool,
}

impl ScanError {
    /// Returns the cause: the server's failure.
    pub(crate) const fn failure(&self) -> &Failure {
        &self.failure
    }
}

/// Reads a collection from the primary with read concern majority.
#[derive(Debug, Clone)]
pub struct Scan {
    collection: Collection<RawDocumentBuf>,
    /// Only documents that match are read. Empty if all are read.
    filter: Document,
    documents_read: Arc<AtomicU64>,
}

/// A range of `_id`s in the server's order of all BSON types. `None` means that the range has no limit at that end.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// The first `_id` of the range.
    pub from: Option<Bson>,
    /// The first `_id` after the range.
    pub to: Option<Bson>,
}

impl Scan {
    /// Makes a scan of `collection`.
    pub fn new(collection: &Collection<RawDocumentBuf>) -> Self {
        Self { collection: collection.clone(), filter: Document::new(), documents_read: Arc::default() }
    }

    /// Returns the same scan, but only of documents that match `filter`.
    #[must_use]
    pub fn matching(self, filter: Document) -> Self {
        Self { filter, ..self }
    }

    /// Makes the scan add the number of documents that it reads to `documents_read`.
    #[must_use]
    pub fn counted_by(self, documents_read: &Arc<AtomicU64>) -> Self {
        Self { documents_read: Arc::clone(documents_read), ..self }
    }

    /// Prepares the reading of a range. The query is sent by the first call of `next_batch`.
    pub fn range(&self, range: Range) -> RangeScan {
        RangeScan { scan: self.clone(), range, last: None, cursor: None, done: false, is_begun: false }
    }

    /// Returns the stored document with this `_id`.
    pub async fn document(&self, id: Id) -> Result<Option<RawDocumentBuf>, ScanError> {
        let find = || {
            let found = self.collection.find_one(doc! { "_id": id.to_binary() }).read_concern(ReadConcern::majority());
            found.selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary)).into_future()
        };
        patiently(find).await.map_err(|failure| self.error(failure))
    }

    /// Returns those of these `_id`s that are stored.
    pub(super) async fn ids_among(&self, ids: &[Id]) -> Result<HashSet<Id>, ScanError> {
        let ids: Vec<_> = ids.iter().map(|id| id.to_binary()).collect();
        let find = || {
            let found = self.collection.find(doc! { "_id": { "$in": ids.clone() } }).projection(doc! { "_id": 1 });
            let found = found.read_concern(ReadConcern::majority());
            let found = found.selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary));
            async move { found.await?.try_collect::<Vec<_>>().await }
        };
        let found = patiently(find).await.map_err(|failure| self.error(failure))?;
        let id = |document: &RawDocumentBuf| Id::from_binary(document.get("_id").ok()??);
        Ok(found.iter().filter_map(id).collect())
    }

    fn error(&self, failure: Failure) -> ScanError {
        let has_filter = !self.filter.is_empty() && matches!(failure, Failure::Other { code: Some(_), .. });
        ScanError { namespace: self.collection.namespace().to_string(), failure, has_filter }
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
        let mut filter = self.filter.clone();
        if range.from == Some(Bson::MaxKey) {
            let last = doc! { "_id": Bson::MaxKey };
            filter = if filter.is_empty() {
                last
            } else {
                doc! { "$and": [last, filter] }
            };
        } else {
            options.min = bound(&range.from);
            options.max = bound(&range.to);
        }
        self.collection.find(filter).with_options(options).batch().await
    }
}

/// Reads one range, batch by batch.
pub struct RangeScan {
    scan: Scan,
    range: Range,
    /// The `_id` of the last document that was returned.
    last: Option<RawBson>,
    cursor: Option<RawBatchCursor>,
    done: bool,
    /// True if documents of the range were returned. [`RangeScan::end`] sets this field to false again.
    is_begun: bool,
}

impl RangeScan {
    /// Returns the next documents, at least one. Returns `None` at the end of the range.
    ///
    /// If the cursor fails, the scan continues after the last document that was returned, so that each document is
    /// returned once. A cursor fails for example if the connection breaks or another primary is elected. After
    /// [`ATTEMPTS_MAX`] failures without progress, or after one permanent failure, returns the error. Also returns the
    /// error if the documents have no `_id`, because the scan then cannot continue after the last document.
    pub async fn next_batch(&mut self) -> Result<Option<Batch>, ScanError> {
        let (mut attempt, mut patience) = (0, Patience::default());
        while !self.done {
            match self.try_next_batch().await {
                Ok(Some(batch)) => {
                    let returned = (batch.documents - batch.skip) as u64;
                    self.scan.documents_read.fetch_add(returned, Ordering::Relaxed);
                    self.is_begun = true;
                    return Ok(Some(batch));
                }
                Ok(None) => {}
                Err(error) => {
                    self.cursor = None;
                    attempt += 1;
                    let failure = Failure::of(&error);
                    if attempt == ATTEMPTS_MAX || !failure.is_retryable() || !self.can_continue() {
                        return Err(self.scan.error(failure));
                    }
                    patience.pause(attempt, &failure).await;
                }
            }
        }
        Ok(None)
    }

    /// Returns false if documents without `_id` were returned. A new query would return them again. The documents of a
    /// de-identified view have no `_id`.
    fn can_continue(&self) -> bool {
        self.last.is_some() || !self.is_begun
    }

    /// Returns the documents of the next reply. Returns `None` at the end of the range. Also returns `None` if a
    /// reply has no new documents.
    async fn try_next_batch(&mut self) -> mongodb::error::Result<Option<Batch>> {
        let mut resumed = None;
        let cursor = if let Some(cursor) = &mut self.cursor {
            cursor
        } else {
            // `self.last` is copied, not taken. If this query fails, the next attempt needs it again.
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

    /// Ends the range. If the last query had `min` but not `max`, first continues with a query for the `_id`
    /// `MaxKey`. Reason: a query with `min` and without `max` does not return a document with this `_id`.
    fn end(&mut self) {
        let asked_for_all = self.range.from.is_none() || self.range.from == Some(Bson::MaxKey);
        self.done = asked_for_all || self.range.to.is_some();
        self.range.from = Some(Bson::MaxKey);
        (self.cursor, self.last, self.is_begun) = (None, None, false);
    }
}

/// The documents of one reply, in `_id` order.
#[derive(Debug)]
pub struct Batch {
    reply: RawBatch,
    documents: usize,
    /// 1 if the first document of the reply was already returned, otherwise 0. Reason: after a failure, the new query
    /// begins with the last document that was returned before the failure.
    skip: usize,
    last: Option<RawBson>,
}

impl Batch {
    /// Checks all documents of the reply, so that [`documents`](Self::documents) cannot fail.
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

    /// Returns the stored documents.
    pub fn documents(&self) -> impl Iterator<Item = &[u8]> {
        let documents = self.reply.doc_slices().ok().into_iter().flatten();
        documents.filter_map(|document| Some(document.ok()?.as_document()?.as_bytes())).skip(self.skip)
    }
}

fn id_of(document: &RawDocument) -> Option<RawBsonRef<'_>> {
    document.get("_id").ok().flatten()
}
