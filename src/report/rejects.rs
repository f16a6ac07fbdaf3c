//! The reject file: a CSV with line, byte offset, column, rule and message before the row's own columns, so that it can
//! be corrected and loaded as it is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::parse::REJECT_COLUMNS;
use crate::reject::Reject;

/// A reject file that is being written.
#[derive(Debug)]
pub struct RejectFile {
    path: PathBuf,
    file: BufWriter<File>,
    header: Vec<String>,
    delimiter: u8,
    bytes: u64,
    was_there: bool,
}

/// A rejected row, ready to be written.
#[derive(Debug)]
pub struct Line<'a> {
    /// Physical line in the source, from 1.
    pub line: u64,
    /// Byte offset in the source.
    pub offset: u64,
    /// Source column to blame, or the empty text.
    pub column: &'a str,
    /// Why.
    pub reject: &'a Reject,
    /// The row's own cells.
    pub cells: &'a [Vec<u8>],
}

impl RejectFile {
    /// Opens the file so that it can be written when the first reject comes; what an earlier load left in it stays until then.
    ///
    /// # Errors
    /// When the file cannot be opened for writing.
    pub fn open(path: &Path, header: &[String], delimiter: u8) -> io::Result<Self> {
        let was_there = path.exists();
        let file = OpenOptions::new().create(true).truncate(false).write(true).read(true).mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let file = BufWriter::new(file);
        Ok(Self { path: path.to_owned(), file, header: header.to_vec(), delimiter, bytes: 0, was_there })
    }

    /// Goes on after `bytes`, as a resumed load does; what follows was never settled and is cut off.
    ///
    /// # Errors
    /// When the file is shorter than that: it is not the one that the load left.
    pub fn resume(&mut self, bytes: u64) -> io::Result<()> {
        let file = self.file.get_mut();
        if file.metadata()?.len() < bytes {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it is shorter than the interrupted load left it",
            ));
        }
        if bytes > 0 {
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Whether the file on disk can be resumed at `bytes`.
    pub fn can_resume(&self, bytes: u64) -> bool {
        self.file.get_ref().metadata().is_ok_and(|meta| meta.len() >= bytes)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, row: &Line<'_>) -> io::Result<()> {
        if self.bytes == 0 {
            self.begin()?;
        }
        let start = [row.line.to_string(), row.offset.to_string(), row.column.to_owned()];
        let rule = [row.reject.reason.code().to_owned(), row.reject.message.clone()];
        // What is no UTF-8 becomes U+FFFD: the file is UTF-8 whatever the source was, and is never taken for another encoding.
        let own: Vec<_> = row.cells.iter().map(|cell| String::from_utf8_lossy(cell)).collect();
        let cells = start.iter().chain(&rule).map(String::as_bytes).chain(own.iter().map(|cell| cell.as_bytes()));
        let line = csv_line(cells, self.delimiter);
        self.put(&line)
    }

    fn begin(&mut self) -> io::Result<()> {
        let file = self.file.get_mut();
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        let names = REJECT_COLUMNS.iter().map(|name| name.as_bytes());
        let line = csv_line(names.chain(self.header.iter().map(String::as_bytes)), self.delimiter);
        self.put(&line)
    }

    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Puts everything on disk, and says how long the file is. 0 until the first reject.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn sync(&mut self) -> io::Result<u64> {
        if self.bytes > 0 {
            self.file.flush()?;
            self.file.get_ref().sync_data()?;
        }
        Ok(self.bytes)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether no reject was written.
    pub const fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// A file that was made for rejects that never came goes away, however the load ends.
impl Drop for RejectFile {
    fn drop(&mut self) {
        if self.is_empty() && !self.was_there {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// One line after RFC 4180, ended by `\n`.
pub fn csv_line<'a>(cells: impl Iterator<Item = &'a [u8]>, delimiter: u8) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            line.push(delimiter);
        }
        if cell.iter().any(|&byte| matches!(byte, b'"' | b'\n' | b'\r') || byte == delimiter) {
            line.push(b'"');
            for &byte in cell {
                line.extend(std::iter::repeat_n(byte, if byte == b'"' { 2 } else { 1 }));
            }
            line.push(b'"');
        } else {
            line.extend_from_slice(cell);
        }
    }
    line.push(b'\n');
    line
}
