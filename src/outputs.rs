//! Opens the files that Medlift writes. An output replaces an existing file only when it is complete. The mode of a
//! device or a pipe is never changed, and [`is_same_file`] finds out whether an output is one of the inputs.
//!
//! A user can name a device, a pipe or a directory as an output. The path can also lead to one of the input files, by
//! another spelling, a symbolic link or a hard link. Therefore this module changes the mode of regular files only, and
//! compares files by device and inode. It does not know the content of an output.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Mode of a file that contains patients' data: only its owner may read and write it.
pub const PRIVATE_MODE: u32 = 0o600;

/// Mode of a file without patients' data. The process's umask removes bits from it.
pub const SHARED_MODE: u32 = 0o666;

/// Prefix of the names of temporary files. The files are created in the directory of the output.
const TEMPORARY_PREFIX: &str = ".medlift-";

/// Returns true if both paths lead to the same file, that is, to the same device and inode after all links are
/// followed. Returns false if one of the files does not exist or cannot be examined.
pub fn is_same_file(left: &Path, right: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(left), identity(right)), (Ok(left), Ok(right)) if left == right)
}

/// Opens a file for reading and writing, and makes it private. A missing file is created. An existing file keeps its
/// content. A regular file gets mode 0600. The mode of a device or a pipe is not changed.
pub fn open_private(path: &Path) -> io::Result<File> {
    let file = open_unchanged(path)?;
    make_private(&file)?;
    Ok(file)
}

/// Opens a file as [`open_private`] does, but does not change the mode of an existing file, because the file may belong
/// to somebody else.
pub fn open_unchanged(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE_MODE).open(path)
}

/// Sets the mode of an open regular file to 0600. The mode is set through the open file, not through its path. Reason:
/// another process may have put a different file at the path since the file was opened.
pub fn make_private(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_file() && found.mode() & 0o7777 != PRIVATE_MODE {
        file.set_permissions(Permissions::from_mode(PRIVATE_MODE))?;
    }
    Ok(())
}

/// Returns advice for an error that a limit of the system caused: the limit for open files or for the size of a file.
/// The advice begins with a semicolon. Returns an empty text for other errors.
pub fn limit_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::FileTooLarge => "; the limit for the size of a file is too low: raise it with ulimit -f",
        _ if is_out_of_files(error) => "; the limit for open files is too low: raise it with ulimit -n",
        _ => "",
    }
}

/// Returns advice for an error that occurred while a file was written. The advice begins with a semicolon. Returns an
/// empty text if there is no advice.
pub fn write_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => "; create the directory, or give another path",
        io::ErrorKind::PermissionDenied => "; change the permissions, or give another path",
        io::ErrorKind::StorageFull => "; free some space, or give another path",
        _ => limit_hint(error),
    }
}

/// Returns true for the error codes 24 (EMFILE, too many open files in this process) and 23 (ENFILE, too many in the
/// whole system).
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

/// The destination of a command's result: standard output, a pipe, a device, or a file. A file appears at its path only
/// when it is complete.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(Stdout),
    /// A pipe, a device such as `/dev/null`, or an open file such as `/dev/fd/3`. It is written to directly.
    InPlace(File),
    /// A file that has no name yet. The system deletes it if the process ends before the file gets a name.
    Unnamed(File),
    /// A file with a temporary name, for file systems that do not support files without a name.
    Named(NamedTempFile),
}

impl Output {
    /// Returns an output that writes to standard output.
    pub fn stdout() -> Self {
        Self { path: PathBuf::from("-"), sink: Sink::Stdout(io::stdout()) }
    }

