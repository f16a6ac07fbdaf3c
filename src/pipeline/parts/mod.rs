//! A worker of a load that is divided into parts. The worker loads one part after another. When all parts are loaded,
//! it ends the load.
//!
//! Workers do not communicate with each other. The ledger has a lease for each part, and a worker loads a part only
//! while it has the lease. If a worker is killed, its lease expires, and another worker continues the part from the
//! part's checkpoint.

mod tokens;
mod verify;

use std::collections::BTreeSet;
use std::time::Duration;

use self::tokens::Tokens;
use super::load::{self, LoadOptions, PartScope, Scope, WholeScope};
use super::manifest::Manifest;
use super::plan::Plan;
use super::stages::Interrupt;
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::ledger::{Ledger, LoadDocument, OfManifest, State};
use crate::report::summary::LoadSummary;
use crate::report::work::WorkSummary;
use crate::report::{Bar, Phase, Progress};
use crate::server::Target;
use crate::wording::counted;

pub use verify::{CollectionProof, verify};

/// How long a worker waits before it looks again whether a part, a token or a lease has become free.
const POLL: Duration = Duration::from_secs(1);

/// How many times a worker tries to begin a load that another worker begins at the same time.
const BEGINNINGS_MAX: u32 = 60;

/// The task and the options of a worker.
#[derive(Debug, Clone)]
pub struct Work {
    /// The options of the load. The field `rejects` must name a directory.
    pub options: LoadOptions,
    /// The secret key of the `_id`s.
    pub key: IdentityKey,
    /// Number of threads that encode. 0 means that the program decides.
    pub workers: usize,
    /// The index of this worker and the number of workers. They only decide which part and which token the worker tries
    /// first.
    pub place: Option<(u32, u32)>,
    /// Maximum number of bulk commands that all workers together send at the same time. `None` means no common limit. A
    /// worker that loads a part always sends at least one command for each kind of document.
    pub writers_max: Option<u32>,
    /// Whether to load no parts and only end the load.
    pub only_finish: bool,
    /// What the worker shows of its progress.
    pub display: Display,
}

/// What a worker shows of its progress.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    /// Whether to show no progress.
    pub quiet: bool,
    /// Whether to report each step.
    pub verbose: bool,
}

impl Display {
    /// Begins to measure the time of a part or of a verification. `bytes_total` is the size of its sources.
    fn progress(self, bytes_total: Option<u64>) -> Progress {
        let mut progress = Progress::new(self.verbose);
        progress.bytes_total = bytes_total;
        progress
    }
}

/// Loads parts of the manifest until all parts are loaded. Then ends the load of each table, unless another worker ends
/// it.
///
/// # Errors
/// If a part cannot be loaded, or if a load cannot be ended. Committed chunks stay committed, and the same command
/// continues after them.
pub async fn work(
    manifest: &Manifest,
    target: &Target,
    work: &Work,
    interrupt: &Interrupt,
) -> Result<WorkSummary, Error> {
    let worker = Worker { manifest, target, work, interrupt };
    let mut done = WorkSummary { manifest: manifest.id.clone(), ..WorkSummary::default() };
    let mut was_complete = vec![false; manifest.tables.len()];
    if !work.only_finish {
        for (table, was_complete) in was_complete.iter_mut().enumerate() {
            let load = worker.register(table).await?;
            *was_complete = load.state == State::Complete;
            if !*was_complete {
                worker.load_parts(table, &load, &mut done).await?;
            }
        }
    }
    for (table, was_complete) in was_complete.into_iter().enumerate() {
        // A worker of an array that starts late need not verify again what another worker has verified.
        if was_complete && work.place.is_some() {
            continue;
        }
        done.tables.extend(worker.end(table, was_complete).await?);
    }
    Ok(done)
}

struct Worker<'a> {
    manifest: &'a Manifest,
    target: &'a Target,
    work: &'a Work,
    interrupt: &'a Interrupt,
}

