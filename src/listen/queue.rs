//! The messages that wait for their commit. A committer takes all that wait, so there is no timer: an idle listener
//! commits a message at once, and what arrives during a commit is in the next one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use super::answer::Verdict;

/// Maximum number of messages in one commit.
pub(super) const COMMIT_MESSAGES_MAX: usize = 5_000;
/// Maximum number of bytes in one commit, unless it is a single message.
const COMMIT_BYTES_MAX: usize = 12 << 20;

/// A message that waits for its commit.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The content of the frame.
    pub message: Vec<u8>,
    /// Receives what became of the message. Closed if nobody waits for it any more.
    pub outcome: oneshot::Sender<Verdict>,
    /// The places of the message in memory.
    _places: [OwnedSemaphorePermit; 2],
}

/// The messages that wait, and the limits of what is in memory.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Waiting>>,
    arrived: Notify,
    is_closed: AtomicBool,
    messages: Arc<Semaphore>,
    kibibytes: Arc<Semaphore>,
    kibibytes_max: u32,
    /// The room for large messages that are not complete.
    incomplete: Arc<Semaphore>,
}

impl Queue {
    /// Makes a queue. At most `messages_max` messages with at most `bytes_max` bytes wait or are being committed.
    pub(super) fn new(messages_max: usize, bytes_max: usize) -> Self {
        let kibibytes_max = u32::try_from(bytes_max >> 10).unwrap_or(u32::MAX).max(1);
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            is_closed: AtomicBool::new(false),
            messages: Arc::new(Semaphore::new(messages_max)),
            kibibytes: Arc::new(Semaphore::new(kibibytes_max as usize)),
            kibibytes_max,
            incomplete: Arc::new(Semaphore::new(kibibytes_max as usize)),
        }
    }

    /// Takes a place for a message of at most this size that is not complete. Waits until there is one.
    pub(super) async fn large(&self, bytes_max: usize) -> OwnedSemaphorePermit {
        let kibibytes = u32::try_from(bytes_max >> 10).unwrap_or(u32::MAX).clamp(1, self.kibibytes_max);
        let place = Arc::clone(&self.incomplete).acquire_many_owned(kibibytes).await;
        place.expect("the semaphores are never closed")
    }

    /// Adds a message when there is room for it in memory. Returns the receiver of what becomes of it.
    pub(super) async fn add(&self, message: Vec<u8>) -> oneshot::Receiver<Verdict> {
        let kibibytes = u32::try_from(message.len() / 1024 + 1).unwrap_or(u32::MAX).min(self.kibibytes_max);
        let bytes = Arc::clone(&self.kibibytes).acquire_many_owned(kibibytes).await;
        let place = Arc::clone(&self.messages).acquire_owned().await;
        let (outcome, receiver) = oneshot::channel();
        let never = "the semaphores are never closed";
        self.waiting().push_back(Waiting { message, outcome, _places: [bytes.expect(never), place.expect(never)] });
        self.arrived.notify_one();
        receiver
    }

    /// Waits for messages and takes them. Returns `None` if the queue is closed and empty.
    pub(super) async fn take(&self) -> Option<Vec<Waiting>> {
        loop {
            let arrived = self.arrived.notified();
            let taken = self.take_now();
            if !taken.is_empty() {
                if !self.waiting().is_empty() {
                    // For another committer.
                    self.arrived.notify_one();
                }
                return Some(taken);
            }
            if self.is_closed.load(Ordering::Acquire) {
                self.arrived.notify_one();
                return None;
            }
            arrived.await;
        }
    }

    fn take_now(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting();
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = waiting.front() {
            let is_full = taken.len() == COMMIT_MESSAGES_MAX || bytes + next.message.len() > COMMIT_BYTES_MAX;
            if is_full && !taken.is_empty() {
                break;
            }
            bytes += next.message.len();
            let next = waiting.pop_front().expect("the queue has a first message");
            // A message for which nobody waits is dropped. Its sender has no acknowledgement, so it sends the message
            // again.
            if !next.outcome.is_closed() {
                taken.push(next);
            }
        }
        taken
    }

    /// Removes the messages for which nobody waits any more.
    pub(super) fn forget_abandoned(&self) {
        self.waiting().retain(|waiting| !waiting.outcome.is_closed());
    }

    /// Says that no more messages will be added.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.arrived.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A message that was received, and what becomes of it.
#[derive(Debug)]
pub(super) struct Pending {
    /// The first line of the message.
    pub header: Vec<u8>,
    /// When the message had arrived.
    pub arrived: Instant,
    /// After this time, it is answered with AR. `None` if its sender would not notice.
    pub busy_after: Option<std::time::Duration>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is known already.
    Known(Verdict),
    /// It will be received here.
    Awaited(oneshot::Receiver<Verdict>),
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(test)
    }

    #[test]
    fn a_commit_takes_all_that_waits_within_its_limits() {
        run(async {
            let queue = Queue::new(COMMIT_MESSAGES_MAX * 2, 64 << 20);
            let mut receivers = Vec::new();
            for _ in 0..=COMMIT_MESSAGES_MAX {
                receivers.push(queue.add(vec![b'x']).await);
            }
            assert_eq!(queue.take().await.map(|taken| taken.len()), Some(COMMIT_MESSAGES_MAX));
            assert_eq!(queue.take().await.map(|taken| taken.len()), Some(1));
            for bytes in [COMMIT_BYTES_MAX / 2, COMMIT_BYTES_MAX / 2, 1, COMMIT_BYTES_MAX + 1] {
                receivers.push(queue.add(vec![b'x'; bytes]).await);
            }
            let lengths = [queue.take().await, queue.take().await, queue.take().await];
            assert_eq!(lengths.map(|taken| taken.map(|taken| taken.len())), [Some(2), Some(1), Some(1)]);
            queue.close();
            assert!(queue.take().await.is_none() && queue.take().await.is_none());
        });
    }

    #[test]
    fn messages_wait_for_room_in_memory() {
        run(async {
            let queue = Queue::new(1, 1 << 20);
            let first = queue.add(b"a".to_vec()).await;
            let second = tokio::time::timeout(Duration::from_millis(20), queue.add(b"b".to_vec())).await;
            assert!(second.is_err(), "there is no room");
            drop(queue.take().await);
            assert!(first.await.is_err());
            let large = queue.add(vec![0; 4 << 20]).await;
            assert_eq!(queue.take().await.map(|taken| taken.len()), Some(1), "a large message takes all room");
            drop(large);
        });
    }

    #[test]
    fn a_message_that_was_answered_is_not_committed() {
        run(async {
            let queue = Queue::new(9, 1 << 20);
            drop(queue.add(b"a".to_vec()).await);
            let _second = queue.add(b"b".to_vec()).await;
            drop(queue.add(b"c".to_vec()).await);
            queue.forget_abandoned();
            assert_eq!(queue.take().await.map(|taken| taken[0].message.clone()), Some(b"b".to_vec()));
            queue.close();
            assert!(queue.take().await.is_none());
        });
    }
}
