//! What a settled run means: counts, digest, reject files and the checkpoint move together.

use std::path::{Path, PathBuf};

use super::Error;
use super::plan::{Plan, SourcePlan};
use crate::encode::text::cell_texts;
use crate::encode::{Digest, Entry};
use crate::ledger::LoadRun;
use crate::parse::Format;
use crate::reject::{Reject, RejectedRow};
use crate::report::rejects::{Line, RejectFile};
use crate::report::summary::RejectCounts;
use crate::write::{EncodedRun, Outcome, Refusal, Settled};

/// The reject files and sums of one load.
pub(super) struct Account<'a> {
    plan: &'a Plan,
    files: Vec<RejectFile>,
    /// Sum over the records the collection holds of this load; `None` once one of them was replaced by a later one.
    digest: Option<Digest>,
    /// Rows that the server or the conflict rule refused, in this process.
    pub(super) refused: RejectCounts,
}

impl<'a> Account<'a> {
    /// Opens a reject file a source, or the one that was named.
    ///
    /// # Errors
    /// When one cannot be written, or one file shall take the rejects of sources with different columns.
    pub(super) fn open(plan: &'a Plan, named: Option<&Path>) -> Result<Self, Error> {
        let first = plan.sources.first();
        if named.is_some()
            && plan.sources.iter().any(|source| Some(&source.layout.header) != first.map(|f| &f.layout.header))
        {
            let problem = "the sources have different columns, so their rejects cannot share one file; leave out --rejects, or load them one by one";
            return Err(Error::Stopped(problem.into()));
        }
        let sources = if named.is_some() { &plan.sources[..1] } else { &plan.sources[..] };
        let open = |source: &SourcePlan| {
            let path = named.map_or_else(|| beside(source), Path::to_owned);
            if plan.sources.iter().any(|source| is_same(&path, source)) {
                let problem = format!("--rejects {} names a source; rejects would take its place", path.display());
                return Err(Error::Usage(problem));
            }
            RejectFile::open(&path, &source.layout.header, delimiter(source)).map_err(|error| output(&path, error))
        };
        let files = sources.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { plan, files, digest: Some(Digest::default()), refused: RejectCounts::default() })
    }

    /// Goes on where an interrupted load was settled, from its beginning if nothing was; false where that cannot be, because
    /// its reject files are gone.
    pub(super) fn resume(&mut self, run: &LoadRun) -> Result<bool, Error> {
        let lengths = &run.checkpoint.rejects_bytes;
        if run.checkpoint.blocks == 0 {
            return Ok(true);
        }
        if lengths.len() != self.files.len() {
            return Ok(false);
        }
        if !self.files.iter().zip(lengths).all(|(file, &bytes)| file.can_resume(bytes)) {
            return Ok(false);
        }
        self.digest = u128::from_str_radix(&run.digest, 16).ok().map(Digest);
        for (file, &bytes) in self.files.iter_mut().zip(lengths) {
            file.resume(bytes).map_err(|error| output(file.path(), error))?;
        }
        Ok(true)
    }

    /// Takes a settled run into the counts, the digest, the reject files (on disk first) and then the checkpoint.
    pub(super) fn settle(&mut self, settled: &Settled, load: &mut LoadRun) -> Result<(), Error> {
        let run = &settled.run;
        load.counts.read += run.rows();
        load.counts.duplicates += settled.losers.duplicates;
        load.counts.conflicts += settled.losers.conflicts;
        for row in run.blocks.iter().flat_map(|block| &block.rejects) {
            load.counts.rejected += 1;
            self.write_reject(row)?;
        }
        for entry in &settled.losers.refused {
            self.refuse(run, entry, Refusal::Conflict, load)?;
        }
        for (entry, outcome) in run.entries.iter().zip(&settled.outcomes) {
            self.take(run, entry, *outcome, load)?;
        }
        load.digest = self.digest.map_or_else(String::new, |sum| sum.to_string());
        load.checkpoint.rejects_bytes = self.sync()?;
        load.checkpoint.blocks = run.blocks_end();
        Ok(())
    }

    fn take(&mut self, run: &EncodedRun, entry: &Entry, outcome: Outcome, load: &mut LoadRun) -> Result<(), Error> {
        let counts = &mut load.counts;
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
                // What it replaced is in the sum and cannot be told any more.
                self.digest = None;
            }
            Outcome::Refused(refusal) => self.refuse(run, entry, refusal, load)?,
            // The counts then do not add up, and the load fails.
            Outcome::Pending => {}
        }
        if let (Some(sum), Outcome::Written | Outcome::Replaced | Outcome::Present) = (&mut self.digest, outcome) {
            sum.add(entry.digest);
        }
        Ok(())
    }

    /// A row that is refused after encoding: its cells are made again from its document, in the source's columns and formats.
    fn refuse(&mut self, run: &EncodedRun, entry: &Entry, refusal: Refusal, load: &mut LoadRun) -> Result<(), Error> {
        let block = &run.blocks[entry.chunk as usize];
        let layout = &self.plan.sources[block.source].layout;
        let texts = cell_texts(run.document(entry), &self.plan.spec, &layout.dates)
            .expect("a document that was just encoded fits its spec");
        let mut cells = vec![Vec::new(); layout.header.len()];
        for (text, cell) in texts.into_iter().zip(&layout.cell_of_field) {
            if let Some(cell) = cell {
                cells[*cell] = text.into_bytes();
            }
        }
        let (reason, message) = refusal.explain();
        self.refused.add(reason, None);
        load.counts.rejected += 1;
        match refusal {
            Refusal::Conflict => load.counts.refused_for_conflict += 1,
            _ => load.counts.refused_by_server += 1,
        }
        self.write_reject(&RejectedRow {
            source: block.source,
            line: block.first_line + u64::from(entry.line),
            offset: block.first_offset + u64::from(entry.offset),
            reject: Reject { field: None, reason, message },
            cells,
        })
    }

    /// Adds a rejected row to the file of its source.
    pub(super) fn write_reject(&mut self, row: &RejectedRow) -> Result<(), Error> {
        let layout = &self.plan.sources[row.source].layout;
        let cell = row.reject.field.and_then(|field| layout.cell_of_field[field]);
        let column = cell.and_then(|cell| layout.header.get(cell)).map_or("", String::as_str);
        let line = Line { line: row.line, offset: row.offset, column, reject: &row.reject, cells: &row.cells };
        let last = self.files.len() - 1;
        let file = &mut self.files[row.source.min(last)];
        file.write(&line).map_err(|error| output(file.path(), error))
    }

    /// Puts the reject files on disk and says how long they are.
    pub(super) fn sync(&mut self) -> Result<Vec<u64>, Error> {
        self.files.iter_mut().map(|file| file.sync().map_err(|error| output(file.path(), error))).collect()
    }

    /// The reject files that hold rejects.
    pub(super) fn files(&self) -> Vec<String> {
        self.files.iter().filter(|file| !file.is_empty()).map(|file| file.path().display().to_string()).collect()
    }
}

/// Beside the source; in the working directory for standard input.
fn beside(source: &SourcePlan) -> PathBuf {
    let mut name = source.source.path.clone().unwrap_or_else(|| "stdin".into()).into_os_string();
    name.push(".rejects.csv");
    name.into()
}

fn is_same(path: &Path, source: &SourcePlan) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(path).is_some() && real(path) == source.source.path.as_deref().and_then(real)
}

fn delimiter(source: &SourcePlan) -> u8 {
    match &source.layout.format {
        Format::Csv(dialect) => dialect.delimiter,
        Format::Ndjson => b',',
    }
}

fn output(path: &Path, error: std::io::Error) -> Error {
    let path = format!("the reject file {}", path.display());
    Error::Output { path, hint: "; make room for it, or name another with --rejects", error }
}
