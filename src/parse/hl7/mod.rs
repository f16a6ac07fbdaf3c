//! HL7 v2 messages: splits them into segments, fields and their parts, and decodes the text of a part.
//!
//! A message is split without changes: every part is a piece of the message's bytes. Only [`Decoder`] changes bytes:
//! it converts them to UTF-8 and replaces escapes. [`Value`] distinguishes an empty part from the delete marker `""`.
//!
//! [`Path`] names a part, for example `PID-5.1`.

mod charset;
mod escape;
mod find;
mod message;
mod problem;
mod rows;
mod separators;
mod time;

#[cfg(test)]
pub(crate) mod tests;

pub(crate) use charset::Charset;
pub(crate) use escape::Decoder;
pub(crate) use message::{Element, Index, Message, Segment, Value, segment_end};
pub(crate) use problem::{Problem, wrong_count};
pub(super) use rows::Hl7;
pub(crate) use separators::Separators;
pub(crate) use time::{Precision, Time};

pub(crate) use crate::spec::hl7_path::{Path, Repetition, SegmentId};
