//! A watched folder on disk: lists its files, and moves them into `done` and `rejected`. Never overwrites a file.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::names::{is_source, marker_of, numbered, reason_of, rejects_of};
use super::settling::{Found, Stamp};
use crate::error::Error;
use crate::outputs::{Output, SHARED_MODE};
use crate::wording::file_problem;

/// The subfolder of the files that are loaded.
const DONE: &str = "done";

/// The subfolder of the files that could not be loaded.
const REJECTED: &str = "rejected";

/// A watched folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

/// Where a file is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination<'a> {
    /// Into `done`.
    Done,
    /// Into `rejected`, with this reason in a file beside it.
    Rejected(&'a str),
}

/// The files after they were moved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) file: PathBuf,
    pub(super) rejects: Vec<PathBuf>,
}

impl Folder {
    /// Opens the folder, and creates its subfolders.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_dir() {
            let problem = "it is not a folder; give a folder that exists";
            return Err(Error::Usage(format!("cannot watch {}: {problem}", path.display())));
        }
        for name in [DONE, REJECTED] {
            let inner = path.join(name);
            fs::create_dir_all(&inner).map_err(|error| {
                let problem = file_problem(&error);
                Error::Stopped(format!(
                    "cannot create the folder {}: {problem}; the user who runs medlift needs the right to write there",
                    inner.display()
                ))
            })?;
        }
        Ok(Self { path: path.to_owned() })
    }

    pub(super) fn path_of(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// Returns the files that may be sources.
    pub(super) fn list(&self) -> io::Result<Vec<Found>> {
        let names = fs::read_dir(&self.path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<HashSet<OsString>>>()?;
        let file = |name: &OsString| {
            let has_marker = names.contains(&marker_of(name));
            Some(Found { stamp: self.stamp(name)?, name: name.clone(), has_marker })
        };
        Ok(names.iter().filter(|name| is_source(name)).filter_map(file).collect())
    }

    /// Returns the stamp of a file. `None` if there is no such file, or if it is not a regular file.
    pub(super) fn stamp(&self, name: &OsStr) -> Option<Stamp> {
        fs::metadata(self.path_of(name)).ok().filter(Metadata::is_file).map(|found| Stamp {
            size_bytes: found.len(),
            modified: found.modified().ok(),
            identity: (found.dev(), found.ino()),
        })
    }

    /// Moves a file with its reject files. If another file has its name there already, it gets a number.
    ///
    /// The file itself is moved last. If the process is killed before that, the next start finds the file, loads it
    /// again, which writes nothing, and moves it.
    pub(super) fn put(&self, name: &OsStr, to: Destination<'_>) -> Result<Moved, Error> {
        let folder = self.path.join(if to == Destination::Done { DONE } else { REJECTED });
        // Without its marker, a file of the same name that arrives later is not taken before it is complete.
        remove_if_there(&self.path_of(&marker_of(name))).map_err(|error| cannot_move(&self.path_of(name), &error))?;
        let mut number = 1;
        loop {
            let moved = (number..).map(|number| numbered(name, number)).find(|moved| !folder.join(moved).exists());
            let moved = moved.unwrap_or_default();
            let rejects = self.put_rejects(name, &folder, &moved)?;
            if let Destination::Rejected(reason) = to {
                write_reason(&folder.join(reason_of(&moved)), reason)?;
            }
            if self.move_new(name, &folder.join(&moved))? {
                return Ok(Moved { file: folder.join(moved), rejects });
            }
            // Another process has taken the name since it was looked for.
            number += 1;
        }
    }

    /// Moves the reject files of a source that is about to be moved as `moved`.
    fn put_rejects(&self, name: &OsStr, folder: &Path, moved: &OsStr) -> Result<Vec<PathBuf>, Error> {
        let names = fs::read_dir(&self.path).map_err(|error| cannot_move(&self.path_of(name), &error))?;
        let mut rejects = Vec::new();
        for found in names.flatten().map(|entry| entry.file_name()) {
            let Some(wanted) = rejects_of(&found, name, moved) else { continue };
            let mut number = 1;
            while !self.move_new(&found, &folder.join(numbered(&wanted, number)))? {
                number += 1;
            }
            rejects.push(folder.join(numbered(&wanted, number)));
        }
        rejects.sort();
        Ok(rejects)
    }

    /// Moves a file of this folder. Returns false if `to` exists already.
    fn move_new(&self, name: &OsStr, to: &Path) -> Result<bool, Error> {
        let from = self.path_of(name);
        rename_new(&from, to).map_err(|error| cannot_move(&from, &error))
    }
}

/// Renames a file. Returns false, and changes nothing, if `to` exists already.
fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rename_to_reserved(from, to),
        Err(error) => Err(error.into()),
    }
}

