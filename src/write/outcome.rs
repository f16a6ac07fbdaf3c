//! The outcomes of a record, and the rules that decide them.

use super::step::Step;
use crate::encode::Version;
use crate::reject::Reason;
use crate::spec::OnConflict;

/// What happened to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The outcome is not known yet.
    Pending,
    /// The record was inserted, and is durable at a majority of the replica set's members.
    Written,
    /// The same content was already stored, although the `_id` occurs for the first time in this load. Usually an
    /// earlier load stored it.
    Present,
    /// The `_id` occurred earlier in this load, and the same content is stored.
    Duplicate,
    /// The record replaced or changed other content. The `_id` occurs for the first time in this load.
    Replaced,
    /// The record replaced or changed other content. The `_id` occurred earlier in this load.
    ReplacedOwn,
    /// Not written: other content is stored under the same `_id`, and the spec says to keep it. If the newest record
    /// wins, the stored content is newer. `Losers::beside` (in `group`) describes one more case.
    Conflict,
    /// Not written to the collection, but to the reject file.
    Refused(Refusal),
}

/// Why a record is in the reject file instead of the collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Other content is stored under the record's `_id`, and the spec says to reject the record.
    Conflict,
    /// The record was not sent. Another record with the same `_id` was sent in its place, and the server refused the
    /// other record.
    Sibling,
    /// The collection's validator refused the document.
    Validation,
    /// Another document has the same key in a unique index other than the `_id` index.
    UniqueIndex,
    /// The server refused the document for another reason, with this error code.
    Server(i32),
}

impl Refusal {
    /// Returns the reason code and the message for the reject file.
    pub fn explain(self) -> (Reason, String) {
        match self {
            Self::Conflict => {
                (Reason::Conflict, "another record with the same identity is stored with other content".into())
            }
            Self::Sibling => (
                Reason::RefusedByServer,
                "the server refused another record with the same identity, which was sent in place of this one; correct \
                 that one or remove it, then load this row again"
                    .into(),
            ),
            Self::Validation => {
                (Reason::FailedValidation, "the collection's validator refused the document (code 121)".into())
            }
            Self::UniqueIndex => {
                (Reason::RefusedByServer, "another document has the same key in a unique index (code 11000)".into())
            }
            Self::Server(code) => {
                (Reason::RefusedByServer, format!("the server refused the document with code {code}"))
            }
        }
    }
}

/// How a load treats documents that are already stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Writes new records. If other content is stored under a record's `_id`, the spec's `on_conflict` decides.
    #[default]
    Insert,
    /// Writes new records. Replaces a stored document that differs from its record.
    Upsert,
    /// Writes new records. Sets the fields of a changed record in its stored document.
    Merge,
}

impl Mode {
    /// Returns the rule for several records of one load with the same `_id`. In the modes upsert and merge, a later
    /// record replaces an earlier one. In the mode insert, the spec's `on_conflict` decides.
    pub fn rule(self, on_conflict: OnConflict) -> OnConflict {
        if self == Self::Insert { on_conflict } else { OnConflict::KeepLast }
    }
}

/// The settings that decide conflicts.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How the load treats stored documents.
    pub mode: Mode,
    /// The spec's rule for conflicts.
    pub on_conflict: OnConflict,
    /// Whether the collection was empty when the load began.
    pub empty_at_start: bool,
    /// Whether an earlier process began this load. That process may have written records after its last checkpoint.
    pub is_resumed: bool,
}

impl Policy {
    /// Decides what to do if other content is stored under a record's `_id`. If the newest record wins, this function
    /// is called only if the stored content is older than the record. Returns `Ok` with the next command, or `Err` with
    /// the final outcome if nothing is to be written.
    pub(super) fn on_different(self) -> Result<Step, Outcome> {
        match (self.mode, self.on_conflict) {
            (Mode::Upsert, _) | (Mode::Insert, OnConflict::KeepLast) => Ok(Step::Replace),
            (Mode::Merge, _) => Ok(Step::Merge),
            (Mode::Insert, OnConflict::Newest { .. }) => Ok(Step::ReplaceOlder),
            (Mode::Insert, OnConflict::KeepFirst) => Err(Outcome::Conflict),
            (Mode::Insert, OnConflict::Reject) => Err(Outcome::Refused(Refusal::Conflict)),
        }
    }

