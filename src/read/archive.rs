//! Decompresses sources. The first bytes of a source show whether it is compressed with gzip (RFC 1952) or zstd (RFC
//! 8878). A file may consist of several gzip members or zstd frames.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadError;

const INPUT_BYTES: usize = 256 * 1024;
/// Number of bytes that are read to recognise the compression. In a zstd source, they also contain the window size of
/// the first data frame, even if a short skippable frame is before that frame.
const HEAD_BYTES: usize = 64;
/// Largest zstd window that is accepted, as a power of two: 2^29 bytes are 512 MiB. Decompression needs a buffer of
/// this size. The default limit of the zstd program itself is 128 MiB.
const WINDOW_LOG_MAX: u32 = 29;
/// Part of libzstd's error message for a window that is too large.
const WINDOW_ERROR: &str = "too much memory";

/// The decompressed bytes of a source. Its errors contain the name of the source.
pub(super) struct Plain {
    name: String,
    archive: Option<&'static str>,
    /// The window size of the first zstd data frame, in bytes. `None` if the source is not zstd, or if the size is
    /// unknown.
    window_bytes: Option<u64>,
    bytes: Box<dyn Read + Send>,
    consumed_bytes: Arc<AtomicU64>,
}

/// A reader that counts its bytes. The count is needed for the progress display and for the position of an error.
struct Counted {
    from: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(into)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl Plain {
    /// Reads the first bytes of the source and chooses the decompressor.
    pub(super) fn new(name: &str, from: Box<dyn Read + Send>) -> Result<Self, ReadError> {
        let consumed_bytes = Arc::new(AtomicU64::new(0));
        let mut from = Counted { from, bytes: Arc::clone(&consumed_bytes) };
        let failed = |error| ReadError::from_io(name, consumed_bytes.load(Ordering::Relaxed), error);
        let mut head = Vec::with_capacity(HEAD_BYTES);
        from.by_ref().take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(failed)?;
        let archive = archive_of(&head);
        let window_bytes = window_of(&head);
        let whole = Cursor::new(head).chain(from);
        let bytes: Box<dyn Read + Send> = match archive {
            Some("gzip") => {
                Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(INPUT_BYTES, whole)))
            }
            Some(_) => {
                let input = BufReader::with_capacity(INPUT_BYTES, whole);
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?;
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
                Box::new(decoder)
            }
            None => Box::new(whole),
        };
        Ok(Self { name: name.to_owned(), archive, window_bytes, bytes, consumed_bytes })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn is_archive(&self) -> bool {
        self.archive.is_some()
    }

    /// Returns the number of bytes read from the source so far, before decompression.
    pub(super) fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes.load(Ordering::Relaxed)
    }

    /// Reads until `into` is full or the source ends. Returns the number of bytes read.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < into.len() {
            match self.bytes.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        Ok(filled)
    }

    fn error(&self, error: io::Error) -> ReadError {
        let (name, offset) = (self.name.clone(), self.consumed_bytes());
        let error = match error.downcast::<ReadError>() {
            Ok(carried) => return carried,
            Err(error) => error,
        };
        match self.archive {
            Some(archive) if error.kind() == io::ErrorKind::UnexpectedEof => ReadError::Truncated { name, archive },
            Some("zstd") if error.raw_os_error().is_none() && error.to_string().contains(WINDOW_ERROR) => {
                let window_bytes_max = 1 << WINDOW_LOG_MAX;
                // `self.window_bytes` is the window of the first data frame. If this window is not too large, a later
                // frame caused the error. The window size of that frame is unknown.
                let window_bytes = self.window_bytes.filter(|&bytes| bytes > window_bytes_max);
                ReadError::Window { name, window_bytes, window_bytes_max }
            }
            // The error has no code of the operating system, so the decompressor returned it.
            Some(archive) if error.raw_os_error().is_none() => ReadError::Corrupt { name, archive, offset },
            _ => ReadError::from_io(&name, offset, error),
        }
    }
}

