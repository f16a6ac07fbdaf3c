//! Finds JSON values that follow one another or are in an array. Each value is a row.
//!
//! This module looks only at brackets, strings, colons and commas. The parser decides whether a value is valid JSON.
//! Commas between values are optional.
//!
//! A damaged value must not hide the values after it. Each of the following rules applies only where the text is not
//! JSON. Therefore no rule divides a valid value, unless the value is longer than the row limit and is rejected anyway:
//!
//! - A closing bracket that does not match ends the value.
//! - A line end closes a string, because JSON does not allow line ends inside strings.
//! - A string must be followed by `:`, `,`, `}` or `]`. If text or a quote follows, then an earlier quote is missing,
//!   or the closing quote is part of the text. The closing quote is then read as an opening quote.
//! - A `{` that is not expected begins the next value. Inside an object, `{` is expected only after `:`. Inside an
//!   array, `{` is expected only after `[` or `,`. [`Documents::opens_value`] has the details.

use memchr::memchr3;

use super::Place;
use crate::read::block::Ending;

/// Finds the ends of JSON values.
#[derive(Debug, Clone)]
pub(super) struct Documents {
    /// Whether the values are inside an array. The array itself is not a value.
    in_array: bool,
    /// The closing brackets that the current value still needs. The innermost bracket is the last.
    open: Vec<u8>,
    state: State,
    /// The last byte of the current value that is not white space. It is a line end if a line end closed a string.
    before: u8,
    /// Number of blanks, commas and brackets of the outer array at the start of the current line.
    indent: usize,
    /// True as long as only characters of the indent have been read in the current line.
    is_at_line_start: bool,
    /// The indent of the line on which the current value begins.
    value_indent: usize,
    /// True if a part of the current value is not JSON.
    is_damaged: bool,
    row_bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two values.
    Between,
    /// Inside an object or an array that is a value.
    Nested,
    /// Inside a string, which is a value or part of a value.
    Text,
    /// After a string inside an object or an array.
    AfterText,
    /// Inside a number, a word, or other text without brackets and quotes.
    Word,
}

impl Documents {
    pub(super) fn new(row_bytes_max: usize) -> Self {
        Self {
            in_array: false,
            open: Vec::new(),
            state: State::Between,
            before: b' ',
            indent: 0,
            is_at_line_start: true,
            value_indent: 0,
            is_damaged: false,
            row_bytes_max,
        }
    }

