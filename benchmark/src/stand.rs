//! Measures contenders: starts a fresh server, and measures the cost of processes that use it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use bson::{Document, doc};
use serde_json::{Value, json};

use crate::contender::{Contender, Step};
use crate::inputs::Inputs;
use crate::machine::{self, Busy};
use crate::outcome::Sample;
use testkit::mongod::Server;
use testkit::wire::Wire;
use testkit::{Doing, Error, Result};

pub(crate) const DATABASE: &str = "bench";
pub(crate) const COLLECTION: &str = "admissions";
/// A server counts as idle if it uses at most this much processor time in one round.
const SETTLED_CPU_SECONDS: f64 = 0.02;
const SETTLE_ROUND: Duration = Duration::from_millis(500);
const SETTLE_ROUNDS_MAX: usize = 20;
/// Time limit of one command of the server. To drop, to count or to checkpoint a large collection can take long.
const TIMEOUT: Duration = Duration::from_mins(5);

/// A running server, and the tools to measure a process beside it.
#[derive(Debug)]
pub(crate) struct Stand<'a> {
    server: Server,
    wire: Wire,
    inputs: &'a Inputs,
}

impl<'a> Stand<'a> {
    pub(crate) fn start(cache_mb: u32, inputs: &'a Inputs) -> Result<Self> {
        let server = Server::builder().cache_gb(f64::from(cache_mb) / 1024.0).start()?;
        let wire = Wire::connect(address(&server), TIMEOUT)?;
        Ok(Self { server, wire, inputs })
    }

    pub(crate) fn uri(&self) -> String {
        self.server.uri()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        address(&self.server)
    }

    /// The server's version.
    pub(crate) fn version(&mut self) -> Result<String> {
        let info = self.wire.command(&doc! { "buildInfo": 1, "$db": "admin" })?;
        Ok(info.get_str("version").unwrap_or("unknown").to_owned())
    }

    /// Prepares the collection for the contender, runs it, and returns its cost.
    pub(crate) fn measure(&mut self, contender: &Contender) -> Result<Sample> {
        contender.prepare.iter().try_for_each(|step| self.prepare(step))?;
        // Forces a checkpoint. Otherwise the server would write data of the previous contender while this one is
        // measured.
        self.wire.command(&doc! { "fsync": 1, "$db": "admin" })?;
        let pid = self.server.pid().unwrap_or_default();
        settle(pid)?;
        let (pages_before, bytes_before) = (self.pages()?, machine::bytes_written(pid));
        let before = Busy::read(pid)?;
        let processes = self.run_together(contender)?;
        let busy = Busy::read(pid)?.since(before);
        let (pages, bytes) = (self.pages()?, machine::bytes_written(pid));
        let numbers = |name: &'static str| processes.iter().map(move |process| process.number(name));
        let peaks_mb: Vec<f64> = numbers("peak_bytes").map(|bytes| bytes / 1e6).collect();
        let cpu_seconds = numbers("cpu_seconds").sum();
        let last_seconds = numbers("seconds").fold(0.0, f64::max);
        let documents = self.count()?;
        let (index_bytes, document_bytes) = self.sizes();
        let storage = json!({
            "pages_read": pages.0 - pages_before.0,
            "pages_written": pages.1 - pages_before.1,
            "bytes_written": bytes - bytes_before,
            "id_index_bytes": index_bytes,
            "document_bytes": document_bytes,
        });
        Ok(Sample {
            seconds: processes.iter().find(|process| process.has_ended_load()).map_or(last_seconds, Process::seconds),
            cpu_seconds,
            peak_mb: peaks_mb.iter().copied().fold(0.0, f64::max),
            peaks_mb,
            last_seconds,
            server_cpu_seconds: busy.server,
            other_cpu_seconds: (busy.all - busy.server - cpu_seconds).max(0.0),
            writing_seconds: processes.first().and_then(|process| process.summary["seconds"].as_f64()),
            documents,
            storage,
        })
    }

    /// Starts all processes of a contender at the same moment, and waits until they have ended.
    fn run_together(&self, contender: &Contender) -> Result<Vec<Process>> {
        thread::scope(|scope| {
            let commands = contender.commands().enumerate();
            let started: Vec<_> =
                commands.map(|(index, command)| scope.spawn(move || self.run(command, index))).collect();
            let ended = started.into_iter().map(|process| {
                let (cost, output) = process.join().map_err(|_| Error::failed("a measuring thread panicked"))??;
                let status = cost["status"].as_i64();
                if !status.is_some_and(|status| contender.accepted.contains(&status)) {
                    let said = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
                    return Err(Error::failed(format!("{} ended with status {status:?}\n{said}", contender.name)));
                }
                Ok(Process { cost, summary: serde_json::from_slice(&output.stdout).unwrap_or_default() })
            });
            ended.collect()
        })
    }

    /// Returns the numbers of pages that the storage engine has read into its cache and written from it.
    fn pages(&mut self) -> Result<(i64, i64)> {
        let status = self.wire.command(&doc! { "serverStatus": 1, "$db": "admin" })?;
        let cache = status.get_document("wiredTiger").and_then(|engine| engine.get_document("cache"));
        let counter = |name| cache.as_ref().map_or(0, |cache| integer(cache, name));
        Ok((counter("pages read into cache"), counter("pages written from cache")))
    }

