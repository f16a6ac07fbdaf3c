//! Chooses the reject file of each source. A load overwrites only rows of its own, or of earlier loads with the same
//! key.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::plan::{Plan, SourcePlan};
use crate::error::Error;
use crate::ledger::{LoadDocument, RejectsState};
use crate::outputs::is_same_file;
use crate::read::REJECTS_SUFFIX;
use crate::report::rejects::{Content, OpenError, RejectFile, header_line};

/// How long another process may lock one of this load's files while it examines it.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Most reject files that are open at the same time.
const OPEN_MAX: usize = 16;

/// Most names tried for one source's file to find a free one.
const NAMES_MAX: usize = 10_000;

/// The reject files of a load: one for each source, or one for all.
///
/// A file is opened for its first reject and closed when the load has passed its source, so that many sources need few
/// open files. The first source's file is opened at once: a location that is not writable then stops the load at its
/// beginning.
pub(super) struct Rejects<'a> {
    plan: &'a Plan,
    /// The one file for all sources, if the user named one.
    named: Option<PathBuf>,
    slots: Vec<Slot>,
    /// Files that earlier loads with the same key left. This load writes their rows again.
    pub(super) replaceable: Vec<LeftFile>,
    /// The id of this load, with which its files are marked; `None` in a dry run.
    pub(super) load: Option<String>,
    /// Files that were left unchanged or moved, as sentences for the summary.
    pub(super) notes: Vec<String>,
}

/// The reject file of a source.
enum Slot {
    /// No reject yet. The file may already be open and locked, but it was not checked yet whether this load may replace
    /// its content.
    Unused(Option<RejectFile>),
    Open(RejectFile),
    /// Closed, because its source is complete or too many files were open. Length and hash are those of the load's own
    /// rows.
    Closed {
        path: PathBuf,
        bytes: u64,
        blake3: String,
    },
}

/// Whether the reject files of an interrupted load are unchanged.
pub(super) enum Resumed {
    Yes,
    /// The file with this name is missing, or is not the file that the user named now.
    Gone(String),
}

impl<'a> Rejects<'a> {
    /// Checks that rejects can be written beside each source, or to the named file.
    ///
    /// # Errors
    /// If a file cannot be written or is a source, or if one file is to contain the rejects of sources with different
    /// columns.
    pub(super) fn open(plan: &'a Plan, named: Option<&Path>) -> Result<Self, Error> {
        let first = plan.sources.first();
        let has_other_columns = |source: &SourcePlan| Some(&source.layout.header) != first.map(|f| &f.layout.header);
        if named.is_some() && plan.sources.iter().any(has_other_columns) {
            let problem = "the sources have different columns, so their rejects cannot share one file; leave out --rejects, or load them one by one";
            return Err(Error::Stopped(problem.into()));
        }
        let slots = if named.is_some() { 1 } else { plan.sources.len() };
        let slots = (0..slots).map(|_| Slot::Unused(None)).collect();
        let mut rejects = Self {
            plan,
            named: named.map(Path::to_owned),
            slots,
            replaceable: Vec::new(),
            load: None,
            notes: Vec::new(),
        };
        rejects.open_first()?;
        (1..rejects.slots.len()).try_for_each(|slot| rejects.check_writable(slot))?;
        Ok(rejects)
    }

    fn open_first(&mut self) -> Result<(), Error> {
        let path = self.path(0, 1);
        if let Some(named) = &self.named
            && self.is_source(named)
        {
            let problem = format!("--rejects {} names a source; rejects would take its place", named.display());
            return Err(Error::Usage(problem));
        }
        if self.is_source(&path) {
            return Ok(());
        }
        match RejectFile::open(&path) {
            Ok(file) => self.slots[0] = Slot::Unused(Some(file)),
            // Perhaps the same load runs in another process. The lease reports this better.
            Err(OpenError::InUse) => {}
            Err(error) => return Err(cannot_open(&path, error)),
        }
        Ok(())
    }

    /// Checks before the load writes anything that it may write to the named file. Otherwise the load would stop in the
    /// middle.
    ///
    /// # Errors
    /// If another load writes to the file, or it contains rows that this load did not write.
    pub(super) fn check_named(&mut self) -> Result<(), Error> {
        let Some(path) = self.named.clone() else { return Ok(()) };
        let Slot::Unused(file) = &mut self.slots[0] else { return Ok(()) };
        let file = match file.take() {
            Some(file) => file,
            None => RejectFile::open(&path).map_err(|error| cannot_open(&path, error))?,
        };
        if let Some(why) = self.is_others(&file).map_err(|error| output(&path, error))? {
            let problem = format!("{why}; move it away, or name another with --rejects");
            return Err(Error::RejectFile { path: path.display().to_string(), problem });
        }
        self.slots[0] = Slot::Unused(Some(file));
        Ok(())
    }

