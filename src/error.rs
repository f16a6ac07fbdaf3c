//! The error that stops a command. Its variants are the causes from all modules, with their messages and exit codes.

use crate::deployment::DeploymentError;
use crate::export::ExportError;
use crate::fold::shell::FoldError;
use crate::ledger::{CollectionIdentity, Held, LedgerError};
use crate::parse::LayoutError;
use crate::patient::SearchError;
use crate::read::ReadError;
use crate::s3::Problem;
use crate::server::{Failure, ServerError, Target};
use crate::spec::SpecError;
use crate::verify::VerifyError;
use crate::wording::{counted, file_problem};
use crate::write::WriteError;

/// Why a command stopped. A message says what failed and, if the user can do something about it, what to do next. No
/// message contains a patient's value.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spec cannot be used.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A source cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A source is empty, or its format, columns or dates are unclear or do not fit the spec.
    #[error("{source_name}: {problem}")]
    Layout {
        /// The source.
        source_name: String,
        /// The mismatch.
        problem: LayoutError,
    },
    /// The server cannot be used, for example because a setting is wrong or the connection fails.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The users, an index or the validator of the database cannot be set up or used.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// Documents cannot be written to the collection, or the writer's temporary file cannot be used.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The documents of a patient cannot be found.
    #[error(transparent)]
    Patient(#[from] SearchError),
    /// The ledger cannot be read or written.
    #[error("cannot {doing} the ledger `medlift_runs`: {failure}")]
    Ledger {
        /// `read` or `write`.
        doing: &'static str,
        /// The server's error.
        failure: Failure,
    },
    /// Another process is loading the same sources into the same collection.
    #[error(
        "these sources are being loaded into the collection by {0}; wait until that load has ended, then run the same command again"
    )]
    Held(Box<Held>),
    /// The collection cannot be dropped, because another process is loading into it.
    #[error(
        "the collection is not dropped while it is being loaded by {0}; wait until that load has ended, then run the same command again"
    )]
    Busy(Box<Held>),
    /// The collection was empty at the beginning of the load, but is not empty any more.
    #[error("another load has begun to fill the collection; run the same command again")]
    NoLongerEmpty,
    /// The lease expired because this process did not renew it in time, and another process has taken over the load.
    #[error(
        "another process has taken this load over, because this process did not report within --lease-seconds that it is \
         alive; nothing is lost, and the other process continues the load"
    )]
    TakenOver,
    /// The `_id`s in the collection were made from other identity fields or with another key than this command uses.
    #[error(
        "the _id of the documents in {collection} was made with {stored}; this command would give every record a different _id; \
         use the spec and the MEDLIFT_IDENTITY_KEY of the earlier loads, name another collection, or load with --drop"
    )]
    OtherIdentity {
        /// Database and collection, as `database.collection`.
        collection: String,
        /// How the stored `_id`s were made, as a part of the message. For example, if they were also made from the
        /// field `Name`: "the identity field `Name` as well".
        stored: String,
    },
    /// A reject file cannot be used, for example because it contains rows of another load.
    #[error("cannot write the reject file {path}: {problem}")]
    RejectFile {
        /// The file.
        path: String,
        /// The problem, and what to do.
        problem: String,
    },
    /// A reject file in S3 cannot be written.
    #[error("cannot write the reject file {address}: {problem}")]
    RejectObject {
        /// The address of the object or the prefix.
        address: String,
        /// The problem, and what to do.
        problem: Box<Problem>,
    },
    /// Another process has locked a reject file.
    #[error(
        "cannot write the reject file {path}: another load writes to it; wait until that load has ended, or name another \
         file with --rejects"
    )]
    RejectFileInUse {
        /// The file.
        path: String,
    },
    /// A file or standard output cannot be written.
    #[error("cannot write {path}: {}{hint}", file_problem(.error))]
    Output {
        /// The file, or `standard output`.
        path: String,
        /// Advice for the user, with a semicolon before it. Empty if there is no advice.
        hint: &'static str,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The collection cannot be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The collection cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The messages cannot be folded.
    #[error(transparent)]
    Fold(Box<FoldError>),
    /// More rows were rejected than allowed.
    #[error("stopped: {problem}; {hint}")]
    Rejects {
        /// The number of rejected rows and the number of rows read. If more than half of the rows were rejected, and
        /// more than half of these for one reason, the text also contains this reason. If a setting was found that
        /// accepts the refused cells, the text proposes it.
        problem: String,
        /// The paths of the reject files, and what to do.
        hint: String,
    },
    /// A load that was registered in the ledger did not end successfully.
    #[error("{cause}; {}, with {} and durable; {afterwards}", committed(*.settled), counted(*.written, "document written", "documents written"))]
    Unfinished {
        /// The cause.
        cause: Box<Error>,
        /// Number of documents that the load wrote for the committed rows.
        written: u64,
        /// Number of committed rows. Their documents are durable, and the ledger has their counts.
        settled: u64,
        /// How the next load continues.
        afterwards: &'static str,
    },
    /// A worker of a load in parts stopped. If the cause is temporary, the exit code is 6, so that the scheduler can
    /// start the worker again.
    #[error("{0}")]
    OfWorker(Box<Error>),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Rows were lost or counted twice, which is a defect of this program.
    #[error(
        "the counts do not match: {read} rows were read, but the outcomes of {accounted} rows are known; this is a defect of medlift, please report it"
    )]
    NotConserved {
        /// Rows read.
        read: u64,
        /// Rows whose outcome is known.
        accounted: u64,
    },
    /// The command line is wrong. For example, an argument is missing or contradicts another one.
    #[error("{0}")]
    Usage(String),
    /// Anything else that stops a command.
    #[error("{0}")]
    Stopped(String),
}

