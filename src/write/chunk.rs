//! A chunk: blocks (pieces of the source) whose records are sorted by `_id`, deduplicated, written and committed
//! together.
//!
//! Records are inserted in `_id` order. The part of the `_id` index that the server needs then stays in its cache. If
//! the index is larger than the cache, inserts in random order take up to five times as long. `sweep` merges the chunks
//! that are written at the same time into one `_id` order.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::machine::{Earlier, Planned};
use super::outcome::Policy;
use super::shards::ShardMap;
use crate::encode::{EncodedBlock, Entry, OrderField, Version};

/// Default size of a chunk, in bytes. [`CHUNKS_MAX`] chunks of this size contain about 160 MiB.
pub const CHUNK_BYTES_DEFAULT: usize = 20 << 20;

/// Maximum number of chunks in memory. One chunk is filled. Meanwhile the others are written, in one common `_id` order
/// (`write/sweep.rs`). If the `_id` index is larger than the server's cache, more chunks would make the load faster,
/// but they would need more memory.
pub const CHUNKS_MAX: usize = 8;

/// Size of the first chunk, in bytes.
const CHUNK_BYTES_FIRST: usize = 1 << 20;

/// Collects blocks until a chunk is full. The boundaries of the chunks never depend on timing.
#[derive(Debug)]
pub struct ChunkBuilder {
    /// The conflict policy of each kind of document.
    policies: Vec<Policy>,
    bytes_max: usize,
    /// Size, in bytes, at which the current chunk is full. The first chunk is small, so that writing begins early. Each
    /// following chunk is twice as large, up to `bytes_max`.
    bytes_full: usize,
    /// Number of blocks that an earlier, interrupted process of this load committed. A resumed load does not write
    /// these blocks again.
    settled_blocks: u64,
    bytes: usize,
    blocks: Vec<EncodedBlock>,
}

/// Blocks that are written and committed together, and their sorted records.
#[derive(Debug)]
pub struct Chunk {
    /// The blocks, in source order.
    pub blocks: Vec<EncodedBlock>,
    /// Whether an earlier, interrupted process of this load committed all these blocks. Their records are then not
    /// written again; only their `_id`s and digests are remembered.
    pub is_settled: bool,
    /// The records of each kind of document.
    kinds: Vec<Sorted>,
}

/// The records of one kind of document, sorted by `_id`. `entries` has one record for each `_id`. If several records
/// have the same `_id`, `groups` contains all of them.
#[derive(Debug)]
struct Sorted {
    entries: Vec<Entry>,
    groups: BTreeMap<u32, Vec<Entry>>,
}

/// The records of one kind of document in a chunk.
#[derive(Debug)]
pub struct KindChunk {
    /// The blocks that contain the records.
    pub blocks: Arc<Vec<EncodedBlock>>,
    /// Index of the kind of document, in the order of the spec.
    pub kind: usize,
    /// The records in ascending order of their `_id`s, one for each `_id`.
    pub entries: Vec<Entry>,
    /// The groups of records with the same `_id`, each in source order. Only one record of a group is sent. The key of
    /// the group is the position of this record in `entries`.
    pub groups: BTreeMap<u32, Vec<Entry>>,
    /// Whether an earlier, interrupted process of this load committed the whole chunk. Its records are then not written
    /// again; only their `_id`s and digests are remembered.
    pub is_settled: bool,
}

impl ChunkBuilder {
    /// Makes a builder of chunks of about `bytes_max` bytes. `policies` has one policy for each kind of document.
    /// `settled_blocks` is the number of blocks that earlier processes of this load committed. The builder ends a chunk
    /// after the last of these blocks. The blocks of a chunk are therefore all committed, or all not committed.
    pub fn new(policies: Vec<Policy>, bytes_max: usize, settled_blocks: u64) -> Self {
        Self {
            policies,
            bytes_max,
            bytes_full: bytes_max.min(CHUNK_BYTES_FIRST),
            settled_blocks,
            bytes: 0,
            blocks: Vec::new(),
        }
    }

    /// Adds the next block in source order. Returns the chunk if it is full.
    pub fn push(&mut self, block: EncodedBlock) -> Option<Chunk> {
        let rejected = block.rejects.iter().flat_map(|row| &row.cells).map(Vec::len).sum::<usize>();
        self.bytes += block.documents_bytes() + rejected + block.originals.bytes();
        let is_last_settled = block.sequence + 1 == self.settled_blocks;
        self.blocks.push(block);
        if self.bytes >= self.bytes_full || is_last_settled { self.finish() } else { None }
    }

