//! Sorts more entries than fit in memory. Each time the memory is full, its entries are sorted and written to a
//! temporary file as one *run*. When the entries are read, the runs are merged. The file has no name, so the system
//! deletes it when the process ends.
//!
//! A [`SpilledEntry`] represents one record of the source. It contains hashes and positions, never a value of a record.
//! This module knows nothing about servers, specs, or the documents that the entries are later compared with.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::encode::{Digest, Id};

/// Default size of a sorter's memory, in bytes.
pub const SORTER_BYTES_DEFAULT: usize = 64 * 1024 * 1024;

/// Length of an entry in the file: 16 bytes of `_id`, 16 of digest, 4 of source index, 8 of row number.
const ENTRY_BYTES: usize = 16 + 16 + 4 + 8;

/// Memory for reading ahead while runs are merged, in bytes. All runs of one merge share it.
const READ_AHEAD_BYTES: usize = 8 * 1024 * 1024;

/// Largest number of entries that are read from a run at once.
const READ_ENTRIES_MAX: usize = 4096;

/// One record of the source. Entries are ordered by `_id`, then by their position in the sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpilledEntry {
    /// The record's `_id`.
    pub id: Id,
    /// Index of the record's source, in the order in which sources are read. `verify/excused.rs` uses this field for
    /// another purpose: it stores there why the record may be missing or different.
    pub source: u32,
    /// The record's row number in the source, from 1.
    pub row: u64,
    /// Hash of the record's fields, without `_id`.
    pub digest: Digest,
}

/// The temporary file cannot be created, written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} the temporary file for sorting the source's records, in {directory}: {cause}; {remedy}")]
pub struct SpillError {
    doing: &'static str,
    directory: String,
    cause: io::Error,
    remedy: &'static str,
}

impl SpillError {
    pub(crate) fn new(doing: &'static str, cause: io::Error) -> Self {
        let remedy = if matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            "free space there, or set TMPDIR to a directory with at least 44 bytes of free space per row; a fold needs about as \
             much as the messages"
        } else if cause.kind() == io::ErrorKind::FileTooLarge {
            "raise the limit for the size of a file with ulimit -f"
        } else {
            "set TMPDIR to a directory that can be written"
        };
        Self { doing, directory: std::env::temp_dir().display().to_string(), cause, remedy }
    }
}

/// Sorts entries that are added in any order.
#[derive(Debug)]
pub struct Sorter {
    entries: Vec<SpilledEntry>,
    entries_max: usize,
    file: Option<File>,
    /// Number of entries of each run in the file, in the order of writing.
    runs: Vec<u64>,
}

impl Sorter {
    /// Creates a sorter that keeps about `bytes_max` bytes of entries in memory, and at least 1,000 entries.
    pub fn new(bytes_max: usize) -> Self {
        let entries_max = (bytes_max / size_of::<SpilledEntry>()).max(1000);
        Self { entries: Vec::new(), entries_max, file: None, runs: Vec::new() }
    }

    /// Adds an entry. If the memory is full, its entries are first sorted and written to disk. This takes about 100 ms
    /// if the memory has the default size.
    pub fn push(&mut self, entry: SpilledEntry) -> Result<(), SpillError> {
        if self.entries.len() == self.entries_max {
            self.spill()?;
        }
        if self.entries.capacity() == 0 {
            // The memory is reserved once, because a growing vector would need up to twice as much while it is copied.
            // The system allocates a page only when it is first written, so unused capacity costs nothing.
            self.entries.reserve_exact(self.entries_max);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Ends the input and returns all entries, sorted.
    pub fn into_sorted(mut self) -> Result<Sorted, SpillError> {
        if self.file.is_some() {
            self.spill()?;
            self.entries = Vec::new();
        }
        self.entries.sort_unstable();
        self.entries.shrink_to_fit();
        Ok(Sorted(Arc::new(Runs { memory: self.entries, file: self.file, disk: self.runs })))
    }

    fn spill(&mut self) -> Result<(), SpillError> {
        self.entries.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile().map_err(|cause| SpillError::new("create", cause))?),
        };
        write_run(file, &self.entries).map_err(|cause| SpillError::new("write", cause))?;
        self.runs.push(self.entries.len() as u64);
        self.entries.clear();
        Ok(())
    }
}

