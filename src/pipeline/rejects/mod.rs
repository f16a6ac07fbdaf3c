//! Chooses the reject file of each source. A load replaces only rows that it wrote itself, or that an earlier load
//! with the same key (collection, sources, spec and options) wrote.

mod empty;
mod listed;
mod objects;
mod reopened;
mod streams;
mod target;
mod writer;

use std::ops::Range;
use std::path::{Path, PathBuf};

use self::reopened::{continue_file, is_of_another_load, open_patiently, reopen, require_in_place};
pub(super) use self::streams::lines_of;
use self::streams::{Stream, Streams};
pub(super) use self::target::s3_address;
use self::target::{Target, cannot_open, file_name, output};
pub(super) use self::writer::RejectWriter;
use super::plan::{Plan, SourcePlan};
use crate::error::Error;
use crate::ledger::{LoadDocument, RejectsState};
use crate::outputs::{directory_of, is_same_file};
use crate::report::rejects::{OpenError, RejectFile};

/// Maximum number of reject files that are open at the same time.
const OPEN_MAX: usize = 16;

/// Maximum number of names that are tried for one file.
const NAMES_MAX: usize = 10_000;

/// The reject files of a load: one for each source, or one for all sources.
///
/// When the load begins, it checks that the files can be written. If a check fails, the load stops before it writes
/// anything. A file that the user named is opened before the load writes documents. Every other file is opened for its
/// first reject. A file is closed when the load has finished its source, so few files are open at the same time.
pub(super) struct Rejects<'a> {
    plan: &'a Plan,
    target: Target,
    streams: Streams,
    /// The state of each file of `streams`.
    slots: Vec<Slot>,
    /// Reject files of earlier loads with the same key (collection, sources, spec and options). This load may replace
    /// them, because it writes their rows again.
    pub(super) replaceable: Vec<LeftFile>,
    /// The id of this load. It is stored in an extended attribute of each of its files. `None` in a dry run.
    pub(super) load: Option<String>,
    /// Sentences for the summary: which rows were moved to another file, and which existing files were not used.
    pub(super) notes: Vec<String>,
}

/// The state of one reject file.
enum Slot {
    /// This load has not written to the file. The file may be open and locked.
    Unused(Option<RejectFile>),
    Open(RejectFile),
    /// Closed, because its source is complete or too many files were open. `bytes` and `blake3` are length and hash of
    /// the rows that this load wrote.
    Closed {
        path: PathBuf,
        bytes: u64,
        blake3: String,
    },
}

impl Slot {
    /// Closes and unlocks a file to which nothing was written. Otherwise this process could not open the file again,
    /// because a file cannot be locked twice.
    fn release(&mut self) {
        if let Self::Unused(file) = self {
            drop(file.take());
        }
    }
}

/// Whether the reject files of an interrupted load can be continued.
pub(super) enum Resumed {
    Yes,
    /// The file with this name is missing, is empty or belongs to another load, or the user has named another file.
    Gone(String),
}

impl<'a> Rejects<'a> {
    /// Checks that the files can be written. Creates no file, because a killed process could not remove it. `target` is
    /// the file or directory that the user named. If it is `None`, each source has a reject file beside it.
    ///
    /// # Errors
    /// If a file cannot be written, if the named file is a source, or if the named file would contain the rejects of
    /// sources with different columns.
    pub(super) fn open(plan: &'a Plan, target: Option<&Path>) -> Result<Self, Error> {
        let target = Target::new(target);
        let is_named = target.named().is_some();
        let first = plan.sources.first();
        let has_other_columns = |source: &SourcePlan| Some(&source.layout.header) != first.map(|f| &f.layout.header);
        if is_named && plan.sources.iter().any(has_other_columns) {
            let problem = "the sources have different columns, so their rejects cannot share one file; omit --rejects, or load the sources one by one";
            return Err(Error::Stopped(problem.into()));
        }
        let streams = Streams::new(plan, is_named);
        let slots = (0..streams.len()).map(|_| Slot::Unused(None)).collect();
        let rejects = Self { plan, target, streams, slots, replaceable: Vec::new(), load: None, notes: Vec::new() };
        if let Some(named) = rejects.target.named()
            && rejects.is_source(named)
        {
            let problem = format!("--rejects {} names a source; give the path of another file", named.display());
            return Err(Error::Usage(problem));
        }
        (0..rejects.slots.len()).try_for_each(|slot| rejects.check_writable(slot))?;
        Ok(rejects)
    }

