//! `medlift export`.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use medlift::access::Purpose;
use medlift::export::{ExportError, ExportFormat, ExportOptions, Output, export};
use medlift::pipeline::Error;
use medlift::verify::Scan;

use super::connection::ConnectionArgs;
use super::reading::load_spec;

/// Write the collection as CSV or NDJSON; loading it back writes nothing new.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// A connection string may stand here
    #[arg(value_name = "URI")]
    positional: Vec<String>,
    /// File to write, for its owner alone [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Format; json is one document a line
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<ExportType>,
    /// Delimiter of the CSV: , ; | or tab
    #[arg(long, value_name = "CHAR", default_value = ",", value_parser = super::reading::delimiter)]
    delimiter: u8,
    /// Most documents to write
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Leave out documents that do not fit the spec
    #[arg(long)]
    skip_foreign: bool,
    /// Dataset spec [default: the built-in admissions]
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Say nothing of what was written
    #[arg(long)]
    quiet: bool,
}

/// Formats of an export.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportType {
    /// Delimited text with the spec's columns
    Csv,
    /// One document a line
    Json,
}

impl ExportArgs {
    /// Runs the command.
    pub fn run(mut self: Box<Self>) -> Result<ExitCode, Error> {
        self.connection.take_uri(&mut self.positional);
        if let Some(word) = self.positional.first() {
            return Err(Error::Usage(format!("`{word}` is no connection string; name the file to write with --out")));
        }
        let spec = load_spec(self.spec.as_deref())?;
        let options = ExportOptions {
            format: self.format(),
            dates: Vec::new(),
            limit: self.limit,
            skip_foreign: self.skip_foreign,
        };
        let Self { connection, out, quiet, .. } = *self;
        let exported = super::run_async(async |_| {
            let target = connection.connect(Purpose::Read, &spec.collection).await?;
            let output = out.as_deref().map_or_else(|| Ok(Output::stdout()), Output::file)?;
            match export(&Scan::new(&target.documents()), &spec, &options, output).await {
                // A reader that went away, as `head` does, has what it wanted.
                Err(ExportError::Write { cause, .. }) if cause.kind() == ErrorKind::BrokenPipe => Ok(None),
                exported => Ok(Some(exported?)),
            }
        })?;
        let Some(exported) = exported else { return Ok(ExitCode::SUCCESS) };
        if !quiet {
            eprintln!("medlift: {} documents exported", exported.written);
        }
        if exported.foreign.count > 0 {
            let what = if options.skip_foreign { "were left out" } else { "went along as they are" };
            eprintln!("medlift: notice: {} documents do not fit the spec and {what}", exported.foreign.count);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// As asked for, else by the file's name, else CSV.
    fn format(&self) -> ExportFormat {
        let named = self
            .out
            .as_ref()
            .and_then(|path| path.extension())
            .is_some_and(|end| end == "json" || end == "ndjson" || end == "jsonl");
        match self.kind {
            Some(ExportType::Json) => ExportFormat::Ndjson,
            None if named => ExportFormat::Ndjson,
            _ => ExportFormat::Csv { delimiter: self.delimiter },
        }
    }
}
