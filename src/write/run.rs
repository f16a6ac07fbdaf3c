//! A run: blocks whose records are sorted by `_id`, deduplicated, written and settled together.
//!
//! Inserts in `_id` order keep the server's `_id` index in its cache. In random order they take up to five times as
//! long once the index is larger than the cache. `sweep` merges the runs that are open.

use std::collections::BTreeMap;
use std::ops::Range;

use super::machine::{Earlier, Planned};
use super::outcome::Policy;
use crate::encode::{EncodedBlock, Entry};

/// Bytes of a run unless the user sets another size. [`RUNS_MAX`] runs of this size fit the memory that a load may use.
pub const RUN_BYTES_DEFAULT: usize = 20 << 20;

/// Most runs in memory: one is built while the others are written concurrently. One sweep through the `_id`s writes all
/// of them (`write/sweep.rs`). With more runs, less of the sweep waits until a run is full or settled.
pub const RUNS_MAX: usize = 8;

/// Bytes of the first run.
const RUN_BYTES_FIRST: usize = 1 << 20;

/// Collects blocks until a run is full. Run boundaries depend only on the blocks, never on timing.
#[derive(Debug)]
pub struct RunBuilder {
    policy: Policy,
    bytes_max: usize,
    /// Size, in bytes, at which the current run is full. The first run is small, so that writing begins early. Each
    /// next run is twice as large, up to `bytes_max`.
    bytes_full: usize,
    /// Number of blocks that an earlier, interrupted process settled: all blocks before this number.
    settled_blocks: u64,
    bytes: usize,
    blocks: Vec<EncodedBlock>,
}

/// Unique records, sorted by `_id`, and the records that were left out because they share an `_id`.
#[derive(Debug)]
pub struct EncodedRun {
    /// The blocks that contain the records.
    pub blocks: Vec<EncodedBlock>,
    /// The records, one for each `_id`, in ascending order.
    pub entries: Vec<Entry>,
    /// If several records share an `_id`: all of them, in source order. The key is the position in `entries` of the one
    /// that is sent.
    pub groups: BTreeMap<u32, Vec<Entry>>,
    /// Whether an earlier, interrupted process settled the whole run. Its records are then not written, and only their
    /// `_id`s and digests are remembered.
    pub is_settled: bool,
}

impl RunBuilder {
    /// A builder of runs of about `bytes_max` bytes. No run contains blocks from both sides of `settled_blocks`.
    pub fn new(policy: Policy, bytes_max: usize, settled_blocks: u64) -> Self {
        Self {
            policy,
            bytes_max,
            bytes_full: bytes_max.min(RUN_BYTES_FIRST),
            settled_blocks,
            bytes: 0,
            blocks: Vec::new(),
        }
    }

    /// Adds the next block in source order. Returns the run if it is full.
    pub fn push(&mut self, block: EncodedBlock) -> Option<EncodedRun> {
        let rejected = block.rejects.iter().flat_map(|row| &row.cells).map(Vec::len).sum::<usize>();
        self.bytes += block.documents.len() + rejected;
        let is_last_settled = block.sequence + 1 == self.settled_blocks;
        self.blocks.push(block);
        if self.bytes >= self.bytes_full || is_last_settled { self.finish() } else { None }
    }

    /// Returns the remaining blocks as a run, sorted and deduplicated; `None` if there are none.
    pub fn finish(&mut self) -> Option<EncodedRun> {
        self.bytes = 0;
        self.bytes_full = (self.bytes_full * 2).min(self.bytes_max);
        let blocks = std::mem::take(&mut self.blocks);
        let is_settled = blocks.last()?.sequence < self.settled_blocks;
        Some(EncodedRun::new(blocks, self.policy, is_settled))
    }
}

impl EncodedRun {
    /// Sorts the blocks' records by `_id` and keeps one for each `_id`. If `is_settled`, none of the records is
    /// written.
    pub fn new(mut blocks: Vec<EncodedBlock>, policy: Policy, is_settled: bool) -> Self {
        let mut entries = Vec::with_capacity(blocks.iter().map(|block| block.entries.len()).sum());
        for (chunk, block) in blocks.iter_mut().enumerate() {
            let moved = std::mem::take(&mut block.entries);
            entries.extend(moved.into_iter().map(|entry| Entry { chunk: chunk as u32, ..entry }));
        }
        // Records with the same `_id` stay in source order, because the blocks are in source order and each block is
        // sorted or in the order of its rows. A stable sort only has to merge sorted blocks.
        entries.sort_by_key(|entry| entry.id);
        let mut run = Self { blocks, entries, groups: BTreeMap::new(), is_settled };
        run.keep_one_an_identity(policy);
        run
    }

    fn keep_one_an_identity(&mut self, policy: Policy) {
        let mut kept = 0;
        let mut next = 0;
        while next < self.entries.len() {
            let first = self.entries[next];
            let group = self.entries[next..].iter().take_while(|entry| entry.id == first.id).count();
            self.entries[kept] = if policy.later_wins() { self.entries[next + group - 1] } else { first };
            if group > 1 {
                // Only the first entry of a group may already be overwritten, because `kept` is never greater than
                // `next`.
                let rest = &self.entries[next + 1..next + group];
                self.groups.insert(kept as u32, std::iter::once(first).chain(rest.iter().copied()).collect());
            }
            kept += 1;
            next += group;
        }
        self.entries.truncate(kept);
    }

    /// The records as the machine needs them. `earlier` says for each entry which content earlier runs had under its
    /// `_id`.
    pub fn planned(&self, earlier: &[Earlier]) -> Vec<Planned> {
        let planned = |(entry, &earlier): (&Entry, &Earlier)| Planned {
            bytes: entry.len,
            earlier,
            lead: (entry.id.lead() >> 32) as u32,
        };
        self.entries.iter().zip(earlier).map(planned).collect()
    }

    /// The bytes of a record's document.
    pub fn document(&self, entry: &Entry) -> &[u8] {
        let range: Range<usize> = entry.start as usize..(entry.start + entry.len) as usize;
        &self.blocks[entry.chunk as usize].documents[range]
    }

    /// Number of source rows that the run accounts for.
    pub fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| block.rows).sum()
    }

    /// Number of the first block after the run.
    pub fn blocks_end(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.sequence + 1)
    }
}
