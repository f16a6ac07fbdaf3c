//! Decodes UTF-16 and windows-1252 to UTF-8, piece by piece. Bytes that cannot be decoded become U+FFFD, and the
//! position of each such U+FFFD is recorded.

use super::Encoding;

/// Decodes a source piece by piece. If a piece ends inside a character, the decoder keeps the incomplete character
/// for the next piece.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    encoding: Encoding,
    /// First byte of a 16-bit unit of UTF-16 whose second byte is in the next piece.
    half_unit: Option<u8>,
    /// First unit of a surrogate pair whose second unit is in the next piece.
    half_pair: Option<u16>,
}

/// Output buffers of the decoder.
pub(super) struct Decoded<'a> {
    /// UTF-8 text. The decoder appends to it.
    pub text: &'a mut Vec<u8>,
    /// The position in `text` of each U+FFFD that the decoder appended in place of bytes that it cannot decode.
    pub undecodable: &'a mut Vec<u32>,
}

/// The characters of the bytes 0x80 to 0x9F in windows-1252 (Unicode, Inc., `CP1252.TXT`). U+FFFD marks the five bytes
/// that have no character.
const WINDOWS_1252_HIGH: [char; 32] = [
    '\u{20ac}', '\u{fffd}', '\u{201a}', '\u{0192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{02c6}',
    '\u{2030}', '\u{0160}', '\u{2039}', '\u{0152}', '\u{fffd}', '\u{017d}', '\u{fffd}', '\u{fffd}', '\u{2018}',
    '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{02dc}', '\u{2122}', '\u{0161}',
    '\u{203a}', '\u{0153}', '\u{fffd}', '\u{017e}', '\u{0178}',
];

impl Decoded<'_> {
    fn push(&mut self, character: char) {
        let mut buffer = [0; 4];
        self.text.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    }

    fn push_undecodable(&mut self) {
        self.undecodable.push(self.text.len() as u32);
        self.push(char::REPLACEMENT_CHARACTER);
    }
}

/// Returns true if the bytes are whole characters of this encoding.
pub(crate) fn is_decodable(encoding: Encoding, bytes: &[u8]) -> bool {
    let (mut text, mut undecodable) = (Vec::new(), Vec::new());
    let mut out = Decoded { text: &mut text, undecodable: &mut undecodable };
    let mut decoder = Decoder::new(encoding);
    decoder.decode(bytes, &mut out);
    decoder.finish(&mut out);
    undecodable.is_empty() && std::str::from_utf8(&text).is_ok()
}

impl Decoder {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, half_unit: None, half_pair: None }
    }

    pub(super) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Decodes the next piece. UTF-8 is copied without a check.
    pub(super) fn decode(&mut self, raw: &[u8], out: &mut Decoded) {
        match self.encoding {
            Encoding::Utf8 => out.text.extend_from_slice(raw),
            Encoding::Windows1252 => decode_1252(raw, out),
            Encoding::Utf16Le => self.decode_utf16(raw, u16::from_le_bytes, out),
            Encoding::Utf16Be => self.decode_utf16(raw, u16::from_be_bytes, out),
        }
    }

    /// Ends the text. An incomplete unit at the end becomes U+FFFD, and so does an incomplete surrogate pair.
    pub(super) fn finish(&mut self, out: &mut Decoded) {
        if self.half_pair.take().is_some() {
            out.push_undecodable();
        }
        if self.half_unit.take().is_some() {
            out.push_undecodable();
        }
    }

    fn decode_utf16(&mut self, mut raw: &[u8], unit_of: fn([u8; 2]) -> u16, out: &mut Decoded) {
        if let (Some(first), Some((&second, rest))) = (self.half_unit, raw.split_first()) {
            self.half_unit = None;
            self.push_unit(unit_of([first, second]), out);
            raw = rest;
        }
        out.text.reserve(raw.len() / 2);
        let mut units = raw.chunks_exact(2);
        for pair in &mut units {
            self.push_unit(unit_of([pair[0], pair[1]]), out);
        }
        if let [byte] = *units.remainder() {
            self.half_unit = Some(byte);
        }
    }

    /// Decodes one UTF-16 unit. Two units of a surrogate pair give one character (The Unicode Standard, 3.9, D91).
    fn push_unit(&mut self, unit: u16, out: &mut Decoded) {
        if let (Ok(ascii @ ..0x80), None) = (u8::try_from(unit), self.half_pair) {
            out.text.push(ascii);
            return;
        }
        if let Some(high) = self.half_pair.take() {
            match char::decode_utf16([high, unit]).next() {
                Some(Ok(character)) => return out.push(character),
                _ => out.push_undecodable(),
            }
        }
        match char::from_u32(u32::from(unit)) {
            Some(character) => out.push(character),
            None if unit < 0xdc00 => self.half_pair = Some(unit),
            None => out.push_undecodable(),
        }
    }
}

fn decode_1252(raw: &[u8], out: &mut Decoded) {
    out.text.reserve(raw.len());
    let mut rest = raw;
    while !rest.is_empty() {
        let ascii = rest.iter().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        out.text.extend_from_slice(&rest[..ascii]);
        let high = rest[ascii..].iter().position(u8::is_ascii).map_or(rest.len(), |length| ascii + length);
        rest[ascii..high].iter().for_each(|&byte| push_high_1252(byte, out));
        rest = &rest[high..];
    }
}

fn push_high_1252(byte: u8, out: &mut Decoded) {
    match char_of_1252(byte) {
        Some(character) => out.push(character),
        None => out.push_undecodable(),
    }
}