    /// Returns true if the newer of two records with the same `_id` is stored, in whatever order they are loaded.
    pub fn newest_wins(self) -> bool {
        matches!(self.mode.rule(self.on_conflict), OnConflict::Newest { .. })
    }

    /// Returns true if a record can replace an earlier record of the load.
    pub(super) fn replaces_own(self) -> bool {
        self.newest_wins() || self.mode.rule(self.on_conflict) == OnConflict::KeepLast
    }

    /// Returns true if a later record with the content `later` is stored in place of an earlier record with the same
    /// `_id` and the content `earlier`.
    pub(super) fn replaces(self, earlier: Version, later: Version) -> bool {
        self.replaces_own() && (later > earlier || !self.newest_wins())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_a_reason_and_a_message_of_its_own() {
        let check = |refusal: Refusal, reason: Reason, words: &str| {
            let (found, message) = refusal.explain();
            assert_eq!(found, reason, "{refusal:?}");
            assert!(message.contains(words), "{message}");
        };
        check(Refusal::Conflict, Reason::Conflict, "stored with other content");
        check(Refusal::Sibling, Reason::RefusedByServer, "another record with the same identity");
        check(Refusal::Validation, Reason::FailedValidation, "the collection's validator refused");
        check(Refusal::UniqueIndex, Reason::RefusedByServer, "the same key in a unique index (code 11000)");
        check(Refusal::Server(10334), Reason::RefusedByServer, "refused the document with code 10334");
    }

    #[test]
    fn mode_and_conflict_rule_decide_between_two_records() {
        use OnConflict::{KeepFirst, KeepLast, Newest, Reject};
        const NEWEST: OnConflict = Newest { order_by: 0 };
        let conflict = Outcome::Refused(Refusal::Conflict);
        let version = |digest| Version::from(crate::encode::Digest(digest));
        let table = [
            (Mode::Insert, KeepFirst, Err(Outcome::Conflict), KeepFirst),
            (Mode::Insert, KeepLast, Ok(Step::Replace), KeepLast),
            (Mode::Insert, Reject, Err(conflict), Reject),
            (Mode::Insert, NEWEST, Ok(Step::ReplaceOlder), NEWEST),
            (Mode::Upsert, KeepFirst, Ok(Step::Replace), KeepLast),
            (Mode::Upsert, KeepLast, Ok(Step::Replace), KeepLast),
            (Mode::Upsert, Reject, Ok(Step::Replace), KeepLast),
            (Mode::Merge, KeepFirst, Ok(Step::Merge), KeepLast),
            (Mode::Merge, KeepLast, Ok(Step::Merge), KeepLast),
            (Mode::Merge, Reject, Ok(Step::Merge), KeepLast),
            (Mode::Upsert, NEWEST, Ok(Step::Replace), KeepLast),
            (Mode::Merge, NEWEST, Ok(Step::Merge), KeepLast),
        ];
        for (mode, on_conflict, on_different, rule) in table {
            let policy = Policy { mode, on_conflict, empty_at_start: true, is_resumed: false };
            assert_eq!(policy.on_different(), on_different, "{mode:?} {on_conflict:?}");
            assert_eq!(mode.rule(on_conflict), rule, "{mode:?} {on_conflict:?}");
            let replaces = [(1, 2), (2, 1)].map(|(earlier, later)| policy.replaces(version(earlier), version(later)));
            assert_eq!(replaces, [rule == KeepLast || rule == NEWEST, rule == KeepLast], "{mode:?} {on_conflict:?}");
        }
    }
}
