//! Reads the collections of a fold: the messages and the documents of the state.

use bson::{Binary, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use mongodb::options::{FindOptions, ReadConcern, ReadPreference, SelectionCriteria};

use super::FoldError;
use crate::encode::Id;
use crate::fold::{Kind, Merge};
use crate::ledger::Guard;
use crate::server::{Failure, ServerError, Target, patiently};
use crate::spec::Spec;
use crate::verify::{Range, RangeScan, Scan};

/// Maximum number of `_id`s in one query or command.
pub(super) const IDS_MAX: usize = 1_000;

/// The smallest and the largest key.
pub(super) const FIRST: Id = Id([0; 16]);
pub(super) const LAST: Id = Id([0xff; 16]);

/// The collections of a fold.
#[derive(Debug, Clone)]
pub(super) struct Store {
    /// The collection with the messages.
    pub target: Target,
    /// The name of the field with the bytes of a message.
    whole: String,
    /// Checks before each write that no other process folds. `None` if nothing is written.
    pub guard: Option<Guard>,
}

impl Store {
    pub(super) fn new(target: &Target, spec: &Spec, guard: Option<Guard>) -> Result<Self, FoldError> {
        let whole = spec.whole().ok_or(FoldError::Spec)?.name.clone();
        Ok(Self { target: target.clone(), whole, guard })
    }

    pub(super) fn collection(&self, name: &str) -> Collection<RawDocumentBuf> {
        self.target.db().collection(name)
    }

    pub(super) async fn find(
        &self,
        collection: &str,
        filter: Document,
        shown: Document,
        limit: Option<u32>,
    ) -> Result<Vec<RawDocumentBuf>, FoldError> {
        let options = FindOptions::builder()
            .projection(shown)
            .sort(limit.map(|_| doc! { "_id": 1 }))
            .limit(limit.map(i64::from))
            .read_concern(ReadConcern::majority())
            .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
            .build();
        let documents = self.collection(collection);
        let found = patiently(|| async {
            documents.find(filter.clone()).with_options(options.clone()).await?.try_collect::<Vec<_>>().await
        });
        found.await.map_err(|failure| self.error("read", collection, failure))
    }

    pub(super) fn error(&self, doing: &str, collection: &str, failure: Failure) -> FoldError {
        let doing = format!("{doing} {}.{collection}", self.target.database);
        ServerError::Command { doing, failure }.into()
    }

    /// Returns up to `limit` UUIDs of the collection of messages after `after`, in order.
    pub(super) async fn ids(&self, after: Option<Id>, limit: u32) -> Result<Vec<Id>, FoldError> {
        let found = self.find(&self.target.collection, after_id(after), doc! { "_id": 1 }, Some(limit)).await?;
        Ok(found.iter().filter_map(|document| Id::from_binary(id_of(document)?)).collect())
    }

    /// Prepares to read all documents of the collection of messages.
    pub(super) fn scan(&self) -> RangeScan {
        Scan::new(&self.target.documents()).range(Range::default())
    }

    /// Prepares to read the documents with these `_id`s from the collection of messages. Those that do not exist are
    /// left out.
    pub(super) fn scan_of(&self, ids: &[Id]) -> RangeScan {
        Scan::new(&self.target.documents()).matching(among(ids)).range(Range::default())
    }

    /// Prepares to read the documents of a kind with keys after `after`, at most `to`.
    pub(super) fn scan_states(&self, kind: Kind, after: Option<Id>, to: Id) -> RangeScan {
        let mut filter = after_id(after);
        if let Ok(bounds) = filter.get_document_mut("_id") {
            bounds.insert("$lte", to.to_binary());
        }
        Scan::new(&self.collection(kind.collection())).matching(filter).range(Range::default())
    }

    /// Returns the message in a document. Returns `None` if another program wrote the document.
    pub(super) fn message<'d>(&self, document: &'d RawDocument) -> Option<(Id, &'d [u8])> {
        let whole = document.get(self.whole.as_str()).ok()??.as_binary()?;
        Some((Id::from_binary(id_of(document)?)?, whole.bytes))
    }

    /// Prepares to read the documents of a kind with these keys.
    pub(super) fn scan_states_of(&self, kind: Kind, ids: &[Id]) -> RangeScan {
        Scan::new(&self.collection(kind.collection())).matching(among(ids)).range(Range::default())
    }

    /// Returns the merges of the patients whose `field` is one of `ids`: for each, the key of the patient, and the
    /// merge.
    pub(super) async fn merges(&self, field: &str, ids: &[Id]) -> Result<Vec<(Id, Merge)>, FoldError> {
        let mut merges = Vec::new();
        for ids in ids.chunks(IDS_MAX) {
            let filter = doc! { field: { "$in": binaries(ids) }, "mergedInto.patient": { "$exists": true } };
            let found = self.find(Kind::Patient.collection(), filter, doc! { "mergedInto": 1 }, None).await?;
            merges.extend(found.iter().filter_map(|document| {
                let merge = Merge::read(document.get("mergedInto").ok()??)?;
                Some((Id::from_binary(id_of(document)?)?, merge))
            }));
        }
        Ok(merges)
    }
}

pub(super) fn id_of(document: &RawDocument) -> Option<RawBsonRef<'_>> {
    document.get("_id").ok().flatten()
}

/// Returns a filter for UUIDs after `after`. Reason why the filter matches only UUIDs: the server compares the length
/// and the subtype of binary values first.
fn after_id(after: Option<Id>) -> Document {
    let from = after.map_or(("$gte", FIRST), |after| ("$gt", after));
    doc! { "_id": { from.0: from.1.to_binary(), "$lte": LAST.to_binary() } }
}

fn binaries(ids: &[Id]) -> Vec<Binary> {
    ids.iter().map(|id| id.to_binary()).collect()
}

pub(super) fn among(ids: &[Id]) -> Document {
    doc! { "_id": { "$in": binaries(ids) } }
}
