//! Reuses the memory of blocks and documents. New memory costs a page fault for every 4 KiB, which would take a fifth
//! of a load's processor time.

use std::sync::{Mutex, PoisonError};

use crate::encode::{EncodedBlock, EncodedKind};
use crate::read::Block;

/// Minimum size of a buffer that is reused, in bytes. Smaller buffers are freed. Reason: if the sources are small
/// files, a chunk has very many buffers. If they were reused, each could grow to the size of a large block, and all
/// together would need much memory.
const POOLED_BYTES_MIN: usize = 1 << 19;

/// Capacities are rounded up to a multiple of this number of bytes. Blocks have slightly different lengths, so the
/// memory of one block is then usually large enough for another.
const ROOM_STEP: usize = 1 << 18;

/// Maximum size of a buffer that is reused, in bytes. A buffer becomes larger if a block contains a very long row, or
/// if its documents are much larger than its text.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Blocks and large buffers that can be reused. A new one is made only if none is left.
#[derive(Debug, Default)]
pub(super) struct Spares {
    blocks: Pile<Block>,
    documents: Pile<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Pile<T>(Mutex<Heap<T>>);

#[derive(Debug, Default)]
struct Heap<T> {
    spare: Vec<T>,
    /// Number of items that were taken and not yet given back.
    in_use: usize,
}

/// Clears a buffer for reuse. Frees its memory if the buffer has become too large.
pub(super) fn empty(memory: &mut Vec<u8>) {
    if memory.capacity() > KEPT_BYTES_MAX {
        *memory = Vec::new();
    }
    memory.clear();
}

impl Spares {
    /// Returns a block for the reader to fill. The block may contain old data.
    pub(super) fn take_block(&self) -> Block {
        self.blocks.take()
    }

    /// Accepts a block that is no longer used, because its rows are encoded.
    pub(super) fn give_block(&self, block: Block) {
        self.blocks.give(Some(block));
    }

    /// Returns an empty buffer with a capacity of at least `bytes` bytes.
    pub(super) fn take_documents(&self, bytes: usize) -> Vec<u8> {
        if bytes < POOLED_BYTES_MIN {
            return Vec::with_capacity(bytes);
        }
        let mut documents = self.documents.take();
        documents.clear();
        documents.reserve_exact(bytes.next_multiple_of(ROOM_STEP));
        documents
    }

    /// Accepts the buffers of an encoded block that is no longer used.
    pub(super) fn give_documents(&self, block: EncodedBlock) {
        for EncodedKind { documents, .. } in block.kinds {
            if documents.capacity() >= POOLED_BYTES_MIN {
                self.documents.give((documents.capacity() <= KEPT_BYTES_MAX).then_some(documents));
            }
        }
    }
}

impl<T: Default> Pile<T> {
    fn take(&self) -> T {
        let mut heap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heap.in_use += 1;
        heap.spare.pop().unwrap_or_default()
    }

    /// Accepts an item that is no longer used. `None` means that the caller has freed a taken item. If all taken items
    /// were given back already, `item` is not from this pile, and is dropped. Example: `take_documents` makes a small
    /// buffer itself, and this buffer grows until it is large enough for reuse.
    fn give(&self, item: Option<T>) {
        let mut heap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(left) = heap.in_use.checked_sub(1) {
            heap.in_use = left;
            heap.spare.extend(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(documents: Vec<u8>) -> EncodedBlock {
        EncodedBlock { kinds: vec![EncodedKind { documents, ..EncodedKind::default() }], ..EncodedBlock::default() }
    }

    #[test]
    fn reused_memory_is_empty() {
        let spares = Spares::default();
        let mut documents = spares.take_documents(3 << 20);
        documents.push(1);
        let place = documents.as_ptr();
        spares.give_documents(spent(documents));
        let again = spares.take_documents((3 << 20) - 100);
        assert_eq!((again.as_ptr(), again.len()), (place, 0));
    }

    #[test]
    fn small_and_very_large_buffers_are_not_reused() {
        let spares = Spares::default();
        spares.give_documents(spent(spares.take_documents(1 << 10)));
        spares.give_documents(spent(Vec::with_capacity(KEPT_BYTES_MAX + 1)));
        assert!(spares.documents.0.lock().unwrap().spare.is_empty());
        spares.give_documents(spent(spares.take_documents(3 << 20)));
        assert!(spares.take_documents(1 << 10).capacity() < 1 << 13);
    }

    /// The documents of a small source file can be several times as large as its text.
    #[test]
    fn small_buffers_that_grow_do_not_pile_up() {
        let spares = Spares::default();
        let large = spares.take_documents(3 << 20);
        for _ in 0..10 {
            let mut small = spares.take_documents(POOLED_BYTES_MIN - 1);
            small.reserve_exact(POOLED_BYTES_MIN);
            spares.give_documents(spent(small));
        }
        spares.give_documents(spent(large));
        assert_eq!(spares.documents.0.lock().unwrap().spare.len(), 1);
    }
}
