//! Checks that cannot run on this machine, for example because it has no container engine. They do not count as
//! failures, but `cargo xtask test` lists them at its end.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use testkit::{Doing, Result};

/// The variable with the path of the file to which a step appends the checks that it left out.
pub(crate) const VARIABLE: &str = "MEDLIFT_LEFT_OUT";

/// Prints a warning that `what` was not checked. If `cargo xtask test` started this process, also adds `what` to the
/// list that `cargo xtask test` prints at its end.
pub(crate) fn report(what: &str) {
    eprintln!("WARNING: NOT checked: {what}");
    if let Some(path) = env::var_os(VARIABLE) {
        let line =
            OpenOptions::new().create(true).append(true).open(path).and_then(|mut file| writeln!(file, "{what}"));
        if let Err(error) = line {
            eprintln!("WARNING: this warning cannot be stored: {error}");
        }
    }
}

/// Returns the reports in this file.
pub(crate) fn read(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).doing(|| format!("reading {}", path.display()))?;
    Ok(text.lines().map(str::to_owned).collect())
}
