//! `medlift verify`.

use std::process::ExitCode;

use clap::Args;
use medlift::access::Purpose;
use medlift::pipeline::Error;
use medlift::pipeline::verify::{VerifyOptions, verify};
use medlift::report::Bar;

use super::connection::ConnectionArgs;
use super::load::LoadMode;
use super::reading::ReadingArgs;
use super::{limits, output};

/// Check that the collection contains exactly the data of a source
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Maximum number of differences of each kind to list; all are counted
    #[arg(long, value_name = "N", default_value_t = 20)]
    max_differences: usize,
    /// Print the values of fields that differ; they are patients' data
    #[arg(long)]
    show_values: bool,
    /// Do not count documents that are not in the source as differences
    #[arg(long)]
    ignore_extra: bool,
    /// Mode with which the source was loaded; it decides which of two rows with the same identity is expected
    #[arg(long, value_enum, default_value_t)]
    mode: LoadMode,
}

impl VerifyArgs {
    /// Runs the command.
    pub fn run(mut self: Box<Self>) -> Result<ExitCode, Error> {
        self.connection.take_uri(self.reading.positional())?;
        let plan = self.reading.plan(self.reading.spec()?)?;
        let options = VerifyOptions {
            differences_max: self.max_differences,
            show_values: self.show_values,
            only_source: self.ignore_extra,
            mode: self.mode.into(),
            excused: None,
        };
        let (quiet, json, ignore_extra) = (self.reading.quiet, self.reading.json, self.ignore_extra);
        let progress = self.reading.progress(&plan);
        limits::require_for_reading()?;
        let proof = super::run_async(async |interrupt| {
            let target = self.connection.connect(Purpose::Read, &plan.spec.collection).await?;
            let _bar = Bar::start("verify", &progress, quiet);
            verify(&plan, &target, &options, interrupt, &progress).await
        })?;
        output::print(&proof, json)?;
        let differs = !(proof.is_clean() || ignore_extra && proof.holds_all());
        Ok(output::exit_code(differs, false))
    }
}
