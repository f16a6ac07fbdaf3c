//! A watched folder on disk: lists its files, and moves them into `done` and `rejected`. Never overwrites a file.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::names::{is_source, marker_of, numbered, reason_of, rejects_of};
use super::settling::{Found, Stamp};
use crate::error::Error;
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
            let marker = marker_of(name);
            let has_marker = names.contains(&marker) && self.path_of(&marker).is_file();
            Some(Found { stamp: self.stamp(name)?, name: name.clone(), has_marker })
        };
        Ok(names.iter().filter(|name| is_source(name)).filter_map(file).collect())
    }

    /// Returns the stamp of a file. `None` if there is no such file, or if it is not a regular file. A link is not: it
    /// could lead to any file that the user of the program may read.
    pub(super) fn stamp(&self, name: &OsStr) -> Option<Stamp> {
        stamp_of(&self.path_of(name))
    }

    /// Moves a file and its reject files, if the file still has this stamp. If the subfolder already has a file of this
    /// name, the moved file gets a number. Returns `None` if the file was changed, replaced or removed after it was
    /// loaded. A file of this name that is then in the folder was not loaded.
    ///
    /// The file itself is moved last. If the process is killed before that, the next start finds the file, loads it
    /// again, which writes nothing, and moves it.
    pub(super) fn put(&self, name: &OsStr, stamp: Stamp, to: Destination<'_>) -> Result<Option<Moved>, Error> {
        let (from, folder) =
            (self.path_of(name), self.path.join(if to == Destination::Done { DONE } else { REJECTED }));
        // Opening the file makes a client of a network file system ask the server. Otherwise it could answer from its
        // cache.
        let _opened = File::open(&from);
        if stamp_of(&from) != Some(stamp) {
            return Ok(None);
        }
        // Removes the marker. Otherwise a file of the same name that arrives later would be taken before it is
        // complete.
        remove_if_there(&self.path_of(&marker_of(name))).map_err(|error| cannot_move(&from, &error))?;
        let is_free = |name: &OsStr| !folder.join(name).exists();
        for number in 1.. {
            let moved = numbered(name, number);
            let has_reason = matches!(to, Destination::Rejected(_));
            if !is_free(&moved) || has_reason && !is_free(&reason_of(&moved)) {
                continue;
            }
            let (path, rejects) = (folder.join(&moved), self.put_rejects(name, &folder, &moved)?);
            match rename_new(&from, &path) {
                Ok(true) => {}
                // Another process created a file with this name after the check above.
                Ok(false) => continue,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(cannot_move(&from, &error)),
            }
            let _opened = File::open(&path);
            if stamp_of(&path) != Some(stamp) {
                // The sender replaced the file between the check of its stamp and the move.
                self.put_back(name, &path)?;
                return Ok(None);
            }
            if let Destination::Rejected(reason) = to {
                write_reason(&folder.join(reason_of(&moved)), reason)?;
            }
            return Ok(Some(Moved { file: path, rejects }));
        }
        unreachable!("the numbers cannot run out")
    }

    /// Moves a file back into the folder. If its name is used again, it gets a number.
    fn put_back(&self, name: &OsStr, path: &Path) -> Result<(), Error> {
        for number in 1.. {
            if rename_new(path, &self.path_of(&numbered(name, number))).map_err(|error| cannot_move(path, &error))? {
                break;
            }
        }
        Ok(())
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
        Ok(_) => fs::rename(from, to).map(|()| true).inspect_err(|_| drop(fs::remove_file(to))),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file. Does nothing if there is no such file, or if it is a folder.
fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_dir() => match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn stamp_of(path: &Path) -> Option<Stamp> {
    fs::symlink_metadata(path).ok().filter(Metadata::is_file).map(|found| Stamp {
        size_bytes: found.len(),
        modified: found.modified().ok(),
        identity: (found.dev(), found.ino()),
    })
}

/// Writes why a file could not be loaded. Never replaces a file.
fn write_reason(path: &Path, reason: &str) -> Result<(), Error> {
    let failed = |error| Error::Output { path: path.display().to_string(), hint: "; free disk space", error };
    let mut out = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
    out.write_all(format!("{reason}\n").as_bytes()).map_err(failed)
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
        for name in names {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let folder = Folder::open(dir.path()).unwrap();
        (dir, folder)
    }

    fn put(folder: &Folder, name: &str, to: Destination<'_>) -> Option<Moved> {
        let stamp = folder.stamp(OsStr::new(name)).unwrap();
        folder.put(OsStr::new(name), stamp, to).unwrap()
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
        let moved = put(&folder, "a.csv", Destination::Done).unwrap();
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
        let moved = put(&folder, "a.csv", Destination::Rejected("it is empty")).unwrap();
        let rejected = dir.path().join(REJECTED);
        assert_eq!(moved, Moved { file: rejected.join("a.csv"), rejects: Vec::new() });
        assert_eq!(fs::read_to_string(rejected.join("a.csv.error.txt")).unwrap(), "it is empty\n");
    }

    #[test]
    fn a_reason_replaces_no_file() {
        let (dir, folder) = folder(&["a.csv"]);
        let rejected = dir.path().join(REJECTED);
        fs::write(rejected.join("a.csv.error.txt"), "of a user").unwrap();
        let moved = put(&folder, "a.csv", Destination::Rejected("it is empty")).unwrap();
        assert_eq!(moved.file, rejected.join("a.2.csv"));
        assert_eq!(fs::read_to_string(rejected.join("a.csv.error.txt")).unwrap(), "of a user");
        assert_eq!(fs::read_to_string(rejected.join("a.2.csv.error.txt")).unwrap(), "it is empty\n");
    }

    #[test]
    fn a_file_that_was_replaced_after_its_load_stays() {
        let (dir, folder) = folder(&["a.csv", "new"]);
        let stamp = folder.stamp(OsStr::new("a.csv")).unwrap();
        fs::rename(dir.path().join("new"), dir.path().join("a.csv")).unwrap();
        assert_eq!(folder.put(OsStr::new("a.csv"), stamp, Destination::Done).unwrap(), None);
        // It was replaced between the look at it and the move.
        fs::rename(dir.path().join("a.csv"), dir.path().join(DONE).join("a.csv")).unwrap();
        fs::write(dir.path().join("a.csv"), "even newer").unwrap();
        folder.put_back(OsStr::new("a.csv"), &dir.path().join(DONE).join("a.csv")).unwrap();
        assert_eq!(names(dir.path()), ["a.2.csv", "a.csv"]);
        assert_eq!(fs::read_to_string(dir.path().join("a.2.csv")).unwrap(), "new");
        assert_eq!(names(&dir.path().join(DONE)), Vec::<String>::new());
    }

    #[test]
    fn links_and_folders_are_neither_sources_nor_markers() {
        let (dir, folder) = folder(&["a.csv"]);
        fs::create_dir(dir.path().join("a.csv.done")).unwrap();
        std::os::unix::fs::symlink("a.csv", dir.path().join("b.csv")).unwrap();
        let found = folder.list().unwrap();
        assert_eq!((found.len(), found[0].has_marker), (1, false), "{found:?}");
        assert!(put(&folder, "a.csv", Destination::Done).is_some());
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
