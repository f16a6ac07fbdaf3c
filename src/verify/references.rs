//! References to nothing: documents name other documents by their `_id`s, and the server is asked which of those exist.

use std::collections::HashMap;

use serde::Serialize;

use super::VerifyError;
use super::scan::Scan;
use crate::encode::{Digest, Id};
use crate::spill::{Sorted, Sorter, SpillError, SpilledEntry};

/// Largest number of targets that are counted in memory before they are sorted. Few targets have most references, for
/// example the patients.
const COUNTED_MAX: usize = 1 << 15;

/// Number of `_id`s in one query.
const ASKED_AT_ONCE: usize = 5_000;

/// Collects the references of documents, in bounded memory.
#[derive(Debug)]
pub(crate) struct References {
    /// The number of references to each target: its kind of document and its `_id`.
    counts: HashMap<(u16, Id), u64>,
    sorter: Sorter,
}

/// The targets of all references. Each target is listed once or several times, with a number of references.
#[derive(Debug, Clone)]
pub(crate) struct Targets(Sorted);

/// References to documents of one kind that do not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToNothing {
    /// The name of the kind of document.
    pub kind: String,
    /// Number of documents that do not exist.
    pub documents: u64,
    /// Number of references to these documents.
    pub references: u64,
}

impl References {
    /// Makes an empty list. Its memory for sorting has about `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { counts: HashMap::new(), sorter: Sorter::new(bytes_max) }
    }

    /// Adds a reference to the document with this `_id`. `kind` is the index of the document's kind.
    ///
    /// # Errors
    /// If the temporary file cannot be used.
    pub(crate) fn add(&mut self, kind: u16, target: Id) -> Result<(), SpillError> {
        *self.counts.entry((kind, target)).or_default() += 1;
        if self.counts.len() == COUNTED_MAX { self.flush() } else { Ok(()) }
    }

    /// Sorts the targets.
    ///
    /// # Errors
    /// If the temporary file cannot be used.
    pub(crate) fn settle(mut self) -> Result<Targets, SpillError> {
        self.flush()?;
        Ok(Targets(self.sorter.into_sorted()?))
    }

    /// Moves the counts to the sorter. An entry has the kind in the place of the source, and the number of references
    /// in that of the row.
    fn flush(&mut self) -> Result<(), SpillError> {
        for ((kind, id), count) in self.counts.drain() {
            self.sorter.push(SpilledEntry { id, source: kind.into(), row: count, digest: Digest::default() })?;
        }
        Ok(())
    }
}

/// A target and the number of references to it.
type Counted = (Id, u64);

impl Targets {
    /// Returns true if there are no references.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Passes each target once to `take`: its kind, its `_id` and the number of references to it.
    async fn each(
        &self,
        mut take: impl AsyncFnMut(u16, Counted) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let mut current: Option<(u16, Counted)> = None;
        for entry in self.0.range(Id([0; 16]), None)? {
            let entry = entry?;
            let kind = entry.source as u16;
            match &mut current {
                Some((other, (id, count))) if (*other, *id) == (kind, entry.id) => *count += entry.row,
                _ => {
                    let before = current.replace((kind, (entry.id, entry.row)));
                    if let Some((kind, target)) = before {
                        take(kind, target).await?;
                    }
                }
            }
        }
        match current {
            Some((kind, target)) => take(kind, target).await,
            None => Ok(()),
        }
    }

    /// Asks the server which targets exist. `kinds` has the name and the collection of each kind of document. Returns
    /// the kinds of which targets do not exist.
    ///
    /// # Errors
    /// If a collection or the temporary file cannot be read.
    pub(crate) async fn to_nothing(&self, kinds: &[(String, Scan)]) -> Result<Vec<ToNothing>, VerifyError> {
        let mut waiting: Vec<Vec<Counted>> = kinds.iter().map(|_| Vec::new()).collect();
        let nothing = |(kind, _): &(String, _)| ToNothing { kind: kind.clone(), documents: 0, references: 0 };
        let mut found: Vec<ToNothing> = kinds.iter().map(nothing).collect();
        self.each(async |kind, target| {
            let kind = usize::from(kind);
            waiting[kind].push(target);
            if waiting[kind].len() == ASKED_AT_ONCE {
                found[kind].add(&absent(&kinds[kind].1, &std::mem::take(&mut waiting[kind])).await?);
            }
            Ok(())
        })
        .await?;
        for (kind, targets) in waiting.iter().enumerate().filter(|(_, targets)| !targets.is_empty()) {
            found[kind].add(&absent(&kinds[kind].1, targets).await?);
        }
        found.retain(|kind| kind.documents > 0);
        Ok(found)
    }
}

impl ToNothing {
    fn add(&mut self, absent: &[Counted]) {
        self.documents += absent.len() as u64;
        self.references += absent.iter().map(|(_, count)| count).sum::<u64>();
    }
}

/// Returns the targets that do not exist in the collection.
async fn absent(collection: &Scan, targets: &[Counted]) -> Result<Vec<Counted>, VerifyError> {
    let ids: Vec<Id> = targets.iter().map(|(id, _)| *id).collect();
    let there = collection.ids_among(&ids).await?;
    Ok(targets.iter().filter(|(id, _)| !there.contains(id)).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_counted_once_with_all_its_references() {
        let id = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            Id(id)
        };
        let targets = COUNTED_MAX as u64 + 100;
        let mut references = References::new(0);
        for round in 0..3 {
            for number in (0..targets).filter(|number| number % (round + 1) == 0) {
                references.add((number % 2) as u16, id(number)).expect("in memory");
            }
        }
        references.add(1, id(0)).expect("in memory");
        let settled = references.settle().expect("in memory");
        let mut found = HashMap::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let all = settled.each(async |kind, (id, count)| {
            assert_eq!(found.insert((kind, id), count), None, "a target must be passed on once");
            Ok(())
        });
        runtime.block_on(all).expect("in memory");
        assert_eq!(found.len() as u64, targets + 1);
        assert_eq!(
            [(0, id(0)), (1, id(0)), (1, id(1)), (0, id(2)), (1, id(3))].map(|key| found[&key]),
            [3, 1, 1, 2, 2]
        );
        assert!(References::new(0).settle().expect("in memory").is_empty());
    }
}
