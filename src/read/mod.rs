//! Bytes in: files, globs and standard input; decompressed, decoded to UTF-8, split at record boundaries.
//!
//! Every byte keeps its position in the source. This room knows quotes and line ends, but no columns, fields or types.
//! `docs/sources.md` tells a user what can be read.

mod archive;
mod binary;
mod block;
mod decode;
mod encoding;
mod error;
mod format;
mod reader;
mod source;
mod split;
mod text;

#[cfg(test)]
mod tests;

pub use block::{Block, Ending, RowSpan};
pub use encoding::Encoding;
pub use error::ReadError;
pub use format::{Dialect, Format};
pub use reader::{ReadOptions, Reader, records};
pub use source::{Source, expand};
