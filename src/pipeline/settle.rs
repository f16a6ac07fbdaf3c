//! The account of a load: counts, digest, reject files and checkpoint. `Account::settle` adds a *complete* chunk to
//! the account. A chunk is complete when all its records have their outcomes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::plan::Plan;
use super::rejects::{RejectWriter, Resumed, lines_of};
use crate::encode::text::cell_texts;
use crate::encode::{Digest, Entry, whole_of};
use crate::error::Error;
use crate::ledger::{Counts, LoadDocument, TargetState};
use crate::reject::{Reject, RejectedRow, RowKinds};
use crate::report::summary::{ListedReject, RejectCounts};
use crate::write::{Outcome, Refusal, Settled};

/// Maximum number of rejects that a summary lists.
const LISTED_MAX: usize = 100;

/// The reject files and totals of one load.
pub(super) struct Account<'a> {
    plan: &'a Plan,
    pub(super) rejects: RejectWriter<'a>,
    /// For each kind of document, the sum of the digests of all records of this load that the collection contains.
    /// `None` after a record replaced an earlier record of the same load.
    digests: Vec<Option<Digest>>,
    /// The documents that the server or the conflict rule refused, by reason. If the load was resumed, the counts of
    /// earlier processes are not included.
    pub(super) refused: RejectCounts,
    /// The first rejects, if they are listed instead of written to files.
    pub(super) listed: Vec<ListedReject>,
}

/// The new counts, digests and reject lines after one more chunk. They are copied to the account and to the ledger
/// document after the reject files are written.
struct Entries<'a> {
    plan: &'a Plan,
    settled: &'a [Settled],
    counts: Vec<Counts>,
    digests: Vec<Option<Digest>>,
    refused: RejectCounts,
    /// New lines of the reject files, by source.
    lines: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Whether rejects are listed instead of written to files.
    lists: bool,
    /// The first rejects, if they are listed.
    listed: Vec<ListedReject>,
    /// The refused rows that already have a line in `lines`: the block of each row, and its position in the block.
    /// Used only if there are several kinds of documents, because several documents of one row can then be refused.
    refused_rows: HashSet<(u32, u32)>,
    /// For each kind, the documents by block and row. Used to find the other documents of a refused row. `None` until
    /// it is needed for the first time.
    by_row: Option<Vec<HashMap<(u32, u32), Entry>>>,
}

impl<'a> Account<'a> {
    /// Checks that rejects can be written. `named` is the file, directory or prefix in S3 that the user named. If it is
    /// `None`, each source has a reject file beside it.
    ///
    /// # Errors
    /// The same as for [`RejectWriter::open`].
    pub(super) fn open(plan: &'a Plan, named: Option<&Path>) -> Result<Self, Error> {
        Ok(Self::new(plan, RejectWriter::open(plan, named)?))
    }

    /// Begins the account of a load that lists its first rejects and writes no reject files.
    pub(super) fn listing(plan: &'a Plan) -> Self {
        Self::new(plan, RejectWriter::None)
    }

    fn new(plan: &'a Plan, rejects: RejectWriter<'a>) -> Self {
        let digests = vec![Some(Digest::default()); plan.kinds.len()];
        Self { plan, rejects, digests, refused: RejectCounts::default(), listed: Vec::new() }
    }

    /// Continues from the checkpoint of an interrupted load.
    ///
    /// # Errors
    /// The same as for [`RejectWriter::resume`].
    pub(super) fn resume(&mut self, load: &LoadDocument) -> Result<Resumed, Error> {
        let resumed = self.rejects.resume(load)?;
        if matches!(resumed, Resumed::Yes) {
            let digest = |state: TargetState| u128::from_str_radix(&state.digest, 16).ok().map(Digest);
            self.digests = load.targets().into_iter().map(digest).collect();
        }
        Ok(resumed)
    }

    /// Opens the reject files that a complete chunk needs. Returns true if at least one of these files is new to the
    /// load.
    ///
    /// # Errors
    /// The same as for [`RejectWriter::prepare`].
    pub(super) fn prepare(&mut self, settled: &[Settled]) -> Result<bool, Error> {
        let blocks = &settled[0].chunk.blocks;
        let rejected = blocks.iter().filter(|block| !block.rejects.is_empty()).map(|block| block.source);
        let refused = settled.iter().flat_map(refused_entries).map(|entry| blocks[entry.block as usize].source);
        let slots: BTreeSet<usize> = rejected.chain(refused).flat_map(|source| self.rejects.slots_of(source)).collect();
        let mut is_new = false;
        for slot in slots {
            is_new |= self.rejects.prepare(slot)?;
        }
        Ok(is_new)
    }

