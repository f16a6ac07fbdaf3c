//! Starts servers for tests, benchmarks and developer commands: a real mongod, and moto, which answers like S3.
//!
//! This crate does not depend on Medlift. It must stay small, because every test binary links it.

mod error;
pub mod json;
pub mod mongod;
pub mod pypi;
pub mod s3;
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

/// The directory of build products. Developer commands also put their downloads and other files here.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Returns the first file with this name in the directories of PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

/// Returns a command that runs cargo: the cargo that started this program, or else the one on PATH.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Removes the variables in which `cargo run` and `cargo test` describe a package. Some build scripts depend on
    // these variables: with other values, cargo would compile crates again that are already compiled.
    let of_package = |name: &String| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(of_package).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Runs `run` with the arguments of the command line. If it fails, prints the error and returns a failure.
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
