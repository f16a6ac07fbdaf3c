//! Writes results to standard output, as text or as JSON.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use medlift::outputs::{is_same_file, limit_hint};
use medlift::pipeline::Error;
use serde::Serialize;

/// Exit code: loaded, but some rows were rejected.
pub const WITH_REJECTS: u8 = 4;

/// Exit code: verification found a difference.
pub const DIFFERENT: u8 = 5;

/// Prints a result.
pub fn print(result: &(impl Display + Serialize), json: bool) -> Result<(), Error> {
    let text = if json {
        serde_json::to_string_pretty(result)
            .map_err(|error| Error::Stopped(format!("cannot write the result as JSON: {error}")))?
    } else {
        result.to_string()
    };
    write_stdout(format!("{}\n", text.trim_end()).as_bytes())
}

/// Writes to standard output. A closed pipe is not an error.
pub fn write_stdout(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Output { path: "standard output".into(), hint: limit_hint(&error), error })
        }
        _ => Ok(()),
    }
}

/// Writes a message to standard error. A closed standard error is ignored.
pub fn tell(text: impl Display) {
    tell_as_it_is(&format!("medlift: {text}\n"));
}

/// Like [`tell`], but without the program's name and the line end. `eprint!` is not used, because it panics if
/// standard error is closed.
pub fn tell_as_it_is(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Refuses an output that is also an input, whatever its path, because the input would be overwritten.
pub fn refuse_inputs(option: &str, output: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    match inputs.iter().find(|input| is_same_file(output, input)) {
        Some(input) => Err(Error::Usage(format!(
            "{option} {} is the file {}, which is an input; name another file",
            output.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// Returns the first exit code that applies: a difference, then rejects, then success.
pub fn exit_code(differs: bool, has_rejects: bool) -> ExitCode {
    match (differs, has_rejects) {
        (true, _) => ExitCode::from(DIFFERENT),
        (_, true) => ExitCode::from(WITH_REJECTS),
        _ => ExitCode::SUCCESS,
    }
}
