//! `medlift export`.

use std::collections::BTreeSet;
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bson::Document;
use clap::{Args, ValueEnum};
use medlift::deployment::provision::view_spec;
use medlift::error::Error;
use medlift::export::{ExportError, ExportFormat, ExportOptions, Exported, export, filter_doubts, open};
use medlift::ledger::require_collection;
use medlift::outputs::Output;
use medlift::pipeline::refuse_originals;
use medlift::report::{Bar, Phase, Progress};
use medlift::server::{Destination, Purpose, Secret, Target, collection_of_view};
use medlift::spec::{FormatName, Spec};
use medlift::verify::Scan;
use medlift::wording::counted;

use super::connection::{DeploymentArgs, connect};
use super::dataset::DatasetArgs;
use super::number::any_whole;
use super::{output, settings};

const QUERY_HELP: &str = "Export only documents that match this filter, in MongoDB's query language as Extended JSON. A \
                          date is {\"$date\": \"2024-01-31T00:00:00Z\"}, a UUID is {\"$uuid\": \"...\"}";

const EXAMPLES: &str = r#"Examples:
  medlift export --out exported.csv --uri mongodb://localhost:27017
  medlift export --type json --limit 10
  medlift export --query '{"Age": {"$gte": 65}}'
  medlift export --query '{"Date of Admission": {"$gte": {"$date": "2024-01-31T00:00:00Z"}}}'
  medlift export --query '{"_id": {"$uuid": "00000000-0000-8000-8000-000000000000"}}'"#;

/// Write the collection as CSV, NDJSON, HL7 messages or FHIR resources; loading the file again writes nothing new
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExportArgs {
    /// File to write, readable only by its owner [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Format of the output; json writes one document per line, hl7 writes the messages as they were loaded, fhir
    /// writes the resources as they were loaded, one per line, bundle writes them as one Bundle, in which references by
    /// UUID lead to their entries [default: by the end of the file's name: .csv, .tsv or
    /// .txt, .json, .ndjson or .jsonl (fhir if the spec is for FHIR resources), .hl7; for other names hl7 or fhir if the
    /// spec is for messages or resources, otherwise csv]
    #[arg(long = "type", value_enum, ignore_case = true, value_name = "TYPE")]
    kind: Option<ExportType>,
    /// Delimiter of the CSV: , ; | or tab
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = super::reading::delimiter)]
    delimiter: u8,
    #[arg(short, long, value_name = "JSON", help = QUERY_HELP)]
    query: Option<Secret>,
    /// Maximum number of documents to write
    #[arg(long, value_name = "N", value_parser = any_whole::<u64>)]
    limit: Option<u64>,
    /// Leave out documents that do not fit the spec
    #[arg(long)]
    skip_foreign: bool,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Show no progress, and do not report how many documents were written
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

/// The formats of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportType {
    /// Delimited text with the spec's columns
    Csv,
    /// One document per line
    Json,
    /// HL7 messages as they were loaded
    Hl7,
    /// FHIR resources as they were loaded, one per line
    Fhir,
    /// FHIR resources as they were loaded, in one Bundle
    Bundle,
}

