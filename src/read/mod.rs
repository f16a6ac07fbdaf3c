//! Reads bytes from files, glob patterns and standard input, decompresses them, decodes them to UTF-8 and splits them
//! into rows.
//!
//! Every byte keeps its position in the source. This module knows quotes and line ends, but no columns, fields or
//! types.
//! `docs/sources.md` lists for users which sources can be read.

mod archive;
mod binary;
mod block;
mod decode;
mod dialect;
mod encoding;
mod error;
mod frame;
mod origin;
mod reader;
mod text;

#[cfg(test)]
mod tests;

pub use block::{Block, Ending, RowSpan};
pub use dialect::Dialect;
pub use encoding::Encoding;
pub use error::ReadError;
pub use frame::Framing;
pub use origin::{FileOrigin, Origin, REJECTS_SUFFIX, StdinOrigin, Version, expand};
pub use reader::{ReadOptions, Reader, records};
