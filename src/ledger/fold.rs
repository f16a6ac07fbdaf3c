//! The record of the fold. It names the collection of messages from which the *state* of this database (the patients,
//! visits and results) was made, and the rules that were used.

use bson::{Bson, Uuid, doc};
use serde::{Deserialize, Serialize};

use super::claim::Guard;
use super::store::{Ledger, LedgerError, patiently};
use crate::server::{self, Failure};

/// The `_id` of the record, in the collection of the leases. A database has at most one such record.
const ID: &str = "fold";

/// The messages from which the patients, visits and results of this database were made, and the rules that were used.
/// All these messages are in one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldRecord {
    /// The collection with the messages.
    pub messages: String,
    /// The collection's UUID on the server. Another UUID means that the collection was dropped and created again.
    pub collection_uuid: Option<Uuid>,
    /// How patients are identified, and how times are read.
    pub rule: String,
    /// The version of the rules by which messages become documents.
    #[serde(default)]
    pub version: i32,
    /// True from the beginning to the end of a fold of all messages. If the process is killed meanwhile, the value
    /// stays true, and the fold must be repeated.
    pub is_rebuilding: bool,
}

impl FoldRecord {
    /// Returns true if the state was made from the collection of messages that `present` names. If a UUID is not known,
    /// a collection with the same name counts as the same collection.
    pub(crate) fn is_of(&self, present: &Self) -> bool {
        let is_other = |(then, now): (Uuid, Uuid)| then != now;
        let is_dropped = self.collection_uuid.zip(present.collection_uuid).is_some_and(is_other);
        !is_dropped && self.messages == present.messages
    }

    /// Returns true if the state was made from the collection that `present` names, by the same version of the rules,
    /// and if no fold of all messages is under way or was interrupted.
    pub(crate) fn is_complete_for(&self, present: &Self) -> bool {
        !self.is_rebuilding && self.version == present.version && self.is_of(present)
    }
}

impl Ledger {
    /// Returns the record of the fold. Returns `None` if no messages were folded in this database.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn fold_record(&self) -> Result<Option<FoldRecord>, LedgerError> {
        let record = patiently(|| async { self.leases.find_one(doc! { "_id": ID }).await }).await?;
        let record = record.map(|record| bson::deserialize_from_bson(Bson::Document(record)));
        record.transpose().map_err(|_| LedgerError::Unreadable)
    }

    /// Writes the record of the fold with the fence of the fold's lease.
    ///
    /// # Errors
    /// If no journaled majority acknowledges the write, another process has the lease, or the stored record has a
    /// higher fence.
    pub(crate) async fn put_fold_record(&self, record: &FoldRecord, guard: &Guard) -> Result<(), LedgerError> {
        let fence = guard.fence();
        let mut record = bson::serialize_to_document(record).expect("a record must serialize to a document");
        record.insert("fence", fence);
        let admits = [doc! { "fence": { "$exists": false } }, doc! { "fence": { "$lte": fence } }];
        let filter = doc! { "_id": ID, "$or": admits.to_vec() };
        let written = server::patiently(|| async {
            // Check the lease before each attempt, because several attempts can take longer than the lease is valid.
            match guard.ensure().await {
                Ok(()) => {}
                Err(LedgerError::Server(failure)) => return Err(failure),
                Err(other) => return Ok(Err(other)),
            }
            let replaced = self.leases.replace_one(filter.clone(), record.clone()).upsert(true).await;
            replaced.map(|_| Ok(())).map_err(|error| Failure::of(&error))
        });
        written.await.map_err(|failure| LedgerError::Server(failure).fenced())?
    }
}
