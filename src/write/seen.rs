//! Remembers the `_id`s and digests of this load, to recognize records whose `_id` occurred before. The answers are
//! exact.
//!
//! A Bloom filter recognizes nearly every new `_id` as new. All other `_id`s are looked up in the sorted records of
//! earlier chunks. These records are in temporary files without a name. A lookup reads one page of a file. Eight files
//! are merged into one, and eight merged files into one larger file. After a thousand chunks, there are thus at most 21
//! files.
//!
//! The module `spill` cannot be used here, because it sorts once, when all entries are known. Here, each chunk is
//! looked up before the next chunk arrives. So each chunk is written to its own sorted file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;

use super::machine::Earlier;
use crate::encode::{Digest, Entry, Id};

/// Maximum number of 64-bit words in the filter (32 MiB). After 20 million records, the filter fails to recognize about
/// one new record in 200. Such a record is looked up unnecessarily.
const FILTER_WORDS_MAX: usize = 1 << 22;
/// Bits of the filter for each expected record. A filter of the maximum size may have fewer.
const BITS_PER_RECORD: u64 = 24;
const WORDS_PER_BLOCK: usize = 8;
/// Number of records in a page of 4 KiB. A lookup reads one page of a file.
const PAGE_RECORDS: usize = 128;
/// Size of an `_id` and a digest.
const RECORD_BYTES: usize = 32;
/// Number of files of one level that are merged into one file of the next level.
const MERGED_AT_ONCE: usize = 8;
/// Number of records in the buffer of each file that a merge reads or writes.
const BUFFER_RECORDS: usize = 1 << 12;

/// The data kept for each record.
#[derive(Debug, Clone, Copy)]
struct Record {
    id: Id,
    digest: Digest,
}

/// The `_id`s and digests of a load so far.
#[derive(Debug)]
pub(super) struct Seen {
    /// A set bit means "not seen". All bits are set at the start. Reason: the kernel maps zeroed memory to one shared
    /// page. The first write to each page would then interrupt the other cores.
    filter: Vec<u64>,
    /// The records of the last chunk. The next call of `note` moves them to a file.
    latest: Vec<Record>,
    /// The files with the records of earlier chunks. Files that were merged more often are first.
    segments: Vec<Segment>,
}

/// The records of one or more chunks in a file, sorted by `_id`. Records with the same `_id` are in the order of their
/// chunks.
#[derive(Debug)]
struct Segment {
    file: File,
    len: usize,
    /// The first `_id` of each page.
    fences: Vec<Id>,
    /// How many times the records of this file were merged.
    level: u32,
}

impl Seen {
    /// Makes an empty `Seen` for a load of about `records_guess` records. If the load has more records, lookups are
    /// slower but still exact.
    pub(super) fn new(records_guess: u64) -> Self {
        let words = (records_guess.saturating_mul(BITS_PER_RECORD) / 64).min(FILTER_WORDS_MAX as u64) as usize;
        let words = words.next_multiple_of(WORDS_PER_BLOCK).max(WORDS_PER_BLOCK);
        Self { filter: vec![u64::MAX; words], latest: Vec::new(), segments: Vec::new() }
    }

    /// Remembers the records of a chunk. Their `_id`s must be unique and in ascending order. First looks for each `_id`
    /// in the earlier chunks. If an `_id` is found there, compares the digests. Returns one result for each record.
    ///
    /// # Errors
    /// If the temporary file cannot be created, written or read.
    pub(super) fn note(&mut self, chunk: &[Entry]) -> io::Result<Vec<Earlier>> {
        let mut earlier = Vec::with_capacity(chunk.len());
        for entry in chunk {
            let is_new = self.mark(&entry.id);
            let before = if is_new { None } else { self.find(&entry.id)? };
            earlier.push(match before {
                None => Earlier::Nothing,
                Some(digest) if digest == entry.digest => Earlier::Equal,
                Some(_) => Earlier::Other,
            });
        }
        let records = chunk.iter().map(|entry| Record { id: entry.id, digest: entry.digest }).collect();
        let latest = std::mem::replace(&mut self.latest, records);
        if !latest.is_empty() {
            let mut segment = SegmentWriter::new()?;
            latest.iter().try_for_each(|record| segment.push(record))?;
            self.segments.push(segment.finish(0)?);
            self.merge()?;
        }
        Ok(earlier)
    }