    /// Why this load's rows may not replace the file's content; `None` if they may.
    fn is_others(&self, file: &RejectFile) -> std::io::Result<Option<String>> {
        let Some((bytes, blake3)) = file.on_disk()?.filter(|(bytes, _)| *bytes > 0) else { return Ok(None) };
        let mark = file.marked_by();
        let is_left = |left: &LeftFile| {
            left.bytes == bytes && left.blake3 == blake3 && mark.as_ref().is_none_or(|mark| *mark == left.load)
        };
        if self.replaceable.iter().any(is_left) {
            return Ok(None);
        }
        let of = mark.map_or_else(String::new, |load| format!(" (load {load} began it)"));
        Ok(Some(format!("it holds rows that this load did not write{of}")))
    }

    /// Checks that an existing file is writable, and that a directory accepts new files. The directory of the first
    /// source was checked before.
    fn check_writable(&self, slot: usize) -> Result<(), Error> {
        let path = self.path(slot, 1);
        let is_beside_first = path.parent() == self.path(0, 1).parent();
        let is_special = std::fs::metadata(&path).is_ok_and(|found| !found.is_file());
        let checked = if is_special || self.is_source(&path) {
            // Opening a pipe would wait for its reader. A file that is a source is never used.
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

    /// The slot for the rejects of a source.
    pub(super) fn slot_of(&self, source: usize) -> usize {
        source.min(self.slots.len() - 1)
    }

    /// Continues the files of an interrupted load.
    ///
    /// # Errors
    /// If a file was changed since, is in use, or cannot be read.
    pub(super) fn resume(&mut self, load: &LoadDocument) -> Result<Resumed, Error> {
        let mut slots = Vec::new();
        for state in &load.checkpoint.rejects {
            let slot = self.slot_of(state.source as usize);
            let path = match &self.named {
                Some(named) => named.clone(),
                None => directory_of(&self.path(slot, 1)).join(&state.name),
            };
            if state.bytes == 0 && !path.exists() {
                continue;
            }
            let is_empty = std::fs::metadata(&path).is_ok_and(|found| found.is_file() && found.len() == 0);
            if !path.exists() || is_empty && state.bytes > 0 || self.named.is_some() && file_name(&path) != state.name {
                return Ok(Resumed::Gone(state.name.clone()));
            }
            if let Slot::Unused(file) = &mut self.slots[slot] {
                // This process may have locked the file itself.
                drop(file.take());
            }
            let (bytes, blake3) = (state.bytes, state.blake3.clone());
            reopen(&path, bytes, &blake3, Some(load))?;
            slots.push((slot, Slot::Closed { path, bytes, blake3 }));
        }
        // The slots change only when all files are found. Otherwise the load begins again and chooses its files again.
        for (slot, file) in slots {
            self.slots[slot] = file;
        }
        Ok(Resumed::Yes)
    }

    /// Opens a slot's file for its next rows. Returns true if the load has not written to the file before: the ledger
    /// must know the file before it contains rows.
    ///
    /// # Errors
    /// If no file can be opened, or the named file contains rows that this load did not write.
    pub(super) fn prepare(&mut self, slot: usize) -> Result<bool, Error> {
        let opened = match &mut self.slots[slot] {
            Slot::Open(_) => return Ok(false),
            Slot::Closed { path, bytes, blake3 } => {
                let file = reopen(path, *bytes, blake3, None)?;
                self.keep_open(slot, file);
                return Ok(false);
            }
            Slot::Unused(file) => file.take(),
        };
        let file = self.choose(slot, opened)?;
        self.keep_open(slot, file);
        Ok(true)
    }

    /// Keeps a slot's file open, and closes another one if too many are open.
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

    /// Opens the first file for a slot that is new, empty, or left by an earlier load with the same key.
    fn choose(&mut self, slot: usize, mut opened: Option<RejectFile>) -> Result<RejectFile, Error> {
        for number in 1..NAMES_MAX {
            let path = self.path(slot, number);
            let opened = opened.take();
            if self.is_source(&path) {
                continue;
            }
            let mut file = match opened.map_or_else(|| RejectFile::open(&path), Ok) {
                Ok(file) => file,
                Err(OpenError::InUse) if self.named.is_none() => {
                    self.note_left(&path, "another load writes to it");
                    continue;
                }
                Err(error) => return Err(cannot_open(&path, error)),
            };
            let Some(why) = self.is_others(&file).map_err(|error| output(&path, error))? else {
                file.clear().map_err(|error| output(&path, error))?;
                if let Some(load) = &self.load {
                    file.mark(load);
                }
                return Ok(file);
            };
            if self.named.is_some() {
                let problem = format!("{why}; move it away, or name another with --rejects");
                return Err(Error::RejectFile { path: path.display().to_string(), problem });
            }
            self.note_left(&path, &why);
        }
        let path = self.path(slot, 1).display().to_string();
        let problem = format!("there are {NAMES_MAX} reject files with this name already; move them away");
        Err(Error::RejectFile { path, problem })
    }

    fn note_left(&mut self, path: &Path, why: &str) {
        self.notes.push(format!("{} was left as it is: {why}", path.display()));
    }

    /// Appends lines to a slot's file and writes them to disk.
    ///
    /// # Errors
    /// If the file cannot be written. Its content is then unchanged.
    pub(super) fn append(&mut self, slot: usize, lines: &[u8]) -> Result<(), Error> {
        self.prepare(slot)?;
        let spare = self.spare(slot);
        let source = &self.plan.sources[slot];
        let Slot::Open(file) = &mut self.slots[slot] else { unreachable!("the file was just opened") };
        require_in_place(file)?;
        let header = if file.is_empty() {
            header_line(&source.layout.header, source.layout.format.reject_delimiter())
        } else {
            Vec::new()
        };
        let bytes = [&header, lines].concat();
        let moved = file.append(&bytes, spare).map_err(|error| output(file.path(), error))?;
        self.note_moved(slot, moved);
        Ok(())
    }

    /// Closes the files of the sources before this one.
    pub(super) fn close_before(&mut self, source: usize) {
        (0..self.slot_of(source)).for_each(|slot| self.close(slot));
    }

    /// Completes the files. Rows after the load's own are moved to another file.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        for slot in 0..self.slots.len() {
            let spare = self.spare(slot);
            if let Slot::Closed { path, bytes, blake3 } = &self.slots[slot] {
                let is_longer = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > *bytes);
                if is_longer {
                    let file = reopen(path, *bytes, blake3, None)?;
                    self.keep_open(slot, file);
                }
            }
            if let Slot::Open(file) = &mut self.slots[slot] {
                require_in_place(file)?;
                let moved = file.move_tail(spare).map_err(|error| output(file.path(), error))?;
                self.note_moved(slot, moved);
            }
        }
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

