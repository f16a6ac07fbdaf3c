//! What a listener counts, in memory. Every number can be read at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the latency histogram, in microseconds. The last bucket has no bound.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 5_000_000,
    10_000_000,
];

/// The upper bounds of the histogram of commits, in messages.
pub const COMMIT_BOUNDS: [u64; 9] = [1, 2, 5, 10, 50, 100, 500, 1_000, 5_000];

/// A number that is changed by several tasks.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(super) fn subtract(&self, less: u64) {
        self.0.fetch_sub(less, Relaxed);
    }

    pub(super) fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }
}

/// Values by size. A value is counted in the first bucket whose bound it does not exceed.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Count; N],
    above: Count,
    sum: Count,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| Count::default()),
            above: Count::default(),
            sum: Count::default(),
        }
    }

    pub(super) fn add(&self, value: u64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        bucket.map_or(&self.above, |bucket| &self.buckets[bucket]).add(1);
        self.sum.add(value);
    }

    /// Returns each bound, with the number of values that do not exceed it, as Prometheus counts.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut total = 0;
        let both = self.bounds.iter().zip(&self.buckets);
        both.map(|(bound, count)| {
            total += count.get();
            (*bound, total)
        })
        .collect()
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(Count::get).sum::<u64>() + self.above.get()
    }

    /// Returns the sum of the values.
    pub fn sum(&self) -> u64 {
        self.sum.get()
    }
}

/// The numbers of a listener.
#[derive(Debug)]
pub struct Metrics {
    /// Connections that are open.
    pub connections: Count,
    /// Connections that were accepted since the start.
    pub connections_accepted: Count,
    /// Connections that were closed at once: too many, or from an address that is not allowed.
    pub connections_refused: Count,
    /// Connections that were closed because of a time limit, a frame that is too long, or a failed TLS handshake.
    pub connections_failed: Count,
    /// Messages that arrived whole.
    pub received: Count,
    /// Messages that were stored and acknowledged, and were new.
    pub stored: Count,
    /// Messages that were acknowledged because they were stored already.
    pub repeated: Count,
    /// Messages that were refused because of their content.
    pub rejected: Count,
    /// Messages that were answered with AR because they could not be stored in time.
    pub postponed: Count,
    /// New messages with the control id of another message of the same sender.
    pub reused_ids: Count,
    /// Bytes between frames.
    pub bytes_ignored: Count,
    /// Frames that had no end.
    pub frames_unfinished: Count,
    /// Messages that were received and have no outcome yet.
    pub in_flight: Count,
    /// Messages per commit.
    pub commits: Histogram<{ COMMIT_BOUNDS.len() }>,
    /// Commits that failed and are repeated.
    pub commits_repeated: Count,
    /// The time from the end of a message to its answer, in microseconds.
    pub latency_us: Histogram<{ LATENCY_BOUNDS_US.len() }>,
    /// Messages that are stored and not folded yet.
    pub fold_lag: Count,
    /// Messages that this listener has folded.
    pub folded: Count,
    /// 1 if messages are no longer folded, because of an error that does not pass. Otherwise 0.
    pub fold_stopped: Count,
}

impl Default for Metrics {
    fn default() -> Self {
        let count = Count::default;
        Self {
            connections: count(),
            connections_accepted: count(),
            connections_refused: count(),
            connections_failed: count(),
            received: count(),
            stored: count(),
            repeated: count(),
            rejected: count(),
            postponed: count(),
            reused_ids: count(),
            bytes_ignored: count(),
            frames_unfinished: count(),
            in_flight: count(),
            commits: Histogram::new(&COMMIT_BOUNDS),
            commits_repeated: count(),
            latency_us: Histogram::new(&LATENCY_BOUNDS_US),
            fold_lag: count(),
            folded: count(),
            fold_stopped: count(),
        }
    }
}

impl Metrics {
    pub(super) fn note_answer(&self, took: Duration) {
        self.latency_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_fits() {
        static BOUNDS: [u64; 3] = [1, 5, 10];
        let histogram = Histogram::new(&BOUNDS);
        for value in [0, 1, 2, 5, 10, 11] {
            histogram.add(value);
        }
        assert_eq!(histogram.cumulative(), [(1, 2), (5, 4), (10, 5)]);
        assert_eq!((histogram.count(), histogram.sum()), (6, 29));
    }
}
