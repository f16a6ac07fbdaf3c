//! Decides which files of a watched folder are complete. A file is complete if it did not change for some time, or if
//! its marker is there.
//!
//! The time is measured from the first look at the file. Its time of modification is only compared, because the clock of
//! a file server can differ, and because programs that copy files can set it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::{Duration, Instant, SystemTime};

/// Shows whether a file was changed or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size_bytes: u64,
    pub(super) modified: Option<SystemTime>,
    /// Numbers of the device and the inode.
    pub(super) identity: (u64, u64),
}

/// A file that may be a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) name: OsString,
    pub(super) stamp: Stamp,
    pub(super) has_marker: bool,
}

/// The files of a folder as they were at the last look.
#[derive(Debug, Default)]
pub(super) struct Settling {
    seen: HashMap<OsString, (Stamp, Instant)>,
}

impl Settling {
    /// Compares the files with the last look. Returns those that are complete, sorted by their time of modification,
    /// the oldest first. `settle` is the time for which a file without a marker must not change.
    pub(super) fn look(&mut self, found: Vec<Found>, now: Instant, settle: Duration) -> Vec<Found> {
        let mut last = std::mem::take(&mut self.seen);
        let mut complete = Vec::new();
        for file in found {
            let before = last.remove(&file.name).filter(|(stamp, _)| *stamp == file.stamp);
            let since = before.map_or(now, |(_, since)| since);
            self.seen.insert(file.name.clone(), (file.stamp, since));
            if file.has_marker || now.duration_since(since) >= settle {
                complete.push(file);
            }
        }
        complete.sort_by(|left, right| (left.stamp.modified, &left.name).cmp(&(right.stamp.modified, &right.name)));
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size_bytes: u64, modified_s: u64) -> Found {
        let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(modified_s));
        Found { name: name.into(), stamp: Stamp { size_bytes, modified, identity: (1, 1) }, has_marker: false }
    }

    #[test]
    fn a_file_is_complete_when_it_did_not_change_for_the_whole_time() {
        let (mut settling, begin) = (Settling::default(), Instant::now());
        let mut check = |second: u64, found: Found, expected: bool| {
            let now = begin + Duration::from_secs(second);
            let complete = settling.look(vec![found], now, Duration::from_secs(10));
            assert_eq!(!complete.is_empty(), expected, "second {second}");
        };
        check(0, file("a", 1, 5), false);
        check(9, file("a", 1, 5), false);
        check(10, file("a", 2, 5), false);
        check(19, file("a", 2, 6), false);
        let replaced = |mut found: Found| {
            found.stamp.identity = (1, 2);
            found
        };
        check(28, replaced(file("a", 2, 6)), false);
        check(37, replaced(file("a", 2, 6)), false);
        check(38, replaced(file("a", 2, 6)), true);
        // Another file is seen, and `a` is gone meanwhile.
        check(39, file("b", 2, 6), false);
        check(60, replaced(file("a", 2, 6)), false);
        check(61, Found { has_marker: true, ..file("a", 9, 9) }, true);
    }

    #[test]
    fn files_that_were_modified_first_come_first() {
        let found = vec![file("c", 1, 2), file("b", 1, 1), file("a", 1, 2)];
        let complete = Settling::default().look(found, Instant::now(), Duration::ZERO);
        let names: Vec<&OsString> = complete.iter().map(|file| &file.name).collect();
        assert_eq!(names, ["b", "a", "c"]);
    }
}
