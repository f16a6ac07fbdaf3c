//! The tasks of the array, as Slurm reports them, and the Medlift processes that run in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::{Doing, Error, Result};

use super::cluster::Cluster;
use crate::compose_test::outcome;

/// A Medlift process that runs in a task.
#[derive(Debug, Clone)]
pub(super) struct Worker {
    /// The number of the task in the array.
    pub(super) task: u32,
    pub(super) node: String,
    /// The name of the worker in the ledger.
    pub(super) name: String,
    /// The process id on this machine. The node has its own process ids, so the ledger has another one.
    process: u32,
}

impl Worker {
    /// Sends a signal, for example `KILL`.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let mut kill = Command::new("kill");
        outcome(kill.args(["-s", name, &self.process.to_string()]), "sending a signal to a worker").map(drop)
    }
}

/// Returns the workers of a cluster, in the order of their tasks. `settings` is the path of the cluster's slurm.conf.
pub(super) fn workers(settings: &Path) -> Result<Vec<Worker>> {
    let processes = fs::read_dir("/proc").doing(|| "listing the processes".to_owned())?;
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut workers: Vec<Worker> = ids.filter_map(|process| worker(process, settings)).collect();
    workers.sort_by_key(|worker| worker.task);
    Ok(workers)
}

/// Returns the worker with this process id. Returns `None` if the process has ended or is not a worker of this cluster.
fn worker(process: u32, settings: &Path) -> Option<Worker> {
    let read = |name: &str| fs::read_to_string(format!("/proc/{process}/{name}")).ok();
    if read("comm")?.trim() != "medlift" {
        return None;
    }
    let environment = read("environ")?;
    let variable = |name: &str| environment.split('\0').find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
    if variable("SLURM_CONF")? != settings.to_str()? {
        return None;
    }
    // `NSpid:` has one id for each namespace. The last one is the id on the node. The ledger contains this id.
    let status = read("status")?;
    let id = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().next_back()?;
    let node = variable("SLURMD_NODENAME")?.to_owned();
    let task = variable("SLURM_ARRAY_TASK_ID")?.parse().ok()?;
    Some(Worker { task, name: format!("process {id} on {node}"), node, process })
}

/// How a task ended: state, number of restarts, and exit code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) state: String,
    pub(super) restarts: u32,
    pub(super) code: i32,
}

/// Returns how each task of the array ended. The keys are the numbers of the tasks.
pub(super) fn tasks(cluster: &Cluster, job: &str) -> Result<BTreeMap<u32, Ended>> {
    let shown = cluster.slurm("scontrol", &["show", "job", "--oneliner", job])?;
    shown.lines().filter(|line| !line.is_empty()).map(task).collect()
}

fn task(line: &str) -> Result<(u32, Ended)> {
    let parse = || {
        let field = |name: &str| line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        let code = field("ExitCode")?.split(':').next()?.parse().ok()?;
        let ended = Ended { state: field("JobState")?.to_owned(), restarts: field("Restarts")?.parse().ok()?, code };
        Some((field("ArrayTaskId")?.parse().ok()?, ended))
    };
    parse().ok_or_else(|| Error::failed(format!("not a line about a task of an array: {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_scontrol_describes_a_task() {
        let line = "JobId=3 ArrayJobId=1 ArrayTaskId=2 JobName=m JobState=FAILED Restarts=1 ExitCode=137:0 NodeList=n1";
        let (number, ended) = task(line).expect("a task");
        assert_eq!((number, ended), (2, Ended { state: "FAILED".to_owned(), restarts: 1, code: 137 }));
        assert!(task("JobId=3 JobName=m JobState=FAILED Restarts=1 ExitCode=1:0").is_err());
    }

    #[test]
    fn this_process_is_not_a_worker() {
        assert!(worker(std::process::id(), Path::new("/nonexistent/slurm.conf")).is_none());
    }
}
