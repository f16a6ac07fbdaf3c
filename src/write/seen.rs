//! Which identities this load has seen: exact, in bounded memory.
//!
//! A blocked Bloom filter says "never" for nearly every record. What it cannot rule out is looked up among the sorted
//! `_id`s of earlier runs, which lie in unlinked temporary files and are read a page at a time. Files are merged as they
//! become many, so that even a load of a thousand runs asks only a few.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::FileExt;

use crate::encode::Id;

/// Most words of the filter: 32 MiB, so that 20 million records leave about one doubt in a hundred.
const FILTER_WORDS_MAX: usize = 1 << 22;
/// Bits of the filter that a record is given as long as that bound allows.
const BITS_PER_RECORD: u64 = 13;
const WORDS_PER_BLOCK: usize = 8;
/// `_id`s between two fences: a page of 4 KiB.
const PAGE_IDS: usize = 256;
const ID_BYTES: usize = 16;
/// Files of one level that become one of the next.
const MERGED_AT_ONCE: usize = 8;
/// Bytes read ahead from each file that is merged, and written at once.
const BUFFER_BYTES: usize = 1 << 17;

/// The identities of a load so far.
#[derive(Debug)]
pub struct Seen {
    /// A bit that is set says "never". Zeroed memory would be the kernel's one zero page, and the first write to each page of
    /// it would interrupt the other cores.
    filter: Vec<u64>,
    latest: Vec<Id>,
    /// Earlier runs, those that were merged most often first.
    segments: Vec<Segment>,
}

/// Sorted `_id`s of runs, in a file.
#[derive(Debug)]
struct Segment {
    file: File,
    len: usize,
    /// The first `_id` of each page.
    fences: Vec<Id>,
    /// How often they were merged.
    level: u32,
}

impl Seen {
    /// Nothing seen yet. More records than `records_guess` cost time, never a wrong answer.
    pub fn new(records_guess: u64) -> Self {
        let words = (records_guess.saturating_mul(BITS_PER_RECORD) / 64).min(FILTER_WORDS_MAX as u64) as usize;
        let words = words.next_multiple_of(WORDS_PER_BLOCK).max(WORDS_PER_BLOCK);
        Self { filter: vec![u64::MAX; words], latest: Vec::new(), segments: Vec::new() }
    }

    /// Says of each of a run's `_id`s (ascending, unique) whether an earlier run had it, and remembers them all.
    ///
    /// # Errors
    /// When the temporary file cannot be made, written or read.
    pub fn note(&mut self, ids: Vec<Id>) -> io::Result<Vec<bool>> {
        let mut repeats = Vec::with_capacity(ids.len());
        for id in &ids {
            let doubtful = !self.mark(id);
            repeats.push(doubtful && (self.latest.binary_search(id).is_ok() || self.is_spilled(id)?));
        }
        let latest = std::mem::replace(&mut self.latest, ids);
        if !latest.is_empty() {
            let mut segment = SegmentWriter::new()?;
            latest.into_iter().try_for_each(|id| segment.push(id))?;
            self.segments.push(segment.finish(0)?);
            self.merge()?;
        }
        Ok(repeats)
    }

    /// Takes the `_id`'s bits away; true if one of them was still there.
    ///
    /// The block comes from the leading bytes, so that sorted `_id`s walk through memory in order; the bits from the last.
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

