//! `medlift load`.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use medlift::deployment::schema;
use medlift::error::Error;
use medlift::ledger::LEASE_DEFAULT;
use medlift::pipeline::load::{self, LoadOptions, RejectsMax};
use medlift::pipeline::manifest::Manifest;
use medlift::pipeline::parts::{self, Work};
use medlift::pipeline::{Interrupt, Plan, dry_run};
use medlift::report::summary::LoadSummary;
use medlift::report::{Bar, Progress};
use medlift::server::{ATTEMPTS_MAX, Purpose, Target};
use medlift::spec::Spec;
use medlift::write::{CHUNK_BYTES_DEFAULT, Limits, Mode};

use super::arguments::looks_like_connection_string;
use super::connection::ConnectionArgs;
use super::number::whole;
use super::reading::{ReadingArgs, identity_key};
use super::workers::WorkerArgs;
use super::{limits, output, prompt, settings};

const RUN_SIZE_HELP: &str = "Size of a run, in MiB. A run is a set of documents that are sorted by _id and written together; \
                             up to eight runs are in memory at the same time. A larger size makes writing faster if the \
                             _id index is large. A load needs memory of about ten times this size";

/// The environment variable that sets the default of `--rejects`.
const REJECTS_VARIABLE: &str = "MEDLIFT_REJECTS";

const REJECTS_HELP: &str = "File for rejected rows, or directory or s3://BUCKET/PREFIX/ for one file per source [env: \
                            MEDLIFT_REJECTS] [default: beside each source, with the suffix .rejects.csv]";

const EXAMPLES: &str = "Examples:
  medlift load --dry-run data.csv
  medlift load data.csv --uri mongodb://localhost:27017 --db hospital
  medlift load 'more/*.csv.gz' --collection admissions_2024 --max-rejects 5%
  medlift load --spec my.toml --mode upsert data.csv
  medlift load --manifest load.manifest.json --index 7 --of 64";

/// Read, clean, deduplicate, write and verify a source.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct LoadArgs {
    /// Report which rows would be written and rejected, without a database
    #[arg(short = 'n', long, help_heading = "Load")]
    dry_run: bool,
    /// What to do if a document with the same identity is stored but its content differs
    #[arg(long, value_enum, ignore_case = true, default_value_t, help_heading = "Load")]
    mode: LoadMode,
    /// First drop each collection that the load writes to; asks for confirmation on a terminal, otherwise requires
    /// --yes
    #[arg(long, help_heading = "Load")]
    drop: bool,
    /// Do not ask for confirmation
    #[arg(short, long, help_heading = "Load")]
    yes: bool,
    /// Write again even if the sources were loaded before; do not resume an interrupted load
    #[arg(long, help_heading = "Load")]
    reload: bool,
    /// Store the load id and the row number in each document
    #[arg(long, help_heading = "Load")]
    lineage: bool,
    /// Seconds without a sign of life from this process after which another process may continue this load
    #[arg(long, value_name = "SECONDS", default_value_t = LEASE_DEFAULT.as_secs() as u32, value_parser = whole(1_u32, 86_400), help_heading = "Load")]
    lease_seconds: u32,
    /// Store HL7 v2 messages without folding them into patients, visits and results; medlift fold does it later
    #[arg(long, help_heading = "Load")]
    no_fold: bool,
    /// Only majority is accepted, always with journal; for compatibility with mongoimport
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
    #[command(flatten)]
    reading: ReadingArgs,
    /// Number of concurrent bulk inserts [default: 4; if the server is on this machine, the number of its cores, but at
    /// least 2 and at most 4]
    #[arg(short = 'j', long, value_name = "N", value_parser = whole(1_u16, 64), help_heading = "Speed and memory")]
    num_insertion_workers: Option<u16>,
    /// Maximum number of documents in one bulk insert, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = whole(1_u32, 100_000), help_heading = "Speed and memory")]
    batch_size: u32,
    #[arg(long, value_name = "MIB", help = RUN_SIZE_HELP, default_value_t = (CHUNK_BYTES_DEFAULT >> 20) as u16, value_parser = whole(1_u16, 4096), help_heading = "Speed and memory")]
    run_size: u16,
    #[command(flatten)]
    workers: WorkerArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
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

