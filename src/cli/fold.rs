//! `medlift fold`.

use std::fmt;
use std::process::ExitCode;

use clap::Args;
use medlift::error::Error;
use medlift::fold::shell::{Folded, Folder};
use medlift::ledger::require_collection;
use medlift::server::Purpose;
use medlift::wording::counted;
use serde::Serialize;

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
    /// Fold all stored messages again; replace the documents that differ, and remove those that no message supports
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
        let connection = deployment.into_connection_args("to name a spec, use --spec")?.in_collection_of(&spec);
        let folded = super::run_async(async |_| {
            let target = connection.connect(Purpose::Load, &spec.collection).await?;
            require_collection(&target).await?;
            let mut folder = Folder::open(&target, &spec, &identity).await?;
            if rebuild { folder.rebuild().await } else { folder.catch_up().await }?;
            Ok(folder.finish().await)
        })?;
        let shown = Shown::from(folded);
        if json || !quiet {
            output::print(&shown, json)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The result of the command.
#[derive(Debug, Serialize)]
struct Shown {
    /// Messages that were folded.
    messages: u64,
    /// Stored messages that cannot be read.
    unreadable: u64,
    /// Patients, visits and results that were written.
    written: u64,
    /// Patients, visits and results that were removed.
    removed: u64,
}

impl From<Folded> for Shown {
    fn from(Folded { messages, unreadable, written, removed }: Folded) -> Self {
        Self { messages, unreadable, written, removed }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = counted(self.messages, "message folded", "messages folded");
        let written = counted(self.written, "document written", "documents written");
        write!(f, "{messages}, {written}")?;
        if self.removed > 0 {
            write!(f, ", {} removed, because no message supports them", self.removed)?;
        }
        if self.unreadable > 0 {
            let unreadable = counted(self.unreadable, "stored message cannot", "stored messages cannot");
            write!(f, "; {unreadable} be read and changed nothing")?;
        }
        Ok(())
    }
}
