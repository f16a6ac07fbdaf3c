//! Runs tasks on threads of their own. To encode messages takes processor time, which would delay the connections if it
//! happened on their threads.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::error::Error;

/// Tasks that run on threads of their own.
pub(super) struct Threads {
    abort: watch::Sender<bool>,
    /// Each is closed when its task has ended.
    ended: Vec<oneshot::Receiver<()>>,
}

impl Threads {
    /// Makes an empty set.
    pub(super) fn new() -> Self {
        Self { abort: watch::Sender::new(false), ended: Vec::new() }
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
        let (end, ended) = oneshot::channel::<()>();
        let work = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = task() => {}
                    _ = aborted.wait_for(|is_aborted| *is_aborted) => {}
                }
            });
            drop(end);
        };
        std::thread::Builder::new().spawn(work).map_err(|error| Error::no_thread(&error))?;
        self.ended.push(ended);
        Ok(())
    }

    /// Waits until all tasks have ended. Ends those that take longer.
    pub(super) async fn end(self, within: Duration) {
        let all = async {
            for ended in self.ended {
                let _ = ended.await;
            }
        };
        let _ = timeout(within, all).await;
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
}
