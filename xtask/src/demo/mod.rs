//! The demonstration: starts a private mongod and shows Medlift's commands on a synthetic sample.

mod server;
mod tour;

use std::path::{Path, PathBuf};

use testkit::{Doing, Error, Result, on_path, root, target_dir};

/// The database of the sample. It is not the default database, so files that the user loads there do not change the
/// next demonstration.
const DATABASE: &str = "demo";
/// Medlift's default database.
const DATABASE_OF_USER: &str = "hospital";
/// MongoDB's shell.
const SHELL: &str = "mongosh";

/// Builds Medlift, starts or reuses the demonstration's server, and shows what Medlift does with a sample.
pub fn run() -> Result<()> {
    let medlift = build()?;
    let server = server::start_or_reuse(&dir())?;
    tour::run(&medlift, &dir(), &server.uri(DATABASE), &mut server.connect()?)?;
    println!("\nThe server keeps running. Only this machine can connect to it, and it has only synthetic data.");
    let (medlift, uri) = (program(&medlift), server.uri(DATABASE));
    if on_path(SHELL).is_some() {
        println!("  query the data   {SHELL} \"{uri}\"");
    } else {
        println!("  show documents   {medlift} export --type json --uri \"{uri}\"");
    }
    println!("  load your file   {} load FILE --uri \"{}\"", medlift, server.uri(DATABASE_OF_USER));
    println!("  stop the server  cargo xtask demo --stop");
    Ok(())
}

/// Stops the demonstration's server if it runs, and removes all files of the demonstration.
pub fn stop() -> Result<()> {
    server::stop_in(&dir())
}

fn dir() -> PathBuf {
    target_dir().join("demo")
}

/// The program as a user types it in the root of the repository.
fn program(medlift: &Path) -> String {
    medlift.strip_prefix(root()).unwrap_or(medlift).display().to_string()
}

/// Builds the program in release mode.
pub(crate) fn build() -> Result<PathBuf> {
    build_as("release")
}

/// Builds the program with this profile of cargo, and returns its path. Does not build tests and their dependencies.
pub(crate) fn build_as(profile: &str) -> Result<PathBuf> {
    let mut cargo = testkit::cargo();
    cargo.args(["build", "--profile", profile, "--locked", "--package", "medlift", "--bin", "medlift"]);
    cargo.current_dir(root());
    println!("$ cargo build --profile {profile}");
    let status = cargo.status().doing(|| "running cargo".to_owned())?;
    if !status.success() {
        return Err(Error::failed(format!("building medlift failed: {status}")));
    }
    let dir = if profile == "dev" { "debug" } else { profile };
    Ok(target_dir().join(dir).join("medlift"))
}
