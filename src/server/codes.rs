//! The table of the server's error codes. It defines what a code means for the call that received it.
//!
//! Writer, ledger, verification and deployment all use this table. So all of them treat the same codes as temporary.
//! The names of the codes are those of MongoDB's
//! [`error_codes.yml`](https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).

use Meaning::{
    Contention, CursorLost, Duplicate, IndexBuild, Interrupted, NetworkLost, NotAuthorized, NotPrimary, Overload,
    SignIn, StaleRouting, Timeout, Validation, WriteConcernImpossible, WriteConcernTimeout,
};

/// Another document has the same `_id`, or the same key in another unique index.
pub const DUPLICATE_KEY: i32 = 11000;

/// The collection's validator refused the document.
pub const DOCUMENT_VALIDATION_FAILURE: i32 = 121;

/// A majority did not acknowledge the write within its `wtimeout`.
pub const WRITE_CONCERN_TIMEOUT: i32 = 64;

/// The collection does not exist.
pub const NAMESPACE_NOT_FOUND: i32 = 26;
/// The collection has an index of the same fields with other options.
pub const INDEX_OPTIONS_CONFLICT: i32 = 85;
/// The collection has an index of the same name with other fields.
pub const INDEX_KEY_SPECS_CONFLICT: i32 = 86;

/// The meaning of a code for the call that received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The operation conflicted with another operation, for example because of a lock or a write to the same document.
    Contention,
    /// The operation was interrupted, for example by `killOp` or by a change of the feature compatibility version.
    Interrupted,
    /// The server is overloaded.
    Overload,
    /// The router or the shard had an outdated view of the cluster. The server refreshes it, so the next call can
    /// succeed.
    StaleRouting,
    /// The cursor cannot be used. The query must be sent again.
    CursorLost,
    /// The member is not the primary, or is shutting down.
    NotPrimary,
    /// A connection inside the cluster broke.
    NetworkLost,
    /// The operation exceeded its time limit.
    Timeout,
    /// Indexes of the collection are being built, or an index build was aborted.
    IndexBuild,
    /// The write was applied, but a majority did not acknowledge it in time.
    WriteConcernTimeout,
    /// The deployment cannot acknowledge the write as requested, however long the client waits.
    WriteConcernImpossible,
    /// The user lacks a privilege.
    NotAuthorized,
    /// The server rejects the sign-in.
    SignIn,
    /// Another document has the same key in a unique index ([`DUPLICATE_KEY`]).
    Duplicate,
    /// The collection's validator refused the document ([`DOCUMENT_VALIDATION_FAILURE`]).
    Validation,
    /// Any other code. The same call would fail again.
    Lasting,
}

impl Meaning {
    /// Returns true if the same call may succeed when it is repeated.
    pub const fn is_passing(self) -> bool {
        match self {
            Contention | Interrupted | Overload | StaleRouting | CursorLost | NotPrimary | NetworkLost | Timeout
            | IndexBuild | WriteConcernTimeout => true,
            WriteConcernImpossible | NotAuthorized | SignIn | Duplicate | Validation | Self::Lasting => false,
        }
    }
}

/// Returns the meaning of `code`.
pub fn meaning(code: i32) -> Meaning {
    TABLE.iter().find(|row| row.0 == code).map_or(Meaning::Lasting, |row| row.2)
}

/// Returns the server's name for `code`, if the table contains it.
pub fn name(code: i32) -> Option<&'static str> {
    TABLE.iter().find(|row| row.0 == code).map(|row| row.1)
}

