//! The parts of a load that several workers share. The document of a part has the form of a load's document, but it is
//! in the collection of the leases. Code that looks for loads therefore does not find it.

use std::collections::BTreeMap;

use bson::{Document, Uuid, doc};
use futures_util::TryStreamExt;
use serde::Deserialize;

use super::counts::Counts;
use super::leases::{Held, held_of, lease_id};
use super::run::{LoadDocument, PartOf, State};
use super::store::{Ledger, LedgerError, patiently, read_loads};

/// The state and the counts of a part.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PartProgress {
    part: PartOf,
    /// The state of the part.
    pub state: State,
    counts: Counts,
    #[serde(default)]
    further: Vec<CountsOfKind>,
}

/// The counts for the second or a further kind of document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct CountsOfKind {
    counts: Counts,
}

impl PartProgress {
    /// Returns the number of the part.
    pub const fn number(&self) -> u32 {
        self.part.number
    }

    /// Returns the counts for each kind of document.
    pub fn counts(&self) -> Vec<Counts> {
        std::iter::once(self.counts).chain(self.further.iter().map(|kind| kind.counts)).collect()
    }
}

impl Ledger {
    /// Returns a ledger that reads and writes the documents of parts instead of those of loads.
    #[must_use]
    pub fn of_parts(&self) -> Self {
        Self { documents: self.leases.clone(), is_of_parts: true, ..self.clone() }
    }

    /// Returns the documents of these parts, in the order of their numbers. A part that has not begun has no document.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn parts(&self, load: Uuid, numbers: &[u32]) -> Result<Vec<LoadDocument>, LedgerError> {
        read_loads(&self.leases, with_numbers(load, numbers), doc! { "part.number": 1 }, None).await
    }

    /// Returns the states and counts of these parts. A part that has not begun has none. Reads less than
    /// [`parts`](Self::parts).
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn part_progress(&self, load: Uuid, numbers: &[u32]) -> Result<Vec<PartProgress>, LedgerError> {
        let parts = self.leases.clone_with_type::<PartProgress>();
        let fields = doc! { "part": 1, "state": 1, "counts": 1, "further.counts": 1 };
        let found = patiently(|| async {
            let found = parts.find(with_numbers(load, numbers)).projection(fields.clone()).await?;
            found.try_collect::<Vec<PartProgress>>().await
        });
        found.await
    }

    /// Returns the leases of the parts of this load. The keys are the numbers of the parts. For an expired lease,
    /// `left` is zero.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn part_leases(&self, load: Uuid) -> Result<BTreeMap<u32, Held>, LedgerError> {
        let prefix = lease_id(&PartOf::key_prefix(load));
        // After the prefix, a key has only digits. The character `:` is greater than all digits, so it ends the range.
        let filter = doc! { "_id": { "$gte": &prefix, "$lt": format!("{prefix}:") } };
        let number = |lease: &Document| lease.get_str("_id").ok()?.strip_prefix(&prefix)?.parse().ok();
        Ok(self.read_leases(filter).await?.iter().filter_map(|lease| Some((number(lease)?, held_of(lease)?))).collect())
    }

    /// Returns the load with this id. If `id` is the id of a manifest or the beginning of such an id, returns the loads
    /// of the manifest's tables, in the order of the tables. Of these loads, leaves out those whose documents were
    /// dropped and those that a new load has replaced.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn loads_with_id(&self, id: &str) -> Result<Vec<LoadDocument>, LedgerError> {
        let of_manifest = doc! {
            "manifest.id": { "$gte": id, "$lt": format!("{id}~") },
            "state": { "$nin": ["dropped", "superseded"] },
        };
        let filter = match Uuid::parse_str(id) {
            Ok(load) => doc! { "$or": [{ "_id": load }, of_manifest] },
            Err(_) => of_manifest,
        };
        let order = doc! { "manifest.id": 1, "manifest.table": 1, "started": 1 };
        read_loads(&self.documents, filter, order, None).await
    }

    /// Returns the load with this id.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn load_with_id(&self, id: Uuid) -> Result<Option<LoadDocument>, LedgerError> {
        let filter = doc! { "_id": id };
        Ok(read_loads(&self.documents, filter, Document::new(), Some(1)).await?.pop())
    }

    /// Returns the most recent loads into the database, the latest first.
    ///
    /// # Errors
    /// If the server cannot be read.
    pub async fn latest_loads(&self, count_max: u32) -> Result<Vec<LoadDocument>, LedgerError> {
        read_loads(&self.documents, Document::new(), doc! { "started": -1 }, Some(count_max)).await
    }
}

/// Makes a filter for the documents of these parts.
fn with_numbers(load: Uuid, numbers: &[u32]) -> Document {
    let ids: Vec<Uuid> = numbers.iter().map(|&number| PartOf { load, number }.document_id()).collect();
    doc! { "_id": { "$in": ids } }
}