/// Returns `gzip` or `zstd` if the first bytes identify it, otherwise `None`.
fn archive_of(head: &[u8]) -> Option<&'static str> {
    match head {
        [0x1f, 0x8b, ..] => Some("gzip"),
        // The second pattern is a skippable frame (RFC 8878, 3.1.2). Some parallel compressors write one before the
        // first data frame.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some("zstd"),
        _ => None,
    }
}

/// Returns the window size of the first zstd data frame in `head`, in bytes (RFC 8878, 3.1.1.1). Returns `None` if
/// `head` is not zstd or does not contain the whole frame header.
fn window_of(mut head: &[u8]) -> Option<u64> {
    while let [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, rest @ ..] = head {
        head = rest.get(u32::from_le_bytes([*a, *b, *c, *d]) as usize..)?;
    }
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, rest @ ..] = head else { return None };
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let (exponent, mantissa) = (rest.first()? >> 3, rest.first()? & 7);
        let base = 1_u64 << (10 + exponent);
        return Some(base + base / 8 * u64::from(mantissa));
    }
    // The header of a single-segment frame has the size of the content and no window size. The window of such a frame
    // is as large as its content.
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content_bytes = 1 << (descriptor >> 6);
    let field = rest.get(dictionary_bytes..dictionary_bytes + content_bytes)?;
    let content = field.iter().rev().fold(0, |content, &byte| content << 8 | u64::from(byte));
    Some(if content_bytes == 2 { content + 256 } else { content })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(text: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.include_checksum(true).unwrap();
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn text() -> Vec<u8> {
        (0..20_000_u32).flat_map(|i| format!("{},{}\n", i, i.wrapping_mul(2_654_435_761)).into_bytes()).collect()
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let mut plain = Plain::new("x.csv", Box::new(Cursor::new(bytes)))?;
        let mut text = vec![0; 4_000_000];
        let length = plain.fill(&mut text)?;
        text.truncate(length);
        Ok(text)
    }

    #[test]
    fn compression_is_recognised_by_content() {
        let text = text();
        assert_eq!(read(text.clone()).unwrap(), text);
        for compress in [gzip, zstd] {
            assert_eq!(read(compress(&text)).unwrap(), text);
            let (head, tail) = text.split_at(1000);
            assert_eq!(
                read([compress(head), compress(tail)].concat()).unwrap(),
                text,
                "two members must give one text"
            );
            assert_eq!(read(compress(b"")).unwrap(), b"");
        }
        let skippable = [b"\x50\x2a\x4d\x18\x02\0\0\0ab".as_slice(), &zstd(&text)].concat();
        assert_eq!(read(skippable).unwrap(), text);
    }

    #[test]
    fn an_archive_truncated_at_any_byte_is_an_error() {
        for (archive, whole) in [("gzip", gzip(&text())), ("zstd", zstd(&text()))] {
            let near_the_end = whole.len() - 12..whole.len();
            for length in (4..40).chain([whole.len() / 2]).chain(near_the_end) {
                let error = read(whole[..length].to_vec()).unwrap_err();
                assert!(
                    matches!(&error, ReadError::Truncated { archive: a, .. } if *a == archive),
                    "{length}: {error}"
                );
            }
            for length in [whole.len() + 5, whole.len() + whole.len() / 2] {
                let twice = [whole.clone(), whole.clone()].concat();
                let error = read(twice[..length].to_vec()).unwrap_err();
                assert!(error.to_string().contains("truncated"), "second member cut at {length}: {error}");
            }
        }
    }

    /// Creates a zstd frame with one uncompressed block. Its header requires a window of 2^`log` bytes.
    fn frame(log: u8, text: &[u8]) -> Vec<u8> {
        let block = (text.len() as u32) << 3 | 1;
        [&[0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3], &block.to_le_bytes()[..3], text].concat()
    }

    #[test]
    fn a_zstd_window_above_the_limit_is_refused_with_its_size() {
        assert_eq!(read(frame(28, b"a,b\n")).unwrap(), b"a,b\n");
        assert_eq!(read(frame(29, b"a,b\n")).unwrap(), b"a,b\n");
        let skippable = [b"\x50\x2a\x4d\x18\x02\0\0\0ab".as_slice(), &frame(31, b"a")].concat();
        for (bytes, size) in [(frame(31, b"a,b\n"), "2048 MiB"), (skippable, "2048 MiB"), (frame(30, b"a"), "1024 MiB")]
        {
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(&format!("a zstd window of {size}")), "{error}");
            assert!(error.contains("at most 512 MiB") && error.contains("zstd --long=27"), "{error}");
        }
        for log in [20, 29] {
            let later = [frame(log, b"a,b\n"), frame(31, b"a,b\n")].concat();
            let error = read(later).unwrap_err();
            assert!(matches!(error, ReadError::Window { window_bytes: None, .. }), "{error}");
        }
    }

    #[test]
    fn the_window_size_is_read_from_the_frame_header() {
        assert_eq!(window_of(&frame(27, b"")), Some(1 << 27));
        assert_eq!(window_of(&[0x28, 0xb5, 0x2f, 0xfd, 0, 3 << 3 | 1]), Some(8192 + 1024));
        assert_eq!(window_of(&[0x28, 0xb5, 0x2f, 0xfd, 0x20, 200]), Some(200));
        assert_eq!(window_of(&[0x28, 0xb5, 0x2f, 0xfd, 0x61, 9, 1, 2]), Some(256 + 513));
        assert_eq!(window_of(&[0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32));
        assert_eq!(window_of(b"a,b\n"), None);
        assert_eq!(window_of(&[0x28, 0xb5, 0x2f, 0xfd]), None);
    }

    #[test]
    fn a_damaged_archive_is_an_error() {
        for mut damaged in [gzip(&text()), zstd(&text())] {
            let middle = damaged.len() / 2;
            damaged[middle..middle + 8].fill(0xa5);
            let error = read(damaged).unwrap_err();
            assert!(error.to_string().contains("`x.csv`"), "{error}");
            assert!(matches!(error, ReadError::Corrupt { .. } | ReadError::Truncated { .. }), "{error}");
        }
    }

    #[test]
    fn an_error_in_the_middle_names_the_file_and_the_offset() {
        struct Failing(usize);
        impl Read for Failing {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if self.0 == 0 {
                    return Err(io::Error::from_raw_os_error(5));
                }
                let length = self.0.min(into.len());
                self.0 -= length;
                into[..length].fill(b'a');
                Ok(length)
            }
        }
        let archive = gzip(&text());
        let half = Cursor::new(archive[..archive.len() / 2].to_vec()).chain(Failing(0));
        let error = Plain::new("disk.gz", Box::new(half)).unwrap().fill(&mut vec![0; 4_000_000]).unwrap_err();
        assert!(!matches!(error, ReadError::Corrupt { .. } | ReadError::Truncated { .. }), "{error}");
        let mut plain = Plain::new("disk.csv", Box::new(Failing(5000))).unwrap();
        let error = plain.fill(&mut [0; 8192]).unwrap_err().to_string();
        assert!(error.contains("`disk.csv` at byte 5000"), "{error}");
    }

    #[test]
    fn the_error_of_an_origin_is_not_taken_for_damage() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other(ReadError::NoSource))
            }
        }
        for archive in [gzip(&text()), zstd(&text()), text()] {
            let half = Cursor::new(archive[..archive.len() / 2].to_vec()).chain(Broken);
            let error = Plain::new("x", Box::new(half)).unwrap().fill(&mut vec![0; 4_000_000]).unwrap_err();
            assert!(matches!(error, ReadError::NoSource), "{error}");
        }
    }
}
