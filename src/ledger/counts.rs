//! Conservation: every row that was read has exactly one outcome.

use serde::{Deserialize, Serialize};

/// The outcomes of the rows of a load, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Rows read.
    pub read: u64,
    /// Documents written, durable at a majority.
    pub written: u64,
    /// Of the written documents, those that replaced other content with the same `_id`.
    pub replaced: u64,
    /// Records that were already stored with the same content.
    pub already_present: u64,
    /// Records that occurred earlier in the same load.
    pub duplicates: u64,
    /// Rows that cleaning, the spec's conflict rule or the server refused.
    pub rejected: u64,
    /// Of the rejected rows, those that the server refused. The collection does not contain them.
    pub refused_by_server: u64,
    /// Of the rejected rows, those that the conflict rule refused. The collection contains other content under their
    /// `_id`.
    pub refused_for_conflict: u64,
    /// Records left out because other content with the same `_id` was kept.
    pub conflicts: u64,
    /// Records that are stored, but a lost reply or a killed process hides whether this load wrote them.
    pub in_doubt: u64,
    /// Records whose `_id` occurred earlier in the load, but a killed process hides whether they are duplicates or
    /// replaced other content.
    pub repeats_in_doubt: u64,
}

impl Counts {
    /// Returns true if read = written + already present + duplicates + rejected + conflicts.
    pub const fn are_conserved(&self) -> bool {
        self.read == self.accounted()
    }

    /// Returns the number of rows with an outcome.
    pub const fn accounted(&self) -> u64 {
        self.written + self.already_present + self.duplicates + self.rejected + self.conflicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_exactly_one_end() {
        let ends =
            Counts { written: 1, already_present: 2, duplicates: 4, rejected: 8, conflicts: 16, ..Counts::default() };
        for (read, conserved) in [(30, false), (31, true), (32, false)] {
            assert_eq!(Counts { read, ..ends }.are_conserved(), conserved, "{read} rows");
        }
        // These are parts of other counts.
        let parts = Counts { replaced: 1, refused_by_server: 1, refused_for_conflict: 1, in_doubt: 1, ..ends };
        assert!(Counts { read: 31, repeats_in_doubt: 1, ..parts }.are_conserved());
    }
}
