//! Tests with low process limits (`ulimit`). A command must succeed, or end with a message about the limit. It must
//! never end by a panic, an abort or a signal.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::load::{Place, text};
use crate::program::bash;
use crate::server::shared;

/// Runs medlift in a shell that first sets a limit. With `user`, runs the shell as the user with this id.
fn limited(limit: &str, arguments: &str, dir: &Path, user: Option<u32>) -> Output {
    let script = format!("{limit} && exec {} {arguments}", env!("CARGO_BIN_EXE_medlift"));
    let mut command = match user {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups", "bash"]);
            command
        }
        None => Command::new("bash"),
    };
    command.args(["-c", &script]).current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    // Only `provision` gets passwords, because it requires them. Other commands would use them to sign in, but the
    // server has no users.
    let named = if arguments.starts_with("provision") { &["WRITER_PASS", "READER_PASS"][..] } else { &[] };
    command.envs(named.iter().map(|name| (name, "k4Tz-9pLmw2x")));
    command.stdin(Stdio::null()).output().expect("bash runs")
}

/// Runs a command with this limit. If its exit code is 1, its message must contain `word`.
fn check(limit: &str, arguments: &str, dir: &Path, user: Option<u32>, word: &str) {
    let run = limited(limit, arguments, dir, user);
    let said = String::from_utf8_lossy(&run.stderr);
    let what = format!("{limit}: {arguments}: {:?}\n{said}", run.status);
    assert!(matches!(run.status.code(), Some(0..=5)), "{what}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{what}");
    if run.status.code() == Some(1) {
        assert!(said.contains(word), "{what}");
    }
}

/// Generates `a.csv` and loads it without a limit, so that there is a collection to verify and to export.
fn store(place: &Place) {
    place.sample("a.csv", 5_000, "none");
    let load = format!("load a.csv '{}' --db {}_stored --quiet", shared().uri(), place.database);
    let run = limited("true", &load, place.dir.path(), None);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

/// Returns command lines: three that need no server, and five that need one. `verify` and `export` need [`store`].
fn commands(place: &Place) -> [String; 8] {
    let uri = shared().uri();
    let target = |name: &str| format!("'{uri}' --db {}_{name} --quiet", place.database);
    [
        "load -n a.csv --quiet".into(),
        "generate --rows 5000 --out g.csv".into(),
        "spec show".into(),
        format!("load a.csv {}", target("load")),
        format!("verify a.csv {}", target("stored")),
        format!("export --out x.csv {}", target("stored")),
        format!("doctor '{uri}'"),
        format!("provision --plan '{uri}' --db {}_plan", place.database),
    ]
}

#[test]
fn a_low_limit_for_open_files_is_named() {
    let place = Place::new("files");
    store(&place);
    for command in commands(&place) {
        for limit in [6, 7, 8, 10, 12, 16, 20, 32, 63, 64] {
            check(&format!("ulimit -n {limit}"), &command, place.dir.path(), None, "ulimit -n");
        }
    }
    let run = limited("ulimit -n 20", &commands(&place)[3], place.dir.path(), None);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.code() == Some(1) && said.contains("limit for open files is too low"), "{said}");
    // A low soft limit does no harm, because medlift raises it to the hard limit.
    let soft = limited("ulimit -S -n 20", &commands(&place)[3], place.dir.path(), None);
    assert_eq!(soft.status.code(), Some(0), "{}", String::from_utf8_lossy(&soft.stderr));
}

#[test]
fn a_low_limit_for_memory_is_named() {
    let place = Place::new("memory");
    store(&place);
    for command in commands(&place) {
        for limit in [100_000, 200_000, 400_000, 524_288, 700_000, 1_048_576] {
            check(&format!("ulimit -v {limit}"), &command, place.dir.path(), None, "ulimit -v");
        }
    }
}

#[test]
fn a_low_limit_for_the_size_of_files_is_reported_when_a_file_is_written() {
    let place = Place::new("size");
    store(&place);
    for command in commands(&place) {
        for limit in [1, 100] {
            check(&format!("ulimit -f {limit}"), &command, place.dir.path(), None, "ulimit -f");
        }
    }
    let run = limited("ulimit -f 1", "generate --rows 5000 --out big.csv", place.dir.path(), None);
    assert_eq!(run.status.code(), Some(1));
    assert!(!place.dir.path().join("big.csv").exists());
}

/// The limit for processes does not apply to root, and counts all processes of a user. Therefore the test runs the
/// commands as a user who has no other processes. Only root can do that.
#[test]
fn a_low_limit_for_processes_is_named() {
    let place = Place::new("processes");
    store(&place);
    let (dir, user) = (place.dir.path(), 54_321);
    if !limited("true", "--version", dir, Some(user)).status.success() {
        println!("skipped: only root can run a program as another user");
        return;
    }
    Command::new("chmod").arg("777").arg(dir).status().expect("chmod runs");
    for command in commands(&place) {
        for limit in [1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 40] {
            check(&format!("ulimit -u {limit}"), &command, dir, Some(user), "ulimit -u");
        }
    }
}

#[test]
fn closed_or_full_outputs_cause_no_panic() {
    let place = Place::new("closed");
    let path = place.sample("a.csv", 10, "none");
    for command in ["load -n a.csv", "generate --rows 10", "spec show", "spec fields", "--help", "nonsense"] {
        for redirection in [">&-", "2>&-", ">/dev/full", "2>/dev/full", ">/dev/full 2>/dev/full", "2>&1 >&- | true"] {
            let script = format!("{} {command} {redirection}; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_medlift"));
            let run = bash(&script).current_dir(place.dir.path()).output().expect("bash runs");
            assert!(matches!(run.status.code(), Some(0..=2)), "{script}: {run:?}");
            let is_full = redirection.starts_with(">/dev/full") && command != "nonsense";
            assert_eq!(run.status.code() == Some(1), is_full, "{script}: {run:?}");
        }
    }
    assert!(text(&path).ends_with("a.csv"));
}