/// All codes whose meaning is not [`Meaning::Lasting`], with the server's names.
const TABLE: &[(i32, &str, Meaning)] = &[
    (6, "HostUnreachable", NetworkLost),
    (7, "HostNotFound", NetworkLost),
    (11, "UserNotFound", SignIn),
    (13, "Unauthorized", NotAuthorized),
    (18, "AuthenticationFailed", SignIn),
    (24, "LockTimeout", Contention),
    (43, "CursorNotFound", CursorLost),
    (46, "LockBusy", Contention),
    (50, "MaxTimeMSExpired", Timeout),
    (63, "StaleShardVersion", StaleRouting),
    (WRITE_CONCERN_TIMEOUT, "WriteConcernTimeout", Meaning::WriteConcernTimeout),
    (79, "UnknownReplWriteConcern", WriteConcernImpossible),
    (89, "NetworkTimeout", NetworkLost),
    (90, "CallbackCanceled", Interrupted),
    (91, "ShutdownInProgress", NotPrimary),
    (94, "NotYetInitialized", NotPrimary),
    (100, "UnsatisfiableWriteConcern", WriteConcernImpossible),
    (107, "LockFailed", Contention),
    (109, "ConfigurationInProgress", Contention),
    (112, "WriteConflict", Contention),
    (117, "ConflictingOperationInProgress", Contention),
    (DOCUMENT_VALIDATION_FAILURE, "DocumentValidationFailure", Validation),
    (133, "FailedToSatisfyReadPreference", NotPrimary),
    (134, "ReadConcernMajorityNotAvailableYet", NotPrimary),
    (135, "StaleTerm", NotPrimary),
    (143, "CursorInUse", CursorLost),
    (145, "PooledConnectionsDropped", NetworkLost),
    (149, "NoConfigPrimary", NotPrimary),
    (150, "StaleEpoch", StaleRouting),
    (175, "QueryPlanKilled", CursorLost),
    (189, "PrimarySteppedDown", NotPrimary),
    (202, "NetworkInterfaceExceededTimeLimit", Timeout),
    (215, "DatabaseDropPending", Contention),
    (216, "ElectionInProgress", NotPrimary),
    (234, "RetryChangeStream", CursorLost),
    (237, "CursorKilled", CursorLost),
    (239, "SnapshotTooOld", Contention),
    (246, "SnapshotUnavailable", Contention),
    (249, "StaleDbVersion", StaleRouting),
    (250, "StaleChunkHistory", StaleRouting),
    (251, "NoSuchTransaction", Contention),
    (262, "ExceededTimeLimit", Timeout),
    (267, "PreparedTransactionInProgress", Contention),
    (272, "MigrationConflict", Contention),
    (276, "IndexBuildAborted", IndexBuild),
    (279, "ClientDisconnect", Interrupted),
    (281, "TransactionCoordinatorSteppingDown", NotPrimary),
    (285, "IndexBuildAlreadyInProgress", IndexBuild),
    (290, "TransactionExceededLifetimeLimitSeconds", Timeout),
    (303, "SplitHorizonChange", NetworkLost),
    (308, "CurrentConfigNotCommittedYet", NotPrimary),
    (314, "ObjectIsBusy", Contention),
    (317, "ConnectionPoolExpired", NetworkLost),
    (319, "MovePrimaryInProgress", Contention),
    (333, "ServiceExecutorInShutdown", NotPrimary),
    (342, "ReshardingCriticalSectionTimeout", Timeout),
    (343, "ShardCannotRefreshDueToLocksHeld", StaleRouting),
    (355, "InterruptedDueToStorageChange", Interrupted),
    (358, "InternalTransactionNotSupported", Contention),
    (363, "RetryableTransactionInProgress", Contention),
    (365, "TemporarilyUnavailable", Overload),
    (384, "ConnectionError", NetworkLost),
    (391, "ReauthenticationRequired", SignIn),
    (398, "StreamTerminated", NetworkLost),
    (402, "ResourceExhausted", Overload),
    (406, "MigrationBlockingOperationCoordinatorCleaningUp", Contention),
    (407, "PooledConnectionAcquisitionExceededTimeLimit", Timeout),
    (412, "UpdatesStillPending", Contention),
    (433, "AdmissionQueueOverflow", Overload),
    (442, "RetryMultiPlanning", CursorLost),
    (449, "RateLimitExceeded", Overload),
    (450, "PooledConnectionAcquisitionRejected", Overload),
    (453, "InterruptedDueToReshardingCriticalSection", Interrupted),
    (462, "IngressRequestRateLimitExceeded", Overload),
    (9001, "SocketException", NetworkLost),
    (10058, "LegacyNotPrimary", NotPrimary),
    (10107, "NotWritablePrimary", NotPrimary),
    (DUPLICATE_KEY, "DuplicateKey", Duplicate),
    (11600, "InterruptedAtShutdown", NotPrimary),
    (11601, "Interrupted", Interrupted),
    (11602, "InterruptedDueToReplStateChange", NotPrimary),
    (12586, "BackgroundOperationInProgressForDatabase", IndexBuild),
    (12587, "BackgroundOperationInProgressForNamespace", IndexBuild),
    (13388, "StaleConfig", StaleRouting),
    (13435, "NotPrimaryNoSecondaryOk", NotPrimary),
    (13436, "NotPrimaryOrSecondary", NotPrimary),
    (46841, "ClientMarkedKilled", Interrupted),
    (50915, "BackupCursorOpenConflictWithCheckpoint", Contention),
    (56846, "ConfigServerUnreachable", NetworkLost),
    (91331, "RetriableRemoteCommandFailure", Interrupted),
    (10_045_600, "InterruptedDueToFCVChange", Interrupted),
];

