//! `medlift verify`.

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use medlift::error::Error;
use medlift::ledger::require_collection;
use medlift::pipeline::manifest::Manifest;
use medlift::pipeline::parts::{self, CollectionProof};
use medlift::pipeline::verify::{VerifyOptions, expect_all, name_other_loads, verify, verify_state};
use medlift::report::Bar;
use medlift::report::fold::StateProof;
use medlift::server::{Purpose, refuse_view};
use medlift::verify::{Share, Verification};
use serde::Serialize;

use super::connection::ConnectionArgs;
use super::number::any_whole;
use super::reading::{ReadingArgs, identity_key};
use super::workers::ShareArgs;
use super::writing::LoadMode;
use super::{limits, output};

const EXAMPLES: &str = "Examples:
  medlift verify data.csv --uri mongodb://localhost:27017
  medlift verify data.csv --ignore-extra --json";

/// Check that the collection contains exactly the data of a source
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct VerifyArgs {
    /// Maximum number of missing, extra and different documents to list, for each of the three; all are counted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = any_whole::<usize>, help_heading = "Verification")]
    max_differences: usize,
    /// Show the values of fields that differ; they are patients' data
    #[arg(long, help_heading = "Verification")]
    show_values: bool,
    /// Accept documents in the collection that are not in the source
    #[arg(long, help_heading = "Verification")]
    ignore_extra: bool,
    /// Mode with which the source was loaded; it decides which of two rows with the same identity is expected in the
    /// collection
    #[arg(long, value_enum, default_value_t, help_heading = "Verification")]
    mode: LoadMode,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    share: ShareArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl VerifyArgs {
    /// Runs the command.
    pub(super) fn run(mut self: Box<Self>) -> Result<ExitCode, Error> {
        let mut progress = self.reading.progress();
        self.connection.take_uri(self.reading.positional())?;
        if let Some(path) = self.share.manifest.take() {
            return self.verify_manifest(&path);
        }
        let plan = self.reading.plan_and_tell(&progress)?;
        self.connection.refuse_collection(&plan)?;
        let options = self.options();
        let (quiet, json, ignore_extra) = (self.reading.quiet, self.reading.json, self.ignore_extra);
        progress.bytes_total = plan.size_bytes();
        limits::require_for_reading()?;
        let (proofs, state) = super::run_async(async |interrupt| {
            let connection = self.connection.in_collection_of(&plan.kinds[0], quiet)?;
            let target = connection.connect(Purpose::Read, &plan.kinds[0].collection).await?;
            for (_, target) in plan.targets(&target) {
                refuse_view(&target).await?;
                // If no resource of a FHIR type was loaded, this type has no collection. So its collection is not
                // required.
                if !plan.spec.is_divided() {
                    require_collection(&target).await?;
                }
            }
            let _bar = Bar::start(&progress, quiet);
            let mut proofs = Vec::new();
            let expected = expect_all(&plan, &options, interrupt, &progress)?;
            for (kind, (spec, target)) in plan.targets(&target).enumerate() {
                let options = VerifyOptions { kind, expected: expected.clone(), ..options.clone() };
                let proof = verify(&plan, &target, &options, interrupt, &progress).await?;
                let collection = target.full_name();
                proofs.push((
                    target,
                    KindProof { kind: spec.name.clone(), collection, proof, is_of_resources: spec.is_divided() },
                ));
            }
            name_other_loads(&plan, proofs.iter_mut().map(|(target, kind)| (&*target, &mut kind.proof))).await;
            let state = verify_state(&plan, &target, options.differences_max, &progress).await?;
            Ok((proofs.into_iter().map(|(_, kind)| kind).collect::<Vec<_>>(), state))
        })?;
        print(&proofs, state.as_ref(), json, ignore_extra)
    }

    /// Verifies the collections of a manifest. If several workers share the verification, compares only this worker's
    /// share of the `_id`s.
    fn verify_manifest(self, path: &str) -> Result<ExitCode, Error> {
        if self.reading.is_given() || self.connection.collection().is_some() {
            return Err(Error::Usage(
                "with --manifest: sources, --spec, --collection and the options of the group Source belong to medlift plan"
                    .into(),
            ));
        }
        limits::require_for_reading()?;
        let (manifest, key) = (Manifest::read(path)?, identity_key()?);
        let options = VerifyOptions { share: self.share.share()?, ..self.options() };
        if options.share != Share::ALL {
            let Share { index, of } = options.share;
            output::tell(format_args!(
                "this result is about share {index} (of 0 to {}) of the _ids, not about the whole collection",
                of - 1
            ));
        }
        let display = self.reading.display();
        let (json, ignore_extra, workers) = (self.reading.json, self.ignore_extra, self.reading.workers());
        let (proofs, state) = super::run_async(async |interrupt| {
            let target = self.connection.connect(Purpose::Read, "").await?;
            let (proofs, state) =
                parts::verify(&manifest, &target, &key, workers, &options, display, interrupt).await?;
            let named = |(kind, target, proof): CollectionProof| KindProof {
                kind,
                collection: target.full_name(),
                proof,
                is_of_resources: false,
            };
            Ok((proofs.into_iter().map(named).collect::<Vec<_>>(), state))
        })?;
        print(&proofs, state.as_ref(), json, ignore_extra)
    }

    fn options(&self) -> VerifyOptions {
        VerifyOptions {
            differences_max: self.max_differences,
            show_values: self.show_values,
            only_source: self.ignore_extra,
            mode: self.mode.into(),
            ..VerifyOptions::default()
        }
    }
}

fn print(proofs: &[KindProof], state: Option<&StateProof>, json: bool, ignore_extra: bool) -> Result<ExitCode, Error> {
    match proofs {
        [only] => output::print(&OnlyProof { proof: &only.proof, state }, json)?,
        _ => output::print(&Proofs { documents: proofs, state }, json)?,
    }
    let is_state_different = state.is_some_and(StateProof::has_differences);
    let is_different = is_state_different || proofs.iter().any(|kind| differs(&kind.proof, ignore_extra));
    Ok(output::exit_code(is_different, 0, false))
}

/// The result of verifying the only kind of document.
#[derive(Debug, Serialize)]
struct OnlyProof<'a> {
    #[serde(flatten)]
    proof: &'a Verification,
    /// The comparison of patients, visits and results with the stored HL7 v2 messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a StateProof>,
}