    /// Creates an output for `path`. [`finish`](Self::finish) puts the file at the path with this mode. Until then, an
    /// existing file at the path is unchanged. A device or a pipe is written to directly.
    ///
    /// # Errors
    /// The file cannot be created, or the device or pipe cannot be opened.
    pub fn file(path: &Path, mode: u32) -> io::Result<Self> {
        if is_same_file(path, Path::new("/dev/stdout")) {
            return Ok(Self { path: path.to_owned(), ..Self::stdout() });
        }
        // If `path` is a symbolic link, the link stays, and the file that it points to is replaced.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = fs::metadata(&path).is_ok_and(|found| !found.is_file()) || is_open_file(&path);
        let sink = if is_special {
            Sink::InPlace(OpenOptions::new().write(true).open(&path)?)
        } else {
            match unnamed::create(directory_of(&path), mode) {
                Ok(file) => Sink::Unnamed(file),
                Err(_) => Sink::Named(temporary(mode).tempfile_in(directory_of(&path))?),
            }
        };
        Ok(Self { path, sink })
    }

    /// Returns the path of the output. The path of [`Output::stdout`] is `-`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the complete file to disk and gives it its final name. Standard output, a device or a pipe is only
    /// flushed.
    ///
    /// # Errors
    /// The output cannot be written, or the file cannot get its final name. A file that existed at the path is then
    /// unchanged.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        match self.sink {
            Sink::Stdout(_) | Sink::InPlace(_) => return Ok(()),
            Sink::Unnamed(file) => {
                file.sync_all()?;
                name(&file, &self.path)?;
            }
            Sink::Named(file) => {
                file.as_file().sync_all()?;
                file.persist(&self.path)?;
            }
        }
        // An error here is ignored: the file is complete, even if its directory cannot be synchronized to disk.
        let _ = File::open(directory_of(&self.path)).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Stdout(stdout) => stdout.write(bytes),
            Sink::InPlace(file) | Sink::Unnamed(file) => file.write(bytes),
            Sink::Named(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Stdout(stdout) => stdout.flush(),
            Sink::InPlace(file) | Sink::Unnamed(file) => file.flush(),
            Sink::Named(file) => file.flush(),
        }
    }
}

/// Gives an unnamed file its name. The system call for this cannot replace a file that already has the name. In this
/// case the unnamed file first gets a temporary name, and is then renamed over the existing file.
fn name(file: &File, path: &Path) -> io::Result<()> {
    match unnamed::link(file, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let linked = temporary(PRIVATE_MODE).make_in(directory_of(path), |name| unnamed::link(file, name))?;
            linked.persist(path)?;
            Ok(())
        }
        linked => linked,
    }
}

fn temporary(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(TEMPORARY_PREFIX).permissions(Permissions::from_mode(mode));
    builder
}

/// Returns true for a path in `/dev/fd` or `/proc`, for example `/dev/fd/3`. Such a path can lead to a file that a
/// process has open. The output is then written to that file, and no new file is put in its place.
fn is_open_file(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev/fd")
}