impl Worker<'_> {
    /// Returns the ledger document of a table's load. The first worker creates this document, and the others wait for
    /// it.
    async fn register(&self, table: usize) -> Result<LoadDocument, Error> {
        let (plan, target) = (self.plan(table, 0..1)?, self.target_of(table));
        let mut beginnings = 0;
        loop {
            match load::register(&plan, &target, &self.work.options, self.scope(table)).await {
                Err(Error::Held(_) | Error::NoLongerEmpty)
                    if beginnings < BEGINNINGS_MAX && !self.interrupt.is_asked() =>
                {
                    beginnings += 1;
                    tokio::time::sleep(POLL).await;
                }
                registered => return registered,
            }
        }
    }

    /// Loads parts of a table. Returns when all parts of the table are loaded, by this worker or by others.
    async fn load_parts(&self, table: usize, load: &LoadDocument, done: &mut WorkSummary) -> Result<(), Error> {
        let target = self.target_of(table);
        let ledger = Ledger::new(&target.db(), &load.collection, self.work.options.lease).of_parts();
        let numbers = self.in_order(table);
        let waiting = self.work.display.progress(None);
        let mut is_told = false;
        loop {
            if self.interrupt.is_asked() {
                return Err(Error::Interrupted);
            }
            let left = left(&ledger, load, &numbers).await?;
            if left.is_empty() {
                return Ok(());
            }
            let taken = ledger.part_leases(load.id).await.map_err(|error| Error::of_ledger("read", error))?;
            let is_free = |number: &&u32| {
                taken.get(number).is_none_or(|held| held.left.is_zero() || held.lease.owner.has_ended())
            };
            let mut is_loaded = false;
            for &number in left.iter().filter(is_free) {
                match self.load_part(number, load).await {
                    Ok(summary) if summary.outcome == load::LOADED => {
                        done.add_part(number, &summary);
                        is_loaded = true;
                        break;
                    }
                    // Another worker has this part, or has just loaded it.
                    Ok(_) | Err(Error::Held(_) | Error::RejectFileInUse { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if !is_loaded {
                if !std::mem::replace(&mut is_told, true) {
                    waiting.enter(Phase::WaitingForOtherLoad);
                    waiting.say(&format!(
                        "waiting for {} that other workers are loading",
                        counted(left.len() as u64, "part", "parts")
                    ));
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }

    async fn load_part(&self, number: u32, load: &LoadDocument) -> Result<LoadSummary, Error> {
        let part = &self.manifest.parts[number as usize];
        let plan =
            tokio::task::block_in_place(|| self.manifest.plan_of(part, self.work.key.clone(), self.work.workers))?;
        let scope = Scope::Part(PartScope::new(load, number, self.manifest.sources_of(part)));
        let progress = self.work.display.progress(plan.size_bytes());
        let _bar = Bar::start(&progress, self.work.display.quiet);
        progress.tell(|| format!("part {number} of {}", self.manifest.parts.len()));
        let target = self.target_of(part.table as usize);
        let (options, tokens) = self.with_tokens(load).await?;
        let result = load::attempt(&plan, &target, &options, scope, self.interrupt, &progress).await;
        tokens.release().await;
        let summary = result?;
        if !self.work.display.quiet && summary.outcome == load::LOADED {
            let (parts, read, rejected) = (self.manifest.parts.len(), summary.document.counts.read, summary.rejected());
            let seconds = summary.total_seconds;
            progress.say(&format!(
                "part {number} (of 0 to {}) is loaded: {read} rows read, {rejected} rejected, {seconds:.1} s",
                parts - 1
            ));
        }
        Ok(summary)
    }

    /// Returns the options for one part. If the bulk commands of all workers are limited, takes tokens. The part then
    /// sends at most as many commands at the same time as it has tokens, but at least one for each kind of document.
    async fn with_tokens(&self, load: &LoadDocument) -> Result<(LoadOptions, Tokens), Error> {
        let mut options = self.work.options.clone();
        let Some(of) = self.work.writers_max else { return Ok((options, Tokens::default())) };
        let ledger = Ledger::new(&self.target.db(), &load.collection, options.lease);
        let first = self.work.place.map_or(0, |(index, _)| index) % of;
        // Each kind of document has its own writer, and the limit applies to each writer.
        let kinds = 1 + load.further.len();
        let wanted = options.limits.in_flight_max * kinds;
        let tokens = Tokens::take(&ledger, &self.manifest.id, of, wanted, first, self.interrupt).await?;
        options.limits.in_flight_max = (tokens.count() / kinds).max(1);
        Ok((options, tokens))
    }

    /// Ends the load of a table. Returns `None` if another worker has ended or is ending the load. If another worker
    /// has the lease of the load, waits until the lease expires. If that worker has not renewed the lease by then, ends
    /// the load in its place.
    async fn end(&self, table: usize, was_complete: bool) -> Result<Option<LoadSummary>, Error> {
        let mut waited_for = None;
        loop {
            if !self.work.only_finish && !was_complete && self.register(table).await?.state == State::Complete {
                return Ok(None);
            }
            let held = match self.finish(table).await {
                Err(Error::Held(held)) => held,
                finished => return finished.map(Some),
            };
            let lease = Some((held.lease.owner.id, held.lease.fence));
            if waited_for == lease {
                return if self.work.only_finish { Err(Error::Held(held)) } else { Ok(None) };
            }
            waited_for = lease;
            if !load::wait(self.interrupt, held.left + POLL).await {
                return Err(Error::Interrupted);
            }
        }
    }

    async fn finish(&self, table: usize) -> Result<LoadSummary, Error> {
        let sources = 0..self.manifest.tables[table].sources.len();
        let (plan, target) = (self.plan(table, sources)?, self.target_of(table));
        let progress = self.work.display.progress(plan.size_bytes());
        let _bar = Bar::start(&progress, self.work.display.quiet);
        load::finish(&plan, &target, &self.work.options, self.scope(table), self.interrupt, &progress).await
    }

    fn plan(&self, table: usize, sources: std::ops::Range<usize>) -> Result<Plan, Error> {
        let table = &self.manifest.tables[table];
        tokio::task::block_in_place(|| table.plan(sources, self.work.key.clone(), self.work.workers))
    }

    fn scope(&self, table: usize) -> WholeScope {
        let (id, parts) = (self.manifest.id.clone(), self.manifest.parts_of(table));
        let of = OfManifest { id, table: table as u32, parts, documents_before: Vec::new() };
        WholeScope { of, sources: self.manifest.tables[table].sources.clone() }
    }

    fn target_of(&self, table: usize) -> Target {
        self.manifest.tables[table].target(self.target)
    }

    /// Returns the parts of a table in the order in which this worker tries them. The parts of the worker's own share
    /// are first. Reason: workers then rarely try the same part at the same time.
    fn in_order(&self, table: usize) -> Vec<u32> {
        let mut numbers = self.manifest.parts_of(table);
        if let Some((index, of)) = self.work.place {
            let (own, others): (Vec<u32>, Vec<u32>) = numbers.iter().partition(|&&number| number % of == index % of);
            let next = others.iter().position(|&number| number % of > index % of).unwrap_or(0);
            numbers = [&own[..], &others[next..], &others[..next]].concat();
        }
        numbers
    }
}

/// Returns those of the parts `numbers` that are not loaded yet, in the same order.
async fn left(ledger: &Ledger, load: &LoadDocument, numbers: &[u32]) -> Result<Vec<u32>, Error> {
    let parts = ledger.parts(load.id, numbers).await.map_err(|error| Error::of_ledger("read", error))?;
    let is_complete = |part: &&LoadDocument| part.state == State::Complete;
    let complete: BTreeSet<u32> =
        parts.iter().filter(is_complete).filter_map(|part| Some(part.part.as_ref()?.number)).collect();
    Ok(numbers.iter().copied().filter(|number| !complete.contains(number)).collect())
}
