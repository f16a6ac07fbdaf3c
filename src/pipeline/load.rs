//! The load: encoded blocks into runs, runs into the collection, outcomes into the ledger.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use bson::{DateTime, Uuid};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Error;
use super::plan::Plan;
use super::settle::Account;
use super::spares::Spares;
use super::stages::{Interrupt, Stages};
use super::verify::{self, VerifyOptions};
use crate::access::{AccessError, Failure, Target, schema};
use crate::clean::Tally;
use crate::encode::{Digest, EncodedBlock};
use crate::ledger::{Checkpoint, Counts, LEDGER_COLLECTION, Ledger, LoadRun, Options, SourceIdentity, State};
use crate::parse::Notices;
use crate::report::Progress;
use crate::report::summary::{self, LoadSummary, RejectCounts, SourceNote};
use crate::write::{Bulk, EncodedRun, Limits, Mode, Policy, RUNS_MAX, RunBuilder, Settled, WriteError, Writer};

/// What a load was asked to do beside its sources and its target.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// How stored documents are treated.
    pub mode: Mode,
    /// Drop the collection first. Whoever asks the user for consent has done so.
    pub drop: bool,
    /// Keep run and row inside each document.
    pub lineage: bool,
    /// Where rejects go; beside each source unless given.
    pub rejects: Option<PathBuf>,
    /// How many rejects stop the load.
    pub rejects_max: Option<RejectsMax>,
    /// Load again what the ledger knows as loaded.
    pub reload: bool,
    /// Prove the content afterwards.
    pub verify: bool,
    /// Bounds of batches.
    pub limits: Limits,
    /// Bytes of documents that are sorted and written together.
    pub run_bytes_max: usize,
}

/// How many rejects stop a load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RejectsMax {
    /// More than this many.
    Rows(u64),
    /// More than this share of the rows read, in percent; asked from the first 10,000 rows on, and at the end.
    Percent(f64),
}

impl RejectsMax {
    /// Rows after which a share means something.
    const ROWS_MIN: u64 = 10_000;

    pub(super) fn is_exceeded(self, rejected: u64, read: u64, at_end: bool) -> bool {
        match self {
            Self::Rows(rows) => rejected > rows,
            Self::Percent(share) => (at_end || read >= Self::ROWS_MIN) && rejected as f64 * 100.0 > share * read as f64,
        }
    }
}

/// Loads the plan's sources into the target.
///
/// # Errors
/// When something stops the load. What was settled by then is durable, and the same command goes on from there.
pub async fn load(
    plan: &Plan,
    target: &Target,
    options: &LoadOptions,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LoadSummary, Error> {
    let mut load = Load::begin(plan, target, options).await?;
    let blocks = load.run.checkpoint.blocks;
    progress.tell(|| {
        format!("load {} into {}.{}, {blocks} blocks settled before", load.run.id, target.database, target.collection)
    });
    if load.run.state == State::Complete {
        return load.verify_only(interrupt, progress).await;
    }
    let started = Instant::now();
    let result = load.write(interrupt, progress);
    let seconds = started.elapsed().as_secs_f64();
    let read = load.end(result, interrupt).await?;
    let mut summary = load.summary(&read, "loaded");
    summary.seconds = seconds;
    summary.collection_notes = load.finish_collection().await?;
    load.complete().await?;
    summary.run = Some(load.run.id.to_string());
    let conformity = load.ask_conformity();
    load.prove(&mut summary, interrupt, progress).await?;
    if let Some(asked) = conformity {
        summary.collection_notes.push(conformity_note(asked).await?);
    }
    Ok(summary)
}

async fn conformity_note(asked: JoinHandle<Result<u64, AccessError>>) -> Result<String, Error> {
    match asked.await.unwrap_or_else(|stopped| std::panic::resume_unwind(stopped.into_panic()))? {
        0 => Ok("no document breaks the validator, says the server".into()),
        count => Err(Error::Stopped(format!(
            "{count} documents of the collection break the spec's validator; they are not of this load: see `medlift verify`"
        ))),
    }
}

/// A load under way.
struct Load<'a> {
    plan: &'a Plan,
    target: &'a Target,
    options: &'a LoadOptions,
    ledger: Ledger,
    bulk: Bulk,
    run: LoadRun,
    account: Account<'a>,
}

