//! The files of loads: sources and reject files.

use bson::{Document, Uuid, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use serde::Deserialize;

use super::run::{PartOf, RejectsState, SourceIdentity};
use super::store::{Ledger, LedgerError, patiently};

/// Maximum number of loads whose files are returned.
const LOADS_MAX: i64 = 1_000;

/// Maximum number of parts whose files are returned.
const PARTS_MAX: i64 = 10_000;

/// The files of a load or of a part of a load.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoadFiles {
    #[serde(rename = "_id")]
    id: Uuid,
    part: Option<PartOf>,
    /// The collection of the first kind of document.
    pub collection: String,
    /// The sources.
    pub sources: Vec<SourceIdentity>,
    checkpoint: Rejects,
}

/// The part of a checkpoint that lists the reject files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Rejects {
    rejects: Vec<RejectsState>,
}

impl LoadFiles {
    /// Returns the id of the load.
    pub fn load(&self) -> Uuid {
        self.part.as_ref().map_or(self.id, |part| part.load)
    }

    /// Returns the reject files.
    pub fn rejects(&self) -> &[RejectsState] {
        &self.checkpoint.rejects
    }
}

impl Ledger {
    /// Returns the files of the 1,000 most recent loads into the database, and of the 10,000 most recent parts that have
    /// reject files. The collections and states do not matter.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn files(&self) -> Result<Vec<LoadFiles>, LedgerError> {
        let mut files = latest_files(&self.documents, Document::new(), LOADS_MAX).await?;
        let with_rejects = doc! { "part": { "$exists": true }, "checkpoint.rejects.0": { "$exists": true } };
        files.extend(latest_files(&self.leases, with_rejects, PARTS_MAX).await?);
        Ok(files)
    }
}

async fn latest_files<T: Send + Sync>(
    collection: &Collection<T>,
    filter: Document,
    count_max: i64,
) -> Result<Vec<LoadFiles>, LedgerError> {
    let loads = collection.clone_with_type::<LoadFiles>();
    let found = patiently(|| async {
        let found = loads.find(filter.clone()).sort(doc! { "started": -1 }).limit(count_max);
        let found = found.projection(doc! { "collection": 1, "sources": 1, "checkpoint.rejects": 1, "part": 1 });
        found.await?.try_collect::<Vec<LoadFiles>>().await
    });
    found.await
}