    /// Marks the `_id` as seen by clearing its four bits. Returns true if one of these bits was set: the `_id` is then
    /// certainly new. If all four bits were already clear, the `_id` may have occurred before.
    ///
    /// The four bits are in one block of 64 bytes. The leading bytes of the `_id` select the block, so that
    /// sorted `_id`s access the memory in order. The last bytes select the bits.
    fn mark(&mut self, id: &Id) -> bool {
        let tail = u64::from_be_bytes(*id.0.last_chunk().expect("an _id has 16 bytes"));
        let blocks = self.filter.len() / WORDS_PER_BLOCK;
        let block = ((u128::from(id.lead()) * blocks as u128) >> 64) as usize * WORDS_PER_BLOCK;
        let mut new = false;
        for step in 0..4 {
            let bit = (tail >> (step * 9)) as usize % (WORDS_PER_BLOCK * 64);
            let word = &mut self.filter[block + bit / 64];
            new |= *word & (1 << (bit % 64)) != 0;
            *word &= !(1 << (bit % 64));
        }
        new
    }

    /// Returns the digest of the most recent record with this `_id`.
    fn find(&self, id: &Id) -> io::Result<Option<Digest>> {
        if let Ok(at) = self.latest.binary_search_by_key(id, |record| record.id) {
            return Ok(Some(self.latest[at].digest));
        }
        for segment in self.segments.iter().rev() {
            let found = segment.find(id)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// If the lowest level has [`MERGED_AT_ONCE`] segments, merges them into one segment of the next level. Repeats
    /// this with the next level. A record is thus written once for each level.
    fn merge(&mut self) -> io::Result<()> {
        while let Some(last) = self.segments.last() {
            let level = last.level;
            let first = self.segments.partition_point(|segment| segment.level > level);
            if self.segments.len() - first < MERGED_AT_ONCE {
                break;
            }
            let merged = self.segments.split_off(first);
            self.segments.push(Segment::merge(&merged, level + 1)?);
        }
        Ok(())
    }
}

impl Segment {
    /// Merges several segments into one. `segments` are in the order of their chunks.
    fn merge(segments: &[Self], level: u32) -> io::Result<Self> {
        debug_assert!(segments.iter().all(|segment| segment.len > 0));
        let mut merged = SegmentWriter::new()?;
        let mut readers: Vec<_> = segments.iter().map(SegmentReader::new).collect();
        let mut heads: Vec<Head> = Vec::with_capacity(readers.len());
        readers.iter_mut().try_for_each(|reader| reader.read().map(|head| heads.extend(head)))?;
        // If several segments have the same `_id` next, `min_by_key` returns the first: the one of the earliest chunk.
        while let Some((least, (_, record))) = heads.iter().enumerate().min_by_key(|(_, (number, _))| *number) {
            merged.push(record)?;
            if let Some(head) = readers[least].read()? {
                heads[least] = head;
            } else {
                heads.remove(least);
                readers.remove(least);
            }
        }
        merged.finish(level)
    }

    /// Returns the digest of the last record with this `_id`, which belongs to the latest chunk.
    fn find(&self, id: &Id) -> io::Result<Option<Digest>> {
        let Some(page) = self.fences.partition_point(|fence| fence <= id).checked_sub(1) else { return Ok(None) };
        let first = page * PAGE_RECORDS;
        let mut bytes = [0; PAGE_RECORDS * RECORD_BYTES];
        let bytes = &mut bytes[..(self.len - first).min(PAGE_RECORDS) * RECORD_BYTES];
        self.file.read_exact_at(bytes, (first * RECORD_BYTES) as u64)?;
        let records = bytes.as_chunks().0;
        let after = records.partition_point(|record| Record::from_bytes(record).id <= *id);
        let last = after.checked_sub(1).map(|at| Record::from_bytes(&records[at]));
        Ok(last.filter(|record| record.id == *id).map(|record| record.digest))
    }
}

impl Record {
    fn from_bytes(bytes: &[u8; RECORD_BYTES]) -> Self {
        let half = |from: usize| *bytes[from..].first_chunk().expect("a record must have two halves of 16 bytes");
        Self { id: Id(half(0)), digest: Digest(u128::from_le_bytes(half(RECORD_BYTES / 2))) }
    }
}

/// Reads a segment from its first record to its last.
struct SegmentReader<'a> {
    segment: &'a Segment,
    bytes: Vec<u8>,
    /// Position of the next record in the segment.
    next: usize,
}

/// The `_id` of a record as a number, and the record. A merge mostly compares `_id`s, and numbers are compared fastest.
type Head = (u128, Record);

impl<'a> SegmentReader<'a> {
    fn new(segment: &'a Segment) -> Self {
        Self { segment, bytes: vec![0; BUFFER_RECORDS * RECORD_BYTES], next: 0 }
    }

