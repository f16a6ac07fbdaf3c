//! The progress of a command: its phases, the time that each phase took, and counters.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::terminal::tell;
use crate::server::{self, Trouble};

/// The phases of all commands, in the order in which a command can have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Examines sources, server and ledger. Every command begins with this phase.
    Preparation,
    /// Waits for the remaining time of another process's lease.
    WaitingForOtherLoad,
    /// A load reads, cleans, encodes, writes and commits rows.
    ReadingAndWriting,
    /// A load builds the indexes.
    Indexes,
    /// A load attaches the validator, or the server checks documents with it.
    Validator,
    /// Folds HL7 v2 messages.
    Fold,
    /// Compares the documents with the sources.
    Verification,
    /// A dry run reads, cleans and encodes rows.
    Reading,
    /// A dry run counts duplicates and conflicts.
    Duplicates,
    /// An export reads documents and writes them to a file.
    Export,
}

impl Phase {
    /// Returns the name of the phase for the user.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preparation => "preparation",
            Self::WaitingForOtherLoad => "waiting for the other load",
            Self::ReadingAndWriting => "reading and writing",
            Self::Indexes => "indexes",
            Self::Validator => "validator",
            Self::Fold => "fold",
            Self::Verification => "verification",
            Self::Reading => "reading",
            Self::Duplicates => "duplicates",
            Self::Export => "export",
        }
    }
}

/// The time that a phase took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// Seconds that the phase took. If a phase occurred several times, this is the sum.
    pub seconds: f64,
}

/// Counters for the progress of a command, and its current phase. The command changes them, and [`Bar`](super::Bar)
/// displays them. All clones share the counters. The counters refer to the current phase.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Number of rows that were encoded or rejected.
    pub rows: Arc<AtomicU64>,
    /// Number of rows that were rejected.
    pub rows_rejected: Arc<AtomicU64>,
    /// Number of rows that are committed: their documents are durable, and the checkpoint in the ledger is after them.
    pub rows_committed: Arc<AtomicU64>,
    /// Number of documents that were read from the collection.
    pub documents: Arc<AtomicU64>,
    /// Number of bytes read from the sources. Of a compressed source, the compressed bytes are counted.
    pub bytes: Arc<AtomicU64>,
    /// Number of entries of Bundles that were looked through for their URLs, before the rows of the source are read.
    /// Zero if this is not going on.
    pub entries: Arc<AtomicU64>,
    /// Number of bytes of all sources. `None` if it is not known.
    pub bytes_total: Option<u64>,
    /// True if the command reports each of its steps on standard error.
    pub verbose: bool,
    step: Arc<Mutex<Step>>,
}

/// The current phase, and the times of the earlier ones.
#[derive(Debug)]
struct Step {
    phase: Phase,
    /// The time at which the phase began.
    phase_began: Instant,
    /// The time at which the counters began to count.
    began: Instant,
    /// Rows that an earlier, interrupted process committed.
    rows_before: u64,
    /// Number of documents that the phase will read. `None` if it is not known.
    documents_total: Option<u64>,
    /// Time of each phase that ended. A phase can occur several times.
    ended: Vec<(Phase, Duration)>,
}

impl Default for Step {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            phase: Phase::Preparation,
            phase_began: now,
            began: now,
            rows_before: 0,
            documents_total: None,
            ended: Vec::new(),
        }
    }
}

/// The values that are displayed at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Snapshot {
    pub(super) phase: Phase,
    /// Time since the counters began to count.
    pub(super) elapsed: Duration,
    pub(super) rows: u64,
    pub(super) rows_rejected: u64,
    pub(super) rows_committed: u64,
    pub(super) rows_before: u64,
    pub(super) documents: u64,
    pub(super) documents_total: Option<u64>,
    pub(super) bytes: u64,
    pub(super) entries: u64,
    pub(super) bytes_total: Option<u64>,
    /// Set while a call to the server is repeated.
    pub(super) trouble: Option<Trouble>,
}

impl Progress {
    /// Begins to measure the time of a command.
    pub fn new(verbose: bool) -> Self {
        Self { verbose, ..Self::default() }
    }

    /// Begins a phase. All counters begin at 0.
    pub fn enter(&self, phase: Phase) {
        let mut step = self.step();
        let now = Instant::now();
        let (ended, took) = (step.phase, now - step.phase_began);
        step.ended.push((ended, took));
        (step.phase, step.phase_began) = (phase, now);
        self.restart(&mut step, now);
    }

