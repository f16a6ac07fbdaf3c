//! Estimates how many records a source has.

use crate::parse::Format;
use crate::read::Reader;

/// The number of records in the first part of a source, and the size of that part on disk. They are used to estimate
/// the number of records in the whole source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Density {
    pub(super) records: u64,
    bytes: u64,
    /// Whether the first part is the whole source.
    pub(super) is_whole: bool,
}

impl Density {
    /// Measures the first records in the sample of a reader. The reader must not have read more than its sample.
    pub(super) fn of(reader: &Reader, format: Format) -> Self {
        const LOOKED_AT: usize = 1000;
        let sample = reader.sample();
        let last = (1..).zip(format.rows(sample).take(LOOKED_AT)).last();
        let is_whole = reader.sample_is_whole();
        let Some((records, last)) = last else { return Self { records: 1, bytes: 1, is_whole } };
        let text_bytes = u64::from(last.end).max(1);
        // `records` is the estimated number of records in the whole sample. `bytes` is the size of the sample on disk,
        // which is less than `sample.len()` if the source is compressed.
        Self { records: records * sample.len() as u64 / text_bytes, bytes: reader.consumed_bytes().max(1), is_whole }
    }

    /// Returns the estimated number of records of a source of this size on disk.
    pub(super) fn records(self, bytes: u64) -> u64 {
        (u128::from(bytes) * u128::from(self.records) / u128::from(self.bytes)) as u64
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::read::ReadOptions;

    #[track_caller]
    fn check(bytes: Vec<u8>, records: u64) {
        let size = bytes.len() as u64;
        let reader = Reader::from_read("a source", Box::new(std::io::Cursor::new(bytes)), 0, &ReadOptions::default());
        let guess = Density::of(&reader.unwrap(), Format::Ndjson).records(size);
        assert!((records * 3 / 4..=records * 5 / 4).contains(&guess), "{guess} for {records}");
    }

    #[test]
    fn the_estimated_number_of_records_is_close_even_for_compressed_sources() {
        let row = |number: u32| format!("{:010},{}\n", number.wrapping_mul(2_654_435_761), "x".repeat(80)).into_bytes();
        let text: Vec<u8> = (0..200_000).flat_map(row).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        assert!(gzip.len() < text.len() / 4);
        check(gzip, 200_000);
        check(text, 200_000);
    }
}
