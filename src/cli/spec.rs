//! `medlift spec`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use medlift::deployment::schema;
use medlift::error::Error;
use medlift::spec::{Dataset, Spec};

use super::dataset::DatasetArgs;
use super::output;

pub(super) const EXAMPLES: &str = "Examples:
  medlift spec show > my.toml
  medlift spec check my.toml
  medlift spec fields --spec my.toml";

/// The commands for dataset specs.
#[derive(Debug, Subcommand)]
pub(super) enum SpecCommand {
    /// Print the spec as TOML
    #[command(after_help = EXAMPLES)]
    Show(SpecArgs),
    /// Check a spec and report all its errors
    #[command(after_help = EXAMPLES)]
    Check {
        /// The spec file
        file: PathBuf,
    },
    /// Print the table of fields
    #[command(after_help = EXAMPLES)]
    Fields(SpecArgs),
}

/// The option that names the spec.
#[derive(Debug, Args)]
pub(super) struct SpecArgs {
    #[command(flatten)]
    dataset: DatasetArgs,
}

impl SpecCommand {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        match self {
            Self::Show(args) => output::write_stdout(args.dataset.dataset()?.columns.text.as_bytes())?,
            Self::Fields(args) => output::write_stdout(fields_tables(&args.dataset.dataset()?).as_bytes())?,
            Self::Check { file } => {
                for spec in Dataset::from_file(&file)?.kinds {
                    output::write_stdout(
                        format!("{}: ok, {} with {} fields\n", spec.origin, spec.name, spec.fields.len()).as_bytes(),
                    )?;
                    for (field, why) in schema::unchecked_patterns(&spec) {
                        eprintln!(
                            "medlift: notice: {field}: a load checks the pattern, but the collection's validator \
                             cannot: {why}"
                        );
                    }
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Returns the table of fields. If there are several kinds of documents, there is one table per kind, with a title.
fn fields_tables(dataset: &Dataset) -> String {
    match &dataset.kinds[..] {
        [only] => only.fields_table(),
        kinds => {
            let titled = |kind: &Spec| format!("`{}`\n\n{}", kind.name, kind.fields_table());
            kinds.iter().map(titled).collect::<Vec<_>>().join("\n")
        }
    }
}
