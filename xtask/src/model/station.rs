//! A queueing server: cores, a disk, a connection to S3 or a ledger, with jobs that wait for it in the order of their
//! arrival.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// A point in the simulated time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Time(pub(super) f64);

impl Eq for Time {}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Several equal servers with a common queue.
#[derive(Debug, Clone)]
pub(super) struct Station {
    /// For each server, the time at which it has done all its jobs so far.
    free: BinaryHeap<Reverse<Time>>,
    servers: usize,
    busy_seconds: f64,
}

impl Station {
    pub(super) fn new(servers: usize) -> Self {
        Self { free: vec![Reverse(Time(0.0)); servers].into(), servers, busy_seconds: 0.0 }
    }

    /// Adds a job that arrives now and needs one server for `seconds`. Returns the time at which the job ends. Jobs
    /// must be added in the order of their arrival.
    pub(super) fn serve(&mut self, now: f64, seconds: f64) -> f64 {
        let Reverse(Time(free)) = self.free.pop().unwrap_or(Reverse(Time(now)));
        let end = free.max(now) + seconds;
        self.free.push(Reverse(Time(end)));
        self.busy_seconds += seconds;
        end
    }

    /// Returns the share of the time until `seconds` in which the servers were busy.
    pub(super) fn utilisation(&self, seconds: f64) -> f64 {
        self.busy_seconds / (seconds * self.servers as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_wait_for_a_free_server() {
        let mut station = Station::new(2);
        let ends: Vec<f64> =
            [(0.0, 4.0), (0.0, 1.0), (0.0, 1.0), (5.0, 1.0)].map(|(now, seconds)| station.serve(now, seconds)).into();
        assert_eq!(ends, [4.0, 1.0, 2.0, 6.0]);
        assert!((station.utilisation(7.0) - 0.5).abs() < 1e-12);
    }
}
