//! Writes messages to standard error. If the progress of a command is shown on the terminal, each message appears above
//! it.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

/// The line on the terminal that shows the progress. It is a static variable, because a process has one terminal, and
/// every part of the program may write a message to it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Writes a text to standard error exactly as it is. Does nothing if standard error is closed. `eprint!` is not used,
/// because it panics in this case.
pub fn tell_as_it_is(text: &str) {
    let write = || {
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    };
    match &*SHOWN.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

/// Writes a message with the name of the program before it, and a line end after it.
pub(super) fn tell(text: &str) {
    tell_as_it_is(&format!("medlift: {text}\n"));
}

/// Registers the line that shows the progress.
pub(super) fn show_line(line: &ProgressBar) {
    *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
}

/// Removes the line that shows the progress from the terminal. Call this function before the process ends.
pub fn remove_line() {
    if let Some(line) = SHOWN.lock().unwrap_or_else(PoisonError::into_inner).take() {
        line.finish_and_clear();
    }
}
