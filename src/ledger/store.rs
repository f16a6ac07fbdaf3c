//! Reads and writes the collections of the ledger.

use std::time::Duration;

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, Uuid, doc};
use futures_util::TryStreamExt;
use mongodb::error::ErrorKind;
use mongodb::options::{Acknowledgment, CollectionOptions, FindOptions, ReadConcern, ReturnDocument, WriteConcern};
use mongodb::{Collection, Database};

use super::identity::CollectionIdentity;
use super::owner::Owner;
use super::run::{Exceptions, LoadDocument, RejectsState, TargetState, id_of_part};
use crate::encode::Id;
use crate::namespace::LEDGER_COLLECTION;
use crate::server::codes::DUPLICATE_KEY;
use crate::server::{self, Failure, ServerError, Target, leases_of};

/// How long a lease is valid without renewal. Long enough for the election of a new primary or a pause of the machine.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(30);

/// States of a load that may still be resumed.
const UNFINISHED: [&str; 3] = ["running", "stopped", "failed"];

/// The cause of a failed call to the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The call to the server failed.
    #[error("{0}")]
    Server(Failure),
    /// A document that lists refused or kept-out records is missing.
    #[error("the list of refused records is missing in the ledger; load again with --reload")]
    Incomplete,
    /// A lease document cannot be read, or other processes take the lease again and again.
    #[error(
        "the lease of this load cannot be read, or other processes take it again and again; see its document in \
         `medlift_runs.leases`"
    )]
    Unreadable,
    /// Another process has taken the load over: its fence is higher.
    #[error("another process has taken the load over")]
    TakenOver,
}

impl From<Failure> for LedgerError {
    fn from(failure: Failure) -> Self {
        Self::Server(failure)
    }
}

/// The part of the ledger that concerns the loads into one collection.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The collection with one document per load. For the ledger of parts, the same collection as `leases`.
    pub(super) documents: Collection<Document>,
    /// Leases, identities, exceptions and the documents of parts. [`leases_of`] returns the collection's name.
    pub(super) leases: Collection<Document>,
    pub(super) collection: String,
    /// The further collections of the loads, if the spec describes several kinds of documents.
    pub(super) further: Vec<String>,
    pub(super) owner: Owner,
    pub(super) lease_ms: i64,
    /// Whether this ledger reads and writes the documents of parts instead of those of loads.
    pub(super) is_of_parts: bool,
}

impl Ledger {
    /// Opens the ledger of `collection`. A lease expires after `lease` unless it is renewed. Reads with read concern
    /// majority, and writes with write concern majority and journal.
    pub fn new(database: &Database, collection: &str, lease: Duration) -> Self {
        let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        let options = CollectionOptions::builder().write_concern(concern).read_concern(ReadConcern::majority()).build();
        Self {
            documents: database.collection_with_options(LEDGER_COLLECTION, options.clone()),
            leases: database.collection_with_options(&leases_of(LEDGER_COLLECTION), options),
            collection: collection.to_owned(),
            further: Vec::new(),
            owner: Owner::this_process(),
            lease_ms: lease.as_millis() as i64,
            is_of_parts: false,
        }
    }

    /// Adds the further collections of the loads, if the spec describes several kinds of documents.
    #[must_use]
    pub fn with_further(self, collections: Vec<String>) -> Self {
        Self { further: collections, ..self }
    }

