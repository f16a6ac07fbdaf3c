//! `medlift generate`.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use medlift::generate::{self, Damage};
use medlift::pipeline::Error;

/// Make synthetic admissions with the usual kinds of damage.
#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Rows to make
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    rows: u64,
    /// The same seed makes the same rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How damaged the rows are
    #[arg(long, value_enum, default_value_t)]
    damage: DamageLevel,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Levels of damage.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum DamageLevel {
    /// Clean and unique rows
    None,
    /// Mixed case, damaged joins, duplicates, negative amounts: what a load repairs
    #[default]
    Typical,
    /// The same, and rows that must be rejected
    Heavy,
}

impl GenerateArgs {
    /// Runs the command.
    pub fn run(self) -> Result<ExitCode, Error> {
        let damage = match self.damage {
            DamageLevel::None => Damage::None,
            DamageLevel::Typical => Damage::Typical,
            DamageLevel::Heavy => Damage::Heavy,
        };
        let name = self.out.as_ref().map_or_else(|| "standard output".into(), |path| path.display().to_string());
        let written = match &self.out {
            Some(path) => File::create(path)
                .and_then(|file| generate::write(&mut BufWriter::new(file), self.rows, self.seed, damage)),
            None => generate::write(&mut BufWriter::new(std::io::stdout().lock()), self.rows, self.seed, damage),
        };
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::Output { path: name, hint: "", error })
            }
            _ => Ok(ExitCode::SUCCESS),
        }
    }
}
