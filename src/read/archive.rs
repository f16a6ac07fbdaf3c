//! Compression, told by content: gzip (RFC 1952, any number of members) and zstd (RFC 8878, any number of frames).

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadError;

const INPUT_BYTES: usize = 256 * 1024;
const MAGIC_BYTES: usize = 4;

/// A source's bytes, decompressed. Its errors say whose they are.
pub(super) struct Plain {
    name: String,
    archive: Option<&'static str>,
    bytes: Box<dyn Read + Send>,
    consumed_bytes: Arc<AtomicU64>,
}

/// Counts what goes through, for progress and for the place of an error.
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
    /// Looks at the first bytes and puts the decompressor they ask for between.
    pub(super) fn new(name: &str, from: Box<dyn Read + Send>) -> Result<Self, ReadError> {
        let consumed_bytes = Arc::new(AtomicU64::new(0));
        let mut from = Counted { from, bytes: Arc::clone(&consumed_bytes) };
        let failed = |error| ReadError::from_io(name, consumed_bytes.load(Ordering::Relaxed), error);
        let mut magic = Vec::with_capacity(MAGIC_BYTES);
        from.by_ref().take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(failed)?;
        let archive = archive_of(&magic);
        let whole = Cursor::new(magic).chain(from);
        let bytes: Box<dyn Read + Send> = match archive {
            Some("gzip") => {
                Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(INPUT_BYTES, whole)))
            }
            Some(_) => {
                let input = BufReader::with_capacity(INPUT_BYTES, whole);
                Box::new(zstd::stream::read::Decoder::with_buffer(input).map_err(failed)?)
            }
            None => Box::new(whole),
        };
        Ok(Self { name: name.to_owned(), archive, bytes, consumed_bytes })
    }

    /// Bytes of the source consumed so far, before decompression.
    pub(super) fn consumed_bytes(&self) -> u64 {
        self.consumed_bytes.load(Ordering::Relaxed)
    }

    /// Reads until `into` is full or the source ends; the number of bytes read.
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
        match self.archive {
            Some(archive) if error.kind() == io::ErrorKind::UnexpectedEof => ReadError::Truncated { name, archive },
            // What does not come from the operating system comes from the decompressor.
            Some(archive) if error.raw_os_error().is_none() => ReadError::Corrupt { name, archive, offset },
            _ => ReadError::from_io(&name, offset, error),
        }
    }
}

/// The compression that the first bytes announce.
fn archive_of(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x1f, 0x8b, ..] => Some("gzip"),
        // A frame, or a skippable frame as parallel compressors put first (RFC 8878, 3.1).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some("zstd"),
        _ => None,
    }
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
    fn compression_is_told_by_content() {
        let text = text();
        assert_eq!(read(text.clone()).unwrap(), text);
        for compress in [gzip, zstd] {
            assert_eq!(read(compress(&text)).unwrap(), text);
            let (head, tail) = text.split_at(1000);
            assert_eq!(read([compress(head), compress(tail)].concat()).unwrap(), text, "two members");
            assert_eq!(read(compress(b"")).unwrap(), b"");
        }
        let skippable = [b"\x50\x2a\x4d\x18\x02\0\0\0ab".as_slice(), &zstd(&text)].concat();
        assert_eq!(read(skippable).unwrap(), text);
    }

    #[test]
    fn a_truncated_archive_is_an_error_wherever_it_is_cut() {
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
        let mut plain = Plain::new("disk.csv", Box::new(Failing(5000))).unwrap();
        let error = plain.fill(&mut [0; 8192]).unwrap_err().to_string();
        assert!(error.contains("`disk.csv` at byte 5000"), "{error}");
    }
}
