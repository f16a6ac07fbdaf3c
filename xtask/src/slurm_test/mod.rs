//! Tests a load by an array of Slurm tasks: starts a cluster on this machine, submits `deploy/slurm/medlift.sbatch`,
//! disturbs the workers, and compares the result with a load by one process.
//!
//! There are five workers. One is killed. One is killed together with its node. One is frozen until another worker has
//! taken over its part. One is asked to stop, as Slurm does before the time limit. The fifth is not disturbed.

mod array;
mod cluster;
mod load;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::mongod::Server;
use testkit::{Doing, Error, Result, root};

use crate::compose_test::{expect, outcome, step};
use crate::demo;
use array::{Ended, Worker, tasks, workers};
use cluster::{Cluster, NODES};
use load::{DATABASE, Load, Part, figures};

const SCRIPT: &str = "deploy/slurm/medlift.sbatch";
const WORKERS: usize = 5;
const PARTS_MIN: usize = 10;
const LEASE_SECONDS: &str = "15";

/// Options that make the load slow: small batches, one after another. The test needs time to disturb the workers.
const SLOW: [&str; 4] = ["--batch-size", "20", "--num-insertion-workers", "1"];

const TIMEOUT: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(200);

/// The exit code of a process that was killed with signal 9, as the shell reports it.
const KILLED: i32 = 128 + 9;

