//! Runs tasks on threads of their own. To encode messages takes processor time, which would delay the connections if it
//! happened on their threads.

use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::Error;

/// How often the threads are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How often the threads are looked at while their end is awaited.
const LOOK_AT_END: Duration = Duration::from_millis(10);

/// Tasks that run on threads of their own.
pub(super) struct Threads {
    abort: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Makes an empty set.
    pub(super) fn new() -> Self {
        Self { abort: watch::Sender::new(false), running: Vec::new() }
    }

    /// Runs a task on a new thread. Must be called in a Tokio runtime.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn run<F: Future<Output = ()>>(
        &mut self,
        task: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), Error> {
        let (runtime, mut aborted) = (Handle::current(), self.abort.subscribe());
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = task() => {}
                    _ = aborted.wait_for(|is_aborted| *is_aborted) => {}
                }
            });
        };
        self.running.push(Builder::new().spawn(work).map_err(|error| Error::no_thread(&error))?);
        Ok(())
    }

    /// Waits until a task has panicked. Never returns if none does.
    pub(super) async fn panicked(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let ended = self.running.extract_if(.., |thread| thread.is_finished());
            if ended.map(JoinHandle::join).any(|result| result.is_err()) {
                return;
            }
        }
    }

    /// Waits until all tasks have ended. Ends those that take longer.
    pub(super) async fn end(self, within: Duration) {
        let until = Instant::now() + within;
        while Instant::now() < until && !self.running.iter().all(JoinHandle::is_finished) {
            tokio::time::sleep(LOOK_AT_END).await;
        }
        self.abort.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn tasks_end_by_themselves_or_after_the_time() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (mut threads, count) = (Threads::new(), Arc::<AtomicU32>::default());
            let counted = Arc::clone(&count);
            threads.run(move || async move { counted.store(1, Ordering::Relaxed) }).expect("a thread");
            threads.run(std::future::pending).expect("a thread");
            threads.end(Duration::from_millis(300)).await;
            assert_eq!(count.load(Ordering::Relaxed), 1);
        });
    }

    #[test]
    fn a_task_that_panicked_is_noticed() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut threads = Threads::new();
            threads.run(std::future::pending).expect("a thread");
            threads.run(|| async {}).expect("a thread");
            assert!(tokio::time::timeout(LOOK * 3, threads.panicked()).await.is_err());
            threads.run(|| async { panic!("for a test") }).expect("a thread");
            tokio::time::timeout(Duration::from_secs(20), threads.panicked()).await.expect("noticed");
            threads.end(Duration::ZERO).await;
        });
    }
}
