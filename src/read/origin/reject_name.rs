//! The names of reject files: `a.csv.rejects.csv`, then `a.csv.rejects.2.csv`, `a.csv.rejects.3.csv` and so on.
//! Rejected HL7 messages are in `a.hl7.rejects.hl7`, and their positions in `a.hl7.rejects.csv`.
//!
//! While a load writes a reject file to S3, the file consists of several objects, called segments. Their names are like
//! `a.csv.rejects.LOAD-s0-f1-000001.csv`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a reject file contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RejectKind {
    /// Rows as CSV, each with its position and the reason.
    Rows,
    /// HL7 messages, as they are in the source.
    Messages,
    /// FHIR resources, or entries of Bundles, one per line.
    Resources,
    /// For each message or resource in another reject file: its position and the reason, as CSV.
    Positions,
}

impl RejectKind {
    /// Returns the end of the file's name.
    pub(crate) const fn extension(self) -> &'static str {
        match self {
            Self::Rows | Self::Positions => "csv",
            Self::Messages => "hl7",
            Self::Resources => "ndjson",
        }
    }
}

/// The ends of the names of reject files.
const EXTENSIONS: [&[u8]; 3] = [b".csv", b".hl7", b".ndjson"];

/// Returns the path of a reject file of the source at `path`. `number` is 1 for the first name, 2 for the second name,
/// and so on.
///
/// If the source is itself a reject file, its name does not become longer. The numbers then continue after the source's
/// own number. For example, the first name for `a.csv.rejects.csv` is `a.csv.rejects.2.csv`.
pub(crate) fn reject_path(path: &Path, number: usize, kind: RejectKind) -> PathBuf {
    let (base, own) = split(path);
    let mut name = base.to_owned();
    match own + number {
        1 => name.push(format!(".rejects.{}", kind.extension())),
        number => name.push(format!(".rejects.{number}.{}", kind.extension())),
    }
    name.into()
}

/// Returns the text with which the names of all segments of a reject file begin. `load` is the id of the load, and
/// `file` is the number of the file among the reject files of the load.
pub(crate) fn segment_stem(path: &Path, load: &str, file: usize) -> String {
    let name = split(path).0.to_string_lossy();
    let name = name.rsplit('/').next().unwrap_or_default();
    format!("{name}.rejects.{load}-s{file}-")
}

/// Returns the name of a segment. `fence` is the number of the lease under which it is written. Each lease has another
/// number, so two processes never write segments with the same name.
pub(crate) fn segment_name(stem: &str, fence: i64, number: u32, kind: RejectKind) -> String {
    format!("{stem}f{fence}-{number:06}.{}", kind.extension())
}

/// Returns true if a pattern matches reject files. Other patterns skip them.
pub(super) fn wants_rejects(pattern: &str) -> bool {
    pattern.rsplit('/').next().is_some_and(|name| name.contains(".rejects."))
}

/// Returns true if the path has the name of a reject file, or of a segment of one.
pub(crate) fn is_reject_path(path: &Path) -> bool {
    split(path).1 > 0
}

/// If this is the name of a reject file, returns the name of its source.
pub(crate) fn source_of_rejects(name: &OsStr) -> Option<&OsStr> {
    base_and_number(name.as_bytes()).map(|(base, _)| OsStr::from_bytes(base))
}

/// Splits the path of a reject file into the path of its source and its number. For any other path, the number is 0.
fn split(path: &Path) -> (&OsStr, usize) {
    let path = path.as_os_str();
    base_and_number(path.as_bytes()).map_or((path, 0), |(base, number)| (OsStr::from_bytes(base), number))
}

fn base_and_number(name: &[u8]) -> Option<(&[u8], usize)> {
    const WORD: &[u8] = b".rejects";
    let name = EXTENSIONS.iter().find_map(|end| name.strip_suffix(*end))?;
    if let Some(base) = name.strip_suffix(WORD) {
        return Some((base, 1));
    }
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    let digits = std::str::from_utf8(&name[dot + 1..]).ok()?;
    let base = name[..dot].strip_suffix(WORD)?;
    if is_segment(digits) {
        return Some((base, 1));
    }
    let number = digits.parse().ok().filter(|number: &usize| *number > 1 && number.to_string() == digits)?;
    Some((base, number))
}