#[cfg(test)]
mod tests {
    use super::Meaning::Lasting;
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_each_code_once() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
        }
    }

    /// The codes of these categories of `error_codes.yml`: `RetriableError`, `NotPrimaryError`, `ShutdownError`,
    /// `NetworkError`, `CursorInvalidatedError`, `Interruption` and `ExceededTimeLimitError`. `OperationFailed` is left
    /// out of `CursorInvalidatedError`, because it is too general.
    #[test]
    fn codes_that_mongodb_calls_retriable_are_repeated() {
        let retriable = [
            6, 7, 24, 43, 50, 89, 91, 134, 175, 189, 202, 237, 262, 279, 281, 290, 314, 317, 333, 355, 358, 384, 402,
            406, 407, 412, 453, 462, 9001, 10107, 11600, 11601, 11602, 13435, 13436, 46841, 50915, 91331, 10_045_600,
        ];
        for code in retriable {
            assert!(meaning(code).is_passing(), "{code}");
        }
        for code in [1, 2, 9, 11, 13, 18, 26, 27, 48, 59, 79, 85, 86, 100, 121, 11000, 14031, 999_999] {
            assert!(!meaning(code).is_passing(), "{code}");
        }
        assert_eq!((name(11602), name(2)), (Some("InterruptedDueToReplStateChange"), None));
    }

    /// All codes that do not mean `Lasting`, by meaning.
    const CODES: [(Meaning, &[i32]); 15] = [
        (Contention, &[24, 46, 107, 109, 112, 117, 215, 239, 246, 251, 267, 272, 314, 319, 358, 363, 406, 412, 50915]),
        (Interrupted, &[90, 279, 355, 453, 11601, 46841, 91331, 10_045_600]),
        (Overload, &[365, 402, 433, 449, 450, 462]),
        (StaleRouting, &[63, 150, 249, 250, 343, 13388]),
        (CursorLost, &[43, 143, 175, 234, 237, 442]),
        (NotPrimary, &[91, 94, 133, 134, 135, 149, 189, 216, 281, 308, 333, 10058, 10107, 11600, 11602, 13435, 13436]),
        (NetworkLost, &[6, 7, 89, 145, 303, 317, 384, 398, 9001, 56846]),
        (Timeout, &[50, 202, 262, 290, 342, 407]),
        (IndexBuild, &[276, 285, 12586, 12587]),
        (Meaning::WriteConcernTimeout, &[64]),
        (WriteConcernImpossible, &[79, 100]),
        (NotAuthorized, &[13]),
        (SignIn, &[11, 18, 391]),
        (Duplicate, &[11000]),
        (Validation, &[121]),
    ];

    #[test]
    fn every_code_has_its_meaning_and_all_others_are_lasting() {
        for (expected, codes) in CODES {
            for code in codes {
                assert_eq!((meaning(*code), name(*code).is_some()), (expected, true), "{code}");
            }
        }
        let listed: Vec<i32> = CODES.into_iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        assert_eq!(listed.len(), TABLE.len());
        for code in (-1..100_000).filter(|code| !listed.contains(code)) {
            assert_eq!((meaning(code), name(code)), (Lasting, None), "{code}");
        }
    }

    #[test]
    fn only_calls_with_these_meanings_are_repeated() {
        let passing = [
            Contention,
            Interrupted,
            Overload,
            StaleRouting,
            CursorLost,
            NotPrimary,
            NetworkLost,
            Timeout,
            IndexBuild,
            Meaning::WriteConcernTimeout,
        ];
        for meaning in CODES.into_iter().map(|(meaning, _)| meaning).chain([Lasting]) {
            assert_eq!(meaning.is_passing(), passing.contains(&meaning), "{meaning:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_server() {
        assert_eq!((DUPLICATE_KEY, DOCUMENT_VALIDATION_FAILURE, WRITE_CONCERN_TIMEOUT), (11000, 121, 64));
        let check = |code, expected| assert_eq!(name(code), Some(expected));
        check(6, "HostUnreachable");
        check(189, "PrimarySteppedDown");
        check(10_045_600, "InterruptedDueToFCVChange");
    }
}
