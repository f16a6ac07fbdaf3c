//! Finds a container engine, Docker Compose and the base images.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::stack::{ComposeProgram, compose_program, succeeds};
use testkit::{Doing, Error, Result, root};

const NO_ENGINE: &str = "no container engine answers on this machine";

/// The program and the image that the test of the containers needs.
pub(super) struct Engine {
    /// The command line that starts Docker Compose.
    pub(super) compose: ComposeProgram,
    /// The image of the database.
    pub(super) mongo_image: String,
}

/// Looks for everything that the test needs. The inner error says what is missing.
pub(super) fn find() -> Result<std::result::Result<Engine, String>> {
    let named = env::var("MONGO_IMAGE").ok();
    let neighbour = root().join("../shared/docker/engine");
    let mongo_image = if neighbour.is_file() {
        // Some machines cannot download images. On such a machine, a script beside the repository starts an engine that
        // has its own images.
        let status = Command::new(&neighbour).status().doing(|| "starting a container engine".to_owned())?;
        if !status.success() {
            return Ok(Err(format!("{} could not start a container engine", neighbour.display())));
        }
        named.unwrap_or_else(|| "mongo:6.0".to_owned())
    } else {
        named.unwrap_or_else(|| "mongo:8.0".to_owned())
    };
    if !answers() {
        return Ok(Err(NO_ENGINE.to_owned()));
    }
    let Some(compose) = compose_program() else {
        return Ok(Err("Docker Compose is not installed".to_owned()));
    };
    let missing: Vec<String> = base_images(&mongo_image)?.into_iter().filter(|image| !is_available(image)).collect();
    if missing.is_empty() {
        return Ok(Ok(Engine { compose, mongo_image }));
    }
    Ok(Err(no_images(&missing.join(", "))))
}

/// Returns what is missing to run a container from this image, or `None` if it can run. Starts no engine.
pub(crate) fn obstacle(image: &str) -> Option<String> {
    if !answers() {
        return Some(NO_ENGINE.to_owned());
    }
    (!is_available(image)).then(|| no_images(image))
}

fn answers() -> bool {
    succeeds(Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]))
}

fn no_images(names: &str) -> String {
    format!("the container engine has no image {names}, and cannot download it from an image registry")
}

/// Returns true if the engine has the image or can download it.
fn is_available(image: &str) -> bool {
    succeeds(Command::new("docker").args(["image", "inspect", image]))
        || succeeds(Command::new("docker").args(["pull", "--quiet", image]))
}

/// The images from which the Dockerfiles start, and the image of the database.
fn base_images(mongo_image: &str) -> Result<BTreeSet<String>> {
    let mut images = BTreeSet::from([mongo_image.to_owned()]);
    for file in ["Dockerfile", "deploy/tests.Dockerfile"] {
        let text = fs::read_to_string(root().join(file)).doing(|| format!("reading {file}"))?;
        images.extend(bases(&text).map(str::to_owned));
    }
    Ok(images)
}

/// Returns the image of the first `FROM` in this Dockerfile.
pub(crate) fn first_base(dockerfile: &Path) -> Result<String> {
    let text = fs::read_to_string(dockerfile).doing(|| format!("reading {}", dockerfile.display()))?;
    let first = bases(&text).next().map(str::to_owned);
    first.ok_or_else(|| Error::failed(format!("{} names no image", dockerfile.display())))
}

/// The images that a Dockerfile names. An image whose name is in a variable is left out.
fn bases(dockerfile: &str) -> impl Iterator<Item = &str> {
    let named = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")?.split_whitespace().next());
    named.filter(|image| !image.contains('$'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_images_are_those_of_the_dockerfiles() {
        let dockerfile =
            "ARG A=x\nFROM ${A} AS a\nFROM rust:1 AS build\nRUN b\nFROM debian:12\nCOPY --from=build / /\n";
        assert_eq!(bases(dockerfile).collect::<Vec<_>>(), ["rust:1", "debian:12"]);
        let images = base_images("mongo:8.0").expect("read");
        assert_eq!(images.len(), 3, "{images:?}");
        assert!(images.contains(&first_base(&root().join("Dockerfile")).expect("named")));
    }

    #[test]
    fn an_image_that_nobody_has_is_not_available() {
        assert!(!is_available("medlift.invalid/no-such-image:1"));
    }
}
