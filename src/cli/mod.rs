//! The commands of the command line, one file per command. They contain no logic: each converts its arguments to the
//! library's types.

mod arguments;
mod connection;
mod doctor;
mod export;
mod generate;
mod limits;
mod load;
mod output;
mod provision;
mod reading;
mod spec;
mod verify;

use std::process::ExitCode;

use arguments::Parsed;
use clap::{Parser, Subcommand};
use medlift::pipeline::{Error, Interrupt};
pub use output::tell;

/// Load a hospital's data into MongoDB: cleaned, typed, deduplicated and verified
#[derive(Debug, Parser)]
#[command(name = "medlift", version, max_term_width = 110, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 clean, 1 failed, 2 usage, 3 cannot connect or sign in, 4 loaded with rejects, \
                          5 verification found a difference, 6 another process has the load.\nSettings are also read from the environment and from .env: \
                          MONGODB_URI, DB_NAME, COLLECTION_NAME, WRITER_USER, WRITER_PASS and the others in .env.example.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Read, clean, deduplicate, write and verify a source
    Load(Box<load::LoadArgs>),
    /// Check that the collection contains exactly the data of a source
    Verify(Box<verify::VerifyArgs>),
    /// Write the collection as CSV or NDJSON; loading the file again writes nothing new
    Export(Box<export::ExportArgs>),
    /// Generate synthetic admissions with the typical errors of hospital data
    Generate(generate::GenerateArgs),
    /// Set up a deployment: collection, validator, indexes, view, roles and users
    Provision(Box<provision::ProvisionArgs>),
    /// Examine a deployment step by step; report each problem and its remedy
    Doctor(Box<doctor::DoctorArgs>),
    /// Show the current dataset spec, check one, or list its fields
    #[command(subcommand)]
    Spec(spec::SpecCommand),
}

/// Parses the command line and runs the command.
pub fn run() -> Result<ExitCode, Error> {
    limits::prepare();
    let command = match arguments::parse(std::env::args_os().collect())? {
        Parsed::Command(cli) => cli.command,
        Parsed::Ended(code) => return Ok(code),
    };
    match command {
        Command::Load(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Export(args) => args.run(),
        Command::Generate(args) => args.run(),
        Command::Provision(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Spec(command) => command.run(),
    }
}

/// Runs a command that connects to a server. At the first Ctrl-C (or SIGTERM), the command finishes the rows already
/// read. At the second, the process ends at once.
fn run_async<T>(command: impl AsyncFnOnce(&Interrupt) -> Result<T, Error>) -> Result<T, Error> {
    limits::require_for_server()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::Stopped(format!("cannot start threads: {error}")))?;
    let interrupt = Interrupt::default();
    runtime.spawn(listen(interrupt.clone()));
    let result = runtime.block_on(command(&interrupt));
    runtime.shutdown_background();
    result
}

async fn listen(interrupt: Interrupt) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    loop {
        tokio::select! { _ = int.recv() => (), _ = term.recv() => () };
        if interrupt.is_asked() {
            output::tell("stopped immediately; everything up to the last checkpoint is stored");
            std::process::exit(1);
        }
        output::tell("finishing the rows already read, then stopping; press Ctrl-C again to stop immediately");
        interrupt.ask();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
