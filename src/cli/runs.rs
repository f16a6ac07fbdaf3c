//! `medlift runs`.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use medlift::error::Error;
use medlift::ledger::{Held, LEASE_DEFAULT, Ledger, LoadDocument, State};
use medlift::report::runs::{End, LoadOverview};
use medlift::report::width;
use medlift::server::{Purpose, Secret, Target};
use serde::Serialize;

use super::connection::ConnectionArgs;
use super::output;

pub(super) const EXAMPLES: &str = "Examples:
  medlift runs list
  medlift runs show 0b5f9c1e --watch";

const LIST_EXAMPLES: &str = "Examples:
  medlift runs list --uri mongodb://localhost:27017
  medlift runs list --limit 100 --json";

const SHOW_EXAMPLES: &str = "Examples:
  medlift runs show 0b5f9c1e --watch
  medlift runs show 9bb36944-f7cb-46af-a3c7-b2247e48d952 --json";

/// With `--watch`, the pause between two reads of the ledger.
const WATCH: Duration = Duration::from_secs(2);

/// If the user gives only the beginning of an id, this number of the latest loads is searched.
const LATEST_MAX: u32 = 1_000;

#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List the most recent loads
    #[command(after_help = LIST_EXAMPLES)]
    List(Box<ListArgs>),
    /// Show a load or all loads of a manifest: counts, and the state of each part
    #[command(after_help = SHOW_EXAMPLES)]
    Show(Box<ShowArgs>),
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Number of loads
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Connection string, if not given with --uri
    #[arg(value_name = "URI", help_heading = None)]
    positional: Vec<Secret>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Id of a load or of a manifest, or its beginning. A connection string may be given here too
    #[arg(value_name = "ID", required = true, help_heading = None)]
    positional: Vec<Secret>,
    /// Show the state again every two seconds, until the load has ended. Exit code 0 if it is complete, 1 if it is not,
    /// 6 if its process has ended without a report: run the same load command again
    #[arg(long)]
    watch: bool,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The loads that a command shows.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Overviews(Vec<LoadOverview>);

impl fmt::Display for Overviews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return writeln!(f, "no load is recorded in this database");
        }
        let width = width(&std::io::stdout());
        self.0.iter().try_for_each(|load| f.write_str(&load.text(width)))
    }
}

impl Overviews {
    /// Returns the exit code of `--watch`. Returns `None` if one of the loads has not ended.
    fn exit_code(&self) -> Option<u8> {
        let ends: Vec<End> = self.0.iter().map(LoadOverview::end).collect::<Option<_>>()?;
        Some(if ends.contains(&End::Stalled) {
            output::TEMPORARY
        } else if ends.contains(&End::Incomplete) {
            output::INCOMPLETE
        } else {
            0
        })
    }
}

impl RunsCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        match self {
            Self::List(args) => args.run(),
            Self::Show(args) => args.run(),
        }
    }
}

impl ListArgs {
    fn run(mut self) -> Result<ExitCode, Error> {
        self.connection.take_only_uri(self.positional, "to show one load, use medlift runs show")?;
        let loads = super::run_async(async |_| {
            let ledger = ledger(&self.connection.connect(Purpose::Read, "").await?);
            let loads = ledger.latest_loads(self.limit).await.map_err(reading)?;
            let overviews = overviews(&ledger, loads).await?;
            Ok(overviews.into_iter().map(LoadOverview::without_parts).collect())
        })?;
        output::print(&Overviews(loads), self.json)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl ShowArgs {
    fn run(mut self) -> Result<ExitCode, Error> {
        self.connection.take_uri(&mut self.positional)?;
        let [id] = &self.positional[..] else {
            return Err(Error::Usage("give one id of a load or of a manifest; medlift runs list shows them".into()));
        };
        let id = id.reveal().to_owned();
        super::run_async(async |_| {
            let ledger = ledger(&self.connection.connect(Purpose::Read, "").await?);
            loop {
                let overviews = Overviews(show(&ledger, &id).await?);
                output::print(&overviews, self.json)?;
                match overviews.exit_code() {
                    _ if !self.watch => return Ok(ExitCode::SUCCESS),
                    Some(code) => return Ok(ExitCode::from(code)),
                    None => {}
                }
                tokio::time::sleep(WATCH).await;
            }
        })
    }
}

async fn show(ledger: &Ledger, id: &str) -> Result<Vec<LoadOverview>, Error> {
    let mut loads = ledger.loads_with_id(id).await.map_err(reading)?;
    if loads.is_empty() {
        let latest = ledger.latest_loads(LATEST_MAX).await.map_err(reading)?;
        loads = latest.into_iter().filter(|load| load.id.to_string().starts_with(id)).collect();
    }
    if loads.is_empty() {
        return Err(Error::Stopped(format!(
            "the ledger of this database has no load and no manifest with the id {id}; `medlift runs list` shows the ids"
        )));
    }
    overviews(ledger, loads).await
}

async fn overviews(ledger: &Ledger, loads: Vec<LoadDocument>) -> Result<Vec<LoadOverview>, Error> {
    let keys: Vec<&str> =
        loads.iter().filter(|load| load.state == State::Running).map(|load| load.key.as_str()).collect();
    let leases = ledger.leases_of(&keys).await.map_err(reading)?;
    let mut overviews = Vec::new();
    for mut load in loads {
        let lease = leases.get(&load.key);
        if load.state == State::Running && lease.is_none_or(Held::is_over) {
            // The load may have ended after its document was read and before its lease was read.
            load = ledger.load_with_id(load.id).await.map_err(reading)?.unwrap_or(load);
        }
        overviews.push(overview(ledger, &load, lease).await?);
    }
    Ok(overviews)
}

async fn overview(ledger: &Ledger, load: &LoadDocument, lease: Option<&Held>) -> Result<LoadOverview, Error> {
    let Some(manifest) = &load.manifest else { return Ok(LoadOverview::new(load, lease, &[], &BTreeMap::new())) };
    let parts = ledger.parts(load.id, &manifest.parts).await.map_err(reading)?;
    let leases = ledger.part_leases(load.id).await.map_err(reading)?;
    Ok(LoadOverview::new(load, lease, &parts, &leases))
}

fn ledger(target: &Target) -> Ledger {
    Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT)
}

fn reading(error: medlift::ledger::LedgerError) -> Error {
    Error::of_ledger("read", error)
}
