//! The documents that a collection must contain according to its sources: one for each `_id`, after duplicates and
//! conflicts are resolved.

use crate::encode::{Digest, Id, Rank, Version};
use crate::spec::OnConflict;
use crate::spill::{Merge, Sorted, Sorter, SpillError, SpilledEntry};

/// Maximum number of rows that are stored for one document, for the report of differences. Further rows with the same
/// content are only counted.
pub(crate) const ROWS_LISTED_MAX: usize = 10;

/// Collects the records of the sources while they are read again.
#[derive(Debug)]
pub struct Expectation {
    records: Sorter,
    /// The same records, but with the rank of each record (its value in the order field) in the place of the digest.
    /// Both sorters give the records in the same order. `None` if no rank is needed.
    ranks: Option<Sorter>,
}

impl Expectation {
    /// Makes an empty list. Its memory has about `bytes_max` bytes, but space for at least 1,000 records. Each time
    /// the memory is full, its records are written to a temporary file, 44 bytes for each record.
    pub fn new(bytes_max: usize) -> Self {
        Self { records: Sorter::new(bytes_max), ranks: None }
    }

    /// Makes the list keep the ranks of the records, which need as much memory again. They are needed if the newest
    /// record with an `_id` is expected.
    #[must_use]
    pub fn with_ranks(self, bytes_max: usize) -> Self {
        Self { ranks: Some(Sorter::new(bytes_max)), ..self }
    }

    /// Adds a record. `version` is the content of its document, without `_id` and lineage. `source` is the index of its
    /// source. `row` is its row number in the source, from 1. Records may be added in any order.
    pub fn push(&mut self, id: Id, version: impl Into<Version>, source: u32, row: u64) -> Result<(), SpillError> {
        let Version { rank, digest } = version.into();
        if let Some(ranks) = &mut self.ranks {
            ranks.push(SpilledEntry { id, source, row, digest: Digest(rank.to_number()) })?;
        }
        self.records.push(SpilledEntry { id, source, row, digest })
    }

    /// Sorts the records and resolves conflicts. If several records have one `_id` and different content, `on_conflict`
    /// decides whether the first, the last or the newest one is expected. First and last refer to the order of sources
    /// and rows.
    pub fn settle(self, on_conflict: OnConflict) -> Result<Expected, SpillError> {
        let ranks = self.ranks.map(Sorter::into_sorted).transpose()?;
        Ok(Expected { records: self.records.into_sorted()?, ranks, on_conflict })
    }
}

/// The expected documents, in `_id` order.
#[derive(Debug, Clone)]
pub struct Expected {
    records: Sorted,
    ranks: Option<Sorted>,
    on_conflict: OnConflict,
}

impl Expected {
    /// Returns the number of records that were added, including duplicates and conflicts.
    pub fn records(&self) -> u64 {
        self.records.len()
    }

    /// Returns the expected documents with `from <= _id` and, if `to` is given, `_id < to`.
    pub fn range(&self, from: Id, to: Option<Id>) -> Result<ExpectedRange, SpillError> {
        let entries = self.records.range(from, to)?;
        let ranks = self.ranks.as_ref().map(|ranks| ranks.range(from, to)).transpose()?;
        let mut range = ExpectedRange { entries, ranks, next: None, on_conflict: self.on_conflict };
        range.next = range.read()?;
        Ok(range)
    }

    /// Returns true if the newest record is the one to store. A stored document that is newer than the expected one
    /// can then be right.
    pub(super) fn newest_wins(&self) -> bool {
        matches!(self.on_conflict, OnConflict::Newest { .. })
    }
}

/// A document that the collection must contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedDocument {
    /// The document's `_id`.
    pub id: Id,
    /// The content of the document.
    pub version: Version,
    /// Source and row of at most [`ROWS_LISTED_MAX`] records with this content. If `on_conflict` is `KeepLast` or
    /// `Newest`, the list starts again at each change of content. Example for `KeepLast`: of the contents A, B, A, only
    /// the third row is listed.
    pub rows: Vec<(u32, u64)>,
    /// Number of duplicates. Each record is compared with the content that is expected so far. Example: of the contents
    /// A, A, B, the second A is a duplicate, and B is a conflict.
    pub duplicates: u64,
    /// Number of conflicts: records that differ from the content that is expected so far.
    pub conflicts: u64,
}

/// The expected documents in a range of `_id`s.
#[derive(Debug)]
pub struct ExpectedRange {
    entries: Merge,
    ranks: Option<Merge>,
    next: Option<(SpilledEntry, Rank)>,
    on_conflict: OnConflict,
}

