//! Shows the progress of a command while it runs.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::line::{in_words, line};
use super::progress::{Phase, Progress, Snapshot};
use super::terminal::{remove_line, show_line, tell, width};

/// Interval at which the line on a terminal changes.
const REDRAW: Duration = Duration::from_millis(100);

/// Interval of the lines if standard error is not a terminal, for example in the log of a container.
const REPORT: Duration = Duration::from_secs(10);

/// If the counters do not change for this time, the lines in a log say so. `deploy/aws` raises an alarm then.
const STILL: Duration = Duration::from_mins(5);

/// The words with which a line says that the counters do not change. The metric filter in
/// `deploy/aws/templates/observability.yaml` looks for them.
const STILL_WORDS: &str = "no progress for";

/// Columns that the text cannot use: the spinner, the blank after it, and the last column. Some terminals begin a new
/// line when the last column is used.
const MARGIN: usize = 3;

/// Shows the progress of a command until it is dropped.
pub struct Bar {
    ticker: Option<Ticker>,
}

/// Notices that the counters do not change any more.
struct Stillness {
    since: Instant,
    counters: Option<(Phase, [u64; 4])>,
}

impl Stillness {
    const fn new(now: Instant) -> Self {
        Self { since: now, counters: None }
    }

    /// If the counters did not change for at least [`STILL`], returns a text for the end of the progress line, such as
    /// `; no progress for 5 min`. Some phases have no counters, or wait for another process. In these phases, returns
    /// `None`.
    fn look(&mut self, shot: &Snapshot, now: Instant) -> Option<String> {
        let counters = Some((shot.phase, [shot.rows, shot.rows_committed, shot.documents, shot.bytes]));
        let is_counted = match shot.phase {
            Phase::ReadingAndWriting | Phase::Reading | Phase::Fold | Phase::Verification | Phase::Export => true,
            Phase::Preparation | Phase::WaitingForOtherLoad | Phase::Indexes | Phase::Validator | Phase::Duplicates => {
                false
            }
        };
        if counters != self.counters || !is_counted {
            *self = Self { since: now, counters };
        }
        let still = now.duration_since(self.since);
        (still >= STILL).then(|| format!("; {STILL_WORDS} {}", in_words(still)))
    }
}

/// A thread that calls a function at a regular interval. It ends when this value is dropped.
struct Ticker {
    /// Set to `None` to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bar {
    /// Shows the progress on standard error: on a terminal as one line, otherwise as one more line every ten seconds.
    /// Shows nothing if `quiet` is true.
    pub fn start(progress: &Progress, quiet: bool) -> Self {
        if quiet {
            return Self { ticker: None };
        }
        let progress = progress.clone();
        let bar = ProgressBar::new_spinner();
        // indicatif draws nothing on a terminal without cursor movement. Such a terminal gets lines, like a log.
        let ticker = if std::io::stderr().is_terminal() && !bar.is_hidden() {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            show_line(&bar);
            Ticker::start(REDRAW, move || {
                bar.set_message(line(&progress.snapshot(), width(&std::io::stderr()).saturating_sub(MARGIN)));
                bar.tick();
            })
        } else {
            let mut stillness = Stillness::new(Instant::now());
            Ticker::start(REPORT, move || {
                let shot = progress.snapshot();
                let still = stillness.look(&shot, Instant::now()).unwrap_or_default();
                tell(&format!("{}{still}", line(&shot, usize::MAX)));
            })
        };
        Self { ticker }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.ticker = None;
        remove_line();
    }
}

impl Ticker {
    /// Returns `None` if the thread cannot be started. The command then runs without it.
    fn start(interval: Duration, tick: impl FnMut() + Send + 'static) -> Option<Self> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().spawn(move || call_regularly(&stopped, interval, tick)).ok()?;
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

fn call_regularly(stopped: &Receiver<()>, interval: Duration, mut tick: impl FnMut()) {
    while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        tick();
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_ticker_calls_after_each_interval_until_it_is_dropped() {
        let (to_test, calls) = mpsc::channel();
        let ticker = Ticker::start(Duration::from_millis(2), move || to_test.send(()).unwrap());
        for _ in 0..3 {
            calls.recv_timeout(Duration::from_secs(30)).expect("a call after each interval");
        }
        drop(ticker);
        while calls.try_recv().is_ok() {}
        assert_eq!(calls.recv(), Err(mpsc::RecvError), "the thread has ended");
    }

    #[test]
    fn a_line_says_that_nothing_changes() {
        let progress = Progress::default();
        let begin = Instant::now();
        let mut stillness = Stillness::new(begin);
        let mut check = |minute: u64, rows: u64, phase: Phase, expected: Option<&str>| {
            if progress.snapshot().phase != phase {
                progress.enter(phase);
            }
            progress.rows.store(rows, Ordering::Relaxed);
            let found = stillness.look(&progress.snapshot(), begin + Duration::from_mins(minute));
            assert_eq!(found.as_deref(), expected, "minute {minute}");
        };
        check(0, 1, Phase::ReadingAndWriting, None);
        check(4, 1, Phase::ReadingAndWriting, None);
        check(5, 1, Phase::ReadingAndWriting, Some("; no progress for 5 min 0 s"));
        check(6, 1, Phase::ReadingAndWriting, Some("; no progress for 6 min 0 s"));
        check(7, 2, Phase::ReadingAndWriting, None);
        check(12, 2, Phase::ReadingAndWriting, Some("; no progress for 5 min 0 s"));
        check(13, 2, Phase::Indexes, None);
        check(40, 2, Phase::Indexes, None);
        check(41, 0, Phase::Verification, None);
        check(45, 0, Phase::Verification, None);
        check(46, 0, Phase::Verification, Some("; no progress for 5 min 0 s"));
    }

    #[test]
    fn the_alarm_of_deploy_aws_looks_for_the_words_of_the_line() {
        let template = include_str!("../../deploy/aws/templates/observability.yaml");
        assert!(template.contains(&format!("FilterPattern: '\"{STILL_WORDS}\"'")));
    }

    #[test]
    fn a_command_that_ends_before_the_first_interval_shows_nothing_and_does_not_wait() {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        drop(Ticker::start(Duration::from_hours(1), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }
}
