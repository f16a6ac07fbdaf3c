//! Finds the ends of rows: line ends that are neither inside quotes nor escaped.
//!
//! A quote opens a quoted cell at the start of a cell (RFC 4180, 2.5), or after blanks at the start of a cell.
//! Anywhere else it is an ordinary character. Inside quotes, a doubled quote means one quote, and line ends are text.
//! Exception: if blanks precede the opening quote, the cell ends at the end of the line. Empty lines are not rows. A
//! line that contains only spaces is a row.
//!
//! `parse/csv.rs` splits a row into cells by the same rules. A test there checks that both agree.

use memchr::{memchr, memchr2, memchr3};

use super::block::{Ending, RowSpan};
use super::format::{Dialect, Format};

/// Number of bytes kept of a row that is too long, so that a user can identify the row.
pub(super) const TOO_LONG_KEPT_BYTES: usize = 4096;

/// Scans for the ends of rows. The buffer it scans grows at its end, and all positions are positions in that buffer.
#[derive(Debug, Clone)]
pub(super) struct Splitter {
    /// `None` if only line ends are special: in NDJSON, and in delimited text without quotes and escapes.
    dialect: Option<Dialect>,
    line_end: u8,
    row_bytes_max: usize,
    /// First byte of the current row.
    pub start: usize,
    /// First byte that is not scanned yet.
    at: usize,
    /// Whether `at` is inside quotes.
    quoted: Quoted,
    /// One past the last escaped byte. An escaped delimiter is text and starts no cell.
    literal_end: usize,
    /// The kind of quoted cell that a quote at `start` opens. Usually `start` is the beginning of a row. After the
    /// beginning of a row that is too long was dropped, `start` may be inside a cell.
    front: Quoted,
    /// Line of the source on which the current row starts, from 1.
    line: u64,
    /// Number of line ends inside the current row.
    lines_inside: u64,
}

/// Whether a position is inside quotes, and in which kind of quoted cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    /// The quote is at the start of its cell. Line ends inside it are text.
    AcrossLines,
    /// Blanks precede the quote. The cell ends with its line, even if the quote is not closed.
    WithinLine,
}

impl Splitter {
    pub(super) fn new(format: Format, row_bytes_max: usize) -> Self {
        let (dialect, line_end) = match format {
            Format::Csv(dialect) => (Some(dialect), dialect.line_end),
            Format::Ndjson => (None, b'\n'),
        };
        Self {
            dialect: dialect.filter(|dialect| dialect.quote.is_some() || dialect.escape.is_some()),
            line_end,
            row_bytes_max,
            start: 0,
            at: 0,
            quoted: Quoted::No,
            literal_end: 0,
            front: Quoted::AcrossLines,
            line: 1,
            lines_inside: 0,
        }
    }

    /// Returns the next row that ends in `bytes`. Its `offset` is always 0; the caller sets it. `is_complete` means
    /// that nothing follows `bytes`.
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

    /// Moves past the line end at `end`, and returns the start of the row that it ends.
    fn pass(&mut self, end: usize) -> usize {
        self.line += self.lines_inside + 1;
        self.lines_inside = 0;
        self.at = end + 1;
        (self.quoted, self.front) = (Quoted::No, Quoted::AcrossLines);
        std::mem::replace(&mut self.start, end + 1)
    }

    /// Returns the row between the last line end and the end of the source.
    fn last(&mut self, bytes: &[u8], is_complete: bool) -> Option<RowSpan> {
        if !is_complete || self.start >= bytes.len() {
            return None;
        }
        let (line, end) = (self.line, bytes.len());
        // A quote as the very last byte closes its cell (see `pass_quote`).
        let is_closed = bytes.get(self.at).copied().is_some_and(|byte| self.quote() == Some(byte));
        let is_open = self.quoted == Quoted::AcrossLines && !is_closed;
        let ending = if is_open { Ending::OpenQuote } else { Ending::Whole };
        let start = self.pass(end);
        (self.start, self.at) = (end, end);
        self.span(bytes, start..end, line, ending)
    }

