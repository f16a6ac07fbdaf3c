//! Finds HL7 v2 messages in a file or in a recorded stream.
//!
//! - A message begins with `MSH` and a field separator at the beginning of a line. Every byte is a possible separator,
//!   except letters, digits, line ends, NUL and the bytes of MLLP.
//! - A message ends before the next `MSH`, `FHS`, `BHS`, `BTS` or `FTS`, at the end of its MLLP frame, before the next
//!   frame, or at the end of the source. Line ends after its last segment do not belong to it.
//! - A line ends at CR, LF or CRLF. Lines are counted by the same rule.
//! - An MLLP frame begins with 0B. This byte counts only at the beginning of a line, or directly before one of the five
//!   segments. Elsewhere it is text, because some programs use it as a line break.
//! - An MLLP frame ends with 1C 0D. Programs that convert line ends make 1C 0A of it. A recording can also end after
//!   1C, or continue with another 1C or with the next frame. Before every other byte, 1C is text.
//! - Between two rows, blank lines, NULs, the bytes of MLLP and byte order marks are ignored.
//! - Other text between two rows is a row too. The parser rejects it, because it does not begin with `MSH`.
//! - `FHS` and `BHS` are not rows. A trailer (`BTS`, `FTS`) is a row only if its count is wrong, or if it is too long.
//!   `BTS` must have the number of messages in the batch, `FTS` the number of batches in the file. A missing count is
//!   not wrong. Messages without `BHS` are one batch (HL7 v2.8, 2.10.3).
//!
//! The source is not decoded before it is divided, because each message names its own character set.

use std::ops::ControlFlow::{Break, Continue};

use memchr::{memchr, memchr2, memchr3};

use super::{Place, Step};
use crate::read::block::Ending;

/// The first byte of an MLLP frame.
const FRAME_START: u8 = 0x0b;
/// The last byte but one of an MLLP frame.
const FRAME_END: u8 = 0x1c;
/// The byte order mark of UTF-8. If files are concatenated, it can be between two messages.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Finds the ends of HL7 messages.
#[derive(Debug, Clone)]
pub(super) struct Hl7 {
    state: State,
    /// True if the current place is at the beginning of a line. Used only inside a row.
    is_at_line_start: bool,
    /// True if the last byte was a CR. A LF then belongs to the same line end.
    is_after_cr: bool,
    counts: Counts,
    /// How the last row that was found has ended.
    ending: Ending,
    row_bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two rows.
    Between,
    /// Inside a message, or inside text that is not a message.
    Row,
    /// Inside `FHS` or `BHS`.
    Header,
    /// Inside `BTS` or `FTS`.
    Trailer(Head),
}

/// The segments before which a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Head {
    Message,
    FileHeader,
    BatchHeader,
    BatchTrailer,
    FileTrailer,
}

const HEADS: [(&[u8], Head); 5] = [
    (b"MSH", Head::Message),
    (b"FHS", Head::FileHeader),
    (b"BHS", Head::BatchHeader),
    (b"BTS", Head::BatchTrailer),
    (b"FTS", Head::FileTrailer),
];

/// The beginning of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineStart {
    Segment(Head),
    Mark,
    Other,
    /// More bytes must be read to know it.
    Undecided,
}

/// Messages and batches so far.
#[derive(Debug, Clone, Default)]
struct Counts {
    /// Messages of the current batch.
    messages: u32,
    /// Batches since `FHS`, or since the beginning of the source.
    batches: u32,
    is_batch_open: bool,
}

/// The count in the first field of a trailer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrailerCount {
    /// The field is empty.
    Absent,
    /// The field is not a whole number.
    NotANumber,
    /// The number in the field.
    Number(u64),
}

impl TrailerCount {
    /// Reads the count of a `BTS` or `FTS` segment.
    pub(crate) fn read(trailer: &[u8]) -> Self {
        let Some((&separator, fields)) = trailer.get(3..).and_then(<[u8]>::split_first) else { return Self::Absent };
        let field = &fields[..memchr(separator, fields).unwrap_or(fields.len())];
        match field.trim_ascii() {
            b"" | b"\"\"" => Self::Absent,
            digits if digits.iter().all(u8::is_ascii_digit) => {
                let number = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
                number.map_or(Self::NotANumber, Self::Number)
            }
            _ => Self::NotANumber,
        }
    }

