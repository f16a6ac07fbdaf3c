//! Divides the text of a source into rows. Each way of dividing (lines, delimited text, JSON documents, HL7 messages)
//! has its own file.
//!
//! The code here knows what divides rows, such as quotes, line ends, brackets and HL7 segments. It knows no columns,
//! fields or types.

mod documents;
mod entries;
mod hl7;
mod lines;
mod quoted;

use std::ops::{ControlFlow, Range};

pub(crate) use hl7::{TrailerCount, begins_batch_segment, begins_message, begins_with_header};

use documents::Documents;
use entries::Entries;
use hl7::Hl7;
use lines::Lines;
use quoted::Quoted;

use super::block::{Ending, RowSpan};
use super::dialect::Dialect;

/// If a row is too long, at most this number of bytes from its beginning is written to the reject file. A user can then
/// find the row in the source.
pub(super) const TOO_LONG_KEPT_BYTES: usize = 4096;

/// How the text of a source is divided into rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Each line is a row, as in NDJSON.
    Lines,
    /// Delimited text. The first row is the header.
    Delimited(Dialect),
    /// JSON values, one after another or in an array. Each value is a row, even if it has several lines.
    Documents,
    /// The items of the array `entry` of a JSON object, as in a FHIR Bundle. Each item is a row.
    Entries,
    /// HL7 v2 messages. Each message is a row.
    Hl7,
}

impl Framing {
    /// Returns the dialect if the framing is delimited text.
    pub fn dialect(self) -> Option<Dialect> {
        match self {
            Self::Delimited(dialect) => Some(dialect),
            Self::Lines | Self::Documents | Self::Entries | Self::Hl7 => None,
        }
    }
}

/// Finds the ends of rows in a buffer. The caller appends text to the buffer. All positions are positions in the
/// buffer.
#[derive(Debug, Clone)]
pub(super) struct Framer {
    ends: Ends,
    row_bytes_max: usize,
    place: Place,
}

/// Finds the end of the current row.
#[derive(Debug, Clone)]
enum Ends {
    Lines(Lines),
    Quoted(Quoted),
    Documents(Documents),
    Entries(Entries),
    Hl7(Hl7),
}

/// The result of one step of a search. `Continue` means that the search goes on. `Break` contains the end of the row,
/// or `None` if more bytes must be read before the search can go on.
type Step = ControlFlow<Option<usize>>;

/// The position of the framer in the buffer and in the source.
#[derive(Debug, Clone)]
struct Place {
    /// Position of the current row's first byte.
    start: usize,
    /// Position of the first byte that has not been examined yet.
    at: usize,
    /// Number of bytes of the current row that are no longer in the buffer, because the row is too long.
    dropped: usize,
    /// Line of the source on which the current row starts, from 1.
    line: u64,
    /// Number of line ends inside the current row so far.
    lines_inside: u64,
}

impl Place {
    /// Returns the number of bytes of the current row that have been examined, including those dropped from the buffer.
    const fn row_bytes(&self) -> usize {
        self.dropped + self.at - self.start
    }
}

impl Framer {
    pub(super) fn new(framing: Framing, row_bytes_max: usize) -> Self {
        let ends = match framing {
            Framing::Lines => Ends::Lines(Lines { line_end: b'\n' }),
            Framing::Delimited(Dialect { line_end, quote: None, escape: None, .. }) => Ends::Lines(Lines { line_end }),
            Framing::Delimited(dialect) => Ends::Quoted(Quoted::new(dialect)),
            Framing::Documents => Ends::Documents(Documents::new(row_bytes_max)),
            Framing::Entries => Ends::Entries(Entries::new(row_bytes_max)),
            Framing::Hl7 => Ends::Hl7(Hl7::new(row_bytes_max)),
        };
        Self { ends, row_bytes_max, place: Place { start: 0, at: 0, dropped: 0, line: 1, lines_inside: 0 } }
    }

    /// Returns the next row that ends in `bytes`, or `None` if no row ends there. `is_complete` is true if the source
    /// ends with `bytes`. The `offset` of the row is 0, and the caller sets it.
    pub(super) fn next(&mut self, bytes: &[u8], is_complete: bool) -> Option<RowSpan> {
        loop {
            let Some(end) = self.find_end(bytes, is_complete) else { return self.last(bytes, is_complete) };
            debug_assert!(end > self.place.start || !matches!(self.ends, Ends::Documents(_)), "a JSON value has bytes");
            let line = self.place.line;
            let row = self.pass(end);
            let ending = if let Ends::Hl7(hl7) = &self.ends { hl7.ending() } else { Ending::Whole };
            if let Some(span) = self.span(bytes, row, line, ending) {
                return Some(span);
            }
        }
    }

    /// Returns the end of the current row, or `None` if the end is not in `bytes` yet. The search continues at the byte
    /// at which the last call stopped.
    fn find_end(&mut self, bytes: &[u8], is_complete: bool) -> Option<usize> {
        match &mut self.ends {
            Ends::Lines(lines) => lines.find_end(bytes, &mut self.place),
            Ends::Quoted(quoted) => quoted.find_end(bytes, &mut self.place),
            Ends::Documents(documents) => documents.find_end(bytes, &mut self.place),
            Ends::Entries(entries) => entries.find_end(bytes, &mut self.place),
            Ends::Hl7(hl7) => hl7.find_end(bytes, &mut self.place, is_complete),
        }
    }