/// What the reading side counted: all blocks, also those that an earlier, interrupted load has settled.
#[derive(Debug, Default)]
pub(super) struct ReadSide {
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) tally: Tally,
    pub(super) rejects: RejectCounts,
    /// What was noticed in the rows, by source.
    pub(super) notices: Vec<Notices>,
    over_limit: bool,
}

impl<'a> Load<'a> {
    /// Finds out what is there: an empty collection, a load of the same sources that is complete or can be gone on with.
    async fn begin(plan: &'a Plan, target: &'a Target, options: &'a LoadOptions) -> Result<Self, Error> {
        if target.collection == LEDGER_COLLECTION {
            let problem = format!("`{LEDGER_COLLECTION}` is where loads are recorded; give another --collection");
            return Err(Error::Usage(problem));
        }
        schema::refuse_warning(target).await?;
        let ledger = Ledger::new(&target.db(), &target.collection);
        let wtimeout = target.db().write_concern().and_then(|concern| concern.w_timeout);
        let bulk = Bulk::new(target.db(), &target.collection, wtimeout.map(|time| time.as_millis() as i64));
        let mut account = Account::open(plan, options.rejects.as_deref())?;
        let mut sources = Vec::new();
        if options.drop {
            // What is dropped is gone: every source is read to its end before.
            sources = plan.identities_of_readable()?;
            bulk.drop_collection().await.map_err(writing)?;
            ledger.mark_dropped().await.map_err(keeping)?;
        }
        let empty = bulk.is_empty().await.map_err(writing)?;
        let wanted = wanted_options(plan, options);
        // No earlier load counts where the collection is empty; what the sources are is then found out beside the work.
        let prior = if empty {
            None
        } else {
            if sources.is_empty() {
                sources = plan.identities()?;
            }
            ledger.find(&sources, &plan.spec.hash, &wanted).await.map_err(reading)?
        };
        let run = match prior {
            Some(run) if run.state == State::Complete && !options.reload && options.mode == Mode::Insert => run,
            Some(run) if run.state != State::Complete && account.resume(&run)? => {
                LoadRun { state: State::Running, ..run }
            }
            _ => new_run(plan, target, sources, wanted, empty),
        };
        Ok(Self { plan, target, options, ledger, bulk, run, account })
    }

    /// Reads and writes everything that is not settled yet.
    fn write(&mut self, interrupt: &Interrupt, progress: &Progress) -> Result<ReadSide, Error> {
        let policy = Policy {
            mode: self.options.mode,
            on_conflict: self.plan.spec.identity.on_conflict,
            empty_at_start: self.run.first_load,
        };
        let (bulk, key, guess) = (self.bulk.clone(), self.plan.key.clone(), self.plan.records_guess());
        let mut writer = Writer::new(bulk, self.options.limits, policy, key, guess);
        let builder = RunBuilder::new(policy, self.options.run_bytes_max, self.run.checkpoint.blocks);
        let (to_writer, runs) = mpsc::channel(1);
        let (plan, lineage) = (self.plan, self.options.lineage.then(|| self.run.id.bytes()));
        let spares = &Spares::default();
        let (free, places) = channel();
        (0..RUNS_MAX).for_each(|_| put_back(&free));
        let stages = Stages { plan, lineage, workers: plan.workers(true), sorts: true, interrupt, progress, spares };
        let (rejects_max, attempts_max) = (self.options.rejects_max, self.options.limits.attempts_max);
        let (run, account, ledger) = (&mut self.run, &mut self.account, &self.ledger);
        let write = async move {
            if run.sources.is_empty() {
                run.sources = plan.identities()?;
            }
            ledger.put(run).await.map_err(keeping)?;
            let settle = async move |settled: Settled| {
                progress.rows_settled.fetch_add(settled.run.rows(), std::sync::atomic::Ordering::Relaxed);
                account.settle(&settled, run)?;
                if let Ok(done) = Arc::try_unwrap(settled.run) {
                    done.blocks.into_iter().for_each(|block| spares.give_documents(block));
                }
                put_back(&free);
                ledger.put_patiently(run, attempts_max).await.map_err(keeping)?;
                let Counts { read, written, .. } = run.counts;
                progress.tell(|| format!("durable: {read} rows read, {written} documents written"));
                Ok::<(), Error>(())
            };
            writer.write_all(runs, settle).await
        };
        let outlet = Outlet { builder, to_writer, places, is_placed: false, spares };
        let (read, written) = beside(move || read(&stages, outlet, rejects_max), write);
        // The writer's error is the cause where both have one: the reader then only finds nobody listening.
        written?;
        read
    }

