//! Writes everything that is not settled yet to the collection, run by run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;

use tokio::sync::mpsc;

use super::feed::{Outlet, ReadSide, beside, put_back, read};
use super::{Load, keeping};
use crate::deployment::schema;
use crate::error::Error;
use crate::ledger::Counts;
use crate::pipeline::spares::Spares;
use crate::pipeline::stages::{Interrupt, Stages};
use crate::report::Progress;
use crate::write::{Policy, RUNS_MAX, RunBuilder, Settled, Writer};

/// Most `_id`s in one list of exceptions: 8 MB.
const EXCEPTIONS_MAX: usize = 500_000;

impl Load<'_> {
    /// Reads and writes everything that is not settled yet.
    pub(super) fn write(&mut self, interrupt: &Interrupt, progress: &Progress) -> Result<ReadSide, Error> {
        let (plan, options) = (self.plan, self.options);
        let policy = Policy {
            mode: options.mode,
            on_conflict: plan.spec.identity.on_conflict,
            empty_at_start: self.run.first_load,
            is_resumed: self.is_resumed,
        };
        let builder = RunBuilder::new(policy, options.run_bytes_max, self.run.checkpoint.blocks);
        let (to_writer, runs) = mpsc::channel(1);
        let lineage = options.lineage.then(|| self.run.id.bytes());
        let spares = &Spares::default();
        let (free, places) = channel();
        (0..RUNS_MAX).for_each(|_| put_back(&free));
        let stages = Stages { plan, lineage, workers: plan.workers(true), sorts: true, interrupt, progress, spares };
        let write = async move {
            self.register().await?;
            // Another load may have filled the collection before this load had its lease.
            let policy = Policy { empty_at_start: self.run.first_load, ..policy };
            let (bulk, key, guess) = (self.bulk.clone(), plan.key.clone(), plan.records_guess());
            let mut writer = Writer::new(bulk, options.limits, policy, key, guess);
            let settle = async |settled: Settled| {
                progress.rows_settled.fetch_add(settled.run.rows(), Ordering::Relaxed);
                self.settle(&settled).await?;
                if let Ok(done) = Arc::try_unwrap(settled.run) {
                    done.blocks.into_iter().for_each(|block| spares.give_documents(block));
                }
                put_back(&free);
                let Counts { read, written, .. } = self.run.counts;
                progress.tell(|| format!("durable: {read} rows read, {written} documents written"));
                Ok::<(), Error>(())
            };
            writer.write_all(runs, settle).await
        };
        let outlet = Outlet { builder, to_writer, places, is_placed: false, spares };
        let (read, written) = beside(move || read(&stages, outlet, options.rejects_max), write)?;
        // If both have an error, the writer's is the cause: the reader then only reports that the writer has ended.
        written?;
        read
    }

    /// Records a settled run in the reject files and the ledger. The ledger changes last, so that counts and checkpoint
    /// change together.
    async fn settle(&mut self, settled: &Settled) -> Result<(), Error> {
        if self.account.prepare(settled)? {
            // The ledger knows a reject file before the file contains rows. A resumed load can then recognize the rows
            // as its own.
            self.run.checkpoint.rejects = self.account.rejects.states();
            self.ledger.put(&mut self.run).await.map_err(keeping)?;
        }
        let mut after = self.account.settle(settled, &self.run)?;
        for list in settled.exceptions.lists(EXCEPTIONS_MAX) {
            self.ledger.put_exceptions(&after, after.exceptions, &list).await.map_err(keeping)?;
            after.exceptions += 1;
        }
        if after.collection_uuid.is_none() {
            after.collection_uuid = schema::uuid(self.target).await?;
        }
        self.run = after;
        self.ledger.put(&mut self.run).await.map_err(keeping)
    }
}
