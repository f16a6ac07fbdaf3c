//! The paths of reject files: a file that the user named, files in a directory that the user named, or files beside the
//! sources. Also makes the errors about these paths.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::read::{Origin, RejectKind, reject_path};
use crate::report::rejects::OpenError;
use crate::s3::is_address;

/// Where the reject files are written.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// One file for all sources, which the user named.
    File(PathBuf),
    /// One file for each source, in the directory that the user named.
    Directory(PathBuf),
    /// One file for each source, beside the source.
    BesideSources,
}

impl Target {
    /// Interprets the path of `--rejects`. The path is a directory if such a directory exists or if the path ends with
    /// `/`.
    pub(super) fn new(path: Option<&Path>) -> Self {
        match path {
            None => Self::BesideSources,
            Some(path) if path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
                Self::Directory(path.to_owned())
            }
            Some(path) => Self::File(path.to_owned()),
        }
    }

    /// Returns the one file for all sources, if the user named a file.
    pub(super) fn named(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Directory(_) | Self::BesideSources => None,
        }
    }

    /// Returns a path for the rejects of a source. Number 1 is `a.csv.rejects.csv`, number 2 is `a.csv.rejects.2.csv`.
    /// If the user named a file, number 1 is that file. For rejects that need two files, `.csv` is added to the name of
    /// the second: `out.hl7` has the messages, and `out.hl7.csv` has their positions.
    pub(super) fn path(&self, origin: &Origin, number: usize, kind: RejectKind) -> PathBuf {
        let base = origin.rejects_base();
        match self {
            Self::File(path) if number == 1 && kind == RejectKind::Positions => with_csv(path),
            Self::File(path) if number == 1 => path.clone(),
            Self::File(path) => reject_path(path, number - 1, kind),
            Self::Directory(path) => reject_path(&path.join(base.file_name().unwrap_or_default()), number, kind),
            Self::BesideSources => reject_path(&base, number, kind),
        }
    }
}

fn with_csv(path: &Path) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(".csv");
    path.into()
}

/// Returns the address if the path of `--rejects` is in S3.
pub(in crate::pipeline) fn s3_address(path: &Path) -> Option<&str> {
    path.to_str().filter(|path| is_address(path))
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) fn cannot_open(path: &Path, error: OpenError) -> Error {
    match error {
        OpenError::Io(error) => output(path, error),
        OpenError::InUse => Error::RejectFileInUse { path: path.display().to_string() },
    }
}

pub(super) fn output(path: &Path, error: std::io::Error) -> Error {
    let path = format!("the reject file {}", path.display());
    let hint = match error.kind() {
        ErrorKind::NotFound => "; create its directory, or name another one with --rejects",
        ErrorKind::PermissionDenied => "; change the permissions, or name another file with --rejects",
        _ => "; free disk space, or name another file with --rejects",
    };
    Error::Output { path, hint, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_from_2_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let source = dir.path().join("a.csv");
        std::fs::write(&source, "x").expect("written");
        let origin = crate::read::expand(&[source.to_str().expect("text").to_owned()]).expect("a source").remove(0);
        let check = |given: Option<&Path>, first: PathBuf, second: PathBuf| {
            let target = Target::new(given);
            assert_eq!(
                (target.path(&origin, 1, RejectKind::Rows), target.path(&origin, 2, RejectKind::Rows)),
                (first, second),
                "{target:?}"
            );
        };
        let beside = |name: &str| dir.path().join(name);
        check(None, beside("a.csv.rejects.csv"), beside("a.csv.rejects.2.csv"));
        check(Some(&beside("r")), beside("r"), beside("r.rejects.csv"));
        check(Some(&beside("r.rejects.csv")), beside("r.rejects.csv"), beside("r.rejects.2.csv"));
        check(Some(dir.path()), beside("a.csv.rejects.csv"), beside("a.csv.rejects.2.csv"));
        let absent = Path::new("none/");
        check(Some(absent), absent.join("a.csv.rejects.csv"), absent.join("a.csv.rejects.2.csv"));
    }
}
