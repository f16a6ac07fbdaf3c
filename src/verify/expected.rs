//! The documents that a collection must contain according to its source: one for each `_id`, with duplicates and
//! conflicts resolved.

use crate::encode::{Digest, Id};
use crate::spec::OnConflict;
use crate::spill::{Merge, Sorted, Sorter, SpillError, SpilledEntry};

/// Most rows that are remembered for one document. Further copies are only counted.
pub(crate) const ROWS_LISTED_MAX: usize = 10;

/// Collects the records of a source while it is read again.
#[derive(Debug)]
pub struct Expectation(Sorter);

impl Expectation {
    /// Keeps `bytes_max` bytes in memory, and the rest in a temporary file with 44 bytes for each record.
    pub fn new(bytes_max: usize) -> Self {
        Self(Sorter::new(bytes_max))
    }

    /// Adds a record: its `_id`, the digest of its body, the index of its source and its row number there, from 1.
    /// Records may be added in any order.
    pub fn push(&mut self, id: Id, digest: Digest, source: u32, row: u64) -> Result<(), SpillError> {
        self.0.push(SpilledEntry { id, source, row, digest })
    }

    /// Ends the source. If records share an `_id` but differ, the first or the last one in the order of sources and
    /// rows is expected, depending on `on_conflict`.
    pub fn settle(self, on_conflict: OnConflict) -> Result<Expected, SpillError> {
        Ok(Expected { records: self.0.into_sorted()?, on_conflict })
    }
}

/// The expected documents, in `_id` order.
#[derive(Debug, Clone)]
pub struct Expected {
    records: Sorted,
    on_conflict: OnConflict,
}

impl Expected {
    /// Number of records that were added, including duplicates and conflicts.
    pub fn records(&self) -> u64 {
        self.records.len()
    }

    /// The documents with `from <= _id` and, if `to` is given, `_id < to`.
    pub fn range(&self, from: Id, to: Option<Id>) -> Result<ExpectedRange, SpillError> {
        let mut entries = self.records.range(from, to)?;
        let next = entries.next().transpose()?;
        Ok(ExpectedRange { entries, next, on_conflict: self.on_conflict })
    }
}

/// One document that the source requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedDocument {
    /// Its `_id`.
    pub id: Id,
    /// The digest of its body.
    pub digest: Digest,
    /// Source and row of the records with this content, at most [`ROWS_LISTED_MAX`] of them.
    pub rows: Vec<(u32, u64)>,
    /// Further records with the same content.
    pub duplicates: u64,
    /// Records with the same `_id` and other content, which the conflict rule excluded.
    pub conflicts: u64,
}

/// Expected documents of a range of `_id`s.
#[derive(Debug)]
pub struct ExpectedRange {
    entries: Merge,
    next: Option<SpilledEntry>,
    on_conflict: OnConflict,
}

impl Iterator for ExpectedRange {
    type Item = Result<ExpectedDocument, SpillError>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next.take()?;
        let mut document = ExpectedDocument::new(first);
        loop {
            match self.entries.next().transpose() {
                Err(error) => return Some(Err(error)),
                Ok(Some(entry)) if entry.id == first.id => document.settle(entry, self.on_conflict),
                Ok(next) => {
                    self.next = next;
                    return Some(Ok(document));
                }
            }
        }
    }
}

impl ExpectedDocument {
    fn new(entry: SpilledEntry) -> Self {
        Self { id: entry.id, digest: entry.digest, rows: vec![(entry.source, entry.row)], duplicates: 0, conflicts: 0 }
    }

