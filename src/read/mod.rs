//! Bytes in: files, globs and standard input; decompressed, decoded to UTF-8, split at record boundaries.
//!
//! Every byte keeps its position in the source. This room knows quotes and line ends, but no columns, fields or types.

mod block;

pub use block::{Block, Ending, RowSpan};