impl ExportArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        let all = self.dataset.dataset()?;
        let options = self.options(all.columns.source.format);
        let Self { deployment, out, quiet, dataset, query, .. } = *self;
        let filter = query.as_ref().map(|query| super::query::parse(query.reveal())).transpose()?;
        let connection = deployment.into_connection_args("to name a file to write, use --out")?;
        let settings = settings::load()?;
        // One file can contain FHIR resources of all types.
        let mut specs = match options.format {
            ExportFormat::Fhir | ExportFormat::Bundle if connection.collection().is_none() => all.kinds,
            _ => vec![dataset.kind(connection.collection())?],
        };
        let connection = connection.in_collection_of(&specs[0], quiet)?;
        if let Some(filter) = &filter {
            warn(filter, &specs);
        }
        let config = connection.config().map(Path::to_owned);
        let replaced = out.clone().filter(|out| out.is_file());
        let exported = super::run_async(async |_| {
            let destination =
                Destination::settle(&connection.into_connection(Purpose::Read)?, &settings, &specs[0].collection)?;
            if collection_of_view(&destination.collection).is_some() {
                specs = specs.iter().map(view_spec).collect();
            }
            require_whole(options.format, &specs)?;
            if let Some(out) = &out {
                let inputs: Vec<PathBuf> =
                    dataset.path.into_iter().chain(config).chain(settings.files()).chain(destination.files()).collect();
                output::refuse_inputs("--out", out, &inputs)?;
            }
            let target = connect(&destination).await?;
            let collections = collections_of(&target, &specs);
            require_one_of(&collections).await?;
            if let Some(out) = &out {
                refuse_originals(&target, out).await?;
            }
            let output = out.as_deref().map_or_else(|| Ok(Output::stdout()), open)?;
            let progress = Progress::default();
            progress.enter(Phase::Export);
            // If the documents are written to the terminal, a progress bar would be mixed with them.
            let is_on_terminal = out.is_none() && std::io::stdout().is_terminal();
            let _bar = Bar::start(&progress, quiet || is_on_terminal);
            let scan = |(collection, spec): (&Target, Spec)| {
                let scan = Scan::new(&collection.documents()).matching(filter.clone().unwrap_or_default());
                (scan.counted_by(&progress.documents), spec)
            };
            let scans: Vec<(Scan, Spec)> = collections.iter().zip(specs).map(scan).collect();
            match export(&scans, &options, output).await {
                // A reader such as `head` closes the pipe when it has read enough. That is not an error.
                Err(ExportError::Write { cause, .. }) if cause.kind() == ErrorKind::BrokenPipe => Ok(None),
                exported => Ok(Some(exported?)),
            }
        })?;
        let Some(exported) = exported else { return Ok(ExitCode::SUCCESS) };
        if !quiet {
            output::tell(report(&exported, &options, filter.is_some()));
        }
        if let Some(replaced) = replaced {
            output::tell(format_args!("notice: {} existed and was replaced", replaced.display()));
        }
        if exported.foreign.count > 0 {
            output::tell(format_args!("notice: {}", foreign(exported.foreign.count, options.skip_foreign)));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the settings of the export. `sources` is the format of the sources according to the spec.
    fn options(&self, sources: Option<FormatName>) -> ExportOptions {
        let format = self.format(sources);
        ExportOptions { format, dates: Vec::new(), limit: self.limit, skip_foreign: self.skip_foreign }
    }

    /// Returns the format that the user gave. Otherwise the first of these decides: an extension of text files such
    /// as `.csv`, FHIR sources, any other known extension, HL7 sources. If none applies, the format is CSV.
    fn format(&self, sources: Option<FormatName>) -> ExportFormat {
        let csv = ExportFormat::Csv { delimiter: self.delimiter };
        let extension = self.out.as_ref().and_then(|path| path.extension()).and_then(|end| end.to_str());
        match (self.kind, extension) {
            (Some(ExportType::Csv), _) | (None, Some("csv" | "tsv" | "txt")) => csv,
            (Some(ExportType::Fhir), _) => ExportFormat::Fhir,
            (Some(ExportType::Bundle), _) => ExportFormat::Bundle,
            (None, _) if sources == Some(FormatName::Fhir) => ExportFormat::Fhir,
            (Some(ExportType::Json), _) | (None, Some("json" | "ndjson" | "jsonl")) => ExportFormat::Ndjson,
            (Some(ExportType::Hl7), _) | (None, Some("hl7")) => ExportFormat::Hl7,
            (None, _) if sources == Some(FormatName::Hl7) => ExportFormat::Hl7,
            (None, _) => csv,
        }
    }
}

/// Fails if whole messages or resources are wanted, and the documents do not contain them.
fn require_whole(format: ExportFormat, specs: &[Spec]) -> Result<(), Error> {
    let is_of_resources = |spec: &Spec| spec.source.format == Some(FormatName::Fhir);
    if format == ExportFormat::Bundle && !specs.iter().all(is_of_resources) {
        return Err(Error::Usage("--type bundle is for FHIR resources, and the spec is not for them".into()));
    }
    let needs_whole = matches!(format, ExportFormat::Hl7 | ExportFormat::Fhir | ExportFormat::Bundle);
    if needs_whole && specs.iter().any(|spec| spec.whole().is_none()) {
        return Err(Error::Usage(
            "the documents do not contain whole messages or resources; export them with --type csv or --type json"
                .into(),
        ));
    }
    Ok(())
}

/// Returns the collection of each kind of document. If there is one kind, its collection is that of the target.
fn collections_of(target: &Target, specs: &[Spec]) -> Vec<Target> {
    match specs {
        [_] => vec![target.clone()],
        _ => specs.iter().map(|spec| target.in_collection(&spec.collection)).collect(),
    }
}

