//! The kinds of commands that send a batch.

/// What a command does with the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Inserts the records, unordered.
    Insert,
    /// Reads the documents that are stored under the records' `_id`s, with read concern majority.
    Compare,
    /// Replaces the stored documents with the records. Inserts a record if no document is stored.
    Replace,
    /// Replaces the stored documents with the records. Replaces a document only if it is still the one with which the
    /// record was compared. Inserts a record if no document is stored. Such a record counts as replaced, too, because
    /// there was a document when it was compared.
    ReplaceOlder,
    /// Sets the records' fields in the stored documents. Other fields of the stored documents do not change. Inserts a
    /// record if no document is stored.
    Merge,
}
