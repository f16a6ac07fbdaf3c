//! The options for how records are written, of `medlift load`, `medlift watch` and `medlift listen`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use medlift::error::Error;
use medlift::ledger::LEASE_DEFAULT;
use medlift::pipeline::load::{LoadOptions, RejectsMax};
use medlift::server::ATTEMPTS_MAX;
use medlift::write::{CHUNK_BYTES_DEFAULT, Limits, Mode};

use super::arguments::looks_like_connection_string;
use super::number::whole;
use super::{limits, settings};

const RUN_SIZE_HELP: &str = "Size of a run, in MiB. A run is a set of documents that are sorted by _id and written together; \
                             up to eight runs are in memory at the same time. A larger size makes writing faster if the \
                             _id index is large. A load needs memory of about ten times this size";

/// The environment variable that sets the default of `--rejects`.
const REJECTS_VARIABLE: &str = "MEDLIFT_REJECTS";

const REJECTS_HELP: &str = "File for rejected rows, or directory or s3://BUCKET/PREFIX/ for one file per source [env: \
                            MEDLIFT_REJECTS] [default: beside each source, with the suffix .rejects.csv]";

/// Default of `--batch-size`.
const BATCH_DOCS_DEFAULT: u32 = 5_000;

/// Size of the chunks of a listener's loads, in bytes. Several loads are in memory at the same time.
const LISTENER_CHUNK_BYTES: usize = 4 << 20;

/// Largest size of the documents in one command, in bytes. The whole command must be smaller than 16 MiB.
const BATCH_BYTES_MAX: usize = 12 << 20;

/// The options for how records are written.
#[derive(Debug, Args)]
pub(super) struct WritingArgs {
    /// What to do if a document with the same identity is stored but its content differs
    #[arg(long, value_enum, ignore_case = true, default_value_t, help_heading = "Load")]
    pub(super) mode: LoadMode,
    /// Store the load id and the row number in each document
    #[arg(long, help_heading = "Load")]
    pub(super) lineage: bool,
    /// Seconds without a sign of life from this process after which another process may continue this load
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE_DEFAULT.as_secs() as u32, value_parser = whole(1_u32, 86_400), help_heading = "Load")]
    lease_seconds: u32,
    /// Store HL7 v2 messages without folding them into patients, visits and results; medlift fold does it later
    #[arg(long, help_heading = "Load")]
    no_fold: bool,
    /// Only majority is accepted; writes always wait for the journal; for compatibility with mongoimport
    #[arg(long, value_name = "CONCERN", value_parser = ["majority"], help_heading = "Load")]
    write_concern: Option<String>,
    #[arg(long, value_name = "FILE", help = REJECTS_HELP, help_heading = "Rejects")]
    rejects: Option<PathBuf>,
    /// Stop if more rows than this number, or more than this share of the rows, are rejected. With --manifest, the rows
    /// of all parts count, and workers may notice the limit five seconds late
    #[arg(long, value_name = "N|N%", value_parser = rejects_max, help_heading = "Rejects")]
    max_rejects: Option<RejectsMax>,
    /// Stop soon after the first rejected row. A few MiB of rows after it, which were already read, are still written
    #[arg(long, conflicts_with = "max_rejects", help_heading = "Rejects")]
    stop_on_error: bool,
    /// Do not verify the stored content at the end
    #[arg(long, help_heading = "Verification")]
    no_verify: bool,
    /// Let the server check every document with the validator after a first load. Without this option, it checks 1,000
    /// of them, or all if the verification finds a difference
    #[arg(long, conflicts_with = "no_verify", help_heading = "Verification")]
    check_validator: bool,
    /// Number of concurrent bulk inserts [default: 4; if the server is on this machine, the number of its cores, but at
    /// least 2 and at most 4]
    #[arg(short = 'j', long, value_name = "N", value_parser = whole(1_u16, 64), help_heading = "Speed and memory")]
    num_insertion_workers: Option<u16>,
    /// Maximum number of documents in one bulk insert, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = BATCH_DOCS_DEFAULT, value_parser = whole(1_u32, 100_000), help_heading = "Speed and memory")]
    batch_size: u32,
    #[arg(long, value_name = "MIB", help = RUN_SIZE_HELP, default_value_t = (CHUNK_BYTES_DEFAULT >> 20) as u16, value_parser = whole(1_u16, 4096), help_heading = "Speed and memory")]
    run_size: u16,
}

/// Decides what happens to a stored document that has the `_id` of a record, but other content.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum LoadMode {
    #[default]
    #[value(help = "Keep the stored document, unless the spec says on_conflict = \"keep-last\" or \"newest\"")]
    Insert,
    /// Replace the stored document
    Upsert,
    /// Set the record's fields in the stored document and keep its other fields
    Merge,
}

impl WritingArgs {
    /// Returns an error if the memory limit is too low for a load.
    pub(super) fn require_limits(&self) -> Result<(), Error> {
        limits::require_for_load(u64::from(self.run_size) << 20)
    }

