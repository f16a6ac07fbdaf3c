//! Compiles the program with `cargo install`, and makes the wheel from the same program.
//!
//! If a container engine answers and has the base image, the program is compiled in the image in which `Dockerfile`
//! compiles it. In `cargo xtask test`, the step "containers" has already built this image, so the program is not
//! compiled a second time. Without an engine, the program is compiled outside a container, on this machine.

use std::path::Path;
use std::process::Command;

use super::output;
use crate::compose_test::{docker, engine};
use crate::tree;
use testkit::{Doing, Result, root, target_dir};

/// The stage of `Dockerfile` that compiles the program, and the working directory of this stage.
const STAGE: &str = "build";
const SOURCE: &str = "/src";
const INSTALL: &str = "install --locked --path . --no-track";
/// Makes a wheel from the program that cargo has compiled. `--strip false`: the debug information is already removed.
/// If maturin removed it, maturin would compile the program again.
const WHEEL: &str = "build --release --locked --strip false";
/// Files that the wheel needs and the image does not contain.
const FILES_OF_WHEEL: [&str; 3] = ["pyproject.toml", "README.md", "LICENSE"];

/// Compiles the program and writes it to the file `program`. If `maturin` is given, also makes the wheel in `dist`.
pub(super) fn make(program: &Path, dist: &Path, maturin: Option<&Path>) -> Result<()> {
    println!("==> build the program");
    let image = engine::first_base(&root().join("Dockerfile"))?;
    match engine::obstacle(&image) {
        None => in_container(program, dist, maturin),
        Some(missing) => {
            println!("    on this machine, because {missing}");
            on_this_machine(program, dist, maturin)
        }
    }
}

fn on_this_machine(program: &Path, dist: &Path, maturin: Option<&Path>) -> Result<()> {
    let installed = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    let mut install = testkit::cargo();
    install.args(INSTALL.split(' ')).arg("--root").arg(installed.path()).arg("--target-dir").arg(target_dir());
    output(install.current_dir(root()), "compiling and installing the program")?;
    tree::copy(&installed.path().join("bin/medlift"), program)?;
    strip(program)?;
    let Some(maturin) = maturin else { return Ok(()) };
    // maturin packs the program in the target directory, so this file must also be without debug information. cargo
    // stores this file under two names; `strip` changes it for both.
    strip(&target_dir().join("release/medlift"))?;
    let mut build = Command::new(maturin);
    build.args(WHEEL.split(' ')).arg("--out").arg(dist).env("CARGO_TARGET_DIR", target_dir()).current_dir(root());
    output(&mut build, "making the wheel").map(drop)
}

fn strip(program: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    output(strip.arg("--strip-debug").arg(program), "removing debug information (Debian: binutils)").map(drop)
}

fn in_container(program: &Path, dist: &Path, maturin: Option<&Path>) -> Result<()> {
    let copy = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    tree::copy_to(copy.path())?;
    let image = docker(&["build", "--quiet", "--target", STAGE, &copy.path().display().to_string()])?;
    let container = Container::create(image.trim(), &script(maturin.is_some()))?;
    for file in FILES_OF_WHEEL {
        container.copy_in(&root().join(file), SOURCE)?;
    }
    if let Some(maturin) = maturin {
        container.copy_in(maturin, "/usr/local/bin/maturin")?;
    }
    docker(&["start", "--attach", &container.id])?;
    container.copy_out("/out/bin/medlift", program)?;
    if maturin.is_some() { container.copy_out("/out/wheel/.", dist) } else { Ok(()) }
}

/// Returns the commands that run in the container. They need no `strip`, because the image contains the program without
/// debug information.
fn script(with_wheel: bool) -> String {
    let install = format!("cargo {INSTALL} --root /out --target-dir target");
    if with_wheel { format!("{install} && maturin {WHEEL} --out /out/wheel") } else { install }
}

/// A container. It is removed when this value is dropped.
struct Container {
    id: String,
}

impl Container {
    /// Creates a container that will run `script`.
    fn create(image: &str, script: &str) -> Result<Self> {
        let id = docker(&["create", "--workdir", SOURCE, image, "sh", "-c", script])?;
        Ok(Self { id: id.trim().to_owned() })
    }

    fn copy_in(&self, from: &Path, to: &str) -> Result<()> {
        docker(&["cp", &from.display().to_string(), &format!("{}:{to}", self.id)]).map(drop)
    }

    fn copy_out(&self, from: &str, to: &Path) -> Result<()> {
        docker(&["cp", &format!("{}:{from}", self.id), &to.display().to_string()]).map(drop)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Err(error) = docker(&["rm", "--force", &self.id]) {
            eprintln!("WARNING: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_dockerfile_compiles_in_this_stage_and_directory() {
        let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("reads");
        let stage = dockerfile.split("FROM ").find(|stage| stage.contains(&format!(" AS {STAGE}\n"))).expect("a stage");
        assert!(stage.contains(&format!("WORKDIR {SOURCE}\n")) && stage.contains("strip --strip-debug"), "{stage}");
    }

    #[test]
    fn the_wheel_is_made_from_the_program_that_was_installed() {
        assert!(!script(false).contains("maturin"));
        let both = script(true);
        let (install, wheel) = both.split_once(" && ").expect("two commands");
        assert!(install.starts_with("cargo install --locked --path ."), "{install}");
        // Without `--strip false`, maturin compiles the program a second time.
        assert!(wheel.starts_with("maturin build") && wheel.contains("--strip false"), "{wheel}");
    }
}
