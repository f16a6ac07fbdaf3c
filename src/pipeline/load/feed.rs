//! The reading part of a load: collects encoded blocks into chunks and sends the chunks to the writer.

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::places::Places;
use super::{OtherParts, RejectsMax};
use crate::clean::Tally;
use crate::encode::{EncodedBlock, EncodedKind};
use crate::error::Error;
use crate::parse::Notices;
use crate::pipeline::advice::{Cause, RefusedCells};
use crate::pipeline::plan::Plan;
use crate::pipeline::spares::Spares;
use crate::pipeline::stages::Stages;
use crate::reject::RowKinds;
use crate::report::summary::RejectCounts;
use crate::write::{Chunk, ChunkBuilder};

/// The counts of the reading part of a load. They include the rows of blocks that an earlier, interrupted process
/// committed.
#[derive(Debug, Default)]
pub(in crate::pipeline) struct ReadSide {
    pub(in crate::pipeline) rows: u64,
    pub(in crate::pipeline) rejected: u64,
    /// Rejected rows that belong to no kind of document. The first kind counts them.
    pub(in crate::pipeline) of_no_kind: u64,
    /// For each kind of document, the number of its rows and of its rejected rows.
    kinds: Vec<(u64, u64)>,
    /// The changes that cleaning made, by kind of document.
    pub(in crate::pipeline) tallies: Vec<Tally>,
    pub(in crate::pipeline) rejects: RejectCounts,
    pub(in crate::pipeline) refused: RefusedCells,
    /// Notices about the rows for the summary, for each source.
    pub(in crate::pipeline) notices: Vec<Notices>,
    pub(super) over_limit: bool,
}

/// Collects blocks into chunks and sends the chunks to the writer.
pub(super) struct Outlet<'a> {
    pub(super) builder: ChunkBuilder,
    pub(super) to_writer: mpsc::Sender<Chunk>,
    pub(super) places: Places,
    /// Whether a place in memory is reserved for the current chunk.
    pub(super) is_placed: bool,
    pub(super) spares: &'a Spares,
}

impl Outlet<'_> {
    fn push(&mut self, block: EncodedBlock) -> Result<(), Error> {
        if !self.is_placed {
            self.is_placed = self.places.take();
        }
        if !self.is_placed {
            return Err(writer_ended());
        }
        let chunk = self.builder.push(block);
        self.send(chunk)
    }

    fn finish(mut self) -> Result<(), Error> {
        let chunk = self.builder.finish();
        self.send(chunk)
    }

    fn send(&mut self, chunk: Option<Chunk>) -> Result<(), Error> {
        let Some(mut chunk) = chunk else { return Ok(()) };
        if chunk.is_settled {
            // An earlier process committed this chunk, so only its `_id`s and digests are needed. Free its documents.
            // The next chunk can use its place in memory.
            chunk.blocks.drain(..).for_each(|block| self.spares.give_documents(block));
        }
        self.is_placed = chunk.is_settled;
        self.to_writer.blocking_send(chunk).map_err(|_| writer_ended())
    }
}

fn writer_ended() -> Error {
    Error::Stopped("the writer ended early".into())
}

/// Reads, parses, cleans and encodes all sources, and sends the result to the writer in chunks. `others` are the counts
/// of the other parts of the load.
pub(super) fn read(
    stages: &Stages<'_>,
    mut outlet: Outlet,
    rejects_max: Option<RejectsMax>,
    others: &OtherParts,
) -> Result<ReadSide, Error> {
    let mut side = ReadSide::default();
    stages.encode_all(|block| {
        side.count(&block, stages.plan);
        let is_over = |max: RejectsMax| {
            let others = others.limited(&stages.plan.spec);
            max.is_exceeded(side.rejected + others.rejected, side.rows + others.read, false)
        };
        if rejects_max.is_some_and(is_over) {
            side.over_limit = true;
            stages.interrupt.ask();
        }
        outlet.push(block)
    })?;
    outlet.finish()?;
    Ok(side)
}