    /// Returns the file or the directory for rejects: that of `--rejects`, or else that of `MEDLIFT_REJECTS`.
    pub(super) fn rejects(&self) -> Result<Option<PathBuf>, Error> {
        self.rejects.clone().map_or_else(rejects_setting, |path| Ok(Some(path)))
    }

    pub(super) fn rejects_max(&self) -> Option<RejectsMax> {
        self.max_rejects.or(self.stop_on_error.then_some(RejectsMax::Rows(0)))
    }

    /// Returns the options of a load. `is_local` is true if the server is on this machine, and `rejects` is the result
    /// of [`rejects`](Self::rejects).
    pub(super) fn options(&self, is_local: bool, rejects: Option<PathBuf>) -> LoadOptions {
        LoadOptions {
            mode: self.mode.into(),
            drop: false,
            lineage: self.lineage,
            rejects,
            lists_rejects: false,
            rejects_max: self.rejects_max(),
            reload: false,
            verify: !self.no_verify,
            check_validator: self.check_validator,
            fold: !self.no_fold,
            limits: Limits {
                batch_docs_max: self.batch_size as usize,
                batch_bytes_max: BATCH_BYTES_MAX,
                in_flight_max: self.num_insertion_workers.map_or_else(|| in_flight(is_local, cores()), usize::from),
                attempts_max: ATTEMPTS_MAX,
            },
            chunk_bytes_max: usize::from(self.run_size) << 20,
            lease: Duration::from_secs(self.lease_seconds.into()),
        }
    }
}

/// Returns the options of the loads of a listener. Their sources can be read only once, so they are not verified. Their
/// rejects are in the answers.
pub(super) fn options_of_listener(is_local: bool) -> LoadOptions {
    LoadOptions {
        mode: Mode::Insert,
        drop: false,
        lineage: false,
        rejects: None,
        lists_rejects: true,
        rejects_max: None,
        reload: false,
        verify: false,
        check_validator: false,
        fold: false,
        limits: Limits {
            batch_docs_max: BATCH_DOCS_DEFAULT as usize,
            batch_bytes_max: BATCH_BYTES_MAX,
            in_flight_max: in_flight(is_local, cores()),
            attempts_max: ATTEMPTS_MAX,
        },
        chunk_bytes_max: LISTENER_CHUNK_BYTES,
        lease: LEASE_DEFAULT,
    }
}

/// Returns the number of concurrent bulk inserts if the user gives none. Usually it is 4. If the server is on this
/// machine and the machine has fewer than 4 cores, it is the number of cores, but at least 2. With more inserts, the
/// server would only switch between them.
fn in_flight(is_local: bool, cores: usize) -> usize {
    if is_local { cores.clamp(2, 4) } else { 4 }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

impl From<LoadMode> for Mode {
    fn from(mode: LoadMode) -> Self {
        match mode {
            LoadMode::Insert => Self::Insert,
            LoadMode::Upsert => Self::Upsert,
            LoadMode::Merge => Self::Merge,
        }
    }
}

/// Returns the file or directory that `MEDLIFT_REJECTS` names in the environment or in `.env`.
fn rejects_setting() -> Result<Option<PathBuf>, Error> {
    let path = settings::load()?.get(REJECTS_VARIABLE).map(PathBuf::from);
    if path.as_ref().is_some_and(|path| looks_like_connection_string(path.as_os_str())) {
        return Err(Error::Usage(format!(
            "the value of {REJECTS_VARIABLE} looks like a connection string; it is not shown, because it may contain a \
             password; give the path of a file"
        )));
    }
    Ok(path)
}

fn rejects_max(text: &str) -> Result<RejectsMax, String> {
    let wrong = || "give a number of rows, like 100, or a share, like 0.5%".to_owned();
    match text.strip_suffix('%') {
        Some(share) => match share.trim().parse() {
            Ok(share) if (0.0..=100.0).contains(&share) => Ok(RejectsMax::Percent(share)),
            _ => Err(wrong()),
        },
        None => text.parse().map(RejectsMax::Rows).map_err(|_| wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_server_gets_one_insert_per_core_but_two_to_four() {
        assert_eq!([1, 2, 3, 4, 5, 64].map(|cores| in_flight(true, cores)), [2, 2, 3, 4, 4, 4]);
        assert_eq!([1, 64].map(|cores| in_flight(false, cores)), [4, 4]);
    }

    #[test]
    fn rejects_are_bounded_by_rows_or_by_a_share_up_to_all() {
        let check = |text: &str, expected: Option<RejectsMax>| assert_eq!(rejects_max(text).ok(), expected, "{text}");
        check("0", Some(RejectsMax::Rows(0)));
        check("100", Some(RejectsMax::Rows(100)));
        check("0%", Some(RejectsMax::Percent(0.0)));
        check("0.5%", Some(RejectsMax::Percent(0.5)));
        check("100 %", Some(RejectsMax::Percent(100.0)));
        for text in ["", "%", "-1", "1.5", "-1%", "100.1%", "NaN%", "x"] {
            check(text, None);
        }
    }
}
