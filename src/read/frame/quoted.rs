//! Finds the ends of rows: line ends that are neither inside quotes nor escaped.
//!
//! A quote opens a quoted cell at the start of a cell (RFC 4180, 2.5), or after blanks at the start of a cell.
//! Anywhere else it is an ordinary character. Inside quotes, a doubled quote means one quote, and line ends are text.
//! Exception: if blanks precede the opening quote, the cell ends at the end of the line. Empty lines are not rows. A
//! line that contains only spaces is a row.
//!
//! `parse/csv/split.rs` splits a row into cells by the same rules. A test there checks that both agree.

use memchr::{memchr2, memchr3};

use super::Place;
use crate::read::block::Ending;
use crate::read::dialect::Dialect;

/// Finds line ends outside quotes.
#[derive(Debug, Clone)]
pub(super) struct Quoted {
    dialect: Dialect,
    /// Whether the first byte that is not scanned yet is inside quotes.
    inside: Inside,
    /// One past the last escaped byte. An escaped delimiter is text and starts no cell.
    literal_end: usize,
    /// The kind of quoted cell that a quote at the start of the current row opens. Usually that is the beginning of a
    /// row. After the beginning of a row that is too long was dropped, it may be inside a cell.
    front: Inside,
}

/// Whether a position is inside quotes, and in which kind of quoted cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    No,
    /// The quote is at the start of its cell. Line ends inside it are text.
    AcrossLines,
    /// Blanks precede the quote. The cell ends with its line, even if the quote is not closed.
    WithinLine,
}

impl Quoted {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, inside: Inside::No, literal_end: 0, front: Inside::AcrossLines }
    }

    /// Forgets the quotes of the last row.
    pub(super) fn begin_row(&mut self) {
        (self.inside, self.front) = (Inside::No, Inside::AcrossLines);
    }

    /// Returns how the source ended, if it ended after a row without a line end.
    pub(super) fn end(&self, bytes: &[u8], place: &Place) -> Ending {
        // A quote as the very last byte closes its cell (see `pass_quote`).
        let is_closed = bytes.get(place.at).copied().is_some_and(|byte| self.dialect.quote == Some(byte));
        let is_open = self.inside == Inside::AcrossLines && !is_closed;
        if is_open { Ending::OpenQuote } else { Ending::Whole }
    }

    /// Adjusts the positions. Call it before the first `length` bytes of `bytes` are dropped.
    pub(super) fn drop_front(&mut self, bytes: &[u8], length: usize, place: &Place) {
        if length > place.start {
            self.front = self.opening(bytes, length, place);
        }
        self.literal_end = self.literal_end.saturating_sub(length);
    }

    /// Returns the position of the line end that ends the current row, if it is in `bytes`. Continues at the byte
    /// where the last call stopped.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        let Dialect { line_end, escape, .. } = self.dialect;
        while let Some(found) = self.find_sign(&bytes[place.at..]) {
            let at = place.at + found;
            let sign = bytes[at];
            let is_passed = if sign == line_end {
                if self.inside != Inside::AcrossLines {
                    // `pass` moves past it.
                    return Some(at);
                }
                place.lines_inside += 1;
                place.at = at + 1;
                true
            } else if Some(sign) == escape {
                self.pass_escaped(bytes, at, place)
            } else if self.inside == Inside::No {
                self.inside = self.opening(bytes, at, place);
                place.at = at + 1;
                true
            } else {
                self.pass_quote(bytes, at, place)
            };
            if !is_passed {
                // The meaning of this byte depends on bytes that have not been read yet.
                place.at = at;
                return None;
            }
        }
        place.at = bytes.len();
        None
    }

    /// Returns the position of the next special byte: a line end, a quote or an escape character.
    fn find_sign(&self, rest: &[u8]) -> Option<usize> {
        let Dialect { line_end, quote, escape, .. } = self.dialect;
        let quote = quote.unwrap_or(line_end);
        match escape {
            None => memchr2(line_end, quote, rest),
            Some(escape) => memchr3(line_end, quote, escape, rest),
        }
    }

    /// Moves past the escape character at `at` and the character it escapes, which is one byte or CR LF together.
    /// Returns false if that character is not in `bytes` yet.
    fn pass_escaped(&mut self, bytes: &[u8], at: usize, place: &mut Place) -> bool {
        let Some(&next) = bytes.get(at + 1) else { return false };
        let mut end = at + 2;
        if next == b'\r' && self.dialect.line_end == b'\n' {
            match bytes.get(end) {
                None => return false,
                Some(b'\n') => end += 1,
                Some(_) => {}
            }
        }
        place.lines_inside += u64::from(bytes[end - 1] == self.dialect.line_end);
        (place.at, self.literal_end) = (end, end);
        true
    }

    /// Returns the kind of quoted cell that a quote at `at`, outside quotes, opens.
    fn opening(&self, bytes: &[u8], at: usize, place: &Place) -> Inside {
        let before = &bytes[place.start..at];
        let cell = at - before.iter().rev().take_while(|&&byte| self.dialect.is_blank_byte(byte)).count();
        let opening = if cell == place.start {
            self.front
        } else if bytes[cell - 1] == self.dialect.delimiter && cell > self.literal_end {
            Inside::AcrossLines
        } else {
            Inside::No
        };
        if cell < at && opening == Inside::AcrossLines { Inside::WithinLine } else { opening }
    }

    /// Moves past the quote at `at`, inside quotes. Returns false if `bytes` ends with this quote, because only the
    /// next byte shows whether it is a doubled quote.
    fn pass_quote(&mut self, bytes: &[u8], at: usize, place: &mut Place) -> bool {
        let Dialect { delimiter, quote, .. } = self.dialect;
        match (bytes.get(at + 1).copied(), bytes.get(at + 2).copied()) {
            (None, _) => return false,
            (next, _) if next == quote => place.at = at + 2,
            // The next cell is quoted as well, as in files that quote every cell. Its opening quote is skipped
            // without another search.
            (Some(next), after) if next == delimiter && after == quote => {
                (self.inside, place.at) = (Inside::AcrossLines, at + 3);
            }
            _ => (self.inside, place.at) = (Inside::No, at + 1),
        }
        true
    }
}