    /// Checks that the load may write to the file that the user named, if there is one. Call it before the load
    /// writes documents. Without this check, the load would stop later, at its first reject.
    ///
    /// # Errors
    /// If another process has locked the file, or the file contains rows that this load must not replace, for example
    /// rows that a user has corrected.
    pub(super) fn check_named(&mut self) -> Result<(), Error> {
        let named = if self.target.named().is_some() { self.slots.len() } else { 0 };
        (0..named).try_for_each(|slot| self.check_named_file(slot))
    }

    fn check_named_file(&mut self, slot: usize) -> Result<(), Error> {
        let path = self.path(slot, 1);
        let Slot::Unused(file) = &mut self.slots[slot] else { return Ok(()) };
        let file = match file.take() {
            Some(file) => file,
            None => RejectFile::open(&path).map_err(|error| cannot_open(&path, error))?,
        };
        if let Rows::OfOthers(why) = self.rows_in(&file).map_err(|error| output(&path, error))? {
            let problem = format!("{why}; move it away, or name another file with --rejects");
            return Err(Error::RejectFile { path: path.display().to_string(), problem });
        }
        if let Some(load) = &self.load
            && file.is_new()
        {
            // The process may be killed before the file has rows. The mark then shows that Medlift created the file.
            file.mark(load);
        }
        self.slots[slot] = Slot::Unused(Some(file));
        Ok(())
    }

    /// Finds out whether this load may replace the rows in the file.
    fn rows_in(&self, file: &RejectFile) -> std::io::Result<Rows> {
        let Some((bytes, blake3)) = file.on_disk()?.filter(|(bytes, _)| *bytes > 0) else {
            return Ok(Rows::Replaceable);
        };
        let mark = file.marked_by();
        for LeftFile { load, state } in &self.replaceable {
            let is_marked = mark.as_ref().map(|mark| mark == load);
            if state.bytes == bytes && state.blake3 == blake3 && is_marked != Some(false) {
                return Ok(Rows::Replaceable);
            }
            if is_marked == Some(true) && file.begins_with(state.bytes, &state.blake3)? {
                return Ok(Rows::AfterCheckpoint);
            }
        }
        let of = mark.map_or_else(String::new, |load| format!(" (load {load} created it)"));
        Ok(Rows::OfOthers(format!("it contains rows that this load did not write{of}")))
    }

    /// Checks that a file is writable, or that its directory accepts a new file. The directory of the first file is
    /// not checked again.
    fn check_writable(&self, slot: usize) -> Result<(), Error> {
        let path = self.path(slot, 1);
        let is_beside_first = slot > 0 && path.parent() == self.path(0, 1).parent();
        let is_special = std::fs::metadata(&path).is_ok_and(|found| !found.is_file());
        let checked = if is_special || self.is_source(&path) {
            // Do not open a pipe, because that would wait until another process reads it. A file that is a source is
            // never used for rejects.
            Ok(())
        } else if path.exists() {
            std::fs::OpenOptions::new().write(true).open(&path).map(drop)
        } else if is_beside_first {
            Ok(())
        } else {
            tempfile::tempfile_in(directory_of(&path)).map(drop)
        };
        checked.map_err(|error| cannot_open(&path, OpenError::Io(error)))
    }

    /// Returns the indexes in `slots` of the reject files of a source.
    pub(super) fn slots_of(&self, source: usize) -> Range<usize> {
        self.streams.of_source(source)
    }

