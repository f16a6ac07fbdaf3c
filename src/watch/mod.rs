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

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use self::folder::{Destination, Folder};
use self::names::is_too_long;
pub use self::report::{FileReport, Outcome};
use self::settling::{Found, Settling};
use crate::error::Error;
use crate::pipeline::Interrupt;
use crate::report::summary::LoadSummary;
use crate::wording::file_problem;

/// The longest pause between two looks at the folder. If `settle` is less than four seconds, the pause is shorter.
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
    /// Whether to end when each file was tried once.
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
    /// The exit code of the load of a file that stays. `None` if no file stays.
    pub stays: Option<u8>,
}

/// Loads the files of the folder until `interrupt` is asked. If `once` is true, ends when each file was tried once.
/// `load` loads the file with the path that it is given. `tell` receives a report about each file.
///
/// A file that is loaded is moved into `done`. A file that cannot be loaded is moved into `rejected`, together with the
/// reason. If the problem is not in the file, the file stays and is tried again, after growing pauses. If `once` is true,
/// it is not tried again.
///
/// # Errors
/// The sign-in is refused, the folder or the output cannot be used, or `interrupt` is asked although `once` is true.
pub async fn watch(
    options: &Watch,
    load: impl AsyncFnMut(String, &Interrupt) -> Result<LoadSummary, Error>,
    tell: impl FnMut(&FileReport) -> Result<(), Error>,
    interrupt: &Interrupt,
) -> Result<Tally, Error> {
    let folder = Folder::open(&options.path)?;
    let watcher = Watcher { options, folder, load, tell, interrupt, tally: Tally::default(), failed: HashMap::new() };
    watcher.run().await
}

struct Watcher<'a, L, T> {
    options: &'a Watch,
    folder: Folder,
    load: L,
    tell: T,
    interrupt: &'a Interrupt,
    tally: Tally,
    /// The files that stay after a failure. They are tried again later.
    failed: HashMap<OsString, Retry>,
}

/// When a file is tried again.
struct Retry {
    at: Instant,
    pause: Duration,
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
    /// No file can be loaded.
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
        while !self.interrupt.is_asked() {
            let found = self.folder.list().map_err(|error| self.cannot_list(&error))?;
            if self.options.once && found.iter().all(|file| self.failed.contains_key(&file.name)) {
                return Ok(self.tally);
            }
            self.failed.retain(|name, _| found.iter().any(|file| file.name == *name));
            let mut complete = settling.look(found, Instant::now(), self.options.settle);
            complete.retain(|file| self.is_due(file));
            if complete.is_empty() {
                self.sleep(look).await;
            }
            // The folder is read again only after all files were taken, because it can be large.
            for file in complete.into_iter().take_while(|_| !self.interrupt.is_asked()) {
                self.take(&file).await?;
            }
        }
        if self.options.once { Err(Error::Interrupted) } else { Ok(self.tally) }
    }

    fn cannot_list(&self, error: &std::io::Error) -> Error {
        let (path, problem) = (self.options.path.display(), file_problem(error));
        Error::Stopped(format!("cannot read the folder {path}: {problem}; correct this and start the command again"))
    }

    fn is_due(&self, file: &Found) -> bool {
        self.failed.get(&file.name).is_none_or(|retry| !self.options.once && retry.at <= Instant::now())
    }

    /// Loads a file, and moves it.
    async fn take(&mut self, file: &Found) -> Result<(), Error> {
        let begun = Instant::now();
        if self.folder.stamp(&file.name) != Some(file.stamp) {
            // The file was changed or removed after the look. The next look decides whether it is complete.
            return Ok(());
        }
        let name = file.name.to_string_lossy().into_owned();
        let verdict = match self.folder.path_of(&file.name).to_str() {
            _ if is_too_long(&file.name) => {
                Verdict::Rejected("its name is too long; rename it and put it into the folder again".to_owned())
            }
            Some(path) => verdict(self.load_interruptibly(path.to_owned()).await),
            None => Verdict::Rejected("its name is not UTF-8; rename it and put it into the folder again".to_owned()),
        };
        if self.interrupt.is_asked() && !matches!(verdict, Verdict::Loaded(_)) {
            // The file stays in the folder. Its committed rows stay committed, and the next start continues the load.
            return Ok(());
        }
        let is_same = self.folder.stamp(&file.name) == Some(file.stamp);
        let outcome = match verdict {
            Verdict::Stop(error) => return Err(error),
            _ if !is_same => Outcome::Changed,
            Verdict::Stays { problem, exit_code } => return self.keep(file, name, problem, exit_code, begun),
            Verdict::Loaded(summary) => match self.folder.put(&file.name, file.stamp, Destination::Done)? {
                None => Outcome::Changed,
                Some(moved) => {
                    self.tally.loaded += 1;
                    self.tally.with_rejects += u64::from(summary.has_rejects());
                    Outcome::Loaded { moved_to: moved.file, rejects: moved.rejects, summary }
                }
            },
            Verdict::Rejected(problem) => {
                match self.folder.put(&file.name, file.stamp, Destination::Rejected(&problem))? {
                    None => Outcome::Changed,
                    Some(moved) => {
                        self.tally.rejected += 1;
                        Outcome::Rejected { moved_to: moved.file, problem }
                    }
                }
            }
        };
        self.failed.remove(&file.name);
        self.report(name, outcome, begun)
    }

    /// Lets a file stay in the folder, to be tried again later.
    fn keep(
        &mut self,
        file: &Found,
        name: String,
        problem: String,
        exit_code: u8,
        begun: Instant,
    ) -> Result<(), Error> {
        let pause = self.failed.get(&file.name).map_or(PAUSE, |retry| (retry.pause * 2).min(PAUSE_MAX));
        self.failed.insert(file.name.clone(), Retry { at: Instant::now() + pause, pause });
        self.tally.stays.get_or_insert(exit_code);
        let again_in_seconds = (!self.options.once).then_some(pause.as_secs());
        self.report(name, Outcome::Stays { problem, again_in_seconds }, begun)
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
            Some(fold) if fold.exit_code != 0 => {
                Verdict::Stays { problem: fold.to_string(), exit_code: fold.exit_code }
            }
            _ => Verdict::Loaded(Box::new(summary)),
        },
        Err(error) if error.exit_code() == 3 && !error.is_temporary() => Verdict::Stop(error),
        // The disk or the file server can have a short failure.
        Err(error) if error.is_of_source() && !is_io(&error) => Verdict::Rejected(error.to_string()),
        Err(error) => Verdict::Stays { problem: error.to_string(), exit_code: error.exit_code() },
    }
}

