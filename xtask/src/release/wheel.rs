//! The Python wheel: `pip install` of this file installs the program. The wheel also contains a `CycloneDX` SBOM, which
//! lists all packages that the program consists of. maturin makes this list.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{VERSION, check_program, files, output, trial, versions};
use crate::left_out;
use crate::tree;
use testkit::pypi::Wheel;
use testkit::{Doing, Error, Result, on_path};

const MATURIN: Wheel = Wheel {
    requirement: "maturin==1.16.0",
    sha256: "837db2f4d93d4899c3ac393fb3cc9eebf35b6002336e5d574f4a4fb6c49fe283",
    program: "maturin",
    version: "1.16.0",
};

/// Returns the path of maturin, which makes the wheel. If maturin cannot be installed and is not on PATH, prints a
/// warning and returns `None`.
pub(super) fn maturin() -> Option<PathBuf> {
    let found = MATURIN.program().or_else(|error| on_path(MATURIN.program).ok_or(error));
    found
        .map_err(|error| left_out::report(&format!("the wheel and the SBOM; maturin cannot be installed: {error}")))
        .ok()
}

/// Installs the wheel in a clean virtual environment and runs the program. Checks the wheel's list of packages (SBOM)
/// and copies it to `medlift-VERSION.cdx.json`.
pub(super) fn check(dist: &Path) -> Result<()> {
    println!("==> wheel");
    let wheel = files(dist)?.into_iter().find(|name| Path::new(name).extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.ok_or_else(|| Error::failed("maturin made no wheel"))?;
    install(dist, &wheel)?;
    check_content(dist, &wheel)
}

fn install(dist: &Path, wheel: &str) -> Result<()> {
    let clean = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    output(
        Command::new("python3").args(["-m", "venv"]).arg(clean.path()),
        "making a virtual environment (Debian: python3-venv)",
    )?;
    let mut install = Command::new(clean.path().join("bin/python"));
    install
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"])
        .arg(dist.join(wheel));
    output(&mut install, "installing the wheel")?;
    check_program(&mut trial(&clean.path().join("bin/medlift")), &format!("{wheel}, installed with pip"))
}

fn check_content(dist: &Path, wheel: &str) -> Result<()> {
    let scratch = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "--extract", wheel]).arg(scratch.path()).current_dir(dist);
    output(&mut unpack, "unpacking the wheel")?;
    let info = scratch.path().join(format!("medlift-{VERSION}.dist-info"));
    versions::check(versions::field(&read(&info.join("METADATA"))?, "Version"), wheel)?;
    let sbom = info.join("sboms/medlift.cyclonedx.json");
    versions::check_sbom(&read(&sbom)?, &sbom)?;
    tree::copy(&sbom, &dist.join(format!("medlift-{VERSION}.cdx.json")))
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).doing(|| format!("reading {}", path.display()))
}