    /// The files that the load has begun, in their present state.
    pub(super) fn states(&self) -> Vec<RejectsState> {
        let state = |(source, slot): (usize, &Slot)| {
            let (path, (bytes, blake3)) = match slot {
                Slot::Unused(_) => return None,
                Slot::Open(file) => (file.path(), file.state()),
                Slot::Closed { path, bytes, blake3 } => (path.as_path(), (*bytes, blake3.clone())),
            };
            Some(RejectsState { source: source as u32, name: file_name(path), bytes, blake3 })
        };
        self.slots.iter().enumerate().filter_map(state).collect()
    }

    /// The paths of the files that contain rejects of the load.
    pub(super) fn paths(&self) -> Vec<String> {
        let is_used = |slot: &Slot| match slot {
            Slot::Unused(_) => false,
            Slot::Open(file) => !file.is_empty(),
            Slot::Closed { bytes, .. } => *bytes > 0,
        };
        let used = (0..self.slots.len()).filter(|slot| is_used(&self.slots[*slot]));
        used.filter_map(|slot| self.path_of(slot)).map(|path| path.display().to_string()).collect()
    }

    /// The paths of the files of a complete load that still exist unchanged.
    pub(super) fn left_by(&self, load: &LoadDocument) -> Vec<String> {
        let path = |state: &RejectsState| match &self.named {
            Some(named) => named.clone(),
            None => directory_of(&self.path(self.slot_of(state.source as usize), 1)).join(&state.name),
        };
        let is_there = |path: &Path, state: &RejectsState| {
            let is_alike = std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == state.bytes);
            let on_disk = || RejectFile::open(path).ok().and_then(|file| file.on_disk().ok().flatten());
            is_alike && on_disk().is_some_and(|(_, blake3)| blake3 == state.blake3)
        };
        let found = load.checkpoint.rejects.iter().map(|state| (path(state), state));
        found.filter(|(path, state)| is_there(path, state)).map(|(path, _)| path.display().to_string()).collect()
    }

    fn path_of(&self, slot: usize) -> Option<PathBuf> {
        match &self.slots[slot] {
            Slot::Unused(_) => None,
            Slot::Open(file) => Some(file.path().to_owned()),
            Slot::Closed { path, .. } => Some(path.clone()),
        }
    }

    fn is_source(&self, path: &Path) -> bool {
        let mut sources = self.plan.sources.iter().filter_map(|source| source.origin.path());
        sources.any(|source| is_same_file(path, source))
    }

    /// Name `number` for a slot's file. Number 1 is the named file, or the first name beside the source.
    fn path(&self, slot: usize, number: usize) -> PathBuf {
        match &self.named {
            Some(named) if number == 1 => named.clone(),
            _ => numbered(&self.base(slot), number),
        }
    }

    /// The path with which the names begin: the named file, or the place that the origin gives.
    fn base(&self, slot: usize) -> PathBuf {
        self.named.clone().unwrap_or_else(|| self.plan.sources[slot].origin.rejects_base())
    }

    /// Finds an unused name beside a slot's file.
    fn spare(&self, slot: usize) -> impl FnOnce() -> PathBuf + use<> {
        let base = self.base(slot);
        move || {
            let mut names = (2..).map(|number| numbered(&base, number));
            names.find(|path| !path.exists()).expect("there is no end of names")
        }
    }
}

