//! A stack of containers with its own project name. It runs in a copy of the repository, without the files that git
//! ignores.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::passwords::Passwords;
use crate::tree;
use testkit::{Doing, Error, Result, root};

const START_TIMEOUT: Duration = Duration::from_mins(5);
const POLL: Duration = Duration::from_millis(500);
/// The variable that turns `BuildKit` off. Every engine supports classic builds, but not every engine has `BuildKit`.
const CLASSIC_BUILD: (&str, &str) = ("DOCKER_BUILDKIT", "0");

/// The stack. Dropping it removes its containers and volumes.
#[derive(Debug)]
pub(super) struct Stack {
    dir: TempDir,
    project: String,
    image: String,
    mongo_image: String,
    compose: ComposeProgram,
}

/// The command line that starts Docker Compose.
pub(super) type ComposeProgram = &'static [&'static str];

impl Stack {
    /// Copies the files that git would clone, including uncommitted changes, and `real_file` if it exists.
    pub(super) fn copy_of_tree(compose: ComposeProgram, mongo_image: &str, real_file: &Path) -> Result<Self> {
        let dir = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
        tree::copy_to(dir.path())?;
        if let (true, Some(name)) = (real_file.is_file(), real_file.file_name()) {
            tree::copy(real_file, &dir.path().join("data").join(name))?;
        }
        let project = format!("{}{}", project_prefix(), std::process::id());
        Ok(Self { dir, image: "medlift:test".to_owned(), project, mongo_image: mongo_image.to_owned(), compose })
    }

    pub(super) fn image(&self) -> &str {
        &self.image
    }

    pub(super) fn mongo_image(&self) -> &str {
        &self.mongo_image
    }

    /// The path of a file in the copy of the tree.
    pub(super) fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A Docker Compose command for this stack. The engine chooses the port, so that several stacks can run at once.
    pub(super) fn compose_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.compose[0]);
        command.args(&self.compose[1..]).args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("COMPOSE_PROJECT_NAME", &self.project).env("MEDLIFT_IMAGE", &self.image);
        command.env("MONGO_IMAGE", &self.mongo_image).env("MONGO_PORT", "0");
        command.env("MLLP_PORT", "0").env("HTTP_PORT", "0");
        command.env(CLASSIC_BUILD.0, CLASSIC_BUILD.1).env("COMPOSE_DOCKER_CLI_BUILD", "0");
        command
    }

    /// Runs a Docker Compose command and returns its standard output.
    pub(super) fn compose(&self, arguments: &[&str]) -> Result<String> {
        outcome(&mut self.compose_command(arguments), &format!("docker compose {}", arguments.join(" ")))
    }

    /// The ids of all containers of the stack, including containers that have ended.
    pub(super) fn containers(&self) -> Result<Vec<String>> {
        let project = format!("label=com.docker.compose.project={}", self.project);
        Ok(docker(&["ps", "-aq", "--filter", &project])?.lines().map(str::to_owned).collect())
    }

    fn container(&self, service: &str) -> Result<String> {
        let found = self.compose(&["ps", "-q", service])?;
        let id = found.lines().next().map(str::to_owned);
        id.ok_or_else(|| Error::failed(format!("service {service} has no container")))
    }

    /// Waits for a service that does one job and ends. Its exit code must be 0.
    pub(super) fn wait_for(&self, service: &str) -> Result<()> {
        let container = self.container(service)?;
        let ended = || docker(&["inspect", "--format", "{{.State.Status}}", &container]).map(|s| s.trim() == "exited");
        wait_until(&format!("service {service} ends"), ended)?;
        let code = docker(&["inspect", "--format", "{{.State.ExitCode}}", &container])?;
        if code.trim() == "0" {
            Ok(())
        } else {
            Err(Error::failed(format!("service {service} ended with {}", code.trim())))
        }
    }

    /// Waits until a service's health check passes.
    pub(super) fn wait_until_healthy(&self, service: &str) -> Result<()> {
        let container = self.container(service)?;
        let format = "{{.State.Health.Status}}";
        let healthy = || docker(&["inspect", "--format", format, &container]).map(|s| s.trim() == "healthy");
        wait_until(&format!("service {service} is healthy"), healthy)
    }

    /// The passwords that were generated at the first start, read from the volume that contains all of them.
    pub(super) fn passwords(&self) -> Result<Passwords> {
        let script = "cd /run/medlift && for name in *; do echo \"$name $(cat \"$name\")\"; done";
        let lines = self.compose(&["run", "--rm", "--no-deps", "--entrypoint", "sh", "provision", "-c", script])?;
        Ok(Passwords::parse(&lines))
    }

    pub(super) fn show_logs(&self) {
        let _ = self.compose_command(&["logs", "--no-color", "--tail", "40"]).status();
    }

    /// Removes the whole stack, including volumes.
    pub(super) fn down(&self) -> Result<()> {
        self.compose(&["down", "--volumes", "--remove-orphans", "--timeout", "20"]).map(drop)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let _ = self.down();
    }
}

