//! Protects the files of loads: an export must not replace a source or a reject file. Reason: a source contains data
//! that is not in the collection, namely duplicates, rejected rows, and the texts before cleaning.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use super::manifest::Manifest;
use crate::error::Error;
use crate::ledger::{LEASE_DEFAULT, Ledger, LedgerError, LoadFiles, RejectsState, SourceIdentity};
use crate::outputs::is_same_file;
use crate::read::Version;
use crate::server::{Failure, Target};

/// Returns an error if `out` is a manifest, or a source or a reject file of a load into the database of `target`,
/// according to the ledger. Only the files that [`Ledger::files`] returns are compared. Also returns an error if the
/// file exists and the user may not read the ledger.
pub async fn refuse_originals(target: &Target, out: &Path) -> Result<(), Error> {
    let Some(existing) = Existing::of(out) else { return Ok(()) };
    if Manifest::is_at(out) {
        return Err(Error::Usage(format!(
            "--out {} is a manifest, and an export in its place would stop the load that uses it; give another file",
            out.display()
        )));
    }
    let ledger = Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT);
    let loads = match ledger.files().await {
        Err(LedgerError::Server(Failure::NotAuthorized { .. })) => {
            return Err(Error::Usage(format!(
                "--out {} exists, and this user may not read the ledger, which says whether the file is a source of a \
                 load; give a file that does not exist",
                out.display()
            )));
        }
        loads => loads.map_err(|error| Error::of_ledger("read", error))?,
    };
    let found = loads.iter().find_map(|load| Some((load, existing.part_in(load)?)));
    found.map_or(Ok(()), |(load, part)| Err(refusal(out, &target.database, load, part)))
}

fn refusal(out: &Path, database: &str, load: &LoadFiles, part: Part) -> Error {
    let (what, lost) = match part {
        Part::Source => ("a source", "rejected rows, duplicates and the texts before cleaning"),
        Part::Rejects => ("the reject file", "its rows"),
    };
    Error::Usage(format!(
        "--out {} is {what} of load {} into {database}.{}; an export in its place would lose {lost}; give another file, \
         or move this one away first",
        out.display(),
        load.load(),
        load.collection
    ))
}

/// How a load used a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Source,
    Rejects,
}

/// An existing regular file.
struct Existing<'a> {
    path: &'a Path,
    size_bytes: u64,
    /// The hash of the content. `None` if the file cannot be read.
    hash: OnceCell<Option<String>>,
}

impl<'a> Existing<'a> {
    /// Returns `None` if there is no regular file at the path.
    fn of(path: &'a Path) -> Option<Self> {
        let found = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        Some(Self { path, size_bytes: found.len(), hash: OnceCell::new() })
    }

    fn part_in(&self, load: &LoadFiles) -> Option<Part> {
        if load.sources.iter().any(|source| self.is_source(source)) {
            return Some(Part::Source);
        }
        load.rejects().iter().any(|state| self.is_rejects(state, &load.sources)).then_some(Part::Rejects)
    }

    /// Returns true if the source's path leads to this file, or if the contents are equal. The contents are compared
    /// because the ledger has the path as the user gave it: a relative path may now lead to another file.
    fn is_source(&self, source: &SourceIdentity) -> bool {
        let Version::Blake3(hash) = &source.version else { return false };
        is_same_file(self.path, Path::new(&source.name))
            || source.size_bytes == Some(self.size_bytes) && self.hash() == Some(hash)
    }

    /// Returns true if this file has the name of the reject file and is beside a source. Also returns true if the file
    /// has this name in another directory and begins with the rows that the load wrote.
    fn is_rejects(&self, state: &RejectsState, sources: &[SourceIdentity]) -> bool {
        let is_beside =
            |source: &SourceIdentity| is_same_file(self.path, &Path::new(&source.name).with_file_name(&state.name));
        let is_named = self.path.file_name().is_some_and(|name| name == state.name.as_str());
        sources.iter().any(is_beside)
            || is_named
                && (1..=self.size_bytes).contains(&state.bytes)
                && hash(self.path, state.bytes).is_ok_and(|hash| hash == state.blake3)
    }

    fn hash(&self) -> Option<&String> {
        self.hash.get_or_init(|| hash(self.path, self.size_bytes).ok()).as_ref()
    }
}

/// Returns the BLAKE3 hash of the first bytes of a file, in hex.
fn hash(path: &Path, bytes: u64) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?.take(bytes))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn of(text: &str) -> String {
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }

    /// Makes the files of a load from `name`, with the content `source` and the rejects `rejects`.
    fn load(name: &Path, rejects_name: &str) -> LoadFiles {
        bson::deserialize_from_document(bson::doc! {
            "_id": bson::Uuid::new(),
            "collection": "stays",
            "sources": [{
                "name": name.display().to_string(), "size_bytes": 6_i64, "version": { "blake3": of("source") },
            }],
            "checkpoint": { "rejects": [
                { "source": 0, "name": rejects_name, "bytes": 7_i64, "blake3": of("rejects") },
            ] },
        })
        .expect("the files of a load")
    }

    #[test]
    fn sources_and_reject_files_are_found_by_path_or_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let part = |path: &Path, load: &LoadFiles| Existing::of(path).and_then(|existing| existing.part_in(load));
        fs::create_dir(at("moved")).expect("made");
        for (name, content) in [
            ("a.csv", "edited after the load"),
            ("a.csv.rejects.csv", "corrected"),
            ("copy.csv", "source"),
            ("other.csv", "soUrce"),
            ("moved/a.csv.rejects.csv", "rejects and more"),
            ("rejects.csv", "rejects"),
        ] {
            fs::write(at(name), content).expect("written");
        }
        symlink(at("a.csv"), at("link.csv")).expect("linked");
        let load = load(&at("a.csv"), "a.csv.rejects.csv");
        for (name, expected) in [
            ("a.csv", Some(Part::Source)),
            ("link.csv", Some(Part::Source)),
            ("moved/../a.csv", Some(Part::Source)),
            ("copy.csv", Some(Part::Source)),
            ("a.csv.rejects.csv", Some(Part::Rejects)),
            ("moved/a.csv.rejects.csv", Some(Part::Rejects)),
            ("other.csv", None),
            ("rejects.csv", None),
            ("new.csv", None),
            ("moved", None),
        ] {
            assert_eq!(part(&at(name), &load), expected, "{name}");
        }
    }
}