impl ExpectedRange {
    fn read(&mut self) -> Result<Option<(SpilledEntry, Rank)>, SpillError> {
        let rank = self.ranks.as_mut().and_then(Iterator::next).transpose()?;
        let rank = rank.map(|entry| Rank::from_number(entry.digest.0)).unwrap_or_default();
        Ok(self.entries.next().transpose()?.map(|entry| (entry, rank)))
    }
}

impl Iterator for ExpectedRange {
    type Item = Result<ExpectedDocument, SpillError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (first, rank) = self.next.take()?;
        let mut document = ExpectedDocument::new(first, rank);
        loop {
            match self.read() {
                Err(error) => return Some(Err(error)),
                Ok(Some((entry, rank))) if entry.id == first.id => document.settle(entry, rank, self.on_conflict),
                Ok(next) => {
                    self.next = next;
                    return Some(Ok(document));
                }
            }
        }
    }
}

impl ExpectedDocument {
    fn new(entry: SpilledEntry, rank: Rank) -> Self {
        let version = Version { rank, digest: entry.digest };
        Self { id: entry.id, version, rows: vec![(entry.source, entry.row)], duplicates: 0, conflicts: 0 }
    }

    /// Adds a record with the same `_id` from a later row.
    fn settle(&mut self, entry: SpilledEntry, rank: Rank, on_conflict: OnConflict) {
        let version = Version { rank, digest: entry.digest };
        if entry.digest == self.version.digest {
            self.duplicates += 1;
        } else {
            self.conflicts += 1;
            let replaces = match on_conflict {
                OnConflict::KeepLast => true,
                OnConflict::Newest { .. } => version > self.version,
                OnConflict::KeepFirst | OnConflict::Reject => false,
            };
            if !replaces {
                return;
            }
            self.version = version;
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

    /// Checks the document that results from records with one `_id`. Each record is given as (digest, row).
    #[track_caller]
    fn check(records: &[(u128, u64)], on_conflict: OnConflict, digest: u128, rows: &[u64], counts: (u64, u64)) {
        let mut expectation = Expectation::new(0);
        // Add the records in reverse order, because the order must not matter.
        for &(digest, row) in records.iter().rev() {
            expectation.push(Id([7; 16]), Digest(digest), 0, row).expect("in memory");
        }
        let expected = expectation.settle(on_conflict).expect("in memory");
        let documents: Vec<_> = expected.range(Id([0; 16]), None).expect("in memory").map(Result::unwrap).collect();
        let rows = rows.iter().map(|&row| (0, row)).collect();
        let document = ExpectedDocument {
            id: Id([7; 16]),
            version: Digest(digest).into(),
            rows,
            duplicates: counts.0,
            conflicts: counts.1,
        };
        assert_eq!(documents, [document]);
        assert_eq!(expected.records(), records.len() as u64);
    }

    #[test]
    fn records_with_one_id_give_one_document() {
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
    fn the_newest_record_is_expected_in_any_order_of_the_rows() {
        let settled = |records: &[(u128, u128)]| {
            let mut expectation = Expectation::new(0).with_ranks(0);
            for (&(rank, digest), row) in records.iter().zip(1_u64..) {
                let version = Version { rank: Rank::from_number(rank), digest: Digest(digest) };
                expectation.push(Id([7; 16]), version, 0, row).expect("in memory");
            }
            let expected = expectation.settle(OnConflict::Newest { order_by: 0 }).expect("in memory");
            let document = expected.range(Id([0; 16]), None).expect("in memory").next().expect("one").unwrap();
            let rows: Vec<u64> = document.rows.iter().map(|(_, row)| *row).collect();
            (document.version.digest.0, rows, document.duplicates, document.conflicts)
        };
        assert_eq!(settled(&[(1, 9), (2, 5), (1, 9)]), (5, vec![2], 0, 2));
        assert_eq!(settled(&[(2, 5), (1, 9), (2, 5)]), (5, vec![1, 3], 1, 1));
        assert_eq!(settled(&[(1, 9), (1, 9), (2, 5)]), (5, vec![3], 1, 1));
        assert_eq!(settled(&[(2, 5), (2, 6)]), (6, vec![2], 0, 1), "the greater digest decides");
        assert_eq!(settled(&[(2, 6), (2, 5)]), (6, vec![1], 0, 1), "the greater digest decides");
    }

    #[test]
    fn at_most_ten_rows_of_a_document_are_listed() {
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
            (document.version.digest.0, document.rows, document.duplicates, document.conflicts)
        };
        assert_eq!(settled(OnConflict::KeepFirst), (1, vec![(0, 8)], 0, 4));
        assert_eq!(settled(OnConflict::Reject), (1, vec![(0, 8)], 0, 4));
        assert_eq!(settled(OnConflict::KeepLast), (4, vec![(2, 1)], 1, 3));
    }

    #[test]
    fn a_range_contains_its_first_id_but_not_its_end() {
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