    /// Returns the remaining blocks as a chunk, or `None` if no blocks remain.
    pub fn finish(&mut self) -> Option<Chunk> {
        self.bytes = 0;
        self.bytes_full = (self.bytes_full * 2).min(self.bytes_max);
        let blocks = std::mem::take(&mut self.blocks);
        let is_settled = blocks.last()?.sequence < self.settled_blocks;
        Some(Chunk::new(blocks, &self.policies, is_settled))
    }
}

impl Chunk {
    /// Sorts the records of each kind of document by `_id` and keeps one record for each `_id`. If `is_settled` is
    /// true, an earlier process committed the blocks, and no record is written.
    pub fn new(mut blocks: Vec<EncodedBlock>, policies: &[Policy], is_settled: bool) -> Self {
        let sort = |(kind, policy): (usize, &Policy)| Sorted::new(&mut blocks, kind, *policy);
        let kinds = policies.iter().enumerate().map(sort).collect();
        Self { blocks, is_settled, kinds }
    }

    /// Splits the chunk into one [`KindChunk`] for each kind of document.
    pub fn into_kinds(self) -> Vec<KindChunk> {
        let Self { blocks, is_settled, kinds } = self;
        let blocks = Arc::new(blocks);
        let chunk = |(kind, Sorted { entries, groups })| KindChunk {
            blocks: Arc::clone(&blocks),
            kind,
            entries,
            groups,
            is_settled,
        };
        kinds.into_iter().enumerate().map(chunk).collect()
    }
}

impl Sorted {
    fn new(blocks: &mut [EncodedBlock], kind: usize, policy: Policy) -> Self {
        let mut entries = Vec::with_capacity(blocks.iter().map(|block| block.kinds[kind].entries.len()).sum());
        for (index, block) in blocks.iter_mut().enumerate() {
            let moved = std::mem::take(&mut block.kinds[kind].entries);
            entries.extend(moved.into_iter().map(|entry| Entry { block: index as u32, ..entry }));
        }
        // The sort is stable and the blocks are in source order, so records with the same `_id` stay in source order.
        // The sort is fast, because the records of each block are normally already sorted. They only have to be merged.
        entries.sort_by_key(|entry| entry.id);
        let mut sorted = Self { entries, groups: BTreeMap::new() };
        sorted.keep_one_per_identity(policy, |entry| blocks[entry.block as usize].kinds[kind].version(entry));
        sorted
    }

    /// Keeps one record for each `_id`: the one that would be stored at the end if the records with this `_id` were
    /// sent one by one. `version` returns the content of a record.
    fn keep_one_per_identity(&mut self, policy: Policy, version: impl Fn(&Entry) -> Version) {
        let mut kept = 0;
        let mut next = 0;
        while next < self.entries.len() {
            let first = self.entries[next];
            let group = self.entries[next..].iter().take_while(|entry| entry.id == first.id).count();
            let stored = |earlier: Entry, later: &Entry| {
                if policy.replaces(version(&earlier), version(later)) { *later } else { earlier }
            };
            self.entries[kept] = self.entries[next + 1..next + group].iter().fold(first, stored);
            if group > 1 {
                // The assignment above may have overwritten the first entry of the group, so its copy `first` is used.
                // The other entries are unchanged, because `kept` is never greater than `next`.
                let rest = &self.entries[next + 1..next + group];
                self.groups.insert(kept as u32, std::iter::once(first).chain(rest.iter().copied()).collect());
            }
            kept += 1;
            next += group;
        }
        self.entries.truncate(kept);
    }
}

impl KindChunk {
    /// Describes each record for the state machine. `earlier` has one value for each entry.
    pub fn planned(&self, earlier: &[Earlier], shards: &ShardMap) -> Vec<Planned> {
        let planned = |(entry, &earlier): (&Entry, &Earlier)| Planned {
            bytes: entry.len,
            earlier,
            lead: (entry.id.lead() >> 32) as u32,
            shard: shards.shard_of(&entry.id),
        };
        self.entries.iter().zip(earlier).map(planned).collect()
    }