    /// Continues the reject files of an interrupted load.
    ///
    /// # Errors
    /// If a file was changed since the interruption, another process uses it, or it cannot be read.
    pub(super) fn resume(&mut self, load: &LoadDocument) -> Result<Resumed, Error> {
        let mut slots = Vec::new();
        for state in &load.checkpoint.rejects {
            let slot = self.streams.of_state(state);
            let path = self.path_of_state(state);
            if state.bytes == 0 && !path.exists() {
                continue;
            }
            let is_empty = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == 0);
            if !path.exists()
                || is_empty && state.bytes > 0
                || self.target.named().is_some() && file_name(&path) != state.name
            {
                return Ok(Resumed::Gone(state.name.clone()));
            }
            self.slots[slot].release();
            let file = open_patiently(&path)?;
            if matches!(self.target, Target::Directory(_)) && is_of_another_load(&file, load) {
                // The user named another directory, in which another load has a file with the same name.
                return Ok(Resumed::Gone(state.name.clone()));
            }
            let (bytes, blake3) = (state.bytes, state.blake3.clone());
            continue_file(file, bytes, &blake3, Some(load))?;
            slots.push((slot, Slot::Closed { path, bytes, blake3 }));
        }
        // Change the slots only if all files were found. Otherwise the load starts from the beginning and chooses its
        // files again.
        for (slot, file) in slots {
            self.slots[slot] = file;
        }
        Ok(Resumed::Yes)
    }

    /// Opens the reject file with the index `slot`, so that rows can be appended. Returns true if this load writes to
    /// the file for the first time. The ledger must then record the file before rows are appended.
    ///
    /// # Errors
    /// If no file can be opened, if the file that the user named contains rows that this load must not replace, or if
    /// another program changed a file of this load.
    pub(super) fn prepare(&mut self, slot: usize) -> Result<bool, Error> {
        let opened = match &mut self.slots[slot] {
            Slot::Open(_) => return Ok(false),
            Slot::Closed { path, bytes, blake3 } => {
                let file = reopen(path, *bytes, blake3)?;
                self.keep_open(slot, file);
                return Ok(false);
            }
            Slot::Unused(file) => file.take(),
        };
        let file = self.choose(slot, opened)?;
        self.keep_open(slot, file);
        Ok(true)
    }

    /// Stores an open file in its slot. Closes another file if too many are open.
    fn keep_open(&mut self, slot: usize, file: RejectFile) {
        let is_open = |slot: &usize| matches!(self.slots[*slot], Slot::Open(_));
        let open: Vec<usize> = (0..self.slots.len()).filter(is_open).collect();
        if open.len() >= OPEN_MAX {
            self.close(open[0]);
        }
        self.slots[slot] = Slot::Open(file);
    }

    fn close(&mut self, slot: usize) {
        if let Slot::Open(file) = &self.slots[slot] {
            let (path, (bytes, blake3)) = (file.path().to_owned(), file.state());
            self.slots[slot] = Slot::Closed { path, bytes, blake3 };
        }
    }

    /// Chooses and opens the reject file with the index `slot`. Tries the names `a.csv.rejects.csv`,
    /// `a.csv.rejects.2.csv`, … in this order. Uses the first file that does not exist, is empty, or was written by an
    /// earlier load with the same key (collection, sources, spec and options).
    fn choose(&mut self, slot: usize, mut opened: Option<RejectFile>) -> Result<RejectFile, Error> {
        for number in 1..NAMES_MAX {
            let path = self.path(slot, number);
            let opened = opened.take();
            if self.is_source(&path) || self.is_used(&path, slot) {
                continue;
            }
            let mut file = match opened.map_or_else(|| RejectFile::open(&path), Ok) {
                Ok(file) => file,
                Err(OpenError::InUse) if self.target.named().is_none() => {
                    self.note_left(&path, "another load writes to it");
                    continue;
                }
                Err(error) => return Err(cannot_open(&path, error)),
            };
            let why = match self.rows_in(&file).map_err(|error| output(&path, error))? {
                Rows::Replaceable => {
                    file.clear().map_err(|error| output(&path, error))?;
                    None
                }
                // Keep the rows: `append` compares them with the rows of this load.
                Rows::AfterCheckpoint => None,
                Rows::OfOthers(why) => Some(why),
            };
            let Some(why) = why else {
                if let Some(load) = &self.load {
                    file.mark(load);
                }
                return Ok(file);
            };
            if self.target.named().is_some() {
                let problem = format!("{why}; move it away, or name another file with --rejects");
                return Err(Error::RejectFile { path: path.display().to_string(), problem });
            }
            self.note_left(&path, &why);
        }
        let path = self.path(slot, 1).display().to_string();
        let problem = format!("there are already {NAMES_MAX} reject files for this source; move some away");
        Err(Error::RejectFile { path, problem })
    }

    fn note_left(&mut self, path: &Path, why: &str) {
        self.notes.push(format!("{} was not changed: {why}", path.display()));
    }

    /// Appends lines to the reject file with the index `slot`, and waits until they are on disk.
    ///
    /// # Errors
    /// If the file cannot be opened or written, or was moved or replaced. Rows that this load wrote earlier stay
    /// unchanged.
    pub(super) fn append(&mut self, slot: usize, lines: &[u8]) -> Result<(), Error> {
        self.prepare(slot)?;
        let spare = self.spare(slot);
        let Slot::Open(file) = &mut self.slots[slot] else { unreachable!("prepare must open the file") };
        require_in_place(file)?;
        let header = if file.is_empty() { self.streams.header(slot, self.plan) } else { Vec::new() };
        let bytes = [&header, lines].concat();
        let moved = file.append(&bytes, spare).map_err(|error| output(file.path(), error))?;
        self.note_moved(slot, moved);
        Ok(())
    }

    /// Closes the files of all sources before `source`.
    pub(super) fn close_before(&mut self, source: usize) {
        (0..self.slots_of(source).start).for_each(|slot| self.close(slot));
    }

    /// Completes the files. If a file contains rows after those of this load, moves these rows to another file. Removes
    /// empty files.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        for slot in 0..self.slots.len() {
            let spare = self.spare(slot);
            if let Slot::Closed { path, bytes, blake3 } = &self.slots[slot] {
                let is_longer = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > *bytes);
                if is_longer {
                    let file = reopen(path, *bytes, blake3)?;
                    self.keep_open(slot, file);
                }
            }
            if let Slot::Open(file) = &mut self.slots[slot] {
                require_in_place(file)?;
                let moved = file.move_tail(spare).map_err(|error| output(file.path(), error))?;
                self.note_moved(slot, moved);
            }
        }
        self.remove_empty();
        Ok(())
    }

    fn note_moved(&mut self, slot: usize, moved: Option<PathBuf>) {
        let Some(to) = moved else { return };
        let from = self.path_of(slot).unwrap_or_default();
        self.notes.push(format!(
            "rows in {} that this load did not write were moved to {}",
            from.display(),
            to.display()
        ));
    }

    fn path_of(&self, slot: usize) -> Option<PathBuf> {
        match &self.slots[slot] {
            Slot::Unused(_) => None,
            Slot::Open(file) => Some(file.path().to_owned()),
            Slot::Closed { path, .. } => Some(path.clone()),
        }
    }

    /// Returns true if this load already uses the file, under another index than `slot`. Example: the user names a
    /// directory with `--rejects`. Then the sources `a/x.csv` and `b/x.csv` would have the same reject file.
    fn is_used(&self, path: &Path, slot: usize) -> bool {
        let is_path = |other: &Slot| match other {
            Slot::Unused(file) => file.as_ref().is_some_and(|file| file.path() == path),
            Slot::Open(file) => file.path() == path,
            Slot::Closed { path: used, .. } => used == path,
        };
        self.slots.iter().enumerate().any(|(number, other)| number != slot && is_path(other))
    }

    fn is_source(&self, path: &Path) -> bool {
        let mut sources = self.plan.sources.iter().filter_map(|source| source.origin.path());
        sources.any(|source| is_same_file(path, source))
    }

    /// Returns a path for the reject file with the index `slot`. Number 1 is the file that the user named, or
    /// `a.csv.rejects.csv`. Number 2 is for example `a.csv.rejects.2.csv`.
    fn path(&self, slot: usize, number: usize) -> PathBuf {
        let Stream { source, kind } = self.streams.get(slot);
        self.target.path(&self.plan.sources[source].origin, number, kind)
    }

    /// Returns the path of a reject file that the ledger describes.
    fn path_of_state(&self, state: &RejectsState) -> PathBuf {
        let slot = self.streams.of_state(state);
        match self.target {
            Target::File(_) => self.path(slot, 1),
            Target::Directory(_) | Target::BesideSources => directory_of(&self.path(slot, 1)).join(&state.name),
        }
    }

    /// Returns a function that finds an unused path, to which rows that this load did not write can be moved.
    fn spare(&self, slot: usize) -> impl FnOnce() -> PathBuf + use<> {
        let Stream { source, kind } = self.streams.get(slot);
        let (target, origin) = (self.target.clone(), self.plan.sources[source].origin.clone());
        move || {
            let mut names = (2..).map(|number| target.path(&origin, number, kind));
            names.find(|path| !path.exists()).expect("the numbers cannot run out")
        }
    }
}

/// A reject file of an earlier load with the same key (collection, sources, spec and options), as the ledger
/// describes it.
#[derive(Debug, Clone)]
pub(super) struct LeftFile {
    pub(super) load: String,
    pub(super) state: RejectsState,
}

/// Says whether this load may replace the rows in a reject file.
enum Rows {
    /// The file is empty, or has only rows that a load with the same key committed.
    Replaceable,
    /// A load with the same key created the file. It was killed after it wrote rows and before it committed them.
    /// Another program may have added rows too.
    AfterCheckpoint,
    /// This load must not replace the rows. Contains the reason.
    OfOthers(String),
}

#[cfg(test)]
mod tests;
