//! Writes all chunks that are not committed yet to the collection, and commits them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::feed::{Outlet, ReadSide, read, run_both};
use super::places::Places;
use super::{Load, LoadTarget, keeping};
use crate::deployment::schema;
use crate::error::Error;
use crate::ledger::TargetState;
use crate::pipeline::spares::Spares;
use crate::pipeline::stages::{Interrupt, Stages};
use crate::report::Progress;
use crate::write::{Budget, CHUNKS_MAX, ChunkBuilder, Policy, Settled, Writer, write_all};

/// Maximum number of `_id`s in one ledger document that lists records that were not written. So many `_id`s take 8 MB.
/// A document can have at most 16 MiB.
const EXCEPTIONS_MAX: usize = 500_000;

impl Load<'_> {
    /// Reads the sources, and writes and commits all blocks after the checkpoint.
    pub(super) fn write(&mut self, interrupt: &Interrupt, progress: &Progress) -> Result<ReadSide, Error> {
        let (plan, options, others) = (self.plan, self.options, self.scope.others());
        // The documents of many types of resources are in many small buffers, which need more memory than their bytes.
        let chunk_bytes_max = options.chunk_bytes_max / if plan.spec.is_divided() { 2 } else { 1 };
        let builder = ChunkBuilder::new(self.policies(), chunk_bytes_max, self.document.checkpoint.blocks);
        let (to_writer, chunks) = mpsc::channel(1);
        let lineage = options.lineage.then(|| self.document.id.bytes());
        let spares = &Spares::default();
        let places = Places::new(CHUNKS_MAX);
        let outlet = Outlet { builder, to_writer, places: places.clone(), is_placed: false, spares };
        let stages = Stages { plan, lineage, workers: plan.workers(true), sorts: true, interrupt, progress, spares };
        let write = async move {
            let _closed = places.closed_at_end();
            self.register().await?;
            // FHIR resources are spread unevenly: most types have few, some have many. So estimate for each type four
            // times the average.
            let divisor = if plan.spec.is_divided() { (plan.kinds.len() as u64 / 4).max(1) } else { 1 };
            let records_guess = plan.records_guess() / divisor;
            // Another load may have written to a collection before this load had its lease. So the policies are
            // computed again.
            // Many collections would have many commands under way.
            let budget = plan.spec.is_divided().then(|| Budget::new(options.limits));
            let writer = |(lane, policy): (&LoadTarget<'_>, Policy)| {
                let (bulk, shards) = (lane.bulk.clone().within(budget.clone()), lane.shards.clone());
                Writer::new(bulk, options.limits, policy, shards, plan.key.clone(), records_guess)
            };
            let mut writers: Vec<Writer> = self.targets.iter().zip(self.policies()).map(writer).collect();
            let settle = async |settled: Vec<Settled>| {
                progress.rows_committed.fetch_add(settled[0].chunk.rows_of_all_kinds(), Ordering::Relaxed);
                self.settle(&settled).await?;
                recycle(settled, spares);
                places.put_back();
                let (read, written) = (self.document.rows_read(), self.document.documents_written());
                progress.tell(|| format!("durable: {read} rows read, {written} documents written"));
                Ok::<(), Error>(())
            };
            write_all(&mut writers, chunks, settle).await
        };
        let (read, written) = run_both(move || read(&stages, outlet, options.rejects_max, &others), write)?;
        // If both fail, the writer's error is the cause. The reader's error then only says that the writer has ended.
        written?;
        read
    }

    /// Returns the conflict policy of each kind of document.
    fn policies(&self) -> Vec<Policy> {
        let policy = |(lane, state): (&LoadTarget<'_>, TargetState)| Policy {
            mode: self.options.mode,
            on_conflict: lane.spec.identity.on_conflict,
            empty_at_start: state.first_load,
            is_resumed: self.continued_after.is_some(),
        };
        self.targets.iter().zip(self.document.targets()).map(policy).collect()
    }

    /// Commits a chunk whose records all have their outcomes. First writes its rejects to the reject files. Then
    /// writes the new counts and the new checkpoint to the load's ledger document, both at once, so that they always
    /// match.
    async fn settle(&mut self, settled: &[Settled]) -> Result<(), Error> {
        if self.account.prepare(settled)? {
            // Record a new reject file in the ledger before it contains rows. A resumed load then knows that the rows
            // are its own.
            self.document.checkpoint.rejects = self.account.rejects.states();
            self.ledger.put(&mut self.document).await.map_err(keeping)?;
        }
        let mut after = self.account.settle(settled, &self.document)?;
        let mut states = after.targets();
        for (kind, (state, settled)) in states.iter_mut().zip(settled).enumerate() {
            for list in settled.exceptions.lists(EXCEPTIONS_MAX) {
                self.ledger.put_exceptions(&after, kind, state.exceptions, &list).await.map_err(keeping)?;
                state.exceptions += 1;
            }
            // A type of resources that has not occurred yet has no collection.
            let is_absent = self.document.is_divided && state.counts.read == 0;
            if state.collection_uuid.is_none() && !is_absent {
                state.collection_uuid = schema::uuid(&self.targets[kind].target).await?;
            }
        }
        after.set_targets(states);
        self.document = after;
        self.ledger.put(&mut self.document).await.map_err(keeping)
    }
}

/// Gives the memory of a committed chunk's documents back to `spares`.
fn recycle(settled: Vec<Settled>, spares: &Spares) {
    // All kinds of documents share the blocks of a chunk through an `Arc`. Drop all references except the last. If no
    // bulk command has another reference, the blocks can then be taken out of the `Arc`.
    let blocks =
        settled.into_iter().filter_map(|settled| Arc::try_unwrap(settled.chunk).ok()).map(|chunk| chunk.blocks);
    let blocks = blocks.reduce(|_, last| last).and_then(|blocks| Arc::try_unwrap(blocks).ok());
    blocks.into_iter().flatten().for_each(|block| spares.give_documents(block));
}