    /// Returns the BSON document of a record.
    pub fn document(&self, entry: &Entry) -> &[u8] {
        self.blocks[entry.block as usize].kinds[self.kind].document(entry)
    }

    /// Returns the properties of a record that decide which of several records is the newest.
    pub fn version(&self, entry: &Entry) -> Version {
        self.blocks[entry.block as usize].kinds[self.kind].version(entry)
    }

    /// Returns the field that orders the records with the same `_id`, if the spec names one.
    pub(super) fn order_field(&self, entry: &Entry) -> Option<&OrderField> {
        self.blocks[entry.block as usize].kinds[self.kind].order_field.as_ref()
    }

    /// Returns the number of source rows in the chunk's blocks that this kind counts.
    pub fn rows(&self) -> u64 {
        self.blocks.iter().map(|block| block.kinds[self.kind].rows).sum()
    }

    /// Returns the number of source rows in the chunk's blocks.
    pub fn rows_of_all_kinds(&self) -> u64 {
        self.blocks.iter().map(|block| block.rows).sum()
    }

    /// Returns the number of the first block after the chunk.
    pub fn blocks_end(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.sequence + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Digest, EncodedKind, Id};
    use crate::reject::{Reason, Reject, RejectedRow, RowKinds};
    use crate::spec::OnConflict;
    use crate::write::Mode;

    const MIB: usize = 1 << 20;

    fn policy(on_conflict: OnConflict) -> Policy {
        Policy { mode: Mode::Insert, on_conflict, empty_at_start: true, is_resumed: false }
    }

    fn builder(bytes_max: usize, settled_blocks: u64) -> ChunkBuilder {
        ChunkBuilder::new(vec![policy(OnConflict::KeepFirst)], bytes_max, settled_blocks)
    }

    fn block(sequence: u64, bytes: usize) -> EncodedBlock {
        let mut block = EncodedBlock { sequence, rows: 10, ..block_of(Vec::new(), &vec![0; bytes]) };
        block.kinds[0].rows = 10;
        block
    }

    fn block_of(entries: Vec<Entry>, documents: &[u8]) -> EncodedBlock {
        let kind = EncodedKind { entries, documents: documents.to_vec(), ..EncodedKind::default() };
        EncodedBlock { kinds: vec![kind], ..EncodedBlock::default() }
    }

    fn chunk_of(blocks: Vec<EncodedBlock>, rule: OnConflict) -> KindChunk {
        Chunk::new(blocks, &[policy(rule)], false).into_kinds().remove(0)
    }

    /// Pushes blocks of half a MiB. Returns the number of blocks in each of the first `chunks` chunks.
    fn lengths(builder: &mut ChunkBuilder, chunks: usize) -> Vec<usize> {
        let chunks_made = (0..).filter_map(|sequence| builder.push(block(sequence, MIB / 2)));
        chunks_made.take(chunks).map(|chunk| chunk.blocks.len()).collect()
    }

    #[test]
    fn chunks_start_small_and_double_up_to_the_maximum() {
        assert_eq!(lengths(&mut builder(5 * MIB, 0), 5), [2, 4, 8, 10, 10]);
        assert_eq!(lengths(&mut builder(MIB / 2, 0), 3), [1, 1, 1]);
    }

    #[test]
    fn documents_and_cells_of_rejects_count_toward_the_size_of_a_chunk() {
        assert!(builder(1_000, 0).push(block(0, 999)).is_none());
        assert!(builder(1_000, 0).push(block(0, 1_000)).is_some());
        let reject = Reject { field: None, reason: Reason::Missing, message: String::new() };
        let cells = vec![b"ab".to_vec(), b"c".to_vec()];
        let rejects = vec![RejectedRow { source: 0, line: 1, offset: 0, reject, kinds: RowKinds::All, cells }];
        assert!(builder(1_000, 0).push(EncodedBlock { rejects: rejects.clone(), ..block(0, 996) }).is_none());
        assert!(builder(1_000, 0).push(EncodedBlock { rejects, ..block(0, 997) }).is_some());
    }

