//! Rules for values that are not valid JSON. They find the place at which the next value begins:
//! - A closing bracket that does not match ends the value.
//! - A line end closes a string, because JSON does not allow line ends inside strings.
//! - After a string, JSON allows only `:`, `,`, `}` or `]`. If text or a quote follows instead, an earlier quote is
//!   missing, or the closing quote is part of the text. The closing quote is then read as an opening quote. See
//!   [`Documents::pass_blanks_after_text`] and [`Documents::end_text`] for the exceptions.
//! - A `{` may begin the next value. [`Documents::opens_value`] decides.
//! - If a string and a colon are between two values, as in `"b":2}`, they belong to an object whose `{` is missing.

use std::ops::ControlFlow::{Break, Continue};

use super::{Documents, Place, State, Step, is_blank};

/// Maximum length of the text between a `{` and the colon after its first key.
const KEY_BYTES_MAX: usize = 64;

/// If a quote is missing, the `{` of the next object can be inside a string. Only this number of bytes at the end of
/// the string is searched for the `{`.
pub(super) const OBJECT_START_BYTES: usize = 24;

impl Documents {
    /// Returns true if the `{` at `place` begins the next value, and false if it belongs to the current value. `key` is
    /// the key after the `{`. If JSON does not allow a `{` here, the current value is damaged.
    ///
    /// One rule is for a `{` at the start of a line that is not indented more than the value's first line. If the
    /// current value is damaged or too long, such a `{` begins the next value. Otherwise it belongs to the current
    /// value. This rule is skipped if the value is written without indentation (`has_flat_lines`).
    ///
    /// In all other cases, the first of these rules that applies decides:
    /// - If the current value is not damaged, the `{` belongs to the current value.
    /// - After `:`, `[`, a string or another `{`, the `{` belongs to the current value.
    /// - If `key` equals `first_key`, the `{` begins the next value. This rule is skipped if an earlier object inside
    ///   the value also began with this key, because an object inside a value must not become a row.
    /// - If the value has an open array, the `{` begins the next item of this array. A `}` may be missing before it.
    /// - If no first key is known, the `{` begins the next value. Otherwise it belongs to the current value.
    pub(super) fn opens_value(&mut self, key: &[u8], place: &Place) -> bool {
        let is_expected = self.expects_value();
        self.value.is_damaged |= !is_expected;
        if self.is_at_line_start && self.indent <= self.value.indent && !self.value.has_flat_lines {
            return self.value.is_damaged || place.row_bytes() > self.row_bytes_max;
        }
        let is_first_key = !key.is_empty() && key == self.first_key;
        if !self.value.is_damaged || matches!(self.before, b':' | b'[') {
            self.value.repeats_first_key |= is_first_key;
            return false;
        }
        if matches!(self.before, b'"' | b'{') {
            return false;
        }
        if is_first_key && !self.value.repeats_first_key {
            return true;
        }
        !is_expected && !self.returns_to_array() && self.first_key.is_empty()
    }

    /// Closes all brackets inside the innermost open array. Returns false if no array is open.
    fn returns_to_array(&mut self) -> bool {
        let array = self.open.iter().rposition(|&bracket| bracket == b']');
        self.open.truncate(array.map_or(self.open.len(), |array| array + 1));
        array.is_some()
    }

    /// Ends a string at its closing quote, which `place` has just passed. `text` is the part of the string after its
    /// last escape. If this part is long, `text` may be only its end, but has at least [`OBJECT_START_BYTES`] bytes.
    /// `next` is the byte after the quote.
    ///
    /// Example: in `{"a":["x]},{"a":1}` the quote after `x` is missing, so the string is `x]},{`. It ends with `,{`,
    /// and text follows its closing quote. In such a case, the search goes back to the `{`. The brackets before the `{`
    /// are then read as closing brackets: here `]` closes the array, and `}` closes the object.
    pub(super) fn end_text(&mut self, text: &[u8], next: Option<u8>, place: &mut Place) -> Step {
        self.state = State::AfterText;
        let text = &text[text.len().saturating_sub(OBJECT_START_BYTES)..];
        let Some(object) = object_start(text) else { return Continue(()) };
        match next {
            None => {
                self.state = State::Text;
                place.at -= 1 + text.len();
                return Break(None);
            }
            Some(next) if follows_text(next) => return Continue(()),
            Some(_) => {}
        }
        place.at -= 1 + text.len() - object;
        self.close_last_brackets(&text[..object]);
        if self.open.is_empty() {
            return Break(Some(place.at));
        }
        (self.state, self.before, self.value.is_damaged) = (State::Nested, b',', true);
        Continue(())
    }