/// Returns true if the operating system could not read the source.
fn is_io(error: &Error) -> bool {
    match error {
        Error::Read(error) => error.is_io(),
        Error::Unfinished { cause, .. } => is_io(cause),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ledger::Counts;
    use crate::read::ReadError;
    use crate::report::fold::FoldSummary;
    use crate::server::{Failure, ServerError, SignIn};
    use crate::verify::Verification;

    /// Watches a folder with these files once. Returns the names of the files that are then in the folder, in `done`
    /// and in `rejected`, and the result.
    fn once(
        files: &[&str],
        load: impl AsyncFnMut(String, &Interrupt) -> Result<LoadSummary, Error>,
    ) -> ([Vec<String>; 3], Result<Tally, Error>) {
        let dir = tempfile::tempdir().unwrap();
        for name in files {
            fs::write(dir.path().join(name), name).unwrap();
        }
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
    fn each_file_ends_in_done_or_in_rejected_and_stays_if_the_problem_is_elsewhere() {
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
        let stays = |code| Some(Tally { stays: Some(code), ..Tally::default() });
        check(|| Err(Error::NoLongerEmpty), [&["a"], &[], &[]], stays(6));
        let unfolded = || Ok(LoadSummary { fold: Some(FoldSummary::not_folded("x", 6)), ..LoadSummary::default() });
        check(unfolded, [&["a"], &[], &[]], stays(6));
        check(|| Err(Error::Usage("wrong".into())), [&["a"], &[], &[]], stays(2));
        check(|| Err(Error::Stopped("no rights".into())), [&["a"], &[], &[]], stays(1));
        check(|| Err(ReadError::NoPermission { name: "a".into() }.into()), [&["a"], &[], &[]], stays(1));
        let refused = || {
            let failure = Failure::SignIn(SignIn::Refused);
            Err(Error::Server(ServerError::Connect { address: "h".into(), failure }))
        };
        check(refused, [&["a"], &[], &[]], None);
    }

    #[test]
    fn a_file_that_stays_does_not_stop_the_others() {
        let (names, result) = once(&["a", "b", "c"], async |path: String, _| {
            if path.ends_with('c') { Ok(LoadSummary::default()) } else { Err(Error::NoLongerEmpty) }
        });
        assert_eq!((&names[0], &names[1]), (&vec!["a".to_owned(), "b".to_owned()], &vec!["c".to_owned()]));
        assert_eq!(result.unwrap(), Tally { loaded: 1, stays: Some(6), ..Tally::default() });
    }

    #[test]
    fn a_name_that_is_too_long_is_rejected() {
        let long = "x".repeat(251) + ".csv";
        let (names, result) = once(&[&long], async |_, _| Ok(LoadSummary::default()));
        assert_eq!((names[2].len(), result.unwrap().rejected), (2, 1));
        assert!(names[2].contains(&long));
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
