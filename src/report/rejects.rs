//! The reject file contains the rejected rows as CSV. Each line begins with the line number and the byte offset of the
//! row in its source. Then it has the column, rule and message of the reject, and the row's own cells. The user can
//! correct the rows in the file and load the file. For HL7 messages and FHIR resources, the lines have no cells of the
//! row. A second reject file contains the rejected records as they are in the source.
//!
//! A load locks the file while it writes. If the process is killed, the system removes the lock. The ledger contains
//! the length and the hash of the bytes that the load has written. A resumed load can therefore distinguish its own
//! rows from rows of other loads and from corrections by the user. A load replaces only its own rows, and rows of an
//! earlier load of the same sources with the same settings. It never overwrites corrections.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use crate::outputs;
use crate::parse::{REJECT_COLUMNS, write_line};
use crate::reject::Reject;

/// The name of an extended attribute of the file. Its value is the id of the load that wrote the rows. Not all file
/// systems support extended attributes.
const LOAD_ATTRIBUTE: &str = "user.medlift.load";

/// Number of bytes that are compared, hashed or copied at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// A reject file that a load is writing.
#[derive(Debug)]
pub struct RejectFile {
    path: PathBuf,
    file: File,
    /// Number of bytes that the load has written and that are on disk.
    bytes: u64,
    /// Hash of the bytes that the load has written.
    hasher: blake3::Hasher,
    /// True for a device or a pipe. The file can then not be locked or read again.
    is_special: bool,
    /// True if this process created the file and has not called [`clear`](Self::clear). The file is then removed at the
    /// end if it is empty.
    is_new: bool,
}

/// The reason why a reject file cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has locked the file, or has removed or replaced the file while this process opened it.
    InUse,
    /// The file cannot be opened for writing.
    Io(io::Error),
}

/// Says whether a file still begins with the bytes that a load wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// The file still begins with the bytes that the load wrote.
    Same,
    /// The file is shorter than the bytes that the load wrote, or begins with other bytes.
    Changed,
}

/// A rejected row as it is written to the reject file.
#[derive(Debug)]
pub struct Line<'a> {
    /// Line of the source on which the row starts, from 1.
    pub line: u64,
    /// Byte offset of the row in the source.
    pub offset: u64,
    /// The source's column that caused the reject. Empty if the row as a whole is wrong.
    pub column: &'a str,
    /// The reason of the reject, and its message.
    pub reject: &'a Reject,
    /// The cells of the row.
    pub cells: &'a [Vec<u8>],
}

