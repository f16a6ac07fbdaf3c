//! `medlift doctor`.

use std::process::ExitCode;

use clap::Args;
use medlift::deployment::doctor::{examine, examine_without_user};
use medlift::error::Error;
use medlift::ledger::LEDGER_COLLECTION;
use medlift::server::{Destination, Purpose};

use super::connection::DeploymentArgs;
use super::dataset::DatasetArgs;
use super::{output, settings};

const EXAMPLES: &str = "Examples:
  medlift doctor --uri mongodb://localhost:27017
  medlift doctor --json";

/// Examine a deployment step by step; report each problem and its remedy
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

impl DoctorArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        let connection = self.deployment.into_connection_args("to name a spec, use --spec")?;
        let spec = self.dataset.kind(connection.collection())?;
        let connection = connection.in_collection_of(&spec, false)?;
        let settings = settings::load()?;
        let examination = super::run_async(async |_| {
            let connection = connection.into_connection(Purpose::Load)?;
            match Destination::settle(&connection, &settings, &spec.collection) {
                Err(error) if error.is_missing_password() => {
                    let destination = Destination::settle_without_user(&connection, &settings, &spec.collection)?;
                    Ok(examine_without_user(&destination, &error).await)
                }
                destination => Ok(examine(&destination?, &spec, LEDGER_COLLECTION).await),
            }
        })?;
        output::print(&examination, self.json)?;
        Ok(ExitCode::from(examination.exit_code()))
    }
}
