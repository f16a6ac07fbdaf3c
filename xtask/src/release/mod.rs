//! The files of a release: archive, Debian package, Python wheel, list of dependencies, checksums.

mod archive;
mod deb;
mod stage;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::{Doing, Error, Result, root, target_dir};

/// The version of all packages of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHECKSUMS: &str = "SHA256SUMS";
const USAGE: &str = "usage: cargo xtask release --dry-run
makes and checks the files of a release in target/dist; nothing is published";

/// Makes the files of a release, and checks that each of them contains a program that runs.
pub fn run(arguments: &[&str]) -> Result<()> {
    let ["--dry-run"] = arguments else {
        return Err(Error::failed(USAGE));
    };
    let changelog = root().join("CHANGELOG.md");
    let changelog = fs::read_to_string(&changelog).doing(|| format!("reading {}", changelog.display()))?;
    if !has_section(&changelog, VERSION) {
        eprintln!("WARNING: CHANGELOG.md has no section \"## {VERSION}\"; rename \"## Unreleased\" before the release");
    }
    let dist = target_dir().join("dist");
    make_empty(&dist)?;
    let stage = stage::build(&dist.join("stage"))?;
    archive::make(&stage, &dist)?;
    deb::make(&stage, &dist)?;
    wheel::make(&dist)?;
    fs::remove_dir_all(&stage.dir).doing(|| format!("removing {}", stage.dir.display()))?;
    let files = files(&dist)?;
    sum(&dist, &files)?;
    println!("made in {}:", dist.display());
    for file in files.iter().map(String::as_str).chain([CHECKSUMS]) {
        println!("  {file}");
    }
    Ok(())
}

/// Returns true if the changelog has a section for this version, for example `## 1.2.0` or `## 1.2.0 - 2026-12-01`.
fn has_section(changelog: &str, version: &str) -> bool {
    let titles = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    titles.filter_map(|title| title.split_whitespace().next()).any(|title| title == version)
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

/// Checks that the program runs and has the version of the release.
fn check_program(program: &mut Command, what: &str) -> Result<()> {
    let said = output(program.arg("--version"), &format!("running the program of {what}"))?;
    if said.trim() == format!("medlift {VERSION}") {
        println!("    {what}: {}", said.trim());
        return Ok(());
    }
    Err(Error::failed(format!("the program of {what} has another version than {VERSION}: {}", said.trim())))
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
    fn a_version_has_a_section_of_its_own() {
        let changelog = "# Changelog\n\n## Unreleased\n\n## 1.2.0 - 2026-12-01\n\n## 1.1.0\n";
        for (version, expected) in [("1.2.0", true), ("1.1.0", true), ("1.2", false), ("1.3.0", false)] {
            assert_eq!(has_section(changelog, version), expected, "{version}");
        }
    }

    #[test]
    fn checksums_can_be_checked() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("b"), "2").expect("writes");
        fs::write(dir.path().join("a"), "1").expect("writes");
        let names = files(dir.path()).expect("lists");
        assert_eq!(names, ["a", "b"]);
        sum(dir.path(), &names).expect("sums");
        let check =
            || output(Command::new("sha256sum").args(["--check", CHECKSUMS]).current_dir(dir.path()), "checking");
        assert!(check().is_ok());
        fs::write(dir.path().join("b"), "3").expect("writes");
        assert!(check().is_err());
    }
}
