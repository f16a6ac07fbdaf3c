//! Converts a resource from JSON to BSON in one pass, without an intermediate tree, and notes the values that a spec
//! reads. Keys keep their order. The text of every number can be made again from its BSON value.

use super::found::Found;
use super::links::Links;
use super::number::Number;
use super::problem::{DEPTH_MAX, Problem};
use super::tree::Node;

/// The subtype of a binary value that contains the text of a number. It is the first subtype for users.
pub(crate) const NUMBER_SUBTYPE: u8 = 0x80;

/// If an object has more keys than this, it is checked for duplicate keys when it is complete. In a smaller object,
/// each key is compared with the keys before it.
const KEYS_COMPARED_MAX: usize = 64;

/// Converts the JSON of one row.
pub(super) struct Converter<'a> {
    pub(super) text: &'a [u8],
    /// Position of the next byte of `text`.
    pub(super) at: usize,
    /// The BSON.
    pub(super) out: &'a mut Vec<u8>,
    /// The keys of all objects that are not complete yet: for each key, its positions in `out` and in `text`.
    pub(super) keys: &'a mut Vec<Key>,
    pub(super) found: &'a mut Found,
    pub(super) links: Links<'a>,
    pub(super) depth: usize,
}

/// A key of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    start: usize,
    end: usize,
    /// Position in the row.
    at: usize,
}

impl Key {
    /// Returns the text of the key. `out` is the BSON that contains it.
    pub(super) fn text(self, out: &[u8]) -> &[u8] {
        &out[self.start..self.end]
    }
}

type Converted = Result<(), Problem>;