/// Returns the directory of a file. It is `.` for a path without a directory.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates files without a name, and names them later. Most file systems of Linux support such files.
#[cfg(target_os = "linux")]
mod unnamed {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};

    /// The directory in which Linux lists this process's open files. The directory is missing if `/proc` is not
    /// mounted.
    const OPEN_FILES: &str = "/proc/self/fd";

    pub(super) fn create(directory: &Path, mode: u32) -> io::Result<File> {
        if !Path::new(OPEN_FILES).exists() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        Ok(openat(CWD, directory, flags, Mode::from_raw_mode(mode))?.into())
    }

    pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
        let open = format!("{OPEN_FILES}/{}", file.as_raw_fd());
        Ok(linkat(CWD, &open, CWD, path, AtFlags::SYMLINK_FOLLOW)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod unnamed {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub(super) fn create(_: &Path, _: u32) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn link(_: &File, _: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn all_paths_to_one_file_are_the_same_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "x").expect("written");
        fs::write(at("b"), "x").expect("written");
        fs::hard_link(at("a"), at("hard")).expect("linked");
        std::os::unix::fs::symlink(at("a"), at("soft")).expect("linked");
        std::os::unix::fs::symlink(at("missing"), at("dangling")).expect("linked");
        fs::create_dir(at("d")).expect("made");
        let check = |left: &str, right: &str, expected: bool| {
            assert_eq!(is_same_file(&at(left), &at(right)), expected, "{left} and {right}");
        };
        check("a", "a", true);
        check("a", "hard", true);
        check("soft", "a", true);
        check("soft", "hard", true);
        check("d/../a", "./a", true);
        check("a", "b", false);
        check("a", "missing", false);
        check("missing", "missing", false);
        check("dangling", "missing", false);
    }

    #[test]
    fn a_file_becomes_private_and_keeps_its_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let (new, old) = (directory.path().join("new"), directory.path().join("old"));
        open_private(&new).expect("opened");
        assert_eq!(mode(&new), 0o600);
        fs::write(&old, "kept").expect("written");
        fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("set");
        open_private(&old).expect("opened");
        assert_eq!((mode(&old), fs::read_to_string(&old).expect("read")), (0o600, "kept".to_owned()));
        assert!(open_private(directory.path()).is_err());
        assert!(mode(directory.path()) != 0o600);
    }

    #[test]
    fn the_mode_of_a_pipe_is_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg("-m").arg("644").arg(&pipe).status().expect("runs");
        assert!(made.success());
        open_private(&pipe).expect("opened");
        assert_eq!(mode(&pipe), 0o644);
    }

    #[test]
    fn a_file_appears_only_when_it_is_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        let names = || -> Vec<_> {
            let entries = fs::read_dir(directory.path()).expect("listed");
            entries.map(|entry| entry.expect("an entry").file_name()).collect()
        };
        let path = directory.path().join("out");
        let mut output = Output::file(&path, PRIVATE_MODE).expect("opened");
        output.write_all(b"first").expect("written");
        assert!(!path.exists());
        if matches!(output.sink, Sink::Unnamed(_)) {
            assert!(names().is_empty(), "{:?}", names());
        } else {
            println!("this file system has no unnamed files");
        }
        output.finish().expect("finished");
        assert_eq!((fs::read(&path).expect("read"), mode(&path)), (b"first".to_vec(), 0o600));
        let mut output = Output::file(&path, PRIVATE_MODE).expect("opened");
        output.write_all(b"second").expect("written");
        assert_eq!(fs::read(&path).expect("read"), b"first");
        output.finish().expect("finished");
        assert_eq!((fs::read(&path).expect("read"), names()), (b"second".to_vec(), vec!["out".into()]));
        Output::file(&path, PRIVATE_MODE).expect("opened").write_all(b"third").expect("written");
        assert_eq!((fs::read(&path).expect("read"), names()), (b"second".to_vec(), vec!["out".into()]));
    }

    #[test]
    fn a_named_temporary_file_also_appears_only_when_it_is_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("out");
        let sink = Sink::Named(temporary(PRIVATE_MODE).tempfile_in(directory.path()).expect("made"));
        let mut output = Output { path: path.clone(), sink };
        output.write_all(b"all").expect("written");
        output.finish().expect("finished");
        assert_eq!((fs::read(&path).expect("read"), mode(&path)), (b"all".to_vec(), 0o600));
    }

    #[test]
    fn a_device_is_written_to_and_stays_a_device() {
        let before = mode(Path::new("/dev/null"));
        let mut output = Output::file(Path::new("/dev/null"), PRIVATE_MODE).expect("opened");
        output.write_all(b"gone").expect("written");
        output.finish().expect("finished");
        assert_eq!(mode(Path::new("/dev/null")), before);
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
    }

    #[test]
    fn a_file_has_its_mode_whether_or_not_the_system_has_unnamed_files() {
        assert_eq!((PRIVATE_MODE, SHARED_MODE), (0o600, 0o666));
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("made"), "").expect("written");
        // 0666 without the bits that the process's umask removes.
        let shared = mode(&at("made"));
        for (expected, asked) in [(0o600, PRIVATE_MODE), (shared, SHARED_MODE)] {
            let file = Output::file(&at("file"), asked).expect("opened");
            file.finish().expect("finished");
            let sink = Sink::Named(temporary(asked).tempfile_in(directory.path()).expect("made"));
            Output { path: at("named"), sink }.finish().expect("finished");
            assert_eq!((mode(&at("file")), mode(&at("named"))), (expected, expected), "{asked:o}");
        }
    }

    #[test]
    fn open_private_changes_any_mode_and_open_unchanged_none() {
        let directory = tempfile::tempdir().expect("a directory");
        for before in [0o644, 0o400, 0o700, 0o4600, 0o600] {
            let path = directory.path().join(format!("{before:o}"));
            fs::write(&path, "kept").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(before)).expect("set");
            // If the mode forbids opening the file, only root can open it. For other users, this mode is not tested.
            if let Ok(file) = open_unchanged(&path) {
                assert_eq!(mode(&path), before);
                make_private(&file).expect("set");
                assert_eq!(mode(&path), 0o600, "{before:o}");
            }
        }
        let new = directory.path().join("new");
        open_unchanged(&new).expect("made");
        assert_eq!(mode(&new), 0o600);
    }

    #[test]
    fn only_errors_of_a_process_limit_have_a_hint() {
        let check = |error: io::Error, part: &str| {
            let hint = limit_hint(&error);
            assert!(if part.is_empty() { hint.is_empty() } else { hint.contains(part) }, "{error}: {hint}");
        };
        check(io::ErrorKind::FileTooLarge.into(), "ulimit -f");
        check(io::Error::from_raw_os_error(24), "ulimit -n");
        check(io::Error::from_raw_os_error(23), "ulimit -n");
        check(io::Error::from_raw_os_error(22), "");
        check(io::Error::from_raw_os_error(25), "");
        check(io::ErrorKind::StorageFull.into(), "");
    }

    #[test]
    fn a_link_is_followed_and_an_open_file_is_written_in_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("target"), "old").expect("written");
        std::os::unix::fs::symlink(at("target"), at("link")).expect("linked");
        let output = Output::file(&at("link"), PRIVATE_MODE).expect("opened");
        assert_eq!(output.path(), fs::canonicalize(at("target")).expect("there"));
        output.finish().expect("finished");
        assert!(fs::symlink_metadata(at("link")).expect("there").is_symlink());
        assert_eq!(fs::read(at("target")).expect("read"), b"");
        assert_eq!(Output::stdout().path(), Path::new("-"));
        let is_open =
            ["/dev/fd/3", "/proc/self/fd/3", "/dev/fdx", "/dev/null", "proc"].map(|path| is_open_file(Path::new(path)));
        assert_eq!(is_open, [true, true, false, false, false]);
        let directories = ["a/b", "/a", "a"].map(|path| directory_of(Path::new(path)).to_owned());
        assert_eq!(directories, ["a", "/", "."].map(PathBuf::from));
    }

    /// Tests something only if root runs it. Only root can create a device, and only root could change its mode.
    #[test]
    fn the_mode_of_a_device_is_not_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = directory.path().join("null");
        let made = std::process::Command::new("mknod").args(["-m", "666"]).arg(&device).args(["c", "1", "3"]).output();
        if !made.is_ok_and(|made| made.status.success()) {
            println!("skipped: this user may not make a device");
            return;
        }
        match open_private(&device) {
            Ok(_) => assert_eq!(mode(&device), 0o666),
            Err(error) => println!("skipped: this file system has no devices: {error}"),
        }
    }

    /// The root directories of `/proc` and `/sys` have the same inode number on different devices.
    #[cfg(target_os = "linux")]
    #[test]
    fn files_with_the_same_inode_number_on_two_devices_are_different() {
        let [proc, sys] = ["/proc", "/sys"].map(Path::new);
        let inode = |path: &Path| fs::metadata(path).map_or(0, |found| found.ino());
        if inode(proc) != inode(sys) {
            println!("skipped: /proc and /sys have different inode numbers here");
            return;
        }
        assert!(is_same_file(proc, proc) && !is_same_file(proc, sys));
    }
}
