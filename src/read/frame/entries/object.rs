//! The first level of an object: its keys, its values, and the colons and commas between them.

use serde::de::IgnoredAny;

/// The key of the array whose items are the rows.
const ARRAY: &str = "entry";
/// The key and the value that an object with such an array must have.
const KIND: (&str, &str) = ("resourceType", "Bundle");
/// Keys and short values are kept up to this length. It is enough for `resourceType`, even if each of its 12 characters
/// is written as an escape of six bytes.
const TOKEN_BYTES_MAX: usize = 80;
/// At most this number of open brackets is kept. Of deeper ones, only the number is known.
const OPEN_MAX: usize = 1000;

/// What a byte means for the object around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The text is not an object, because no key and no end follows its bracket.
    NotAnObject,
    /// The object is a Bundle.
    Bundle,
    /// The array of the items begins.
    Items,
    /// The value of `entry` is not an array. It begins with this byte.
    Value,
    /// The value of `entry` is null, so there are no items. The `null` ends before this byte.
    NoValue,
    /// A value that begins with [`Found::Value`] ends with this byte, or before it.
    EndOfValue {
        is_before: bool,
    },
    /// The object ends. `is_right` is true if it is a Bundle and its first level is valid JSON.
    End {
        is_right: bool,
    },
}

/// An object, as far as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct Object {
    /// The brackets that close the open ones inside the object.
    open: Vec<u8>,
    /// Number of further open brackets.
    deeper: usize,
    in_text: bool,
    /// True after a backslash in a string.
    is_escaped: bool,
    /// The beginning of the last string or word on the first level, with its escapes.
    token: Vec<u8>,
    /// The last key on the first level.
    key: String,
    expects: Expects,
    kind: Kind,
    /// True if the current value is the value of `entry`, but is not an array.
    is_item: bool,
    is_damaged: bool,
}

/// What must follow on the first level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Expects {
    /// The first key, or the end.
    #[default]
    FirstKey,
    Key,
    Colon,
    Value,
    /// More of a number or a word.
    Word,
    /// A comma or the end.
    Comma,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Kind {
    #[default]
    Unknown,
    Bundle,
    Other,
}

impl Object {
    /// Begins a new object, whose bracket was passed.
    pub(super) fn begin(&mut self) {
        let (mut open, mut token) = (std::mem::take(&mut self.open), std::mem::take(&mut self.token));
        open.clear();
        token.clear();
        *self = Self { open, token, ..Self::default() };
    }

    /// Returns true if the type of the object was not read yet, and the current value is not the value of `entry`.
    pub(super) fn may_be_bundle(&self) -> bool {
        self.kind == Kind::Unknown && !self.is_item
    }

    /// Passes a byte. Do not call it for the bytes of the array of items. The opening bracket of the array is an
    /// exception.
    pub(super) fn pass(&mut self, byte: u8) -> Found {
        if self.in_text {
            return self.pass_text(byte);
        }
        if !self.open.is_empty() {
            return self.pass_nested(byte);
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => self.end_word(),
            b'"' => self.begin_text(),
            b':' => {
                self.is_damaged |= self.expects != Expects::Colon;
                self.expects = Expects::Value;
                Found::Nothing
            }
            b',' => self.pass_comma(),
            b'{' | b'[' => self.open_value(byte),
            b'}' => self.end(),
            _ => self.pass_word(byte),
        }
    }

    fn pass_text(&mut self, byte: u8) -> Found {
        let is_first_level = self.open.is_empty();
        match byte {
            b'"' if !self.is_escaped => {
                self.in_text = false;
                return if is_first_level { self.end_text() } else { Found::Nothing };
            }
            byte => {
                self.is_escaped = byte == b'\\' && !self.is_escaped;
                if is_first_level {
                    self.push(byte);
                }
            }
        }
        Found::Nothing
    }

    fn push(&mut self, byte: u8) {
        if self.token.len() < TOKEN_BYTES_MAX {
            self.token.push(byte);
        }
    }

    fn pass_nested(&mut self, byte: u8) -> Found {
        match byte {
            b'"' => (self.in_text, self.is_escaped) = (true, false),
            b'{' | b'[' if self.open.len() < OPEN_MAX => self.open.push(closing(byte)),
            b'{' | b'[' => self.deeper += 1,
            b'}' | b']' if self.deeper > 0 => self.deeper -= 1,
            b'}' | b']' => {
                self.is_damaged |= self.open.pop() != Some(byte);
                if self.open.is_empty() {
                    self.token.clear();
                    return self.end_value(false);
                }
            }
            _ => {}
        }
        Found::Nothing
    }

