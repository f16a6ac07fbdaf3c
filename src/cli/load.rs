//! `medlift load`.

use std::io::IsTerminal;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use medlift::deployment::schema;
use medlift::error::Error;
use medlift::pipeline::load::{self, LoadOptions};
use medlift::pipeline::manifest::Manifest;
use medlift::pipeline::parts::{self, Work};
use medlift::pipeline::{Interrupt, Plan, dry_run};
use medlift::report::summary::LoadSummary;
use medlift::report::{Bar, Progress};
use medlift::server::{Purpose, Target};
use medlift::spec::Spec;

use super::connection::ConnectionArgs;
use super::reading::{ReadingArgs, identity_key};
use super::workers::WorkerArgs;
use super::writing::{LoadMode, WritingArgs};
use super::{limits, output, prompt};

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
    #[command(flatten)]
    writing: WritingArgs,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    workers: WorkerArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

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
        let rejects = self.writing.rejects()?;
        let mut summary = if self.dry_run {
            self.dry_run(&plan, rejects.as_deref(), &progress)
        } else {
            self.load(&plan, rejects, &progress)
        }?;
        summary.notes.splice(..0, plan.detected_spec());
        output::print(&summary, json)?;
        Ok(exit_code(&summary))
    }

    fn dry_run(self, plan: &Plan, rejects: Option<&Path>, progress: &Progress) -> Result<LoadSummary, Error> {
        limits::require_for_reading()?;
        let _bar = Bar::start(progress, self.reading.quiet);
        let (mode, rejects_max) = (self.writing.mode.into(), self.writing.rejects_max());
        dry_run::dry_run(plan, mode, rejects, rejects_max, &Interrupt::default(), progress)
    }

    fn load(mut self, plan: &Plan, rejects: Option<PathBuf>, progress: &Progress) -> Result<LoadSummary, Error> {
        self.writing.require_limits()?;
        let (quiet, yes) = (self.reading.quiet, self.yes);
        let connection = std::mem::take(&mut self.connection).in_collection_of(&plan.kinds[0], quiet)?;
        super::run_gracefully("stopping; rows that were already read are still written", async |interrupt| {
            let target = connection.connect(Purpose::Load, &plan.kinds[0].collection).await?;
            let options = self.options(target.is_local, rejects);
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
        self.writing.require_limits()?;
        let manifest = Manifest::read(path)?;
        let place = self.workers.share.place(manifest.parts.len())?;
        let rejects = WorkerArgs::rejects(path, self.writing.rejects()?)?;
        let connection = std::mem::take(&mut self.connection);
        let key = identity_key()?;
        let stopping = "stopping; rows that were already read are still written";
        let summary = super::run_gracefully(stopping, async |interrupt| {
            let collection = manifest.tables.first().and_then(|table| table.collection.as_deref());
            let target = connection.connect(Purpose::Load, collection.unwrap_or_default()).await?;
            let work = Work {
                options: self.options(target.is_local, Some(rejects)),
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
            (self.writing.lineage, "--lineage is not possible, because a part does not know its first row number"),
            (!matches!(self.writing.mode, LoadMode::Insert), "only --mode insert is possible"),
        ];
        match refused.iter().find(|(is_given, _)| *is_given) {
            Some((_, problem)) => Err(Error::Usage(format!("with --manifest: {problem}"))),
            None => Ok(()),
        }
    }

    fn options(&self, is_local: bool, rejects: Option<PathBuf>) -> LoadOptions {
        LoadOptions { drop: self.drop, reload: self.reload, ..self.writing.options(is_local, rejects) }
    }
}

fn exit_code(summary: &LoadSummary) -> ExitCode {
    output::exit_code(summary.has_differences(), summary.fold_exit_code(), summary.has_rejects())
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use medlift::ledger::Counts;
    use medlift::pipeline::load::RejectsMax;
    use medlift::report::fold::FoldSummary;
    use medlift::report::summary::DocumentSummary;
    use medlift::verify::Verification;
    use medlift::write::Mode;

    use super::super::{Command, tests::command};
    use super::*;

    fn typed(arguments: &[&str]) -> Box<LoadArgs> {
        match command(&[&["load", "a.csv"], arguments].concat()) {
            Command::Load(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn options_for(arguments: &[&str], is_local: bool) -> LoadOptions {
        let typed = typed(arguments);
        typed.options(is_local, typed.writing.rejects().expect("the settings are read"))
    }

    fn options(arguments: &[&str]) -> LoadOptions {
        options_for(arguments, false)
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
        assert!((2..=4).contains(&options_for(&[], true).limits.in_flight_max));
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
            assert_eq!(options_for(&[workers, "9"], true).limits.in_flight_max, 9);
        }
        assert_eq!(options(&["--run-size", "3"]).chunk_bytes_max, 3 * 1024 * 1024);
        assert_eq!(options(&["--lease-seconds", "5"]).lease, Duration::from_secs(5));
        assert_eq!(options(&["--stop-on-error"]).rejects_max, Some(RejectsMax::Rows(0)));
        assert_eq!(options(&["--max-rejects", "3"]).rejects_max, Some(RejectsMax::Rows(3)));
        assert!(typed(&["-n"]).dry_run && typed(&["--dry-run"]).dry_run && !typed(&[]).dry_run);
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
