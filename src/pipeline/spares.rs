//! Memory that goes round: fresh memory costs a page fault every 4 KiB, a fifth of a load's processor time.

use std::sync::{Mutex, PoisonError};

use crate::encode::EncodedBlock;
use crate::read::Block;

/// Buffers that are done with, for whoever needs one next: never more than were in use at once.
#[derive(Debug, Default)]
pub(super) struct Spares {
    blocks: Pile<Block>,
    documents: Pile<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Pile<T>(Mutex<Vec<T>>);

impl Spares {
    /// A block for the reader to fill; what is in it is old.
    pub(super) fn block(&self) -> Block {
        self.blocks.take()
    }

    /// Room for a block's documents; what is in it is old.
    pub(super) fn documents(&self) -> Vec<u8> {
        self.documents.take()
    }

    /// Takes a block back that is encoded.
    pub(super) fn give(&self, block: Block) {
        self.blocks.give(block);
    }

    /// Takes back what is left of a block of which every record is accounted for.
    pub(super) fn give_encoded(&self, block: EncodedBlock) {
        self.documents.give(block.documents);
    }
}

impl<T: Default> Pile<T> {
    fn take(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, spare: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(spare);
    }
}
