//! Reads the bytes of files, of objects in S3 and of standard input. Decompresses them, decodes them to UTF-8 and
//! divides them into rows.
//!
//! The reader reports the position of each row in its source. This module knows what divides rows, such as quotes, line
//! ends, JSON brackets and the first segments of HL7 messages. It knows no columns, fields or types. `docs/sources.md`
//! tells users which sources Medlift can read.

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

pub use block::Block;
pub(crate) use block::{Ending, RowSpan};
pub(crate) use decode::{char_of_1252, is_decodable};
pub(crate) use dialect::Dialect;
pub use encoding::Encoding;
pub use error::ReadError;
pub(crate) use frame::{Framing, TrailerCount, begins_batch_segment, begins_message, begins_with_header};
pub use origin::Version;
pub(crate) use origin::{
    Origin, RejectKind, StreamOrigin, expand, is_reject_path, reject_path, segment_name, segment_stem,
    source_of_rejects,
};
pub use reader::{ReadOptions, Reader, records};