    fn is_spilled(&self, id: &Id) -> io::Result<bool> {
        for segment in &self.segments {
            if segment.holds(id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes one segment of those of the last level while they are many. Every `_id` is written again once a level.
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
    /// Several segments as one.
    fn merge(segments: &[Self], level: u32) -> io::Result<Self> {
        let mut runs = segments.iter().map(Segment::ids).collect::<io::Result<Vec<_>>>()?;
        let mut merged = SegmentWriter::new()?;
        // The next `_id` of each, as a number: the comparison is what a merge costs.
        let number = |id: Id| u128::from_be_bytes(id.0);
        let next =
            |ids: &mut dyn Iterator<Item = io::Result<Id>>| Ok::<_, io::Error>(ids.next().transpose()?.map(number));
        let mut heads = runs.iter_mut().map(|ids| next(ids)).collect::<io::Result<Vec<_>>>()?;
        while let Some((least, run)) = heads.iter().zip(0..).filter_map(|(head, run)| Some(((*head)?, run))).min() {
            merged.push(Id(least.to_be_bytes()))?;
            heads[run] = next(&mut runs[run])?;
        }
        merged.finish(level)
    }

    fn holds(&self, id: &Id) -> io::Result<bool> {
        let Some(page) = self.fences.partition_point(|fence| fence <= id).checked_sub(1) else { return Ok(false) };
        let first = page * PAGE_IDS;
        let mut bytes = [0; PAGE_IDS * ID_BYTES];
        let bytes = &mut bytes[..(self.len - first).min(PAGE_IDS) * ID_BYTES];
        self.file.read_exact_at(bytes, (first * ID_BYTES) as u64)?;
        Ok(bytes.as_chunks::<ID_BYTES>().0.binary_search(&id.0).is_ok())
    }

    /// All of them, from the first.
    fn ids(&self) -> io::Result<impl Iterator<Item = io::Result<Id>>> {
        let mut file = &self.file;
        file.rewind()?;
        let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
        Ok((0..self.len).map(move |_| {
            let mut id = Id([0; ID_BYTES]);
            file.read_exact(&mut id.0).map(|()| id)
        }))
    }
}

/// Writes `_id`s, which come in order, to a file of their own.
struct SegmentWriter {
    out: BufWriter<File>,
    len: usize,
    fences: Vec<Id>,
}

impl SegmentWriter {
    fn new() -> io::Result<Self> {
        let out = BufWriter::with_capacity(BUFFER_BYTES, tempfile::tempfile()?);
        Ok(Self { out, len: 0, fences: Vec::new() })
    }

    fn push(&mut self, id: Id) -> io::Result<()> {
        if self.len.is_multiple_of(PAGE_IDS) {
            self.fences.push(id);
        }
        self.len += 1;
        self.out.write_all(&id.0)
    }

    fn finish(self, level: u32) -> io::Result<Segment> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Segment { file, len: self.len, fences: self.fences, level })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> Id {
        let hash = blake3::hash(&number.to_le_bytes());
        Id(*hash.as_bytes().first_chunk().unwrap())
    }

    fn run(numbers: std::ops::Range<u64>) -> Vec<Id> {
        let mut ids: Vec<Id> = numbers.map(id).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn an_identity_of_many_runs_is_found_after_they_were_merged() {
        let mut seen = Seen::new(0);
        for round in 0..MERGED_AT_ONCE * MERGED_AT_ONCE {
            // More than a page, so that copies of one lie on both sides of its end.
            assert_eq!(seen.note(run(0..300)).unwrap().contains(&false), round == 0);
        }
        assert!(seen.segments.iter().any(|segment| segment.level == 1));
        assert!(seen.note(run(0..300)).unwrap().iter().all(|repeat| *repeat));
        assert!(!seen.note(run(300..600)).unwrap().contains(&true));
    }

    #[track_caller]
    fn check(records_guess: u64) {
        let mut seen = Seen::new(records_guess);
        // Enough runs that the files are merged, and merged ones with others.
        for start in (0..MERGED_AT_ONCE as u64 * 10).map(|run| run * 500) {
            assert!(!seen.note(run(start..start + 500)).unwrap().contains(&true));
        }
        assert!(seen.segments.len() < 2 * MERGED_AT_ONCE);
        let mixed = run(5_000..45_000);
        let repeats = seen.note(mixed.clone()).unwrap();
        let old = run(5_000..40_000);
        for (id, repeat) in mixed.iter().zip(repeats) {
            assert_eq!(repeat, old.binary_search(id).is_ok());
        }
    }

    #[test]
    fn finds_every_repeat_and_no_other() {
        check(60_000);
        check(u64::MAX);
        // Every answer of the filter is a doubt.
        check(0);
    }
}
