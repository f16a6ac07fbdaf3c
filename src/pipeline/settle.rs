//! The account of a load: counts, digest, reject files and checkpoint. They change together or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use super::plan::Plan;
use super::rejects::{Rejects, Resumed};
use crate::encode::text::cell_texts;
use crate::encode::{Digest, Entry};
use crate::error::Error;
use crate::ledger::{Counts, LoadRun};
use crate::reject::{Reject, RejectedRow};
use crate::report::rejects::{Line, reject_line};
use crate::report::summary::RejectCounts;
use crate::write::{EncodedRun, Outcome, Refusal, Settled};

/// The reject files and totals of one load.
pub(super) struct Account<'a> {
    plan: &'a Plan,
    pub(super) rejects: Rejects<'a>,
    /// Sum of the digests of all records of this load that the collection contains. `None` after a record replaced an
    /// earlier one of the same load.
    digest: Option<Digest>,
    /// Rows that the server or the conflict rule refused, counted in this process only.
    pub(super) refused: RejectCounts,
}

/// Counts, digest and reject lines after one more settled run, before the account takes them.
struct Entries<'a> {
    plan: &'a Plan,
    counts: Counts,
    digest: Option<Digest>,
    refused: RejectCounts,
    /// New lines of the reject files, by source.
    lines: BTreeMap<usize, Vec<u8>>,
}

impl<'a> Account<'a> {
    /// Opens the reject files: one for each source, or the file that the user named.
    ///
    /// # Errors
    /// The same as for [`Rejects::open`].
    pub(super) fn open(plan: &'a Plan, named: Option<&Path>) -> Result<Self, Error> {
        let rejects = Rejects::open(plan, named)?;
        Ok(Self { plan, rejects, digest: Some(Digest::default()), refused: RejectCounts::default() })
    }

    /// Continues from the checkpoint of an interrupted load.
    ///
    /// # Errors
    /// The same as for [`Rejects::resume`].
    pub(super) fn resume(&mut self, load: &LoadRun) -> Result<Resumed, Error> {
        let resumed = self.rejects.resume(load)?;
        if matches!(resumed, Resumed::Yes) {
            self.digest = u128::from_str_radix(&load.digest, 16).ok().map(Digest);
        }
        Ok(resumed)
    }

    /// Opens the reject files that a settled run needs. Returns true if the load has not written to one of them before.
    ///
    /// # Errors
    /// The same as for [`Rejects::prepare`].
    pub(super) fn prepare(&mut self, settled: &Settled) -> Result<bool, Error> {
        let run = &settled.run;
        let source = |entry: &Entry| run.blocks[entry.chunk as usize].source;
        let rejected = run.blocks.iter().filter(|block| !block.rejects.is_empty()).map(|block| block.source);
        let lost = settled.losers.refused.iter().map(|(entry, _)| source(entry));
        let outcomes = run.entries.iter().zip(&settled.outcomes);
        let refused = outcomes.filter(|(_, outcome)| matches!(outcome, Outcome::Refused(_)));
        let mut slots: Vec<usize> = rejected.chain(lost).chain(refused.map(|(entry, _)| source(entry))).collect();
        for slot in &mut slots {
            *slot = self.rejects.slot_of(*slot);
        }
        slots.sort_unstable();
        slots.dedup();
        let mut is_new = false;
        for slot in slots {
            is_new |= self.rejects.prepare(slot)?;
        }
        Ok(is_new)
    }

    /// Adds a settled run to the account and returns the load's next document. The reject files are on disk before this
    /// returns. After an error the load's document is unchanged.
    ///
    /// # Errors
    /// If a reject file cannot be written.
    pub(super) fn settle(&mut self, settled: &Settled, load: &LoadRun) -> Result<LoadRun, Error> {
        let entries = Entries::of(self.plan, settled, load.counts, self.digest);
        for (source, lines) in &entries.lines {
            self.rejects.append(self.rejects.slot_of(*source), lines)?;
        }
        self.digest = entries.digest;
        self.refused.add_all(&entries.refused);
        let mut after = load.clone();
        after.counts = entries.counts;
        after.digest = self.digest.map_or_else(String::new, |sum| sum.to_string());
        after.checkpoint.rejects = self.rejects.states();
        after.checkpoint.blocks = settled.run.blocks_end();
        if let Some(last) = settled.run.blocks.last() {
            self.rejects.close_before(last.source);
        }
        Ok(after)
    }