    fn read(&mut self) -> io::Result<Option<Head>> {
        let left = self.segment.len - self.next;
        if left == 0 {
            return Ok(None);
        }
        let at = self.next % BUFFER_RECORDS;
        if at == 0 {
            self.bytes.truncate(left * RECORD_BYTES);
            self.segment.file.read_exact_at(&mut self.bytes, (self.next * RECORD_BYTES) as u64)?;
        }
        self.next += 1;
        let record = Record::from_bytes(&self.bytes.as_chunks().0[at]);
        Ok(Some((u128::from_be_bytes(record.id.0), record)))
    }
}

/// Writes one segment to a new temporary file. The records must arrive in `_id` order.
struct SegmentWriter {
    out: BufWriter<File>,
    len: usize,
    fences: Vec<Id>,
}

impl SegmentWriter {
    fn new() -> io::Result<Self> {
        let out = BufWriter::with_capacity(BUFFER_RECORDS * RECORD_BYTES, tempfile::tempfile()?);
        Ok(Self { out, len: 0, fences: Vec::new() })
    }

    fn push(&mut self, record: &Record) -> io::Result<()> {
        if self.len.is_multiple_of(PAGE_RECORDS) {
            self.fences.push(record.id);
        }
        self.len += 1;
        self.out.write_all(&record.id.0)?;
        self.out.write_all(&record.digest.0.to_le_bytes())
    }

    fn finish(self, level: u32) -> io::Result<Segment> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Segment { file, len: self.len, fences: self.fences, level })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, content: u64) -> Entry {
        let id = Id(*blake3::hash(&number.to_le_bytes()).as_bytes().first_chunk().unwrap());
        Entry { id, digest: Digest(content.into()), ..Entry::default() }
    }

    fn chunk(numbers: std::ops::Range<u64>, content: u64) -> Vec<Entry> {
        let mut records: Vec<Entry> = numbers.map(|number| record(number, content)).collect();
        records.sort_unstable_by_key(|record| record.id);
        records
    }

    #[test]
    fn the_latest_content_of_an_identity_is_found_after_chunks_were_merged() {
        let mut seen = Seen::new(0);
        let rounds = (MERGED_AT_ONCE * MERGED_AT_ONCE + 2) as u64;
        for round in 0..rounds {
            // A chunk of 150 records is longer than a page. After a merge, some records with the same `_id` are on
            // different pages.
            let expected = if round == 0 { Earlier::Nothing } else { Earlier::Other };
            assert!(seen.note(&chunk(0..150, round)).unwrap().iter().all(|earlier| *earlier == expected));
        }
        assert!(seen.segments.iter().any(|segment| segment.level >= 1));
        assert!(seen.note(&chunk(150..300, 0)).unwrap().iter().all(|earlier| *earlier == Earlier::Nothing));
        assert!(seen.note(&chunk(0..150, rounds - 1)).unwrap().iter().all(|earlier| *earlier == Earlier::Equal));
        assert!(seen.note(&chunk(0..150, rounds - 2)).unwrap().iter().all(|earlier| *earlier == Earlier::Other));
    }

    #[test]
    fn a_chunk_longer_than_a_buffer_is_merged_whole() {
        let mut seen = Seen::new(10_000);
        let longer = 2 * BUFFER_RECORDS as u64 + 1;
        seen.note(&chunk(0..longer, 0)).unwrap();
        for start in (1..=MERGED_AT_ONCE as u64).map(|chunk| longer + chunk * 10) {
            seen.note(&chunk(start..start + 10, 0)).unwrap();
        }
        assert!(seen.segments.iter().any(|segment| segment.level == 1));
        assert!(seen.note(&chunk(0..longer, 0)).unwrap().iter().all(|earlier| *earlier == Earlier::Equal));
    }

    #[track_caller]
    fn check(records_guess: u64) {
        let mut seen = Seen::new(records_guess);
        // 80 chunks: eight files are merged into one, and eight merged files are merged again.
        for start in (0..MERGED_AT_ONCE as u64 * 10).map(|chunk| chunk * 50) {
            let earlier = seen.note(&chunk(start..start + 50, start)).unwrap();
            assert!(earlier.iter().all(|earlier| *earlier == Earlier::Nothing));
        }
        assert!(seen.segments.len() < 2 * MERGED_AT_ONCE);
        let mixed = chunk(500..4_500, 2_000);
        let earlier = seen.note(&mixed).unwrap();
        let (equal, old) = (chunk(2_000..2_050, 0), chunk(500..4_000, 0));
        let holds = |chunk: &[Entry], id: Id| chunk.binary_search_by_key(&id, |record| record.id).is_ok();
        for (record, earlier) in mixed.iter().zip(earlier) {
            assert_eq!(earlier != Earlier::Nothing, holds(&old, record.id));
            assert_eq!(earlier == Earlier::Equal, holds(&equal, record.id));
        }
    }

    #[test]
    fn finds_every_repeat_and_no_other() {
        check(6_000);
        check(u64::MAX);
        // With the smallest filter, nearly every `_id` is looked up.
        check(0);
    }
}
