//! Writes the output for people: reject file, progress, tables for the terminal, and JSON.
//!
//! Only two outputs of this module can contain patients' values. The reject file contains them; only the owner of the
//! file can read and write it (mode 0600). A verification shows values if the user gives `--show-values`.

mod bar;
mod line;
mod progress;
pub mod rejects;
pub mod runs;
mod source_note;
pub mod summary;
mod terminal;
pub mod times;
mod verification;
pub mod work;

pub use bar::Bar;
pub use progress::{Phase, PhaseTime, Progress};
pub use terminal::{remove_line, tell_as_it_is, width};
