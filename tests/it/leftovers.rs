//! Tests that no mongod and none of its files remain after a test, even if the test panics or its process is killed.

use std::io::{BufRead, BufReader};
use std::panic;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Server;

const TIMEOUT: Duration = Duration::from_secs(20);
/// Environment variable of the process that [`holder`] starts. Its value says how that process shall end.
const HOLD: &str = "MEDLIFT_TEST_HOLD";
const MARK: &str = "holding ";

struct Left {
    pid: u32,
    dir: PathBuf,
}

impl Left {
    fn by(server: &Server) -> Self {
        Self { pid: server.pid().expect("it runs"), dir: server.dir().to_owned() }
    }

    /// Returns true if mongod has ended and its files are removed. A zombie counts as ended: it uses no resources, and
    /// its new parent process will remove it.
    fn is_gone(&self) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        (state.is_empty() || state.contains(") Z ")) && !self.dir.exists()
    }

    #[track_caller]
    fn expect_gone(&self) {
        let deadline = Instant::now() + TIMEOUT;
        while !self.is_gone() {
            assert!(
                Instant::now() < deadline,
                "mongod {} must have ended and {} must be removed",
                self.pid,
                self.dir.display()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_panicking_test_leaves_nothing() {
    let mut left = None;
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let server = Server::builder().start().expect("a mongod starts");
        left = Some(Left::by(&server));
        assert!(left.as_ref().is_some_and(Left::is_gone), "this panic is part of the test");
    }));
    assert!(result.is_err());
    left.expect("the server was started").expect_gone();
}

#[test]
fn a_killed_process_leaves_nothing() {
    let (mut child, left) = holder("forever");
    assert!(!left.is_gone());
    child.kill().expect("SIGKILL");
    child.wait().expect("it ends");
    left.expect_gone();
}

#[test]
fn a_server_in_a_static_ends_with_its_process() {
    let (mut child, left) = holder("shared");
    assert!(child.wait().expect("it ends").success());
    left.expect_gone();
}

/// Starts this test binary as a child process that runs only [`hold_a_server`]. Returns when the child's server runs.
fn holder(how: &str) -> (Child, Left) {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "leftovers::hold_a_server", "--nocapture"]).env(HOLD, how);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("this binary runs");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let told = lines.map_while(Result::ok).find_map(|line| line.split_once(MARK).map(|(_, told)| told.to_owned()));
    let told = told.expect("the child prints the process id and the directory of its server");
    let (pid, dir) = told.split_once(' ').expect("a pid and a directory");
    (child, Left { pid: pid.parse().expect("a pid"), dir: Path::new(dir).to_owned() })
}

/// This is not a test, but the work of the child process that [`holder`] starts. It starts a server, and then ends as
/// `HOLD` says. If `HOLD` is not set, it does nothing.
#[test]
fn hold_a_server() {
    match std::env::var(HOLD).as_deref() {
        Ok("forever") => {
            let server = Server::builder().start().expect("a mongod starts");
            tell(&server);
            thread::sleep(TIMEOUT);
        }
        Ok(_) => tell(crate::server::shared()),
        Err(_) => {}
    }
}

fn tell(server: &Server) {
    let left = Left::by(server);
    eprintln!("{MARK}{} {}", left.pid, left.dir.display());
}
