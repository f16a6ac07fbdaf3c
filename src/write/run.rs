//! A run: the blocks that are sorted by `_id`, freed of duplicates and settled together.
//!
//! Inserting in `_id` order keeps the server's `_id` index in its cache: a random order costs up to five times as much
//! once the index outgrows it. `sweep` merges the runs that are open.

use std::collections::BTreeMap;
use std::ops::Range;

use super::machine::{Earlier, Planned};
use super::outcome::Policy;
use crate::encode::{EncodedBlock, Entry};

/// Bytes of a run unless the user says otherwise: as many as there may be fit the memory a load may take.
pub const RUN_BYTES_DEFAULT: usize = 20 << 20;

/// Runs in memory: one is made while the others are written side by side. Together they are what one sweep through the `_id`s
/// writes (`write/sweep.rs`); the more they are, the less of that waits for one to be full or settled.
pub const RUNS_MAX: usize = 8;

/// Bytes of the first run.
const RUN_BYTES_FIRST: usize = 1 << 20;

/// Collects blocks until a run is full. Run boundaries depend on the blocks alone, never on timing.
#[derive(Debug)]
pub struct RunBuilder {
    policy: Policy,
    bytes_max: usize,
    /// Bytes at which the run under way is full: the first runs are small, so that writing begins early, and each is twice
    /// the one before.
    bytes_full: usize,
    /// Blocks that an earlier, interrupted load has settled: all before this one.
    settled_blocks: u64,
    bytes: usize,
    blocks: Vec<EncodedBlock>,
}

/// Unique records, sorted by `_id`, and what was left out on the way.
#[derive(Debug)]
pub struct EncodedRun {
    /// The blocks the records are in.
    pub blocks: Vec<EncodedBlock>,
    /// The records, one an `_id`, ascending.
    pub entries: Vec<Entry>,
    /// Where several records share an identity: all of them in source order, by the position of the one that goes out.
    pub groups: BTreeMap<u32, Vec<Entry>>,
    /// Whether an earlier, interrupted load has settled all of it: then only its identities count.
    pub is_settled: bool,
}

impl RunBuilder {
    /// A builder of runs of at most about `bytes_max` bytes. No run holds blocks on both sides of `settled_blocks`.
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

    /// Adds the next block in source order; a run comes back when it is full.
    pub fn push(&mut self, block: EncodedBlock) -> Option<EncodedRun> {
        let rejected = block.rejects.iter().flat_map(|row| &row.cells).map(Vec::len).sum::<usize>();
        self.bytes += block.documents.len() + rejected;
        let is_last_settled = block.sequence + 1 == self.settled_blocks;
        self.blocks.push(block);
        if self.bytes >= self.bytes_full || is_last_settled { self.finish() } else { None }
    }

    /// What is left, sorted and freed of duplicates; `None` when there is nothing.
    pub fn finish(&mut self) -> Option<EncodedRun> {
        self.bytes = 0;
        self.bytes_full = (self.bytes_full * 2).min(self.bytes_max);
        let blocks = std::mem::take(&mut self.blocks);
        let is_settled = blocks.last()?.sequence < self.settled_blocks;
        Some(EncodedRun::new(blocks, self.policy, is_settled))
    }
}

impl EncodedRun {
    /// Sorts the blocks' records by `_id` and keeps one an identity. `is_settled`: nothing of it is to be written.
    pub fn new(mut blocks: Vec<EncodedBlock>, policy: Policy, is_settled: bool) -> Self {
        let mut entries = Vec::with_capacity(blocks.iter().map(|block| block.entries.len()).sum());
        for (chunk, block) in blocks.iter_mut().enumerate() {
            let moved = std::mem::take(&mut block.entries);
            entries.extend(moved.into_iter().map(|entry| Entry { chunk: chunk as u32, ..entry }));
        }
        // Records of one identity stay in source order: blocks come in it, and each is in the order of its rows or sorted. Of
        // sorted blocks a stable sort has only to merge them.
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
                // The place of the first is the only one that may be overwritten: what goes out is never before it.
                let rest = &self.entries[next + 1..next + group];
                self.groups.insert(kept as u32, std::iter::once(first).chain(rest.iter().copied()).collect());
            }
            kept += 1;
            next += group;
        }
        self.entries.truncate(kept);
    }

    /// What the machine is told of the records; `earlier` says what earlier runs held under their identities.
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

    /// Rows of the source that the run accounts for.
    pub fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| block.rows).sum()
    }

    /// Number of the first block after the run.
    pub fn blocks_end(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.sequence + 1)
    }
}