    /// Keeps in the ledger how the load ended, if it did not come to its end.
    async fn end(&mut self, result: Result<ReadSide, Error>, interrupt: &Interrupt) -> Result<ReadSide, Error> {
        let (state, cause) = match result {
            Err(cause) => (State::Failed, cause),
            Ok(read) if self.is_over_limit(&read) => (State::Stopped, self.too_many_rejects(&read)),
            Ok(_) if interrupt.is_asked() => (State::Stopped, Error::Interrupted),
            Ok(read) if !self.run.counts.are_conserved() || self.run.counts.read != read.rows => {
                (State::Failed, self.not_conserved(&read))
            }
            Ok(read) => {
                self.account.sync()?;
                return Ok(read);
            }
        };
        self.run.state = state;
        // The cause matters more than a ledger or a reject file that the same failure keeps from being written. A load whose
        // sources could not be hashed was never in the ledger.
        if !self.run.sources.is_empty() {
            let _ = self.ledger.put(&mut self.run).await;
        }
        let _ = self.account.sync();
        let Counts { written, read: settled, .. } = self.run.counts;
        Err(Error::Unfinished { cause: Box::new(cause), written, settled })
    }

    fn is_over_limit(&self, read: &ReadSide) -> bool {
        let counts = &self.run.counts;
        read.over_limit
            || self.options.rejects_max.is_some_and(|max| max.is_exceeded(counts.rejected, counts.read, true))
    }

    fn too_many_rejects(&self, read: &ReadSide) -> Error {
        let rejected = self.run.counts.rejected.max(read.rejected);
        Error::Rejects {
            problem: format!("{rejected} rows rejected of {} read, more than allowed", read.rows),
            hint: format!("see {}; correct them, or allow more with --max-rejects", self.account.files().join(", ")),
        }
    }

    fn not_conserved(&self, read: &ReadSide) -> Error {
        let counts = &self.run.counts;
        let accounted =
            counts.written + counts.already_present + counts.duplicates + counts.rejected + counts.conflicts;
        Error::NotConserved { read: read.rows, accounted }
    }

    /// Indexes and validator of a first load, built when all documents are there.
    async fn finish_collection(&self) -> Result<Vec<String>, Error> {
        if !self.run.first_load {
            return Ok(Vec::new());
        }
        let (target, spec) = (self.target, &self.plan.spec);
        let names: Vec<&str> = spec.indexes.iter().map(|index| index.name.as_str()).collect();
        let built = format!("indexes built: {}", names.join(", "));
        let notes = vec![
            note_of(schema::build_indexes(target, spec).await, built, "indexes not built")?,
            note_of(schema::attach(target, spec).await, "validator attached".into(), "validator not attached")?,
        ];
        Ok(notes)
    }

