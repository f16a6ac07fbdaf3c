//! The guard that outlives its parent: a shell which kills a server and removes its files when the parent is gone.
//!
//! `Drop` does not run in a process that gets SIGKILL, nor for a static at exit. The shell holds the reading end of a
//! pipe whose only writer is the parent, so however the parent ends, the shell reads the end of file.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Result;
use crate::error::Doing;

/// Each line names the process to kill, an empty one none. The server dies asynchronously, hence the waiting.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r line; do pid=$line; done
if [ -n "$pid" ]; then
    kill -KILL "$pid" 2>/dev/null
    tries=0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 40 ]; do sleep 0.05; tries=$((tries + 1)); done
fi
rm -rf -- "$1"
"#;

/// Guards one directory and at most one process at a time.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts to guard `dir`, in a process group of its own so that Ctrl-C in a terminal does not reach it.
    pub(super) fn guard(dir: &Path) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT, "medlift-watchdog"]).arg(dir).process_group(0);
        shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        Ok(Self { shell: shell.spawn().doing(|| "starting a watchdog".to_owned())? })
    }

    /// Says which process dies with the parent from now on.
    pub(super) fn watch(&mut self, pid: Option<u32>) -> Result<()> {
        let line = pid.map_or_else(|| "\n".to_owned(), |pid| format!("{pid}\n"));
        let pipe = self.shell.stdin.as_mut();
        pipe.map_or(Ok(()), |pipe| pipe.write_all(line.as_bytes())).doing(|| "telling the watchdog".to_owned())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
