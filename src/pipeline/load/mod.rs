//! The load: collects encoded blocks into chunks, writes the chunks to the collection, and records the outcomes in the
//! ledger.
//!
//! `begin` examines the target, and finds out whether this load is new, interrupted or already complete. `feed` reads
//! the sources. `write` writes and commits the chunks. `end` builds missing indexes, attaches the validator, and
//! verifies the collection. Only one process at a time may write a load ([`Claim`]).
//!
//! If several workers share a load, each of them loads one part at a time, with its own claim. `scope` describes what a
//! process executes. `whole` begins such a load and ends it.

mod anew;
mod begin;
mod conformity;
mod end;
mod feed;
mod fold;
mod places;
mod reject_limit;
mod scope;
mod shards;
mod whole;
mod write;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bson::Uuid;

use fold::Folding;
pub(crate) use fold::missing_right_to_fold;

use super::plan::Plan;
use super::settle::Account;
use super::stages::Interrupt;
use crate::error::Error;
use crate::ledger::{Claim, Ledger, LedgerError, LoadDocument, State};
use crate::parse::Notices;
use crate::report::summary::{LoadSummary, SourceNote};
use crate::report::times::Times;
use crate::report::{Phase, Progress};
use crate::server::{Failure, Target};
use crate::spec::Spec;
use crate::write::{Bulk, Limits, Mode, ShardMap, WriteError};

pub(super) use end::too_many_rejects;
pub(super) use feed::ReadSide;
pub use reject_limit::RejectsMax;
pub(super) use reject_limit::{OtherParts, sums};
pub(super) use scope::{PartScope, Scope, WholeScope};
pub(super) use whole::{finish, register};

/// The options of a load, except its sources and its target.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// How the load treats documents that are already stored.
    pub mode: Mode,
    /// Whether to drop the collections first. The caller must have asked the user.
    pub drop: bool,
    /// Whether each document contains its lineage: the load's id and the row number.
    pub lineage: bool,
    /// The file for the rejects of all sources, or the directory in which each source has its own file. If it is
    /// `None`, each file is beside its source.
    pub rejects: Option<PathBuf>,
    /// Whether the summary lists the first rejects. Then no reject file is written.
    pub lists_rejects: bool,
    /// The number of rejects above which the load stops. `None` for no limit. If the load is divided into parts, the
    /// rejects of all parts count.
    pub rejects_max: Option<RejectsMax>,
    /// Whether to load everything again, even if the ledger says that this load is complete.
    pub reload: bool,
    /// Whether to verify the collection after the load.
    pub verify: bool,
    /// Whether the server checks all documents with the validator, even if a sample would be enough.
    pub check_validator: bool,
    /// Whether to fold HL7 v2 messages into patients, visits and results at the end of the load.
    pub fold: bool,
    /// Limits of the commands that write documents.
    pub limits: Limits,
    /// Maximum size of a chunk, in bytes.
    pub chunk_bytes_max: usize,
    /// How long the lease of the load is valid without renewal. Another process can continue the load after that time.
    pub lease: Duration,
}

/// The outcome in the summary of a load or a part that this process has loaded.
pub(super) const LOADED: &str = "loaded";

/// Maximum number of times that a load starts again because another load wrote into its empty collection at the same
/// time.
const BEGINNINGS_MAX: u32 = 3;

/// Loads the plan's sources into the target. Another process may have the *lease* of this load, that is, the right to
/// write it until a point in time. In this case, waits until that time, and tries again. Fails if the other process has
/// renewed the lease meanwhile.
///
/// If the collection was empty and another load writes into it at the same time, starts again.
///
/// # Errors
/// If the load stops. Committed chunks stay committed. If the load had begun to write, the error says how to continue
/// it.
pub async fn load(
    plan: &Plan,
    target: &Target,
    options: &LoadOptions,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LoadSummary, Error> {
    let mut waited_for = None;
    let mut beginnings = 0;
    loop {
        let result = attempt(plan, target, options, Scope::Alone, interrupt, progress).await;
        let held = match &result {
            Err(Error::Held(held)) => held,
            Err(Error::NoLongerEmpty) if beginnings < BEGINNINGS_MAX => {
                beginnings += 1;
                continue;
            }
            _ => return result,
        };
        let lease = Some((held.lease.owner.id, held.lease.fence));
        // If the same process still has the lease after the waiting time, that process is alive and has renewed the
        // lease. Then do not wait a second time.
        if waited_for == lease || !is_patient(interrupt, held.left, progress, &held.to_string()).await {
            return result;
        }
        waited_for = lease;
    }
}

/// Waits for `left`, the remaining time of another process's lease. Returns false if the user interrupts the program.
async fn is_patient(interrupt: &Interrupt, left: Duration, progress: &Progress, held_by: &str) -> bool {
    progress.enter(Phase::WaitingForOtherLoad);
    progress.say(&format!(
        "waiting up to {} s, because another process loads these sources: {held_by}",
        left.as_secs() + 1
    ));
    wait(interrupt, left).await
}

/// Waits a little longer than `left`, because the lease expires by the server's clock. Returns false if the user
/// interrupts the program.
pub(super) async fn wait(interrupt: &Interrupt, left: Duration) -> bool {
    const POLL: Duration = Duration::from_millis(200);
    let until = Instant::now() + left + POLL;
    while Instant::now() < until && !interrupt.is_asked() {
        tokio::time::sleep(POLL).await;
    }
    !interrupt.is_asked()
}

/// Tries once to load the plan's sources. Does not wait for the lease of another process.
pub(super) async fn attempt(
    plan: &Plan,
    target: &Target,
    options: &LoadOptions,
    scope: Scope,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LoadSummary, Error> {
    progress.enter(Phase::Preparation);
    let mut load = Load::begin(plan, target, options, scope).await?;
    let result = load.run(interrupt, progress).await;
    load.release().await;
    let mut summary = result?;
    summary.times = Some(Times::new(&progress.times(), load.rows_read));
    Ok(summary)
}

/// A load that this process executes.
struct Load<'a> {
    plan: &'a Plan,
    options: &'a LoadOptions,
    scope: Scope,
    /// The ledger in which the document of this load or part is. The lease names all collections of the load.
    ledger: Ledger,
    /// The collection of each kind of document.
    targets: Vec<LoadTarget<'a>>,
    /// The ledger document of this load or part.
    document: LoadDocument,
    /// The ledger documents of the parts, if this process ends a load that is divided into parts. Otherwise empty.
    parts: Vec<LoadDocument>,
    /// Number of rows that an earlier process had committed for this load or part. `None` if this process does not
    /// resume it.
    continued_after: Option<u64>,
    claim: Option<Claim>,
    account: Account<'a>,
    /// Number of rows that this process read and that no earlier process had committed.
    rows_read: u64,
    /// What the load folds at its end.
    folding: Folding,
    /// Messages for the summary about earlier loads of these sources, and about the target.
    notes: Vec<String>,
}

/// One kind of document, its collection, and the connections to it. Variables of this type are called `lane`.
struct LoadTarget<'a> {
    spec: &'a Spec,
    target: Target,
    /// The ledger of this collection.
    ledger: Ledger,
    bulk: Bulk,
    /// The shards of the collection.
    shards: ShardMap,
    /// The collection's UUID on the server when the load began. `None` if the collection did not exist, or if the user
    /// has no permission to read the UUID.
    uuid: Option<Uuid>,
}