/// Fails if none of the collections exists.
async fn require_one_of(collections: &[Target]) -> Result<(), Error> {
    let mut found = Ok(());
    for collection in collections {
        found = require_collection(collection).await;
        if found.is_ok() {
            break;
        }
    }
    Ok(found?)
}

/// Warns of a filter that probably matches no document.
fn warn(filter: &Document, specs: &[Spec]) {
    let doubts: BTreeSet<String> = specs.iter().flat_map(|spec| filter_doubts(filter, spec)).collect();
    for doubt in doubts {
        output::tell(format_args!("warning: --query: {doubt}"));
    }
}

/// Returns the message about the number of documents. After an export with a query, it also says that the file is only
/// a part of the collection.
fn report(exported: &Exported, options: &ExportOptions, has_query: bool) -> String {
    let written = exported.written;
    if !has_query {
        return counted(written, "document exported", "documents exported");
    }
    let left_out = if options.skip_foreign { exported.foreign.count } else { 0 };
    let matched = match options.limit {
        Some(limit) if written >= limit => "at least ",
        _ => "",
    };
    let documents = counted(written + left_out, "document matches", "documents match");
    format!("{matched}{documents} the query, {written} exported; the file has no other documents of the collection")
}

/// Returns the message about documents that do not fit the spec.
fn foreign(count: u64, are_left_out: bool) -> String {
    let what = if are_left_out { "left out" } else { "exported unchanged" };
    let documents = counted(count, "document does not fit the spec and was", "documents do not fit the spec and were");
    format!("{documents} {what}")
}

#[cfg(test)]
mod tests {
    use medlift::export::Foreign;

    use super::super::{Command, tests::command};
    use super::*;

    fn options(arguments: &[&str]) -> ExportOptions {
        match command(&[&["export"], arguments].concat()) {
            Command::Export(args) => args.options(None),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_type_option_takes_precedence_over_the_extension() {
        let csv = |delimiter| ExportFormat::Csv { delimiter };
        let check = |arguments: &[&str], expected: ExportFormat| {
            assert_eq!(options(arguments).format, expected, "{arguments:?}");
        };
        check(&[], csv(b','));
        for name in ["a.json", "a.ndjson", "d/a.jsonl"] {
            check(&["--out", name], ExportFormat::Ndjson);
            check(&["-o", name, "--type", "csv"], csv(b','));
        }
        for name in ["a.csv", "json", "a.json.csv", "a.JSON", "a"] {
            check(&["--out", name], csv(b','));
        }
        check(&["--out", "a.csv", "--type", "json"], ExportFormat::Ndjson);
        check(&["--delimiter", "tab"], csv(b'\t'));
        check(&["--delimiter", ";"], csv(b';'));
    }

    #[test]
    fn the_report_of_a_query_says_that_the_file_is_a_part() {
        let exported =
            |written, foreign| Exported { written, foreign: Foreign { count: foreign, ..Foreign::default() } };
        let check = |exported: Exported, arguments: &[&str], has_query: bool, expected: &str| {
            assert_eq!(report(&exported, &options(arguments), has_query), expected);
        };
        let only = "the file has no other documents of the collection";
        check(exported(5, 0), &[], false, "5 documents exported");
        check(exported(1, 0), &[], false, "1 document exported");
        check(exported(1, 0), &[], true, &format!("1 document matches the query, 1 exported; {only}"));
        check(exported(5, 0), &[], true, &format!("5 documents match the query, 5 exported; {only}"));
        check(exported(5, 2), &["--skip-foreign"], true, &format!("7 documents match the query, 5 exported; {only}"));
        check(exported(5, 2), &[], true, &format!("5 documents match the query, 5 exported; {only}"));
        check(
            exported(5, 0),
            &["--limit", "5"],
            true,
            &format!("at least 5 documents match the query, 5 exported; {only}"),
        );
        check(exported(4, 0), &["--limit", "5"], true, &format!("4 documents match the query, 4 exported; {only}"));
    }

    #[test]
    fn one_foreign_document_has_the_singular() {
        assert_eq!(foreign(1, true), "1 document does not fit the spec and was left out");
        assert_eq!(foreign(2, false), "2 documents do not fit the spec and were exported unchanged");
    }

    #[test]
    fn limit_and_skipping_are_passed_on() {
        let found = options(&[]);
        assert_eq!((found.limit, found.skip_foreign, found.dates.is_empty()), (None, false, true));
        let found = options(&["--limit", "0", "--skip-foreign"]);
        assert_eq!((found.limit, found.skip_foreign), (Some(0), true));
    }
}