    /// Asks the server how many documents break the validator, beside the proof: one keeps the server busy, the other us.
    fn ask_conformity(&self) -> Option<JoinHandle<Result<u64, AccessError>>> {
        let (target, spec) = (self.target.clone(), self.plan.spec.clone());
        let is_asked = self.run.first_load && self.options.verify;
        is_asked.then(|| tokio::spawn(async move { schema::nonconforming(&target, &spec).await }))
    }

    async fn complete(&mut self) -> Result<(), Error> {
        self.run.state = State::Complete;
        self.run.finished = Some(DateTime::now());
        self.ledger.put(&mut self.run).await.map_err(keeping)
    }

    fn summary(&self, read: &ReadSide, outcome: &str) -> LoadSummary {
        let spec = &self.plan.spec;
        let mut rejects = read.rejects.list(spec);
        rejects.extend(self.account.refused.list(spec));
        LoadSummary {
            outcome: outcome.to_owned(),
            target: Some(format!("{}.{} on {}", self.target.database, self.target.collection, self.target.address)),
            sources: source_notes(self.plan, &read.notices),
            counts: self.run.counts,
            rejects,
            changes: summary::changes(&read.tally, spec),
            warnings: summary::warnings(&read.tally, spec),
            reject_files: self.account.files(),
            digest: self.run.digest.clone(),
            ..LoadSummary::default()
        }
    }

    /// A load that the ledger knows as complete is proven, not written again.
    async fn verify_only(self, interrupt: &Interrupt, progress: &Progress) -> Result<LoadSummary, Error> {
        let mut summary = self.summary(&ReadSide::default(), "already loaded, verified instead");
        summary.run = Some(self.run.id.to_string());
        let counts = self.run.counts;
        summary.counts =
            Counts { written: 0, replaced: 0, already_present: counts.written + counts.already_present, ..counts };
        self.prove(&mut summary, interrupt, progress).await?;
        Ok(summary)
    }

    /// The proof, from the source and the collection alone.
    async fn prove(&self, summary: &mut LoadSummary, interrupt: &Interrupt, progress: &Progress) -> Result<(), Error> {
        if !self.options.verify {
            summary.unverified = Some("left out with --no-verify".into());
        } else if self.options.mode == Mode::Merge {
            summary.unverified =
                Some("merged documents may hold more than the source; `medlift verify` compares them whole".into());
        } else if self.plan.is_read_once() {
            summary.unverified = Some("standard input cannot be read again; verify against a file".into());
        } else {
            let started = Instant::now();
            // Other loads into the same collection have left other documents there, and rightly so.
            let alone = self.run.first_load && self.ledger.count().await.map_err(reading)? == 1;
            let options = VerifyOptions { only_source: !alone, mode: self.options.mode, ..VerifyOptions::default() };
            summary.verification = Some(verify::verify(self.plan, self.target, &options, interrupt, progress).await?);
            summary.verification_seconds = started.elapsed().as_secs_f64();
        }
        Ok(())
    }
}

/// Collects blocks into runs and hands them to the writer.
struct Outlet<'a> {
    builder: RunBuilder,
    to_writer: mpsc::Sender<EncodedRun>,
    /// One for each run there may be in memory; a settled run puts its own back. Ends when the writer ends.
    places: Receiver<()>,
    /// Whether the run under way has its place.
    is_placed: bool,
    spares: &'a Spares,
}

impl Outlet<'_> {
    fn push(&mut self, block: EncodedBlock) -> Result<(), Error> {
        if !self.is_placed {
            self.places.recv().map_err(|_| writer_ended())?;
            self.is_placed = true;
        }
        let run = self.builder.push(block);
        self.send(run)
    }

    fn finish(mut self) -> Result<(), Error> {
        let run = self.builder.finish();
        self.send(run)
    }

    fn send(&mut self, run: Option<EncodedRun>) -> Result<(), Error> {
        let Some(mut run) = run else { return Ok(()) };
        if run.is_settled {
            // Only its identities count: its memory is free, and its place is the next one's.
            run.blocks.drain(..).for_each(|block| self.spares.give_documents(block));
        }
        self.is_placed = run.is_settled;
        self.to_writer.blocking_send(run).map_err(|_| writer_ended())
    }
}

