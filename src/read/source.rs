//! The sources of a load: files, glob patterns and standard input.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::ReadError;
use super::archive::Plain;

/// The argument for standard input.
const STDIN: &str = "-";
/// The operating system's path for standard input, whatever it is connected to.
const STDIN_PATH: &str = "/dev/stdin";
/// Suffix of reject files. A pattern matches them only if it ends with this suffix.
const REJECTS_SUFFIX: &str = ".rejects.csv";
const HASH_CHUNK_BYTES: usize = 256 * 1024;

/// One input of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name shown to users: the path as given or as the pattern matched it, or `standard input` for `-`.
    pub name: String,
    /// The file; `None` for standard input.
    pub path: Option<PathBuf>,
    /// Size of the file on disk, compressed or not. `None` for standard input, pipes and devices.
    pub size_bytes: Option<u64>,
    /// Time of the last change to the file, if the file system records it.
    modified: Option<SystemTime>,
    /// Device and inode numbers. They are the same for all paths and links to one file.
    identity: Option<(u64, u64)>,
}

/// Returns the sources that the arguments name, in the order given. The matches of a pattern are sorted by path.
///
/// If an argument is an existing path, it means that path, even if it contains `*`, `?` or `[`. Everything that can
/// be checked without reading the content is checked here, before anything is written.
pub fn expand(args: &[String]) -> Result<Vec<Source>, ReadError> {
    let mut sources: Vec<Source> = Vec::new();
    for arg in args {
        for source in expand_one(arg)? {
            match sources.iter().find(|earlier| earlier.is_same(&source)) {
                Some(earlier) if earlier.name == source.name => {
                    return Err(ReadError::GivenTwice { name: source.name });
                }
                Some(earlier) => {
                    return Err(ReadError::SameFile { name: source.name, earlier: earlier.name.clone() });
                }
                None => sources.push(source),
            }
        }
    }
    if sources.is_empty() { Err(ReadError::NoSource) } else { Ok(sources) }
}

fn expand_one(arg: &str) -> Result<Vec<Source>, ReadError> {
    if arg == STDIN {
        return Ok(vec![Source::stdin()]);
    }
    if !is_pattern(arg) || fs::symlink_metadata(arg).is_ok() {
        return Ok(vec![Source::file(Path::new(arg))?]);
    }
    expand_pattern(arg)
}

fn is_pattern(arg: &str) -> bool {
    arg.contains(['*', '?', '['])
}

fn expand_pattern(pattern: &str) -> Result<Vec<Source>, ReadError> {
    let bad = |error: glob::PatternError| ReadError::BadPattern { pattern: pattern.to_owned(), reason: error.msg };
    let wants_rejects = pattern.ends_with(REJECTS_SUFFIX);
    let mut paths = Vec::new();
    for entry in glob::glob(pattern).map_err(bad)? {
        let path = entry.map_err(|error| {
            let name = error.path().display().to_string();
            ReadError::from_io(&name, 0, error.into())
        })?;
        if !path.is_dir() && (wants_rejects || !is_reject_file(&path)) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(ReadError::NoMatch { pattern: pattern.to_owned() });
    }
    paths.sort();
    paths.iter().map(|path| Source::file(path)).collect()
}

/// A load writes its reject file next to its source. The same pattern must match the same sources the next time.
fn is_reject_file(path: &Path) -> bool {
    path.to_string_lossy().ends_with(REJECTS_SUFFIX)
}

impl Source {
    /// Standard input.
    pub fn stdin() -> Self {
        let identity = fs::metadata(STDIN_PATH).ok().as_ref().map(identity_of);
        Self { name: "standard input".to_owned(), path: None, size_bytes: None, modified: None, identity }
    }

    /// Returns the file as a source.
    ///
    /// # Errors
    /// If the file does not exist, cannot be opened, is a directory, or is empty.
    pub fn file(path: &Path) -> Result<Self, ReadError> {
        let name = path.display().to_string();
        let metadata = fs::metadata(path).map_err(|error| ReadError::from_io(&name, 0, error))?;
        if metadata.is_dir() {
            return Err(ReadError::IsDirectory { name });
        }
        if metadata.is_file() {
            // A regular file can be opened to test it. A pipe cannot: opening it would take the place of its only
            // reader.
            File::open(path).map_err(|error| ReadError::from_io(&name, 0, error))?;
            if metadata.len() == 0 && !is_in_proc(path) {
                return Err(ReadError::Empty { name });
            }
        }
        Ok(Self {
            size_bytes: size_of(&metadata),
            modified: metadata.modified().ok(),
            identity: Some(identity_of(&metadata)),
            path: Some(path.to_owned()),
            name,
        })
    }