    /// Treats the brackets at the end of `text` as closing brackets of the value. Ignores those that do not match.
    fn close_last_brackets(&mut self, text: &[u8]) {
        let is_other = |byte: &u8| !matches!(byte, b'}' | b']' | b',') && !is_blank(*byte);
        let from = text.iter().rposition(is_other).map_or(0, |other| other + 1);
        for bracket in &text[from..] {
            if self.open.last() == Some(bracket) {
                self.open.pop();
            }
        }
    }

    /// Ends a string at the line end that `place` has just passed.
    pub(super) fn end_text_at_line_end(&mut self, place: &mut Place) -> Step {
        place.lines_inside += 1;
        self.begin_line();
        if self.open.is_empty() {
            return Break(Some(place.at));
        }
        (self.state, self.before, self.value.is_damaged) = (State::Nested, b'\n', true);
        Continue(())
    }

    /// Passes the blanks after a string. If text or a quote follows, the closing quote of the string is read as an
    /// opening quote. There are two exceptions:
    /// - If an opening bracket follows the string, only a colon or a comma is missing.
    /// - If a number, `true`, `false` or `null` follows a key, only a colon is missing.
    pub(super) fn pass_blanks_after_text(&mut self, byte: u8, place: &mut Place) -> Step {
        match byte {
            b' ' | b'\t' => place.at += 1,
            b':' if self.open.is_empty() => {
                self.open.push(b'}');
                self.value.is_damaged = true;
                self.continue_after_text();
            }
            _ if self.open.is_empty() => return Break(Some(place.at)),
            b'{' | b'[' => self.continue_after_text(),
            _ if follows_text(byte) => self.continue_after_text(),
            b'0'..=b'9' | b'-' | b't' | b'f' | b'n' if self.is_text_key() => {
                self.value.is_damaged = true;
                self.continue_after_text();
            }
            _ => (self.state, self.value.is_damaged) = (State::Text, true),
        }
        Continue(())
    }

    /// Returns true if the current string is the key of an object.
    fn is_text_key(&self) -> bool {
        self.open.last() == Some(&b'}') && matches!(self.before, b'{' | b',')
    }
}

/// Returns the key at the beginning of an object. `text` follows the object's `{`. Returns an empty key if the text
/// does not begin with a key, or if the key is too long or contains a quote. Returns `None` if more text must be read.
pub(super) fn first_key(text: &[u8]) -> Option<&[u8]> {
    let is_complete = text.len() >= KEY_BYTES_MAX;
    let text = &text[..text.len().min(KEY_BYTES_MAX)];
    let unknown = is_complete.then_some(&[][..]);
    let Some(start) = text.iter().position(|byte| !is_blank(*byte)) else { return unknown };
    let [b'"', text @ ..] = &text[start..] else { return Some(&[]) };
    let Some(end) = text.iter().position(|&byte| byte == b'"') else { return unknown };
    match text[end + 1..].iter().find(|byte| !is_blank(**byte)) {
        None => unknown,
        Some(b':') => Some(&text[..end]),
        Some(_) => Some(&[]),
    }
}

/// Returns the position of the `{` if `text` ends with `,{` or `}{`. Blanks may be between these characters and after
/// the `{`.
fn object_start(text: &[u8]) -> Option<usize> {
    let before = text.trim_ascii_end().strip_suffix(b"{")?;
    matches!(before.trim_ascii_end(), [.., b',' | b'}']).then_some(before.len())
}

/// Returns true if JSON allows the byte after a string inside an object or an array.
const fn follows_text(byte: u8) -> bool {
    matches!(byte, b':' | b',' | b'}' | b']') || is_blank(byte)
}
