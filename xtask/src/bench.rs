//! Runs the benchmark. The benchmark is a crate of its own, so that other commands are built without it.

use testkit::{Doing, Error, Result, cargo, root};

/// Builds the benchmark and passes the arguments to it.
pub fn run(arguments: &[&str]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["run", "--quiet", "--locked", "--package", "benchmark", "--"]).args(arguments).current_dir(root());
    let status = cargo.status().doing(|| "running the benchmark".to_owned())?;
    if status.success() { Ok(()) } else { Err(Error::failed("the benchmark failed")) }
}