    fn agrees_with(self, counted: u32) -> bool {
        self == Self::Absent || self == Self::Number(u64::from(counted))
    }
}

impl Counts {
    fn begin(&mut self, head: Head) {
        match head {
            Head::FileHeader => *self = Self::default(),
            Head::BatchHeader => self.open_batch(),
            Head::Message => {
                if !self.is_batch_open {
                    self.open_batch();
                }
                self.messages = self.messages.saturating_add(1);
            }
            Head::BatchTrailer | Head::FileTrailer => {}
        }
    }

    fn open_batch(&mut self) {
        *self = Self { messages: 0, batches: self.batches.saturating_add(1), is_batch_open: true };
    }

    /// Ends the batch and returns the number of its messages. Or ends the file and returns the number of its batches.
    fn end(&mut self, trailer: Head) -> u32 {
        if trailer == Head::FileTrailer {
            return std::mem::take(self).batches;
        }
        if !self.is_batch_open {
            self.open_batch();
        }
        self.is_batch_open = false;
        std::mem::take(&mut self.messages)
    }
}

impl Hl7 {
    pub(super) fn new(row_bytes_max: usize) -> Self {
        Self {
            state: State::Between,
            is_at_line_start: false,
            is_after_cr: false,
            counts: Counts::default(),
            ending: Ending::Whole,
            row_bytes_max,
        }
    }

    /// Returns how the last row that [`find_end`](Self::find_end) found has ended.
    pub(super) const fn ending(&self) -> Ending {
        self.ending
    }