/// Largest size of the documents in one command, in bytes. The whole command must be smaller than 16 MiB.
const BATCH_BYTES_MAX: usize = 12 << 20;

impl LoadArgs {
    /// Runs the command.
    pub(super) fn run(mut self: Box<Self>) -> Result<ExitCode, Error> {
        let mut progress = self.reading.progress();
        self.connection.take_uri(self.reading.positional())?;
        if let Some(path) = self.workers.share.manifest.take() {
            return self.load_manifest(&path, progress);
        }
        let plan = self.reading.plan(&progress)?;
        self.connection.refuse_collection(&plan)?;
        progress.bytes_total = plan.size_bytes();
        let json = self.reading.json;
        self.rejects = self.rejects.take().map_or_else(rejects_setting, |path| Ok(Some(path)))?;
        let mut summary = if self.dry_run { self.dry_run(&plan, &progress) } else { self.load(&plan, &progress) }?;
        summary.notes.splice(..0, plan.detected_spec());
        output::print(&summary, json)?;
        Ok(exit_code(&summary))
    }

    fn dry_run(self, plan: &Plan, progress: &Progress) -> Result<LoadSummary, Error> {
        limits::require_for_reading()?;
        let _bar = Bar::start(progress, self.reading.quiet);
        let (mode, rejects_max) = (self.mode.into(), self.rejects_max());
        dry_run::dry_run(plan, mode, self.rejects.as_deref(), rejects_max, &Interrupt::default(), progress)
    }

    fn load(mut self, plan: &Plan, progress: &Progress) -> Result<LoadSummary, Error> {
        limits::require_for_load(u64::from(self.run_size) << 20)?;
        let (quiet, yes) = (self.reading.quiet, self.yes);
        let connection = std::mem::take(&mut self.connection).in_collection_of(&plan.kinds[0], quiet)?;
        super::run_gracefully("stopping; rows that were already read are still written", async |interrupt| {
            let target = connection.connect(Purpose::Load, &plan.kinds[0].collection).await?;
            let options = self.options(target.is_local);
            if options.drop && !yes {
                plan.targets(&target).try_for_each(|(_, target)| ask_to_drop(&target))?;
            }
            for (spec, target) in plan.targets(&target) {
                notice_misspelled(&target, spec).await?;
            }
            let _bar = Bar::start(progress, quiet);
            load::load(plan, &target, &options, interrupt, progress).await
        })
    }

    /// Loads parts of a manifest, as one of several workers.
    fn load_manifest(mut self, path: &str, progress: Progress) -> Result<ExitCode, Error> {
        self.refuse_with_manifest()?;
        limits::require_for_load(u64::from(self.run_size) << 20)?;
        let manifest = Manifest::read(path)?;
        let place = self.workers.share.place(manifest.parts.len())?;
        let named = self.rejects.take().map_or_else(rejects_setting, |path| Ok(Some(path)))?;
        self.rejects = Some(WorkerArgs::rejects(path, named)?);
        let connection = std::mem::take(&mut self.connection);
        let key = identity_key()?;
        let stopping = "stopping; rows that were already read are still written";
        let summary = super::run_gracefully(stopping, async |interrupt| {
            let collection = manifest.tables.first().and_then(|table| table.collection.as_deref());
            let target = connection.connect(Purpose::Load, collection.unwrap_or_default()).await?;
            let work = Work {
                options: self.options(target.is_local),
                key,
                workers: self.reading.workers(),
                place,
                writers_max: self.workers.writers_max.map(NonZeroU32::get),
                only_finish: self.workers.finish,
                quiet: self.reading.quiet,
                progress,
            };
            parts::work(&manifest, &target, &work, interrupt).await
        })
        .map_err(|error| Error::OfWorker(Box::new(error)))?;
        output::print(&summary, self.reading.json)?;
        Ok(output::exit_code(summary.has_differences(), summary.fold_exit_code(), summary.has_rejects()))
    }

