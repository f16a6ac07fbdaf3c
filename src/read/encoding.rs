//! Character encodings: their names, how they are detected, and how many bytes a decoded text had in the source.

use super::frame::begins_with_header;

/// Character encoding of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le,
    /// UTF-16, big-endian.
    Utf16Be,
    /// Windows code page 1252 (Western European). All printable characters of ISO 8859-1 have the same bytes in
    /// windows-1252.
    Windows1252,
}

/// Number of byte pairs that are examined to detect UTF-16 without a byte order mark.
const UTF16_PAIRS_MAX: usize = 32 * 1024;

impl Encoding {
    /// All encodings.
    pub const ALL: [Self; 4] = [Self::Utf8, Self::Utf16Le, Self::Utf16Be, Self::Windows1252];

    /// Returns the encoding's name on the command line and in the summary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf16Le => "utf-16le",
            Self::Utf16Be => "utf-16be",
            Self::Windows1252 => "windows-1252",
        }
    }

    /// Returns the encoding with this name. Letter case, hyphens, underscores and spaces are ignored.
    ///
    /// `utf-16` means little-endian UTF-16. If the source has a byte order mark, `detect` corrects the byte order.
    /// Files that are labelled ISO 8859-1 (Latin-1) are usually windows-1252. Therefore ISO 8859-1 is read as
    /// windows-1252, as the WHATWG Encoding Standard requires.
    pub fn from_name(name: &str) -> Option<Self> {
        let key: String =
            name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).collect::<String>().to_ascii_lowercase();
        match key.as_str() {
            "utf8" | "ascii" | "usascii" => Some(Self::Utf8),
            "utf16" | "utf16le" => Some(Self::Utf16Le),
            "utf16be" => Some(Self::Utf16Be),
            "windows1252" | "cp1252" | "iso88591" | "latin1" => Some(Self::Windows1252),
            _ => None,
        }
    }

    /// Returns the length in bytes of the byte order mark at the start of `raw`, or 0 if there is none.
    pub(super) fn mark_bytes(self, raw: &[u8]) -> usize {
        match self {
            Self::Utf8 if raw.starts_with(b"\xef\xbb\xbf") => 3,
            Self::Utf16Le if raw.starts_with(b"\xff\xfe") => 2,
            Self::Utf16Be if raw.starts_with(b"\xfe\xff") => 2,
            _ => 0,
        }
    }

    /// Returns the number of bytes that the decoded `text` had in the source. A byte order mark is not counted. In
    /// windows-1252, a U+FFFD counts as one byte, and in UTF-16 as two bytes.
    pub(super) fn source_bytes(self, text: &[u8]) -> u64 {
        match self {
            Self::Utf8 => text.len() as u64,
            Self::Windows1252 => count(text, is_first_byte),
            Self::Utf16Le | Self::Utf16Be => 2 * (count(text, is_first_byte) + count(text, |byte| byte >= 0xf0)),
        }
    }
}

fn count(text: &[u8], wanted: impl Fn(u8) -> bool) -> u64 {
    text.iter().filter(|&&byte| wanted(byte)).count() as u64
}

/// Returns true if the byte starts a character of UTF-8 text.
fn is_first_byte(byte: u8) -> bool {
    byte & 0xc0 != 0x80
}

/// Determines the encoding of a source. `raw` is the beginning of the source, and `wanted` is the encoding that the
/// user gave.
///
/// HL7 messages are not decoded, because each message names its own character set. The result is then UTF-8, even if
/// `wanted` is another encoding: the decoder copies UTF-8 without a change.
///
/// If `wanted` is `None`, the first of these rules that applies decides:
/// - A byte order mark shows the encoding.
/// - If more than a third of the bytes at even positions are NUL, and hardly any at odd positions, the source is UTF-16
///   big-endian. If the NULs are at odd positions instead, it is UTF-16 little-endian.
/// - FHIR resources are UTF-8.
/// - If the source has errors in UTF-8, and at least as many errors as valid characters beyond ASCII, it is
///   windows-1252.
/// - Otherwise the source is UTF-8. A few errors among many valid characters are only damage.
pub(super) fn detect(raw: &[u8], wanted: Option<Encoding>) -> Encoding {
    let marked = marked(raw);
    match wanted {
        // A user who gives UTF-16 may not know the byte order, so the byte order mark decides.
        Some(Encoding::Utf16Le | Encoding::Utf16Be)
            if matches!(marked, Some(Encoding::Utf16Le | Encoding::Utf16Be)) =>
        {
            marked.unwrap_or_default()
        }
        _ if begins_with_header(raw) => Encoding::Utf8,
        Some(wanted) => wanted,
        None => marked.or_else(|| unmarked_utf16(raw)).unwrap_or_else(|| utf8_or_1252(raw)),
    }
}

fn marked(raw: &[u8]) -> Option<Encoding> {
    Encoding::ALL.into_iter().find(|encoding| encoding.mark_bytes(raw) > 0)
}

/// Recognises UTF-16 without a byte order mark. Most characters of a source are ASCII, and in UTF-16 one of the two
/// bytes of an ASCII character is NUL.
fn unmarked_utf16(raw: &[u8]) -> Option<Encoding> {
    let (mut pairs, mut low_nul, mut high_nul) = (0_usize, 0_usize, 0_usize);
    for pair in raw.chunks_exact(2).take(UTF16_PAIRS_MAX) {
        pairs += 1;
        high_nul += usize::from(pair[0] == 0);
        low_nul += usize::from(pair[1] == 0);
    }
    let (little, big) =
        (low_nul * 3 > pairs && high_nul * 10 < low_nul, high_nul * 3 > pairs && low_nul * 10 < high_nul);
    match (little, big) {
        (true, _) => Some(Encoding::Utf16Le),
        (_, true) => Some(Encoding::Utf16Be),
        _ => None,
    }
}