/// Returns the character of a byte in windows-1252, or `None` if the byte has none.
pub(crate) fn char_of_1252(byte: u8) -> Option<char> {
    let high = usize::from(byte).checked_sub(0x80).and_then(|place| WINDOWS_1252_HIGH.get(place));
    // All other bytes have the same numbers as their characters in Unicode.
    let character = high.copied().unwrap_or(char::from(byte));
    (character != char::REPLACEMENT_CHARACTER).then_some(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(encoding: Encoding, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u32>) {
        let (mut text, mut undecodable) = (Vec::new(), Vec::new());
        let mut decoder = Decoder::new(encoding);
        let mut out = Decoded { text: &mut text, undecodable: &mut undecodable };
        for piece in pieces {
            decoder.decode(piece, &mut out);
        }
        decoder.finish(&mut out);
        (text, undecodable)
    }

    #[test]
    fn bytes_are_decodable_if_they_are_whole_characters() {
        let check =
            |encoding, bytes: &[u8], expected| assert_eq!(is_decodable(encoding, bytes), expected, "{bytes:x?}");
        check(Encoding::Windows1252, b"Zo\xeb", true);
        check(Encoding::Windows1252, b"Zo\x81", false);
        check(Encoding::Utf8, b"Zo\xeb", false);
        check(Encoding::Utf8, "Zoë".as_bytes(), true);
        check(Encoding::Utf16Le, b"Z\0o\0", true);
        check(Encoding::Utf16Le, b"Z\0o", false);
    }

    #[test]
    fn windows_1252_is_decoded_as_its_standard_says() {
        // The bytes 0x81, 0x8D, 0x8F, 0x90 and 0x9D have no character.
        let upper = "€\u{fffd}‚ƒ„…†‡ˆ‰Š‹Œ\u{fffd}Ž\u{fffd}\u{fffd}‘’“”•–—˜™š›œ\u{fffd}žŸ";
        let bytes: Vec<u8> = (0x80..=0x9f).collect();
        assert_eq!(String::from_utf8(decode(Encoding::Windows1252, &[&bytes]).0).unwrap(), upper);
        for byte in (0..0x80).chain(0xa0..=0xff) {
            let text = decode(Encoding::Windows1252, &[&[byte]]).0;
            assert_eq!(String::from_utf8(text).unwrap(), char::from(byte).to_string());
        }
    }

    #[test]
    fn text_is_decoded_and_undecodable_bytes_become_u_fffd() {
        let check = |encoding, raw: &[u8], text: &str, undecodable: &[u32]| {
            assert_eq!(decode(encoding, &[raw]), (text.as_bytes().to_vec(), undecodable.to_vec()), "{raw:x?}");
        };
        check(Encoding::Windows1252, b"Zo\xeb \x80 \x9f\xff", "Zoë € Ÿÿ", &[]);
        check(
            Encoding::Windows1252,
            b"a\x81b\x8d\x8f\x90\x9d",
            "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\u{fffd}",
            &[1, 5, 8, 11, 14],
        );
        check(Encoding::Utf16Le, b"a\0\xeb\0\xac\x20\x3d\xd8\x00\xde", "aë€😀", &[]);
        check(Encoding::Utf16Be, b"\0a\0\xeb\x20\xac\xd8\x3d\xde\x00", "aë€😀", &[]);
        check(Encoding::Utf16Be, b"\xd8\x3d\0a\xde\x00\0b", "\u{fffd}a\u{fffd}b", &[0, 4]);
        check(Encoding::Utf16Be, b"\xdb\xff\xdc\0\xdc\0\xdb\xff", "\u{10fc00}\u{fffd}\u{fffd}", &[4, 7]);
        check(Encoding::Utf16Be, b"\xdc\0\xdc\0", "\u{fffd}\u{fffd}", &[0, 3]);
        check(Encoding::Utf16Be, b"\xd8\x3d\xd8\x3d\xde\x00", "\u{fffd}😀", &[0]);
        check(Encoding::Utf16Be, b"\0a\xd8\x3d\0", "a\u{fffd}\u{fffd}", &[1, 4]);
        assert_eq!(decode(Encoding::Utf8, &[b"Zo\xc3\xab \xff"]), (b"Zo\xc3\xab \xff".to_vec(), vec![]));
    }

    proptest! {
        #[test]
        fn decoding_does_not_depend_on_the_pieces(
            raw in proptest::collection::vec(prop_oneof![Just(0_u8), Just(0xd8), Just(0xdc), Just(0x3d), any::<u8>()], 0..60),
            piece in 1_usize..9,
        ) {
            for encoding in Encoding::ALL {
                let pieces: Vec<&[u8]> = raw.chunks(piece).collect();
                prop_assert_eq!(decode(encoding, &pieces), decode(encoding, &[&raw]));
            }
        }

        #[test]
        fn utf16_agrees_with_the_standard_library(units in proptest::collection::vec(
            prop_oneof![0_u16..128, 0xd700_u16..0xe100, any::<u16>()], 0..40)
        ) {
            let raw: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let (text, undecodable) = decode(Encoding::Utf16Be, &[&raw]);
            prop_assert_eq!(text.clone(), String::from_utf16_lossy(&units).into_bytes());
            let errors = char::decode_utf16(units.iter().copied()).filter(Result::is_err).count();
            prop_assert_eq!(undecodable.len(), errors);
            prop_assert_eq!(Encoding::Utf16Be.source_bytes(&text), raw.len() as u64);
        }

        #[test]
        fn every_character_of_1252_takes_one_byte(raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            let (text, _) = decode(Encoding::Windows1252, &[&raw]);
            prop_assert!(std::str::from_utf8(&text).is_ok());
            prop_assert_eq!(Encoding::Windows1252.source_bytes(&text), raw.len() as u64);
        }
    }
}