    /// Adds a complete chunk to the account. `settled` has one value for each kind of document. `load` is the current
    /// ledger document. Returns the next ledger document. When this function returns, the rejects of the chunk are on
    /// disk.
    ///
    /// # Errors
    /// If a reject file cannot be written.
    pub(super) fn settle(&mut self, settled: &[Settled], load: &LoadDocument) -> Result<LoadDocument, Error> {
        let mut states = load.targets();
        let counts = states.iter().map(|state| state.counts).collect();
        let lists = matches!(self.rejects, RejectWriter::None);
        let entries = Entries::of(self.plan, settled, counts, self.digests.clone(), lists);
        for (source, files) in &entries.lines {
            self.append(*source, files)?;
        }
        self.refused.add_all(&entries.refused);
        self.listed.extend(entries.listed);
        self.listed.truncate(LISTED_MAX);
        for ((state, counts), digest) in states.iter_mut().zip(&entries.counts).zip(&entries.digests) {
            state.counts = *counts;
            state.digest = digest.map_or_else(String::new, |sum| sum.to_string());
        }
        self.digests = entries.digests;
        let chunk = &settled[0].chunk;
        let mut after = load.clone();
        after.set_targets(states);
        after.checkpoint.rejects = self.rejects.states();
        after.checkpoint.blocks = chunk.blocks_end();
        if let Some(last) = chunk.blocks.last() {
            self.rejects.close_before(last.source);
        }
        Ok(after)
    }

    /// In a dry run, writes rejected rows of one source to the reject file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write_rejects(&mut self, rows: &[RejectedRow]) -> Result<(), Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let layout = &self.plan.sources[first.source].layout;
        let mut files = Vec::new();
        for row in rows {
            add_lines(&mut files, lines_of(layout, row));
        }
        self.append(first.source, &files)
    }

    /// Appends lines to the reject files of a source. `files` has the lines of each file.
    fn append(&mut self, source: usize, files: &[Vec<u8>]) -> Result<(), Error> {
        let slots = self.rejects.slots_of(source);
        slots.zip(files).try_for_each(|(slot, lines)| self.rejects.append(slot, lines))
    }
}

impl<'a> Entries<'a> {
    fn of(
        plan: &'a Plan,
        settled: &'a [Settled],
        counts: Vec<Counts>,
        digests: Vec<Option<Digest>>,
        lists: bool,
    ) -> Self {
        let (refused, lines, refused_rows) = (RejectCounts::default(), BTreeMap::new(), HashSet::new());
        let listed = Vec::new();
        let mut entries =
            Self { plan, settled, counts, digests, refused, lines, lists, listed, refused_rows, by_row: None };
        for row in settled[0].chunk.blocks.iter().flat_map(|block| &block.rejects) {
            entries.count_rejected(row.kinds);
            entries.add_line(row);
        }
        for (kind, settled) in settled.iter().enumerate() {
            entries.add_kind(kind, settled);
        }
        entries
    }

    fn count_rejected(&mut self, kinds: RowKinds) {
        let counting = kinds.counting(self.counts.len());
        self.counts[counting].iter_mut().for_each(|counts| counts.rejected += 1);
        self.counts[0].of_no_kind += u64::from(kinds == RowKinds::None);
    }

    fn add_kind(&mut self, kind: usize, settled: &Settled) {
        let counts = &mut self.counts[kind];
        counts.read += settled.chunk.rows();
        counts.duplicates += settled.losers.duplicates;
        counts.conflicts += settled.losers.conflicts;
        counts.in_doubt += settled.doubts.stored;
        counts.repeats_in_doubt += settled.doubts.repeats;
        for (entry, refusal) in &settled.losers.refused {
            self.refuse(kind, entry, *refusal);
        }
        for (entry, outcome) in settled.chunk.entries.iter().zip(&settled.outcomes) {
            self.take(kind, entry, *outcome);
        }
    }

