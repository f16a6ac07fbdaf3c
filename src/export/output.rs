//! Where an export goes: standard output, or a file that appears only when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Stdout, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use super::ExportError;

/// An open output.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(Stdout),
    /// Something that cannot be replaced by a file: a pipe, a terminal, `/dev/null`.
    Special(File),
    /// A file beside the one that is asked for. It goes away unless it is persisted.
    Temporary(NamedTempFile),
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self { path: PathBuf::from("-"), sink: Sink::Stdout(io::stdout()) }
    }

    /// A file that only its owner may read (mode 0600). Until it is finished, its content stands under a temporary name
    /// in the same directory; a file that is there already stays as it is until then.
    pub fn file(path: &Path) -> Result<Self, ExportError> {
        // A link stays a link: what it leads to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let open = |path: &Path| match fs::metadata(path) {
            Ok(found) if !found.is_file() => OpenOptions::new().write(true).open(path).map(Sink::Special),
            _ => beside(path).map(Sink::Temporary),
        };
        match open(&path) {
            Ok(sink) => Ok(Self { path, sink }),
            Err(cause) => Err(ExportError::Write { path, cause }),
        }
    }

    /// Puts the file in its place, safe on disk.
    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.flush().map_err(|cause| self.error(cause))?;
        let Self { path, sink } = self;
        let Sink::Temporary(file) = sink else { return Ok(()) };
        let persisted = file.as_file().sync_all().and_then(|()| Ok(file.persist(&path)?));
        persisted.map(drop).map_err(|cause| ExportError::Write { path, cause })
    }

    pub(super) fn error(&self, cause: io::Error) -> ExportError {
        ExportError::Write { path: self.path.clone(), cause }
    }
}

fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Builder::new().prefix(".medlift-export-").tempfile_in(directory)
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stdout(stdout) => stdout.write(bytes),
            Sink::Special(file) => file.write(bytes),
            Sink::Temporary(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(stdout) => stdout.flush(),
            Sink::Special(file) => file.flush(),
            Sink::Temporary(file) => file.flush(),
        }
    }
}