    /// Returns the end of the current row, if it is in `bytes`. Moves the start of the row to the row's first byte. If
    /// the source ends with `bytes`, the last row ends there.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place, is_complete: bool) -> Option<usize> {
        while place.at < bytes.len() {
            let step = match self.state {
                State::Between => self.begin(bytes, place, is_complete),
                State::Row if self.is_at_line_start => self.pass_line_start(bytes, place, is_complete),
                State::Row => self.pass_line(bytes, place, is_complete),
                State::Header => self.pass_header(bytes, place),
                State::Trailer(trailer) => self.pass_trailer(trailer, bytes, place),
            };
            if let Break(end) = step {
                return end;
            }
        }
        let last = match self.state {
            State::Row if is_complete => self.end_row(bytes.len()),
            State::Trailer(trailer) if is_complete => self.end_trailer(trailer, bytes, place),
            _ => return None,
        };
        last.break_value().flatten()
    }

    /// Skips one byte between two rows, or begins the next row.
    fn begin(&mut self, bytes: &[u8], place: &mut Place, is_complete: bool) -> Step {
        let byte = bytes[place.at];
        place.start = place.at;
        match byte {
            b'\r' | b'\n' => place.line += self.count_line_end(byte),
            0 | FRAME_START | FRAME_END => self.is_after_cr = false,
            _ => return self.begin_line(bytes, place, is_complete),
        }
        place.at += 1;
        place.start = place.at;
        Continue(())
    }

    fn begin_line(&mut self, bytes: &[u8], place: &mut Place, is_complete: bool) -> Step {
        let start = line_start(&bytes[place.at..], is_complete);
        self.is_after_cr = false;
        self.is_at_line_start = false;
        match start {
            LineStart::Undecided => return Break(None),
            LineStart::Mark => {
                place.at += MARK.len();
                place.start = place.at;
            }
            LineStart::Other => self.state = State::Row,
            LineStart::Segment(head) => {
                self.counts.begin(head);
                self.state = match head {
                    Head::Message => State::Row,
                    Head::FileHeader | Head::BatchHeader => State::Header,
                    Head::BatchTrailer | Head::FileTrailer => State::Trailer(head),
                };
                place.at += 3;
            }
        }
        Continue(())
    }

    /// Passes the beginning of a line inside a row. NULs and blank lines are passed too. If the row ends after them,
    /// `content_bytes` removes them from the row.
    fn pass_line_start(&mut self, bytes: &[u8], place: &mut Place, is_complete: bool) -> Step {
        let byte = bytes[place.at];
        match byte {
            b'\r' | b'\n' => {
                place.lines_inside += self.count_line_end(byte);
                place.at += 1;
                return Continue(());
            }
            0 => place.at += 1,
            FRAME_START => return self.end_row(place.at),
            _ => match begins_row(&bytes[place.at..], is_complete) {
                None => return Break(None),
                Some(true) => return self.end_row(place.at),
                Some(false) => self.is_at_line_start = false,
            },
        }
        self.is_after_cr = false;
        Continue(())
    }

    /// Passes the rest of a line inside a row, with its line end.
    fn pass_line(&mut self, bytes: &[u8], place: &mut Place, is_complete: bool) -> Step {
        let rest = &bytes[place.at..];
        let found = memchr3(b'\r', b'\n', FRAME_END, rest);
        let line = &rest[..found.unwrap_or(rest.len())];
        if let Some(frame_start) = memchr(FRAME_START, line) {
            place.at += frame_start;
            match begins_row(&bytes[place.at + 1..], is_complete) {
                None => return Break(None),
                Some(true) => return self.end_row(place.at),
                Some(false) => place.at += 1,
            }
            return Continue(());
        }
        place.at += line.len();
        match bytes.get(place.at) {
            Some(&FRAME_END) => return self.pass_frame_end(bytes, place, is_complete),
            Some(&line_end) => {
                place.lines_inside += self.count_line_end(line_end);
                place.at += 1;
                self.is_at_line_start = true;
            }
            None => {}
        }
        Continue(())
    }

    fn pass_frame_end(&mut self, bytes: &[u8], place: &mut Place, is_complete: bool) -> Step {
        match bytes.get(place.at + 1) {
            None if !is_complete => Break(None),
            None | Some(b'\r' | b'\n' | &FRAME_START | &FRAME_END) => self.end_row(place.at),
            Some(_) => {
                place.at += 1;
                Continue(())
            }
        }
    }

    fn pass_header(&mut self, bytes: &[u8], place: &mut Place) -> Step {
        let found = segment_end(&bytes[place.at..]);
        place.at += found.unwrap_or(bytes.len() - place.at);
        // A header is not a row, so its bytes need not stay in the buffer.
        place.start = place.at;
        if found.is_some() {
            self.state = State::Between;
        }
        Continue(())
    }

    fn pass_trailer(&mut self, trailer: Head, bytes: &[u8], place: &mut Place) -> Step {
        let found = segment_end(&bytes[place.at..]);
        place.at += found.unwrap_or(bytes.len() - place.at);
        if found.is_some() { self.end_trailer(trailer, bytes, place) } else { Continue(()) }
    }

    /// Ends a trailer at the current place. It is a row only if its count is wrong or it is too long.
    fn end_trailer(&mut self, trailer: Head, bytes: &[u8], place: &mut Place) -> Step {
        let counted = self.counts.end(trailer);
        if place.row_bytes() > self.row_bytes_max {
            return self.end_row(place.at);
        }
        self.state = State::Between;
        if TrailerCount::read(&bytes[place.start..place.at]).agrees_with(counted) {
            place.start = place.at;
            return Continue(());
        }
        self.ending = Ending::WrongCount(counted);
        Break(Some(place.at))
    }

    fn end_row(&mut self, end: usize) -> Step {
        (self.state, self.ending) = (State::Between, Ending::Whole);
        Break(Some(end))
    }

    /// Returns 1 for the first byte of a line end, and 0 for the LF of CRLF.
    fn count_line_end(&mut self, byte: u8) -> u64 {
        let is_second_byte = self.is_after_cr && byte == b'\n';
        self.is_after_cr = byte == b'\r';
        u64::from(!is_second_byte)
    }
}

