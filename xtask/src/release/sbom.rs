//! The list of all packages in the program (a `CycloneDX` SBOM).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{VERSION, output};
use crate::left_out;
use testkit::{Doing, Result, on_path, root};

/// The file that cargo-cyclonedx writes beside Cargo.toml, without `.json`.
const FILE: &str = "medlift.cdx";

/// Makes `medlift-VERSION.cdx.json`, if cargo-cyclonedx is installed.
pub(super) fn make(dist: &Path) -> Result<()> {
    println!("==> SBOM");
    if on_path("cargo-cyclonedx").is_none() {
        left_out::report("the SBOM; install its tool with: cargo install --locked cargo-cyclonedx");
        return Ok(());
    }
    let mut list = Command::new("cargo-cyclonedx");
    list.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--no-build-deps"]).current_dir(root());
    output(list.args(["--override-filename", FILE]), "listing the dependencies")?;
    // cargo-cyclonedx writes one file for each package of the workspace.
    for package in ["benchmark", "testkit", "xtask"] {
        let extra = root().join(package).join(format!("{FILE}.json"));
        fs::remove_file(&extra).doing(|| format!("removing {}", extra.display()))?;
    }
    let made = root().join(format!("{FILE}.json"));
    let to = dist.join(format!("medlift-{VERSION}.cdx.json"));
    fs::copy(&made, &to)
        .and_then(|_| fs::remove_file(&made))
        .doing(|| format!("moving {} to {}", made.display(), to.display()))
}
