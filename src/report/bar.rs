//! Shows the progress of a command while it runs.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::line::line;
use super::progress::Progress;
use super::terminal::{remove_line, show_line, tell, width};

/// Interval at which the line on a terminal changes.
const REDRAW: Duration = Duration::from_millis(100);

/// Interval of the lines if standard error is not a terminal, for example in the log of a container.
const REPORT: Duration = Duration::from_secs(10);

/// Columns that the text cannot use: the spinner, the blank after it, and the last column. Some terminals begin a new
/// line when the last column is used.
const MARGIN: usize = 3;

/// Shows the progress of a command until it is dropped.
pub struct Bar {
    ticker: Option<Ticker>,
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
        // indicatif draws nothing on a terminal without cursor movement.
        let ticker = if std::io::stderr().is_terminal() && !bar.is_hidden() {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            show_line(&bar);
            Ticker::start(REDRAW, move || {
                bar.set_message(line(&progress.snapshot(), width(&std::io::stderr()).saturating_sub(MARGIN)));
                bar.tick();
            })
        } else {
            Ticker::start(REPORT, move || tell(&line(&progress.snapshot(), usize::MAX)))
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
    fn a_command_that_ends_before_the_first_interval_shows_nothing_and_does_not_wait() {
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        drop(Ticker::start(Duration::from_hours(1), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
    }
}