/// Whoever made runs has ended when nobody takes the place.
fn put_back(free: &Sender<()>) {
    let _ = free.send(());
}

fn writer_ended() -> Error {
    Error::Stopped("the writer ended early".into())
}

/// Reads, parses, cleans and encodes everything, and sends it on run by run.
fn read(stages: &Stages<'_>, mut outlet: Outlet, rejects_max: Option<RejectsMax>) -> Result<ReadSide, Error> {
    let mut side = ReadSide::default();
    stages.encode_all(|block| {
        side.count(&block);
        if rejects_max.is_some_and(|max| max.is_exceeded(side.rejected, side.rows, false)) {
            side.over_limit = true;
            stages.interrupt.ask();
        }
        outlet.push(block)
    })?;
    outlet.finish()?;
    Ok(side)
}

impl ReadSide {
    pub(super) fn count(&mut self, block: &EncodedBlock) {
        self.rows += block.rows;
        self.rejected += block.rejects.len() as u64;
        self.tally.add(&block.tally);
        self.notices.resize(self.notices.len().max(block.source + 1), Notices::default());
        self.notices[block.source].add(&block.notices);
        block.rejects.iter().for_each(|row| self.rejects.add(row.reject.reason, row.reject.field));
    }
}

/// Runs blocking work on a thread of its own beside a future, and waits for both.
fn beside<A: Send, B>(blocking: impl FnOnce() -> A + Send, future: impl Future<Output = B>) -> (A, B) {
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let blocking = scope.spawn(blocking);
            let done = Handle::current().block_on(future);
            (blocking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), done)
        })
    })
}

/// How each source of the plan is read, and what was noticed in its rows; `notices` may be shorter than the sources are many.
pub(super) fn source_notes(plan: &Plan, notices: &[Notices]) -> Vec<SourceNote> {
    let note = |(index, source): (usize, &super::SourcePlan)| {
        let notices = notices.get(index).cloned().unwrap_or_default();
        SourceNote::new(&source.source.name, source.encoding.name(), &source.layout, &plan.spec, &notices)
    };
    plan.sources.iter().enumerate().map(note).collect()
}

fn wanted_options(plan: &Plan, options: &LoadOptions) -> Options {
    let mode = match options.mode {
        Mode::Insert => "insert",
        Mode::Upsert => "upsert",
        Mode::Merge => "merge",
    };
    let (identity_key, reading) = (plan.key.fingerprint(), plan.reading.clone());
    Options { mode: mode.into(), identity_key, lineage: options.lineage, reading }
}

fn new_run(plan: &Plan, target: &Target, sources: Vec<SourceIdentity>, options: Options, first_load: bool) -> LoadRun {
    let now = DateTime::now();
    LoadRun {
        id: Uuid::new(),
        collection: target.collection.clone(),
        spec: plan.spec.name.clone(),
        spec_hash: plan.spec.hash.clone(),
        sources,
        options,
        state: State::Running,
        first_load,
        started: now,
        updated: now,
        finished: None,
        counts: Counts::default(),
        checkpoint: Checkpoint::default(),
        digest: Digest::default().to_string(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// What a user may not do is left to `medlift provision` and said; any other failure stops.
fn note_of(done: Result<(), AccessError>, note: String, undone: &str) -> Result<String, Error> {
    match done {
        Ok(()) => Ok(note),
        Err(AccessError::Command { failure: Failure::NotAuthorized { .. }, .. }) => {
            Ok(format!("{undone}: this user may not; run `medlift provision` as an administrator"))
        }
        Err(error) => Err(error.into()),
    }
}

fn writing(failure: Failure) -> Error {
    Error::Write(WriteError::Server(failure))
}

fn reading(failure: Failure) -> Error {
    Error::Ledger { doing: "read", failure }
}

fn keeping(failure: Failure) -> Error {
    Error::Ledger { doing: "write", failure }
}