    /// Moves from the current row, which ends at `end`, to the next row. Returns the range of the row that it leaves.
    fn pass(&mut self, end: usize) -> Range<usize> {
        let line_end = match &mut self.ends {
            Ends::Lines(_) => 1,
            Ends::Quoted(quoted) => {
                quoted.begin_row();
                1
            }
            Ends::Documents(_) | Ends::Entries(_) | Ends::Hl7(_) => 0,
        };
        let place = &mut self.place;
        place.line += place.lines_inside + line_end as u64;
        (place.lines_inside, place.dropped) = (0, 0);
        place.at = end + line_end;
        std::mem::replace(&mut place.start, place.at)..end
    }

    /// If the source ends with `bytes`, returns the last row: the text after the last complete row. If that text is
    /// empty, returns `None`, or an empty row for a JSON array that is not closed.
    fn last(&mut self, bytes: &[u8], is_complete: bool) -> Option<RowSpan> {
        if !is_complete {
            return None;
        }
        let (line, row) = (self.place.line, self.place.start..bytes.len());
        let ending = match &mut self.ends {
            Ends::Documents(documents) => documents.end(),
            Ends::Entries(entries) => entries.end(),
            // `find_end` has already returned the last message, so no row is left.
            Ends::Hl7(_) => None,
            _ if row.is_empty() => None,
            Ends::Lines(_) => Some(Ending::Whole),
            Ends::Quoted(quoted) => Some(quoted.end(bytes, &self.place)),
        }?;
        self.pass(row.end);
        (self.place.start, self.place.at) = (row.end, row.end);
        self.span(bytes, row, line, ending)
    }

    fn span(&self, bytes: &[u8], row: Range<usize>, line: u64, ending: Ending) -> Option<RowSpan> {
        if row.len() > self.row_bytes_max {
            return Some(self.too_long(bytes, row.start, line));
        }
        let Range { start, mut end } = row;
        if ending == Ending::Whole {
            end = start + self.content_bytes(&bytes[start..end]);
        }
        let is_row = end > start || ending == Ending::OpenArray;
        is_row.then_some(RowSpan {
            start: start as u32,
            end: end as u32,
            line,
            offset: 0,
            ending,
            object: self.object(),
        })
    }

    /// Returns the number of the object whose array contains the current row.
    const fn object(&self) -> u32 {
        if let Ends::Entries(entries) = &self.ends { entries.object() } else { 0 }
    }

    /// Returns the length of a row without the bytes that must be removed from its end.
    fn content_bytes(&self, row: &[u8]) -> usize {
        if let Ends::Hl7(_) = self.ends {
            return hl7::content_bytes(row);
        }
        row.iter().rposition(|&byte| !self.is_after_row(byte)).map_or(0, |last| last + 1)
    }

    /// Returns true if the byte `last` must be removed from the end of a row. Examples are the `\r` of `\r\n`, and the
    /// comma between a damaged JSON value and the next value.
    fn is_after_row(&self, last: u8) -> bool {
        last == b'\r'
            || (matches!(self.ends, Ends::Documents(_) | Ends::Entries(_))
                && (last == b',' || documents::is_blank(last)))
    }

    /// Returns the beginning of a row that is too long, cut between two characters.
    fn too_long(&self, bytes: &[u8], start: usize, line: u64) -> RowSpan {
        let mut end = start + TOO_LONG_KEPT_BYTES.min(self.row_bytes_max);
        while end > start && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        RowSpan {
            start: start as u32,
            end: end as u32,
            line,
            offset: 0,
            ending: Ending::TooLong,
            object: self.object(),
        }
    }

    /// Returns the beginning of the current row if the row is too long and its end is not in `bytes` yet. The caller
    /// must then skip the rest of the row with [`skip`](Self::skip).
    pub(super) fn overflow(&self, bytes: &[u8]) -> Option<RowSpan> {
        let Place { start, at, line, .. } = self.place;
        (at - start > self.row_bytes_max).then(|| self.too_long(bytes, start, line))
    }

    /// Skips the rest of a row that is too long. Returns true if the row ends in `bytes`.
    ///
    /// If the result is false, the caller may drop all [`scanned`](Self::scanned) bytes from the buffer. Before that,
    /// the caller must call [`drop_front`](Self::drop_front).
    pub(super) fn skip(&mut self, bytes: &[u8]) -> bool {
        self.find_end(bytes, false).map(|end| self.pass(end)).is_some()
    }

    /// Returns the position of the current row's first byte. The caller no longer needs the bytes before it.
    pub(super) const fn start(&self) -> usize {
        self.place.start
    }

    /// Returns the number of bytes in the buffer that have been examined.
    pub(super) const fn scanned(&self) -> usize {
        self.place.at
    }

    /// Prepares the positions for a shorter buffer. Call it before the first `length` bytes of `bytes` are dropped.
    pub(super) fn drop_front(&mut self, bytes: &[u8], length: usize) {
        if let Ends::Quoted(quoted) = &mut self.ends {
            quoted.drop_front(bytes, length, &self.place);
        }
        self.place.dropped += length.saturating_sub(self.place.start);
        self.place.start = self.place.start.saturating_sub(length);
        self.place.at -= length;
    }
}