    fn take(&mut self, kind: usize, entry: &Entry, outcome: Outcome) {
        let counts = &mut self.counts[kind];
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
                // The sum contains the digest of the replaced record. That digest is not known here, so it cannot be
                // subtracted.
                self.digests[kind] = None;
            }
            Outcome::Refused(refusal) => self.refuse(kind, entry, refusal),
            // A record without an outcome is not counted. The counts then do not add up, and the load fails.
            Outcome::Pending => {}
        }
        if let (Some(sum), Outcome::Written | Outcome::Replaced | Outcome::Present) = (&mut self.digests[kind], outcome)
        {
            sum.add(entry.digest);
        }
    }

    /// Counts a refused document, and adds a line for its row. If several documents of a row are refused, only the
    /// first of them adds a line. The line has the reason of that document.
    fn refuse(&mut self, kind: usize, entry: &Entry, refusal: Refusal) {
        let (reason, message) = refusal.explain();
        self.refused.add(reason, None);
        let counts = &mut self.counts[kind];
        counts.rejected += 1;
        match refusal {
            Refusal::Conflict => counts.refused_for_conflict += 1,
            _ => counts.refused_by_server += 1,
        }
        let is_new = self.settled.len() == 1 || self.refused_rows.insert((entry.block, entry.row));
        if !is_new {
            return;
        }
        let block = &self.settled[0].chunk.blocks[entry.block as usize];
        let row = RejectedRow {
            source: block.source,
            line: block.first_line + u64::from(entry.line),
            offset: block.first_offset + u64::from(entry.offset),
            reject: Reject { field: None, reason, message },
            kinds: RowKinds::One(kind),
            cells: self.cells(kind, entry, block.source),
        };
        self.add_line(&row);
    }

    /// Rebuilds the cells of a row from its documents, in the columns and date formats of the source. Reason: the
    /// row's own text is no longer in memory.
    ///
    /// Several kinds of documents can read the same cell by different rules. For example, one kind changes the cell to
    /// lower case. Its document then does not contain the text of the source. Therefore the original text of such a
    /// cell was stored, and is used here.
    fn cells(&mut self, kind: usize, entry: &Entry, source: usize) -> Vec<Vec<u8>> {
        let layout = &self.plan.sources[source].layout;
        if layout.format.keeps_whole() {
            return self.whole(kind, entry);
        }
        let mut cells = vec![Vec::new(); layout.header.len()];
        let mut first_field = 0;
        for (index, spec) in self.plan.kinds.iter().enumerate() {
            let fields = first_field..first_field + spec.fields.len();
            first_field = fields.end;
            let of_kind = if index == kind { Some(*entry) } else { self.of_row(index, entry) };
            let Some(of_kind) = of_kind else { continue };
            let document = self.settled[index].chunk.document(&of_kind);
            let texts = cell_texts(document, spec, &layout.dates[fields.clone()])
                .expect("a document that was just encoded must fit its spec");
            for (text, column) in texts.into_iter().zip(spec.columns()) {
                if let Some(cell) = layout.cell_of_field[fields.start + column.field] {
                    cells[cell] = text.into_bytes();
                }
            }
        }
        let block = &self.settled[0].chunk.blocks[entry.block as usize];
        for (cell, original) in block.originals.of_row(entry.row) {
            cells[cell] = original.to_vec();
        }
        cells
    }

    /// Returns the record of a row as it was in the source. A document of the row contains it.
    fn whole(&mut self, kind: usize, entry: &Entry) -> Vec<Vec<u8>> {
        let mut kinds = self.plan.kinds.iter().enumerate();
        // A FHIR resource gives a document of one kind only.
        let is_able = |index: usize| !self.plan.spec.is_divided() || index == kind;
        let found = kinds.find_map(|(index, spec)| Some((index, &spec.whole().filter(|_| is_able(index))?.name)));
        let Some((index, name)) = found else { return Vec::new() };
        let of_kind = if index == kind { Some(*entry) } else { self.of_row(index, entry) };
        let document = of_kind.map(|entry| self.settled[index].chunk.document(&entry));
        document.and_then(|document| whole_of(document, name)).map(Cow::into_owned).into_iter().collect()
    }

    /// Returns the document of kind `kind` that was made from the row of `entry`.
    fn of_row(&mut self, kind: usize, entry: &Entry) -> Option<Entry> {
        let settled = self.settled;
        let by_row = self.by_row.get_or_insert_with(|| settled.iter().map(documents_by_row).collect());
        by_row[kind].get(&(entry.block, entry.row)).copied()
    }

    fn add_line(&mut self, row: &RejectedRow) {
        if self.lists {
            if self.listed.len() < LISTED_MAX {
                self.listed.push(ListedReject::new(row, &self.plan.spec));
            }
            return;
        }
        let lines = lines_of(&self.plan.sources[row.source].layout, row);
        add_lines(self.lines.entry(row.source).or_default(), lines);
    }
}

/// Returns the entries whose documents were refused.
fn refused_entries(settled: &Settled) -> impl Iterator<Item = &Entry> {
    let outcomes = settled.chunk.entries.iter().zip(&settled.outcomes);
    let refused = outcomes.filter(|(_, outcome)| matches!(outcome, Outcome::Refused(_))).map(|(entry, _)| entry);
    settled.losers.refused.iter().map(|(entry, _)| entry).chain(refused)
}

/// Returns the documents of one kind in a chunk, by block and row.
fn documents_by_row(settled: &Settled) -> HashMap<(u32, u32), Entry> {
    let all = settled.chunk.entries.iter().chain(settled.chunk.groups.values().flatten());
    all.map(|entry| ((entry.block, entry.row), *entry)).collect()
}

/// Adds the lines of a rejected row to the lines of each file of its source.
fn add_lines(files: &mut Vec<Vec<u8>>, lines: Vec<Vec<u8>>) {
    files.resize(lines.len(), Vec::new());
    files.iter_mut().zip(lines).for_each(|(file, lines)| file.extend(lines));
}

#[cfg(test)]
pub(super) mod tests;
