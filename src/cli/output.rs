//! Results to standard output, for people or as JSON.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

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
            Err(Error::Output { path: "standard output".into(), hint: "", error })
        }
        _ => Ok(()),
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
