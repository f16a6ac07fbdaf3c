//! Watches a folder: loads each file that is complete, and moves it into a subfolder.
//!
//! The folder is read again and again. Notices of the operating system (inotify) would be faster, but they do not work
//! for files that another machine writes to a network file system, as in most hospitals.
//!
//! This module does not know how a file is loaded. The caller passes a function that loads it.

mod folder;
mod names;
mod report;
mod settling;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::folder::{Destination, Folder};
pub use self::report::{FileReport, Outcome};
use self::settling::{Found, Settling};
use crate::error::Error;
use crate::pipeline::Interrupt;
use crate::report::summary::LoadSummary;
use crate::wording::file_problem;

/// How often the folder is read. If files are taken earlier, it is read more often.
const LOOK: Duration = Duration::from_secs(1);

/// The shortest time between two looks.
const LOOK_MIN: Duration = Duration::from_millis(50);

/// The first pause after a temporary failure. It is doubled after each further failure.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a temporary failure.
const PAUSE_MAX: Duration = Duration::from_mins(1);

/// The folder to watch, and how.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The folder.
    pub path: PathBuf,
    /// The time for which a file without a marker must not change before it is taken.
    pub settle: Duration,
    /// Whether to end when no file is left.
    pub once: bool,
}

/// How many files were loaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that were loaded.
    pub loaded: u64,
    /// Of these, files with rejected rows.
    pub with_rejects: u64,
    /// Files that could not be loaded.
    pub rejected: u64,
    /// The exit code of the temporary failure that ended the command. `None` if there was none.
    pub stopped_by: Option<u8>,
}

/// Loads files of the folder until `interrupt` is asked, or until no file is left. `load` loads the file with this
/// path. `tell` receives a report about each file.
///
/// A file that is loaded is moved into `done`. A file that cannot be loaded is moved into `rejected`, together with the
/// reason. After a temporary failure, the file stays and is tried again, after growing pauses.
///
/// # Errors
/// If the problem is not in the file, for example if the user may not write to the collection. The next file would have
/// the same problem. The file then stays where it is.
pub async fn watch(
    options: &Watch,
    load: impl AsyncFnMut(String, &Interrupt) -> Result<LoadSummary, Error>,
    tell: impl FnMut(&FileReport) -> Result<(), Error>,
    interrupt: &Interrupt,
) -> Result<Tally, Error> {
    let folder = Folder::open(&options.path)?;
    let watcher =
        Watcher { options, folder, load, tell, interrupt, tally: Tally::default(), pause: PAUSE, last_failed: None };
    watcher.run().await
}

struct Watcher<'a, L, T> {
    options: &'a Watch,
    folder: Folder,
    load: L,
    tell: T,
    interrupt: &'a Interrupt,
    tally: Tally,
    /// The pause after the next temporary failure.
    pause: Duration,
    /// The file whose load failed last, for a temporary reason. Other files are tried first.
    last_failed: Option<OsString>,
}

/// What to do with a file after its load.
enum Verdict {
    Loaded(Box<LoadSummary>),
    Rejected(String),
    /// Try again later. The exit code is that of a load with this problem.
    Stays {
        problem: String,
        exit_code: u8,
    },
    /// The problem is not in the file.
    Stop(Error),
}

