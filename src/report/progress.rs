//! Shows the progress of a command on a terminal.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

/// Counters for the progress of a command. The command increases them, and [`Bar`] displays them.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Number of rows that were encoded or rejected.
    pub rows: Arc<AtomicU64>,
    /// Number of rows that are committed: their documents are durable, and the checkpoint in the ledger is after them.
    pub rows_settled: Arc<AtomicU64>,
    /// Number of bytes read from the sources. Of a compressed source, the compressed bytes are counted.
    pub bytes: Arc<AtomicU64>,
    /// Number of bytes of all sources. `None` if it is not known.
    pub bytes_total: Option<u64>,
    /// True if the command reports each of its steps on standard error.
    pub verbose: bool,
}

impl Progress {
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
}

/// A line on the terminal that shows the progress of a command. Dropping it removes the line.
pub struct Bar {
    bar: ProgressBar,
    ticker: Option<std::thread::JoinHandle<()>>,
}

impl Bar {
    /// Shows the line, if standard error is a terminal and `quiet` is false.
    pub fn start(doing: &'static str, progress: &Progress, quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self { bar: ProgressBar::hidden(), ticker: None };
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        let (shown, progress) = (bar.clone(), progress.clone());
        let tick = move || {
            while !shown.is_finished() {
                shown.set_message(message(doing, &progress));
                shown.tick();
                std::thread::sleep(Duration::from_millis(100));
            }
        };
        // If the thread cannot be started, the command runs without the line.
        Self { bar, ticker: std::thread::Builder::new().spawn(tick).ok() }
    }
}

/// Writes a line to standard error. `eprintln!` is not used, because it panics if standard error is closed.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr(), "medlift: {text}");
}

fn message(doing: &str, progress: &Progress) -> String {
    let rows = progress.rows.load(Ordering::Relaxed);
    let settled = progress.rows_settled.load(Ordering::Relaxed);
    let bytes = progress.bytes.load(Ordering::Relaxed);
    let share = match progress.bytes_total {
        Some(total) if total > 0 => format!(" ({} %)", (bytes * 100 / total).min(100)),
        _ => String::new(),
    };
    let bytes = HumanBytes(bytes);
    format!("{doing}: {} rows, {bytes} read{share}, {} committed", HumanCount(rows), HumanCount(settled))
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if let Some(ticker) = self.ticker.take() {
            let _ = ticker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_rows_bytes_their_share_and_committed_rows() {
        let check = |bytes: u64, bytes_total: Option<u64>, expected: &str| {
            let progress = Progress { bytes_total, ..Progress::default() };
            progress.rows.store(12_345, Ordering::Relaxed);
            progress.rows_settled.store(2_000, Ordering::Relaxed);
            progress.bytes.store(bytes, Ordering::Relaxed);
            assert_eq!(message("load", &progress), format!("load: 12,345 rows, {expected}, 2,000 committed"));
        };
        check(1024, None, "1.00 KiB read");
        check(0, Some(0), "0 B read");
        check(0, Some(10), "0 B read (0 %)");
        check(1, Some(1), "1 B read (100 %)");
        check(99, Some(100), "99 B read (99 %)");
        check(100, Some(100), "100 B read (100 %)");
        check(300, Some(100), "300 B read (100 %)");
    }
}