/// Returns the length of a row without the line ends after its last segment. NULs after these line ends are left out
/// too.
pub(super) fn content_bytes(row: &[u8]) -> usize {
    let is_content = |byte: &u8| !matches!(byte, b'\r' | b'\n' | 0);
    let last = row.iter().rposition(is_content).map_or(0, |last| last + 1);
    memchr2(b'\r', b'\n', &row[last..]).map_or(row.len(), |line_end| last + line_end)
}

/// Returns true if a message, a header or a trailer begins at `rest`, perhaps after a byte order mark. Returns `None`
/// if more bytes must be read to know it.
fn begins_row(rest: &[u8], is_complete: bool) -> Option<bool> {
    let start = match line_start(rest, is_complete) {
        LineStart::Mark => line_start(&rest[MARK.len()..], is_complete),
        start => start,
    };
    (start != LineStart::Undecided).then_some(matches!(start, LineStart::Segment(_)))
}

/// Returns true if a source begins with the first segment of a message, a batch or a file. Bytes that can precede it
/// are skipped: a byte order mark, white space, NUL and the first byte of an MLLP frame.
///
/// Returns false if the field separator is a delimiter of tables, as in `MSH,`, or if the next field contains letters,
/// digits or spaces. In a message, the next field contains only separators, for example `^~\&`. Such a source is more
/// likely a table, for example with the columns `MSH_ID` or `MSH|Name`.
pub(crate) fn begins_with_header(source: &[u8]) -> bool {
    let source = source.strip_prefix(MARK).unwrap_or(source);
    let is_before = |byte: &u8| byte.is_ascii_whitespace() || matches!(*byte, 0 | FRAME_START);
    let start = source.iter().position(|byte| !is_before(byte)).unwrap_or(source.len());
    let is_header = match line_start(&source[start..], true) {
        LineStart::Segment(head) => matches!(head, Head::Message | Head::FileHeader | Head::BatchHeader),
        _ => false,
    };
    let Some((separator, fields)) = source.get(start + 3..).and_then(<[u8]>::split_first) else { return is_header };
    let next = fields.split(|byte| byte == separator || is_segment_end(*byte)).next().unwrap_or_default();
    let has_separators =
        is_segment_end(*separator) || !next.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte == b' ');
    is_header && has_separators && !b",;\t \"".contains(separator)
}

/// Returns true if a message begins at the beginning of `line`, whatever is before this line.
pub(crate) fn begins_message(line: &[u8]) -> bool {
    line_start(line, true) == LineStart::Segment(Head::Message)
}

/// Returns true if the header or the trailer of a batch or a file begins at the beginning of `line`, perhaps after bytes
/// that can be before it.
pub(crate) fn begins_batch_segment(line: &[u8]) -> bool {
    let mut rest = line;
    loop {
        rest = match rest {
            [0 | FRAME_START | FRAME_END, rest @ ..] => rest,
            _ if rest.starts_with(MARK) => &rest[MARK.len()..],
            _ => break,
        };
    }
    matches!(line_start(rest, true), LineStart::Segment(head) if head != Head::Message)
}

fn line_start(rest: &[u8], is_complete: bool) -> LineStart {
    let is_cut = |word: &[u8]| !is_complete && rest.len() < word.len() && word.starts_with(rest);
    if rest.starts_with(MARK) {
        return LineStart::Mark;
    }
    if is_cut(MARK) || HEADS.iter().any(|(id, _)| is_cut(id)) {
        return LineStart::Undecided;
    }
    let Some((id, head)) = HEADS.iter().find(|(id, _)| rest.starts_with(id)) else { return LineStart::Other };
    let is_segment = match rest.get(id.len()) {
        None if !is_complete => return LineStart::Undecided,
        Some(&byte) if !is_segment_end(byte) => !byte.is_ascii_alphanumeric() && byte != 0,
        // A header or a trailer can be without fields, and then has no field separator.
        _ => *head != Head::Message,
    };
    if is_segment { LineStart::Segment(*head) } else { LineStart::Other }
}

fn segment_end(rest: &[u8]) -> Option<usize> {
    rest.iter().position(|&byte| is_segment_end(byte))
}

const fn is_segment_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | FRAME_START | FRAME_END)
}
