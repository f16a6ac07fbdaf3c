//! Recognises files that are not text, by their first bytes or by NUL bytes.

use super::Encoding;

/// Bytes that identify a file format. Users sometimes give Medlift such files instead of text. Each entry has an offset
/// in the file, the bytes at this offset, and a description for the error message.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook or another Office file"),
    (0, b"%PDF-", "a PDF document"),
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"ORC", "an ORC file"),
    (0, b"Obj\x01", "an Avro file"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\xfd7zXZ\0", "an xz archive, which medlift does not unpack"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive, which medlift does not unpack"),
    (0, b"\x1f\x8b", "compressed twice"),
    (0, b"\x7fELF", "an executable program"),
    (0, b"\xff\xfe\0\0", "UTF-32, which medlift does not read"),
    (0, b"\0\0\xfe\xff", "UTF-32, which medlift does not read"),
    (4, b"1AY&SY", "a bzip2 archive, which medlift does not unpack"),
    (128, b"DICM", "a DICOM image"),
    (257, b"ustar", "a tar archive"),
];

/// Number of bytes at the start of a source in which NULs are counted.
const NUL_SEARCH_BYTES: usize = 64 * 1024;

/// Describes the format of a source that is not text, for example `a PDF document`. Returns `None` if the source is
/// text. `raw` is the beginning of the source.
///
/// NUL bytes also show that a source is not text, except in UTF-16. A source is binary if its first line contains a
/// NUL, or if more than 1 % of the first 64 KiB are NULs. A source with fewer NULs is read, because the NULs may be
/// damage in a few rows. Only these rows are then rejected.
pub(super) fn recognise(raw: &[u8], encoding: Encoding) -> Option<&'static str> {
    let is_here = |(place, signature, _): &&(usize, &[u8], &str)| {
        raw.get(*place..).is_some_and(|from_place| from_place.starts_with(signature))
    };
    if let Some((_, _, what)) = SIGNATURES.iter().find(is_here) {
        return Some(what);
    }
    let is_utf16 = matches!(encoding, Encoding::Utf16Le | Encoding::Utf16Be);
    (!is_utf16 && holds_nuls(&raw[..raw.len().min(NUL_SEARCH_BYTES)])).then_some("a binary file")
}

fn holds_nuls(raw: &[u8]) -> bool {
    let first_line = memchr::memchr2(b'\n', b'\r', raw).unwrap_or(raw.len());
    memchr::memchr(0, &raw[..first_line]).is_some() || memchr::memchr_iter(0, raw).count() * 100 > raw.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_formats_are_recognised() {
        let check = |raw: &[u8], expected: Option<&str>| assert_eq!(recognise(raw, Encoding::Utf8), expected);
        check(b"Name,Age\nAda,36\n", None);
        check(b"%PDF-1.7\n", Some("a PDF document"));
        check(b"PK\x03\x04\x14\0", Some("a ZIP archive or an Excel workbook"));
        check(&[vec![b'a'; 128], b"DICM".to_vec()].concat(), Some("a DICOM image"));
        check(b"Name\0,Age\n", Some("a binary file"));
        check(&[b"a,b\n".as_slice(), &b"\0\x01,\0\n".repeat(50)].concat(), Some("a binary file"));
        check(&[b"a,b\nx\0,y\n".as_slice(), &b"xxxx,yyyy\n".repeat(50)].concat(), None);
    }

    #[test]
    fn utf16_is_text_in_spite_of_its_nuls() {
        assert_eq!(recognise(b"N\0a\0,\0", Encoding::Utf16Le), None);
        assert!(recognise(b"\xff\xfe\0\0N\0\0\0", Encoding::Utf16Le).is_some());
    }

    #[test]
    fn more_than_one_nul_in_a_hundred_bytes_is_binary() {
        let raw = |bytes: usize| [b"a\n\0".as_slice(), &vec![b'x'; bytes - 3]].concat();
        assert_eq!(recognise(&raw(100), Encoding::Utf8), None);
        assert_eq!(recognise(&raw(99), Encoding::Utf8), Some("a binary file"));
    }
}