    fn begin_text(&mut self) -> Found {
        // If the comma before it is missing, the string is the next key. If the colon is missing, the string is the
        // value.
        self.is_damaged |= matches!(self.expects, Expects::Colon | Expects::Word | Expects::Comma);
        let is_value = matches!(self.expects, Expects::Colon | Expects::Value);
        self.expects = if is_value { Expects::Value } else { Expects::Key };
        (self.in_text, self.is_escaped) = (true, false);
        self.token.clear();
        if is_value { self.begin_value() } else { Found::Nothing }
    }

    fn end_text(&mut self) -> Found {
        if self.expects == Expects::Value {
            return self.end_value(false);
        }
        self.key = decoded(&self.token);
        self.expects = Expects::Colon;
        Found::Nothing
    }

    fn pass_comma(&mut self) -> Found {
        let found = self.end_word();
        if found == Found::Nothing {
            if self.expects == Expects::FirstKey {
                return Found::NotAnObject;
            }
            self.is_damaged |= self.expects != Expects::Comma;
            self.expects = Expects::Key;
        }
        found
    }

    fn open_value(&mut self, bracket: u8) -> Found {
        if self.expects == Expects::FirstKey {
            return Found::NotAnObject;
        }
        self.is_damaged |= self.expects != Expects::Value;
        if bracket == b'[' && self.expects == Expects::Value && self.has_items() {
            self.expects = Expects::Comma;
            self.key.clear();
            return Found::Items;
        }
        self.open.push(closing(bracket));
        self.begin_value()
    }

    fn pass_word(&mut self, byte: u8) -> Found {
        match self.expects {
            Expects::FirstKey => return Found::NotAnObject,
            Expects::Value => {
                self.expects = Expects::Word;
                self.token.clear();
                self.push(byte);
                return self.begin_value();
            }
            Expects::Word => self.push(byte),
            Expects::Key | Expects::Colon | Expects::Comma => self.is_damaged = true,
        }
        Found::Nothing
    }

    /// Returns true if the last key is `entry` and the object can be a Bundle.
    fn has_items(&self) -> bool {
        self.key == ARRAY && self.kind != Kind::Other
    }

    fn begin_value(&mut self) -> Found {
        self.is_item = self.has_items();
        if self.is_item { Found::Value } else { Found::Nothing }
    }

    fn end_word(&mut self) -> Found {
        if self.expects != Expects::Word {
            return Found::Nothing;
        }
        self.is_damaged |= serde_json::from_slice::<IgnoredAny>(&self.token).is_err();
        let is_null = self.token == b"null";
        self.end_value(true);
        match std::mem::take(&mut self.is_item) {
            true if is_null => Found::NoValue,
            true => Found::EndOfValue { is_before: true },
            false => Found::Nothing,
        }
    }

    fn end_value(&mut self, is_word: bool) -> Found {
        self.expects = Expects::Comma;
        if self.key == KIND.0 {
            let kind = if !is_word && decoded(&self.token) == KIND.1 { Kind::Bundle } else { Kind::Other };
            self.is_damaged |= self.kind != Kind::Unknown;
            self.kind = if self.kind == Kind::Unknown { kind } else { Kind::Other };
        }
        let is_kind = std::mem::take(&mut self.key) == KIND.0;
        match self.kind {
            _ if is_word => Found::Nothing,
            _ if std::mem::take(&mut self.is_item) => Found::EndOfValue { is_before: false },
            Kind::Bundle if is_kind => Found::Bundle,
            _ => Found::Nothing,
        }
    }

    fn end(&mut self) -> Found {
        let found = self.end_word();
        if found != Found::Nothing {
            return found;
        }
        self.is_damaged |= !matches!(self.expects, Expects::FirstKey | Expects::Comma);
        Found::End { is_right: self.kind == Kind::Bundle && !self.is_damaged }
    }
}

const fn closing(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}

/// Returns the text of a string, without its escapes. Returns an empty text if the string is not JSON.
fn decoded(token: &[u8]) -> String {
    let text = String::from_utf8_lossy(token);
    if !text.contains('\\') {
        return text.into_owned();
    }
    serde_json::from_str(&format!("\"{text}\"")).unwrap_or_default()
}