impl Converter<'_> {
    /// Converts the object that begins here.
    pub(super) fn object(&mut self, node: Option<&Node>) -> Converted {
        if let Some(group) = node.and_then(Node::group) {
            self.found.begin_item(group);
        }
        let first_key = self.keys.len();
        let start = self.open(b'{')?;
        if !self.closes(b'}') {
            loop {
                let (kind_at, key) = self.key(first_key)?;
                let child = node.and_then(|node| node.key(key.text(self.out)));
                let is_reference = key.text(self.out) == b"reference";
                self.out[kind_at] = self.value(child, is_reference)?;
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        self.check_keys(first_key)?;
        self.keys.truncate(first_key);
        self.close(start);
        Ok(())
    }

    fn array(&mut self, node: Option<&Node>) -> Converted {
        let start = self.open(b'[')?;
        if !self.closes(b']') {
            for item in 0.. {
                let kind_at = self.out.len();
                self.out.push(0);
                write_position(item, self.out);
                self.blanks();
                self.out[kind_at] = self.value(node.and_then(|node| node.item(item)), false)?;
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        self.close(start);
        Ok(())
    }

    /// Passes an opening bracket and writes the beginning of a document. Returns its position.
    fn open(&mut self, bracket: u8) -> Result<usize, Problem> {
        self.expect(bracket)?;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Problem::TooDeep(self.at));
        }
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        Ok(start)
    }

    fn close(&mut self, start: usize) {
        self.out.push(0);
        let len = (self.out.len() - start) as u32;
        self.out[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.depth -= 1;
    }

    /// Passes the closing bracket if it follows.
    fn closes(&mut self, bracket: u8) -> bool {
        self.blanks();
        let closes = self.text.get(self.at) == Some(&bracket);
        self.at += usize::from(closes);
        closes
    }

    /// Passes a comma and returns true, or passes the closing bracket and returns false.
    pub(super) fn goes_on(&mut self, bracket: u8) -> Result<bool, Problem> {
        if self.closes(bracket) {
            return Ok(false);
        }
        self.expect(b',')?;
        self.blanks();
        Ok(true)
    }

    /// Converts a key and passes the colon after it. Writes a place for the type of its value. Returns the position of
    /// this place.
    pub(super) fn key(&mut self, first_key: usize) -> Result<(usize, Key), Problem> {
        let at = self.at + 1;
        let kind_at = self.out.len();
        self.out.push(0);
        let start = self.out.len();
        self.string()?;
        let key = Key { start, end: self.out.len(), at };
        let text = &self.out[start..];
        if text.contains(&0) {
            return Err(Problem::NulInKey(at));
        }
        let others = &self.keys[first_key..];
        if others.len() < KEYS_COMPARED_MAX && others.iter().any(|other| other.text(self.out) == text) {
            return Err(Problem::KeyTwice(at));
        }
        self.keys.push(key);
        self.out.push(0);
        self.blanks();
        self.expect(b':')?;
        self.blanks();
        Ok((kind_at, key))
    }

    /// Checks that no key of a large object occurs twice.
    pub(super) fn check_keys(&mut self, first_key: usize) -> Converted {
        let keys = &mut self.keys[first_key..];
        if keys.len() <= KEYS_COMPARED_MAX {
            return Ok(());
        }
        let out = &*self.out;
        let text = |key: &Key| key.text(out);
        keys.sort_by(|left, right| text(left).cmp(text(right)));
        let twice = keys.windows(2).find(|pair| text(&pair[0]) == text(&pair[1]));
        twice.map_or(Ok(()), |pair| Err(Problem::KeyTwice(pair[1].at)))
    }

    /// Converts a value, without its type and its key. Returns the type.
    pub(super) fn value(&mut self, node: Option<&Node>, is_reference: bool) -> Result<u8, Problem> {
        match self.text.get(self.at) {
            Some(b'"') => {
                let start = self.out.len();
                self.out.extend_from_slice(&[0; 4]);
                self.string()?;
                if is_reference || node.is_some() {
                    let text = std::str::from_utf8(&self.out[start + 4..]).unwrap_or_default();
                    self.found.see(node, text, is_reference, &self.links);
                }
                self.out.push(0);
                let len = (self.out.len() - start - 4) as u32;
                self.out[start..start + 4].copy_from_slice(&len.to_le_bytes());
                Ok(0x02)
            }
            Some(b'{') => self.object(node).map(|()| 0x03),
            Some(b'[') => self.array(node).map(|()| 0x04),
            Some(b't') => self.word("true", node, Some(1)),
            Some(b'f') => self.word("false", node, Some(0)),
            Some(b'n') => self.word("null", None, None),
            Some(b'-' | b'0'..=b'9') => self.number(node),
            _ => Err(self.wrong()),
        }
    }

    fn word(&mut self, word: &str, node: Option<&Node>, value: Option<u8>) -> Result<u8, Problem> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(self.wrong());
        }
        self.at += word.len();
        self.found.see(node, word, false, &self.links);
        self.out.extend(value);
        Ok(if value.is_some() { 0x08 } else { 0x0a })
    }

    fn number(&mut self, node: Option<&Node>) -> Result<u8, Problem> {
        let start = self.at;
        self.at += usize::from(self.text[self.at] == b'-');
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if node.is_some() {
            self.found.see(node, std::str::from_utf8(text).unwrap_or_default(), false, &self.links);
        }
        Ok(match Number::of(text) {
            Number::Int32(number) => {
                self.out.extend_from_slice(&number.to_le_bytes());
                0x10
            }
            Number::Int64(number) => {
                self.out.extend_from_slice(&number.to_le_bytes());
                0x12
            }
            Number::Decimal128(bytes) => {
                self.out.extend_from_slice(&bytes);
                0x13
            }
            Number::Text => {
                self.out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                self.out.push(NUMBER_SUBTYPE);
                self.out.extend_from_slice(text);
                0x05
            }
        })
    }

    /// Passes one or more digits.
    fn digits(&mut self) -> Converted {
        let digits = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(self.wrong()) } else { Ok(()) }
    }

    /// Appends the text of a string, with its escapes replaced.
    pub(super) fn string(&mut self) -> Converted {
        self.expect(b'"')?;
        loop {
            let rest = &self.text[self.at..];
            let plain = plain_bytes(rest);
            self.out.extend_from_slice(&rest[..plain]);
            self.at += plain;
            match rest.get(plain) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                _ => return Err(self.wrong()),
            }
        }
    }

    fn escape(&mut self) -> Converted {
        let at = self.at;
        let byte = match self.text.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.wrong()),
        };
        self.out.push(byte);
        self.at += 2;
        Ok(())
    }

    /// Converts an escape such as `\u00e9`, or a surrogate pair of two of them.
    fn unicode(&mut self) -> Converted {
        let at = self.at + 1;
        let first = self.hexadecimal()?;
        let code = match first {
            0xd800..=0xdbff if self.text[self.at..].starts_with(b"\\u") => {
                let second = self.hexadecimal()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(Problem::NotACharacter(at));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        let character = char::from_u32(code).ok_or(Problem::NotACharacter(at))?;
        self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Passes `\u` and four digits. Returns the number that the digits write.
    fn hexadecimal(&mut self) -> Result<u32, Problem> {
        let digits = self.text.get(self.at + 2..self.at + 6).ok_or_else(|| self.wrong())?;
        let mut code = 0;
        for digit in digits {
            code = code * 16 + char::from(*digit).to_digit(16).ok_or_else(|| self.wrong())?;
        }
        self.at += 6;
        Ok(code)
    }

    pub(super) fn is_at_string(&self) -> bool {
        self.text.get(self.at) == Some(&b'"')
    }

    pub(super) fn expect(&mut self, byte: u8) -> Converted {
        if self.text.get(self.at) == Some(&byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.wrong())
    }

    pub(super) fn blanks(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn wrong(&self) -> Problem {
        Problem::NotJson(self.at + 1)
    }
}

/// Writes the name of an item of an array: its number, and NUL.
fn write_position(item: usize, out: &mut Vec<u8>) {
    if item < 10 {
        out.push(b'0' + item as u8);
    } else {
        out.extend_from_slice(item.to_string().as_bytes());
    }
    out.push(0);
}

/// Returns the number of bytes before the first quote, backslash or control character. Examines eight bytes at once.
fn plain_bytes(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk() {
        let marks = marks(u64::from_le_bytes(*chunk));
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_mark = |byte: &u8| matches!(byte, b'"' | b'\\' | ..0x20);
    at + text[at..].iter().position(is_mark).unwrap_or(text.len() - at)
}

/// Returns a word whose lowest set bit is in the first byte that is a quote, a backslash or a control character. Later
/// bits have no meaning. Source: Hacker's Delight, section 6-1.
const fn marks(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH: u64 = ONES << 7;
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let is_zero = (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
    let is_control = word.wrapping_sub(ONES * 0x20) & !word;
    (is_zero | is_control) & HIGH
}
