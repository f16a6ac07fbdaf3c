//! A worker of a load that is divided into parts. The worker loads one part after another. When all parts are loaded,
//! it ends the load.
//!
//! Workers do not communicate with each other. The ledger has a lease for each part, and a worker loads a part only
//! while it has the lease. If a worker is killed, its lease expires, and another worker continues the part from the
//! part's checkpoint.

mod left;
mod tokens;
mod verify;

use std::time::{Duration, Instant};

use bson::Uuid;
use tokio::task::JoinSet;

use self::left::{Look, PartsLeft};
use self::tokens::Tokens;
use super::load::{self, LoadOptions, OtherParts, PartScope, Scope, WholeScope};
use super::manifest::Manifest;
use super::plan::{Plan, limited};
use super::stages::Interrupt;
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::ledger::{Counts, Held, Ledger, LedgerError, LoadDocument, OfManifest, PartProgress, State};
use crate::report::summary::LoadSummary;
use crate::report::times::Times;
use crate::report::work::WorkSummary;
use crate::report::{Bar, Phase, Progress};
use crate::server::Target;
use crate::spec::Dataset;
use crate::wording::counted;

pub use verify::{CollectionProof, verify};

/// How long a worker waits before it looks again whether a part, a token or a lease has become free.
const POLL: Duration = Duration::from_secs(1);

/// A worker that waits for parts doubles this time after each look, up to this limit. Reason: a thousand waiting
/// workers would otherwise keep the ledger busy. Because of this wait, the part of a killed worker may be taken over up
/// to 4 s later.
const POLL_MAX: Duration = Duration::from_secs(4);

/// How many parts a worker looks at with one query.
const PARTS_PER_LOOK: usize = 500;

/// How often a worker reads the counts of the other parts while it loads a part.
const WATCH: Duration = Duration::from_secs(5);

/// How many times a worker tries to begin a load if the collection does not stay empty meanwhile.
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
    /// Whether to show no progress.
    pub quiet: bool,
    /// The progress of the worker. It began when the command began.
    pub progress: Progress,
}

/// What a verification by several workers shows of its progress.
#[derive(Debug, Clone, Copy)]
pub struct Display {
    /// Whether to show no progress.
    pub quiet: bool,
    /// Whether to report each step.
    pub verbose: bool,
}

