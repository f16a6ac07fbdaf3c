//! Cleans up after a process (the parent), however it ends. The watchdog is a shell that waits until the parent has
//! ended, or has dropped its [`Watchdog`]. Then the shell kills the process or group that the parent named, for example
//! a mongod. It also removes a directory, if the parent named one.
//!
//! A second process is needed, because `Drop` does not run if the parent is killed, and never for a static variable.
//! The shell reads from a pipe to which only the parent can write. When the parent ends, the shell therefore reads the
//! end of the file.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Doing, Result};

/// The shell's script. Its argument is the directory to remove, if there is one. Each line from the pipe sets the
/// target to kill: `123` is a process, `-123` a process group, and an empty line means no target. The last line counts.
/// The line `keep` ends the script, and nothing is killed or removed.
///
/// When the pipe is closed, the script kills the process or group, and removes the directory. Then it waits until the
/// process or group has ended, at most 2 s, and removes the directory again. Reason: a process may still write a file
/// while it is being killed.
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

/// The process or group that a watchdog kills. The watchdog kills it when the watchdog's own parent ends or drops the
/// [`Watchdog`].
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// No process at present.
    Nothing,
    /// One process.
    Process(u32),
    /// A process group, named by its leader's process id.
    Group(u32),
}

/// When the parent ends or drops this value, kills at most one process or group, and removes at most one directory.
#[derive(Debug)]
pub struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts a watchdog. It removes `dir`, if one is given, when the parent ends. The watchdog has its own process
    /// group, so that Ctrl-C in a terminal does not end it.
    pub fn guard(dir: Option<&Path>) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "medlift-watchdog"]).args(dir).current_dir("/").process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { shell: shell.spawn().doing(|| "starting a watchdog".to_owned())? })
    }

    /// Sets the process or group that is killed when the parent ends. The last call counts.
    pub fn watch(&mut self, target: Target) -> Result<()> {
        self.tell(&match target {
            Target::Nothing => String::new(),
            Target::Process(pid) => pid.to_string(),
            Target::Group(pid) => format!("-{pid}"),
        })
    }

    /// Ends the watchdog. Then nothing is killed or removed when the parent ends.
    pub fn keep(mut self) -> Result<()> {
        self.tell("keep")
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let pipe = self.shell.stdin.as_mut();
        pipe.map_or(Ok(()), |pipe| writeln!(pipe, "{line}")).doing(|| "writing to the watchdog".to_owned())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
