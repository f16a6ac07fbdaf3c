//! Questions to the user on the terminal.
//!
//! A question blocks its thread until the user answers, and no echo is shown while a password is typed. So this file
//! remembers that a question is open, and the terminal's mode before it. If a signal then asks the command to stop, the
//! task that receives signals restores the mode and ends the process.

use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::output;

/// The longest time for which a question waits for the end of the process after Ctrl-C.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The open question. It is a static variable, because a process has one terminal, and signals belong to the process.
static OPEN: Mutex<Option<Question>> = Mutex::new(None);

/// A question that is not answered yet.
struct Question {
    /// The terminal, and its mode before the question. `None` if there is no terminal.
    terminal: Option<(File, Termios)>,
}

/// Closes the question when it is dropped.
struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        *lock() = None;
    }
}

fn lock() -> MutexGuard<'static, Option<Question>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open() -> Opened {
    let terminal = File::open("/dev/tty").ok();
    let terminal = terminal.and_then(|file| tcgetattr(&file).ok().map(|mode| (file, mode)));
    *lock() = Some(Question { terminal });
    Opened
}

/// Asks for a password. What the user types is not shown.
///
/// # Errors
/// There is no terminal, or the user pressed Ctrl-C ([`io::ErrorKind::Interrupted`]).
pub(super) fn password(prompt: &str) -> io::Result<String> {
    let _open = open();
    rpassword::prompt_password(prompt).inspect_err(|error| {
        // The terminal reports Ctrl-C as a character. rpassword then sends the signal, and the task that receives
        // signals ends the process.
        if error.kind() == io::ErrorKind::Interrupted {
            thread::sleep(END_TIMEOUT);
        }
    })
}

/// Asks a question and returns the line that the user types.
pub(super) fn line(question: &str) -> io::Result<String> {
    let _open = open();
    output::tell_as_it_is(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}

/// Restores the terminal if a question is open, and returns true. The caller then ends the process, because the thread
/// that asked waits for an answer.
pub(super) fn abandon() -> bool {
    let Some(question) = lock().take() else { return false };
    if let Some((terminal, mode)) = question.terminal {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &mode);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_open_until_it_is_answered_or_abandoned() {
        assert!(!abandon());
        drop(open());
        assert!(!abandon());
        let opened = open();
        assert!(abandon() && !abandon());
        drop(opened);
    }
}
