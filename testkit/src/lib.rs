//! Starts a real mongod for tests, benchmarks and developer commands.
//!
//! This crate knows nothing about rows, records or documents of Medlift. Every test binary links it, so it must stay
//! small.

mod error;
pub mod mongod;
pub mod pypi;
pub mod watchdog;
pub mod wire;

pub use error::{Doing, Error, Result};

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The root directory of the repository. It contains the workspace's manifest.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The directory of build products. Developer commands also keep their downloads and other files here.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The first file with this name in the directories of PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// A call of the cargo that runs this program.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs a program with the arguments of the command line, and prints its error.
pub fn run_program(run: impl FnOnce(&[&str]) -> Result<()>) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