impl Load<'_> {
    /// Releases the lease of the load, if this process has it.
    async fn release(&mut self) {
        if let Some(claim) = self.claim.take() {
            claim.release().await;
        }
    }

    async fn run(&mut self, interrupt: &Interrupt, progress: &Progress) -> Result<LoadSummary, Error> {
        let is_complete = self.is_known().await?;
        let blocks = self.document.checkpoint.blocks;
        progress.tell(|| {
            let names: Vec<String> = self.targets.iter().map(|lane| lane.target.full_name()).collect();
            format!("load {} into {}, {blocks} blocks committed before", self.document.id, names.join(", "))
        });
        if is_complete && self.scope.is_part() {
            return Ok(self.summary(&ReadSide::default(), "already loaded"));
        }
        if is_complete {
            let fold = Box::pin(self.fold(interrupt, progress)).await;
            let mut summary = self.verify_only(interrupt, progress).await?;
            summary.fold = fold;
            return Ok(summary);
        }
        progress.enter(Phase::ReadingAndWriting);
        let rows_before = self.document.rows_read();
        progress.resume_after(rows_before);
        let result = self.write(interrupt, progress);
        let read = self.end(result, interrupt).await?;
        if self.scope.is_part() {
            // The indexes and the validator are made when all parts are loaded.
            self.rows_read = read.rows.saturating_sub(rows_before);
            self.complete().await?;
            return Ok(self.summary(&read, LOADED));
        }
        let finished = tokio::select! {
            finished = self.finish_collections(progress) => Some(finished?),
            () = interrupt.asked() => None,
        };
        self.rows_read = read.rows.saturating_sub(rows_before);
        let Some(collection_notes) = finished else {
            return Err(self.close(State::Stopped, Error::Interrupted).await);
        };
        self.complete().await?;
        let mut summary = self.summary(&read, LOADED);
        summary.counts_are_estimates = self.counts_are_estimates().await?;
        summary.fold = Box::pin(self.fold(interrupt, progress)).await;
        let expected = self.expect_all(interrupt, progress)?;
        for (kind, notes) in collection_notes.into_iter().enumerate() {
            summary.document_mut(kind).collection_notes = notes;
            self.prove(kind, expected.as_ref(), &mut summary, interrupt, progress).await?;
            self.check_conformity(kind, &mut summary, interrupt, progress).await?;
        }
        self.record_proof(&summary).await?;
        Ok(summary)
    }
}

/// Describes how each source was read, and what was noticed in its rows. `notices` has one value for each source that
/// was read.
pub(super) fn source_notes(plan: &Plan, notices: &[Notices]) -> Vec<SourceNote> {
    let note = |(index, source): (usize, &super::SourcePlan)| {
        let notices = notices.get(index).cloned().unwrap_or_default();
        SourceNote::new(source.origin.name(), source.encoding.name(), &source.layout, &plan.spec, &notices)
    };
    plan.sources.iter().enumerate().map(note).collect()
}

fn writing(failure: Failure) -> Error {
    Error::Write(WriteError::Server(failure))
}

fn reading(error: LedgerError) -> Error {
    Error::of_ledger("read", error)
}

fn keeping(error: LedgerError) -> Error {
    Error::of_ledger("write", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_waits_until_the_lease_expires_unless_it_is_interrupted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let wait = |left, interrupt: &Interrupt| {
            let (begun, progress) = (Instant::now(), Progress::default());
            let is_over = runtime.block_on(is_patient(interrupt, left, &progress, "a process"));
            assert!(progress.times().iter().any(|time| time.phase == Phase::WaitingForOtherLoad));
            (is_over, begun.elapsed())
        };
        let interrupt = Interrupt::default();
        let left = Duration::from_millis(1_100);
        let (is_over, waited) = wait(left, &interrupt);
        assert!(is_over && waited >= left, "{waited:?}");
        interrupt.ask();
        let (is_over, waited) = wait(Duration::from_mins(10), &interrupt);
        assert!(!is_over && waited < Duration::from_mins(1), "{waited:?}");
    }
}
