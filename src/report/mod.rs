//! Writes the output for people: reject file, progress, tables for the terminal, and JSON.
//!
//! Patients' values are written to the reject file, which only its owner can read and write (mode 0600). A verification
//! shows values only if the user gives `--show-values`. No other output of this module contains a patient's value.

mod progress;
pub mod rejects;
pub mod summary;
mod verification;

pub use progress::{Bar, Progress};