fn committed(rows: u64) -> String {
    counted(rows, "row is committed", "rows are committed")
}

impl Error {
    /// Returns the error for a thread that the system cannot start.
    pub fn no_thread(error: &std::io::Error) -> Self {
        Self::Stopped(format!(
            "cannot start a thread: {error}; raise the limit for processes (ulimit -u) or for memory (ulimit -v)"
        ))
    }

    /// Returns the error for a failed call to the ledger. `doing` is `read` or `write`.
    pub fn of_ledger(doing: &'static str, error: LedgerError) -> Self {
        match error {
            LedgerError::TakenOver => Self::TakenOver,
            LedgerError::Server(failure) => Self::Ledger { doing, failure },
            LedgerError::Incomplete | LedgerError::Unreadable => {
                Self::Stopped(format!("cannot {doing} the ledger `medlift_runs`: {error}"))
            }
        }
    }

    /// Returns an error if the `_id`s in the target's collection were made from other identity fields or with another
    /// key than this command wants.
    pub(crate) fn if_identities_differ(
        target: &Target,
        stored: &CollectionIdentity,
        wanted: &CollectionIdentity,
    ) -> Result<(), Self> {
        let Some(stored) = stored.difference(wanted) else { return Ok(()) };
        Err(Self::OtherIdentity { collection: target.full_name(), stored })
    }

    /// Returns true if the same command may succeed later, which is so in these cases:
    /// - Another process uses the same sources, collection or reject file, or folds the same messages.
    /// - A temporary failure of the server stopped a load that is registered in the ledger.
    /// - A temporary failure of the server, or a request to stop, ended a worker of a load in parts.
    fn is_passing(&self) -> bool {
        match self {
            Self::Fold(error) => error.is_passing(),
            Self::Held(_) | Self::Busy(_) | Self::NoLongerEmpty | Self::TakenOver | Self::RejectFileInUse { .. } => {
                true
            }
            Self::OfWorker(cause) if cause.is_interrupted() => true,
            Self::Unfinished { cause, .. } | Self::OfWorker(cause) => {
                cause.is_passing() || cause.failure().is_some_and(Failure::is_retryable)
            }
            _ => false,
        }
    }

    /// Returns true if the same command may succeed later although nobody changes anything. In contrast to the exit code
    /// 6, this is also so if the server could not be reached before the load began.
    pub fn is_temporary(&self) -> bool {
        self.exit_code() == 6 || self.failure().is_some_and(Failure::is_retryable)
    }

    /// Returns true if the cause is in the source: it cannot be read, it does not fit the spec, or too many of its rows
    /// are rejected.
    pub fn is_of_source(&self) -> bool {
        match self {
            Self::Read(_) | Self::Layout { .. } | Self::Rejects { .. } => true,
            Self::Unfinished { cause, .. } => cause.is_of_source(),
            _ => false,
        }
    }

    /// Returns true if the user, or the scheduler of a worker, asked to stop.
    pub(crate) fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted => true,
            Self::Unfinished { cause, .. } => cause.is_interrupted(),
            _ => false,
        }
    }

    /// Returns the failure of the server that caused this error. `None` if the error has another cause.
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Server(error) | Self::Deployment(DeploymentError::Server(error)) => error.failure(),
            Self::Fold(error) => error.failure(),
            Self::Verify(VerifyError::Scan(error)) => Some(error.failure()),
            Self::Write(WriteError::Server(failure)) | Self::Ledger { failure, .. } => Some(failure),
            Self::Unfinished { cause, .. } | Self::OfWorker(cause) => cause.failure(),
            _ => None,
        }
    }

    /// Returns the exit code:
    /// - 2 if the command line, a setting or the spec is wrong, or if the stored `_id`s were made from other identity
    ///   fields or with another key.
    /// - 3 if the server or the S3 store of a source cannot be reached, or refuses the sign-in.
    /// - 6 if the same command may succeed later. Examples:
    ///   - Another process loads the same sources, fills the same collection or writes the same reject file.
    ///   - The S3 store of a source fails temporarily.
    ///   - A load lost the server after it had begun.
    ///   - A worker of a load in parts could not reach the server or was asked to stop.
    /// - 1 for all other errors. One of them is a connection that fails during a verification or an export.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Spec(_) | Self::Usage(_) | Self::OtherIdentity { .. } => 2,
            _ if self.is_passing() => 6,
            Self::Server(error) => error.exit_code(),
            Self::Fold(error) => error.exit_code(),
            Self::Patient(error) => error.exit_code(),
            Self::Read(error) => error.exit_code(),
            Self::RejectObject { problem, .. } => problem.exit_code(),
            Self::Deployment(error) => error.exit_code(),
            Self::Unfinished { cause, .. } | Self::OfWorker(cause) => cause.exit_code(),
            Self::Write(WriteError::Server(failure)) | Self::Ledger { failure, .. } => failure.exit_code(),
            _ => 1,
        }
    }
}

