//! Which identities this load has seen: exact, in bounded memory.
//!
//! A blocked Bloom filter says "never" for nearly every record. What it cannot rule out is looked up among the sorted
//! `_id`s of earlier runs, which lie in an unlinked temporary file and are read a page at a time.

use std::fs::File;
use std::io;
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

/// The identities of a load so far.
#[derive(Debug)]
pub struct Seen {
    /// A bit that is set says "never". Zeroed memory would be the kernel's one zero page, and the first write to each page of
    /// it would interrupt the other cores.
    filter: Vec<u64>,
    latest: Vec<Id>,
    spilled: Option<File>,
    segments: Vec<Segment>,
}

/// The sorted `_id`s of one run, in the file.
#[derive(Debug)]
struct Segment {
    start: u64,
    len: usize,
    /// The first `_id` of each page.
    fences: Vec<Id>,
}

impl Seen {
    /// Nothing seen yet. More records than `records_guess` cost time, never a wrong answer.
    pub fn new(records_guess: u64) -> Self {
        let words = (records_guess.saturating_mul(BITS_PER_RECORD) / 64).min(FILTER_WORDS_MAX as u64) as usize;
        let words = words.max(2 * WORDS_PER_BLOCK).next_power_of_two();
        Self { filter: vec![u64::MAX; words], latest: Vec::new(), spilled: None, segments: Vec::new() }
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
        self.spill(&latest)?;
        Ok(repeats)
    }

    /// Takes the `_id`'s bits away; true if one of them was still there.
    ///
    /// The block comes from the leading bytes, so that sorted `_id`s walk through memory in order; the bits from the last.
    fn mark(&mut self, id: &Id) -> bool {
        let lead = u64::from_be_bytes(*id.0.first_chunk().expect("an _id has 16 bytes"));
        let tail = u64::from_be_bytes(*id.0.last_chunk().expect("an _id has 16 bytes"));
        let blocks = self.filter.len() / WORDS_PER_BLOCK;
        let block = (lead >> (64 - blocks.trailing_zeros())) as usize * WORDS_PER_BLOCK;
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
        let Some(file) = &self.spilled else { return Ok(false) };
        for segment in &self.segments {
            let Some(page) = segment.fences.partition_point(|fence| fence <= id).checked_sub(1) else { continue };
            let first = page * PAGE_IDS;
            let mut bytes = [0; PAGE_IDS * ID_BYTES];
            let bytes = &mut bytes[..(segment.len - first).min(PAGE_IDS) * ID_BYTES];
            file.read_exact_at(bytes, segment.start + (first * ID_BYTES) as u64)?;
            if bytes.as_chunks::<ID_BYTES>().0.binary_search(&id.0).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn spill(&mut self, ids: &[Id]) -> io::Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let start = self.segments.last().map_or(0, |last| last.start + (last.len * ID_BYTES) as u64);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
        file.write_all_at(&bytes, start)?;
        self.segments.push(Segment { start, len: ids.len(), fences: ids.iter().step_by(PAGE_IDS).copied().collect() });
        Ok(())
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

    #[track_caller]
    fn check(records_guess: u64) {
        let mut seen = Seen::new(records_guess);
        for start in [0, 10_000, 20_000] {
            assert!(!seen.note(run(start..start + 10_000)).unwrap().contains(&true));
        }
        let mixed = run(5_000..45_000);
        let repeats = seen.note(mixed.clone()).unwrap();
        let old = run(5_000..30_000);
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
