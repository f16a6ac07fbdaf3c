//! The real mongod that tests, benchmarks and developer commands run against.
//!
//! This crate knows no row, record or document of Medlift. Every test binary links it, so it stays small.

mod error;
pub mod mongod;
pub mod pypi;
pub mod watchdog;
pub mod wire;

pub use error::{Doing, Error, Result};

use std::path::{Path, PathBuf};

/// The repository's root, which has the workspace's manifest.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The directory of build products. Whatever a developer command downloads or keeps is there too.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}