impl Display {
    /// Begins to measure the time of a verification. `bytes_total` is the size of its sources.
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
    let mut loads = Vec::new();
    if !work.only_finish {
        for table in 0..manifest.tables.len() {
            let load = worker.register(table).await?;
            if load.state != State::Complete {
                worker.load_parts(table, &load, &mut done).await?;
            }
            loads.push(load);
        }
    }
    for table in 0..manifest.tables.len() {
        let load = loads.get(table);
        let was_complete = load.is_some_and(|load| load.state == State::Complete);
        // A worker with a place is one of several. If it starts late, it need not verify again what another worker has
        // verified.
        if was_complete && work.place.is_some() {
            continue;
        }
        done.tables.extend(worker.end(table, load.filter(|_| !was_complete)).await?);
    }
    done.times = Times::new(&work.progress.times(), done.rows);
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
        let (mut patience, mut is_told) = (Patience::default(), false);
        loop {
            let error = match load::register(&plan, &target, &self.work.options, self.scope(table)).await {
                Err(error) if patience.permits(&error) => error,
                registered => return registered,
            };
            if let Error::Held(held) = &error
                && !std::mem::replace(&mut is_told, true)
            {
                self.work.progress.enter(Phase::WaitingForOtherLoad);
                self.work.progress.say(&format!(
                    "waiting, because another process begins this load or loads the same sources: {held}"
                ));
            }
            tokio::time::sleep(POLL).await;
            if self.interrupt.is_asked() {
                return Err(Error::Interrupted);
            }
        }
    }

    /// Loads parts of a table. Returns when all parts of the table are loaded, by this worker or by others.
    async fn load_parts(&self, table: usize, load: &LoadDocument, done: &mut WorkSummary) -> Result<(), Error> {
        let target = self.target_of(table);
        let ledger = Ledger::new(&target.db(), &load.collection, self.work.options.lease);
        // A limit of rejects applies to all parts together, so their counts are needed at each look.
        let is_limited = self.work.options.rejects_max.is_some();
        let mut left = PartsLeft::new(self.in_order(table), is_limited);
        let per_look = if is_limited { usize::MAX } else { PARTS_PER_LOOK };
        let (mut is_told, mut wait) = (false, POLL);
        loop {
            if let Some(look) = left.look(&ledger, load.id, per_look).await.map_err(reading)? {
                // When all parts are complete, the end of the load checks the limit of rejects.
                if left.count() == 0 {
                    return Ok(());
                }
                self.refuse_too_many_rejects(table, &look.begun)?;
                if self.load_one(&look, load, done).await? {
                    if self.interrupt.is_asked() {
                        return Err(Error::Interrupted);
                    }
                    wait = POLL;
                    left.start_again();
                }
                continue;
            }
            if left.count() == 0 {
                return Ok(());
            }
            self.work.progress.enter(Phase::WaitingForOtherLoad);
            if !std::mem::replace(&mut is_told, true) {
                let parts = counted(left.count() as u64, "part", "parts");
                self.work.progress.say(&format!("waiting for {parts} that other workers are loading"));
            }
            if !load::wait(self.interrupt, wait).await {
                return Err(Error::Interrupted);
            }
            wait = (2 * wait).min(POLL_MAX);
        }
    }

    /// Tries the free parts in order, and loads the first whose lease it gets. Returns false if other workers have
    /// taken all of them.
    async fn load_one(&self, look: &Look, load: &LoadDocument, done: &mut WorkSummary) -> Result<bool, Error> {
        for &number in &look.free {
            match self.load_part(number, load, &look.begun).await {
                Ok(summary) if summary.outcome == load::LOADED => {
                    done.add_part(number, &summary);
                    return Ok(true);
                }
                // Another worker has this part, or has just loaded it.
                Ok(_) | Err(Error::Held(_) | Error::RejectFileInUse { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Fails if the parts together have more rejects than allowed.
    fn refuse_too_many_rejects(&self, table: usize, parts: &[PartProgress]) -> Result<(), Error> {
        let Some(max) = self.work.options.rejects_max else { return Ok(()) };
        let counts = load::sums(parts.iter());
        let is_over = |counts: &Counts| max.is_exceeded(counts.rejected, counts.read, false);
        let mut sum = Counts::default();
        for counts in &counts {
            sum.add(counts);
        }
        if !counts.iter().chain([&sum]).any(is_over) {
            return Ok(());
        }
        let Dataset { columns, kinds } = self.manifest.tables[table].dataset()?;
        if !limited(&columns, counts.clone()).iter().any(is_over) {
            return Ok(());
        }
        let directory = self.work.options.rejects.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        Err(load::too_many_rejects(&kinds, &counts, Vec::new(), &directory))
    }

    /// Loads a part. `parts` are the states of all parts that have begun.
    async fn load_part(&self, number: u32, load: &LoadDocument, parts: &[PartProgress]) -> Result<LoadSummary, Error> {
        let begun = Instant::now();
        self.work.progress.enter(Phase::Preparation);
        let part = &self.manifest.parts[number as usize];
        let plan =
            tokio::task::block_in_place(|| self.manifest.plan_of(part, self.work.key.clone(), self.work.workers))?;
        let scope = PartScope::new(load, number, self.manifest.sources_of(part));
        scope.others.set(parts, number);
        let progress = self.progress(&plan);
        let _bar = Bar::start(&progress, self.work.quiet);
        progress.tell(|| format!("part {number} of {}", self.manifest.parts.len()));
        let target = self.target_of(part.table as usize);
        let (options, tokens) = self.with_tokens(load).await?;
        let _watching = self.watch(load, number, &scope.others);
        let result = load::attempt(&plan, &target, &options, Scope::Part(scope), self.interrupt, &progress).await;
        tokens.release().await;
        let summary = result?;
        if !self.work.quiet && summary.outcome == load::LOADED {
            let (parts, read, rejected) = (self.manifest.parts.len(), summary.rows_read(), summary.rejected());
            let seconds = begun.elapsed().as_secs_f64();
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

    /// If the number of rejects is limited, starts a task that reads the counts of the other parts at regular
    /// intervals. The task ends when the result is dropped.
    fn watch(&self, load: &LoadDocument, number: u32, others: &OtherParts) -> JoinSet<()> {
        let mut watching = JoinSet::new();
        let numbers: Vec<u32> = load.manifest.iter().flat_map(|manifest| manifest.parts.iter().copied()).collect();
        if self.work.options.rejects_max.is_some() && numbers.len() > 1 {
            let ledger = Ledger::new(&self.target.db(), &load.collection, self.work.options.lease);
            let (load, others) = (load.id, others.clone());
            watching.spawn(async move {
                loop {
                    tokio::time::sleep(WATCH).await;
                    // Ignore a ledger that cannot be read: the load of the part reports that itself.
                    if let Ok(parts) = ledger.part_progress(load, &numbers).await {
                        others.set(&parts, number);
                    }
                }
            });
        }
        watching
    }

    /// Ends the load of a table. `load` is its ledger document, if this worker has loaded parts of it. Returns `None`
    /// if another worker has ended the load.
    ///
    /// If another worker is ending the load, waits until that worker's lease, as first read, expires. If that worker
    /// was killed, its lease is then over, and this worker ends the load. If that worker has renewed its lease, it will
    /// end the load. This function then returns `None`, or with `only_finish` the error [`Error::Held`].
    async fn end(&self, table: usize, load: Option<&LoadDocument>) -> Result<Option<LoadSummary>, Error> {
        let mut waiting: Option<(Uuid, i64, Instant)> = None;
        loop {
            let end = match load {
                Some(load) => self.look(load).await?,
                None => End::Nobody,
            };
            let held = match end {
                End::Done => return Ok(None),
                End::By(held) => held,
                End::Nobody => match self.finish(table).await {
                    Err(Error::Held(held)) => *held,
                    finished => return finished.map(Some),
                },
            };
            let (owner, fence) = (held.lease.owner.id, held.lease.fence);
            let until = match waiting {
                Some((other, before, until)) if (other, before) == (owner, fence) => until,
                _ => Instant::now() + held.left + POLL,
            };
            if Instant::now() >= until {
                return if self.work.only_finish { Err(Error::Held(Box::new(held))) } else { Ok(None) };
            }
            waiting = Some((owner, fence, until));
            self.work.progress.enter(Phase::WaitingForOtherLoad);
            // Without the ledger document, a look opens all sources. So the worker then waits until the lease is over.
            let wait = until - Instant::now();
            if !load::wait(self.interrupt, if load.is_some() { POLL_MAX.min(wait) } else { wait }).await {
                return Err(Error::Interrupted);
            }
        }
    }

    /// Reads from the ledger whether another worker has ended the load, or is ending it. This check needs no sources.
    /// So most workers, which do not end the load themselves, need not open them.
    async fn look(&self, load: &LoadDocument) -> Result<End, Error> {
        let ledger = Ledger::new(&self.target.db(), &load.collection, self.work.options.lease);
        let state = ledger.load_with_id(load.id).await.map_err(reading)?.map(|load| load.state);
        if state == Some(State::Complete) {
            return Ok(End::Done);
        }
        let held = ledger.leases_of(&[&load.key]).await.map_err(reading)?.into_values().find(|held| !held.is_over());
        Ok(held.map_or(End::Nobody, End::By))
    }

    async fn finish(&self, table: usize) -> Result<LoadSummary, Error> {
        self.work.progress.enter(Phase::Preparation);
        let sources = 0..self.manifest.tables[table].sources.len();
        let (plan, target) = (self.plan(table, sources)?, self.target_of(table));
        let progress = self.progress(&plan);
        let _bar = Bar::start(&progress, self.work.quiet);
        load::finish(&plan, &target, &self.work.options, self.scope(table), self.interrupt, &progress).await
    }

    /// Returns the progress of the worker for a part or for the end of a load. The times of all parts add up.
    fn progress(&self, plan: &Plan) -> Progress {
        let mut progress = self.work.progress.clone();
        progress.bytes_total = plan.size_bytes();
        progress
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

/// Who ends a load.
enum End {
    Nobody,
    By(Held),
    Done,
}

/// How long a worker tries to begin a load that another process begins at the same time.
#[derive(Debug, Default)]
struct Patience {
    beginnings: u32,
}

impl Patience {
    /// Returns true if the worker should try again after this error. A process that still has the lease is working,
    /// even if it takes long: it may count the documents of a large collection. So always wait for it.
    fn permits(&mut self, error: &Error) -> bool {
        match error {
            Error::Held(_) => true,
            Error::NoLongerEmpty => {
                self.beginnings += 1;
                self.beginnings <= BEGINNINGS_MAX
            }
            _ => false,
        }
    }
}

fn reading(error: LedgerError) -> Error {
    Error::of_ledger("read", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Lease, Owner};

    #[test]
    fn a_worker_waits_for_another_process_as_long_as_that_has_the_lease() {
        let lease = Lease { owner: Owner::this_process(), fence: 1, since_ms: 0, until_ms: 0 };
        let held = Error::Held(Box::new(Held { lease, left: Duration::from_secs(30) }));
        let mut patience = Patience::default();
        assert!((0..10_000).all(|_| patience.permits(&held)));
        assert!((0..BEGINNINGS_MAX).all(|_| patience.permits(&Error::NoLongerEmpty)));
        assert!(!patience.permits(&Error::NoLongerEmpty) && !patience.permits(&Error::Interrupted));
    }
}
