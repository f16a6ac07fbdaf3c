//! Writes messages to standard error. If the progress of a command is shown on the terminal, each message appears above
//! it. Also finds out how wide a terminal is.

use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;

/// The line on the terminal that shows the progress. It is a static variable, because a process has one terminal, and
/// every part of the program may write a message to it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Number of columns that is assumed if the terminal does not report its own.
const WIDTH_DEFAULT: usize = 80;

/// Returns the number of columns of a terminal. Returns `usize::MAX` for an output that is not a terminal.
pub fn width(output: &(impl AsFd + IsTerminal)) -> usize {
    if !output.is_terminal() {
        return usize::MAX;
    }
    let columns = rustix::termios::tcgetwinsize(output).map_or(0, |size| size.ws_col.into());
    if columns == 0 { WIDTH_DEFAULT } else { columns }
}

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
