//! Writes the output for people: reject file, progress, tables for the terminal, and JSON.
//!
//! Only the reject file contains patients' values. Only its owner can read and write it (mode 0600).

mod progress;
pub mod rejects;
pub mod summary;
mod verification;

pub use progress::{Bar, Progress};
