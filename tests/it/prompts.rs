//! Tests of questions on a terminal. One signal must end the command, and the settings of the terminal must be the same
//! as before.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Place, text};
use crate::server::shared;

const TIMEOUT: Duration = Duration::from_mins(1);

/// How a test ends the command.
#[derive(Debug, Clone, Copy)]
enum End {
    Signal(&'static str),
    /// The user types Ctrl-C.
    Typed,
}

/// The script that runs on the terminal. It starts Medlift and writes four files: the settings of the terminal before
/// and after Medlift, Medlift's process id, and its exit code.
const SCRIPT: &str = "stty -a > before\n(echo $BASHPID > pid; exec \"$@\")\necho $? > code\nstty -a > after\n";

/// Runs Medlift on a terminal of its own until `prompt` appears, then ends it. Returns the whole output. Returns `None`
/// if this machine has no program `script`.
fn ended(dir: &Path, arguments: &[&str], prompt: &str, end: End) -> Option<String> {
    std::fs::write(dir.join("run.sh"), SCRIPT).expect("written");
    let program = env!("CARGO_BIN_EXE_medlift");
    let line = [&["bash", "run.sh", program], arguments].concat().join(" ");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(dir).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path))).env("SHELL", "/bin/sh");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let mut input = child.stdin.take().expect("piped");
    let mut output = child.stdout.take().expect("piped");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = output.read(&mut bytes) {
            let _ = sender.send(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
    });
    let mut shown = String::new();
    while !shown.contains(prompt) {
        shown += &receiver.recv_timeout(TIMEOUT).unwrap_or_else(|error| panic!("no prompt: {error}: {shown}"));
    }
    match end {
        End::Signal(name) => {
            let pid = std::fs::read_to_string(dir.join("pid")).expect("written");
            let killed = Command::new("kill").args(["-s", name, pid.trim()]).status().expect("kill runs");
            assert!(killed.success());
        }
        End::Typed => input.write_all(b"\x03").expect("typed"),
    }
    wait(&mut child);
    shown.extend(receiver.iter());
    Some(shown)
}

fn wait(child: &mut Child) {
    let until = Instant::now() + TIMEOUT;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("one signal must end the command");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_signal_ends_a_command_that_asks_a_question_and_the_terminal_is_as_before() {
    let place = Place::new("prompts");
    let path = place.sample("a.csv", 3, "none");
    let (dir, uri) = (place.dir.path(), shared().uri());
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("written");
    let (term, int) = (End::Signal("TERM"), End::Signal("INT"));
    let drop = ["load", text(&path), "--drop", "--db", &place.database, "--uri", &format!("'{uri}'")];
    let password = "Enter password: ";
    for (arguments, prompt, end) in [
        (&["doctor", "-u", "x", "-p"][..], password, term),
        (&["export", "-u", "x", "-p"], password, int),
        (&["provision", "-u", "x", "-p"], password, End::Typed),
        (&["load", text(&path), "-u", "x", "-p"], password, End::Typed),
        (&["load", text(&path), "-u", "x", "-p"], password, term),
        (&drop, "[y/N] ", int),
    ] {
        let arguments = if prompt == password {
            [arguments, &["--uri", "mongodb://127.0.0.1:1/"]].concat()
        } else {
            arguments.to_vec()
        };
        let Some(shown) = ended(dir, &arguments, prompt, end) else {
            println!("skipped: this machine has no program `script`");
            return;
        };
        assert!(shown.contains("medlift: interrupted") && !shown.contains("press Ctrl-C"), "{arguments:?}: {shown}");
        assert_eq!((read("code").trim(), read("after")), ("1", read("before")), "{arguments:?} {end:?}: {shown}");
    }
}
