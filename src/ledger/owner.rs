//! Identifies the process that works on a load, and checks whether it is still running.

use std::fmt;
use std::fs;

use bson::Uuid;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// One process of one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// A new random value for every process, so that no two owners are equal by accident.
    pub id: Uuid,
    /// The machine's or the container's name.
    pub host: String,
    /// Process id.
    pub process: u32,
    /// Identifies the boot of the machine and the namespace of its process ids. `process` has the same meaning only if
    /// both are equal.
    pub machine: String,
    /// Start time of the process, in ticks since the boot. Distinguishes it from a later process with the same id.
    pub ticks: String,
}

impl Owner {
    /// This process.
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

    /// Returns true if the process is known to have ended. Returns false if it runs, or if this machine cannot know: a
    /// process of another user may be hidden.
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

/// Identifies the boot and the namespace of process ids. Empty if the system does not provide them.
fn machine() -> String {
    let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    let boot = text_of("/proc/sys/kernel/random/boot_id");
    if space.is_empty() || boot.is_empty() { String::new() } else { format!("{boot} {space}") }
}

fn text_of(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// State and start time of a process (proc(5), `/proc/pid/stat`, fields 3 and 22); `None` if they cannot be read.
fn state_of(process: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, field 2, is in parentheses and may contain any character.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.to_owned();
    Some((state, fields.nth(18)?.to_owned()))
}

/// Returns true if there is no process with this id. A process of another user that `/proc` hides still counts as
/// existing.
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
    fn a_process_that_runs_has_not_ended_and_one_that_was_killed_has() {
        assert!(!Owner::this_process().has_ended());
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let owner = of(child.id());
        assert!(!owner.has_ended());
        child.kill().unwrap();
        // The process remains a zombie until `wait` is called.
        while state_of(child.id()).is_some_and(|(state, _)| state != "Z") {
            std::thread::yield_now();
        }
        assert!(owner.has_ended());
        child.wait().unwrap();
        assert!(owner.has_ended() && is_gone(child.id()));
        assert!(!is_gone(std::process::id()));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_another_one() {
        let reused = Owner { ticks: "1".into(), ..Owner::this_process() };
        assert!(reused.has_ended());
    }

    #[test]
    fn a_process_of_another_machine_is_not_judged() {
        let other = Owner { machine: "another".into(), process: u32::MAX, ..Owner::this_process() };
        assert!(!other.has_ended());
        let untold = Owner { machine: String::new(), ..other };
        assert!(!untold.has_ended());
    }
}
