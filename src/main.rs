//! The command line program: runs the command, reports an error, and returns the exit code.

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