    fn quote(&self) -> Option<u8> {
        self.dialect.and_then(|dialect| dialect.quote)
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

    /// Returns the beginning of a row that is too long, cut between two characters.
    fn too_long(&self, bytes: &[u8], start: usize, line: u64) -> RowSpan {
        let mut end = start + TOO_LONG_KEPT_BYTES.min(self.row_bytes_max);
        while end > start && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        RowSpan { start: start as u32, end: end as u32, line, offset: 0, ending: Ending::TooLong }
    }

    /// Returns the beginning of the current row if the row is already too long before its end was found. The caller
    /// skips its rest with [`skip`](Self::skip).
    pub(super) fn overflow(&self, bytes: &[u8]) -> Option<RowSpan> {
        (bytes.len() - self.start > self.row_bytes_max).then(|| self.too_long(bytes, self.start, self.line))
    }

    /// Skips the rest of a row that is too long. Returns true if the row ends in `bytes`. If not, all
    /// [`scanned`](Self::scanned) bytes may be dropped with [`drop_front`](Self::drop_front).
    pub(super) fn skip(&mut self, bytes: &[u8]) -> bool {
        self.find_line_end(bytes).map(|end| self.pass(end)).is_some()
    }

    /// Returns the number of bytes that were scanned. They are needed only as part of a row.
    pub(super) const fn scanned(&self) -> usize {
        self.at
    }

    /// Adjusts the positions. Call it before the first `length` bytes of `bytes` are dropped.
    pub(super) fn drop_front(&mut self, bytes: &[u8], length: usize) {
        if let Some(dialect) = self.dialect.filter(|_| length > self.start) {
            self.front = self.opening(bytes, length, dialect);
        }
        self.start = self.start.saturating_sub(length);
        self.at -= length;
        self.literal_end = self.literal_end.saturating_sub(length);
    }

    /// Returns the position of the line end that ends the current row, if it is in `bytes`. Continues at the byte
    /// where the last call stopped.
    fn find_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let Some(dialect) = self.dialect else { return self.find_any_line_end(bytes) };
        while let Some(place) = self.find_sign(bytes, dialect) {
            let sign = bytes[place];
            let is_passed = if sign == self.line_end {
                if self.quoted != Quoted::AcrossLines {
                    return Some(place);
                }
                self.lines_inside += 1;
                self.at = place + 1;
                true
            } else if Some(sign) == dialect.escape {
                self.pass_escaped(bytes, place)
            } else if self.quoted == Quoted::No {
                self.quoted = self.opening(bytes, place, dialect);
                self.at = place + 1;
                true
            } else {
                self.pass_quote(bytes, place, dialect)
            };
            if !is_passed {
                // The meaning of this byte depends on bytes that have not been read yet.
                self.at = place;
                return None;
            }
        }
        self.at = bytes.len();
        None
    }

    fn find_any_line_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let found = memchr(self.line_end, &bytes[self.at..]).map(|found| self.at + found);
        self.at = found.unwrap_or(bytes.len());
        found
    }

    /// Returns the position of the next special byte: a line end, a quote or an escape character.
    fn find_sign(&self, bytes: &[u8], dialect: Dialect) -> Option<usize> {
        let rest = &bytes[self.at..];
        let quote = dialect.quote.unwrap_or(self.line_end);
        let found = match dialect.escape {
            None => memchr2(self.line_end, quote, rest),
            Some(escape) => memchr3(self.line_end, quote, escape, rest),
        };
        found.map(|found| self.at + found)
    }

    /// Moves past the escape character at `place` and the character it escapes, which is one byte or CR LF together.
    /// Returns false if that character is not in `bytes` yet.
    fn pass_escaped(&mut self, bytes: &[u8], place: usize) -> bool {
        let Some(&next) = bytes.get(place + 1) else { return false };
        let mut end = place + 2;
        if next == b'\r' && self.line_end == b'\n' {
            match bytes.get(end) {
                None => return false,
                Some(b'\n') => end += 1,
                Some(_) => {}
            }
        }
        self.lines_inside += u64::from(bytes[end - 1] == self.line_end);
        (self.at, self.literal_end) = (end, end);
        true
    }

    /// Returns the kind of quoted cell that a quote at `place`, outside quotes, opens.
    fn opening(&self, bytes: &[u8], place: usize, dialect: Dialect) -> Quoted {
        let before = &bytes[self.start..place];
        let cell = place - before.iter().rev().take_while(|&&byte| dialect.is_blank_byte(byte)).count();
        let opening = if cell == self.start {
            self.front
        } else if bytes[cell - 1] == dialect.delimiter && cell > self.literal_end {
            Quoted::AcrossLines
        } else {
            Quoted::No
        };
        if cell < place && opening == Quoted::AcrossLines { Quoted::WithinLine } else { opening }
    }

    /// Moves past the quote at `place`, inside quotes. Returns false if `bytes` ends with this quote, because only
    /// the next byte shows whether it is a doubled quote.
    fn pass_quote(&mut self, bytes: &[u8], place: usize, dialect: Dialect) -> bool {
        match (bytes.get(place + 1).copied(), bytes.get(place + 2).copied()) {
            (None, _) => return false,
            (next, _) if next == dialect.quote => self.at = place + 2,
            // The next cell is quoted as well, as in files that quote every cell. Its opening quote is skipped
            // without another search.
            (Some(next), after) if next == dialect.delimiter && after == dialect.quote => {
                (self.quoted, self.at) = (Quoted::AcrossLines, place + 3);
            }
            _ => (self.quoted, self.at) = (Quoted::No, place + 1),
        }
        true
    }
}
