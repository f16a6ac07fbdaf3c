//! Runs the built `medlift` as a user does. The result is its exit code, its standard output and its standard error.

use std::ffi::OsStr;
use std::io::{PipeWriter, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(5);

/// A `medlift` command that is not started yet. Its environment contains only PATH and the variables that `env` sets.
#[derive(Debug)]
pub(crate) struct Medlift {
    command: Command,
    input: Vec<u8>,
    /// The pipe for standard output. If it is `None`, the output is collected in [`Run::stdout`].
    stdout: Option<PipeWriter>,
    timeout: Duration,
    /// The working directory: empty, so that there is no `.env`. It is removed when this value is dropped.
    home: tempfile::TempDir,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code, or `None` if a signal ended the process.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    /// Returns the run if it ended with this exit code. Otherwise panics and shows the output.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

pub(crate) fn medlift<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Medlift {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_medlift"));
    command.args(arguments).current_dir(dir.path()).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    Medlift { command, input: Vec::new(), stdout: None, timeout: TIMEOUT, home: dir }
}

/// Creates a bash command for a script that calls the program. As in [`medlift`], the environment contains only PATH.
/// In the containers, the environment of the tests names users, and the program must not use them.
pub(crate) fn bash(script: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", script]).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

impl Medlift {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory, which is an empty directory by default.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets the content of standard input, which is empty by default.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// Sends standard output to this pipe. The text of the run is then empty.
    pub(crate) fn stdout(mut self, pipe: PipeWriter) -> Self {
        self.stdout = Some(pipe);
        self
    }

    /// Sets the time limit of the run, which is two minutes by default.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Starts the program, for a test that interrupts it.
    pub(crate) fn start(mut self) -> Running {
        let stdout = self.stdout.take().map_or_else(Stdio::piped, Stdio::from);
        self.command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped());
        let mut child = self.command.spawn().expect("medlift starts");
        let stdout = child.stdout.take().map(collect);
        let stderr = child.stderr.take().map(collect);
        let mut stdin = child.stdin.take().expect("piped");
        // Ignores the error of a closed pipe: a program need not read its input.
        let feeder = thread::spawn(move || drop(stdin.write_all(&self.input)));
        Running { child, stdout, stderr, _feeder: feeder, timeout: self.timeout, _home: self.home }
    }

    pub(crate) fn run(self) -> Run {
        self.start().wait()
    }
}

/// Returns the highest resident memory in the text of `/proc/PID/status`. `None` if the process has ended.
fn peak_kib_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A running `medlift`. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    _feeder: JoinHandle<()>,
    timeout: Duration,
    /// The working directory. It is removed when this value is dropped.
    _home: tempfile::TempDir,
}

impl Running {
    /// Sends a signal by name, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "SIG{name} must be sent");
    }

    /// Returns the number of bytes that the process has written to files and pipes.
    pub(crate) fn bytes_written(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap_or_default();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
    }

    /// Waits until the main thread is blocked in a write to this file descriptor, because the pipe is full.
    pub(crate) fn wait_until_it_writes_to(&self, descriptor: u32) {
        let deadline = Instant::now() + self.timeout;
        let argument = format!("{descriptor:#x}");
        loop {
            // The file contains the number of the current system call and then its arguments. The first argument of a
            // write is the descriptor.
            let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.child.id())).unwrap_or_default();
            if call.split(' ').nth(1) == Some(&argument) {
                return;
            }
            assert!(Instant::now() < deadline, "medlift must write within {:?}: {call}", self.timeout);
            thread::sleep(POLL);
        }
    }

    /// Waits until the program ends. Also returns the highest resident memory of the program, in MiB.
    pub(crate) fn wait_and_measure(self) -> (Run, u64) {
        let status = format!("/proc/{}/status", self.child.id());
        let measure = thread::spawn(move || {
            let mut peak_kib = 0;
            while let Some(kib) = peak_kib_in(&std::fs::read_to_string(&status).unwrap_or_default()) {
                peak_kib = kib;
                thread::sleep(POLL);
            }
            peak_kib >> 10
        });
        (self.wait(), measure.join().expect("measured"))
    }

    /// Waits until the program ends. Panics if that takes too long.
    pub(crate) fn wait(mut self) -> Run {
        let deadline = Instant::now() + self.timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "medlift must end within {:?}", self.timeout);
            thread::sleep(POLL);
        };
        let text = |handle: Option<JoinHandle<String>>| {
            handle.map(|handle| handle.join().expect("output is read")).unwrap_or_default()
        };
        Run { code: status.code(), stdout: text(self.stdout.take()), stderr: text(self.stderr.take()) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("output is read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[test]
fn the_environment_of_the_tests_does_not_reach_the_program() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = medlift(["--version"]).dir(dir.path()).env("DB_NAME", "x").input("").timeout(Duration::from_secs(30));
    program.run().expect_code(0);
}

#[test]
fn a_killed_program_has_no_exit_code() {
    let mut sleeper = medlift(["--version"]);
    sleeper.command = Command::new("sleep");
    sleeper.command.arg("60");
    let running = sleeper.start();
    // Sends KILL, not INT: if the tests run in the background, they ignore INT, and so does this child process.
    running.signal("KILL");
    assert_eq!(running.wait().code, None);
}