    /// Adds a later record with the same `_id`.
    fn settle(&mut self, entry: SpilledEntry, on_conflict: OnConflict) {
        if entry.digest == self.digest {
            self.duplicates += 1;
        } else {
            self.conflicts += 1;
            if on_conflict != OnConflict::KeepLast {
                return;
            }
            self.digest = entry.digest;
            self.rows.clear();
        }
        if self.rows.len() < ROWS_LISTED_MAX {
            self.rows.push((entry.source, entry.row));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that these records of one `_id`, each given as (digest, row), result in one document.
    #[track_caller]
    fn check(records: &[(u128, u64)], on_conflict: OnConflict, digest: u128, rows: &[u64], counts: (u64, u64)) {
        let mut expectation = Expectation::new(0);
        // Pushed in reverse order, because the order of arrival must not matter.
        for &(digest, row) in records.iter().rev() {
            expectation.push(Id([7; 16]), Digest(digest), 0, row).expect("in memory");
        }
        let expected = expectation.settle(on_conflict).expect("in memory");
        let documents: Vec<_> = expected.range(Id([0; 16]), None).expect("in memory").map(Result::unwrap).collect();
        let rows = rows.iter().map(|&row| (0, row)).collect();
        let document = ExpectedDocument {
            id: Id([7; 16]),
            digest: Digest(digest),
            rows,
            duplicates: counts.0,
            conflicts: counts.1,
        };
        assert_eq!(documents, [document]);
        assert_eq!(expected.records(), records.len() as u64);
    }

    #[test]
    fn records_of_one_id_settle_to_one_document() {
        use OnConflict::{KeepFirst, KeepLast, Reject};
        for rule in [KeepFirst, KeepLast, Reject] {
            check(&[(1, 4)], rule, 1, &[4], (0, 0));
            check(&[(1, 4), (1, 9)], rule, 1, &[4, 9], (1, 0));
        }
        for rule in [KeepFirst, Reject] {
            check(&[(1, 1), (2, 2), (1, 3)], rule, 1, &[1, 3], (1, 1));
        }
        check(&[(1, 1), (2, 2)], KeepLast, 2, &[2], (0, 1));
        check(&[(1, 1), (2, 2), (1, 3), (1, 4)], KeepLast, 1, &[3, 4], (1, 2));
    }

    #[test]
    fn rows_of_a_document_are_listed_up_to_a_bound() {
        let copies: Vec<_> = (1..=5000).map(|row| (1, row)).collect();
        check(&copies, OnConflict::KeepFirst, 1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], (4999, 0));
    }

    #[test]
    fn the_first_and_the_last_record_follow_the_order_of_sources_then_rows() {
        let settled = |rule: OnConflict| {
            let mut expectation = Expectation::new(0);
            for (digest, source, row) in [(3, 1, 1), (1, 0, 8), (2, 0, 9), (4, 2, 1), (3, 1, 2)] {
                expectation.push(Id([7; 16]), Digest(digest), source, row).expect("in memory");
            }
            let expected = expectation.settle(rule).expect("in memory");
            let document =
                expected.range(Id([0; 16]), None).expect("in memory").next().expect("one").expect("in memory");
            (document.digest.0, document.rows, document.duplicates, document.conflicts)
        };
        assert_eq!(settled(OnConflict::KeepFirst), (1, vec![(0, 8)], 0, 4));
        assert_eq!(settled(OnConflict::Reject), (1, vec![(0, 8)], 0, 4));
        assert_eq!(settled(OnConflict::KeepLast), (4, vec![(2, 1)], 1, 3));
    }

    #[test]
    fn a_range_has_its_first_id_and_not_its_end() {
        let mut expectation = Expectation::new(0);
        for byte in 1..=5 {
            expectation.push(Id([byte; 16]), Digest(1), 0, u64::from(byte)).expect("in memory");
        }
        let expected = expectation.settle(OnConflict::KeepFirst).expect("in memory");
        let ids = |from: u8, to: Option<u8>| -> Vec<u8> {
            let range = expected.range(Id([from; 16]), to.map(|to| Id([to; 16]))).expect("in memory");
            range.map(|document| document.expect("in memory").id.0[0]).collect()
        };
        assert_eq!((ids(2, Some(4)), ids(4, None), ids(0, Some(1))), (vec![2, 3], vec![4, 5], vec![]));
    }
}
