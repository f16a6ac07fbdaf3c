//! Finds JSON values that follow one another or are in an array. Each value is a row.
//!
//! This module finds the end of a value by its brackets, strings, colons and commas. The parser decides whether a value
//! is valid JSON.
//! Commas between values are optional. Only an object is a valid row. A stray bracket between values, such as `}` or
//! a second `[`, is a damaged row of one byte. The objects after it are still found.
//!
//! A damaged value must not hide the values after it. `damage` has the rules for this. They never divide a valid object
//! of normal length. An object that is longer than the row limit may be divided, because it is rejected anyway.

mod damage;

use std::ops::ControlFlow::{Break, Continue};

use memchr::memchr3;

use self::damage::OBJECT_START_BYTES;
use super::{Place, Step};
use crate::read::block::Ending;

/// Finds the ends of JSON values.
#[derive(Debug, Clone)]
pub(super) struct Documents {
    /// True if the values are inside an outer array. That array itself is not a value.
    in_array: bool,
    /// True if the search ends with the outer array.
    is_inside: bool,
    /// For each open bracket of the current value, the bracket that closes it. The innermost is last.
    open: Vec<u8>,
    state: State,
    /// The last byte before the current place that is not white space. After a string it is `"`, or `\n` if a line end
    /// closed the string. Inside a string it is the byte before the string.
    before: u8,
    /// Number of blanks and commas at the start of the current line. Brackets of the outer array count too.
    indent: usize,
    /// True until the first character after the indent of the current line has been read.
    is_at_line_start: bool,
    value: Value,
    /// The first key of the current value. If it is not known, the first key of an earlier value. Empty if no first key
    /// is known yet.
    first_key: Vec<u8>,
    row_bytes_max: usize,
}

/// Properties of the current value.
#[derive(Debug, Clone, Default)]
struct Value {
    /// The indent of the line on which the value begins.
    indent: usize,
    /// True if a part of the value is not JSON.
    is_damaged: bool,
    /// True if the value seems to be written without indentation: before the damage, a line begins with a string and is
    /// not indented more than the value's first line.
    has_flat_lines: bool,
    /// True if an object inside the value begins with [`Documents::first_key`].
    repeats_first_key: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two values.
    Between,
    /// Inside an object that is a value.
    Nested,
    /// Inside a string, which is a value or part of a value.
    Text,
    /// After the closing quote of a string. Since the quote, only spaces and tabs were read, or nothing.
    AfterText,
    /// Inside a number, a word, or other text without brackets and quotes.
    Word,
}

impl Documents {
    pub(super) fn new(row_bytes_max: usize) -> Self {
        Self {
            in_array: false,
            is_inside: false,
            open: Vec::new(),
            state: State::Between,
            before: b' ',
            indent: 0,
            is_at_line_start: true,
            value: Value::default(),
            first_key: Vec::new(),
            row_bytes_max,
        }
    }

    /// Begins in an outer array, whose opening bracket was passed. The search ends with this array.
    pub(super) fn begin_array(&mut self) {
        (self.in_array, self.is_inside) = (true, true);
    }

    /// Returns true if the values are inside an outer array.
    pub(super) const fn is_in_array(&self) -> bool {
        self.in_array
    }