    /// Returns the size of the `_id` index on disk and the mean size of a document, or 0 if there are none.
    fn sizes(&mut self) -> (i64, i64) {
        let stats = self.wire.command(&doc! { "collStats": COLLECTION, "$db": DATABASE }).unwrap_or_default();
        let index_bytes = stats.get_document("indexSizes").map_or(0, |sizes| integer(sizes, "_id_"));
        (index_bytes, integer(&stats, "avgObjSize"))
    }

    fn prepare(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Drop => self.drop_database(),
            Step::Command(command) => self.wire.command(command).map(drop),
            Step::Empty(dir) => {
                let doing = || format!("emptying {}", dir.display());
                if dir.exists() {
                    fs::remove_dir_all(dir).doing(doing)?;
                }
                fs::create_dir(dir).doing(doing)
            }
            Step::Run(command) => {
                let (cost, output) = self.run(command, 0)?;
                if matches!(cost["status"].as_i64(), Some(0 | 4)) {
                    return Ok(());
                }
                Err(Error::failed(format!("preparing: {}", String::from_utf8_lossy(&output.stderr).trim_end())))
            }
        }
    }

    /// Drops the database of the data.
    pub(crate) fn drop_database(&mut self) -> Result<()> {
        let durable = doc! { "w": "majority", "j": true };
        self.wire.command(&doc! { "dropDatabase": 1, "writeConcern": durable, "$db": DATABASE }).map(drop)
    }

    /// Counts the documents that a contender has written: those in [`COLLECTION`]. If it is empty, counts the documents
    /// of all collections except the ledger.
    fn count(&mut self) -> Result<i64> {
        let count = self.count_of(COLLECTION)?;
        if count > 0 {
            return Ok(count);
        }
        let all = doc! { "listCollections": 1, "nameOnly": true, "filter": { "type": "collection" }, "$db": DATABASE };
        let reply: Document = self.wire.command(&all)?;
        let collections = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        let names = collections.into_iter().flatten().filter_map(|one| one.as_document()?.get_str("name").ok());
        let of_data = names.filter(|name| !name.starts_with("medlift_") && !name.starts_with("system."));
        of_data.map(|name| self.count_of(name)).sum()
    }

    fn count_of(&mut self, collection: &str) -> Result<i64> {
        let reply: Document = self.wire.command(&doc! { "count": collection, "$db": DATABASE })?;
        Ok(integer(&reply, "n"))
    }

    /// Runs a command under `measure.py` and returns its cost and its output. Commands that run at the same time need
    /// different values of `index`.
    fn run(&self, command: &[String], index: usize) -> Result<(Value, Output)> {
        let cost = self.inputs.dir.join(format!("cost-{index}.json"));
        let mut python = Command::new("python3");
        python.args(["-I", "-S"]).arg(&self.inputs.measure).arg(&cost).args(command);
        // Removes the developer's own settings: with them, a contender could use another database.
        for variable in ["MONGODB_URI", "DB_NAME", "COLLECTION_NAME"] {
            python.env_remove(variable);
        }
        let output = python.current_dir(&self.inputs.dir).stdin(Stdio::null()).output();
        let output = output.doing(|| format!("running {}", command[0]))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::failed(format!("measuring {}: {}", command[0], said.trim_end())));
        }
        Ok((read_json(&cost)?, output))
    }
}

/// A measured process that has ended.
struct Process {
    cost: Value,
    /// The process's output, if it is JSON.
    summary: Value,
}

impl Process {
    fn number(&self, name: &str) -> f64 {
        self.cost[name].as_f64().unwrap_or_default()
    }

    fn seconds(&self) -> f64 {
        self.number("seconds")
    }

    /// Returns true if the process is the worker that ended the load of the table.
    fn has_ended_load(&self) -> bool {
        self.summary["tables"].as_array().is_some_and(|tables| !tables.is_empty())
    }
}

/// Returns an integer of a reply. Returns 0 if the reply does not have it.
fn integer(reply: &Document, name: &str) -> i64 {
    reply.get_i32(name).map(i64::from).or_else(|_| reply.get_i64(name)).unwrap_or_default()
}

/// Waits until the server has finished earlier work, at most 10 s.
fn settle(pid: u32) -> Result<()> {
    for _ in 0..SETTLE_ROUNDS_MAX {
        let before = Busy::read(pid)?;
        thread::sleep(SETTLE_ROUND);
        if Busy::read(pid)?.since(before).server <= SETTLED_CPU_SECONDS {
            break;
        }
    }
    Ok(())
}

fn address(server: &Server) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))
}

fn read_json(path: &Path) -> Result<Value> {
    let doing = || format!("reading {}", path.display());
    let text = fs::read_to_string(path).doing(doing)?;
    serde_json::from_str(&text).map_err(|error| Error::failed(format!("{}: {error}", doing())))
}