/// Returns true if the text begins like JSON and contains the key of FHIR resources. FHIR is always UTF-8, so other
/// bytes are damage.
fn is_fhir(raw: &[u8]) -> bool {
    let text = raw.trim_ascii_start();
    matches!(text.first(), Some(b'{' | b'[')) && memchr::memmem::find(text, b"\"resourceType\"").is_some()
}

fn utf8_or_1252(raw: &[u8]) -> Encoding {
    // Nearly every source is valid UTF-8. This check of the whole text is faster than counting errors.
    if std::str::from_utf8(raw).is_ok() || is_fhir(raw) {
        return Encoding::Utf8;
    }
    let (mut characters, mut errors) = (0_usize, 0_usize);
    for chunk in raw.utf8_chunks() {
        characters += chunk.valid().bytes().filter(|&byte| byte >= 0xc0).count();
        // A character that is incomplete because the sample ends is not an error.
        let is_cut = chunk.invalid().as_ptr_range().end == raw.as_ptr_range().end && is_cut_character(chunk.invalid());
        errors += usize::from(!chunk.invalid().is_empty() && !is_cut);
    }
    if errors > 0 && errors >= characters { Encoding::Windows1252 } else { Encoding::Utf8 }
}

/// Returns true if `bytes` are an incomplete UTF-8 character. For example, `\xe2\x82` is the beginning of `€`.
fn is_cut_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str, bytes_of: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes_of).collect()
    }

    #[test]
    fn the_encoding_is_detected_from_the_first_bytes() {
        let text = "Name,Age\nZoë,30\n";
        let check = |raw: &[u8], expected: Encoding| assert_eq!(detect(raw, None), expected, "{raw:x?}");
        check(b"Name,Age\n", Encoding::Utf8);
        check(text.as_bytes(), Encoding::Utf8);
        check(b"\xef\xbb\xbfName", Encoding::Utf8);
        check(&utf16(text, u16::to_le_bytes), Encoding::Utf16Le);
        check(&utf16(text, u16::to_be_bytes), Encoding::Utf16Be);
        check(&utf16(&format!("\u{feff}{text}"), u16::to_le_bytes), Encoding::Utf16Le);
        check(&utf16(&format!("\u{feff}{text}"), u16::to_be_bytes), Encoding::Utf16Be);
        check(b"Name,Age\nZo\xeb,30\n", Encoding::Windows1252);
        check(b"Zo\xeb Ren\xe9e \xc3\xa9 \xf6", Encoding::Windows1252);
        check("Zoë Renée Jörg\n".as_bytes().split_last().unwrap().1, Encoding::Utf8);
        check(b"caf\xc3\xa9 cr\xc3\xa8me br\xfbl\xc3\xa9e", Encoding::Utf8);
        check(b"cut in a character \xe2\x82", Encoding::Utf8);
        check(b"", Encoding::Utf8);
        check(b"[\n{\"a\":\"Zo\xeb\",\"resourceType\":\"Patient\"}]", Encoding::Utf8);
        check(b"{\"a\":\"Zo\xeb\"}", Encoding::Windows1252);
    }

    #[test]
    fn a_given_encoding_takes_precedence_except_for_the_byte_order() {
        assert_eq!(detect(b"Zo\xeb", Some(Encoding::Utf8)), Encoding::Utf8);
        assert_eq!(detect("Zoë".as_bytes(), Some(Encoding::Windows1252)), Encoding::Windows1252);
        assert_eq!(detect(b"\xfe\xff\0a", Some(Encoding::Utf16Le)), Encoding::Utf16Be);
    }

    #[test]
    fn every_name_is_read_as_its_encoding() {
        for encoding in Encoding::ALL {
            assert_eq!(Encoding::from_name(encoding.name()), Some(encoding));
        }
        for (name, expected) in [
            ("UTF8", Some(Encoding::Utf8)),
            ("Windows_1252", Some(Encoding::Windows1252)),
            ("latin-1", Some(Encoding::Windows1252)),
            ("ascii", Some(Encoding::Utf8)),
            ("US-ASCII", Some(Encoding::Utf8)),
            ("utf-16", Some(Encoding::Utf16Le)),
            ("UTF-16BE", Some(Encoding::Utf16Be)),
            ("cp1252", Some(Encoding::Windows1252)),
            ("ISO-8859-1", Some(Encoding::Windows1252)),
            ("", None),
            ("UTF-16 LE", Some(Encoding::Utf16Le)),
            ("ebcdic", None),
        ] {
            assert_eq!(Encoding::from_name(name), expected, "{name}");
        }
    }

    #[test]
    fn as_many_errors_as_characters_mean_windows_1252() {
        assert_eq!(detect(b"\xc3\xa9 \xeb \xf6 x", None), Encoding::Windows1252);
        assert_eq!(detect(b"\xc3\xa9 \xeb x", None), Encoding::Windows1252);
        assert_eq!(detect(b"\xc3\xa9 \xc3\xa9 \xeb x", None), Encoding::Utf8);
    }

    #[test]
    fn nuls_in_a_third_of_the_even_or_odd_bytes_mean_utf16() {
        assert_eq!(detect(b"a\0b\0cdefgh", None), Encoding::Utf16Le);
        assert_eq!(detect(b"\0a\0bcdefgh", None), Encoding::Utf16Be);
        assert_eq!(detect(b"a\0cdef", None), Encoding::Utf8);
        assert_eq!(detect(b"\0acdef", None), Encoding::Utf8);
    }
}