/// `a.csv.rejects.csv`, `a.csv.2.rejects.csv`, …
fn numbered(base: &Path, number: usize) -> PathBuf {
    let mut name = base.to_path_buf().into_os_string();
    if number > 1 {
        name.push(format!(".{number}"));
    }
    name.push(REJECTS_SUFFIX);
    name.into()
}

/// A reject file that an earlier load left.
#[derive(Debug, Clone)]
pub(super) struct LeftFile {
    pub(super) load: String,
    pub(super) bytes: u64,
    pub(super) blake3: String,
}

fn require_in_place(file: &RejectFile) -> Result<(), Error> {
    if file.is_in_place() {
        return Ok(());
    }
    let problem = "it was moved or replaced while the load ran; put it back, then run the same command again";
    Err(Error::RejectFile { path: file.path().display().to_string(), problem: problem.into() })
}

/// Opens a file that another process may have locked for a moment.
fn open_patiently(path: &Path) -> Result<RejectFile, OpenError> {
    let until = Instant::now() + LOOK_MAX;
    loop {
        match RejectFile::open(path) {
            Err(OpenError::InUse) if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
            opened => return opened,
        }
    }
}

fn reopen(path: &Path, bytes: u64, blake3: &str, interrupted: Option<&LoadDocument>) -> Result<RejectFile, Error> {
    let mut file = open_patiently(path).map_err(|error| cannot_open(path, error))?;
    let is_others = |load: &LoadDocument| file.marked_by().is_some_and(|id| id != load.id.to_string());
    let is_others = interrupted.is_some_and(is_others);
    match file.resume(bytes, blake3).map_err(|error| output(path, error))? {
        Content::Same if !is_others => Ok(file),
        _ => Err(Error::RejectFile {
            path: path.display().to_string(),
            problem: match interrupted {
                Some(_) => {
                    "it was changed since this load was interrupted; put it back as it was, or move it away: the load then \
                     begins anew and writes all rejects again"
                }
                None => "it was changed while the load ran; run the same command again",
            }
            .into(),
        }),
    }
}

fn cannot_open(path: &Path, error: OpenError) -> Error {
    match error {
        OpenError::Io(error) => output(path, error),
        OpenError::InUse => Error::RejectFile {
            path: path.display().to_string(),
            problem: "another load writes to it; wait until it has ended, or name another with --rejects".into(),
        },
    }
}

fn output(path: &Path, error: std::io::Error) -> Error {
    let path = format!("the reject file {}", path.display());
    Error::Output { path, hint: "; make room for it, or name another with --rejects", error }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests;
