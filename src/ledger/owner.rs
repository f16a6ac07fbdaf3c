//! Identifies the process that works on a load, and determines whether that process is still running.

use std::fmt;
use std::fs;

use bson::Uuid;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// A process that writes a load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// A random value, new for every call of [`Owner::this_process`].
    pub id: Uuid,
    /// Name of the machine or of the container.
    pub host: String,
    /// Process id.
    pub process: u32,
    /// The machine's boot id and the namespace of its process ids. Two process ids can be compared only if this value
    /// is equal for both.
    pub machine: String,
    /// Start time of the process, in clock ticks since the boot. A later process with the same process id has another
    /// start time.
    pub ticks: String,
}

impl Owner {
    /// Describes the running process as an owner, with a new random id.
    pub fn this_process() -> Self {
        let process = std::process::id();
        Self {
            id: Uuid::new(),
            host: text_of("/proc/sys/kernel/hostname"),
            process,
            machine: machine(),
            ticks: state_of(process).map_or_else(String::new, |(_, ticks)| ticks),
        }
    }

    /// Returns true if the process is known to have ended. Returns false if the process runs or if its state is
    /// unknown, for example because it runs on another machine.
    pub fn has_ended(&self) -> bool {
        let is_here = !self.machine.is_empty() && !self.ticks.is_empty() && self.machine == machine();
        if !is_here {
            return false;
        }
        match state_of(self.process) {
            Some((state, ticks)) => ticks != self.ticks || matches!(state.as_str(), "Z" | "X"),
            None => is_gone(self.process),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "process {} on {}",
            self.process,
            if self.host.is_empty() { "another machine" } else { &self.host }
        )
    }
}

/// Returns the value of [`Owner::machine`]. Empty if the system does not provide it.
fn machine() -> String {
    let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    let boot = text_of("/proc/sys/kernel/random/boot_id");
    if space.is_empty() || boot.is_empty() { String::new() } else { format!("{boot} {space}") }
}

fn text_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Returns state and start time of a process, or `None` if they cannot be read. They are fields 3 and 22 of
/// `/proc/pid/stat` (see proc(5)).
fn state_of(process: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Field 2 is the name of the program. It is in parentheses and may contain any character, even `)`.
    // So it ends at the last `)`.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.to_owned()))
}

/// Returns true if no process has this id. Returns false for another user's process, even if `/proc` hides it.
fn is_gone(process: u32) -> bool {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    id.is_some_and(|id| test_kill_process(id) == Err(Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn of(process: u32) -> Owner {
        Owner { process, ticks: state_of(process).unwrap().1, ..Owner::this_process() }
    }

    #[test]
    fn a_running_process_has_not_ended_and_a_killed_process_has_ended() {
        assert!(!Owner::this_process().has_ended());
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let owner = of(child.id());
        assert!(!owner.has_ended());
        child.kill().unwrap();
        // The killed process remains a zombie until `wait` is called.
        while state_of(child.id()).is_some_and(|(state, _)| state != "Z") {
            std::thread::yield_now();
        }
        assert!(owner.has_ended());
        child.wait().unwrap();
        assert!(owner.has_ended() && is_gone(child.id()));
        assert!(!is_gone(std::process::id()));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_another_process() {
        let reused = Owner { ticks: "1".into(), ..Owner::this_process() };
        assert!(reused.has_ended());
    }

    #[test]
    fn a_process_of_another_machine_is_not_known_to_have_ended() {
        let other = Owner { machine: "another".into(), process: u32::MAX, ..Owner::this_process() };
        assert!(!other.has_ended());
        let untold = Owner { machine: String::new(), ..other };
        assert!(!untold.has_ended());
    }
}