    /// Returns the end of the current value, if it is in `bytes`. Moves the start of the row to the value's first byte.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        while place.at < bytes.len() {
            let end = match self.state {
                State::Between => self.begin(bytes, place),
                State::Nested => self.pass_nested(bytes, place),
                State::Text => {
                    if self.pass_text(bytes, place) {
                        // The meaning of the last bytes depends on the next byte, which has not been read yet.
                        return None;
                    }
                    self.end_of_text(place.at)
                }
                State::AfterText => self.pass_blanks_after_text(bytes, place),
                State::Word => pass_word(bytes, place),
            };
            if end.is_some() {
                self.state = State::Between;
                self.open.clear();
                return end;
            }
        }
        None
    }

    /// Returns how the source ended, if it ended inside a value or an array. Reports an open array once.
    pub(super) fn end(&mut self) -> Option<Ending> {
        let is_open_array = std::mem::take(&mut self.in_array);
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => is_open_array.then_some(Ending::OpenArray),
            State::Word if !is_open_array => Some(Ending::Whole),
            _ => Some(Ending::Truncated),
        }
    }

    /// Skips white space, commas and the brackets of the array, or begins the next value. Returns the end of the value
    /// if the value is a single closing bracket.
    fn begin(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
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
        None
    }

    fn begin_value(&mut self, byte: u8, place: &mut Place) -> Option<usize> {
        (self.value_indent, self.is_damaged) = (self.indent, false);
        self.is_at_line_start = false;
        match byte {
            b'{' | b'[' => self.state = State::Nested,
            b'}' | b']' => return Some(place.at + 1),
            b'"' => {
                self.state = State::Text;
                place.at += 1;
            }
            _ => self.state = State::Word,
        }
        None
    }

    const fn begin_line(&mut self) {
        self.indent = 0;
        self.is_at_line_start = true;
    }

    /// Passes brackets until the value ends or a string begins.
    fn pass_nested(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        while let Some(&byte) = bytes.get(place.at) {
            match byte {
                b' ' | b'\t' | b'\r' => {
                    let blanks = count_blanks(&bytes[place.at..]);
                    self.indent += if self.is_at_line_start { blanks } else { 0 };
                    place.at += blanks;
                    continue;
                }
                b'\n' => {
                    place.lines_inside += 1;
                    place.at += 1;
                    self.begin_line();
                    continue;
                }
                b',' if self.is_at_line_start => {
                    self.indent += 1;
                    self.before = byte;
                    place.at += 1;
                    continue;
                }
                b'{' => {
                    if self.opens_value(place) {
                        return Some(place.at);
                    }
                    self.open.push(b'}');
                }
                b'[' => self.open.push(b']'),
                b'}' | b']' => {
                    if let Some(end) = self.close(byte, place.at) {
                        self.is_at_line_start = false;
                        return Some(end);
                    }
                }
                b'"' => self.state = State::Text,
                _ => {}
            }
            self.is_at_line_start = false;
            self.before = byte;
            place.at += 1;
            if byte == b'"' {
                return None;
            }
        }
        None
    }

    /// Returns true if the `{` at `place` begins the next value, because the current value is damaged or too long.
    ///
    /// If a line begins with `{` and is not indented more than the value's first line, this `{` begins the next value.
    /// Elsewhere in a line, or in a line with a larger indent, an expected `{` belongs to the current value. The
    /// character before an unexpected `{` decides:
    ///
    /// - After a string or another `{`, the unexpected `{` belongs to the current value: a colon or a key is missing.
    /// - If the value has an open array, the unexpected `{` begins the next item of the array: a `}` is missing. An
    ///   item must not become a row.
    /// - In all other cases it begins the next value: a `}` is missing.
    fn opens_value(&mut self, place: &Place) -> bool {
        let is_expected = match self.open.last() {
            None => return false,
            Some(b'}') => self.before == b':',
            Some(_) => matches!(self.before, b'[' | b','),
        };
        self.is_damaged |= !is_expected;
        if self.is_at_line_start && self.indent <= self.value_indent {
            return self.is_damaged || place.row_bytes() > self.row_bytes_max;
        }
        if is_expected || matches!(self.before, b'"' | b'{') {
            return false;
        }
        let array = self.open.iter().rposition(|&bracket| bracket == b']');
        self.open.truncate(array.map_or(self.open.len(), |array| array + 1));
        array.is_none()
    }

    /// Returns the end of the value if the closing bracket at `at` ends it.
    fn close(&mut self, bracket: u8, at: usize) -> Option<usize> {
        if self.open.last() == Some(&bracket) {
            self.open.pop();
            return self.open.is_empty().then_some(at + 1);
        }
        // The bracket may be the end of the array that contains the values.
        let ends_array = bracket == b']' && self.in_array && !self.open.contains(&b']');
        Some(if ends_array { at } else { at + 1 })
    }

    /// Passes the text of a string up to and including its end. Returns true if the next byte must be read first.
    fn pass_text(&mut self, bytes: &[u8], place: &mut Place) -> bool {
        while let Some(found) = memchr3(b'"', b'\\', b'\n', &bytes[place.at..]) {
            let from = place.at;
            place.at += found + 1;
            match (bytes[place.at - 1], bytes.get(place.at)) {
                (b'\\', None) => {
                    place.at -= 1;
                    return true;
                }
                (b'\\', Some(b'\n')) => {}
                (b'\\', Some(_)) => place.at += 1,
                (b'"', next) => return self.end_text(&bytes[from..place.at - 1], next.copied(), place),
                _ => {
                    place.lines_inside += 1;
                    self.begin_line();
                    (self.before, self.is_damaged) = (b'\n', true);
                    self.state = State::Nested;
                    return false;
                }
            }
        }
        // `end_text` needs the last bytes of the text.
        place.at = place.at.max(bytes.len().saturating_sub(NEXT_OBJECT_BYTES));
        place.at < bytes.len()
    }

    /// Ends a string at its closing quote, which `place` has just passed. `text` contains at least the last
    /// [`NEXT_OBJECT_BYTES`] of the string without escapes. Returns true if the byte `next` after the quote must be
    /// read first.
    ///
    /// In `{"a":"x},{"a":1}` the quote after `x` is missing. The string is then `x},{`: its text ends with `,{`, and a
    /// key follows its closing quote. In this case the search continues at that `{`, which begins the next value.
    fn end_text(&mut self, text: &[u8], next: Option<u8>, place: &mut Place) -> bool {
        if self.open.is_empty() || next.is_some_and(|next| matches!(next, b':' | b',' | b'}' | b']')) {
            self.state = State::Nested;
            return false;
        }
        self.state = State::AfterText;
        if !text.ends_with(b",{") && !text.ends_with(b", {") {
            return false;
        }
        match next {
            None => {
                self.state = State::Text;
                place.at -= 1 + NEXT_OBJECT_BYTES.min(text.len());
                true
            }
            Some(next) if follows_text(next) => false,
            Some(_) => {
                self.state = State::Nested;
                (self.before, self.is_damaged) = (b',', true);
                place.at -= 2;
                false
            }
        }
    }

    /// Passes the blanks after a string. If text or a quote follows, the closing quote of the string is read as an
    /// opening quote. If an opening bracket follows, only a colon or a comma is missing.
    fn pass_blanks_after_text(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        match bytes[place.at] {
            b' ' | b'\t' => place.at += 1,
            byte if follows_text(byte) || matches!(byte, b'{' | b'[') => self.state = State::Nested,
            _ => (self.state, self.is_damaged) = (State::Text, true),
        }
        None
    }

    /// Returns the end of a string at `at` if the string is a value of its own.
    fn end_of_text(&self, at: usize) -> Option<usize> {
        (self.state == State::Nested && self.open.is_empty()).then_some(at)
    }
}

/// Length of `, {`, which separates two objects.
const NEXT_OBJECT_BYTES: usize = 3;

/// Returns true if JSON allows the byte after a string inside an object or an array.
const fn follows_text(byte: u8) -> bool {
    matches!(byte, b':' | b',' | b'}' | b']') || is_blank(byte)
}

/// Returns true if the byte is white space in JSON. A form feed, for example, is not.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Returns the number of blanks and carriage returns at the start of `bytes`.
fn count_blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r')).count()
}

/// Passes a word. It ends before white space, a comma, a bracket or a quote.
fn pass_word(bytes: &[u8], place: &mut Place) -> Option<usize> {
    let ends = |&byte: &u8| is_blank(byte) || b",[]{}\"".contains(&byte);
    let found = bytes[place.at..].iter().position(ends).map(|found| place.at + found);
    place.at = found.unwrap_or(bytes.len());
    found
}
