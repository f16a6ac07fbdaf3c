//! The result of comparing the stored documents with those that the messages say.

use crate::encode::Id;
use crate::fold::Kind;

/// At most this number of differences are listed.
const DIFFERENCES_MAX: usize = 1_000;

/// The result of folding all messages again and comparing the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The counts of `patients`, `visits` and `results`.
    pub counts: [StateCounts; 3],
    /// The first differences.
    pub differences: Vec<StateDifference>,
    /// Stored messages that are not folded yet. The documents can differ because of them.
    pub not_folded: u64,
    /// The documents in `different` that name no message. Another program wrote them.
    pub(super) foreign: u64,
}

/// The counts of the documents of one collection of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    /// Documents that are as the messages say.
    pub equal: u64,
    /// Documents that follow from the messages, but are not stored.
    pub missing: u64,
    /// Documents that follow from no message.
    pub extra: u64,
    /// Documents with another content.
    pub different: u64,
}

/// A document of the state that is not as the messages say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDifference {
    /// The collection.
    pub collection: &'static str,
    /// The `_id`.
    pub id: Id,
    /// `missing`, `extra` or `different`.
    pub what: &'static str,
}

impl Checked {
    pub(super) fn note(&mut self, kind: Kind, id: Id, what: &'static str) {
        let counts = &mut self.counts[kind as usize];
        match what {
            "missing" => counts.missing += 1,
            "extra" => counts.extra += 1,
            _ => counts.different += 1,
        }
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(StateDifference { collection: kind.collection(), id, what });
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        for (counts, more) in self.counts.iter_mut().zip(other.counts) {
            counts.equal += more.equal;
            counts.missing += more.missing;
            counts.extra += more.extra;
            counts.different += more.different;
        }
        self.foreign += other.foreign;
        let room = DIFFERENCES_MAX - self.differences.len();
        self.differences.extend(other.differences.into_iter().take(room));
    }

    /// Returns the number of documents that are missing or have another content.
    pub(super) fn wrong(&self) -> u64 {
        self.counts.iter().map(|counts| counts.missing + counts.different).sum()
    }

    /// Returns the number of documents that follow from no message.
    pub(super) fn extra(&self) -> u64 {
        self.counts.iter().map(|counts| counts.extra).sum()
    }

    /// Returns true if all documents are as the messages say.
    pub fn is_clean(&self) -> bool {
        self.wrong() == 0 && self.extra() == 0
    }
}
