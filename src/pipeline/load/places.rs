//! Places for chunks in memory. A chunk takes a place when its first block arrives, and returns it when it is settled.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, SemaphorePermit};

/// A limited number of places.
#[derive(Clone)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    runtime: Handle,
}

/// Closes the places when it is dropped.
pub(super) struct ClosedAtEnd(Places);

impl Places {
    /// `count` free places. Must be called inside a runtime.
    pub(super) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), runtime: Handle::current() }
    }

    /// Waits on this thread for a free place and takes it. Returns false if the places are closed.
    pub(super) fn take(&self) -> bool {
        self.runtime.block_on(self.free.acquire()).map(SemaphorePermit::forget).is_ok()
    }

    /// Returns a place.
    pub(super) fn put_back(&self) {
        self.free.add_permits(1);
    }

    /// Returns a guard that closes the places when the writer ends, because then no place becomes free any more.
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
    fn a_place_is_free_again_when_it_was_put_back_and_nobody_waits_after_the_end() {
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
