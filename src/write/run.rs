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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Digest, Id};
    use crate::reject::{Reason, Reject, RejectedRow};
    use crate::spec::OnConflict;
    use crate::write::Mode;

    const MIB: usize = 1 << 20;

    fn policy(on_conflict: OnConflict) -> Policy {
        Policy { mode: Mode::Insert, on_conflict, empty_at_start: true, is_resumed: false }
    }

    fn builder(bytes_max: usize, settled_blocks: u64) -> RunBuilder {
        RunBuilder::new(policy(OnConflict::KeepFirst), bytes_max, settled_blocks)
    }

    fn block(sequence: u64, bytes: usize) -> EncodedBlock {
        EncodedBlock { sequence, rows: 10, documents: vec![0; bytes], ..EncodedBlock::default() }
    }

    /// How many blocks of half a MiB each run has, until `runs` are made.
    fn lengths(builder: &mut RunBuilder, runs: usize) -> Vec<usize> {
        let runs_made = (0..).filter_map(|sequence| builder.push(block(sequence, MIB / 2)));
        runs_made.take(runs).map(|run| run.blocks.len()).collect()
    }

    #[test]
    fn the_first_run_is_small_and_each_is_twice_the_one_before_up_to_the_bound() {
        assert_eq!(lengths(&mut builder(5 * MIB, 0), 5), [2, 4, 8, 10, 10]);
        assert_eq!(lengths(&mut builder(MIB / 2, 0), 3), [1, 1, 1]);
    }

    #[test]
    fn a_run_is_full_at_its_bound_and_cells_of_rejects_count() {
        assert!(builder(1_000, 0).push(block(0, 999)).is_none());
        assert!(builder(1_000, 0).push(block(0, 1_000)).is_some());
        let reject = Reject { field: None, reason: Reason::Missing, message: String::new() };
        let cells = vec![b"ab".to_vec(), b"c".to_vec()];
        let rejects = vec![RejectedRow { source: 0, line: 1, offset: 0, reject, cells }];
        assert!(builder(1_000, 0).push(EncodedBlock { rejects: rejects.clone(), ..block(0, 996) }).is_none());
        assert!(builder(1_000, 0).push(EncodedBlock { rejects, ..block(0, 997) }).is_some());
    }

    #[test]
    fn no_run_has_blocks_on_both_sides_of_the_checkpoint() {
        let mut builder = builder(MIB, 3);
        let pushed: Vec<_> = (0..5).map(|sequence| builder.push(block(sequence, 1))).collect();
        let settled = pushed[2].as_ref().expect("the run ends with the last settled block");
        assert!(pushed.iter().enumerate().all(|(at, run)| run.is_some() == (at == 2)));
        assert!(settled.is_settled);
        assert_eq!((settled.blocks_end(), settled.rows()), (3, 30));
        let rest = builder.finish().expect("two blocks are left");
        assert!(!rest.is_settled);
        assert_eq!((rest.blocks_end(), rest.rows()), (5, 20));
        assert!(builder.finish().is_none());
        // The first block after the checkpoint is not settled, even if no other one is in its run.
        let mut builder = self::builder(MIB, 3);
        assert!(builder.push(block(3, 1)).is_none());
        assert!(!builder.finish().expect("a block is left").is_settled);
    }

    fn entry(id: u8, row: u32) -> Entry {
        Entry { id: Id([id; 16]), digest: Digest(row.into()), start: row, len: 1, row, ..Entry::default() }
    }

    fn two_blocks() -> Vec<EncodedBlock> {
        let block = |entries: Vec<Entry>, documents: &[u8]| EncodedBlock {
            entries,
            documents: documents.to_vec(),
            ..EncodedBlock::default()
        };
        vec![block(vec![entry(1, 0), entry(3, 1)], b"ab"), block(vec![entry(1, 0), entry(1, 1), entry(2, 2)], b"cde")]
    }

    #[test]
    fn records_are_sorted_and_one_of_each_identity_goes_out() {
        for (rule, of_the_group) in
            [(OnConflict::KeepFirst, b"a"), (OnConflict::Reject, b"a"), (OnConflict::KeepLast, b"d")]
        {
            let run = EncodedRun::new(two_blocks(), policy(rule), false);
            let ids: Vec<u8> = run.entries.iter().map(|entry| entry.id.0[0]).collect();
            assert_eq!(ids, [1, 2, 3]);
            let documents: Vec<&[u8]> = run.entries.iter().map(|entry| run.document(entry)).collect();
            assert_eq!(documents, [&of_the_group[..], b"e", b"b"], "{rule:?}");
            let group: Vec<&[u8]> = run.groups[&0].iter().map(|entry| run.document(entry)).collect();
            assert_eq!((run.groups.len(), group), (1, vec![&b"a"[..], b"c", b"d"]), "{rule:?}");
        }
    }

    #[test]
    fn the_machine_is_told_length_leading_bytes_and_what_came_earlier() {
        let id = |first: [u8; 5]| {
            let mut id = [0xff; 16];
            id[..5].copy_from_slice(&first);
            Id(id)
        };
        let entries = vec![
            Entry { id: id([0, 0, 1, 2, 9]), len: 7, ..Entry::default() },
            Entry { id: id([0x80, 0, 0, 0, 9]), len: 8, ..Entry::default() },
        ];
        let run = EncodedRun::new(
            vec![EncodedBlock { entries, ..EncodedBlock::default() }],
            policy(OnConflict::KeepFirst),
            false,
        );
        let planned = run.planned(&[Earlier::Nothing, Earlier::Other]);
        let found: Vec<_> = planned.iter().map(|record| (record.bytes, record.earlier, record.lead)).collect();
        assert_eq!(found, [(7, Earlier::Nothing, 0x0102), (8, Earlier::Other, 0x8000_0000)]);
    }
}
