//! `medlift watch`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use medlift::error::Error;
use medlift::pipeline::load::{self, LoadOptions};
use medlift::pipeline::{Interrupt, Plan};
use medlift::report::Progress;
use medlift::report::summary::LoadSummary;
use medlift::s3::is_address;
use medlift::server::{Connection, Purpose, Secret, Target};
use medlift::watch::{FileReport, Tally, Watch, watch};

use super::connection::{ConnectionArgs, connect, destination_for, refuse_collection};
use super::number::whole;
use super::output;
use super::reading::FormatArgs;
use super::writing::WritingArgs;

const EXAMPLES: &str = "Examples:
  medlift watch landing --spec hl7v2 --uri mongodb://localhost:27017
  medlift watch landing --spec my.toml --max-rejects 5% --settle 60
  medlift watch landing --once --json";

/// Load each file of a folder when it is complete, and move it to done or rejected
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct WatchArgs {
    /// Folder to watch. Files in its subfolders, hidden files, and files that end with .part, .tmp or .filepart are not
    /// loaded. A connection string may be given here too
    #[arg(value_name = "DIR", required = true)]
    positional: Vec<Secret>,
    /// Seconds for which a file must not change before it is loaded. If the file NAME.done exists, NAME is loaded at
    /// once
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = whole(0_u32, 86_400), help_heading = "Watch")]
    settle: u32,
    /// End when each file was tried once
    #[arg(long, help_heading = "Watch")]
    once: bool,
    #[command(flatten)]
    writing: WritingArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Print a line of JSON for each file
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl WatchArgs {
    /// Runs the command.
    pub(super) fn run(mut self: Box<Self>) -> Result<ExitCode, Error> {
        self.connection.take_uri(&mut self.positional)?;
        let path = self.folder()?;
        self.writing.require_limits()?;
        let (json, once) = (self.json, self.once);
        // Reports a wrong spec now, and not only when the first file arrives.
        self.format.dataset()?;
        let options = Watch { path, settle: Duration::from_secs(self.settle.into()), once: self.once };
        let rejects = self.writing.rejects()?;
        if let Some(path) = rejects.as_ref().filter(|path| !path.is_dir() && !path.to_str().is_some_and(is_address)) {
            return Err(Error::Usage(format!(
                "--rejects {}: a watch needs a directory that exists, or an address such as s3://BUCKET/rejects/; each \
                 file has its own reject file there",
                path.display()
            )));
        }
        let mut loader = Loader {
            rejects,
            connection: self.connection.into_connection(Purpose::Load)?,
            writing: self.writing,
            format: self.format,
            target: None,
        };
        let stopping = "stopping; rows that were already read are still written";
        let tally = super::run_gracefully(stopping, async |interrupt| {
            let load = async |path: String, interrupt: &Interrupt| loader.load(path, interrupt).await;
            watch(&options, load, |report| tell(report, json), interrupt).await
        })?;
        Ok(if once { exit_code(&tally) } else { ExitCode::SUCCESS })
    }

    fn folder(&self) -> Result<PathBuf, Error> {
        match self.positional.as_slice() {
            [folder] => Ok(PathBuf::from(folder.reveal())),
            _ => Err(Error::Usage("give one folder; for several folders, start the command several times".into())),
        }
    }
}

/// Loads one file after another.
struct Loader {
    writing: WritingArgs,
    format: FormatArgs,
    rejects: Option<PathBuf>,
    connection: Connection,
    /// The connection of the last load. `None` after a failure.
    target: Option<Target>,
}

impl Loader {
    async fn load(&mut self, path: String, interrupt: &Interrupt) -> Result<LoadSummary, Error> {
        let progress = Progress::default();
        let plan = self.format.plan(vec![path])?;
        refuse_collection(self.connection.collection.as_deref(), &plan)?;
        let target = self.connect(&plan).await?;
        let options: LoadOptions = self.writing.options(target.is_local, self.rejects.clone());
        let mut summary = load::load(&plan, &target, &options, interrupt, &progress).await?;
        summary.notes.splice(..0, plan.detected_spec());
        self.target = Some(target);
        Ok(summary)
    }

    /// Returns the deployment with the collection for the sources of the plan. Connects if there is no connection.
    async fn connect(&mut self, plan: &Plan) -> Result<Target, Error> {
        let destination = destination_for(&self.connection, &plan.kinds[0])?;
        match self.target.take() {
            Some(target) => Ok(target.in_collection(&destination.collection)),
            None => connect(&destination).await,
        }
    }
}

fn tell(report: &FileReport, json: bool) -> Result<(), Error> {
    let line = if json {
        serde_json::to_string(report)
            .map_err(|error| Error::Stopped(format!("cannot write the result as JSON: {error}")))?
    } else {
        report.to_string()
    };
    output::write_stdout(format!("{line}\n").as_bytes())
}

/// Returns the exit code: that of the load of a file that stays, or 1 if a file could not be loaded, or 4 if rows were
/// rejected.
fn exit_code(tally: &Tally) -> ExitCode {
    match tally {
        Tally { stays: Some(code), .. } => ExitCode::from(*code),
        Tally { rejected: 1.., .. } => ExitCode::FAILURE,
        Tally { with_rejects: 1.., .. } => ExitCode::from(output::WITH_REJECTS),
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_tells_the_worst_that_happened() {
        let code = |with_rejects, rejected, stays| exit_code(&Tally { loaded: 3, with_rejects, rejected, stays });
        let found = [code(0, 0, None), code(1, 0, None), code(1, 1, None), code(1, 1, Some(6))];
        assert_eq!(found, [0, 4, 1, 6].map(ExitCode::from));
    }
}
