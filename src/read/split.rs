//! Where records end: line ends that are not inside quotes.
//!
//! A quote opens a quoted cell only at the start of a cell (RFC 4180, 2.5); anywhere else it is a character like any other.
//! Inside quotes a doubled quote is a quote, and line ends are text. Empty lines are no records; a line of nothing but spaces
//! is one.

use memchr::{memchr, memchr2};

use super::block::{Ending, RowSpan};
use super::format::Format;

/// How much of a record that is too long is kept, for the person who looks for it.
pub(super) const TOO_LONG_KEPT_BYTES: usize = 4096;

/// A scanner for record ends. It works on a buffer that grows at its end; positions are those of the buffer.
#[derive(Debug, Clone)]
pub(super) struct Splitter {
    /// `None` where quotes mean nothing, as in NDJSON.
    delimiter: Option<u8>,
    line_end: u8,
    row_bytes_max: usize,
    /// First byte of the record under way.
    pub start: usize,
    /// First byte not scanned yet.
    at: usize,
    /// Whether `at` is inside quotes.
    is_quoted: bool,
    /// Physical line on which the record under way starts, from 1.
    line: u64,
    /// Line ends inside the record under way.
    lines_inside: u64,
}

impl Splitter {
    pub(super) fn new(format: Format, row_bytes_max: usize) -> Self {
        let (delimiter, line_end) = match format {
            Format::Csv(dialect) => (Some(dialect.delimiter), dialect.line_end),
            Format::Ndjson => (None, b'\n'),
        };
        Self { delimiter, line_end, row_bytes_max, start: 0, at: 0, is_quoted: false, line: 1, lines_inside: 0 }
    }

    /// The next record that ends in `bytes`; its `offset` is left 0. `is_complete` says that nothing follows `bytes`.
    pub(super) fn next(&mut self, bytes: &[u8], is_complete: bool) -> Option<RowSpan> {
        loop {
            let line = self.line;
            let Some(end) = self.find_line_end(bytes) else { return self.last(bytes, is_complete) };
            let start = self.pass(end);
            if let Some(span) = self.span(bytes, start..end, line, Ending::Whole) {
                return Some(span);
            }
        }
    }

    /// Steps over the line end at `end`, and returns where the record that it ends had started.
    fn pass(&mut self, end: usize) -> usize {
        self.line += self.lines_inside + 1;
        self.lines_inside = 0;
        self.at = end + 1;
        std::mem::replace(&mut self.start, end + 1)
    }

    /// What stands between the last line end and the end of the source.
    fn last(&mut self, bytes: &[u8], is_complete: bool) -> Option<RowSpan> {
        if !is_complete || self.start >= bytes.len() {
            return None;
        }
        let (line, end) = (self.line, bytes.len());
        // A quote that waits at the very end (see `close_quote`) closes the cell.
        let ending = if self.is_quoted && self.at == end { Ending::OpenQuote } else { Ending::Whole };
        let start = self.pass(end);
        (self.start, self.at, self.is_quoted) = (end, end, false);
        self.span(bytes, start..end, line, ending)
    }

    fn span(&self, bytes: &[u8], range: std::ops::Range<usize>, line: u64, ending: Ending) -> Option<RowSpan> {
        if range.len() > self.row_bytes_max {
            return Some(self.too_long(bytes, range.start, line));
        }
        let mut end = range.end;
        if ending == Ending::Whole {
            while end > range.start && bytes[end - 1] == b'\r' {
                end -= 1;
            }
        }
        (end > range.start).then_some(RowSpan { start: range.start as u32, end: end as u32, line, offset: 0, ending })
    }

    /// The kept beginning of a record that is too long, cut between two characters.
    fn too_long(&self, bytes: &[u8], start: usize, line: u64) -> RowSpan {
        let mut end = start + TOO_LONG_KEPT_BYTES.min(self.row_bytes_max);
        while end > start && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        RowSpan { start: start as u32, end: end as u32, line, offset: 0, ending: Ending::TooLong }
    }

    /// The beginning of the record under way, if it has become too long before it ends. Its rest is to be passed over with
    /// [`skip`](Self::skip).
    pub(super) fn overflow(&self, bytes: &[u8]) -> Option<RowSpan> {
        (bytes.len() - self.start > self.row_bytes_max).then(|| self.too_long(bytes, self.start, self.line))
    }

    /// Passes over the rest of a record that is too long: whether it ends in `bytes`. Where it does not, all of `bytes` but
    /// the last byte may be dropped, and [`drop_front`](Self::drop_front) told.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> bool {
        self.find_line_end(bytes).map(|end| self.pass(end)).is_some()
    }

    /// Follows the buffer when its first `length` bytes go.
    pub(super) fn drop_front(&mut self, length: usize) {
        self.start = self.start.saturating_sub(length);
        self.at -= length;
    }

    /// The line end that closes the record under way, if it has come. Resumes where it stopped.
    fn find_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(delimiter) = self.delimiter else { return self.find_any_line_end(bytes) };
        loop {
            if self.is_quoted && !self.close_quote(bytes, delimiter) {
                return None;
            }
            let Some(found) = memchr2(self.line_end, b'"', &bytes[self.at..]) else {
                self.at = bytes.len();
                return None;
            };
            let place = self.at + found;
            if bytes[place] == self.line_end {
                return Some(place);
            }
            self.is_quoted = place == self.start || bytes[place - 1] == delimiter;
            self.at = place + 1;
        }
    }

    fn find_any_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let found = memchr(self.line_end, &bytes[self.at..]).map(|found| self.at + found);
        self.at = found.unwrap_or(bytes.len());
        found
    }

    /// Goes past the closing quote, if it has come. A quote at the very end may be half of a doubled one: it is looked at
    /// again when more has come.
    fn close_quote(&mut self, bytes: &[u8], delimiter: u8) -> bool {
        loop {
            let Some(found) = memchr2(self.line_end, b'"', &bytes[self.at..]) else {
                self.at = bytes.len();
                return false;
            };
            let place = self.at + found;
            if bytes[place] == self.line_end {
                self.lines_inside += 1;
                self.at = place + 1;
                continue;
            }
            match (bytes.get(place + 1), bytes.get(place + 2)) {
                (None, _) => {
                    self.at = place;
                    return false;
                }
                (Some(b'"'), _) => self.at = place + 2,
                // The next cell is quoted too, as all are where all are: no need to search for its quote.
                (Some(&next), Some(b'"')) if next == delimiter => self.at = place + 3,
                _ => {
                    (self.is_quoted, self.at) = (false, place + 1);
                    return true;
                }
            }
        }
    }
}
