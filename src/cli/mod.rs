//! The commands as they are typed, one file a command. No logic: each turns its words into the library's terms.

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

/// Move a hospital's data into MongoDB: cleaned, typed, deduplicated, and proven to have arrived.
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
    /// Prove that the collection holds exactly what a source says
    Verify(Box<verify::VerifyArgs>),
    /// Write the collection as CSV or NDJSON; loading it back writes nothing new
    Export(Box<export::ExportArgs>),
    /// Make synthetic admissions with the usual kinds of damage
    Generate(generate::GenerateArgs),
    /// Bring a deployment to its wanted state: collection, validator, indexes, view, roles and users
    Provision(Box<provision::ProvisionArgs>),
    /// Examine a deployment step by step, and say what is wrong and how to mend it
    Doctor(Box<doctor::DoctorArgs>),
    /// Show the dataset spec in force, check one, or list its fields
    #[command(subcommand)]
    Spec(spec::SpecCommand),
}

/// Parses the command line and runs what it says.
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

/// Runs a command that talks to a server; the first Ctrl-C (or SIGTERM) drains, the second stops at once.
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
