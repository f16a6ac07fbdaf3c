//! Questions to the user on the terminal.
//!
//! A question blocks its thread until the user answers. While the user types a password, the terminal does not show the
//! characters. Therefore this module stores that a question is open, and the mode that the terminal had before the
//! question. If a signal arrives while a question is open, the task that receives signals restores this mode and ends
//! the process.

use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::output;

/// Maximum time between Ctrl-C at a password question and the end of the process. The task that receives signals ends
/// the process. Meanwhile, the thread that asked the question waits.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum time between the text of a password question and the moment at which the terminal hides what is typed.
const HIDING_TIMEOUT: Duration = Duration::from_millis(500);

/// The open question, or `None`. It is a static variable, because a process has only one terminal, and a signal goes to
/// the whole process.
static OPEN: Mutex<Option<Question>> = Mutex::new(None);

/// A question that is not answered yet.
struct Question {
    /// The terminal, and its mode before the question. `None` if there is no terminal.
    terminal: Option<(File, Termios)>,
    /// Whether the terminal hides the answer.
    is_hidden: bool,
}

/// Sets `OPEN` to `None` when it is dropped.
struct Opened;

impl Drop for Opened {
    fn drop(&mut self) {
        *lock() = None;
    }
}

fn lock() -> MutexGuard<'static, Option<Question>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(is_hidden: bool) -> Opened {
    let terminal = File::open("/dev/tty").ok();
    let terminal = terminal.and_then(|file| tcgetattr(&file).ok().map(|mode| (file, mode)));
    *lock() = Some(Question { terminal, is_hidden });
    Opened
}

/// Asks for a password. The terminal does not show the typed characters.
///
/// # Errors
/// There is no terminal, it cannot be read, or the user pressed Ctrl-C ([`io::ErrorKind::Interrupted`]).
pub(super) fn password(prompt: &str) -> io::Result<String> {
    let _open = open(true);
    rpassword::prompt_password(prompt).inspect_err(|error| {
        // During this question, the terminal sends no signal for Ctrl-C. Instead, rpassword reads the character, sends
        // SIGINT to the process and returns this error. The task that receives signals then ends the process.
        if error.kind() == io::ErrorKind::Interrupted {
            thread::sleep(END_TIMEOUT);
        }
    })
}

/// Asks a question and returns the line that the user types.
pub(super) fn line(question: &str) -> io::Result<String> {
    let _open = open(false);
    output::tell_as_it_is(question);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer)
}

/// If a question is open, restores the mode of the terminal and returns true. The caller must then end the process,
/// because the thread of the question is still blocked.
pub(super) fn abandon() -> bool {
    let Some(question) = lock().take() else { return false };
    if let Some((terminal, mode)) = question.terminal {
        if question.is_hidden {
            wait_until_hidden(&terminal, &mode);
        }
        let _ = tcsetattr(&terminal, OptionalActions::Now, &mode);
    }
    true
}

/// Waits until the mode of the terminal is no longer `before`. Reason: rpassword first writes the text of the question
/// and then changes the mode. A mode that is restored between the two would be changed again.
fn wait_until_hidden(terminal: &File, before: &Termios) {
    let until = Instant::now() + HIDING_TIMEOUT;
    let is_hidden = || tcgetattr(terminal).is_ok_and(|mode| mode.local_modes != before.local_modes);
    while !is_hidden() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_open_until_it_is_answered_or_abandoned() {
        assert!(!abandon());
        drop(open(false));
        assert!(!abandon());
        let opened = open(false);
        assert!(abandon() && !abandon());
        drop(opened);
    }
}
