//! Writes results to standard output, as text or as JSON, and messages to standard error.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use medlift::error::Error;
use medlift::outputs::{is_same_file, write_hint};
pub(super) use medlift::report::tell_as_it_is;
use serde::Serialize;

/// Exit code if the load was complete but some rows were rejected.
pub(super) const WITH_REJECTS: u8 = 4;

/// Exit code if verification found a difference.
pub(super) const DIFFERENT: u8 = 5;

/// Exit code of `medlift runs show --watch` if the load has ended and is not complete.
pub(super) const INCOMPLETE: u8 = 1;

/// Exit code if the same load command should be run again.
pub(super) const TEMPORARY: u8 = 6;

/// Prints a result as JSON or as text.
pub(super) fn print(result: &(impl Display + Serialize), json: bool) -> Result<(), Error> {
    let text = if json {
        serde_json::to_string_pretty(result)
            .map_err(|error| Error::Stopped(format!("cannot write the result as JSON: {error}")))?
    } else {
        result.to_string()
    };
    write_stdout(format!("{}\n", text.trim_end()).as_bytes())
}

/// Writes to standard output. It is not an error if the reader has closed the pipe.
pub(super) fn write_stdout(bytes: &[u8]) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Output { path: "standard output".into(), hint: write_hint(&error), error })
        }
        _ => Ok(()),
    }
}

/// Writes a message to standard error. Does nothing if standard error is closed.
pub(crate) fn tell(text: impl Display) {
    tell_as_it_is(&format!("medlift: {text}\n"));
}

/// Returns an error if an output is the same file as an input, because writing would destroy the input.
pub(super) fn refuse_inputs(option: &str, output: &Path, inputs: &[PathBuf]) -> Result<(), Error> {
    match inputs.iter().find(|input| is_same_file(output, input)) {
        Some(input) => Err(Error::Usage(format!(
            "{option} {} is the file {}, which is an input; give another file",
            output.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// Returns the exit code. The first of these that is true decides: the verification found a difference, the fold
/// failed, rows were rejected. `of_fold` is the exit code of the fold, 0 if it succeeded.
pub(super) fn exit_code(differs: bool, of_fold: u8, has_rejects: bool) -> ExitCode {
    match (differs, of_fold, has_rejects) {
        (true, ..) => ExitCode::from(DIFFERENT),
        (_, 1.., _) => ExitCode::from(of_fold),
        (_, _, true) => ExitCode::from(WITH_REJECTS),
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use medlift::ledger::{Held, Lease, Owner};
    use medlift::server::{Failure, ServerError, SignIn, Unreachable};
    use medlift::verify::VerifyError;
    use medlift::write::WriteError;

    use super::*;

    #[test]
    fn a_difference_comes_before_rejects() {
        let found = [(false, false), (false, true), (true, false), (true, true)]
            .map(|(differs, has_rejects)| exit_code(differs, 0, has_rejects));
        assert_eq!(found, [0, 4, 5, 5].map(ExitCode::from));
        let to_repeat = [(false, false), (false, true), (true, true)]
            .map(|(differs, has_rejects)| exit_code(differs, 6, has_rejects));
        assert_eq!(to_repeat, [6, 6, 5].map(ExitCode::from));
    }

    fn held() -> Box<Held> {
        let lease = Lease { owner: Owner::this_process(), fence: 1, since_ms: 0, until_ms: 0 };
        Box::new(Held { lease, left: Duration::ZERO })
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let text = || "x".to_owned();
        let check = |error: Error, code: u8| assert_eq!(error.exit_code(), code, "{error:?}");
        let unfinished = |cause| Error::Unfinished { cause: Box::new(cause), written: 1, settled: 2, afterwards: "x" };
        let output = |kind: std::io::ErrorKind| Error::Output { path: text(), hint: "", error: kind.into() };
        check(medlift::spec::Spec::from_toml("", "x").expect_err("no spec").into(), 2);
        check(Error::Usage(text()), 2);
        check(Error::OtherIdentity { collection: text(), stored: text() }, 2);
        for error in [Error::Held(held()), Error::Busy(held()), Error::NoLongerEmpty, Error::TakenOver] {
            check(unfinished(error), 6);
        }
        for error in [Error::Held(held()), Error::Busy(held()), Error::NoLongerEmpty, Error::TakenOver] {
            check(error, 6);
        }
        for (failure, code, of_load) in [
            (Failure::Unreachable(Unreachable::Lost), 3, 6),
            (Failure::SignIn(SignIn::Refused), 3, 3),
            (Failure::NotAuthorized { command: None }, 1, 1),
            (Failure::Timeout, 1, 6),
        ] {
            check(Error::Server(ServerError::Command { doing: text(), failure: failure.clone() }), code);
            check(Error::Write(WriteError::Server(failure.clone())), code);
            check(Error::Ledger { doing: "read", failure: failure.clone() }, code);
            check(unfinished(Error::Ledger { doing: "write", failure }), of_load);
        }
        check(Error::Server(ServerError::SetTwice { name: text() }), 2);
        check(Error::Server(ServerError::Connect { address: text(), failure: Failure::Timeout }), 3);
        check(Error::Write(WriteError::Seen(std::io::ErrorKind::StorageFull.into())), 1);
        check(Error::Verify(VerifyError::Stopped), 1);
        check(Error::RejectFile { path: text(), problem: text() }, 1);
        check(output(std::io::ErrorKind::StorageFull), 1);
        check(Error::Rejects { problem: text(), hint: text() }, 1);
        check(Error::Interrupted, 1);
        check(unfinished(Error::Interrupted), 1);
        check(Error::OfWorker(Box::new(unfinished(Error::Interrupted))), 6);
        check(Error::NotConserved { read: 2, accounted: 1 }, 1);
        check(Error::Stopped(text()), 1);
    }
}