impl From<FoldError> for Error {
    fn from(error: FoldError) -> Self {
        Self::Fold(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Unreachable;

    #[test]
    fn exit_codes_tell_who_can_mend_it() {
        let unfinished = |cause| Error::Unfinished { cause: Box::new(cause), written: 1, settled: 2, afterwards: "x" };
        let usage = || Error::Usage(String::new());
        let other_identity = Error::OtherIdentity { collection: String::new(), stored: String::new() };
        assert_eq!([usage(), other_identity, unfinished(usage())].map(|error| error.exit_code()), [2; 3]);
        assert_eq!([Error::NoLongerEmpty, Error::TakenOver].map(|error| error.exit_code()), [6; 2]);
        let lost = Failure::Unreachable(Unreachable::Lost);
        for (failure, code, of_load) in [(Failure::TlsRequired, 3, 3), (Failure::Timeout, 1, 6), (lost, 3, 6)] {
            let ledger = || Error::Ledger { doing: "read", failure: failure.clone() };
            let write = || Error::Write(WriteError::Server(failure.clone()));
            assert_eq!([ledger(), write()].map(|error| error.exit_code()), [code; 2]);
            let of_worker = Error::OfWorker(Box::new(ledger()));
            let all = [unfinished(write()), unfinished(ledger()), of_worker];
            assert_eq!(all.map(|error| error.exit_code()), [of_load; 3]);
        }
        let others = [Error::Interrupted, Error::NotConserved { read: 1, accounted: 2 }, Error::Stopped(String::new())];
        assert_eq!(others.map(|error| error.exit_code()), [1; 3]);
    }

    #[test]
    fn a_server_that_is_away_is_temporary_and_a_damaged_file_is_of_the_source() {
        let unfinished = |cause| Error::Unfinished { cause: Box::new(cause), written: 1, settled: 2, afterwards: "x" };
        let refused = || ServerError::Connect { address: "h".into(), failure: Failure::TlsRequired };
        let away = || ServerError::Connect { address: "h".into(), failure: Failure::Unreachable(Unreachable::Lost) };
        let empty = || Error::Read(ReadError::Empty { name: "a".into() });
        let rejects = || Error::Rejects { problem: String::new(), hint: String::new() };
        for (error, is_temporary, is_of_source) in [
            (Error::Server(away()), true, false),
            (Error::NoLongerEmpty, true, false),
            (unfinished(Error::Server(away())), true, false),
            (Error::Server(refused()), false, false),
            (Error::Usage(String::new()), false, false),
            (empty(), false, true),
            (unfinished(rejects()), false, true),
        ] {
            assert_eq!((error.is_temporary(), error.is_of_source()), (is_temporary, is_of_source), "{error:?}");
        }
    }

    #[test]
    fn failures_of_the_ledger_keep_their_meaning() {
        assert!(matches!(Error::of_ledger("read", LedgerError::TakenOver), Error::TakenOver));
        let server = Error::of_ledger("write", LedgerError::Server(Failure::Timeout));
        assert!(server.to_string().starts_with("cannot write the ledger `medlift_runs`: "), "{server}");
        let incomplete = Error::of_ledger("read", LedgerError::Incomplete).to_string();
        assert!(incomplete.contains("cannot read the ledger") && incomplete.contains("--reload"), "{incomplete}");
    }

    #[test]
    fn a_stopped_load_says_what_is_committed() {
        let cause = Box::new(Error::Interrupted);
        let error = Error::Unfinished { cause, written: 7, settled: 9, afterwards: "go on" };
        let expected = "interrupted; 9 rows are committed, with 7 documents written and durable; go on";
        assert_eq!(error.to_string(), expected);
        let cause = Box::new(Error::Interrupted);
        let error = Error::Unfinished { cause, written: 1, settled: 1, afterwards: "go on" };
        let expected = "interrupted; 1 row is committed, with 1 document written and durable; go on";
        assert_eq!(error.to_string(), expected);
    }
}