    /// Returns an error if the user gave an option that belongs to `medlift plan`, or one that is not possible for a
    /// load in parts.
    fn refuse_with_manifest(&self) -> Result<(), Error> {
        let refused = [
            (self.reading.is_given(), "sources, --spec and the options of the group Source belong to medlift plan"),
            (self.connection.collection().is_some(), "-c, --collection belongs to medlift plan"),
            (self.dry_run, "--dry-run is not possible"),
            (self.drop, "--drop is not possible; drop the collections before the first worker starts"),
            (self.reload, "--reload is not possible; drop the collections, or make another manifest"),
            (self.lineage, "--lineage is not possible, because a part does not know its first row number"),
            (!matches!(self.mode, LoadMode::Insert), "only --mode insert is possible"),
        ];
        match refused.iter().find(|(is_given, _)| *is_given) {
            Some((_, problem)) => Err(Error::Usage(format!("with --manifest: {problem}"))),
            None => Ok(()),
        }
    }

    fn rejects_max(&self) -> Option<RejectsMax> {
        self.max_rejects.or(self.stop_on_error.then_some(RejectsMax::Rows(0)))
    }

    fn options(&self, is_local: bool) -> LoadOptions {
        LoadOptions {
            mode: self.mode.into(),
            drop: self.drop,
            lineage: self.lineage,
            rejects: self.rejects.clone(),
            rejects_max: self.rejects_max(),
            reload: self.reload,
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

/// Returns the number of concurrent bulk inserts if the user gives none. Usually it is 4. If the server is on this
/// machine and the machine has fewer than 4 cores, it is the number of cores, but at least 2. With more inserts, the
/// server would only switch between them.
fn in_flight(is_local: bool, cores: usize) -> usize {
    if is_local { cores.clamp(2, 4) } else { 4 }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

fn exit_code(summary: &LoadSummary) -> ExitCode {
    output::exit_code(summary.has_differences(), summary.fold_exit_code(), summary.has_rejects())
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

/// Tells the user if the name of the collection may be misspelled. The load then creates a collection with this name.
async fn notice_misspelled(target: &Target, spec: &Spec) -> Result<(), Error> {
    if let Some(missing) = schema::misspelled(target, spec).await? {
        output::tell(format_args!(
            "notice: {missing}; the load creates a new collection; if the name is wrong, stop now and correct \
             --collection"
        ));
    }
    Ok(())
}

fn ask_to_drop(target: &Target) -> Result<(), Error> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::Usage(
            "--drop removes the collection; confirmation needs a terminal, so add --yes to continue".into(),
        ));
    }
    let question = format!("drop {}.{} and all its documents? [y/N] ", target.database, target.collection);
    if prompt::line(&question).is_ok_and(|answer| is_yes(&answer)) {
        return Ok(());
    }
    Err(Error::Stopped("the collection was not dropped; nothing was changed".into()))
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes")
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
    use medlift::ledger::Counts;
    use medlift::report::fold::FoldSummary;
    use medlift::report::summary::DocumentSummary;
    use medlift::verify::Verification;

    use super::super::{Command, tests::command};
    use super::*;

    fn typed(arguments: &[&str]) -> Box<LoadArgs> {
        match command(&[&["load", "a.csv"], arguments].concat()) {
            Command::Load(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn options(arguments: &[&str]) -> LoadOptions {
        typed(arguments).options(false)
    }

    #[test]
    fn a_load_has_the_defaults_that_the_help_shows() {
        let found = options(&[]);
        assert_eq!(
            (found.mode, found.drop, found.lineage, found.reload, found.verify),
            (Mode::Insert, false, false, false, true)
        );
        assert_eq!((found.rejects, found.rejects_max), (None, None));
        assert_eq!((found.limits.batch_docs_max, found.limits.batch_bytes_max), (5_000, 12 * 1024 * 1024));
        assert_eq!((found.limits.in_flight_max, found.limits.attempts_max), (4, 10));
        assert_eq!((found.chunk_bytes_max, found.lease), (20 * 1024 * 1024, Duration::from_secs(30)));
        assert_eq!(typed(&[]).options(true).limits.in_flight_max, in_flight(true, cores()));
    }

    #[test]
    fn a_local_server_gets_one_insert_per_core_but_two_to_four() {
        assert_eq!([1, 2, 3, 4, 5, 64].map(|cores| in_flight(true, cores)), [2, 2, 3, 4, 4, 4]);
        assert_eq!([1, 64].map(|cores| in_flight(false, cores)), [4, 4]);
    }

    #[test]
    fn each_load_option_is_passed_on() {
        assert!(options(&["--drop"]).drop && options(&["--lineage"]).lineage && options(&["--reload"]).reload);
        assert!(options(&[]).fold && !options(&["--no-fold"]).fold);
        assert!(options(&["--check-validator"]).check_validator && !options(&[]).check_validator);
        assert!(!options(&["--no-verify"]).verify && typed(&["--yes"]).yes && typed(&["-y"]).yes);
        for (text, mode) in [("insert", Mode::Insert), ("upsert", Mode::Upsert), ("merge", Mode::Merge)] {
            assert_eq!(options(&["--mode", text]).mode, mode);
        }
        assert_eq!(options(&["--rejects", "r.csv"]).rejects, Some("r.csv".into()));
        assert_eq!(options(&["--batch-size", "7"]).limits.batch_docs_max, 7);
        for workers in ["-j", "--num-insertion-workers"] {
            assert_eq!(options(&[workers, "9"]).limits.in_flight_max, 9);
            assert_eq!(typed(&[workers, "9"]).options(true).limits.in_flight_max, 9);
        }
        assert_eq!(options(&["--run-size", "3"]).chunk_bytes_max, 3 * 1024 * 1024);
        assert_eq!(options(&["--lease-seconds", "5"]).lease, Duration::from_secs(5));
        assert_eq!(options(&["--stop-on-error"]).rejects_max, Some(RejectsMax::Rows(0)));
        assert_eq!(options(&["--max-rejects", "3"]).rejects_max, Some(RejectsMax::Rows(3)));
        assert!(typed(&["-n"]).dry_run && typed(&["--dry-run"]).dry_run && !typed(&[]).dry_run);
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

    #[test]
    fn only_the_answer_yes_drops_a_collection() {
        for answer in ["y", "Y", "yes", " y\n", "yes\r\n"] {
            assert!(is_yes(answer), "{answer:?}");
        }
        for answer in ["", "\n", "n", "no", "N", "yy", "yes please"] {
            assert!(!is_yes(answer), "{answer:?}");
        }
    }

    #[test]
    fn a_load_ends_with_the_code_of_what_it_found() {
        let code = |rejected: u64, nonconforming: u64, proof: Option<Verification>| {
            let counts = Counts { rejected, ..Counts::default() };
            let found = DocumentSummary { counts, nonconforming, verification: proof, ..DocumentSummary::default() };
            let mut summary = LoadSummary { further: vec![found], ..LoadSummary::default() };
            let of_second_kind = exit_code(&summary);
            summary.document = summary.further.remove(0);
            assert_eq!(exit_code(&summary), of_second_kind);
            of_second_kind
        };
        let (clean, none) = (Verification::default(), Verification::default);
        let check = |found: ExitCode, expected: u8| assert_eq!(found, ExitCode::from(expected));
        check(code(0, 0, None), 0);
        for code in [0, 1, 2, 6] {
            let fold = Some(FoldSummary::not_folded("it rains", code));
            check(exit_code(&LoadSummary { fold, ..LoadSummary::default() }), code);
        }
        check(code(0, 0, Some(clean)), 0);
        check(code(1, 0, Some(none())), 4);
        check(code(0, 1, Some(none())), 5);
        check(code(0, 0, Some(Verification { extra: 1, ..none() })), 5);
        check(code(0, 0, Some(Verification { missing: 1, ..none() })), 5);
        check(code(1, 0, Some(Verification { different: 1, ..none() })), 5);
        check(code(1, 0, Some(Verification { others: 1, refused: 1, kept_out: 1, ..none() })), 4);
    }
}