/// Runs the test. If this machine cannot run a cluster, reports the reason and succeeds.
pub fn run() -> Result<()> {
    if !cluster::prepare()? {
        return Ok(());
    }
    let medlift = demo::build_as("dev")?;
    let started = Instant::now();
    step("start a server and a cluster of three nodes");
    let server = Server::builder().access_control().start()?;
    let dir = tempfile::tempdir().doing(|| "creating a directory".to_owned())?;
    let mut cluster = Cluster::start(dir.keep())?;
    let work = cluster.dir().join("work");
    fs::create_dir(&work).doing(|| format!("creating {}", work.display()))?;
    let tested = test(&medlift, &work, &server, &mut cluster);
    if tested.is_err() {
        cluster.show_logs();
        show_task_logs(&work);
    }
    tested?;
    eprintln!("==> the array passed in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn test(medlift: &Path, work: &Path, server: &Server, cluster: &mut Cluster) -> Result<()> {
    step("load the sources with one process");
    let load = Load::prepare(medlift, work, server)?;
    let alone = load.load_alone()?;
    expect(load.parts >= PARTS_MIN, "the manifest has enough parts")?;
    step(&format!("submit {SCRIPT}: {} parts, {WORKERS} workers, {} nodes", load.parts, NODES.len()));
    let job = submit(cluster, &load, work)?;
    let disturbed = disturb(cluster, &load, &job)?;
    wait_until("the load is complete", TIMEOUT, || Ok(load.progress()?.1))?;
    wait_until("all tasks have ended", TIMEOUT, || {
        Ok(cluster.slurm("squeue", &["--noheader", "--jobs", &job])?.trim().is_empty())
    })?;
    step("check the ends of the tasks, and compare with the load by one process");
    check_tasks(cluster, &job, &disturbed)?;
    check_logs(work, server)?;
    compare(&alone, &load.result()?)
}

fn submit(cluster: &Cluster, load: &Load, work: &Path) -> Result<String> {
    let mut sbatch = Command::new("sbatch");
    sbatch.arg("--parsable").arg(format!("--array=0-{}", WORKERS - 1)).arg("--chdir").arg(work);
    sbatch.arg(root().join(SCRIPT)).arg(load.manifest()).args(["--db", DATABASE, "--lease-seconds", LEASE_SECONDS]);
    sbatch.args(SLOW).env_clear().env("PATH", load.program_path());
    sbatch.env("SLURM_CONF", cluster.settings()).env("MEDLIFT_CONFIG", load.config());
    outcome(&mut sbatch, "sbatch").map(|job| job.trim().to_owned())
}

/// The workers. Each field name says what happened to the worker.
struct Disturbed {
    killed: Worker,
    lost: Worker,
    frozen: Worker,
    asked: Worker,
    unharmed: Worker,
}

/// Disturbs four workers while the load runs. Then waits until other workers have taken over the parts of the killed,
/// the lost and the frozen worker. The fourth worker is asked to stop, and releases its part itself.
fn disturb(cluster: &mut Cluster, load: &Load, job: &str) -> Result<Disturbed> {
    wait_until("all workers load parts, and some parts are loaded", TIMEOUT, || {
        let parts = load.progress()?.0;
        let count = |state: &str| parts.iter().filter(|part| part.state == state).count();
        Ok(count("loaded") >= 2 && count("loading") == WORKERS && workers(&cluster.settings())?.len() == WORKERS)
    })?;
    let roles = roles(workers(&cluster.settings())?)?;
    let mut taken = vec![stop(load, "frozen", &roles.frozen)?, stop(load, "killed", &roles.killed)?];
    roles.killed.signal("KILL")?;
    taken.push(stop(load, "lost", &roles.lost)?);
    cluster.kill_node(&roles.lost.node)?;
    cluster.slurm("scancel", &["--signal=TERM", "--batch", &format!("{job}_{}", roles.asked.task)])?;
    let unfinished = load.progress()?.0.iter().filter(|part| part.state != "loaded").count();
    eprintln!("    four workers are disturbed; {unfinished} of {} parts are not loaded", load.parts);
    expect(unfinished >= taken.len(), "the workers are disturbed in the middle of the load")?;
    wait_until("other workers take over the parts", TIMEOUT, || {
        let parts = load.progress()?.0;
        taken.retain(|stopped| !stopped.is_taken_over(&parts));
        Ok(taken.is_empty())
    })?;
    // The frozen worker continues now, and finds that another worker has the lease of its part.
    roles.frozen.signal("CONT")?;
    Ok(roles)
}

/// A worker that the test stopped while the worker loaded a part.
struct Stopped {
    what: &'static str,
    worker: String,
    part: u64,
    since: Instant,
}

impl Stopped {
    /// Returns true if another worker has taken over the part. If so, prints after how many seconds.
    fn is_taken_over(&self, parts: &[Part]) -> bool {
        let is_taken = parts.iter().any(|part| part.number == self.part && part.worker != self.worker);
        if is_taken {
            let (what, part, seconds) = (self.what, self.part, self.since.elapsed().as_secs_f64());
            eprintln!(
                "    part {part} of the {what} worker was taken over after {seconds:.1} s; lease {LEASE_SECONDS} s"
            );
        }
        is_taken
    }
}

/// Decides what happens to each worker. The node that will be killed must have only one worker.
fn roles(mut workers: Vec<Worker>) -> Result<Disturbed> {
    let is_alone = |worker: &Worker| workers.iter().filter(|other| other.node == worker.node).count() == 1;
    let at = workers.iter().position(is_alone).ok_or_else(|| Error::failed("each node has several workers"))?;
    let lost = workers.remove(at);
    match <[Worker; WORKERS - 1]>::try_from(workers) {
        Ok([killed, frozen, asked, unharmed]) => Ok(Disturbed { killed, lost, frozen, asked, unharmed }),
        Err(workers) => Err(Error::failed(format!("{} workers besides the lost one", workers.len()))),
    }
}

/// Freezes a worker with SIGSTOP while it loads a part. If the worker is between two parts, tries again later.
fn stop(load: &Load, what: &'static str, worker: &Worker) -> Result<Stopped> {
    let is_loading = |part: &&Part| part.state == "loading" && part.worker == worker.name;
    let deadline = Instant::now() + TIMEOUT;
    while Instant::now() < deadline {
        worker.signal("STOP")?;
        let since = Instant::now();
        if let Some(part) = load.progress()?.0.iter().find(is_loading) {
            return Ok(Stopped { what, worker: worker.name.clone(), part: part.number, since });
        }
        // The worker was between two parts. It continues, and is frozen again later.
        worker.signal("CONT")?;
        thread::sleep(POLL);
    }
    Err(Error::failed(format!("{} loads no part", worker.name)))
}

fn check_tasks(cluster: &Cluster, job: &str, roles: &Disturbed) -> Result<()> {
    let ended = tasks(cluster, job)?;
    let expected = [
        ("was killed", &roles.killed, "FAILED", 0, KILLED),
        ("lost its node and was started again", &roles.lost, "COMPLETED", 1, 0),
        ("lost its lease, ended with 6 and was started again", &roles.frozen, "COMPLETED", 1, 0),
        ("was asked to stop, ended with 6 and was started again", &roles.asked, "COMPLETED", 1, 0),
        ("was not disturbed", &roles.unharmed, "COMPLETED", 0, 0),
    ];
    for (what, worker, state, restarts, code) in expected {
        let task = worker.task;
        let found = ended.get(&task);
        eprintln!("    task {task} {what}: {found:?}");
        expect(found == Some(&Ended { state: state.to_owned(), restarts, code }), "the task ends like this")?;
    }
    Ok(())
}

/// Checks that the logs of the tasks contain no password.
fn check_logs(work: &Path, server: &Server) -> Result<()> {
    let password = server.root_password().unwrap_or_default();
    let logs = task_logs(work)?;
    expect(logs.len() == WORKERS, "each task has one log")?;
    expect(!logs.iter().any(|log| log.contains(password)), "the logs contain no password")
}

fn task_logs(work: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(work).doing(|| "listing the logs".to_owned())?;
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let logs = paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))).collect()
}

fn show_task_logs(work: &Path) {
    for log in task_logs(work).unwrap_or_default() {
        eprintln!("--- log of a task\n{log}");
    }
}

fn compare(alone: &Value, several: &Value) -> Result<()> {
    let (alone, several) = (figures(alone), figures(several));
    eprintln!("    one process:     {alone}\n    several workers: {several}");
    expect(alone == several, "documents, counts and digest are those of one process")
}

fn wait_until(what: &str, limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() > deadline {
            return Err(Error::failed(format!("gave up waiting after {} s: {what}", limit.as_secs())));
        }
        thread::sleep(POLL);
    }
    Ok(())
}
