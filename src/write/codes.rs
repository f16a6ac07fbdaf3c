//! Server error codes that decide what happens to a document.
//! <https://github.com/mongodb/mongo/blob/r6.0.5/src/mongo/base/error_codes.yml>

/// Another document has the same `_id` (or another unique key).
pub const DUPLICATE_KEY: i32 = 11000;

/// The collection's validator refused the document.
pub const DOCUMENT_VALIDATION_FAILURE: i32 = 121;

/// Whether a command that failed with `code` may succeed when it is sent again: the categories `RetriableError`,
/// `NotPrimaryError`, `ShutdownError` and `NetworkError` of the server, as in the drivers' specification of retryable
/// writes, and the codes with which a server that steps down interrupts what runs.
pub const fn is_transient(code: i32) -> bool {
    matches!(
        code,
        6 | 7
            | 24
            | 46
            | 63
            | 89
            | 91
            | 112
            | 133
            | 134
            | 150
            | 189
            | 234
            | 262
            | 317
            | 358
            | 384
            | 402
            | 9001
            | 10058
            | 10107
            | 11600
            | 11602
            | 13388
            | 13435
            | 13436
    )
}
