//! Bounds the memory of all commands that are under way at the same time. A load of many kinds of documents has many
//! collections, and each of them has commands of its own.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::machine::Limits;

/// The semaphore counts KiB, because it cannot count the bytes of large loads.
const UNIT_BYTES: usize = 1 << 10;

/// The number of bytes that the documents of all commands under way may have together. All clones share it. It is enough
/// for all commands of one collection, and one more.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    /// The whole budget, in units.
    total: u32,
}

impl Budget {
    /// Makes the budget of a load with these limits for each collection.
    pub fn new(limits: Limits) -> Self {
        let bytes = (limits.in_flight_max + 1).saturating_mul(limits.batch_bytes_max);
        let total = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let free = Arc::new(Semaphore::new((total as usize).min(Semaphore::MAX_PERMITS)));
        Self { free, total }
    }

    /// Waits until this number of bytes is free, and takes them until the result is dropped. Takes the whole budget if
    /// more are wanted.
    pub(super) async fn take(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX).min(self.total);
        // The semaphore is never closed.
        self.free.acquire_many(units).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Returns what is taken, if it is free now.
    fn now(budget: &Budget, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let mut context = Context::from_waker(Waker::noop());
        match pin!(budget.take(bytes)).poll(&mut context) {
            std::task::Poll::Ready(taken) => taken,
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn commands_under_way_have_a_limited_number_of_bytes() {
        let limits = Limits { batch_docs_max: 1, batch_bytes_max: 10 << 20, in_flight_max: 2, attempts_max: 1 };
        let budget = Budget::new(limits);
        let first = now(&budget, 10 << 20);
        let other = budget.clone();
        let second = now(&other, 19 << 20);
        assert!(first.is_some() && second.is_some());
        assert!(now(&budget, (1 << 20) + 1).is_none());
        let third = now(&budget, 1 << 20);
        assert!(third.is_some() && now(&budget, 1).is_none());
        drop((first, second, third));
        // A document can be larger than a batch, and a batch than the budget.
        assert!(now(&budget, 100 << 20).is_some());
    }
}