    /// Returns the end of the current value, if it is in `bytes`. Moves the start of the row to the value's first byte.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        while place.at < bytes.len() {
            let step = match self.state {
                State::Between => self.begin(bytes, place),
                State::Nested => self.pass_nested(bytes, place),
                State::Text => self.pass_text(bytes, place),
                State::AfterText => self.pass_blanks_after_text(bytes[place.at], place),
                State::Word => pass_word(bytes, place),
            };
            if let Break(end) = step {
                if end.is_some() {
                    self.state = State::Between;
                    self.open.clear();
                }
                return end;
            }
        }
        None
    }

    /// Returns how the last value ended. Call it at the end of the source. If no value has begun, returns `OpenArray`
    /// if the outer array is not closed, otherwise `None`. A second call returns `None`.
    pub(super) fn end(&mut self) -> Option<Ending> {
        let is_open_array = std::mem::take(&mut self.in_array);
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => is_open_array.then_some(Ending::OpenArray),
            State::Word | State::AfterText if !is_open_array && self.open.is_empty() => Some(Ending::Whole),
            _ => Some(Ending::Truncated),
        }
    }

    /// Skips a blank, a comma or a bracket of the outer array, or begins the next value. If the value is a single
    /// bracket, returns its end.
    fn begin(&mut self, bytes: &[u8], place: &mut Place) -> Step {
        let byte = bytes[place.at];
        place.start = place.at;
        match byte {
            b'\n' => {
                place.line += 1;
                self.begin_line();
            }
            b' ' | b'\t' | b'\r' | b',' => self.indent += usize::from(self.is_at_line_start),
            b'[' | b']' if self.in_array == (byte == b']') => {
                self.in_array = byte == b'[';
                self.indent += usize::from(self.is_at_line_start);
            }
            _ => return self.begin_value(byte, place),
        }
        place.at += 1;
        place.start = place.at;
        if self.is_inside && !self.in_array {
            return Break(None);
        }
        Continue(())
    }

    fn begin_value(&mut self, byte: u8, place: &mut Place) -> Step {
        self.value = Value { indent: self.indent, ..Value::default() };
        self.is_at_line_start = false;
        match byte {
            b'{' => self.state = State::Nested,
            b'[' | b'}' | b']' => return Break(Some(place.at + 1)),
            b'"' => {
                self.state = State::Text;
                place.at += 1;
            }
            _ => self.state = State::Word,
        }
        Continue(())
    }

    const fn begin_line(&mut self) {
        self.indent = 0;
        self.is_at_line_start = true;
    }

    /// Passes the content of an object until the object ends, `bytes` end, or the state changes.
    fn pass_nested(&mut self, bytes: &[u8], place: &mut Place) -> Step {
        while let Some(&byte) = bytes.get(place.at) {
            match byte {
                b'"' => {
                    self.begin_text(place);
                    self.pass_text(bytes, place)?;
                    if self.state != State::Nested {
                        return Continue(());
                    }
                }
                b'{' => self.open_object(bytes, place)?,
                b'[' => {
                    self.value.is_damaged |= !self.expects_value();
                    self.open(b']', place);
                }
                b'}' | b']' => self.close(byte, place)?,
                b'\n' => {
                    place.lines_inside += 1;
                    place.at += 1;
                    self.begin_line();
                }
                b' ' | b'\t' | b'\r' => self.pass_blanks(bytes, place),
                b',' if self.is_at_line_start => {
                    self.indent += 1;
                    self.before = byte;
                    place.at += 1;
                }
                _ => self.pass_ordinary(byte, place),
            }
        }
        Continue(())
    }

    fn begin_text(&mut self, place: &mut Place) {
        if self.is_at_line_start {
            self.value.has_flat_lines |= !self.value.is_damaged && self.indent <= self.value.indent;
            self.is_at_line_start = false;
        }
        self.state = State::Text;
        place.at += 1;
    }

    fn pass_blanks(&mut self, bytes: &[u8], place: &mut Place) {
        let blanks = bytes[place.at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count();
        self.indent += if self.is_at_line_start { blanks } else { 0 };
        place.at += blanks;
    }

    const fn pass_ordinary(&mut self, byte: u8, place: &mut Place) {
        self.is_at_line_start = false;
        self.before = byte;
        place.at += 1;
    }

    /// Passes a `{` that belongs to the current value. If the `{` begins the next value instead, returns its position,
    /// at which the current value ends.
    fn open_object(&mut self, bytes: &[u8], place: &mut Place) -> Step {
        let Some(key) = damage::first_key(&bytes[place.at + 1..]) else { return Break(None) };
        if !self.open.is_empty() {
            if self.opens_value(key, place) {
                return Break(Some(place.at));
            }
        } else if !key.is_empty() {
            self.first_key.clear();
            self.first_key.extend_from_slice(key);
        }
        self.open(b'}', place);
        Continue(())
    }

    /// Passes an opening bracket and stores `closing`, the bracket that closes it. At most `row_bytes_max + 1` brackets
    /// are stored. A value with more open brackets is longer than `row_bytes_max`, so it is rejected.
    fn open(&mut self, closing: u8, place: &mut Place) {
        if self.open.len() <= self.row_bytes_max {
            self.open.push(closing);
        }
        let opening = if closing == b'}' { b'{' } else { b'[' };
        self.pass_ordinary(opening, place);
    }

    /// Passes a closing bracket. Returns the end of the value if the bracket ends it.
    fn close(&mut self, bracket: u8, place: &mut Place) -> Step {
        let is_match = self.open.last() == Some(&bracket);
        // The bracket closes the outer array, so the current value ends before it.
        if !is_match && bracket == b']' && self.in_array && !self.open.contains(&b']') {
            self.is_at_line_start = false;
            return Break(Some(place.at));
        }
        self.pass_ordinary(bracket, place);
        if is_match {
            self.open.pop();
        }
        if is_match && !self.open.is_empty() { Continue(()) } else { Break(Some(place.at)) }
    }

    /// Returns true if JSON allows an object or an array at this place of the current value.
    fn expects_value(&self) -> bool {
        match self.open.last() {
            None => true,
            Some(b'}') => self.before == b':',
            Some(_) => matches!(self.before, b'[' | b','),
        }
    }

    /// Passes the text of a string up to and including its end.
    fn pass_text(&mut self, bytes: &[u8], place: &mut Place) -> Step {
        while let Some(found) = memchr3(b'"', b'\\', b'\n', &bytes[place.at..]) {
            let from = place.at;
            place.at += found + 1;
            match (bytes[place.at - 1], bytes.get(place.at)) {
                (b'\\', None) => {
                    place.at -= 1;
                    return Break(None);
                }
                (b'\\', Some(b'\n')) => {}
                (b'\\', Some(_)) => place.at += 1,
                (b'"', Some(b':' | b',' | b'}' | b']')) if !self.open.is_empty() => {
                    self.continue_after_text();
                    return Continue(());
                }
                (b'"', next) => return self.end_text(&bytes[from..place.at - 1], next.copied(), place),
                _ => return self.end_text_at_line_end(place),
            }
        }
        // The search continues a few bytes before the end of `bytes`, because `end_text` needs these bytes of the
        // string.
        place.at = place.at.max(bytes.len().saturating_sub(OBJECT_START_BYTES));
        Break(None)
    }

    const fn continue_after_text(&mut self) {
        self.state = State::Nested;
        self.before = b'"';
    }
}

/// Returns true if the byte is white space in JSON.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Passes a word. A word ends before white space, a comma, a bracket or a quote.
fn pass_word(bytes: &[u8], place: &mut Place) -> Step {
    let ends = |&byte: &u8| is_blank(byte) || b",[]{}\"".contains(&byte);
    let found = bytes[place.at..].iter().position(ends).map(|found| place.at + found);
    place.at = found.unwrap_or(bytes.len());
    Break(found)
}
