//! The guard that outlives its parent: a shell which kills what the parent started and removes what it wrote.
//!
//! `Drop` does not run in a process that gets SIGKILL, nor for a static at exit. The shell holds the reading end of a
//! pipe whose only writer is the parent, so however the parent ends, the shell reads the end of file.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Doing, Result};

/// Each line names the process (or, with a minus, the process group) to kill, an empty one none; `keep` ends the guard.
/// What was killed dies asynchronously and may still write a file, hence the second removal.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r line; do
    [ "$line" != keep ] || exit 0
    target=$line
done
remove() { [ -z "$1" ] || rm -rf -- "$1"; }
if [ -n "$target" ]; then
    kill -s KILL -- "$target" 2>/dev/null
    remove "$1"
    tries=0
    while kill -s 0 -- "$target" 2>/dev/null && [ "$tries" -lt 40 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
remove "$1"
"#;

/// What a watchdog kills when its parent ends.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Nothing, for now.
    Nothing,
    /// One process.
    Process(u32),
    /// A process group, by its leader.
    Group(u32),
}

/// Guards one directory, or none, and one process or group at a time.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts to guard `dir`, in a process group of its own so that Ctrl-C in a terminal does not reach it.
    pub fn guard(dir: Option<&Path>) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "medlift-watchdog"]).args(dir).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { shell: shell.spawn().doing(|| "starting a watchdog".to_owned())? })
    }

    /// Says what dies with the parent from now on.
    pub fn watch(&mut self, target: Target) -> Result<()> {
        self.tell(&match target {
            Target::Nothing => String::new(),
            Target::Process(pid) => pid.to_string(),
            Target::Group(pid) => format!("-{pid}"),
        })
    }

    /// Ends the guard: process and directory stay when the parent ends.
    pub fn keep(mut self) -> Result<()> {
        self.tell("keep")
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let pipe = self.shell.stdin.as_mut();
        pipe.map_or(Ok(()), |pipe| writeln!(pipe, "{line}")).doing(|| "telling the watchdog".to_owned())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
