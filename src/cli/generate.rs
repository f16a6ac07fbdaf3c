//! `medlift generate`.

use std::io::{BufWriter, IntoInnerError};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use medlift::error::Error;
use medlift::generate::{self, Damage};
use medlift::outputs::{Output, SHARED_MODE, write_hint};

use super::number::any_whole;
use super::{output, settings};

const EXAMPLES: &str = "Examples:
  medlift generate --rows 1000 --out data.csv
  medlift generate --damage heavy --seed 7 | medlift load --dry-run -";

/// Generate synthetic admissions with the typical errors of hospital data
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct GenerateArgs {
    /// Number of rows to generate
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = any_whole::<u64>)]
    rows: u64,
    /// Seed of the random numbers; the same seed gives the same rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = any_whole::<u64>)]
    seed: u64,
    /// Amount of errors in the rows
    #[arg(long, value_enum, default_value_t)]
    damage: DamageLevel,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Which errors the generated rows have.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum DamageLevel {
    /// Valid, unique rows without errors
    None,
    /// Mixed case, superfluous "and" and commas, duplicates, negative amounts: errors that a load repairs or recognises
    #[default]
    Typical,
    /// The errors of typical, and rows that must be rejected
    Heavy,
}

impl GenerateArgs {
    /// Runs the command.
    pub(super) fn run(self) -> Result<ExitCode, Error> {
        let damage = match self.damage {
            DamageLevel::None => Damage::None,
            DamageLevel::Typical => Damage::Typical,
            DamageLevel::Heavy => Damage::Heavy,
        };
        let name = self.out.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
        if let Some(out) = &self.out {
            output::refuse_inputs("--out", out, &settings::load()?.files())?;
        }
        let written = self.open().and_then(|output| {
            let mut buffered = BufWriter::new(output);
            generate::write(&mut buffered, self.rows, self.seed, damage)?;
            buffered.into_inner().map_err(IntoInnerError::into_error)?.finish()
        });
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::Output { path: name, hint: write_hint(&error), error })
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }

    fn open(&self) -> std::io::Result<Output> {
        self.out.as_deref().map_or_else(|| Ok(Output::stdout()), |path| Output::file(path, SHARED_MODE))
    }
}
