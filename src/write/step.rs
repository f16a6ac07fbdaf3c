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
    /// Replaces each stored document with its record, but only if the document has not changed since the two were
    /// compared. Inserts a record if no document is stored any more. Such a record counts as replaced, too, because a
    /// document was stored when the record was compared.
    ReplaceOlder,
    /// Sets the records' fields in the stored documents. Other fields of the stored documents do not change. Inserts a
    /// record if no document is stored.
    Merge,
}
