//! `medlift listen`.

use std::process::ExitCode;

use clap::Args;
use medlift::error::Error;
use medlift::server::Purpose;
use medlift::spec::Spec;

use super::connection::{DeploymentArgs, connect, destination_for};
use super::http::HttpArgs;
use super::output;

const EXAMPLES: &str = "Examples:
  medlift listen --http 8080 --uri mongodb://localhost:27017
  medlift listen --http 0.0.0.0:8080 --http-spec my.toml";

/// Receive data over the network, store them, and answer when they are durable
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListenArgs {
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

impl ListenArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        let Self { http, deployment } = *self;
        if !http.is_wanted() {
            return Err(Error::Usage("give an address to listen on: --http [HOST:]PORT".into()));
        }
        let connection = deployment.into_connection_args("to name a spec, use --http-spec")?;
        let connection = connection.into_connection(Purpose::Load)?;
        super::run_gracefully("stopping; requests under way are answered", async |interrupt| {
            let target = connect(&destination_for(&connection, &Spec::built_in())?).await?;
            if let Some(listener) = http.bind(&connection, &target).await? {
                let address = listener.address().map_err(|error| Error::Stopped(error.to_string()))?;
                output::tell(format_args!("listening for HTTP on {address}"));
                listener.serve(interrupt).await;
            }
            Ok(())
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
