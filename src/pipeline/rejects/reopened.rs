//! Opens reject files again. This process, or an interrupted process of the same load, has begun to write them.

use std::path::Path;
use std::time::{Duration, Instant};

use super::target::{cannot_open, output};
use crate::error::Error;
use crate::ledger::LoadDocument;
use crate::report::rejects::{Content, OpenError, RejectFile};

/// How long to wait if another process has locked a reject file to examine it.
const LOOK_MAX: Duration = Duration::from_secs(10);

pub(super) fn require_in_place(file: &RejectFile) -> Result<(), Error> {
    if file.is_in_place() {
        return Ok(());
    }
    let problem = "the file was moved or replaced during the load; move it back, then run the same command again";
    Err(Error::RejectFile { path: file.path().display().to_string(), problem: problem.into() })
}

/// Returns true if the mark of the file (an extended attribute) says that another load has created the file.
pub(super) fn is_of_another_load(file: &RejectFile, load: &LoadDocument) -> bool {
    file.marked_by().is_some_and(|id| id != load.id.to_string())
}

/// Opens a file. If another process has locked the file, waits up to [`LOOK_MAX`]: other processes lock a file for a
/// moment to examine it.
pub(super) fn open_patiently(path: &Path) -> Result<RejectFile, Error> {
    let until = Instant::now() + LOOK_MAX;
    loop {
        match RejectFile::open(path) {
            Err(OpenError::InUse) if Instant::now() < until => std::thread::sleep(Duration::from_millis(100)),
            opened => return opened.map_err(|error| cannot_open(path, error)),
        }
    }
}

/// Opens a file of this load again, to append rows or to move rows that this load did not write.
pub(super) fn reopen(path: &Path, bytes: u64, blake3: &str) -> Result<RejectFile, Error> {
    continue_file(open_patiently(path)?, bytes, blake3, None)
}

/// Checks that a file begins with the rows that this load wrote, and continues it after these rows. If an earlier
/// process of the load wrote these rows, `interrupted` is the load's ledger document.
pub(super) fn continue_file(
    mut file: RejectFile,
    bytes: u64,
    blake3: &str,
    interrupted: Option<&LoadDocument>,
) -> Result<RejectFile, Error> {
    let is_others = interrupted.is_some_and(|load| is_of_another_load(&file, load));
    match file.resume(bytes, blake3).map_err(|error| output(file.path(), error))? {
        Content::Same if !is_others => Ok(file),
        _ => Err(Error::RejectFile {
            path: file.path().display().to_string(),
            problem: match interrupted {
                Some(_) => {
                    "the file has changed since this load was interrupted; restore it, or move it away: the load then \
                     starts from the beginning and writes all rejects again"
                }
                None => "the file was changed during the load; run the same command again",
            }
            .into(),
        }),
    }
}