    #[test]
    fn no_chunk_has_blocks_on_both_sides_of_the_checkpoint() {
        let mut builder = builder(MIB, 3);
        let pushed: Vec<_> = (0..5).map(|sequence| builder.push(block(sequence, 1))).collect();
        assert!(pushed.iter().enumerate().all(|(at, chunk)| chunk.is_some() == (at == 2)));
        let settled = pushed.into_iter().flatten().next().expect("a chunk must end with the last committed block");
        assert!(settled.is_settled);
        let settled = settled.into_kinds().remove(0);
        assert!(settled.is_settled);
        assert_eq!((settled.blocks_end(), settled.rows()), (3, 30));
        let rest = builder.finish().expect("two blocks are left").into_kinds().remove(0);
        assert!(!rest.is_settled);
        assert_eq!((rest.blocks_end(), rest.rows()), (5, 20));
        assert!(builder.finish().is_none());
        // The first block after the checkpoint is not committed, even if it is alone in its chunk.
        let mut builder = self::builder(MIB, 3);
        assert!(builder.push(block(3, 1)).is_none());
        assert!(!builder.finish().expect("a block is left").is_settled);
    }

    fn entry(id: u8, row: u32) -> Entry {
        Entry { id: Id([id; 16]), digest: Digest(row.into()), start: row, len: 1, row, ..Entry::default() }
    }

    fn two_blocks() -> Vec<EncodedBlock> {
        let second = vec![entry(1, 0), entry(1, 1), entry(2, 2)];
        vec![block_of(vec![entry(1, 0), entry(3, 1)], b"ab"), block_of(second, b"cde")]
    }

    #[test]
    fn records_are_sorted_and_one_per_identity_is_sent() {
        for (rule, of_the_group) in
            [(OnConflict::KeepFirst, b"a"), (OnConflict::Reject, b"a"), (OnConflict::KeepLast, b"d")]
        {
            let chunk = chunk_of(two_blocks(), rule);
            let ids: Vec<u8> = chunk.entries.iter().map(|entry| entry.id.0[0]).collect();
            assert_eq!(ids, [1, 2, 3]);
            let documents: Vec<&[u8]> = chunk.entries.iter().map(|entry| chunk.document(entry)).collect();
            assert_eq!(documents, [&of_the_group[..], b"e", b"b"], "{rule:?}");
            let group: Vec<&[u8]> = chunk.groups[&0].iter().map(|entry| chunk.document(entry)).collect();
            assert_eq!((chunk.groups.len(), group), (1, vec![&b"a"[..], b"c", b"d"]), "{rule:?}");
        }
    }

    #[test]
    fn each_kind_has_its_own_records_and_policy() {
        let kind = |id: u8, rows: [u32; 2], documents: &[u8]| EncodedKind {
            entries: rows.map(|row| entry(id, row)).to_vec(),
            documents: documents.to_vec(),
            rows: 2,
            ..EncodedKind::default()
        };
        let kinds = vec![kind(1, [0, 1], b"ab"), kind(2, [0, 1], b"cd")];
        let block = EncodedBlock { kinds, rows: 2, sequence: 7, ..EncodedBlock::default() };
        let policies = [OnConflict::KeepFirst, OnConflict::KeepLast].map(policy);
        let chunks = Chunk::new(vec![block], &policies, true).into_kinds();
        let sent: Vec<(usize, u8, &[u8])> = chunks
            .iter()
            .map(|chunk| (chunk.kind, chunk.entries[0].id.0[0], chunk.document(&chunk.entries[0])))
            .collect();
        assert_eq!(sent, [(0, 1, &b"a"[..]), (1, 2, b"d")]);
        assert!(chunks.iter().all(|chunk| chunk.is_settled && chunk.rows() == 2 && chunk.blocks_end() == 8));
    }

    #[test]
    fn a_planned_record_has_length_leading_bytes_and_earlier_content() {
        let id = |first: [u8; 5]| {
            let mut id = [0xff; 16];
            id[..5].copy_from_slice(&first);
            Id(id)
        };
        let entries = vec![
            Entry { id: id([0, 0, 1, 2, 9]), len: 7, ..Entry::default() },
            Entry { id: id([0x80, 0, 0, 0, 9]), len: 8, ..Entry::default() },
        ];
        let chunk = chunk_of(vec![block_of(entries, b"")], OnConflict::KeepFirst);
        let planned = chunk.planned(&[Earlier::Nothing, Earlier::Other], &ShardMap::default());
        let found: Vec<_> = planned.iter().map(|record| (record.bytes, record.earlier, record.lead)).collect();
        assert_eq!(found, [(7, Earlier::Nothing, 0x0102), (8, Earlier::Other, 0x8000_0000)]);
    }
}
