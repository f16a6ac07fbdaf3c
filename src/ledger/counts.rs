//! Counts the outcomes of the rows of a load. If the rows give several kinds of documents, each kind has its own
//! counts. In the counts of one kind, every row that was read has exactly one outcome.

use serde::{Deserialize, Serialize};

/// The number of rows of a load with each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Rows that were read.
    pub read: u64,
    /// Documents that were written and are durable at a majority. Still counted if a later record of this load replaced
    /// them.
    pub written: u64,
    /// Written documents that replaced or changed a stored document of another load or program. Part of `written`.
    pub replaced: u64,
    /// Records whose content was already stored before this load. For some of these records, this may be uncertain: see
    /// `in_doubt`.
    pub already_present: u64,
    /// Records whose `_id` occurred earlier in this load, and whose content was already stored.
    pub duplicates: u64,
    /// Rows that were refused by cleaning, by the spec's conflict rule or by the server.
    pub rejected: u64,
    /// Rows whose document the server refused. Also rows for which another document with the same `_id` was sent and
    /// refused. Part of `rejected`.
    pub refused_by_server: u64,
    /// Rows that the spec's conflict rule refused; the collection contains other content under their `_id`s. Part of
    /// `rejected`.
    pub refused_for_conflict: u64,
    /// FHIR resources that were refused before it was known to which kind of document they belong. The first kind
    /// counts them. Part of `rejected`.
    #[serde(skip_serializing_if = "is_zero")]
    pub of_no_kind: u64,
    /// Records whose `_id` already had other content. Either the other content was kept, or the record replaced an
    /// earlier record of this load. The spec and the mode of the load decide which. Records in `written` or `rejected`
    /// are not counted here.
    pub conflicts: u64,
    /// Records that are stored, but it is not known whether this load wrote them. They occur after a lost reply or a
    /// rollback, or in a resumed load.
    pub in_doubt: u64,
    /// Records whose `_id` occurred earlier in the load. It is not known whether they are duplicates or replaced other
    /// content. They occur only in a resumed load.
    pub repeats_in_doubt: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Counts {
    /// Returns true if `read` = `written` + `already_present` + `duplicates` + `rejected` + `conflicts`.
    pub const fn are_conserved(&self) -> bool {
        self.read == self.accounted()
    }

    /// Adds the counts of `other` to these counts.
    pub const fn add(&mut self, other: &Self) {
        self.read += other.read;
        self.written += other.written;
        self.replaced += other.replaced;
        self.already_present += other.already_present;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
        self.refused_by_server += other.refused_by_server;
        self.refused_for_conflict += other.refused_for_conflict;
        self.of_no_kind += other.of_no_kind;
        self.conflicts += other.conflicts;
        self.in_doubt += other.in_doubt;
        self.repeats_in_doubt += other.repeats_in_doubt;
    }

    /// Returns the number of rows that have an outcome.
    pub const fn accounted(&self) -> u64 {
        self.written + self.already_present + self.duplicates + self.rejected + self.conflicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_exactly_one_outcome() {
        let ends =
            Counts { written: 1, already_present: 2, duplicates: 4, rejected: 8, conflicts: 16, ..Counts::default() };
        for (read, conserved) in [(30, false), (31, true), (32, false)] {
            assert_eq!(Counts { read, ..ends }.are_conserved(), conserved, "{read} rows");
        }
        // The following counts are parts of other counts, so they do not change the sum.
        let parts = Counts { replaced: 1, refused_by_server: 1, refused_for_conflict: 1, in_doubt: 1, ..ends };
        assert!(Counts { read: 31, repeats_in_doubt: 1, ..parts }.are_conserved());
    }
}