/// Runs a command of the container engine and returns its standard output.
pub(crate) fn docker(arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null()).env(CLASSIC_BUILD.0, CLASSIC_BUILD.1);
    outcome(&mut command, &format!("docker {}", arguments.join(" ")))
}

/// Returns the command for Docker Compose: `docker compose`, or else the older program `docker-compose`. `None` if
/// neither is installed.
pub(super) fn compose_program() -> Option<ComposeProgram> {
    let candidates: [ComposeProgram; 2] = [&["docker", "compose"], &["docker-compose"]];
    candidates.into_iter().find(|program| succeeds(Command::new(program[0]).args(&program[1..]).arg("version")))
}

/// The beginning of a stack's name. The id of the process that tests the stack comes after it. The beginning contains
/// the name of the machine, because several machines can share an engine, and their processes may have equal ids.
fn project_prefix() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().to_lowercase();
    let host: String = host.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("medlift-test-{host}-")
}

/// Removes the stacks of earlier tests that were killed. Otherwise their databases would start again with the engine.
pub(super) fn remove_abandoned(compose: ComposeProgram) -> Result<()> {
    let listed = docker(&["ps", "-a", "--format", "{{.Label \"com.docker.compose.project\"}}"])?;
    let projects: BTreeSet<&str> = listed.lines().filter(|project| is_abandoned(project)).collect();
    projects.into_iter().try_for_each(|project| {
        eprintln!("    removing the stack {project} of a test that was killed");
        let mut down = Command::new(compose[0]);
        down.args(&compose[1..]).args(["--project-name", project, "down", "--volumes"]).current_dir(root());
        outcome(&mut down, &format!("removing the stack {project}")).map(drop)
    })
}

/// Returns true if the project belongs to a test of this machine whose process no longer exists.
fn is_abandoned(project: &str) -> bool {
    let pid = project.strip_prefix(&project_prefix()).and_then(|pid| pid.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

/// Returns true if the command ends with success. Its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(Error::failed(format!("gave up waiting until {what}")));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Runs a command and returns its standard output. If the command fails, the error contains the last 30 lines of its
/// output.
pub(crate) fn outcome(command: &mut Command, doing: &str) -> Result<String> {
    let output = command.output().doing(|| doing.to_owned())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    Err(Error::failed(format!("{doing}: {}\n{}", output.status, lines[lines.len().saturating_sub(30)..].join("\n"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stacks_of_ended_tests_are_abandoned() {
        let own = format!("{}{}", project_prefix(), std::process::id());
        let ended = format!("{}{}", project_prefix(), u32::MAX);
        let elsewhere = format!("medlift-test-elsewhere-{}", u32::MAX);
        let others = [elsewhere.as_str(), "medlift", ""].map(|project| (project, false));
        for (project, expected) in [(own.as_str(), false), (ended.as_str(), true)].into_iter().chain(others) {
            assert_eq!(is_abandoned(project), expected, "{project}");
        }
    }
}