    /// Returns the BLAKE3 hash of the file on disk, compressed or not. Returns `None` for standard input, pipes and
    /// devices, which can be read only once.
    pub fn hash(&self) -> Result<Option<[u8; 32]>, ReadError> {
        let Some(path) = self.path.as_ref().filter(|_| self.size_bytes.is_some()) else { return Ok(None) };
        let failed = |offset, error| ReadError::from_io(&self.name, offset, error);
        let mut file = File::open(path).map_err(|error| failed(0, error))?;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; HASH_CHUNK_BYTES];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(Some(*hasher.finalize().as_bytes())),
                Ok(length) => hasher.update(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(hasher.count(), error)),
            };
        }
    }

    /// Returns true if both are the same file, whatever their paths are.
    fn is_same(&self, other: &Self) -> bool {
        self.path == other.path || (self.identity.is_some() && self.identity == other.identity)
    }

    /// Reads a compressed file to its end and verifies its checksums. Does nothing for a file that is not compressed:
    /// it has no checksums, and [`hash`](Self::hash) already reads it to its end.
    ///
    /// # Errors
    /// If the file cannot be read, or is truncated or damaged.
    pub fn read_to_end(&self) -> Result<(), ReadError> {
        let mut plain = Plain::new(&self.name, self.open()?)?;
        let mut chunk = vec![0; HASH_CHUNK_BYTES];
        while plain.is_archive() && plain.fill(&mut chunk)? == chunk.len() {}
        Ok(())
    }

    /// Returns true if the bytes can be read only once, as with standard input, pipes and devices.
    pub fn is_read_once(&self) -> bool {
        self.size_bytes.is_none()
    }

    /// Fails if the file changed after it was opened, because part of what was read is then out of date.
    pub fn check_unchanged(&self) -> Result<(), ReadError> {
        let Some(path) = self.path.as_ref().filter(|_| !self.is_read_once()) else { return Ok(()) };
        let now = fs::metadata(path).map_err(|error| ReadError::from_io(&self.name, 0, error))?;
        let unchanged = size_of(&now) == self.size_bytes && now.modified().ok() == self.modified;
        if unchanged { Ok(()) } else { Err(ReadError::Changed { name: self.name.clone() }) }
    }

    /// Opens the source at its beginning.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let Some(path) = &self.path else { return Ok(Box::new(io::stdin())) };
        let file = File::open(path).map_err(|error| ReadError::from_io(&self.name, 0, error))?;
        Ok(Box::new(file))
    }
}

fn identity_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn size_of(metadata: &Metadata) -> Option<u64> {
    metadata.is_file().then_some(metadata.len())
}