impl ReadSide {
    pub(in crate::pipeline) fn count(&mut self, block: &EncodedBlock, plan: &Plan) {
        self.rows += block.rows;
        self.rejected += block.rejects.len() as u64;
        self.kinds_of(&block.kinds);
        self.tallies.resize_with(self.tallies.len().max(block.kinds.len()), Tally::default);
        self.tallies.iter_mut().zip(&block.kinds).for_each(|(tally, kind)| tally.add(&kind.tally));
        self.notices.resize(self.notices.len().max(block.source + 1), Notices::default());
        self.notices[block.source].add(&block.notices);
        for row in &block.rejects {
            let counting = row.kinds.counting(self.kinds.len());
            self.kinds[counting].iter_mut().for_each(|rows| rows.1 += 1);
            self.of_no_kind += u64::from(row.kinds == RowKinds::None);
            self.rejects.add(row.reject.reason, row.reject.field);
            self.refused.add(row, plan);
        }
    }

    /// Counts the rows of each kind of document.
    pub(super) fn kinds_of(&mut self, kinds: &[EncodedKind]) {
        self.kinds.resize(self.kinds.len().max(kinds.len()), (0, 0));
        self.kinds.iter_mut().zip(kinds).for_each(|(rows, kind)| rows.0 += kind.rows);
    }

    /// Returns the number of rows and of rejected rows of a kind of document.
    pub(in crate::pipeline) fn of_kind(&self, kind: usize) -> (u64, u64) {
        self.kinds.get(kind).copied().unwrap_or_default()
    }

    /// If more than half of the rows were rejected, and most of these for one reason, returns that reason and the
    /// settings with which such rows are accepted. Otherwise returns nothing.
    pub(in crate::pipeline) fn advice(&self, plan: &Plan) -> Vec<String> {
        match self.rejects.most() {
            Some((reason, field, count)) if self.rejected * 2 > self.rows && count * 2 > self.rejected => {
                self.refused.advice(plan, &Cause { reason, field, count, rows: self.rows })
            }
            _ => Vec::new(),
        }
    }
}

/// Runs `blocking` on a new thread and `future` on this one, and waits for both.
///
/// # Errors
/// If the system cannot start a thread. Then neither `blocking` nor `future` has run.
pub(super) fn run_both<A: Send, B>(
    blocking: impl FnOnce() -> A + Send,
    future: impl Future<Output = B>,
) -> Result<(A, B), Error> {
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let blocking = std::thread::Builder::new().spawn_scoped(scope, blocking);
            let blocking = blocking.map_err(|error| Error::no_thread(&error))?;
            let done = Handle::current().block_on(future);
            Ok((blocking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), done))
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::spec::OnConflict;
    use crate::write::{Mode, Policy};

    /// A resumed load may skip more chunks than fit into memory. A skipped chunk must not keep its place in memory.
    #[test]
    fn chunks_that_were_committed_before_need_only_one_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (to_writer, mut chunks) = mpsc::channel(10);
        let places = runtime.block_on(async { Places::new(1) });
        let (to_test, pushed) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let spares = Spares::default();
            let policy = Policy {
                mode: Mode::Insert,
                on_conflict: OnConflict::KeepFirst,
                empty_at_start: false,
                is_resumed: true,
            };
            // The maximum size of a chunk is 0 bytes, so each block is a chunk. The first three are already
            // committed.
            let builder = ChunkBuilder::new(vec![policy], 0, 3);
            let mut outlet = Outlet { builder, to_writer, places, is_placed: false, spares: &spares };
            for sequence in 0..4 {
                let block = EncodedBlock { sequence, kinds: vec![EncodedKind::default()], ..EncodedBlock::default() };
                outlet.push(block).unwrap();
                to_test.send((sequence, outlet.is_placed)).unwrap();
            }
        });
        for expected in [(0, true), (1, true), (2, true), (3, false)] {
            assert_eq!(pushed.recv_timeout(Duration::from_secs(30)), Ok(expected));
            assert_eq!(chunks.blocking_recv().map(|chunk| chunk.is_settled), Some(expected.1));
        }
    }
}
