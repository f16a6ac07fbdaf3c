//! All checks that a change must pass. The fastest checks, format and tidy, come first.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::left_out;
use testkit::watchdog::{Target, Watchdog};
use testkit::{Doing, Error, Result, root};

const POLL: Duration = Duration::from_millis(20);

struct Step {
    name: &'static str,
    /// A step is killed after this time. The whole command takes at most the sum of the limits.
    limit: Duration,
    command: Command,
}

/// Runs the steps in order and stops at the first that fails or takes too long. At the end, lists the checks that
/// cannot run on this machine.
pub fn run() -> Result<()> {
    let started = Instant::now();
    let not_checked = NamedTempFile::new().doing(|| "creating a file".to_owned())?;
    for mut step in steps()? {
        eprintln!("==> {}", step.name);
        step.command.env(left_out::VARIABLE, not_checked.path());
        let (status, elapsed) = run_bounded(&mut step.command, step.limit)?;
        match status {
            Some(status) if status.success() => eprintln!("    {} passed in {:.1} s", step.name, elapsed.as_secs_f64()),
            Some(status) => return Err(Error::failed(format!("step {} failed: {status}", step.name))),
            None => return Err(Error::failed(format!("step {} took over {} s", step.name, step.limit.as_secs()))),
        }
    }
    let not_checked = left_out::read(not_checked.path())?;
    eprintln!("{}", conclusion(started.elapsed(), &not_checked));
    Ok(())
}

fn conclusion(elapsed: Duration, not_checked: &[String]) -> String {
    let passed = format!("==> all steps passed in {:.0} s", elapsed.as_secs_f64());
    if not_checked.is_empty() {
        return passed;
    }
    format!("{passed}, but this machine could NOT check:\n  - {}", not_checked.join("\n  - "))
}

fn steps() -> Result<Vec<Step>> {
    let own = env::current_exe().doing(|| "looking for this program's path".to_owned())?;
    let step = |name, minutes, command| Step { name, limit: Duration::from_mins(minutes), command };
    let mut docs = cargo("doc --workspace --no-deps --locked");
    docs.env("RUSTDOCFLAGS", "-D warnings");
    Ok(vec![
        step("format", 1, cargo("fmt --all --check")),
        step("tidy", 1, with_arguments(Command::new(&own), "tidy")),
        step("clippy", 15, cargo("clippy --workspace --all-targets --locked -- -D warnings")),
        step("clippy without S3", 15, cargo("clippy --package medlift --no-default-features --locked -- -D warnings")),
        step("tests", 20, cargo("test --workspace --locked")),
        step("fuzz", 5, with_arguments(Command::new(&own), "fuzz 6")),
        step("docs", 10, docs),
        step("deny", 5, with_arguments(Command::new(&own), "deny")),
        step("AWS templates", 15, with_arguments(Command::new(&own), "aws-test static")),
        step("Kubernetes", 5, with_arguments(Command::new(&own), "kubernetes-check")),
        step("Slurm", 10, with_arguments(Command::new(&own), "slurm-test")),
        step("containers", 45, with_arguments(Command::new(&own), "compose-test")),
        // This step is after "containers", because it reuses the image in which that step has compiled the program.
        step("release", 20, with_arguments(Command::new(&own), "release --dry-run")),
    ])
}

fn cargo(arguments: &str) -> Command {
    with_arguments(testkit::cargo(), arguments)
}

fn with_arguments(mut command: Command, arguments: &str) -> Command {
    command.args(arguments.split(' '));
    command
}

/// Runs a command in its own process group. Kills the whole group at the time limit, or when this process ends.
/// Returns the exit status and the elapsed time. The status is `None` if the time limit was reached.
fn run_bounded(command: &mut Command, limit: Duration) -> Result<(Option<ExitStatus>, Duration)> {
    let started = Instant::now();
    let program = command.get_program().to_owned();
    let mut watchdog = Watchdog::guard(None)?;
    let child = command.current_dir(root()).stdin(Stdio::null()).process_group(0).spawn();
    let mut child = child.doing(|| format!("running {}", program.display()))?;
    watchdog.watch(Target::Group(child.id()))?;
    let status = wait_bounded(&mut child, limit)?;
    if status.is_some() {
        watchdog.watch(Target::Nothing)?;
    }
    drop(watchdog);
    child.wait().doing(|| "waiting for a step".to_owned())?;
    Ok((status, started.elapsed()))
}

fn wait_bounded(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let status = child.try_wait().doing(|| "waiting for a step".to_owned())?;
        if status.is_some() {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_conclusion_lists_what_was_not_checked() {
        let passed = conclusion(Duration::from_secs(9), &[]);
        assert_eq!(passed, "==> all steps passed in 9 s");
        let partly = conclusion(Duration::from_secs(9), &["a; no engine".to_owned(), "b".to_owned()]);
        assert_eq!(partly, format!("{passed}, but this machine could NOT check:\n  - a; no engine\n  - b"));
    }

    #[test]
    fn a_step_can_report_what_it_left_out() {
        let file = NamedTempFile::new().expect("a file");
        let mut step = shell(&format!("echo 'the containers' >>\"${}\"", left_out::VARIABLE));
        step.env(left_out::VARIABLE, file.path());
        run_bounded(&mut step, Duration::from_secs(20)).expect("runs");
        assert_eq!(left_out::read(file.path()).expect("reads"), ["the containers"]);
    }

    #[test]
    fn a_step_reports_its_status() {
        let check = |script: &str, success: bool| {
            let (status, _) = run_bounded(&mut shell(script), Duration::from_secs(20)).expect("runs");
            assert_eq!(status.map(|status| status.success()), Some(success), "{script}");
        };
        check("exit 0", true);
        check("exit 3", false);
    }

    #[test]
    fn a_step_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let (status, elapsed) = run_bounded(&mut shell(&script), Duration::from_millis(500)).expect("runs");
        assert!(status.is_none() && elapsed < Duration::from_secs(10));
        let pid = std::fs::read_to_string(file).expect("the child's pid");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    }
}