impl fmt::Display for OnlyProof<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.proof)?;
        self.state.iter().try_for_each(|state| write!(formatter, "{state}"))
    }
}

/// The result of verifying one kind of document.
#[derive(Debug, Serialize)]
struct KindProof {
    kind: String,
    /// The names of the database and the collection.
    collection: String,
    #[serde(flatten)]
    proof: Verification,
    /// Whether the documents are FHIR resources.
    #[serde(skip)]
    is_of_resources: bool,
}

/// The results of verifying several kinds of documents.
#[derive(Debug, Serialize)]
struct Proofs<'a> {
    documents: &'a [KindProof],
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a StateProof>,
}

impl fmt::Display for Proofs<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A spec describes many types of FHIR resources, and most sources contain only a few of them.
        let is_shown = |kind: &&KindProof| !kind.is_of_resources || kind.proof.expected + kind.proof.found > 0;
        for KindProof { kind, collection, proof, .. } in self.documents.iter().filter(is_shown) {
            write!(formatter, "documents `{kind}` in {collection}\n{proof}")?;
        }
        self.state.iter().try_for_each(|state| write!(formatter, "{state}"))
    }
}

fn differs(proof: &Verification, ignore_extra: bool) -> bool {
    !(proof.is_clean() || ignore_extra && proof.holds_all())
}

#[cfg(test)]
mod tests {
    use medlift::write::Mode;

    use super::super::{Command, tests::command};
    use super::*;

    #[test]
    fn each_verify_option_is_passed_on() {
        let options = |arguments: &[&str]| match command(&[&["verify", "a.csv"], arguments].concat()) {
            Command::Verify(args) => args.options(),
            other => panic!("{other:?}"),
        };
        let found = options(&[]);
        assert_eq!((found.differences_max, found.show_values, found.only_source), (20, false, false));
        assert!(found.mode == Mode::Insert && found.excused.is_none());
        assert_eq!(options(&["--max-differences", "0"]).differences_max, 0);
        assert_eq!(options(&["--max-differences", "7"]).differences_max, 7);
        assert!(options(&["--show-values"]).show_values && options(&["--ignore-extra"]).only_source);
        for (text, mode) in [("insert", Mode::Insert), ("upsert", Mode::Upsert), ("merge", Mode::Merge)] {
            assert_eq!(options(&["--mode", text]).mode, mode);
        }
    }

    #[test]
    fn only_extra_documents_may_be_ignored() {
        let none = Verification::default;
        let check = |proof: Verification, expected: [bool; 2]| {
            assert_eq!([differs(&proof, false), differs(&proof, true)], expected, "{proof:?}");
        };
        check(none(), [false, false]);
        check(Verification { extra: 1, ..none() }, [true, false]);
        check(Verification { missing: 1, ..none() }, [true, true]);
        check(Verification { different: 1, ..none() }, [true, true]);
    }
}
