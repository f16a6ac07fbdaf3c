//! Finds references to documents that do not exist. A document refers to another document by its `_id`. The collection
//! of that other document may not contain it.

use std::collections::HashMap;

use serde::Serialize;

use super::VerifyError;
use super::scan::Scan;
use crate::encode::{Digest, Id};
use crate::spill::{Sorted, Sorter, SpillError, SpilledEntry};

/// Largest number of documents whose references are counted in memory before they are sorted. Most references are to
/// few documents, for example to patients.
const COUNTED_MAX: usize = 1 << 15;

/// Number of `_id`s in one query.
const ASKED_AT_ONCE: usize = 5_000;

/// Collects references to the documents of one kind, in bounded memory.
#[derive(Debug)]
pub(crate) struct References {
    /// The number of references to each `_id`.
    counts: HashMap<Id, u64>,
    sorter: Sorter,
}

/// All references to the documents of one kind, sorted. An `_id` is listed once or several times, each time with a
/// number of references.
#[derive(Debug, Clone)]
pub(crate) struct Referenced(Sorted);

/// References to documents that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ToNothing {
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

    /// Adds a reference to the document with this `_id`.
    ///
    /// # Errors
    /// If the temporary file cannot be used.
    pub(crate) fn add(&mut self, target: Id) -> Result<(), SpillError> {
        *self.counts.entry(target).or_default() += 1;
        if self.counts.len() == COUNTED_MAX { self.flush() } else { Ok(()) }
    }

    /// Sorts the references.
    ///
    /// # Errors
    /// If the temporary file cannot be used.
    pub(crate) fn settle(mut self) -> Result<Referenced, SpillError> {
        self.flush()?;
        Ok(Referenced(self.sorter.into_sorted()?))
    }

    /// Moves the counts to the sorter. An entry has the number of references in the place of the row number.
    fn flush(&mut self) -> Result<(), SpillError> {
        for (id, count) in self.counts.drain() {
            self.sorter.push(SpilledEntry { id, source: 0, row: count, digest: Digest::default() })?;
        }
        Ok(())
    }
}

impl Referenced {
    /// Returns the references to documents that the collection does not contain.
    ///
    /// # Errors
    /// If the collection or the temporary file cannot be read.
    pub(crate) async fn to_nothing(&self, collection: &Scan) -> Result<ToNothing, VerifyError> {
        let mut found = ToNothing::default();
        let mut targets = self.targets()?.peekable();
        while targets.peek().is_some() {
            let asked: Vec<(Id, u64)> = targets.by_ref().take(ASKED_AT_ONCE).collect::<Result<_, _>>()?;
            let ids: Vec<Id> = asked.iter().map(|(id, _)| *id).collect();
            let there = collection.ids_among(&ids).await?;
            for (_, count) in asked.iter().filter(|(id, _)| !there.contains(id)) {
                found.documents += 1;
                found.references += count;
            }
        }
        Ok(found)
    }

    /// Returns each `_id` once, with the number of references to it.
    fn targets(&self) -> Result<impl Iterator<Item = Result<(Id, u64), SpillError>>, SpillError> {
        let mut entries = self.0.range(Id([0; 16]), None)?.peekable();
        Ok(std::iter::from_fn(move || {
            let first = match entries.next()? {
                Ok(first) => first,
                Err(error) => return Some(Err(error)),
            };
            let mut count = first.row;
            while let Some(Ok(again)) = entries.next_if(|entry| entry.as_ref().is_ok_and(|entry| entry.id == first.id))
            {
                count += again.row;
            }
            Some(Ok((first.id, count)))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_document_is_listed_once_with_all_references_to_it() {
        let id = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            Id(id)
        };
        let documents = COUNTED_MAX as u64 + 100;
        let mut references = References::new(0);
        for step in 1..=3 {
            for number in (0..documents).filter(|number| number % step == 0) {
                references.add(id(number)).expect("in a temporary file");
            }
        }
        let settled = references.settle().expect("in a temporary file");
        let found: Vec<_> = settled.targets().expect("readable").map(Result::unwrap).collect();
        assert!(found.is_sorted_by_key(|(id, _)| *id));
        assert_eq!(found.len() as u64, documents);
        let found: HashMap<Id, u64> = found.into_iter().collect();
        assert_eq!([0, 1, 2, 3, 6, documents - 1].map(|number| found[&id(number)]), [3, 1, 2, 2, 3, 1]);
        assert_eq!(References::new(0).settle().expect("in memory").targets().expect("readable").count(), 0);
    }
}