impl RejectFile {
    /// Opens and locks the file. Its content and mode do not change before [`append`](Self::append) or
    /// [`clear`](Self::clear) is called.
    ///
    /// # Errors
    /// Another process has locked the file, or has removed or replaced the file while this process opened it. Or the
    /// file cannot be opened for writing.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let is_new = !path.exists();
        let file = outputs::open_unchanged(path).map_err(OpenError::Io)?;
        let found = file.metadata().map_err(OpenError::Io)?;
        let is_special = !found.is_file();
        if !is_special {
            lock(&file)?;
            // Between opening and locking, another process may have removed the file. The path then leads to no file or
            // to another one.
            if fs::metadata(path).map_or(0, |now| now.ino()) != found.ino() {
                return Err(OpenError::InUse);
            }
        }
        Ok(Self { path: path.to_owned(), file, bytes: 0, hasher: blake3::Hasher::new(), is_special, is_new })
    }

    /// Continues after the first `bytes` bytes of the file, if `blake3` is their hash in hexadecimal. Otherwise returns
    /// [`Content::Changed`]. A device or a pipe is not checked.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn resume(&mut self, bytes: u64, blake3: &str) -> io::Result<Content> {
        if self.is_special {
            self.bytes = bytes;
            return Ok(Content::Same);
        }
        match self.hasher_after(bytes, blake3)? {
            Some(hasher) => {
                (self.bytes, self.hasher) = (bytes, hasher);
                Ok(Content::Same)
            }
            None => Ok(Content::Changed),
        }
    }

    /// Returns true if `blake3` is the hash of the first `bytes` bytes of the file, in hexadecimal.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn begins_with(&self, bytes: u64, blake3: &str) -> io::Result<bool> {
        Ok(self.hasher_after(bytes, blake3)?.is_some())
    }

    /// Returns the hasher after the first `bytes` bytes of the file, if `blake3` is their hash.
    fn hasher_after(&self, bytes: u64, blake3: &str) -> io::Result<Option<blake3::Hasher>> {
        if self.len()? < bytes {
            return Ok(None);
        }
        let mut hasher = blake3::Hasher::new();
        self.read(0, bytes, |chunk| {
            hasher.update(chunk);
            Ok(())
        })?;
        let is_same = hasher.finalize().to_hex().as_str() == blake3;
        Ok(is_same.then_some(hasher))
    }

    /// Returns the length and the hash of the whole file. Returns `None` for a device or a pipe.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn on_disk(&self) -> io::Result<Option<(u64, String)>> {
        if self.is_special {
            return Ok(None);
        }
        let (len, mut hasher) = (self.len()?, blake3::Hasher::new());
        self.read(0, len, |chunk| {
            hasher.update(chunk);
            Ok(())
        })?;
        Ok(Some((len, hasher.finalize().to_hex().to_string())))
    }

    /// Stores the load's id in the file's extended attribute. Does nothing if the file system has no extended
    /// attributes. In that case the hash is the only proof that the load wrote the rows.
    pub fn mark(&self, load: &str) {
        if !self.is_special {
            let _ = rustix::fs::fsetxattr(&self.file, LOAD_ATTRIBUTE, load.as_bytes(), XattrFlags::empty());
        }
    }

    /// Returns the id of the load that wrote the file's rows. Returns `None` if it is not known.
    pub fn marked_by(&self) -> Option<String> {
        let mut id = [0; 64];
        let len = rustix::fs::fgetxattr(&self.file, LOAD_ATTRIBUTE, &mut id[..]).ok()?;
        String::from_utf8(id[..len].to_vec()).ok()
    }

    /// Removes the content of the file. After that, the file is not deleted when this value is dropped, even if it is
    /// empty.
    ///
    /// # Errors
    /// The file cannot be truncated.
    pub fn clear(&mut self) -> io::Result<()> {
        (self.bytes, self.hasher, self.is_new) = (0, blake3::Hasher::new(), false);
        if self.is_special { Ok(()) } else { self.file.set_len(0) }
    }

    /// Appends bytes and writes them to disk. In a regular file, either all or none of them are written.
    ///
    /// The file may already have bytes after the load's own rows. Reason: an earlier process of this load may have
    /// written the same rows, and been killed before it recorded them in the ledger. The old and the new bytes are
    /// compared up to the end of the shorter text. If they are equal, the new bytes are written over the old ones. If
    /// they differ, the old bytes are moved to the file that `spare` names, and the path of that file is returned.
    ///
    /// # Errors
    /// The reject file, or the file that `spare` names, cannot be written. If the write to a regular file fails, the
    /// file is cut back to the length that it had before the write. Bytes that were moved stay in the file that `spare`
    /// names.
    pub fn append(&mut self, bytes: &[u8], spare: impl FnOnce() -> PathBuf) -> io::Result<Option<PathBuf>> {
        if !self.is_special {
            outputs::make_private(&self.file)?;
        }
        let moved =
            if self.tail()?.is_none_or(|tail| self.matches(tail, bytes)) { None } else { self.move_tail(spare)? };
        let before = self.len()?;
        let written = self.put(bytes);
        if written.is_err() && !self.is_special {
            // If this fails too, ignore its error. The error of the write is returned.
            let _ = self.file.set_len(before);
        }
        written?;
        self.bytes += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(moved)
    }

    /// Moves all bytes after the load's own rows to the file that `spare` names, and returns its path. Returns `None`
    /// if there are no such bytes.
    ///
    /// # Errors
    /// The file that `spare` names cannot be written, or the bytes cannot be removed from the reject file. In both
    /// cases, the reject file is unchanged.
    pub fn move_tail(&mut self, spare: impl FnOnce() -> PathBuf) -> io::Result<Option<PathBuf>> {
        let Some(tail) = self.tail()? else { return Ok(None) };
        let path = spare();
        let other = outputs::open_private(&path)?;
        let mut at = 0;
        self.read(self.bytes, tail, |chunk| {
            other.write_all_at(chunk, at)?;
            at += chunk.len() as u64;
            Ok(())
        })?;
        other.sync_data()?;
        self.file.set_len(self.bytes)?;
        Ok(Some(path))
    }

    /// Returns true if the path still leads to this file. An editor may have put another file in its place. Always true
    /// for a device or a pipe.
    pub fn is_in_place(&self) -> bool {
        let identity = |found: fs::Metadata| (found.dev(), found.ino());
        let (open, there) = (self.file.metadata().map(identity), fs::metadata(&self.path).map(identity));
        self.is_special || matches!((open, there), (Ok(open), Ok(there)) if open == there)
    }

    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        if self.is_special {
            return io::Write::write_all(&mut &self.file, bytes);
        }
        self.file.write_all_at(bytes, self.bytes)?;
        self.file.sync_data()
    }

    /// Returns the number of bytes after the load's own rows. Returns `None` if there are none, and for a device or a
    /// pipe.
    fn tail(&self) -> io::Result<Option<u64>> {
        if self.is_special {
            return Ok(None);
        }
        Ok(self.len()?.checked_sub(self.bytes).filter(|tail| *tail > 0))
    }

    /// Compares `bytes` with the last `tail` bytes of the file, which follow the load's own rows. Returns true if the
    /// shorter of the two texts is the beginning of the longer one.
    fn matches(&self, tail: u64, bytes: &[u8]) -> bool {
        let mut rest = &bytes[..(bytes.len() as u64).min(tail) as usize];
        let compared = self.read(self.bytes, rest.len() as u64, |chunk| {
            let (same, after) = rest.split_at(chunk.len());
            rest = after;
            if same == chunk { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
        });
        compared.is_ok()
    }

    fn read(&self, mut from: u64, mut len: u64, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES.min(len as usize)];
        while len > 0 {
            let part = &mut chunk[..(len as usize).min(CHUNK_BYTES)];
            self.file.read_exact_at(part, from)?;
            take(part)?;
            (from, len) = (from + part.len() as u64, len - part.len() as u64);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Returns true if the load has written no bytes to the file.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Returns true if this process created the file and has not called [`clear`](Self::clear).
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes the file if it is empty. Ignores a failure.
    pub fn remove_if_empty(mut self) {
        self.is_new = true;
    }

    /// Returns the length and the hash, in hexadecimal, of the bytes that the load has written.
    pub fn state(&self) -> (u64, String) {
        (self.bytes, self.hasher.finalize().to_hex().to_string())
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Removes the file if this process created it and it is empty. A file that was cleared is not removed.
impl Drop for RejectFile {
    fn drop(&mut self) {
        if self.is_new && self.len().is_ok_and(|len| len == 0) && !self.is_special {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn lock(file: &File) -> Result<(), OpenError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse),
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Unsupported => Err(OpenError::Io(error)),
        // On a file system without locks, the load continues without one. The hash still shows which load wrote the
        // rows.
        _ => Ok(()),
    }
}

/// Returns the first line of a reject file. `header` is the header of the source.
pub fn header_line(header: &[String], delimiter: u8) -> Vec<u8> {
    let names = REJECT_COLUMNS.iter().map(|name| name.as_bytes());
    csv_line(names.chain(header.iter().map(String::as_bytes)), delimiter)
}

/// Returns the line of a rejected row.
pub fn reject_line(row: &Line<'_>, delimiter: u8) -> Vec<u8> {
    let start = [row.line.to_string(), row.offset.to_string(), row.column.to_owned()];
    let rule = [row.reject.reason.code().to_owned(), row.reject.message.clone()];
    // Bytes that are not UTF-8 become U+FFFD. The file is then always UTF-8, and its encoding is detected correctly
    // when it is loaded.
    let own: Vec<_> = row.cells.iter().map(|cell| String::from_utf8_lossy(cell)).collect();
    csv_line(start.iter().chain(&rule).map(String::as_bytes).chain(own.iter().map(|cell| cell.as_bytes())), delimiter)
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a [u8]>, delimiter: u8) -> Vec<u8> {
    let mut line = Vec::new();
    write_line(cells.map(|cell| (cell, false)), delimiter, &mut line);
    line
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap() }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Opens the file. If the file is locked, tries again. Reason: if another test starts a process at this
        /// moment, the new process has a copy of the lock between fork and exec.
        fn open(&self) -> RejectFile {
            let until = Instant::now() + Duration::from_secs(10);
            loop {
                match RejectFile::open(&self.path("r")) {
                    Err(OpenError::InUse) if Instant::now() < until => thread::sleep(Duration::from_millis(10)),
                    opened => return opened.unwrap(),
                }
            }
        }

        fn content(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap_or_default()
        }

        #[track_caller]
        fn append(&self, file: &mut RejectFile, bytes: &str) -> bool {
            file.append(bytes.as_bytes(), || self.path("spare")).unwrap().is_some()
        }
    }

    #[test]
    fn only_one_process_may_write_and_an_unused_file_is_removed() {
        let place = Place::new();
        let file = place.open();
        assert!(matches!(RejectFile::open(&place.path("r")), Err(OpenError::InUse)));
        drop(file);
        assert!(!place.path("r").exists());
        let mut file = place.open();
        place.append(&mut file, "a\n");
        drop(file);
        assert_eq!(place.content("r"), "a\n");
        drop(place.open());
        assert_eq!(place.content("r"), "a\n", "a file that existed before must not be removed");
    }

    /// Resumes a file after the recorded rows `1\n2\n`. `then` is the content after these rows. Appends `rows` one by
    /// one. Checks the content of the file and of the spare file.
    #[track_caller]
    fn check_tail(then: &str, rows: &[&str], expected: &str, spare: &str) {
        let place = Place::new();
        let mut file = place.open();
        place.append(&mut file, "1\n");
        place.append(&mut file, "2\n");
        let (bytes, hash) = file.state();
        drop(file);
        fs::write(place.path("r"), format!("1\n2\n{then}")).unwrap();
        let mut file = place.open();
        assert_eq!(file.resume(bytes, &hash).unwrap(), Content::Same);
        for row in rows {
            place.append(&mut file, row);
        }
        file.move_tail(|| place.path("spare")).unwrap();
        assert_eq!(place.content("r"), expected);
        assert_eq!(place.content("spare"), spare);
        let on_disk = file.on_disk().unwrap().unwrap();
        assert_eq!(on_disk, file.state());
    }

    #[test]
    fn rows_of_a_killed_load_stay_and_other_rows_are_moved() {
        check_tail("", &["3\n"], "1\n2\n3\n", "");
        check_tail("3\n", &["3\n", "4\n"], "1\n2\n3\n4\n", "");
        check_tail("3\n4", &["3\n", "4\n"], "1\n2\n3\n4\n", "");
        check_tail("3\n4\n", &["3\n", "5\n"], "1\n2\n3\n5\n", "4\n");
        check_tail("by hand\n", &["3\n"], "1\n2\n3\n", "by hand\n");
        check_tail("by hand\n", &[], "1\n2\n", "by hand\n");
    }

    /// Runs the test with this name again, in a new process in which a file can have at most one block (512 or 1,024
    /// bytes, depending on the shell). In the process of all tests, this limit would apply to the other tests too.
    fn run_with_limited_files(name: &str) {
        let script = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
        let mut limited = Command::new("sh");
        limited.args(["-c", script]).arg(std::env::current_exe().unwrap());
        let ran = limited.args(["--exact", name]).env(LIMITED, "1").output().unwrap();
        let text = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    }

    /// Environment variable that is set only in the new process in which the size of files is limited. It tells the
    /// test that it runs there.
    const LIMITED: &str = "MEDLIFT_TEST_LIMITED_FILES";

    #[test]
    fn a_partly_failed_write_is_cut_back() {
        if std::env::var_os(LIMITED).is_none() {
            return run_with_limited_files("report::rejects::tests::a_partly_failed_write_is_cut_back");
        }
        let long = "x".repeat(4096);
        let check = |recorded: &str, then: &str, rows: &str| {
            let place = Place::new();
            let mut file = place.open();
            place.append(&mut file, recorded);
            fs::write(place.path("r"), format!("{recorded}{then}")).unwrap();
            let failed = file.append(rows.as_bytes(), || place.path("spare")).expect_err("the file would be too large");
            assert_eq!(failed.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(place.content("r"), format!("{recorded}{then}"));
            place.append(&mut file, "2\n");
            assert!(place.content("r").starts_with(&format!("{recorded}2\n")));
        };
        check("1\n", "", &long);
        check("1\n", "2\nrows of a killed load\n", &format!("2\nrows of a killed load\n{long}"));
    }

    #[test]
    fn a_file_that_was_changed_is_not_resumed() {
        let place = Place::new();
        let mut file = place.open();
        place.append(&mut file, "1\n2\n");
        let (bytes, hash) = file.state();
        drop(file);
        for changed in ["1\n3\n", "1\n", "", "x\n1\n2\n"] {
            fs::write(place.path("r"), changed).unwrap();
            assert_eq!(place.open().resume(bytes, &hash).unwrap(), Content::Changed, "{changed:?}");
            assert_eq!(place.content("r"), changed);
        }
    }

    #[test]
    fn a_file_is_marked_with_the_id_of_its_load() {
        let place = Place::new();
        let mut file = place.open();
        assert_eq!(file.marked_by(), None);
        file.mark("1234");
        if file.marked_by().is_none() {
            eprintln!("skipped: the file system has no extended attributes");
            return;
        }
        place.append(&mut file, "1\n");
        drop(file);
        assert_eq!(place.open().marked_by().as_deref(), Some("1234"));
        place.open().mark("5");
        assert_eq!(place.open().marked_by().as_deref(), Some("5"));
    }

    #[test]
    fn a_device_is_written_to_but_not_read() {
        let mut file = RejectFile::open(Path::new("/dev/null")).unwrap();
        assert_eq!(file.resume(7, "any").unwrap(), Content::Same);
        assert!(file.on_disk().unwrap().is_none());
        file.append(b"1\n", || unreachable!("a device has no tail")).unwrap();
        assert_eq!(file.state().0, 9);
    }

    #[test]
    fn a_cell_is_quoted_if_it_has_a_quote_line_end_or_delimiter() {
        let check = |cell: &str, delimiter: u8, expected: &str| {
            let line = csv_line([cell.as_bytes(), b"x"].into_iter(), delimiter);
            assert_eq!(String::from_utf8(line).unwrap(), expected, "{cell:?}");
        };
        check("a", b',', "a,x\n");
        check("", b',', ",x\n");
        check("a,b", b',', "\"a,b\",x\n");
        check("a,b", b';', "a,b;x\n");
        check("a;b", b';', "\"a;b\";x\n");
        check("a\rb", b',', "\"a\rb\",x\n");
        check("a\nb", b',', "\"a\nb\",x\n");
        check("a\"b", b',', "\"a\"\"b\",x\n");
    }

    #[test]
    fn a_cleared_file_is_kept_even_without_rows() {
        let place = Place::new();
        fs::write(place.path("r"), "old\n").unwrap();
        let mut file = place.open();
        file.clear().unwrap();
        assert_eq!(file.state().0, 0);
        drop(file);
        assert!(place.path("r").exists());
        let mut file = place.open();
        file.clear().unwrap();
        place.append(&mut file, "1\n");
        assert_eq!(place.content("r"), "1\n");

        let mut new = RejectFile::open(&place.path("new")).unwrap();
        new.clear().unwrap();
        drop(new);
        assert!(place.path("new").exists(), "a new file that was cleared must not be removed either");
    }

    #[test]
    fn a_file_becomes_private_before_rows_are_written() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = Place::new();
        fs::write(place.path("r"), "").unwrap();
        fs::set_permissions(place.path("r"), fs::Permissions::from_mode(0o644)).unwrap();
        let mut file = place.open();
        place.append(&mut file, "1\n");
        assert_eq!(fs::metadata(place.path("r")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_mark_has_space_for_the_id_of_a_load() {
        let place = Place::new();
        let file = place.open();
        file.mark("1");
        if file.marked_by().is_none() {
            println!("skipped: the file system has no extended attributes");
            return;
        }
        let id = bson::Uuid::new().to_string();
        file.mark(&id);
        assert_eq!(file.marked_by(), Some(id));
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_is_not_in_place() {
        let place = Place::new();
        let file = place.open();
        assert!(file.is_in_place());
        fs::rename(place.path("r"), place.path("moved")).unwrap();
        assert!(!file.is_in_place(), "the path leads to no file");
        fs::write(place.path("r"), "").unwrap();
        assert!(!file.is_in_place(), "the path leads to another file");
        fs::rename(place.path("moved"), place.path("r")).unwrap();
        assert!(file.is_in_place());
    }
}
