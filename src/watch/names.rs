//! The names in a watched folder: which files are sources, and how a file is named if another has its name already.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::read::source_of_rejects;

/// The end of a marker's name. If `a.csv.done` exists, then `a.csv` is complete.
const MARKER: &str = ".done";

/// Ends of the names that programs give to a file while they write it.
const UNFINISHED: [&str; 3] = [".part", ".tmp", ".filepart"];

/// The end of the name of a file that says why another file could not be loaded.
const REASON: &str = ".error.txt";

/// Longest name that file systems accept, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Longest name of a source. The names of its reject files must be possible, too.
const SOURCE_BYTES_MAX: usize = 200;

/// Returns true if a file with this name may be a source. Hidden files, unfinished files, markers, reasons and the reject
/// files of loads are not.
pub(super) fn is_source(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    let is_other = |end: &str| bytes.to_ascii_lowercase().ends_with(end.as_bytes());
    !bytes.starts_with(b".")
        && !UNFINISHED.iter().chain(&[MARKER, REASON]).any(|end| is_other(end))
        && source_of_rejects(name).is_none()
}

/// Returns true if the names of reject files would be too long.
pub(super) fn is_too_long(name: &OsStr) -> bool {
    name.len() > SOURCE_BYTES_MAX
}

/// Returns the name of the file that says that the file `name` is complete.
pub(super) fn marker_of(name: &OsStr) -> OsString {
    with(name, MARKER)
}

/// Returns the name of the file with the reason why the file `name` could not be loaded.
pub(super) fn reason_of(name: &OsStr) -> OsString {
    with(shortened(name, NAME_BYTES_MAX - REASON.len()), REASON)
}

/// Returns the name for the file with this number, if several files have the same name: `a.csv`, `a.2.csv`, `a.3.csv`.
pub(super) fn numbered(name: &OsStr, number: usize) -> OsString {
    if number < 2 {
        return name.to_owned();
    }
    let path = Path::new(name);
    let extension = path.extension().map_or_else(OsString::new, |extension| with(OsStr::new("."), extension));
    // Usually only the stem is cut. The extension is cut if it is longer than half of the longest name.
    let end = with(OsStr::new(&format!(".{number}")), shortened(&extension, NAME_BYTES_MAX / 2));
    with(shortened(path.file_stem().unwrap_or(name), NAME_BYTES_MAX - end.len()), end)
}

/// Returns the beginning of a name, of at most `bytes_max` bytes. Cuts between characters.
fn shortened(name: &OsStr, bytes_max: usize) -> &OsStr {
    let bytes = name.as_bytes();
    let is_inside = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (0..=bytes.len().min(bytes_max)).rev().find(|at| !is_inside(at)).unwrap_or(0);
    OsStr::from_bytes(&bytes[..end])
}

/// Returns the name that the reject file `rejects` of the source `name` gets when the source is renamed to `moved`.
/// Returns `None` if it is not a reject file of this source.
pub(super) fn rejects_of(rejects: &OsStr, name: &OsStr, moved: &OsStr) -> Option<OsString> {
    let source = source_of_rejects(rejects).filter(|source| *source == name)?;
    let end = &rejects.as_bytes()[source.len()..];
    Some(with(moved, OsStr::from_bytes(end)))
}

fn with(name: &OsStr, end: impl AsRef<OsStr>) -> OsString {
    let mut whole = name.to_owned();
    whole.push(end);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_visible_files_that_medlift_did_not_write_are_sources() {
        for name in ["a.csv", "a", "a.csv.gz", "done", "part", "a.part.csv", "rejects.csv", "a.error.csv"] {
            assert!(is_source(OsStr::new(name)), "{name}");
        }
        for name in [".a.csv", "a.csv.part", "a.csv.TMP", "a.filepart", "a.csv.done", "a.csv.rejects.csv"]
            .into_iter()
            .chain(["a.hl7.rejects.hl7", "a.csv.rejects.2.csv", "a.hl7.error.txt"])
        {
            assert!(!is_source(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_number_comes_before_the_extension() {
        for (name, second) in [("a.csv", "a.2.csv"), ("a", "a.2"), ("a.csv.gz", "a.csv.2.gz")] {
            assert_eq!(numbered(OsStr::new(name), 1), OsStr::new(name));
            assert_eq!(numbered(OsStr::new(name), 2), OsStr::new(second));
        }
    }

    #[test]
    fn no_name_becomes_too_long() {
        for name in
            ["é".repeat(127) + "x", "x".repeat(250) + ".csv", ".".to_owned() + &"y".repeat(254), "z".repeat(255)]
        {
            let name = OsStr::new(&name);
            for made in [numbered(name, 12), reason_of(name)] {
                assert!(made.len() <= NAME_BYTES_MAX && made.to_str().is_some() && made != name, "{made:?}");
            }
        }
        assert!(is_too_long(OsStr::new(&"x".repeat(201))) && !is_too_long(OsStr::new(&"x".repeat(200))));
    }

    #[test]
    fn a_reject_file_is_renamed_with_its_source() {
        let check = |rejects: &str, name: &str, expected: Option<&str>| {
            let found = rejects_of(OsStr::new(rejects), OsStr::new(name), OsStr::new("b.2.csv"));
            assert_eq!(found.as_deref(), expected.map(OsStr::new), "{rejects}");
        };
        check("b.csv.rejects.csv", "b.csv", Some("b.2.csv.rejects.csv"));
        check("b.csv.rejects.3.csv", "b.csv", Some("b.2.csv.rejects.3.csv"));
        check("b.csv.rejects.hl7", "b.csv", Some("b.2.csv.rejects.hl7"));
        check("bb.csv.rejects.csv", "b.csv", None);
        check("b.csv", "b.csv", None);
    }
}
