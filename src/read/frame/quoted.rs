//! Finds the ends of rows in delimited text. A row ends at a line end that is neither inside quotes nor escaped.
//!
//! A quote opens a quoted cell if it is the first character of the cell (RFC 4180, 2.5), or if only blanks are before
//! it in the cell. In an unquoted cell, a quote is an ordinary character.
//!
//! Inside a quoted cell, two quotes mean one quote, and line ends are text. There is one exception: if blanks are
//! before the opening quote, the cell ends with its line, even if the closing quote is missing.
//!
//! Empty lines are not rows. A line of spaces is a row.
//!
//! `parse/csv/split.rs` splits a row into cells by the same rules. A test in that file checks that both agree.

use memchr::{memchr2, memchr3};

use super::Place;
use crate::read::block::Ending;
use crate::read::dialect::Dialect;

/// Finds line ends that are not inside quotes.
#[derive(Debug, Clone)]
pub(super) struct Quoted {
    dialect: Dialect,
    inside: Inside,
    /// Position after the last escaped character. An escaped delimiter is text, and no cell starts after it.
    literal_end: usize,
    /// The kind of cell that a quote at `Place::start` opens. Usually a row begins there, and the kind is
    /// `AcrossLines`. If a row is too long and its beginning was dropped, `Place::start` can be in the middle of a
    /// cell. The kind can then be `No`: the quote is text.
    front: Inside,
}

/// Says whether a position is inside quotes, and whether the quoted cell can have several lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    No,
    /// Inside a cell that starts with its quote. Line ends are text.
    AcrossLines,
    /// Inside a cell with blanks before its quote. The cell ends with its line, even if the quote is not closed.
    WithinLine,
}

impl Quoted {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, inside: Inside::No, literal_end: 0, front: Inside::AcrossLines }
    }

    /// Prepares for a new row, which starts outside quotes.
    pub(super) fn begin_row(&mut self) {
        (self.inside, self.front) = (Inside::No, Inside::AcrossLines);
    }

    /// Returns how the last row ended. Call it if the source ends before the line end of the row.
    pub(super) fn end(&self, bytes: &[u8], place: &Place) -> Ending {
        // If a quote is the last byte of the source, it closes its cell. `pass_quote` did not pass this quote, because
        // it needs the next byte.
        let is_closed = bytes.get(place.at).copied().is_some_and(|byte| self.dialect.quote == Some(byte));
        let is_open = self.inside == Inside::AcrossLines && !is_closed;
        if is_open { Ending::OpenQuote } else { Ending::Whole }
    }

    /// Prepares the positions for a shorter buffer. Call it before the first `length` bytes of `bytes` are dropped.
    pub(super) fn drop_front(&mut self, bytes: &[u8], length: usize, place: &Place) {
        if length > place.start {
            self.front = self.opening(bytes, length, place);
        }
        self.literal_end = self.literal_end.saturating_sub(length);
    }

    /// Returns the position of the line end of the current row, or `None` if it is not in `bytes` yet. The search
    /// continues at the byte at which the last call stopped.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        let Dialect { line_end, escape, .. } = self.dialect;
        while let Some(found) = self.find_sign(&bytes[place.at..]) {
            let at = place.at + found;
            let sign = bytes[at];
            let is_passed = if sign == line_end {
                if self.inside != Inside::AcrossLines {
                    // The result is the position of the line end itself. `Framer::pass` later moves past it.
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
                // More bytes are needed to know what this byte means.
                place.at = at;
                return None;
            }
        }
        place.at = bytes.len();
        None
    }

    /// Returns the position of the next line end, quote or escape character.
    fn find_sign(&self, rest: &[u8]) -> Option<usize> {
        let Dialect { line_end, quote, escape, .. } = self.dialect;
        let quote = quote.unwrap_or(line_end);
        match escape {
            None => memchr2(line_end, quote, rest),
            Some(escape) => memchr3(line_end, quote, escape, rest),
        }
    }

    /// Moves past an escape character and the escaped character. `\r\n` counts as one character. Returns false if the
    /// escaped character is not in `bytes` yet.
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

    /// Returns the kind of cell that a quote at `at` opens, or `Inside::No` if it does not open a cell. The position
    /// `at` must be outside quoted cells, otherwise the result has no meaning.
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

    /// Moves past a quote inside a quoted cell. The byte after the quote shows whether the quote closes the cell or is
    /// doubled. Returns false if that byte is not in `bytes` yet.
    fn pass_quote(&mut self, bytes: &[u8], at: usize, place: &mut Place) -> bool {
        let Dialect { delimiter, quote, .. } = self.dialect;
        match (bytes.get(at + 1).copied(), bytes.get(at + 2).copied()) {
            (None, _) => return false,
            (next, _) if next == quote => place.at = at + 2,
            // The next cell is quoted too. Its opening quote is passed here, which saves a search. This is fast for
            // files in which all cells are quoted.
            (Some(next), after) if next == delimiter && after == quote => {
                (self.inside, place.at) = (Inside::AcrossLines, at + 3);
            }
            _ => (self.inside, place.at) = (Inside::No, at + 1),
        }
        true
    }
}
