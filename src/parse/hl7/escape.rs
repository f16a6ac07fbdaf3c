//! Decodes the text of a message: converts it to UTF-8 and replaces escapes (HL7 v2.8, 2.7).
//!
//! | escape | replaced by |
//! | --- | --- |
//! | `\F\` `\S\` `\T\` `\R\` `\E\` `\P\` | the separator of fields, components, subcomponents, repetitions; the escape and the truncation character |
//! | `\X0D0A\` | the bytes with these hexadecimal numbers, if they are characters of the message's character set |
//! | `\.br\` `\.ce\` | a line break |
//! | `\.sp\` `\.sp2\` | one or more line breaks |
//! | `\.sk\` `\.sk4\` | one or more spaces |
//! | `\H\` `\N\` `\.fi\` `\.nf\` `\.in4\` `\.ti-2\` | nothing: they only change the look of the text |
//!
//! All other escapes stay as they are written and are counted. Among them are those of other character sets (`\C…\`,
//! `\M…\`) and those that a hospital defines itself (`\Z…\`). An escape character that is not part of an escape stays
//! too, and is counted: in `C:\temp` a sender forgot to write `\E\`.

use memchr::memchr;

use super::{Charset, Message, Problem, SegmentId, Separators, Value};

/// Largest number of line breaks or spaces that one escape can write.
const REPEATED_MAX: usize = 999;

/// If escapes have made a value longer by more than this, further commands such as `\.sk4\` stay as they are.
/// Otherwise a message of 1 MiB could become a text of 100 MiB.
const GROWTH_BYTES_MAX: usize = 16 * 1024;

/// Decodes the text of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoder {
    charset: Charset,
    separators: Separators,
}

/// What was done with the text between two escape characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    Replaced,
    /// An escape that stays as it is written.
    Kept,
    /// Not an escape. The first of the two escape characters stays as ordinary text.
    No,
}

impl Decoder {
    /// Creates a decoder for the texts of this message. `MSH-18` names the character set, in its first repetition. The
    /// bytes of the whole message are checked here, so `decode` cannot fail.
    ///
    /// If `MSH-18` is empty or names ASCII, bytes beyond ASCII are read as UTF-8. If they are not valid UTF-8, they are
    /// read in the character set `default`.
    pub(crate) fn new(message: Message<'_>, default: Charset) -> Result<Self, Problem> {
        let (text, separators) = (message.text(), message.separators());
        let declared = message.first(SegmentId::MSH).map_or(&[][..], |header| header.field(18).child(1).text());
        let charset = match Charset::declared(declared) {
            None => return Err(Problem::UnknownCharset),
            Some(Some(charset)) => charset,
            Some(None) if std::str::from_utf8(text).is_ok() => return Ok(Self { charset: Charset::Utf8, separators }),
            Some(None) => default,
        };
        match charset.first_error(text) {
            None => Ok(Self { charset, separators }),
            Some(at) => Err(Problem::Undecodable { number: message.segment_at(at), charset }),
        }
    }

    /// Appends the text of a value to `out`, in UTF-8. Returns the number of escapes that stay as they are written.
    ///
    /// In a `Composite`, all escapes stay, and none is counted. The delete marker is appended as it is written.
    pub(crate) fn decode(self, value: Value<'_>, out: &mut Vec<u8>) -> u32 {
        let (text, escape) = match value {
            Value::Empty => return 0,
            Value::Delete => (&b"\"\""[..], None),
            Value::Composite(text) => (text, None),
            Value::Text(text) => (text, self.separators.escape),
        };
        if let Some(escape) = escape {
            return self.replace_escapes(text, escape, out);
        }
        self.charset.decode(text, out);
        0
    }

