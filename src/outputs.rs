//! Opens the files that this program writes, without damage to other files.
//!
//! An output may be a device, a pipe or a directory. Its path may also lead to an input file, through another spelling,
//! a symbolic link or a hard link. This module therefore changes the mode of regular files only, and compares files by
//! device and inode. It does not know the content of an output.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Stdout, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Mode of an output with patients' data: only its owner may read and write it.
pub const PRIVATE_MODE: u32 = 0o600;

/// Mode of an output without patients' data, before the process's umask is applied.
pub const SHARED_MODE: u32 = 0o666;

/// Prefix of the names of temporary files beside an output.
const TEMPORARY_PREFIX: &str = ".medlift-";

/// Returns true if both paths lead to the same file: the same device and inode, after following links. Returns false if
/// either does not exist or cannot be examined.
pub fn is_same_file(left: &Path, right: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(left), identity(right)), (Ok(left), Ok(right)) if left == right)
}

/// Opens `path` for reading and writing. A missing file is created with mode 0600; an existing file keeps its content. A
/// regular file gets mode 0600; the mode of a device, a pipe or a directory is never changed.
pub fn open_private(path: &Path) -> io::Result<File> {
    let file = open_unchanged(path)?;
    make_private(&file)?;
    Ok(file)
}

/// As [`open_private`], but does not change the mode of an existing file, because the file may belong to somebody else.
pub fn open_unchanged(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(PRIVATE_MODE).open(path)
}

/// Sets the mode of an open regular file to 0600. Uses the open file and not its path, so that nobody can replace the
/// file in between.
pub fn make_private(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    if found.is_file() && found.mode() & 0o7777 != PRIVATE_MODE {
        file.set_permissions(Permissions::from_mode(PRIVATE_MODE))?;
    }
    Ok(())
}

/// For a write that failed because of a limit of the process: what to do, after a semicolon. Empty for other errors.
pub fn limit_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::FileTooLarge => "; the limit for the size of a file is too low: raise it with ulimit -f",
        _ if is_out_of_files(error) => "; the limit for open files is too low: raise it with ulimit -n",
        _ => "",
    }
}

/// The system's error codes for too many open files: 24 in this process, 23 in the whole system.
fn is_out_of_files(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23))
}

/// A sink for a command's result: standard output, a pipe or device, or a file that appears only when it is complete.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Stdout(Stdout),
    /// A target that a file cannot replace: a pipe, a terminal, `/dev/null`.
    InPlace(File),
    /// A file without a name. The system removes it when the process ends for any reason.
    Unnamed(File),
    /// A file under a temporary name, for systems without unnamed files.
    Named(NamedTempFile),
}

impl Output {
    /// Standard output.
    pub fn stdout() -> Self {
        Self { path: PathBuf::from("-"), sink: Sink::Stdout(io::stdout()) }
    }

    /// An output that appears at `path`, with this mode, when it is finished. Until then an existing file is unchanged.
    /// A device or a pipe is written to directly.
    ///
    /// # Errors
    /// If the file cannot be created, or the device or pipe cannot be opened.
    pub fn file(path: &Path, mode: u32) -> io::Result<Self> {
        if is_same_file(path, Path::new("/dev/stdout")) {
            return Ok(Self { path: path.to_owned(), ..Self::stdout() });
        }
        // Following links means that a link remains, and the file that it leads to is replaced.
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

    /// The path of the output; `-` for standard output.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the complete file to its path and makes sure that it is on disk.
    ///
    /// # Errors
    /// If that fails. A file that existed before is then unchanged.
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
        // Not an error: the file is complete, even if its directory cannot be synchronized to disk.
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

/// Gives an unnamed file its name. A link cannot replace an existing file. In that case the file first gets a temporary
/// name, which exists only until it is renamed.
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

/// Returns true for the path of a file that a process has open, such as `/dev/fd/3`: writing to it writes to that open
/// file.
fn is_open_file(path: &Path) -> bool {
    path.starts_with("/proc") || path.starts_with("/dev/fd")
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Files without a name, which most file systems of Linux support.
#[cfg(target_os = "linux")]
mod unnamed {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsRawFd;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat};

    /// Directory of links to this process's open files, if the system has it.
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
    fn every_path_to_a_file_is_recognised() {
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
    fn a_pipes_mode_is_left_alone() {
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
    fn a_named_temporary_file_does_as_well() {
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
        // What the process's umask leaves of 0666.
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
    fn an_open_file_of_any_mode_becomes_private_unless_it_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        for before in [0o644, 0o400, 0o700, 0o4600, 0o600] {
            let path = directory.path().join(format!("{before:o}"));
            fs::write(&path, "kept").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(before)).expect("set");
            // Only root may write to a file that it may not.
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
    fn a_limit_of_the_process_is_named_and_nothing_else() {
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

    /// Only root can create a device, and could change its mode.
    #[test]
    fn a_devices_mode_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = directory.path().join("null");
        let made = std::process::Command::new("mknod").args(["-m", "666"]).arg(&device).args(["c", "1", "3"]).output();
        if !made.is_ok_and(|made| made.status.success()) {
            println!("left out: this user may not make a device");
            return;
        }
        match open_private(&device) {
            Ok(_) => assert_eq!(mode(&device), 0o666),
            Err(error) => println!("left out: this file system has no devices: {error}"),
        }
    }
}
