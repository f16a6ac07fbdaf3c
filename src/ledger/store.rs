//! The ledger's collection.

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::{Acknowledgment, ReadConcern, WriteConcern};
use mongodb::{Collection, Database};

use super::run::{LoadRun, Options, SourceIdentity, State};
use crate::access::{Failure, patiently};

/// Name of the ledger's collection, in the database of the data.
pub const LEDGER_COLLECTION: &str = "medlift_runs";

/// The ledger of one collection of data.
#[derive(Debug, Clone)]
pub struct Ledger {
    runs: Collection<LoadRun>,
    collection: String,
}

impl Ledger {
    /// The ledger for `collection`. Reads at majority, writes to a journaled majority.
    pub fn new(database: &Database, collection: &str) -> Self {
        let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        let options = mongodb::options::CollectionOptions::builder()
            .write_concern(concern)
            .read_concern(ReadConcern::majority())
            .build();
        Self { runs: database.collection_with_options(LEDGER_COLLECTION, options), collection: collection.to_owned() }
    }

    /// The latest load of the same sources with the same spec and options that is not dropped.
    ///
    /// # Errors
    /// When the server cannot be read.
    pub async fn find(
        &self,
        sources: &[SourceIdentity],
        spec_hash: &str,
        options: &Options,
    ) -> Result<Option<LoadRun>, Failure> {
        if sources.iter().any(|source| source.blake3.is_none()) {
            return Ok(None);
        }
        let hashes: Vec<&str> = sources.iter().filter_map(|source| source.blake3.as_deref()).collect();
        let filter =
            doc! { "collection": &self.collection, "spec_hash": spec_hash, "sources.blake3": { "$all": hashes } };
        let same = |run: &LoadRun| {
            let hashes = |sources: &[SourceIdentity]| sources.iter().map(|s| s.blake3.clone()).collect::<Vec<_>>();
            run.state != State::Dropped && run.options == *options && hashes(&run.sources) == hashes(sources)
        };
        let runs: Vec<LoadRun> = patiently(async || {
            let runs = self.runs.find(filter.clone()).sort(doc! { "started": -1 }).await?;
            runs.try_collect().await
        })
        .await?;
        Ok(runs.into_iter().find(same))
    }

    /// Writes the load's document, new or changed. Tries again while the failure may pass: writing the same document under
    /// the same `_id` twice changes nothing.
    ///
    /// # Errors
    /// When the write is not acknowledged by a journaled majority.
    pub async fn put(&self, run: &mut LoadRun) -> Result<(), Failure> {
        run.updated = DateTime::now();
        let run = &*run;
        patiently(|| self.runs.replace_one(doc! { "_id": run.id }, run).upsert(true).into_future()).await?;
        Ok(())
    }

    /// Writes the load's document, and tries only once.
    ///
    /// # Errors
    /// When the write is not acknowledged by a journaled majority.
    pub async fn put_once(&self, run: &mut LoadRun) -> Result<(), Failure> {
        run.updated = DateTime::now();
        let filter = doc! { "_id": run.id };
        self.runs.replace_one(filter, &*run).upsert(true).await.map_err(|error| Failure::of(&error))?;
        Ok(())
    }

    /// Marks all loads into the collection as dropped.
    ///
    /// # Errors
    /// When the write is not acknowledged by a journaled majority.
    pub async fn mark_dropped(&self) -> Result<(), Failure> {
        let change = doc! { "$set": { "state": "dropped", "updated": DateTime::now() } };
        let filter = || doc! { "collection": &self.collection };
        patiently(|| self.runs.update_many(filter(), change.clone()).into_future()).await?;
        Ok(())
    }

    /// How many loads the ledger holds for the collection.
    ///
    /// # Errors
    /// When the server cannot be read.
    pub async fn count(&self) -> Result<u64, Failure> {
        let filter: Document = doc! { "collection": &self.collection };
        patiently(|| self.runs.count_documents(filter.clone()).into_future()).await
    }
}
