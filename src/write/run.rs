//! A run: the blocks that are sorted by `_id`, freed of duplicates and written together.
//!
//! Inserting in `_id` order keeps the server's `_id` index in its cache: a random order costs up to five times as much
//! once the index outgrows it.

use std::ops::Range;

use super::outcome::Policy;
use crate::encode::{Digest, EncodedBlock, Entry};
use crate::spec::OnConflict;

/// Collects blocks until a run is full. Run boundaries depend on the blocks alone, never on timing.
#[derive(Debug)]
pub struct RunBuilder {
    policy: Policy,
    bytes_max: usize,
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
    /// Records that equal another one of the run.
    pub duplicates: u64,
    /// Records left out because another one of the run has their identity and other content.
    pub conflicts: u64,
    /// Such records where the spec says to reject them.
    pub refused: Vec<Entry>,
}

impl RunBuilder {
    /// A builder of runs of at most about `bytes_max` bytes of documents.
    pub fn new(policy: Policy, bytes_max: usize) -> Self {
        Self { policy, bytes_max, bytes: 0, blocks: Vec::new() }
    }

    /// Adds the next block in source order; a run comes back when it is full.
    pub fn push(&mut self, block: EncodedBlock) -> Option<EncodedRun> {
        self.bytes += block.documents.len();
        self.blocks.push(block);
        if self.bytes >= self.bytes_max { self.finish() } else { None }
    }

    /// What is left, sorted and freed of duplicates; `None` when there is nothing.
    pub fn finish(&mut self) -> Option<EncodedRun> {
        self.bytes = 0;
        let blocks = std::mem::take(&mut self.blocks);
        (!blocks.is_empty()).then(|| EncodedRun::new(blocks, self.policy))
    }
}

impl EncodedRun {
    fn new(mut blocks: Vec<EncodedBlock>, policy: Policy) -> Self {
        let mut entries = Vec::with_capacity(blocks.iter().map(|block| block.entries.len()).sum());
        for (chunk, block) in blocks.iter_mut().enumerate() {
            let moved = std::mem::take(&mut block.entries);
            entries.extend(moved.into_iter().map(|entry| Entry { chunk: chunk as u32, ..entry }));
        }
        entries.sort_unstable_by_key(|entry| (entry.id, entry.chunk, entry.row));
        let mut run = Self { blocks, entries, duplicates: 0, conflicts: 0, refused: Vec::new() };
        run.keep_one_an_identity(policy);
        run
    }

    fn keep_one_an_identity(&mut self, policy: Policy) {
        let entries = std::mem::take(&mut self.entries);
        let mut kept = 0;
        let mut winners = entries.clone();
        for group in entries.chunk_by(|a, b| a.id == b.id) {
            let winner = if policy.later_wins() { group[group.len() - 1] } else { group[0] };
            winners[kept] = winner;
            kept += 1;
            if group.len() > 1 {
                self.count_losers(group, winner, policy);
            }
        }
        winners.truncate(kept);
        self.entries = winners;
    }

    fn count_losers(&mut self, group: &[Entry], winner: Entry, policy: Policy) {
        let is_winner = |entry: &&Entry| (entry.chunk, entry.row) == (winner.chunk, winner.row);
        for loser in group.iter().filter(|entry| !is_winner(entry)) {
            if loser.digest == winner.digest {
                self.duplicates += 1;
            } else if policy.on_conflict == OnConflict::Reject && !policy.later_wins() {
                self.refused.push(*loser);
            } else {
                self.conflicts += 1;
            }
        }
    }

    /// The bytes of a record's document.
    pub fn document(&self, entry: &Entry) -> &[u8] {
        let range: Range<usize> = entry.start as usize..(entry.start + entry.len) as usize;
        &self.blocks[entry.chunk as usize].documents[range]
    }

    /// Sum of the digests of the given records.
    pub fn digest_of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Digest {
        let mut sum = Digest::default();
        entries.for_each(|entry| sum.add(entry.digest));
        sum
    }
}
