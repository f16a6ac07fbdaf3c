//! Limits the time in which a failed request is repeated.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// A time limit. If no byte was received for this time, the request is not repeated any more.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    since: Instant,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), pause: FIRST_PAUSE }
    }

    /// Starts the time limit again, because bytes were received.
    pub(crate) fn renew(&mut self) {
        *self = Self::new(self.limit);
    }

    /// Waits before the next request. Returns false, without waiting, if the limit would be exceeded.
    pub(crate) async fn wait(&mut self) -> bool {
        if self.since.elapsed() + self.pause > self.limit {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }
}
