//! The Python wheel: `pip install` of this file installs the program. The wheel also contains a `CycloneDX` SBOM, which
//! lists all packages that the program consists of. maturin makes this list.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{VERSION, check_program, files, output};
use crate::left_out;
use testkit::pypi::Wheel;
use testkit::{Doing, Error, Result, on_path, root, target_dir};

const MATURIN: Wheel = Wheel {
    requirement: "maturin==1.16.0",
    sha256: "837db2f4d93d4899c3ac393fb3cc9eebf35b6002336e5d574f4a4fb6c49fe283",
    program: "maturin",
    version: "1.16.0",
};

/// Makes the wheel with maturin, and installs it in a clean virtual environment. The name of the wheel says with which
/// Linux distributions it works. Copies the list of packages to `medlift-VERSION.cdx.json`.
pub(super) fn make(dist: &Path) -> Result<()> {
    println!("==> wheel");
    let maturin = match on_path(MATURIN.program).map_or_else(|| MATURIN.program(), Ok) {
        Ok(maturin) => maturin,
        Err(error) => {
            left_out::report(&format!("the wheel and the SBOM; maturin cannot be installed: {error}"));
            return Ok(());
        }
    };
    let mut build = Command::new(maturin);
    build.args(["build", "--release", "--locked", "--out"]).arg(dist);
    // The same target directory as the program's, so that the dependencies are not compiled again.
    build.env("CARGO_TARGET_DIR", target_dir()).current_dir(root());
    output(&mut build, "making the wheel")?;
    let wheel = files(dist)?.into_iter().find(|name| Path::new(name).extension().is_some_and(|end| end == "whl"));
    let wheel = wheel.ok_or_else(|| Error::failed("maturin made no wheel"))?;
    check(dist, &wheel)?;
    copy_sbom(dist, &wheel)
}

fn check(dist: &Path, wheel: &str) -> Result<()> {
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
    check_program(&mut Command::new(clean.path().join("bin/medlift")), &format!("{wheel}, installed with pip"))
}

fn copy_sbom(dist: &Path, wheel: &str) -> Result<()> {
    let scratch = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "--extract", wheel]).arg(scratch.path()).current_dir(dist);
    output(&mut unpack, "unpacking the wheel")?;
    let sbom = scratch.path().join(format!("medlift-{VERSION}.dist-info/sboms/medlift.cyclonedx.json"));
    fs::copy(&sbom, dist.join(format!("medlift-{VERSION}.cdx.json")))
        .doing(|| format!("copying {}", sbom.display()))?;
    Ok(())
}