fn write_run(file: &mut File, entries: &[SpilledEntry]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, file);
    entries.iter().try_for_each(|entry| out.write_all(&entry.to_bytes()))?;
    out.flush()
}

/// Returns the key by which entries are ordered. The `_id` is one integer here, because comparing an integer is faster
/// than comparing 16 bytes.
fn sort_key(entry: &SpilledEntry) -> (u128, u32, u64, u128) {
    (u128::from_be_bytes(entry.id.0), entry.source, entry.row, entry.digest.0)
}

impl Ord for SpilledEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        sort_key(self).cmp(&sort_key(other))
    }
}

impl PartialOrd for SpilledEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl SpilledEntry {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..32].copy_from_slice(&self.digest.0.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.source.to_le_bytes());
        bytes[36..].copy_from_slice(&self.row.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        Self {
            id: Id(part(bytes, 0)),
            digest: Digest(u128::from_le_bytes(part(bytes, 16))),
            source: u32::from_le_bytes(part(bytes, 32)),
            row: u64::from_le_bytes(part(bytes, 36)),
        }
    }
}

fn part<const N: usize>(bytes: &[u8; ENTRY_BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}

/// All entries, sorted. A clone shares the same entries, and any number of ranges can be read at the same time.
#[derive(Debug, Clone)]
pub struct Sorted(Arc<Runs>);

/// The sorted entries. Either all of them are in memory, or all are in the file.
#[derive(Debug)]
struct Runs {
    memory: Vec<SpilledEntry>,
    file: Option<File>,
    disk: Vec<u64>,
}

impl Sorted {
    pub(crate) fn len(&self) -> u64 {
        self.0.memory.len() as u64 + self.0.disk.iter().sum::<u64>()
    }

    /// Returns the entries with `from <= _id < to` in `_id` order. `None` for `to` means all entries from `from` on.
    pub fn range(&self, from: Id, to: Option<Id>) -> Result<Merge, SpillError> {
        let runs = &self.0;
        let below = |bound: Id| runs.memory.partition_point(|entry| entry.id < bound);
        let memory = (below(from), to.map_or(runs.memory.len(), below));
        let mut merge = Merge { runs: runs.clone(), memory, cursors: Vec::new(), heap: BinaryHeap::new() };
        let mut start = 0;
        for &entries in &runs.disk {
            let first = runs.first_not_below(start, entries, from)?;
            let end = to.map_or(Ok(start + entries), |to| runs.first_not_below(start, entries, to))?;
            merge.cursors.push(RunCursor { next: first, end, buffer: Vec::new(), at: 0 });
            start += entries;
        }
        for run in 0..merge.cursors.len() {
            merge.refill_heap(run)?;
        }
        Ok(merge)
    }
}

impl Runs {
    /// Finds a run's first entry with `_id >= bound`. Returns the index of this entry in the file. If there is no such
    /// entry, returns the index after the run. The run has `entries` entries and begins at index `start` of the file.
    fn first_not_below(&self, start: u64, entries: u64, bound: Id) -> Result<u64, SpillError> {
        let (mut low, mut high) = (start, start + entries);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut bytes = [0; ENTRY_BYTES];
            self.read(middle, &mut bytes)?;
            if SpilledEntry::from_bytes(&bytes).id < bound { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn read(&self, entry: u64, bytes: &mut [u8]) -> Result<(), SpillError> {
        let file = self.file.as_ref().expect("there is a file, because a run is on disk");
        file.read_exact_at(bytes, entry * ENTRY_BYTES as u64).map_err(|cause| SpillError::new("read", cause))
    }
}

/// Reads the entries of a range in order, merged from all runs.
#[derive(Debug)]
pub struct Merge {
    runs: Arc<Runs>,
    memory: (usize, usize),
    cursors: Vec<RunCursor>,
    heap: BinaryHeap<Reverse<(SpilledEntry, usize)>>,
}

/// The reading position in one run on disk, and the entries that were read ahead.
#[derive(Debug)]
struct RunCursor {
    next: u64,
    end: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Iterator for Merge {
    type Item = Result<SpilledEntry, SpillError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(Reverse((entry, run))) = self.heap.pop() {
            return Some(self.refill_heap(run).map(|()| entry));
        }
        let (next, end) = &mut self.memory;
        (*next < *end).then(|| {
            *next += 1;
            Ok(self.runs.memory[*next - 1])
        })
    }
}

impl Merge {
    fn refill_heap(&mut self, run: usize) -> Result<(), SpillError> {
        let read_ahead = (READ_AHEAD_BYTES / ENTRY_BYTES / self.cursors.len()).clamp(64, READ_ENTRIES_MAX);
        if let Some(entry) = self.cursors[run].advance(&self.runs, read_ahead)? {
            self.heap.push(Reverse((entry, run)));
        }
        Ok(())
    }
}

impl RunCursor {
    fn advance(&mut self, runs: &Runs, read_ahead: usize) -> Result<Option<SpilledEntry>, SpillError> {
        if self.at == self.buffer.len() {
            let entries = (self.end - self.next).min(read_ahead as u64);
            self.buffer.resize(entries as usize * ENTRY_BYTES, 0);
            self.at = 0;
            runs.read(self.next, &mut self.buffer)?;
            self.next += entries;
        }
        let Some(bytes) = self.buffer[self.at..].first_chunk() else { return Ok(None) };
        self.at += ENTRY_BYTES;
        Ok(Some(SpilledEntry::from_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates entries in an order that looks random but is always the same. Some `_id`s occur more than once.
    fn entries(count: u64) -> Vec<SpilledEntry> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let entry = |row: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(next() % count).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            SpilledEntry { id: Id(id), source: (next() % 3) as u32, row, digest: Digest(u128::from(next())) }
        };
        (1..=count).map(entry).collect()
    }

    fn sorted(entries: &[SpilledEntry], bytes_max: usize) -> Sorted {
        let mut sorter = Sorter::new(bytes_max);
        for &entry in entries {
            sorter.push(entry).expect("the temporary directory has free space");
        }
        sorter.into_sorted().expect("the temporary directory has free space")
    }

    fn collect(sorted: &Sorted, from: Id, to: Option<Id>) -> Vec<SpilledEntry> {
        sorted.range(from, to).expect("readable").map(|entry| entry.expect("readable")).collect()
    }

    #[test]
    fn the_order_is_the_same_for_every_size_of_the_memory() {
        for (count, bytes_max) in [(0, 0), (1, 0), (999, 0), (1000, 0), (1001, 0), (25_300, 0), (25_300, 1 << 20)] {
            let mut expected = entries(count);
            let found = sorted(&expected, bytes_max);
            expected.sort();
            assert_eq!(collect(&found, Id([0; 16]), None), expected, "{count} entries in {bytes_max} bytes");
            assert_eq!(found.len(), count);
        }
    }

    fn entry(id: u8, source: u32, row: u64, digest: u128) -> SpilledEntry {
        SpilledEntry { id: Id([id; 16]), source, row, digest: Digest(digest) }
    }

    #[test]
    fn entries_of_one_id_are_in_the_order_of_sources_and_rows() {
        let expected = [entry(1, 7, 9, 3), entry(2, 0, 9, 5), entry(2, 0, 10, 4), entry(2, 1, 1, 2), entry(3, 0, 1, 0)];
        let mut mixed = expected;
        mixed.reverse();
        assert_eq!(collect(&sorted(&mixed, 0), Id([0; 16]), None), expected);
        // Two runs on disk give the same order. The thousand further entries fill the memory, so that a first run is
        // written.
        let further = (0..1_000).map(|row| entry(9, 0, row, 0));
        let cut: Vec<SpilledEntry> =
            mixed[..3].iter().copied().chain(further).chain(mixed[3..].iter().copied()).collect();
        assert_eq!(collect(&sorted(&cut, 0), Id([0; 16]), Some(Id([9; 16]))), expected);
    }

    #[test]
    fn an_entry_is_read_from_the_file_as_it_was_written() {
        let id = Id(std::array::from_fn(|at| at as u8));
        let entry = SpilledEntry { id, source: 0x8070_6050, row: 0x0102_0304_0506_0708, digest: Digest(u128::MAX - 9) };
        assert_eq!(SpilledEntry::from_bytes(&entry.to_bytes()), entry);
    }

    #[test]
    fn a_range_includes_all_entries_of_its_first_id_and_none_of_its_last() {
        for spread in [1, 600] {
            let all: Vec<SpilledEntry> =
                (0..spread).flat_map(|row| [1, 2, 2, 3].map(|id| entry(id, 0, row, 0))).collect();
            let sorted = sorted(&all, 0);
            let ids = |from: u8, to: Option<u8>| {
                let found = collect(&sorted, Id([from; 16]), to.map(|to| Id([to; 16])));
                [1, 2, 3].map(|id| found.iter().filter(|entry| entry.id == Id([id; 16])).count() as u64 / spread)
            };
            assert_eq!(ids(1, Some(2)), [1, 0, 0]);
            assert_eq!(ids(2, Some(3)), [0, 2, 0]);
            assert_eq!(ids(2, None), [0, 2, 1]);
            assert_eq!(ids(0, Some(9)), [1, 2, 1]);
            assert_eq!(ids(2, Some(2)), [0, 0, 0]);
        }
    }

    #[test]
    fn memory_is_bounded_but_has_at_least_a_thousand_entries() {
        for (bytes_max, entries_max) in
            [(0, 1_000), (999 * size_of::<SpilledEntry>(), 1_000), (2_000 * size_of::<SpilledEntry>(), 2_000)]
        {
            let mut sorter = Sorter::new(bytes_max);
            for row in 0..=entries_max {
                assert!(sorter.runs.is_empty(), "{bytes_max} bytes, {row} entries");
                sorter.push(entry(1, 0, row, 0)).expect("the temporary directory has free space");
            }
            assert_eq!(sorter.runs, [entries_max], "{bytes_max} bytes");
        }
        let (none, one, many) = (sorted(&[], 0), sorted(&[entry(1, 0, 1, 0)], 0), sorted(&entries(1_001), 0));
        assert_eq!((none.len(), one.len(), many.len()), (0, 1, 1_001));
    }

    #[test]
    fn consecutive_ranges_give_every_entry_once() {
        let all = entries(20_000);
        for bytes_max in [0, SORTER_BYTES_DEFAULT] {
            let sorted = sorted(&all, bytes_max);
            let bounds: Vec<Id> = (0..16).map(|part| Id([part * 16; 16])).collect();
            let mut joined = collect(&sorted, Id([0; 16]), Some(bounds[1]));
            for part in 1..16 {
                joined.extend(collect(&sorted, bounds[part], bounds.get(part + 1).copied()));
            }
            assert_eq!(joined, collect(&sorted, Id([0; 16]), None));
            assert_eq!(joined.len(), all.len());
        }
    }

    #[test]
    fn the_message_for_a_full_disk_says_what_to_do() {
        let full = SpillError::new("write", io::Error::from(io::ErrorKind::StorageFull)).to_string();
        assert!(full.starts_with("cannot write the temporary file") && full.contains("free space"), "{full}");
        let quota = SpillError::new("write", io::Error::from(io::ErrorKind::QuotaExceeded)).to_string();
        assert!(quota.contains("free space there, or set TMPDIR"), "{quota}");
        let denied = SpillError::new("create", io::Error::from(io::ErrorKind::PermissionDenied)).to_string();
        assert!(denied.contains("set TMPDIR to a directory that can be written"), "{denied}");
        let limited = SpillError::new("write", io::Error::from(io::ErrorKind::FileTooLarge)).to_string();
        assert!(limited.contains("ulimit -f"), "{limited}");
    }
}