    /// Begins to read documents of the collection, in the current phase. All counters begin at 0. `total` is the
    /// expected number of documents.
    pub fn expect_documents(&self, total: u64) {
        let mut step = self.step();
        self.restart(&mut step, Instant::now());
        step.documents_total = Some(total);
    }

    /// Says that an earlier, interrupted process committed this number of rows. They do not count for the speed.
    pub fn resume_after(&self, rows: u64) {
        self.step().rows_before = rows;
        self.rows_committed.store(rows, Ordering::Relaxed);
    }

    fn restart(&self, step: &mut Step, now: Instant) {
        (step.began, step.rows_before, step.documents_total) = (now, 0, None);
        for counter in
            [&self.rows, &self.rows_rejected, &self.rows_committed, &self.documents, &self.bytes, &self.entries]
        {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Returns the time of each phase, in the order of [`Phase`]. The sum is the time since this value was created.
    pub fn times(&self) -> Vec<PhaseTime> {
        let step = self.step();
        let mut ended = step.ended.clone();
        ended.push((step.phase, step.phase_began.elapsed()));
        ended.sort_by_key(|(phase, _)| *phase);
        let mut times: Vec<PhaseTime> = Vec::new();
        for (phase, took) in ended {
            let seconds = took.as_secs_f64();
            match times.last_mut() {
                Some(last) if last.phase == phase => last.seconds += seconds,
                _ => times.push(PhaseTime { phase, seconds }),
            }
        }
        times
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let step = self.step();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            phase: step.phase,
            elapsed: step.began.elapsed(),
            rows: count(&self.rows),
            rows_rejected: count(&self.rows_rejected),
            rows_committed: count(&self.rows_committed),
            rows_before: step.rows_before,
            documents: count(&self.documents),
            documents_total: step.documents_total,
            bytes: count(&self.bytes),
            entries: count(&self.entries),
            bytes_total: self.bytes_total,
            trouble: server::trouble(),
        }
    }

    /// Writes to standard error why the command waits for some time. This text appears even with `--quiet`.
    pub fn say(&self, text: &str) {
        tell(text);
    }

    /// Reports a step if `verbose` is true. The text must not contain a value of any row.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            tell(&what());
        }
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_all_phases_add_up_to_the_time_of_the_command() {
        let begun = Instant::now();
        let progress = Progress::default();
        let pause = Duration::from_millis(3);
        for phase in [Phase::ReadingAndWriting, Phase::Verification, Phase::Validator, Phase::Verification] {
            std::thread::sleep(pause);
            progress.enter(phase);
        }
        std::thread::sleep(pause);
        let times = progress.times();
        let phases = [Phase::Preparation, Phase::ReadingAndWriting, Phase::Validator, Phase::Verification];
        assert_eq!(times.iter().map(|time| time.phase).collect::<Vec<_>>(), phases);
        assert!(times.iter().all(|time| time.seconds >= pause.as_secs_f64()), "{times:?}");
        assert!(times[3].seconds >= 2.0 * pause.as_secs_f64(), "{times:?}");
        let sum: f64 = times.iter().map(|time| time.seconds).sum();
        let step = progress.step();
        let until_now = step.ended.iter().map(|(_, took)| *took).sum::<Duration>() + step.phase_began.elapsed();
        assert!(sum <= until_now.as_secs_f64() + 1e-6 && until_now <= begun.elapsed(), "{sum} {until_now:?}");
    }

    #[test]
    fn counters_begin_again_with_each_phase_and_each_scan() {
        let progress = Progress { bytes_total: Some(9), ..Progress::default() };
        let count = |rows_before| {
            progress.resume_after(rows_before);
            for counter in [&progress.rows, &progress.rows_rejected, &progress.documents, &progress.bytes] {
                counter.store(7, Ordering::Relaxed);
            }
            let found = progress.snapshot();
            [found.rows, found.rows_rejected, found.documents, found.bytes, found.rows_committed, found.rows_before]
        };
        assert_eq!(count(5), [7, 7, 7, 7, 5, 5]);
        progress.enter(Phase::Verification);
        let found = progress.snapshot();
        let counts = [found.rows, found.rows_rejected, found.documents, found.bytes, found.rows_committed];
        assert_eq!((counts, found.rows_before, found.documents_total), ([0; 5], 0, None));
        assert_eq!((found.phase, found.bytes_total), (Phase::Verification, Some(9)));
        count(5);
        progress.expect_documents(3);
        let found = progress.snapshot();
        assert_eq!((found.phase, found.rows, found.documents_total), (Phase::Verification, 0, Some(3)));
    }
}
