//! The result of encoding a block: its documents and its rejects.

use super::identity::{Digest, Id};
use super::version::{OrderField, Version};
use super::{Originals, Reference};
use crate::clean::Tally;
use crate::parse::Notices;
use crate::reject::RejectedRow;

/// The documents and rejects of one block.
#[derive(Debug, Default)]
pub struct EncodedBlock {
    /// Index of the source.
    pub source: usize,
    /// Number of the block among all blocks of the load, from 0.
    pub sequence: u64,
    /// Number of rows in the block. A row that is not rejected has one document of each kind. Exception: a FHIR
    /// resource has a document of only one kind.
    pub rows: u64,
    /// Number of the block's first row in its source, from 1.
    pub first_row: u64,
    /// Line of the first row, from 1.
    pub first_line: u64,
    /// Byte offset of the first row in its source.
    pub first_offset: u64,
    /// The documents, one entry per kind of document in the dataset.
    pub kinds: Vec<EncodedKind>,
    /// The references of the resources in the block, in the order of the rows. Empty if the source is not FHIR.
    pub references: Vec<Reference>,
    /// The refused rows of the block.
    pub rejects: Vec<RejectedRow>,
    /// The cells that several kinds read by different rules.
    pub originals: Originals,
    /// Notices for the user about the rows of the block, including rejected rows.
    pub notices: Notices,
}

/// The documents of one kind in a block. They are in the order of the rows until they are [sorted](EncodedKind::sort).
#[derive(Debug, Default)]
pub struct EncodedKind {
    /// The bytes of all documents, one after another.
    pub documents: Vec<u8>,
    /// For each document, its position in `documents`, its `_id` and its digest.
    pub entries: Vec<Entry>,
    /// Number of rows that this kind counts: each of them has a document of this kind or was refused.
    pub rows: u64,
    /// Counts of the cells that cleaning changed.
    pub tally: Tally,
    /// The field that orders documents with the same `_id`, if the spec names one.
    pub order_field: Option<OrderField>,
}

impl EncodedBlock {
    /// Returns the number of bytes of all documents.
    pub fn documents_bytes(&self) -> usize {
        self.kinds.iter().map(|kind| kind.documents.len()).sum()
    }
}

impl EncodedKind {
    /// Returns the bytes of a document.
    pub fn document(&self, entry: &Entry) -> &[u8] {
        &self.documents[entry.start as usize..(entry.start + entry.len) as usize]
    }

    /// Returns the version of a document. It decides which of several documents with the same `_id` is the newest.
    pub fn version(&self, entry: &Entry) -> Version {
        let rank = self.order_field.as_ref().map(|field| field.rank(self.document(entry)));
        Version { rank: rank.unwrap_or_default(), digest: entry.digest }
    }

    /// Sorts the documents by `_id`, so that documents that are sent together are adjacent in memory. `memory` is an
    /// empty buffer for the sorted documents. Returns the buffer that contained them before.
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

/// One document of a block. Its bytes are in [`EncodedKind::documents`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Entry {
    /// The document's `_id`.
    pub id: Id,
    /// Digest of the document's body.
    pub digest: Digest,
    /// Position of the document's first byte in `documents`.
    pub start: u32,
    /// Length of the document in bytes.
    pub len: u32,
    /// Number of the document's row in the block, from 0.
    pub row: u32,
    /// Line on which the document's row starts, minus the line of the block's first row.
    pub line: u32,
    /// Byte offset of the document's row, minus the offset of the block's first row.
    pub offset: u32,
    /// Index of the document's block in a chunk. It is 0 until the block is part of a chunk.
    pub block: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_with_the_same_id_stay_in_row_order() {
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