impl<L, T> Watcher<'_, L, T>
where
    L: AsyncFnMut(String, &Interrupt) -> Result<LoadSummary, Error>,
    T: FnMut(&FileReport) -> Result<(), Error>,
{
    async fn run(mut self) -> Result<Tally, Error> {
        let mut settling = Settling::default();
        let look = (self.options.settle / 4).clamp(LOOK_MIN, LOOK);
        while !self.interrupt.is_asked() && self.tally.stopped_by.is_none() {
            let found = self.folder.list().map_err(|error| self.cannot_list(&error))?;
            if found.is_empty() && self.options.once {
                return Ok(self.tally);
            }
            let complete = settling.look(found, Instant::now(), self.options.settle);
            match self.next(complete) {
                Some(file) => self.take(&file).await?,
                None => self.sleep(look).await,
            }
        }
        let is_unfinished = self.options.once && self.tally.stopped_by.is_none();
        if is_unfinished { Err(Error::Interrupted) } else { Ok(self.tally) }
    }

    fn cannot_list(&self, error: &std::io::Error) -> Error {
        let (path, problem) = (self.options.path.display(), file_problem(error));
        Error::Stopped(format!("cannot read the folder {path}: {problem}; correct this and start the command again"))
    }

    /// Returns the first file, but the one that failed last only if there is no other.
    fn next(&self, mut complete: Vec<Found>) -> Option<Found> {
        let is_other = |file: &Found| self.last_failed.as_ref() != Some(&file.name);
        let at = complete.iter().position(is_other).unwrap_or(0);
        (at < complete.len()).then(|| complete.swap_remove(at))
    }

    /// Loads a file, and moves it.
    async fn take(&mut self, file: &Found) -> Result<(), Error> {
        let begun = Instant::now();
        let name = file.name.to_string_lossy().into_owned();
        let verdict = match self.folder.path_of(&file.name).to_str() {
            Some(path) => verdict(self.load_interruptibly(path.to_owned()).await),
            None => Verdict::Rejected("its name is not UTF-8; rename it and put it into the folder again".to_owned()),
        };
        let is_loaded = matches!(verdict, Verdict::Loaded(_));
        if self.interrupt.is_asked() && !is_loaded {
            // The rows that are committed stay committed, and the next start continues this load.
            return Ok(());
        }
        let is_changed = self.folder.stamp(&file.name) != Some(file.stamp);
        let outcome = match verdict {
            Verdict::Stop(error) => return Err(error),
            Verdict::Stays { problem, exit_code } => {
                let again_in_seconds = (!self.options.once).then_some(self.pause.as_secs());
                self.tally.stopped_by = self.options.once.then_some(exit_code);
                self.report(name, Outcome::Stays { problem, again_in_seconds }, begun)?;
                self.last_failed = Some(file.name.clone());
                self.pause_once().await;
                return Ok(());
            }
            _ if is_changed => Outcome::Changed,
            Verdict::Loaded(summary) => {
                let moved = self.folder.put(&file.name, Destination::Done)?;
                self.tally.loaded += 1;
                self.tally.with_rejects += u64::from(summary.has_rejects());
                Outcome::Loaded { moved_to: moved.file, rejects: moved.rejects, summary }
            }
            Verdict::Rejected(problem) => {
                let moved = self.folder.put(&file.name, Destination::Rejected(&problem))?;
                self.tally.rejected += 1;
                Outcome::Rejected { moved_to: moved.file, problem }
            }
        };
        (self.pause, self.last_failed) = (PAUSE, None);
        self.report(name, outcome, begun)
    }

    fn report(&mut self, file: String, outcome: Outcome, begun: Instant) -> Result<(), Error> {
        (self.tell)(&FileReport { file, outcome, seconds: begun.elapsed().as_secs_f64() })
    }

    /// Loads a file with an interrupt of its own, because a load with too many rejects interrupts itself.
    async fn load_interruptibly(&mut self, path: String) -> Result<LoadSummary, Error> {
        let (of_all, of_load) = (self.interrupt.clone(), Interrupt::default());
        let passing_on = {
            let of_load = of_load.clone();
            tokio::spawn(async move {
                of_all.asked().await;
                of_load.ask();
            })
        };
        let result = (self.load)(path, &of_load).await;
        passing_on.abort();
        result
    }

    /// Waits until the next attempt.
    async fn pause_once(&mut self) {
        if self.tally.stopped_by.is_none() {
            self.sleep(self.pause).await;
        }
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// Sleeps for this time, or until the interrupt is asked.
    async fn sleep(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.interrupt.asked()).await;
    }
}

