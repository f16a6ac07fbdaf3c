//! The line that the user sees about a file.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::ledger::Counts;
use crate::report::summary::LoadSummary;
use crate::wording::counted;

/// What happened to a file. It contains no value of any row.
#[derive(Debug, Serialize)]
pub struct FileReport {
    /// The name of the file when it was taken.
    pub file: String,
    /// What happened.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Seconds that the load took.
    pub seconds: f64,
}

/// What happened to a file.
#[derive(Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The file is loaded.
    Loaded {
        /// The path to which it was moved.
        moved_to: PathBuf,
        /// The paths to which its reject files were moved.
        rejects: Vec<PathBuf>,
        /// The summary of the load.
        summary: Box<LoadSummary>,
    },
    /// The file could not be loaded.
    Rejected {
        /// The path to which it was moved.
        moved_to: PathBuf,
        /// The reason.
        problem: String,
    },
    /// The file stays, because the reason may be gone later.
    Stays {
        /// The reason.
        problem: String,
        /// Seconds until the next attempt. `None` if the command ends instead.
        again_in_seconds: Option<u64>,
    },
    /// The file was changed, replaced or removed while it was loaded.
    Changed,
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", shown(&self.file))?;
        match &self.outcome {
            Outcome::Loaded { moved_to, rejects, summary } => {
                let sum =
                    |count: fn(&Counts) -> u64| -> u64 { summary.documents().map(|found| count(&found.counts)).sum() };
                let read = counted(summary.rows_read(), "row", "rows");
                let (written, present) = (sum(|counts| counts.written), sum(|counts| counts.already_present));
                write!(f, "loaded, {read} read, {written} written, {present} already present")?;
                write!(f, ", {} rejected, {:.1} s", summary.rejected(), self.seconds)?;
                write!(f, "; moved to {}", shown_path(moved_to))?;
                rejects.iter().try_for_each(|path| write!(f, ", its rejects to {}", shown_path(path)))
            }
            Outcome::Rejected { moved_to, problem } => {
                write!(f, "not loaded: {}; moved to {}", shown(problem), shown_path(moved_to))
            }
            Outcome::Stays { problem, again_in_seconds } => {
                write!(f, "not loaded yet: {}; the file stays", shown(problem))?;
                again_in_seconds.iter().try_for_each(|seconds| write!(f, " and is tried again in {seconds} s"))
            }
            Outcome::Changed => {
                write!(f, "changed while it was loaded; it is loaded again when it is complete")
            }
        }
    }
}

/// Returns a text without the line ends and escapes that a name can have, so that it does not look like several lines.
fn shown(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '?' } else { character }).collect()
}

fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_one_line() {
        let check = |outcome: Outcome, expected: &str| {
            let report = FileReport { file: "a.csv".into(), outcome, seconds: 1.25 };
            assert_eq!(report.to_string(), expected);
        };
        let mut summary = Box::new(LoadSummary::default());
        summary.document.counts = Counts { read: 5, written: 3, already_present: 1, rejected: 1, ..Counts::default() };
        let (moved_to, rejects) = ("d/done/a.csv".into(), vec!["d/done/a.csv.rejects.csv".into()]);
        check(
            Outcome::Loaded { moved_to, rejects, summary },
            "a.csv: loaded, 5 rows read, 3 written, 1 already present, 1 rejected, 1.2 s; moved to d/done/a.csv, its \
             rejects to d/done/a.csv.rejects.csv",
        );
        let moved_to = "d/rejected/a.csv".into();
        check(
            Outcome::Rejected { moved_to, problem: "it is empty".into() },
            "a.csv: not loaded: it is empty; moved to d/rejected/a.csv",
        );
        check(
            Outcome::Stays { problem: "it rains".into(), again_in_seconds: Some(2) },
            "a.csv: not loaded yet: it rains; the file stays and is tried again in 2 s",
        );
        check(
            Outcome::Stays { problem: "it rains".into(), again_in_seconds: None },
            "a.csv: not loaded yet: it rains; the file stays",
        );
        let forged = FileReport { file: "a\nb\u{1b}[2J".into(), outcome: Outcome::Changed, seconds: 0.0 };
        assert!(forged.to_string().starts_with("a?b?[2J: changed"), "{forged}");
        check(Outcome::Changed, "a.csv: changed while it was loaded; it is loaded again when it is complete");
    }
}