/// Files under /proc report a size of 0, even if they have content.
fn is_in_proc(path: &Path) -> bool {
    path.starts_with("/proc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path, args: &[&str]) -> Result<Vec<String>, String> {
        let args: Vec<String> = args
            .iter()
            .map(|arg| if *arg == STDIN { (*arg).to_owned() } else { directory.join(arg).display().to_string() })
            .collect();
        let prefix = format!("{}/", directory.display());
        match expand(&args) {
            Ok(sources) => Ok(sources.into_iter().map(|source| source.name.replace(&prefix, "")).collect()),
            Err(error) => Err(error.to_string().replace(&prefix, "")),
        }
    }

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.txt", "odd[1].csv", "odd1.csv", "a.csv.rejects.csv"] {
            fs::write(directory.path().join(name), "x\n").unwrap();
        }
        fs::write(directory.path().join("nothing.dat"), "").unwrap();
        fs::create_dir(directory.path().join("sub.csv")).unwrap();
        directory
    }

    #[test]
    fn arguments_become_sources() {
        let directory = directory();
        let check = |args: &[&str], expected: &[&str]| assert_eq!(names(directory.path(), args).unwrap(), expected);
        check(&["c.txt", "a.csv"], &["c.txt", "a.csv"]);
        check(&["?.csv"], &["a.csv", "b.csv"]);
        check(&["[ab].csv*"], &["a.csv", "b.csv"]);
        check(&["*.rejects.csv"], &["a.csv.rejects.csv"]);
        check(&["a.csv.rejects.csv"], &["a.csv.rejects.csv"]);
        check(&["odd[1].csv"], &["odd[1].csv"]);
        check(&["odd[0-9].csv"], &["odd1.csv"]);
        check(&["-", "a.csv"], &["standard input", "a.csv"]);
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        let directory = directory();
        let check = |args: &[&str], expected: &str| {
            let error = names(directory.path(), args).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(&[], "no source was given");
        check(&["d.csv"], "`d.csv`: there is no such file");
        check(&["z*.csv"], "`z*.csv`: no file matches");
        check(&["sub*"], "`sub*`: no file matches");
        check(&["a[.csv"], "not a valid glob pattern");
        check(&["sub.csv"], "`sub.csv`: it is a directory");
        check(&["nothing.dat"], "`nothing.dat`: it is empty");
        check(&["-", "-"], "`standard input` is given twice");
        check(&["a.csv", "?.csv"], "`a.csv` is given twice");
    }

    #[test]
    fn one_file_under_two_paths_is_given_twice() {
        let directory = directory();
        let place = directory.path();
        fs::hard_link(place.join("a.csv"), place.join("hard.csv")).unwrap();
        std::os::unix::fs::symlink(place.join("a.csv"), place.join("soft.csv")).unwrap();
        for (args, twice) in [
            (["a.csv", "hard.csv"], "hard.csv"),
            (["soft.csv", "a.csv"], "a.csv"),
            (["a.csv", "./a.csv"], "./a.csv"),
            (["a.csv", "sub.csv/../a.csv"], "sub.csv/../a.csv"),
            (["hard.csv", "s*.csv"], "soft.csv"),
        ] {
            let error = names(place, &args).unwrap_err();
            assert!(error.contains(&format!("`{twice}` is the same file as `{}`", args[0])), "{error}");
        }
    }

    #[test]
    fn an_archive_is_checked_to_its_end() {
        let directory = directory();
        let text = b"a,b\n1,2\n".repeat(100_000);
        let whole = zstd::encode_all(text.as_slice(), 1).unwrap();
        let check = |bytes: &[u8]| {
            let path = directory.path().join("a.zst");
            fs::write(&path, bytes).unwrap();
            Source::file(&path).unwrap().read_to_end()
        };
        check(&whole).unwrap();
        check(&text).unwrap();
        let error = check(&whole[..whole.len() - 3]).unwrap_err();
        assert!(matches!(error, ReadError::Truncated { .. }), "{error}");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gzip, &text).unwrap();
        let mut gzip = gzip.finish().unwrap();
        let checksum = gzip.len() - 8;
        gzip[checksum] ^= 1;
        let error = check(&gzip).unwrap_err();
        assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn the_hash_is_that_of_the_files_bytes() {
        let directory = directory();
        let path = directory.path().join("large");
        let bytes: Vec<u8> = (0..600_000_u32).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        let source = Source::file(&path).unwrap();
        assert_eq!(source.size_bytes, Some(600_000));
        assert_eq!(source.hash().unwrap(), Some(*blake3::hash(&bytes).as_bytes()));
        assert_eq!(Source::stdin().hash().unwrap(), None);
    }

    #[test]
    fn a_file_has_changed_if_its_size_or_its_time_has() {
        let directory = directory();
        let path = directory.path().join("a.csv");
        let source = Source::file(&path).unwrap();
        let set_time = |time| File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
        let time = source.modified.unwrap();
        fs::write(&path, "longer\n").unwrap();
        set_time(time);
        assert!(matches!(source.check_unchanged(), Err(ReadError::Changed { .. })), "another size");
        fs::write(&path, "y\n").unwrap();
        set_time(time + std::time::Duration::from_secs(5));
        assert!(matches!(source.check_unchanged(), Err(ReadError::Changed { .. })), "another time");
        set_time(time);
        source.check_unchanged().unwrap();
    }

    #[test]
    fn only_a_file_has_a_size_and_can_be_read_again() {
        let directory = directory();
        let file = Source::file(&directory.path().join("a.csv")).unwrap();
        assert_eq!((file.size_bytes, file.is_read_once()), (Some(2), false));
        let device = Source::file(Path::new("/dev/null")).unwrap();
        assert_eq!((device.size_bytes, device.is_read_once(), device.hash().unwrap()), (None, true, None));
        device.check_unchanged().unwrap();
        assert!(Source::stdin().is_read_once());
    }
}
