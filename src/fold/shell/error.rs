//! Why messages cannot be folded.

use crate::ledger::{Held, LedgerError};
use crate::server::{Failure, ServerError};
use crate::spill::SpillError;
use crate::verify::ScanError;

/// Why messages cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The spec does not describe HL7 v2 messages that are stored whole.
    #[error(
        "only HL7 v2 messages can be folded: give a spec whose [source] has type = \"hl7\", with a field with whole = true \
         and a [patient] whose identifier is a part of PID, for example --spec hl7v2"
    )]
    Spec,
    /// The fold would choose another identifier for a patient than a load with this spec.
    #[error(
        "messages of this spec cannot be folded, because {0}; change [patient] or its fields in the spec (docs/records.md \
         says what is possible)"
    )]
    Patient(&'static str),
    /// The collection of the messages has the name of a collection of the fold.
    #[error(
        "the messages in {0} cannot be folded, because the fold writes a collection with this name; store the messages in \
         another collection"
    )]
    Name(String),
    /// A collection of the state contains documents that a load wrote.
    #[error(
        "the messages in {messages} cannot be folded, because {collection} has documents of a load, and the fold would mix \
         its own with them; load these messages into another database (--db)"
    )]
    Taken {
        /// Database and collection of the messages.
        messages: String,
        /// The collection of the state.
        collection: &'static str,
    },
    /// A collection of the state contains documents of another program.
    #[error(
        "the messages in {messages} cannot be folded, because {collection} has documents that `medlift fold` did not write, \
         and the fold would mix its own with them; load these messages into another database (--db), or store them without \
         a fold (--no-fold)"
    )]
    Foreign {
        /// Database and collection of the messages.
        messages: String,
        /// The collection of the state.
        collection: &'static str,
    },
    /// Another version of Medlift made the state, by other rules.
    #[error(
        "patients, visits and results in {0} were folded by another version of Medlift, which has other rules; run \
         `medlift fold`, which folds all messages again"
    )]
    OtherVersion(String),
    /// A fold ran while the state was compared.
    #[error(
        "patients, visits and results in {0} were not compared, because another process folded messages meanwhile; run the \
         same command again"
    )]
    Moved(String),
    /// The state in this database is of other messages.
    #[error(
        "the messages in {messages} cannot be folded, because patients, visits and results in this database are folded from \
         the messages in `{other}`; load these messages into `{other}`, or into another database (--db)"
    )]
    OtherMessages {
        /// Database and collection of the messages.
        messages: String,
        /// The collection whose messages are folded in this database.
        other: String,
    },
    /// The `_id`s of the messages were made with another key or from other fields.
    #[error(
        "the _id of the documents in {collection} was made with {stored}; the fold would give every patient a different key; \
         use the spec and the MEDLIFT_IDENTITY_KEY with which the messages were loaded"
    )]
    OtherIdentity {
        /// Database and collection of the messages.
        collection: String,
        /// What the `_id`s were made with, as a part of the message.
        stored: String,
    },
    /// The state was made with another `[patient]` or another time zone.
    #[error(
        "patients, visits and results were folded with another [patient] or time_zone than that of this spec; use the earlier \
         spec, or fold all messages again with `medlift fold --rebuild`"
    )]
    OtherRule,
    /// A document of the state was changed after it was read.
    #[error(
        "documents of {0} were changed while they were folded, probably by another process that folds; run the same command \
         again"
    )]
    Changed(String),
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The messages cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The temporary file cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another process folds the messages.
    #[error(
        "messages in the database {database} are being folded by {held}; wait until it has ended, then run the same command \
         again"
    )]
    Held {
        /// The database.
        database: String,
        /// The lease of the other process.
        held: Box<Held>,
    },
}

impl FoldError {
    /// Returns true if the same command may succeed later, because another process works on the same messages.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Changed(_) | Self::Moved(_) | Self::Ledger(LedgerError::TakenOver))
    }

    /// Returns true if messages of this spec can never be folded.
    pub(crate) const fn is_of_spec(&self) -> bool {
        matches!(self, Self::Spec | Self::Patient(_))
    }

    /// Returns true if the messages cannot be folded in this database, because its collections already have other
    /// documents or another state.
    pub(crate) const fn is_of_place(&self) -> bool {
        matches!(
            self,
            Self::Name(_)
                | Self::Taken { .. }
                | Self::Foreign { .. }
                | Self::OtherMessages { .. }
                | Self::OtherVersion(_)
        )
    }

    /// Returns the failure of the server that caused this error. `None` if the error has another cause.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Server(error) => error.failure(),
            Self::Scan(error) => Some(error.failure()),
            Self::Ledger(LedgerError::Server(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Returns the exit code of an error that is not [passing](Self::is_passing).
    pub(crate) fn exit_code(&self) -> u8 {
        match (self, self.failure()) {
            (Self::Server(error), _) => error.exit_code(),
            (_, Some(failure)) => failure.exit_code(),
            (Self::Spill(_) | Self::Ledger(_), None) => 1,
            _ => 2,
        }
    }

    /// Returns true if a later fold may succeed, because another process folds now, or the server fails for now.
    pub(crate) fn is_temporary(&self) -> bool {
        self.is_passing() || self.failure().is_some_and(Failure::is_retryable)
    }

    /// Returns the exit code of a load that stored its messages but could not fold them: 6 if a later fold may succeed.
    pub(crate) fn exit_code_of_load(&self) -> u8 {
        if self.is_temporary() { 6 } else { self.exit_code() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Unreachable;

    #[test]
    fn a_load_is_repeated_only_if_a_later_fold_can_succeed() {
        let server = |failure| FoldError::Server(ServerError::Command { doing: "write".into(), failure });
        for (error, expected) in [
            (FoldError::Changed("patients".into()), 6),
            (FoldError::Ledger(LedgerError::TakenOver), 6),
            (server(Failure::Unreachable(Unreachable::Lost)), 6),
            (FoldError::Ledger(LedgerError::Server(Failure::Timeout)), 6),
            (server(Failure::NotAuthorized { command: None }), 1),
            (FoldError::Ledger(LedgerError::Unreadable), 1),
            (FoldError::OtherRule, 2),
            (FoldError::OtherMessages { messages: "db.a".into(), other: "b".into() }, 2),
        ] {
            assert_eq!(error.exit_code_of_load(), expected, "{error}");
        }
        let lost = || Failure::Unreachable(Unreachable::Lost);
        let of_ledger = FoldError::Ledger(LedgerError::Server(lost()));
        assert_eq!((server(lost()).exit_code(), of_ledger.exit_code()), (3, 3));
    }
}