    /// Returns how long a lease is valid without renewal.
    pub const fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.unsigned_abs())
    }

    /// Returns the most recent load or the part with this key. Ignores dropped and superseded loads.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn find(&self, key: &str) -> Result<Option<LoadDocument>, LedgerError> {
        let mut filter = self.with_key(key);
        filter.insert("state", doc! { "$nin": ["dropped", "superseded"] });
        let latest = doc! { "started": -1 };
        let loads = self.documents.clone_with_type::<LoadDocument>();
        patiently(|| async { loads.find_one(filter.clone()).sort(latest.clone()).await }).await
    }

    /// Returns the reject files of all loads with this key, each with the id of its load.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn reject_files(&self, key: &str) -> Result<Vec<(Uuid, RejectsState)>, LedgerError> {
        let found = read_loads(&self.documents, self.with_key(key), Document::new(), None).await?;
        let states = |load: LoadDocument| load.checkpoint.rejects.into_iter().map(move |state| (load.id, state));
        Ok(found.into_iter().flat_map(states).collect())
    }

    /// Writes the load's document with its fence. The server sets the times `started` and `updated`. Repeats the call
    /// after temporary failures: writing the same document twice is harmless.
    ///
    /// # Errors
    /// If a journaled majority does not acknowledge the write, or the stored document has a higher fence.
    pub async fn put(&self, load: &mut LoadDocument) -> Result<(), LedgerError> {
        self.put_load(load, true).await
    }

    /// Writes the load's document like [`put`](Self::put), but with a single call.
    ///
    /// # Errors
    /// The same as for [`put`](Self::put).
    pub async fn put_once(&self, load: &mut LoadDocument) -> Result<(), LedgerError> {
        self.put_load(load, false).await
    }

    async fn put_load(&self, load: &mut LoadDocument, is_patient: bool) -> Result<(), LedgerError> {
        let mut fields = bson::serialize_to_document(load).expect("a load must serialize to a document");
        for name in ["_id", "started", "updated"] {
            fields.remove(name);
        }
        let mut values: Document =
            fields.into_iter().map(|(name, value)| (name, doc! { "$literal": value }.into())).collect();
        values.insert("started", doc! { "$ifNull": ["$started", "$$NOW"] });
        values.insert("updated", "$$NOW");
        let (filter, change) = (admitting(load.id.into(), load.fence), vec![doc! { "$set": values }]);
        let write = || async {
            self.documents
                .find_one_and_update(filter.clone(), change.clone())
                .upsert(true)
                .return_document(ReturnDocument::After)
                .projection(doc! { "started": 1, "updated": 1 })
                .await
        };
        let written = if is_patient {
            patiently(write).await
        } else {
            write().await.map_err(|error| LedgerError::Server(Failure::of(&error)))
        };
        let written = written.map_err(LedgerError::fenced)?.unwrap_or_default();
        let time = |name: &str| written.get_datetime(name).copied().unwrap_or(DateTime::MIN);
        (load.started, load.updated) = (time("started"), time("updated"));
        Ok(())
    }

    /// Writes [`LoadDocument::proof`]. Does not change `updated`, because a verification writes no documents.
    ///
    /// # Errors
    /// If no journaled majority acknowledges the write.
    pub async fn put_proof(&self, load: &LoadDocument) -> Result<(), LedgerError> {
        let proof = bson::serialize_to_bson(&load.proof).expect("a proof must serialize to a text");
        let (filter, change) = (admitting(load.id.into(), load.fence), doc! { "$set": { "proof": proof } });
        patiently(|| async { self.documents.update_one(filter.clone(), change.clone()).await }).await.map(drop)
    }

    /// Writes one list of exceptions: `_id`s of refused and kept-out records. `kind` is the number of the kind of
    /// document, and `number` the number of the list. Both are counted from 0. The list is ignored until the kind's
    /// [`TargetState::exceptions`](super::TargetState::exceptions) is greater than `number`.
    ///
    /// # Errors
    /// The same as for [`put`](Self::put).
    pub async fn put_exceptions(
        &self,
        load: &LoadDocument,
        kind: usize,
        number: u64,
        found: &Exceptions,
    ) -> Result<(), LedgerError> {
        let id = exceptions_id(load.id, kind, number);
        let filter = admitting(id.into(), load.fence);
        let list = doc! {
            "fence": load.fence, "load": load.id, "number": number.cast_signed(),
            "refused": ids_to_binary(&found.refused), "kept_out": ids_to_binary(&found.kept_out),
        };
        let written = patiently(|| async {
            self.leases.update_one(filter.clone(), doc! { "$set": list.clone() }).upsert(true).await
        });
        written.await.map_err(LedgerError::fenced).map(drop)
    }

    /// Reads a list that [`put_exceptions`](Self::put_exceptions) wrote.
    ///
    /// # Errors
    /// If the server cannot be read, or the list is missing.
    pub async fn exceptions(&self, load: Uuid, kind: usize, number: u64) -> Result<Exceptions, LedgerError> {
        let filter = doc! { "_id": exceptions_id(load, kind, number) };
        let list = patiently(|| async { self.leases.find_one(filter.clone()).await }).await?;
        let list = list.ok_or(LedgerError::Incomplete)?;
        Ok(Exceptions { refused: ids_of(&list, "refused"), kept_out: ids_of(&list, "kept_out") })
    }

    /// Marks the unfinished loads with this key as superseded, except the load `kept`. Also writes `fence` into their
    /// documents. If another process still works on such a load, its next write to the ledger is then refused.
    ///
    /// # Errors
    /// If no journaled majority acknowledges the write.
    pub async fn supersede(&self, key: &str, kept: Uuid, fence: i64) -> Result<(), LedgerError> {
        if self.is_of_parts {
            // A part has only one document. If the part begins again, `put` replaces this document.
            return Ok(());
        }
        let filter = doc! { "key": key, "_id": { "$ne": kept }, "state": { "$in": UNFINISHED.to_vec() }, "fence": { "$lte": fence } };
        let change = vec![doc! { "$set": { "state": "superseded", "fence": fence, "updated": "$$NOW" } }];
        patiently(|| async { self.documents.update_many(filter.clone(), change.clone()).await }).await.map(drop)
    }

    /// Marks all loads into the collection as dropped.
    ///
    /// # Errors
    /// If no journaled majority acknowledges the write.
    pub async fn mark_dropped(&self) -> Result<(), LedgerError> {
        let change = vec![doc! { "$set": { "state": "dropped", "updated": "$$NOW" } }];
        let filter = self.with_collection(Document::new());
        patiently(|| async { self.documents.update_many(filter.clone(), change.clone()).await }).await.map(drop)
    }

    /// Returns true if another load may have written to the collection after `load` began. This is assumed if the other
    /// load's ledger document was changed since then, or if the other load is divided into parts and not complete.
    /// Ignores loads whose documents were dropped.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn has_overlapping_loads(&self, load: &LoadDocument) -> Result<bool, LedgerError> {
        let mut filter = self.with_collection(Document::new());
        // While the parts of a load are written, the load's own document does not change. So such a load is recognized
        // by its state, and not by the time of the last change.
        let is_in_parts = doc! { "manifest": { "$exists": true }, "state": { "$in": UNFINISHED.to_vec() } };
        let has_changed = doc! { "updated": { "$gte": load.started }, "state": { "$ne": "dropped" } };
        filter.insert("_id", doc! { "$ne": load.id });
        self.any(doc! { "$and": [filter, { "$or": [is_in_parts, has_changed] }] }).await
    }

    /// Returns the loads that wrote documents into the collection, in the order in which they began. Also returns loads
    /// that did not complete, because they may have written documents that are not counted. `uuid` is the collection's
    /// UUID, if it is known. Ignores loads whose documents were dropped.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn writers(&self, uuid: Option<Uuid>) -> Result<Vec<(LoadDocument, TargetState)>, LedgerError> {
        let has_written = self.with_collection(doc! { "counts.written": { "$gt": 0 } });
        let may_have_written = doc! { "$or": [has_written, { "state": { "$ne": "complete" } }] };
        let mut filter = doc! { "$and": [self.with_collection(Document::new()), may_have_written] };
        filter.insert("state", doc! { "$ne": "dropped" });
        let found = read_loads(&self.documents, filter, doc! { "started": 1 }, None).await?;
        let is_meant = |state: &TargetState| {
            state.collection == self.collection
                && (uuid.is_none() || state.collection_uuid.is_none_or(|of| Some(of) == uuid))
        };
        let with_state = |load: LoadDocument| load.targets().into_iter().find(is_meant).map(|state| (load, state));
        Ok(found.into_iter().filter_map(with_state).collect())
    }

    /// Returns true if a first load into the collection with this UUID did not complete. A first load is a load into an
    /// empty collection. Also counts first loads whose ledger document contains no UUID.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn has_unfinished_first_load(&self, uuid: Option<Uuid>) -> Result<bool, LedgerError> {
        let states = [&UNFINISHED[..], &["superseded"]].concat();
        let uuids: [Option<Uuid>; 2] = [uuid, None];
        let of_uuid = doc! { "$in": uuids.map(Bson::from).to_vec() };
        let mut filter = self.with_collection(doc! { "first_load": true, "collection_uuid": of_uuid });
        filter.insert("state", doc! { "$in": states });
        self.any(filter).await
    }

    /// Makes a filter for the loads with this key. In the ledger of parts, makes a filter for the part with this key.
    fn with_key(&self, key: &str) -> Document {
        if self.is_of_parts {
            return doc! { "_id": id_of_part(key) };
        }
        doc! { "collection": &self.collection, "key": key }
    }

    /// Makes a filter for the loads into this collection. `state` contains conditions on fields of
    /// [`TargetState`].
    fn with_collection(&self, mut state: Document) -> Document {
        state.insert("collection", &self.collection);
        doc! { "$or": [state.clone(), { "further": { "$elemMatch": state } }] }
    }

    async fn any(&self, filter: Document) -> Result<bool, LedgerError> {
        patiently(|| async { self.documents.find_one(filter.clone()).projection(doc! { "_id": 1 }).await })
            .await
            .map(|found| found.is_some())
    }

    /// Returns the identity of the collection, if the ledger contains it. The identity is stored under the collection's
    /// name, not its UUID, because a restored or moved collection receives another UUID.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn identity(&self) -> Result<Option<CollectionIdentity>, LedgerError> {
        Ok(self.identity_record().await?.as_ref().and_then(identity_of))
    }

    async fn identity_record(&self) -> Result<Option<Document>, LedgerError> {
        let filter = doc! { "_id": self.collection_id() };
        patiently(|| async { self.leases.find_one(filter.clone()).await }).await
    }

    /// Determines the identity of the collection, stores it and returns it. The caller must have the lease of the load
    /// with the key `key`.
    ///
    /// The first of these rules that applies decides:
    ///
    /// 1. If the collection is empty and no other load into it is active, the identity is `wanted`.
    /// 2. If the ledger contains an identity of the collection, this identity does not change.
    /// 3. If the collection is not empty and the ledger contains earlier loads, their identity keys are compared with
    ///    the key of `wanted`. If all keys of these loads differ from the key of `wanted`, the identity has the fields
    ///    of `wanted` and the identity key of one of these loads.
    /// 4. In all other cases, the identity is `wanted`.
    ///
    /// Two loads may call this function at the same time. Then each finds the lease of the other, so rule 1 applies to
    /// neither. A call writes only if the identity's document still has the revision that it read, and increases the
    /// revision. So only one of the two calls succeeds. The other one begins again, finds the identity that the first
    /// one stored, and follows rule 2.
    ///
    /// # Errors
    /// If the ledger cannot be read, or no journaled majority acknowledges the write.
    pub async fn settle_identity(
        &self,
        wanted: &CollectionIdentity,
        is_empty: bool,
        key: &str,
    ) -> Result<CollectionIdentity, LedgerError> {
        loop {
            let record = self.identity_record().await?;
            let known = match record.as_ref().and_then(identity_of) {
                None if !is_empty => self.identity_of_loads(wanted).await?,
                known => known,
            };
            let anew = is_empty && self.other_load(|other| other == key).await?.is_none();
            let settled = known.filter(|_| !anew).unwrap_or_else(|| wanted.clone());
            if self.put_identity(record.as_ref(), &settled).await? {
                return Ok(settled);
            }
        }
    }

    /// Writes the identity if its document still has the revision that was read. Otherwise returns false.
    async fn put_identity(&self, read: Option<&Document>, settled: &CollectionIdentity) -> Result<bool, LedgerError> {
        let revision = read.and_then(|record| record.get_i64("revision").ok());
        let filter = doc! { "_id": self.collection_id(), "revision": revision };
        let identity = bson::serialize_to_bson(settled).expect("an identity must serialize to a document");
        let change = doc! { "$set": {
            "of": &self.collection, "identity": identity, "revision": revision.unwrap_or(0) + 1,
        } };
        let written =
            patiently(|| async { self.leases.update_one(filter.clone(), change.clone()).upsert(read.is_none()).await });
        match written.await.map_err(LedgerError::fenced) {
            Ok(written) => Ok(written.matched_count == 1 || written.upserted_id.is_some()),
            Err(LedgerError::TakenOver) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Determines the identity of a collection whose loads were made by a version of Medlift that did not store
    /// identities. Returns the wanted fields with the identity key of one of these loads. Returns `None` if one of the
    /// loads had the wanted identity key, or if there are no loads.
    async fn identity_of_loads(&self, wanted: &CollectionIdentity) -> Result<Option<CollectionIdentity>, LedgerError> {
        let mut filter = self.with_collection(Document::new());
        filter.insert("state", doc! { "$ne": "dropped" });
        let keys =
            patiently(|| async { self.documents.distinct("options.identity_key", filter.clone()).await }).await?;
        let keys: Vec<&str> = keys.iter().filter_map(Bson::as_str).collect();
        let other = keys.first().filter(|_| !keys.contains(&wanted.key.as_str()));
        Ok(other.map(|key| CollectionIdentity { key: (*key).to_owned(), fields: wanted.fields.clone() }))
    }

    fn collection_id(&self) -> String {
        format!("collection {}", self.collection)
    }
}

impl LedgerError {
    /// Translates a duplicate key error to `TakenOver`. If a document has a higher fence, the filter of a write does
    /// not match it. The upsert then tries to insert a document, and fails because the `_id` exists.
    pub(super) fn fenced(self) -> Self {
        match self {
            Self::Server(Failure::Other { code: Some(DUPLICATE_KEY), .. }) => Self::TakenOver,
            other => other,
        }
    }
}

/// Returns an error if the target's collection does not exist. The error lists other collections of the database, but
/// not those of the ledger.
///
/// # Errors
/// The same as for [`server::require_collection`].
pub async fn require_collection(target: &Target) -> Result<(), ServerError> {
    server::require_collection(target, &[LEDGER_COLLECTION, &leases_of(LEDGER_COLLECTION)]).await
}

/// Reads the documents of loads or parts that match the filter, in this order and at most this number.
pub(super) async fn read_loads(
    documents: &Collection<Document>,
    filter: Document,
    order: Document,
    count_max: Option<u32>,
) -> Result<Vec<LoadDocument>, LedgerError> {
    let loads = documents.clone_with_type::<LoadDocument>();
    let options = FindOptions::builder().sort(order).limit(count_max.map(i64::from)).build();
    let found = patiently(|| async {
        loads.find(filter.clone()).with_options(options.clone()).await?.try_collect::<Vec<LoadDocument>>().await
    });
    found.await
}

/// Calls [`server::patiently`]. Only for calls that are safe to repeat.
pub(super) async fn patiently<T, F>(call: impl FnMut() -> F) -> Result<T, LedgerError>
where
    F: Future<Output = Result<T, mongodb::error::Error>>,
{
    Ok(server::patiently(call).await?)
}

pub(super) fn is_duplicate_key(error: &mongodb::error::Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == DUPLICATE_KEY)
}

/// Makes a filter for the document with this `_id`. The filter does not match if the document was last written with a
/// higher fence. A process that lost its lease has a lower fence than the next owner, so its writes change nothing.
fn admitting(id: Bson, fence: i64) -> Document {
    doc! { "_id": id, "fence": { "$lte": fence } }
}

fn exceptions_id(load: Uuid, kind: usize, number: u64) -> String {
    match kind {
        0 => format!("exceptions {load} {number}"),
        kind => format!("exceptions {load} {kind} {number}"),
    }
}

fn identity_of(record: &Document) -> Option<CollectionIdentity> {
    bson::deserialize_from_bson(record.get("identity")?.clone()).ok()
}

fn ids_to_binary(ids: &[Id]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: ids.iter().flat_map(|id| id.0).collect() }
}

fn ids_of(list: &Document, name: &str) -> Vec<Id> {
    let bytes = list.get_binary_generic(name).map(Vec::as_slice).unwrap_or_default();
    bytes.as_chunks().0.iter().map(|id| Id(*id)).collect()
}