/// Returns true if `text` is the part of a segment's name between `.rejects.` and the extension. This part contains the
/// load, the number of the reject file, the fence, and the number of the segment.
fn is_segment(text: &str) -> bool {
    let mut parts = text.rsplitn(4, '-');
    let is_number = |part: Option<&str>, letter: &str| {
        let digits = part.and_then(|part| part.strip_prefix(letter));
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (number, fence, source) = (parts.next(), parts.next(), parts.next());
    is_number(number, "") && is_number(fence, "f") && is_number(source, "s") && parts.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_and_stay_short() {
        for (source, first, second) in [
            ("d/a.csv", "d/a.csv.rejects.csv", "d/a.csv.rejects.2.csv"),
            ("a", "a.rejects.csv", "a.rejects.2.csv"),
            ("a.csv.rejects.csv", "a.csv.rejects.2.csv", "a.csv.rejects.3.csv"),
            ("a.csv.rejects.2.csv", "a.csv.rejects.3.csv", "a.csv.rejects.4.csv"),
            ("a.csv.rejects.99.csv", "a.csv.rejects.100.csv", "a.csv.rejects.101.csv"),
            ("a.2.csv", "a.2.csv.rejects.csv", "a.2.csv.rejects.2.csv"),
            ("a.csv.rejects.7d-4e-s0-f1-000001.csv", "a.csv.rejects.2.csv", "a.csv.rejects.3.csv"),
        ] {
            let found = [1, 2].map(|number| reject_path(Path::new(source), number, RejectKind::Rows));
            assert_eq!(found, [first, second].map(PathBuf::from), "{source}");
        }
    }

    #[test]
    fn each_name_of_a_reject_file_is_recognised() {
        for name in ["a.rejects.csv", "d/a.csv.rejects.csv", "a.csv.rejects.2.csv", "a.csv.2.rejects.csv"] {
            assert!(is_reject_path(Path::new(name)), "{name}");
        }
        let source =
            |name: &str| source_of_rejects(OsStr::new(name)).map(|source| source.to_string_lossy().into_owned());
        assert_eq!(source("a.hl7.rejects.2.csv").as_deref(), Some("a.hl7"));
        assert_eq!(source("a.hl7"), None);
        for number in 1..12 {
            assert!(is_reject_path(&reject_path(Path::new("a.csv"), number, RejectKind::Rows)), "{number}");
        }
        for base in ["a.csv", "d/a.csv", "a.csv.rejects.csv", "a.csv.rejects.2.csv"] {
            let stem = segment_stem(Path::new(base), "7d4e-01", 12);
            let segment = segment_name(&stem, 3, 1, RejectKind::Rows);
            assert_eq!(segment, "a.csv.rejects.7d4e-01-s12-f3-000001.csv");
            assert!(is_reject_path(Path::new(&segment)), "{segment}");
        }
        for name in ["a.hl7.rejects.hl7", "a.hl7.rejects.3.hl7"] {
            assert!(is_reject_path(Path::new(name)), "{name}");
        }
        let second = reject_path(Path::new("a.hl7.rejects.hl7"), 1, RejectKind::Messages);
        assert_eq!(second, Path::new("a.hl7.rejects.2.hl7"));
        for name in ["a.csv", "rejects.csv", "a.rejects.1.csv", "a.rejects.02.csv", "a.rejects.x.csv", "a.rejects", ""]
            .into_iter()
            .chain(["a.rejects.x-s1-f1-.csv", "a.rejects.s1-f1-01.csv", "a.x-s1-f1-01.csv"])
        {
            assert!(!is_reject_path(Path::new(name)), "{name}");
        }
    }
}
