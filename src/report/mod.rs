//! What a person reads: the reject file, progress, tables for the terminal, JSON.
//!
//! Only the reject file holds values of patients; it is for its owner alone (mode 0600).

mod progress;
pub mod rejects;
pub mod summary;
mod verification;

pub use progress::{Bar, Progress};
