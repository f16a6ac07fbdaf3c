//! The files of loads: sources and reject files.

use bson::{Document, Uuid, doc};
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::run::{RejectsState, SourceIdentity};
use super::store::{Ledger, LedgerError, patiently};

/// Maximum number of loads whose files are returned.
const LOADS_MAX: i64 = 1_000;

/// The files of a load. If the load is divided into parts, the reject files of the parts are not included.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LoadFiles {
    /// The load's id.
    #[serde(rename = "_id")]
    pub id: Uuid,
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
    /// Returns the reject files.
    pub fn rejects(&self) -> &[RejectsState] {
        &self.checkpoint.rejects
    }
}

impl Ledger {
    /// Returns the files of the 1,000 most recent loads into the database, whatever their collections and states are.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn files(&self) -> Result<Vec<LoadFiles>, LedgerError> {
        let loads = self.documents.clone_with_type::<LoadFiles>();
        let found = patiently(|| async {
            let found = loads.find(Document::new()).sort(doc! { "started": -1 }).limit(LOADS_MAX);
            let found = found.projection(doc! { "collection": 1, "sources": 1, "checkpoint.rejects": 1 });
            found.await?.try_collect::<Vec<LoadFiles>>().await
        });
        found.await
    }
}