    /// Writes rejected rows of one source without a load, as a dry run does.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write_rejects(&mut self, rows: &[RejectedRow]) -> Result<(), Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let lines: Vec<u8> = rows.iter().flat_map(|row| line_of(self.plan, row)).collect();
        self.rejects.append(self.rejects.slot_of(first.source), &lines)
    }
}

impl<'a> Entries<'a> {
    fn of(plan: &'a Plan, settled: &Settled, counts: Counts, digest: Option<Digest>) -> Self {
        let run = &settled.run;
        let (refused, lines) = (RejectCounts::default(), BTreeMap::new());
        let mut entries = Self { plan, counts, digest, refused, lines };
        entries.counts.read += run.rows();
        entries.counts.duplicates += settled.losers.duplicates;
        entries.counts.conflicts += settled.losers.conflicts;
        entries.counts.in_doubt += settled.doubts.stored;
        entries.counts.repeats_in_doubt += settled.doubts.repeats;
        for row in run.blocks.iter().flat_map(|block| &block.rejects) {
            entries.counts.rejected += 1;
            entries.add_line(row);
        }
        for (entry, refusal) in &settled.losers.refused {
            entries.refuse(run, entry, *refusal);
        }
        for (entry, outcome) in run.entries.iter().zip(&settled.outcomes) {
            entries.take(run, entry, *outcome);
        }
        entries
    }

    fn take(&mut self, run: &EncodedRun, entry: &Entry, outcome: Outcome) {
        let counts = &mut self.counts;
        match outcome {
            Outcome::Written => counts.written += 1,
            Outcome::Replaced => {
                counts.written += 1;
                counts.replaced += 1;
            }
            Outcome::Present => counts.already_present += 1,
            Outcome::Duplicate => counts.duplicates += 1,
            Outcome::Conflict => counts.conflicts += 1,
            Outcome::ReplacedOwn => {
                counts.conflicts += 1;
                // The sum includes the replaced record, whose digest is not known here and cannot be subtracted.
                self.digest = None;
            }
            Outcome::Refused(refusal) => self.refuse(run, entry, refusal),
            // The counts then do not add up, and the load fails.
            Outcome::Pending => {}
        }
        if let (Some(sum), Outcome::Written | Outcome::Replaced | Outcome::Present) = (&mut self.digest, outcome) {
            sum.add(entry.digest);
        }
    }

    /// Counts a row that is refused after encoding. Its cells are made again from its document, in the source's columns
    /// and date formats.
    fn refuse(&mut self, run: &EncodedRun, entry: &Entry, refusal: Refusal) {
        let block = &run.blocks[entry.chunk as usize];
        let layout = &self.plan.sources[block.source].layout;
        let texts = cell_texts(run.document(entry), &self.plan.spec, &layout.dates)
            .expect("a document that was just encoded fits its spec");
        let mut cells = vec![Vec::new(); layout.header.len()];
        for (text, column) in texts.into_iter().zip(self.plan.spec.columns()) {
            if let Some(cell) = layout.cell_of_field[column.field] {
                cells[cell] = text.into_bytes();
            }
        }
        let (reason, message) = refusal.explain();
        self.refused.add(reason, None);
        self.counts.rejected += 1;
        match refusal {
            Refusal::Conflict => self.counts.refused_for_conflict += 1,
            _ => self.counts.refused_by_server += 1,
        }
        self.add_line(&RejectedRow {
            source: block.source,
            line: block.first_line + u64::from(entry.line),
            offset: block.first_offset + u64::from(entry.offset),
            reject: Reject { field: None, reason, message },
            cells,
        });
    }

    fn add_line(&mut self, row: &RejectedRow) {
        self.lines.entry(row.source).or_default().extend(line_of(self.plan, row));
    }
}

fn line_of(plan: &Plan, row: &RejectedRow) -> Vec<u8> {
    let layout = &plan.sources[row.source].layout;
    let cell = row.reject.field.and_then(|field| layout.cell_of_field[field]);
    let column = cell.and_then(|cell| layout.header.get(cell)).map_or("", String::as_str);
    let line = Line { line: row.line, offset: row.offset, column, reject: &row.reject, cells: &row.cells };
    reject_line(&line, layout.format.reject_delimiter())
}

#[cfg(test)]
pub(super) mod tests;