/// Decides what to do with a file after its load.
fn verdict(result: Result<LoadSummary, Error>) -> Verdict {
    match result {
        Ok(summary) if summary.has_differences() => Verdict::Rejected(
            "it is loaded, but the verification found a difference; medlift verify shows it".to_owned(),
        ),
        Ok(summary) => match &summary.fold {
            Some(fold) if fold.exit_code == 6 => Verdict::Stays { problem: fold.to_string(), exit_code: 6 },
            Some(fold) if fold.exit_code != 0 => Verdict::Stop(Error::Stopped(fold.to_string())),
            _ => Verdict::Loaded(Box::new(summary)),
        },
        Err(error) if error.is_temporary() => {
            Verdict::Stays { problem: error.to_string(), exit_code: error.exit_code() }
        }
        Err(error) if error.is_of_source() => Verdict::Rejected(error.to_string()),
        Err(error) => Verdict::Stop(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::Counts;
    use crate::read::ReadError;
    use crate::report::fold::FoldSummary;
    use crate::verify::Verification;

    /// Watches a folder with these files once. Returns the names of the files that are then in the folder, in `done`
    /// and in `rejected`, and the result.
    fn once(
        files: &[&str],
        load: impl AsyncFnMut(String, &Interrupt) -> Result<LoadSummary, Error>,
    ) -> ([Vec<String>; 3], Result<Tally, Error>) {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| fs::write(dir.path().join(name), name).unwrap());
        let options = Watch { path: dir.path().to_owned(), settle: Duration::ZERO, once: true };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let result = runtime.block_on(watch(&options, load, |_| Ok(()), &Interrupt::default()));
        let names = ["", "done", "rejected"].map(|inner| {
            let entries = fs::read_dir(dir.path().join(inner)).unwrap().map(|entry| entry.unwrap());
            let mut names: Vec<String> = entries
                .filter(|entry| entry.path().is_file())
                .map(|entry| entry.file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        });
        (names, result)
    }

    fn empty() -> Error {
        ReadError::Empty { name: "x".into() }.into()
    }

    #[test]
    fn each_file_ends_in_done_or_in_rejected_and_a_problem_of_all_files_moves_none() {
        let check = |result: fn() -> Result<LoadSummary, Error>, expected: [&[&str]; 3], tally: Option<Tally>| {
            let (names, found) = once(&["a"], async |_, _| result());
            assert_eq!(names, expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()));
            assert_eq!(found.ok(), tally);
        };
        let loaded = Tally { loaded: 1, ..Tally::default() };
        check(|| Ok(LoadSummary::default()), [&[], &["a"], &[]], Some(loaded));
        let with_rejects = || {
            let mut summary = LoadSummary::default();
            summary.document.counts = Counts { rejected: 1, ..Counts::default() };
            Ok(summary)
        };
        check(with_rejects, [&[], &["a"], &[]], Some(Tally { with_rejects: 1, ..loaded }));
        let rejected = Some(Tally { rejected: 1, ..Tally::default() });
        check(|| Err(empty()), [&[], &[], &["a", "a.error.txt"]], rejected);
        let differs = || {
            let mut summary = LoadSummary::default();
            summary.document.verification = Some(Verification { missing: 1, ..Verification::default() });
            Ok(summary)
        };
        check(differs, [&[], &[], &["a", "a.error.txt"]], rejected);
        let later = Some(Tally { stopped_by: Some(6), ..Tally::default() });
        check(|| Err(Error::NoLongerEmpty), [&["a"], &[], &[]], later);
        let unfolded = || Ok(LoadSummary { fold: Some(FoldSummary::not_folded("x", 6)), ..LoadSummary::default() });
        check(unfolded, [&["a"], &[], &[]], later);
        check(|| Err(Error::Usage("wrong".into())), [&["a"], &[], &[]], None);
        check(|| Err(Error::Stopped("no rights".into())), [&["a"], &[], &[]], None);
    }

    #[test]
    fn a_file_that_changes_while_it_is_loaded_is_loaded_again() {
        let mut loads = 0;
        let (names, result) = once(&["a"], async |path: String, _| {
            loads += 1;
            if loads == 1 {
                fs::write(path, "longer than before").unwrap();
                return Err(empty());
            }
            Ok(LoadSummary::default())
        });
        assert_eq!(names[1], ["a"]);
        assert_eq!((loads, result.unwrap().loaded), (2, 1));
    }

    #[test]
    fn a_load_that_interrupts_itself_does_not_end_the_watch() {
        let (names, result) = once(&["a", "b"], async |_, interrupt| {
            interrupt.ask();
            Err(Error::Rejects { problem: "x".into(), hint: "y".into() })
        });
        assert_eq!(names[2], ["a", "a.error.txt", "b", "b.error.txt"]);
        assert_eq!(result.unwrap().rejected, 2);
    }
}
