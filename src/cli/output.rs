//! Results to standard output, for people or as JSON.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use medlift::outputs::{is_same_file, limit_hint};
use medlift::pipeline::Error;
use serde::Serialize;

/// Loaded, with rejects.
pub const WITH_REJECTS: u8 = 4;

/// Verification found a difference.
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

/// Writes to standard output; a reader that went away is no error.
pub fn write_stdout(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Output { path: "standard output".into(), hint: limit_hint(&error), error })
        }
        _ => Ok(()),
    }
}

/// Tells the user something on standard error. Nobody may be listening there, which is not an error.
pub fn tell(text: impl Display) {
    tell_as_it_is(&format!("medlift: {text}\n"));
}

/// As [`tell`], without the program's name and the line's end. `eprint!` would panic where nobody listens.
pub fn tell_as_it_is(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Refuses an output that is also an input, by any path: it would be overwritten.
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

/// The first code that applies: a difference, then rejects, then clean.
pub fn exit_code(differs: bool, has_rejects: bool) -> ExitCode {
    match (differs, has_rejects) {
        (true, _) => ExitCode::from(DIFFERENT),
        (_, true) => ExitCode::from(WITH_REJECTS),
        _ => ExitCode::SUCCESS,
    }
}
