//! A watchdog that outlives its parent: a shell that kills the processes that the parent started and removes the files
//! that it wrote.
//!
//! `Drop` does not run in a process that gets SIGKILL, nor for a static at exit. The shell has the reading end of a
//! pipe whose only writer is the parent. The shell therefore reads an end of file however the parent ends.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Doing, Result};

/// Each line names the process to kill, or the process group if it begins with a minus. An empty line names none.
/// `keep` ends the watchdog. A killed process ends asynchronously and may still write a file, so the directory is
/// removed twice.
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

/// The process or group that a watchdog kills when its parent ends.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// No process at present.
    Nothing,
    /// One process.
    Process(u32),
    /// A process group, named by its leader's process id.
    Group(u32),
}

/// Guards at most one directory, and one process or group at a time.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts to guard `dir`. The watchdog has its own process group, so that Ctrl-C in a terminal does not reach it.
    pub fn guard(dir: Option<&Path>) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "medlift-watchdog"]).args(dir).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { shell: shell.spawn().doing(|| "starting a watchdog".to_owned())? })
    }

    /// Sets the process or group that is killed when the parent ends, from now on.
    pub fn watch(&mut self, target: Target) -> Result<()> {
        self.tell(&match target {
            Target::Nothing => String::new(),
            Target::Process(pid) => pid.to_string(),
            Target::Group(pid) => format!("-{pid}"),
        })
    }

    /// Ends the watchdog. The process and the directory then remain when the parent ends.
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
