//! The Debian package. `dpkg-deb` makes it from a directory with the files and a short description. The program needs
//! only libc, so a packaging tool would add nothing.

use std::env::consts::ARCH;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::stage::{COMPLETIONS, MANUAL_PAGE, Stage};
use super::{TRIAL, VERSION, check_program, output, versions};
use crate::compose_test::engine;
use crate::left_out;
use testkit::{Doing, Error, Result, on_path};

const BASE_IMAGE: &str = "debian:bookworm-slim";
/// Debian's text for a package whose files all have one licence: `/usr/share/doc/PACKAGE/copyright`.
const COPYRIGHT: &str = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: medlift

Files: *
Copyright: the contributors of Medlift
License: Apache-2.0
 On Debian systems, the text of this licence is in /usr/share/common-licenses/Apache-2.0.
";

/// Makes `medlift_VERSION_ARCHITECTURE.deb`, and installs it in a container that has only Debian.
pub(super) fn make(stage: &Stage, dist: &Path) -> Result<()> {
    println!("==> Debian package");
    if on_path("dpkg-deb").is_none() {
        left_out::report("the Debian package; dpkg-deb is not installed on this machine");
        return Ok(());
    }
    let name = format!("medlift_{VERSION}_{}.deb", architecture(ARCH)?);
    let package = dist.join(&name);
    pack(stage, &package)?;
    versions::check(&field(&package, "Version")?, &name)?;
    check(dist, &name)
}

fn pack(stage: &Stage, package: &Path) -> Result<()> {
    let tree = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    lay_out(stage, tree.path())?;
    let mut build = Command::new("dpkg-deb");
    build.args(["--build", "--root-owner-group"]).arg(tree.path()).arg(package);
    output(&mut build, "making the Debian package").map(drop)
}

/// Writes the package's files and its description below `tree`.
fn lay_out(stage: &Stage, tree: &Path) -> Result<()> {
    let usr = tree.join("usr");
    output(Command::new("cp").arg("-a").arg(&stage.dir).arg(&usr), "copying the files")?;
    let doing = || format!("writing to {}", tree.display());
    let documents = usr.join("share/doc/medlift");
    fs::remove_file(documents.join("LICENSE")).doing(doing)?;
    fs::write(documents.join("copyright"), COPYRIGHT).doing(doing)?;
    output(
        Command::new("sh").args(["-c", "gzip -9n usr/share/man/man1/*.1"]).current_dir(tree),
        "packing manual pages",
    )?;
    // The files must have the same modes on every machine: dpkg-deb copies them into the package.
    output(Command::new("chmod").args(["-R", "u=rwX,go=rX"]).arg(tree), "setting the modes of the files")?;
    let program = fs::read(stage.program()).doing(|| "reading the program".to_owned())?;
    fs::create_dir(tree.join("DEBIAN")).doing(doing)?;
    fs::write(tree.join("DEBIAN/control"), control(architecture(ARCH)?, &glibc(&program)?)).doing(doing)
}

fn control(architecture: &str, glibc: &str) -> String {
    format!(
        "Package: medlift
Version: {VERSION}
Architecture: {architecture}
Maintainer: the contributors of Medlift <medlift@localhost>
Depends: libc6 (>= {glibc}), libgcc-s1, ca-certificates
Section: database
Priority: optional
Description: moves a hospital's data into MongoDB
 Medlift reads, cleans, types and deduplicates the rows of a table, writes them to
 MongoDB, and compares every stored document with the source.
"
    )
}

/// Returns the value of a field of the package, for example `Version`.
fn field(package: &Path, name: &str) -> Result<String> {
    output(Command::new("dpkg-deb").arg("--field").arg(package).arg(name), "reading the Debian package")
}

/// Debian's name of an architecture.
fn architecture(rust: &str) -> Result<&'static str> {
    match rust {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => Err(Error::failed(format!("there is no Debian package for the architecture {other}"))),
    }
}

/// Returns the oldest glibc with which the program runs. The program's symbol table names the versions that it needs,
/// for example `GLIBC_2.34`.
fn glibc(program: &[u8]) -> Result<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let starts = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let minors = starts.filter_map(|(start, _)| {
        let digits = program[start + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        String::from_utf8(digits.copied().collect()).ok()?.parse::<u32>().ok()
    });
    let newest = minors.max().ok_or_else(|| Error::failed("the program names no version of glibc"))?;
    Ok(format!("2.{newest}"))
}

fn check(dist: &Path, name: &str) -> Result<()> {
    if let Some(missing) = engine::obstacle(BASE_IMAGE) {
        left_out::report(&format!("the Debian package in a clean container; {missing}"));
        return Ok(());
    }
    let mut run = Command::new("docker");
    run.args(["run", "--rm", "--interactive", "--network", "none"]);
    run.args(["--volume", &format!("{}:/dist:ro", dist.display()), BASE_IMAGE]);
    run.args(["sh", "-c", &installation(name), "/usr/bin/medlift"]);
    check_program(&mut run, "the Debian package in a container, with manual pages and completions")
}

/// Returns the commands that install the package, look for its manual page and completions, and run [`TRIAL`].
///
/// The container has no network, so it cannot install the dependency `ca-certificates`. With `--force-depends`, dpkg
/// installs the package without it. In Debian's container images, dpkg does not install manual pages. `--path-include`
/// changes that.
fn installation(name: &str) -> String {
    let completions = COMPLETIONS.map(|(_, path)| format!("/usr/{path}")).join(" ");
    format!(
        "dpkg --path-include='/usr/share/*' --force-depends --install /dist/{name} >&2 \
         && ls /usr/{MANUAL_PAGE}.gz {completions} >&2 && {TRIAL}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_has_program_manual_page_completions_and_licence() {
        if on_path("dpkg-deb").is_none() {
            eprintln!("skipped: dpkg-deb is not installed");
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let stage = crate::release::stage::tests::example(&dir.path().join("stage"));
        let package = dir.path().join("medlift.deb");
        pack(&stage, &package).expect("packs");
        let listed = output(Command::new("dpkg-deb").arg("--contents").arg(&package), "listing").expect("lists");
        for line in [
            "-rwxr-xr-x root/root",
            "./usr/bin/medlift",
            "./usr/share/man/man1/medlift.1.gz",
            "./usr/share/bash-completion/completions/medlift",
            "./usr/share/doc/medlift/copyright",
        ] {
            assert!(listed.contains(line), "{line} is not in\n{listed}");
        }
        assert!(field(&package, "Depends").expect("reads").contains("libc6 (>= 2.17)"));
        assert!(versions::check(&field(&package, "Version").expect("reads"), "the package").is_ok());
    }

    #[test]
    fn the_newest_glibc_that_the_program_needs_is_found() {
        assert_eq!(glibc(b"..GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.18\0GLIBC_PRIVATE").expect("found"), "2.34");
        assert!(glibc(b"nothing").is_err());
    }

    #[test]
    fn the_description_names_version_and_architecture() {
        let text = control(architecture("aarch64").expect("known"), "2.34");
        for part in [&format!("\nVersion: {VERSION}\n"), "\nArchitecture: arm64\n", "libc6 (>= 2.34)"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(architecture("mips").is_err());
    }
}
