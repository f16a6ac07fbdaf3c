//! Limits the number of chunks in memory. Each chunk needs a *place*. A place is taken when the first block of a chunk
//! arrives. It becomes free when the chunk is committed.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A limited number of places for chunks.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    runtime: Handle,
}

/// Closes the places when this value is dropped.
pub(super) struct ClosedAtEnd(Places);

impl Places {
    /// Makes `count` free places. Must be called in a Tokio runtime.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), runtime: Handle::current() }
    }

    /// Blocks this thread until a place is free, and takes the place. Returns false if the places are closed.
    pub(super) fn take(&self) -> bool {
        self.runtime.block_on(self.free.acquire()).map(SemaphorePermit::forget).is_ok()
    }

    /// Makes one taken place free again.
    pub(super) fn put_back(&self) {
        self.free.add_permits(1);
    }

    /// Returns a value that closes the places when it is dropped. The writer owns this value. When the writer has
    /// ended, no place becomes free any more, so the reader must not wait for one.
    pub(super) fn closed_at_end(&self) -> ClosedAtEnd {
        ClosedAtEnd(self.clone())
    }
}

impl Drop for ClosedAtEnd {
    fn drop(&mut self) {
        self.0.free.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_place_is_free_and_closed_places_do_not_block() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let places = runtime.block_on(async { Places::new(2) });
        assert!(places.take() && places.take());
        assert_eq!(places.free.available_permits(), 0);
        places.put_back();
        assert!(places.take());
        drop(places.closed_at_end());
        assert!(!places.take());
    }
}
