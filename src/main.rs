//! The command line: what was typed is parsed, run, and its end told by an exit code.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            cli::tell(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
