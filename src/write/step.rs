//! The kinds of commands.

/// What a command does with its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Insert them, unordered.
    Insert,
    /// Read the documents stored under the records' `_id`s, with read concern majority.
    Compare,
    /// Replace the stored documents.
    Replace,
    /// Set the records' fields in the stored documents, and leave other fields unchanged.
    Merge,
}
