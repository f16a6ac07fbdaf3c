//! The files of a release: archive, Debian package, Python wheel, list of dependencies, checksums.

mod archive;
mod compile;
mod deb;
mod stage;
mod versions;
mod wheel;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Doing, Error, Result, root, target_dir};

/// The version of all packages of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHECKSUMS: &str = "SHA256SUMS";
/// A shell command that prints the program's version, then makes a dry run with the rows on standard input. `$0` is the
/// program. It runs with an empty environment, so that the developer's settings have no effect.
const TRIAL: &str = "env -i \"$0\" --version && env -i \"$0\" load --dry-run -";
const SAMPLE: &str = "data/sample.csv";
/// The first line of a dry run's result.
const DRY_RUN: &str = "dry run, nothing was written";
/// The endings of the file names of a release. A complete release has a file with each ending.
const ENDS: [&str; 4] = [".tar.gz", ".deb", ".whl", ".cdx.json"];
const USAGE: &str = "usage: cargo xtask release [--dry-run]
makes and checks the files of a release in target/dist; nothing is published
  --dry-run  also if CHANGELOG.md has no section of this version, if changes are not committed, or if this machine
             cannot make all files";

/// Makes the files of a release and checks them. The program in each archive and package is run once.
pub fn run(arguments: &[&str]) -> Result<()> {
    let changelog = root().join("CHANGELOG.md");
    let changelog = fs::read_to_string(&changelog).doing(|| format!("reading {}", changelog.display()))?;
    let ready = versions::check_ready(&changelog);
    match arguments {
        [] => ready.and_then(|()| make()).and_then(|files| check_complete(&files)),
        ["--dry-run"] => {
            make()?;
            if let Err(error) = ready {
                println!("without --dry-run, this command would fail: {error}");
            }
            Ok(())
        }
        _ => Err(Error::failed(USAGE)),
    }
}

/// Makes and checks the files. Returns their names.
fn make() -> Result<Vec<String>> {
    let dist = target_dir().join("dist");
    make_empty(&dist)?;
    let maturin = wheel::maturin();
    let stage = stage::build(&dist.join("stage"), |program| compile::make(program, &dist, maturin.as_deref()))?;
    archive::make(&stage, &dist)?;
    deb::make(&stage, &dist)?;
    if maturin.is_some() {
        wheel::check(&dist)?;
    }
    fs::remove_dir_all(&stage.dir).doing(|| format!("removing {}", stage.dir.display()))?;
    let files = files(&dist)?;
    sum(&dist, &files)?;
    check_sums(&dist)?;
    println!("made in {}:", dist.display());
    for file in files.iter().map(String::as_str).chain([CHECKSUMS]) {
        println!("  {file}");
    }
    Ok(files)
}

/// Fails if a file of a release is missing.
fn check_complete(files: &[String]) -> Result<()> {
    let missing: Vec<_> = ENDS.into_iter().filter(|end| !files.iter().any(|file| file.ends_with(end))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::failed(format!("the release is not complete: no file ends in {}", missing.join(" or "))))
}

fn make_empty(dir: &Path) -> Result<()> {
    let doing = || format!("emptying {}", dir.display());
    if dir.exists() {
        fs::remove_dir_all(dir).doing(doing)?;
    }
    fs::create_dir_all(dir).doing(doing)
}

/// The names of the files in a directory, sorted.
fn files(dir: &Path) -> Result<Vec<String>> {
    let doing = || format!("listing {}", dir.display());
    let entries: Vec<PathBuf> =
        fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()).doing(doing)?;
    let names = entries.iter().filter(|path| path.is_file()).filter_map(|path| path.file_name()?.to_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// Writes the SHA-256 of each file in the format that `sha256sum --check` reads.
fn sum(dist: &Path, files: &[String]) -> Result<()> {
    let sums = output(Command::new("sha256sum").args(files).current_dir(dist), "computing checksums")?;
    fs::write(dist.join(CHECKSUMS), sums).doing(|| format!("writing {CHECKSUMS}"))
}

fn check_sums(dist: &Path) -> Result<()> {
    let mut check = Command::new("sha256sum");
    output(check.args(["--check", "--strict", CHECKSUMS]).current_dir(dist), "checking the checksums").map(drop)
}

/// Returns a command that runs [`TRIAL`] with this program.
fn trial(program: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", TRIAL]).arg(program);
    // The program reads a file `.env` in the working directory. So it runs in its own directory, which has no such
    // file.
    shell.current_dir(program.parent().unwrap_or(program));
    shell
}

/// Fails if the program does not have the version of the release, or if it cannot clean the sample. `trial` is a
/// command that runs [`TRIAL`].
fn check_program(trial: &mut Command, what: &str) -> Result<()> {
    let sample = root().join(SAMPLE);
    let sample = File::open(&sample).doing(|| format!("opening {}", sample.display()))?;
    let said = output(trial.stdin(sample), &format!("running the program of {what}"))?;
    let mut lines = said.lines();
    let name_and_version = lines.next().unwrap_or_default();
    versions::check(name_and_version.strip_prefix("medlift ").unwrap_or_default(), &format!("the program of {what}"))?;
    if !lines.any(|line| line == DRY_RUN) {
        return Err(Error::failed(format!("the program of {what} did not clean {SAMPLE}; it printed:\n{said}")));
    }
    println!("    {what}: {name_and_version}, dry run of {SAMPLE}");
    Ok(())
}

/// Runs a command and returns its standard output.
fn output(command: &mut Command, doing: &str) -> Result<String> {
    let output = command.output().doing(|| doing.to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::failed(format!("{doing}: {}\n{}", output.status, said.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_all_files() {
        let files = ["a.tar.gz", "a.deb", "a.whl", "a.cdx.json"].map(str::to_owned);
        assert!(check_complete(&files).is_ok());
        let error = check_complete(&files[..2]).expect_err("incomplete").to_string();
        assert!(error.contains(".whl or .cdx.json"), "{error}");
    }

    #[test]
    fn a_program_must_have_the_version_and_clean_the_sample() {
        let dir = tempfile::tempdir().expect("a directory");
        let stage = stage::tests::example(dir.path());
        let check = |text: String| {
            fs::write(stage.program(), text).expect("writes");
            check_program(&mut trial(&stage.program()), "the test").is_ok()
        };
        assert!(check(format!("#!/bin/sh\necho medlift {VERSION}\necho {DRY_RUN}\n")));
        assert!(!check(format!("#!/bin/sh\necho medlift 9.9.9\necho {DRY_RUN}\n")));
        assert!(!check(format!("#!/bin/sh\necho medlift {VERSION}\n")));
        assert!(!check(format!("#!/bin/sh\necho medlift {VERSION}\necho {DRY_RUN}\nexit 4\n")));
    }

    #[test]
    fn checksums_can_be_checked() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("b"), "2").expect("writes");
        fs::write(dir.path().join("a"), "1").expect("writes");
        let names = files(dir.path()).expect("lists");
        assert_eq!(names, ["a", "b"]);
        sum(dir.path(), &names).expect("sums");
        assert!(check_sums(dir.path()).is_ok());
        fs::write(dir.path().join("b"), "3").expect("writes");
        assert!(check_sums(dir.path()).is_err());
    }
}
