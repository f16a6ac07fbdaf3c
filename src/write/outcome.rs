//! What became of a record, and the rules that decide it.

use super::batch::Step;
use crate::access::codes;
use crate::reject::Reason;
use crate::spec::OnConflict;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not known yet.
    Pending,
    /// Inserted, durable at a majority.
    Written,
    /// Stored before, with the same content.
    Present,
    /// The same record came earlier in this load.
    Duplicate,
    /// Put in place of other content that was stored before this load.
    Replaced,
    /// Put in place of other content that came earlier in this load.
    ReplacedOwn,
    /// Not written: other content under the same identity was kept.
    Conflict,
    /// Not written: it goes to the reject file.
    Refused(Refusal),
}

/// Why the database does not hold a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its identity is taken by other content, and the spec says to reject.
    Conflict,
    /// The server refused the record that was sent for all records of this one's identity.
    Sibling,
    /// The collection's validator.
    Validation,
    /// Another reason, by the server's code.
    Server(i32),
}

impl Refusal {
    pub(super) const fn from_code(code: i32) -> Self {
        if code == codes::DOCUMENT_VALIDATION_FAILURE { Self::Validation } else { Self::Server(code) }
    }

    /// The reason and the message for the reject file.
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
            Self::Server(codes::DUPLICATE_KEY) => {
                (Reason::RefusedByServer, "another document has the same key in a unique index (code 11000)".into())
            }
            Self::Server(code) => {
                (Reason::RefusedByServer, format!("the server refused the document with code {code}"))
            }
        }
    }
}

/// How a load treats what is stored already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Write new records; the spec's rule settles conflicts.
    #[default]
    Insert,
    /// Write new records and put changed ones in place of what is stored.
    Upsert,
    /// Write new records and set the fields of changed ones in what is stored.
    Merge,
}

impl Mode {
    /// The rule among records of one load, where the spec's own is `on_conflict`: where stored content gives way, earlier
    /// records do too.
    pub fn rule(self, on_conflict: OnConflict) -> OnConflict {
        if self == Self::Insert { on_conflict } else { OnConflict::KeepLast }
    }
}

/// What settles a conflict.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How the load treats what is stored.
    pub mode: Mode,
    /// The spec's rule.
    pub on_conflict: OnConflict,
    /// Whether the collection held nothing when the load began.
    pub empty_at_start: bool,
    /// Whether an earlier process began the load: what that process wrote without settling it is stored already.
    pub is_resumed: bool,
}

impl Policy {
    /// What follows when other content is stored under a record's `_id`: a further step, or an outcome.
    pub(super) fn on_different(self) -> Result<Step, Outcome> {
        match (self.mode, self.on_conflict) {
            (Mode::Upsert, _) | (Mode::Insert, OnConflict::KeepLast) => Ok(Step::Replace),
            (Mode::Merge, _) => Ok(Step::Merge),
            (Mode::Insert, OnConflict::KeepFirst) => Err(Outcome::Conflict),
            (Mode::Insert, OnConflict::Reject) => Err(Outcome::Refused(Refusal::Conflict)),
        }
    }

    /// Which of two records of one load with the same identity and other content goes out.
    pub fn later_wins(self) -> bool {
        self.mode.rule(self.on_conflict) == OnConflict::KeepLast
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
        check(Refusal::from_code(121), Reason::FailedValidation, "the collection's validator refused");
        check(Refusal::from_code(11000), Reason::RefusedByServer, "the same key in a unique index (code 11000)");
        check(Refusal::from_code(10334), Reason::RefusedByServer, "refused the document with code 10334");
    }

    #[test]
    fn mode_and_rule_decide_between_two_records() {
        use OnConflict::{KeepFirst, KeepLast, Reject};
        let conflict = Outcome::Refused(Refusal::Conflict);
        let table = [
            (Mode::Insert, KeepFirst, Err(Outcome::Conflict), KeepFirst),
            (Mode::Insert, KeepLast, Ok(Step::Replace), KeepLast),
            (Mode::Insert, Reject, Err(conflict), Reject),
            (Mode::Upsert, KeepFirst, Ok(Step::Replace), KeepLast),
            (Mode::Upsert, KeepLast, Ok(Step::Replace), KeepLast),
            (Mode::Upsert, Reject, Ok(Step::Replace), KeepLast),
            (Mode::Merge, KeepFirst, Ok(Step::Merge), KeepLast),
            (Mode::Merge, KeepLast, Ok(Step::Merge), KeepLast),
            (Mode::Merge, Reject, Ok(Step::Merge), KeepLast),
        ];
        for (mode, on_conflict, on_different, rule) in table {
            let policy = Policy { mode, on_conflict, empty_at_start: true, is_resumed: false };
            assert_eq!(policy.on_different(), on_different, "{mode:?} {on_conflict:?}");
            assert_eq!(mode.rule(on_conflict), rule, "{mode:?} {on_conflict:?}");
            assert_eq!(policy.later_wins(), rule == KeepLast, "{mode:?} {on_conflict:?}");
        }
    }
}
