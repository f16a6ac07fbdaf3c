//! The character sets that a message can name in `MSH-18` (HL7 table 0211).

mod tables;

use std::fmt;

use crate::read::char_of_1252;

/// A character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Charset {
    /// UTF-8, which contains ASCII.
    #[default]
    Utf8,
    /// A part of ISO 8859, which has one byte for each character. Part 1 is read as windows-1252, as everywhere in
    /// Medlift: most senders that name part 1 use quotes and dashes of windows-1252.
    Iso8859(u8),
}

impl Charset {
    /// Returns the character set with this name. Letter case, spaces, hyphens, underscores and slashes are ignored.
    /// Many senders write `UTF-8` or `ISO-8859-1` instead of the names in table 0211, so these are accepted too.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let is_kept = |sign: &char| !matches!(sign, ' ' | '-' | '_' | '/');
        let key: String = name.chars().filter(is_kept).collect::<String>().to_ascii_uppercase();
        match key.as_str() {
            "UNICODEUTF8" | "UTF8" | "UNICODE" => return Some(Self::Utf8),
            "WINDOWS1252" | "CP1252" | "LATIN1" => return Some(Self::Iso8859(1)),
            _ => {}
        }
        let part = key.strip_prefix("ISO").unwrap_or(&key).strip_prefix("8859")?.parse().ok()?;
        (part == 1 || tables::upper(part).is_some()).then_some(Self::Iso8859(part))
    }

    /// Returns the character set that `MSH-18` declares. Returns `Some(None)` if it is empty or ASCII: then nothing is
    /// known about bytes beyond ASCII. Returns `None` if Medlift does not know the character set.
    #[expect(clippy::option_option, reason = "the caller distinguishes three cases at once")]
    pub(super) fn declared(name: &[u8]) -> Option<Option<Self>> {
        let name = std::str::from_utf8(name).ok()?.trim();
        let is_plain =
            ["", "\"\"", "ASCII", "US-ASCII", "ISO IR6"].iter().any(|plain| name.eq_ignore_ascii_case(plain));
        if is_plain { Some(None) } else { Self::named(name).map(Some) }
    }

    /// Returns the position of the first byte that is not part of a character. Returns `None` if there is none.
    pub(super) fn first_error(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Utf8 => std::str::from_utf8(text).err().map(|error| error.valid_up_to()),
            Self::Iso8859(part) => text.iter().position(|&byte| character(part, byte).is_none()),
        }
    }

    /// Appends the text to `out`, in UTF-8. A byte without a character becomes U+FFFD.
    pub(super) fn decode(self, text: &[u8], out: &mut Vec<u8>) {
        let Self::Iso8859(part) = self else { return out.extend_from_slice(text) };
        let mut rest = text;
        while let Some(ascii) = rest.iter().position(|byte| !byte.is_ascii()) {
            out.extend_from_slice(&rest[..ascii]);
            let letter = character(part, rest[ascii]).unwrap_or(char::REPLACEMENT_CHARACTER);
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            rest = &rest[ascii + 1..];
        }
        out.extend_from_slice(rest);
    }
}

/// Returns the character of a byte in a part of ISO 8859.
fn character(part: u8, byte: u8) -> Option<char> {
    match byte {
        0..0x80 => Some(char::from(byte)),
        _ if part == 1 => char_of_1252(byte),
        // In ISO 8859, these are control characters.
        0x80..0xa0 => Some(char::from(byte)),
        _ => {
            let number = tables::upper(part)?[usize::from(byte - 0xa0)];
            (number != 0).then(|| char::from_u32(number.into())).flatten()
        }
    }
}

impl fmt::Display for Charset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utf8 => formatter.write_str("UTF-8"),
            Self::Iso8859(1) => formatter.write_str("ISO 8859-1 or windows-1252"),
            Self::Iso8859(part) => write!(formatter, "ISO 8859-{part}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn character_sets_have_names() {
        let check = |name: &str, expected| assert_eq!(Charset::named(name), expected, "{name}");
        for name in ["UNICODE UTF-8", "utf-8", "UTF8", "UNICODE"] {
            check(name, Some(Charset::Utf8));
        }
        for name in ["8859/1", "8859-1", "ISO-8859-1", "ISO 8859/1", "iso8859-1", "windows-1252", "Latin1"] {
            check(name, Some(Charset::Iso8859(1)));
        }
        for part in (2..=15).filter(|&part| part != 12) {
            check(&format!("8859/{part}"), Some(Charset::Iso8859(part)));
        }
        for name in ["", "8859", "8859/0", "8859/12", "8859/16", "ISO IR87", "GB 18030-2000", "UNICODE UTF-16"] {
            check(name, None);
        }
    }

    #[test]
    fn ascii_and_an_empty_field_declare_nothing() {
        let check = |name: &[u8], expected| assert_eq!(Charset::declared(name), expected, "{}", name.escape_ascii());
        for name in [&b""[..], b"ASCII", b"ascii", b" ", b"\"\"", b"US-ASCII", b"ISO IR6"] {
            check(name, Some(None));
        }
        check(b"8859/2", Some(Some(Charset::Iso8859(2))));
        check(b"BIG-5", None);
        check(b"\xff", None);
    }

    /// The first and the last character of each half, and characters that distinguish a part from its neighbours.
    #[test]
    fn bytes_are_decoded_as_their_standard_says() {
        let check = |part, bytes: &[u8], expected: &str| {
            let mut out = Vec::new();
            Charset::Iso8859(part).decode(bytes, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "part {part}");
        };
        check(1, b"Zo\xeb \x80\x93\x9f\xa0\xff", "Zoë €“Ÿ\u{a0}ÿ");
        check(2, b"\x85\xa1\xb1\xf8\xff", "\u{85}Ąąř˙");
        check(3, b"\xa1\xb1\xfd", "Ħħŭ");
        check(4, b"\xa2\xff", "ĸ˙");
        check(5, b"\xa1\xb8\xf0\xff", "ЁИ№џ");
        check(6, b"\xac\xc7\xf2", "،ا\u{652}");
        check(7, b"\xa4\xa1\xe1\xfe", "€‘αώ");
        check(8, b"\xaa\xe0\xfa", "×את");
        check(9, b"\xd0\xdd\xfe", "Ğİş");
        check(10, b"\xa1\xff", "Ąĸ");
        check(11, b"\xa1\xdf\xfb", "ก฿๛");
        check(13, b"\xa1\xd8\xff", "”Ų’");
        check(14, b"\xa1\xff", "Ḃÿ");
        check(15, b"\xa4\xbc\xbd\xbe", "€ŒœŸ");
    }

    #[test]
    fn a_byte_without_a_character_is_an_error() {
        let check = |charset: Charset, text: &[u8], expected| assert_eq!(charset.first_error(text), expected);
        check(Charset::Utf8, "aë".as_bytes(), None);
        check(Charset::Utf8, b"ab\xeb", Some(2));
        check(Charset::Iso8859(1), b"a\xeb", None);
        check(Charset::Iso8859(1), b"a\x81", Some(1));
        check(Charset::Iso8859(3), b"abc\xa5", Some(3));
        check(Charset::Iso8859(6), b"\xff", Some(0));
        check(Charset::Iso8859(5), b"\x80\xff", None);
    }
}
