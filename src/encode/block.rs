//! The result of encoding a block.

use super::Originals;
use super::identity::{Digest, Id};
use crate::clean::Tally;
use crate::parse::Notices;
use crate::reject::RejectedRow;

/// The documents and rejects of one block.
#[derive(Debug, Default)]
pub struct EncodedBlock {
    /// Index of the source.
    pub source: usize,
    /// Position of the block among all blocks of the load.
    pub sequence: u64,
    /// Number of rows in the block. Each row is a reject, or has one document of each kind.
    pub rows: u64,
    /// Number of the block's first row in its source, from 1.
    pub first_row: u64,
    /// Line of the first row, from 1.
    pub first_line: u64,
    /// Byte offset of the first row in its source.
    pub first_offset: u64,
    /// The documents of each kind, in the order of the dataset's kinds.
    pub kinds: Vec<EncodedKind>,
    /// Refused rows.
    pub rejects: Vec<RejectedRow>,
    /// The cells that several kinds read by different rules.
    pub originals: Originals,
    /// Observations about the rows, including rejected ones.
    pub notices: Notices,
}

/// The documents of one kind in a block, in the order of the rows until they are [sorted](EncodedKind::sort).
#[derive(Debug, Default)]
pub struct EncodedKind {
    /// The documents, one after another.
    pub documents: Vec<u8>,
    /// Position, `_id` and digest of each document.
    pub entries: Vec<Entry>,
    /// Counts of the changes that cleaning made.
    pub tally: Tally,
}

impl EncodedBlock {
    /// Number of bytes of all documents.
    pub fn documents_bytes(&self) -> usize {
        self.kinds.iter().map(|kind| kind.documents.len()).sum()
    }
}

impl EncodedKind {
    /// The bytes of a document.
    pub fn document(&self, entry: &Entry) -> &[u8] {
        &self.documents[entry.start as usize..(entry.start + entry.len) as usize]
    }

    /// Sorts entries and documents by `_id`, so that documents that are sent together are next to each other in memory.
    /// `memory` is an empty buffer for the sorted documents. Returns the memory that contained them before.
    #[must_use]
    pub fn sort(&mut self, mut memory: Vec<u8>) -> Vec<u8> {
        debug_assert!(memory.is_empty());
        self.entries.sort_unstable_by_key(|entry| (entry.id, entry.row));
        for entry in &mut self.entries {
            let start = memory.len() as u32;
            memory.extend_from_slice(&self.documents[entry.start as usize..][..entry.len as usize]);
            entry.start = start;
        }
        std::mem::replace(&mut self.documents, memory)
    }
}

/// One document of a block.
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    /// Its `_id`.
    pub id: Id,
    /// Digest of its body.
    pub digest: Digest,
    /// First byte in the documents of its kind.
    pub start: u32,
    /// Length in bytes.
    pub len: u32,
    /// Its row, relative to the block's first row.
    pub row: u32,
    /// Its line, relative to the block's first row.
    pub line: u32,
    /// Its byte offset, relative to the block's first row.
    pub offset: u32,
    /// Index of its block in a chunk; 0 before the block is part of a chunk.
    pub block: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_one_id_stay_in_the_order_of_their_rows() {
        let entries: Vec<Entry> =
            (0..200).map(|row| Entry { id: Id([(row % 2) as u8; 16]), row: 199 - row, ..Entry::default() }).collect();
        let mut block = EncodedKind { entries, ..EncodedKind::default() };
        let _ = block.sort(Vec::new());
        assert!(block.entries.is_sorted_by_key(|entry| (entry.id, entry.row)));
    }

    #[test]
    fn sorted_documents_keep_their_entries() {
        let entry = |id, start, len, row| Entry { id: Id([id; 16]), start, len, row, ..Entry::default() };
        let entries = vec![entry(2, 0, 2, 0), entry(1, 2, 1, 1), entry(2, 3, 3, 2), entry(0, 6, 0, 3)];
        let mut block = EncodedKind { documents: b"bbaBBB".to_vec(), entries, ..EncodedKind::default() };
        assert_eq!(block.sort(Vec::new()), b"bbaBBB");
        let document = |entry: &Entry| &block.documents[entry.start as usize..(entry.start + entry.len) as usize];
        let sorted: Vec<_> = block.entries.iter().map(|entry| (entry.id.0[0], document(entry), entry.row)).collect();
        assert_eq!(sorted, [(0, &b""[..], 3), (1, b"a", 1), (2, b"bb", 0), (2, b"BBB", 2)]);
        assert_eq!(block.documents, b"abbBBB");
    }
}
