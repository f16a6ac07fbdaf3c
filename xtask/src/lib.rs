//! Developer commands, and the real mongod that tests and benchmarks run against.
//!
//! This crate knows no row, record or document of Medlift: it starts servers, runs tools and reads source text. It stays
//! light, because every test binary links it and every `cargo xtask` builds it.

pub mod bench;
pub mod ci;
pub mod compose_test;
pub mod demo;
pub mod deny;
mod error;
pub mod mongod;
pub mod mutants;
mod pypi;
pub mod sbom;
pub mod tidy;
mod tree;
mod watchdog;
pub mod wire;

pub use error::{Error, Result};

use std::path::{Path, PathBuf};

/// The repository's root, where the workspace manifest stands.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where build products go, and with them everything a developer command fetches or leaves running.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}