/// Renames a file on a file system that can only rename over an existing file. NFS is one. First creates an empty file
/// with the name, so that no other process can use it.
fn rename_to_reserved(from: &Path, to: &Path) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).open(to) {
        Ok(_) => fs::rename(from, to).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_reason(path: &Path, reason: &str) -> Result<(), Error> {
    let failed = |error| Error::Output { path: path.display().to_string(), hint: "; free disk space", error };
    let mut out = Output::file(path, SHARED_MODE).map_err(failed)?;
    out.write_all(format!("{reason}\n").as_bytes()).and_then(|()| out.finish()).map_err(failed)
}

fn cannot_move(path: &Path, error: &io::Error) -> Error {
    let advice = if error.kind() == ErrorKind::CrossesDevices {
        "done and rejected must be on the same file system as the folder"
    } else {
        "the user who runs medlift needs the right to write in the folder, in done and in rejected"
    };
    Error::Stopped(format!("cannot move {}: {}; {advice}", path.display(), file_problem(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files. The content of each file is its name.
    fn folder(names: &[&str]) -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        names.iter().for_each(|name| fs::write(dir.path().join(name), name).unwrap());
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    fn names(path: &Path) -> Vec<String> {
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_file());
        let mut names: Vec<String> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_sources_are_listed() {
        let (dir, folder) = folder(&["a.csv", "a.csv.done", "b.csv", "b.csv.rejects.csv", ".c", "d.part"]);
        fs::create_dir(dir.path().join("inner")).unwrap();
        let mut found = folder.list().unwrap();
        found.sort_by(|left, right| left.name.cmp(&right.name));
        let found: Vec<(&OsStr, bool)> = found.iter().map(|file| (file.name.as_os_str(), file.has_marker)).collect();
        assert_eq!(found, [(OsStr::new("a.csv"), true), (OsStr::new("b.csv"), false)]);
    }

    #[test]
    fn a_file_is_moved_with_its_rejects_and_overwrites_nothing() {
        let (dir, folder) = folder(&["a.csv", "a.csv.done", "a.csv.rejects.csv", "aa.csv.rejects.csv"]);
        let done = dir.path().join(DONE);
        fs::write(done.join("a.csv"), "earlier").unwrap();
        fs::write(done.join("a.2.csv.rejects.csv"), "earlier").unwrap();
        let moved = folder.put(OsStr::new("a.csv"), Destination::Done).unwrap();
        let expected = [done.join("a.2.csv"), done.join("a.2.csv.rejects.2.csv")];
        assert_eq!((&moved.file, moved.rejects.as_slice()), (&expected[0], &expected[1..]));
        assert_eq!(names(dir.path()), ["aa.csv.rejects.csv"]);
        let content = |name: &str| fs::read_to_string(done.join(name)).unwrap();
        let contents = ["a.csv", "a.2.csv", "a.2.csv.rejects.csv", "a.2.csv.rejects.2.csv"].map(content);
        assert_eq!(contents, ["earlier", "a.csv", "earlier", "a.csv.rejects.csv"]);
    }

    #[test]
    fn a_rejected_file_has_its_reason_beside_it() {
        let (dir, folder) = folder(&["a.csv"]);
        let moved = folder.put(OsStr::new("a.csv"), Destination::Rejected("it is empty")).unwrap();
        let rejected = dir.path().join(REJECTED);
        assert_eq!(moved, Moved { file: rejected.join("a.csv"), rejects: Vec::new() });
        assert_eq!(fs::read_to_string(rejected.join("a.csv.error.txt")).unwrap(), "it is empty\n");
    }

    #[test]
    fn a_file_system_without_exclusive_renames_overwrites_nothing_either() {
        let (dir, _folder) = folder(&["a", "b"]);
        let path = |name: &str| dir.path().join(name);
        assert!(!rename_to_reserved(&path("a"), &path("b")).unwrap());
        assert!(rename_to_reserved(&path("a"), &path("c")).unwrap());
        assert_eq!(names(dir.path()), ["b", "c"]);
        assert_eq!(fs::read_to_string(path("c")).unwrap(), "a");
    }
}
