//! JSON values, one after another or in an array. Each value is a row.
//!
//! Only brackets and strings are looked at; whether a value is valid JSON is for its parser to decide. A value that is
//! not valid must not take the following ones with it. Therefore a string ends at a line end, which JSON does not allow
//! inside strings, and a value ends at a closing bracket that does not match. Commas between values are optional.

use memchr::memchr3;

use super::Place;
use crate::read::block::Ending;

/// Finds the ends of JSON values.
#[derive(Debug, Clone, Default)]
pub(super) struct Documents {
    /// Whether the values are inside an array. The array itself is not a value.
    in_array: bool,
    /// The closing brackets that the current value still needs, the innermost last.
    open: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// Between two values.
    #[default]
    Between,
    /// Inside an object or an array that is a value.
    Nested,
    /// Inside a string, which is a value or part of one.
    Text,
    /// Inside a number, a word, or other text without brackets and quotes.
    Word,
}

impl Documents {
    /// Returns the end of the current value, if it is in `bytes`. Moves the start of the row to the value's first byte.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        while place.at < bytes.len() {
            let end = match self.state {
                State::Between => self.begin(bytes, place),
                State::Nested => self.pass_nested(bytes, place),
                State::Text => {
                    if self.pass_text(bytes, place) {
                        // A backslash is the last byte. Only the next byte shows which character it escapes.
                        return None;
                    }
                    self.end_of_text(place.at)
                }
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
        match std::mem::take(&mut self.state) {
            State::Between => is_open_array.then_some(Ending::OpenArray),
            State::Word if !is_open_array => Some(Ending::Whole),
            _ => Some(Ending::Truncated),
        }
    }

    /// Skips white space and commas, and begins the next value. Returns its end if it is a single stray bracket.
    fn begin(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        let byte = bytes[place.at];
        place.start = place.at;
        match byte {
            b' ' | b'\t' | b'\r' | b',' => place.at += 1,
            b'\n' => {
                place.line += 1;
                place.at += 1;
            }
            b'[' if !self.in_array => {
                self.in_array = true;
                place.at += 1;
            }
            b']' if self.in_array => {
                self.in_array = false;
                place.at += 1;
            }
            b'{' | b'[' => self.state = State::Nested,
            b'}' | b']' => return Some(place.at + 1),
            b'"' => {
                self.state = State::Text;
                place.at += 1;
            }
            _ => self.state = State::Word,
        }
        if self.state == State::Between {
            place.start = place.at;
        }
        None
    }

    /// Passes brackets until the value ends or a string begins.
    fn pass_nested(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        while let Some(&byte) = bytes.get(place.at) {
            match byte {
                b'{' => self.open.push(b'}'),
                b'[' => self.open.push(b']'),
                b'}' | b']' => {
                    if let Some(end) = self.close(byte, place.at) {
                        return Some(end);
                    }
                }
                b'"' => {
                    self.state = State::Text;
                    place.at += 1;
                    return None;
                }
                b'\n' => place.lines_inside += 1,
                _ => {}
            }
            place.at += 1;
        }
        None
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

    /// Passes the text of a string up to and including its end. Returns true if the last byte is a backslash.
    fn pass_text(&mut self, bytes: &[u8], place: &mut Place) -> bool {
        while let Some(found) = memchr3(b'"', b'\\', b'\n', &bytes[place.at..]) {
            place.at += found + 1;
            match (bytes[place.at - 1], bytes.get(place.at)) {
                (b'\\', None) => {
                    place.at -= 1;
                    return true;
                }
                (b'\\', Some(b'\n')) => {}
                (b'\\', Some(_)) => place.at += 1,
                (sign, _) => {
                    place.lines_inside += u64::from(sign == b'\n');
                    self.state = State::Nested;
                    return false;
                }
            }
        }
        place.at = bytes.len();
        false
    }

    /// Returns the end of a string at `at` if the string is a value of its own.
    fn end_of_text(&self, at: usize) -> Option<usize> {
        (self.state == State::Nested && self.open.is_empty()).then_some(at)
    }
}

/// Passes a word. It ends before white space, a comma, a bracket or a quote.
fn pass_word(bytes: &[u8], place: &mut Place) -> Option<usize> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b",[]{}\"".contains(byte);
    let found = bytes[place.at..].iter().position(ends).map(|found| place.at + found);
    place.at = found.unwrap_or(bytes.len());
    found
}
