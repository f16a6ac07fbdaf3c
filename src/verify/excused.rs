//! The records that the verification of a load excuses: these records may be missing or different. The ledger lists
//! their `_id`s, because the server refused them, or because other content was kept under their `_id`s. The list is in
//! memory, or in a temporary file if it is long.

use super::report::Kind;
use crate::encode::{Digest, Id};
use crate::ledger::Exceptions;
use crate::spill::{Merge, Sorted, Sorter, SpillError, SpilledEntry};

/// Value of [`SpilledEntry::source`] for a record that the server refused. An excused record needs no index of a
/// source. So the field contains the reason instead: `REFUSED` or [`KEPT_OUT`].
const REFUSED: u32 = 0;
/// Value of [`SpilledEntry::source`] for a record that was not written because other content has its `_id`.
const KEPT_OUT: u32 = 1;

/// Collects the excused records of a load, to sort them.
#[derive(Debug)]
pub(crate) struct Excuses(Sorter);

/// The excused records of a load, in `_id` order.
#[derive(Debug, Clone)]
pub struct Excused(Sorted);

/// The excused records in a range of `_id`s. Must be queried in ascending `_id` order.
#[derive(Debug)]
pub(super) struct ExcusedRange {
    entries: Merge,
    next: Option<SpilledEntry>,
}

impl Excuses {
    /// Makes an empty list. Its memory has about `bytes_max` bytes, but space for at least 1,000 records. Each time
    /// the memory is full, its records are written to a temporary file, 44 bytes for each record.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(Sorter::new(bytes_max))
    }

    /// Adds excused records.
    ///
    /// # Errors
    /// If the temporary file cannot be used.
    pub(crate) fn add(&mut self, exceptions: &Exceptions) -> Result<(), SpillError> {
        for (ids, source) in [(&exceptions.refused, REFUSED), (&exceptions.kept_out, KEPT_OUT)] {
            for &id in ids {
                self.0.push(SpilledEntry { id, source, row: 0, digest: Digest::default() })?;
            }
        }
        Ok(())
    }

    /// Sorts the excused records.
    ///
    /// # Errors
    /// If the temporary file cannot be used.
    pub(crate) fn settle(self) -> Result<Excused, SpillError> {
        Ok(Excused(self.0.into_sorted()?))
    }
}

impl Excused {
    /// Returns the excused records with `from <= _id` and, if `to` is given, `_id < to`.
    pub(super) fn range(&self, from: Id, to: Option<Id>) -> Result<ExcusedRange, SpillError> {
        let mut entries = self.0.range(from, to)?;
        let next = entries.next().transpose()?;
        Ok(ExcusedRange { entries, next })
    }
}

impl ExcusedRange {
    /// Returns true if a difference of this kind is excused for the record with this `_id`. A record that the server
    /// refused may be missing or different. A record that was not written because other content has its `_id` may be
    /// different, but not missing. Each call must have a greater `_id` than the call before.
    pub(super) fn excuses(&mut self, id: Id, kind: Kind) -> Result<bool, SpillError> {
        let mut is_excused = false;
        while let Some(entry) = self.next.filter(|entry| entry.id <= id) {
            is_excused |= entry.id == id && (kind == Kind::Different || entry.source == REFUSED);
            self.next = self.entries.next().transpose()?;
        }
        Ok(is_excused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_records_are_excused_and_only_for_their_kind() {
        let id = |byte| Id([byte; 16]);
        let mut list = Excuses::new(0);
        list.add(&Exceptions { refused: vec![id(9), id(2)], kept_out: vec![id(4)] }).unwrap();
        list.add(&Exceptions { refused: vec![id(4)], kept_out: vec![id(6), id(6)] }).unwrap();
        let excused = list.settle().unwrap();
        let check = |kind, expected: [bool; 6]| {
            let mut range = excused.range(id(1), Some(id(9))).unwrap();
            assert_eq!([1, 2, 3, 4, 6, 8].map(|byte| range.excuses(id(byte), kind).unwrap()), expected);
        };
        check(Kind::Missing, [false, true, false, true, false, false]);
        check(Kind::Different, [false, true, false, true, true, false]);
        let mut whole = excused.range(id(0), None).unwrap();
        assert!(whole.excuses(id(9), Kind::Missing).unwrap());
    }
}
