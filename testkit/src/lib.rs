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

use std::path::{Path, PathBuf};

/// The root directory of the repository. It contains the workspace's manifest.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The directory of build products. Developer commands also keep their downloads and other files here.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}
