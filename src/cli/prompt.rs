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
use std::time::Duration;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::output;

/// Maximum time between Ctrl-C at a password question and the end of the process. The task that receives signals ends
/// the process. Meanwhile, the thread that asked the question waits.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// The open question, or `None`. It is a static variable, because a process has only one terminal, and a signal goes to
/// the whole process.
static OPEN: Mutex<Option<Question>> = Mutex::new(None);

/// A question that is not answered yet.
struct Question {
    /// The terminal, and its mode before the question. `None` if there is no terminal.
    terminal: Option<(File, Termios)>,
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

fn open() -> Opened {
    let terminal = File::open("/dev/tty").ok();
    let terminal = terminal.and_then(|file| tcgetattr(&file).ok().map(|mode| (file, mode)));
    *lock() = Some(Question { terminal });
    Opened
}

/// Asks for a password. The terminal does not show the typed characters.
///
/// # Errors
/// There is no terminal, it cannot be read, or the user pressed Ctrl-C ([`io::ErrorKind::Interrupted`]).
pub(super) fn password(prompt: &str) -> io::Result<String> {
    let _open = open();
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
    let _open = open();
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
