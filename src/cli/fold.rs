//! `medlift fold`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use medlift::error::Error;
use medlift::fold::shell::{Job, fold};
use medlift::ledger::require_collection;
use medlift::report::fold::FoldSummary;
use medlift::report::{Bar, Phase, Progress};
use medlift::server::Purpose;

use super::connection::DeploymentArgs;
use super::dataset::DatasetArgs;
use super::output;
use super::reading::identity_key;

const EXAMPLES: &str = "Examples:
  medlift fold --spec hl7v2 --uri mongodb://localhost:27017
  medlift fold --spec hl7v2 --rebuild --json";

/// Bring patients, visits and results up to date with the stored HL7 v2 messages
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FoldArgs {
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Fold all stored messages again; replace the documents that differ, and remove those that follow from no message
    #[arg(long)]
    rebuild: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Print no messages
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

impl FoldArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        let Self { dataset, rebuild, json, quiet, deployment } = *self;
        let (spec, identity) = (dataset.kind(None)?, identity_key()?);
        let connection = deployment.into_connection_args("to name a spec, use --spec")?;
        let connection = connection.in_collection_of(&spec, quiet)?;
        let progress = Progress::new(false);
        let folded = super::run_gracefully("stopping; the next fold continues", async |interrupt| {
            let target = connection.connect(Purpose::Load, &spec.collection).await?;
            require_collection(&target).await?;
            progress.enter(Phase::Fold);
            let _bar = Bar::start(&progress, quiet);
            let read = Arc::clone(&progress.documents);
            let job = Job { target: &target, spec: &spec, identity: &identity, rebuild, read };
            fold(&job, interrupt.asked()).await?.ok_or(Error::Interrupted)
        })?;
        if json || !quiet {
            output::print(&FoldSummary::from(folded), json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