    /// Returns the text of a value that needs no change: it is ASCII and has no escapes. All character sets contain
    /// ASCII.
    pub(crate) fn unchanged<'m>(self, value: &Value<'m>) -> Option<&'m str> {
        let (text, escape) = match *value {
            Value::Empty => (&b""[..], None),
            Value::Delete => return None,
            Value::Composite(text) => (text, None),
            Value::Text(text) => (text, self.separators.escape),
        };
        let is_plain = text.is_ascii() && escape.is_none_or(|escape| memchr(escape, text).is_none());
        std::str::from_utf8(text).ok().filter(|_| is_plain)
    }

    fn replace_escapes(self, text: &[u8], escape: u8, out: &mut Vec<u8>) -> u32 {
        let (mut rest, mut kept) = (text, 0);
        let bytes_max = out.len() + text.len() + GROWTH_BYTES_MAX;
        while let Some(start) = memchr(escape, rest) {
            self.charset.decode(&rest[..start], out);
            rest = &rest[start..];
            let name_bytes = memchr(escape, &rest[1..]).unwrap_or(0);
            let name = &rest[1..=name_bytes];
            let is_grown = out.len() > bytes_max && name.starts_with(b".");
            let replaced = if is_grown { Escape::Kept } else { self.replace(name, out) };
            let (length, is_kept) = match replaced {
                Escape::Replaced => (name.len() + 2, false),
                Escape::Kept => (name.len() + 2, true),
                Escape::No => (1, true),
            };
            if is_kept {
                self.charset.decode(&rest[..length], out);
                kept += 1;
            }
            rest = &rest[length..];
        }
        self.charset.decode(rest, out);
        kept
    }

    /// Appends the meaning of an escape to `out`.
    fn replace(self, name: &[u8], out: &mut Vec<u8>) -> Escape {
        if let Some(separator) = self.separator(name) {
            out.push(separator);
            return Escape::Replaced;
        }
        let is_hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
        match name {
            b"H" | b"N" => Escape::Replaced,
            [b'X', digits @ ..] => self.replace_hex(digits, out),
            [b'.', command @ ..] => replace_command(command, out),
            [b'C', digits @ ..] if digits.len() == 4 && is_hex(digits) => Escape::Kept,
            [b'M', digits @ ..] if matches!(digits.len(), 4 | 6) && is_hex(digits) => Escape::Kept,
            [b'Z', ..] => Escape::Kept,
            _ => Escape::No,
        }
    }

    fn separator(self, name: &[u8]) -> Option<u8> {
        let Separators { field, component, repetition, escape, subcomponent, truncation } = self.separators;
        match name {
            b"F" => Some(field),
            b"S" => component,
            b"T" => subcomponent,
            b"R" => repetition,
            b"E" => escape,
            b"P" => truncation,
            _ => None,
        }
    }

    /// Appends the characters whose bytes are given. If the bytes are not whole characters, the escape stays.
    fn replace_hex(self, digits: &[u8], out: &mut Vec<u8>) -> Escape {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let (pairs, odd) = digits.as_chunks::<2>();
        let byte = |pair: &[u8; 2]| Some(((value(pair[0])? << 4) | value(pair[1])?) as u8);
        match pairs.iter().map(byte).collect::<Option<Vec<u8>>>() {
            Some(bytes) if odd.is_empty() && !bytes.is_empty() => {
                if self.charset.first_error(&bytes).is_some() {
                    return Escape::Kept;
                }
                self.charset.decode(&bytes, out);
                Escape::Replaced
            }
            _ => Escape::No,
        }
    }
}

/// Appends the meaning of a formatting command (HL7 v2.8, 2.7.6).
fn replace_command(command: &[u8], out: &mut Vec<u8>) -> Escape {
    let Some((name, argument)) = command.split_first_chunk::<2>() else { return Escape::No };
    let argument = argument.trim_ascii();
    let unsigned = argument.strip_prefix(b"+").unwrap_or(argument);
    let (sign, count) = match &name.map(|letter| letter.to_ascii_lowercase()) {
        b"br" | b"ce" if argument.is_empty() => (b'\n', Some(1)),
        b"fi" | b"nf" if argument.is_empty() => (b' ', Some(0)),
        b"in" | b"ti" => (b' ', count(unsigned.strip_prefix(b"-").unwrap_or(unsigned)).map(|_| 0)),
        b"sp" => (b'\n', count(unsigned)),
        b"sk" => (b' ', count(unsigned)),
        _ => return Escape::No,
    };
    let Some(count) = count else { return Escape::No };
    out.resize(out.len() + count, sign);
    Escape::Replaced
}

/// Reads the argument of a command. The default is 1.
fn count(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() {
        return Some(1);
    }
    let is_number = digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    (number <= REPEATED_MAX).then_some(number)
}
