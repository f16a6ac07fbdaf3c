//! The commands of the command line. Each command has its own file. The file's code converts the arguments to the
//! library's types, calls the library, and prints the result.

mod address;
mod arguments;
mod completions;
mod config_file;
mod connection;
mod dataset;
mod doctor;
mod export;
mod fold;
mod generate;
mod host;
mod http;
mod limits;
mod listen;
mod load;
mod number;
mod output;
mod passwords;
mod patient;
mod plan;
mod prompt;
mod provision;
mod query;
mod reading;
mod runs;
mod send;
mod settings;
mod spec;
mod tool_options;
mod verify;
mod watch;
mod workers;
mod writing;

use std::process::ExitCode;

use arguments::Parsed;
use clap::{Parser, Subcommand};
use medlift::error::Error;
use medlift::pipeline::Interrupt;
use medlift::report::remove_line;
pub(crate) use output::tell;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Load a hospital's data into MongoDB: cleaned, typed, deduplicated and verified
#[derive(Debug, Parser)]
#[command(name = "medlift", version, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Examples:
  medlift load --dry-run data.csv
  medlift load data.csv --uri mongodb://localhost:27017
  medlift help load

Exit codes: 0 success, 1 failed, 2 wrong usage, 3 cannot connect or sign in,
4 loaded with rejects, 5 verification found a difference, 6 stopped for a
temporary reason: run the same command again. docs/troubleshooting.md explains
the messages.

Settings are also read from the environment and from .env: MONGODB_URI, DB_NAME,
COLLECTION_NAME, WRITER_USER, WRITER_PASS and the others in .env.example.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Read, clean, deduplicate, write and verify a source
    Load(Box<load::LoadArgs>),
    /// Make a manifest: the sources of a load, divided into parts that several workers can load at the same time
    Plan(Box<plan::PlanArgs>),
    /// Check that the collection contains exactly the data of a source
    Verify(Box<verify::VerifyArgs>),
    /// Write the collection as CSV, NDJSON, HL7 messages or FHIR resources; loading the file again writes nothing new
    Export(Box<export::ExportArgs>),
    /// Bring patients, visits and results up to date with the stored HL7 v2 messages
    Fold(Box<fold::FoldArgs>),
    /// Load each file of a folder when it is complete, and move it to done or rejected
    Watch(Box<watch::WatchArgs>),
    /// Receive HL7 v2 messages over MLLP, and data by HTTP; answer when they are stored durably
    Listen(Box<listen::ListenArgs>),
    /// Send HL7 v2 messages over MLLP, to try a receiver out
    Send(send::SendArgs),
    /// List the documents of one patient in all collections that you may read
    Patient(Box<patient::PatientArgs>),
    /// Generate synthetic admissions with the typical errors of hospital data
    Generate(generate::GenerateArgs),
    /// Set up a deployment: collection, validator, indexes, view, roles and users
    Provision(Box<provision::ProvisionArgs>),
    /// Examine a deployment step by step; report each problem and its remedy
    Doctor(Box<doctor::DoctorArgs>),
    /// List the loads of a database, or show how far a load is
    #[command(subcommand, after_help = runs::EXAMPLES)]
    Runs(runs::RunsCommand),
    /// Show a dataset spec, check it, or list its fields
    #[command(subcommand, after_help = spec::EXAMPLES)]
    Spec(spec::SpecCommand),
    /// Print a script that completes commands and options in a shell
    Completions(completions::CompletionsArgs),
    /// Write the manual pages, one for each command
    #[command(hide = true)]
    Man(completions::ManArgs),
}

/// Parses the command line and runs the command.
pub(crate) fn run() -> Result<ExitCode, Error> {
    limits::prepare();
    let command = match arguments::parse(std::env::args_os().collect())? {
        Parsed::Command(cli) => cli.command,
        Parsed::Ended(code) => return Ok(code),
    };
    match command {
        Command::Load(args) => args.run(),
        Command::Plan(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Export(args) => args.run(),
        Command::Fold(args) => args.run(),
        Command::Watch(args) => args.run(),
        Command::Listen(args) => args.run(),
        Command::Send(args) => args.run(),
        Command::Patient(args) => args.run(),
        Command::Generate(args) => args.run(),
        Command::Provision(args) => args.run(),
        Command::Doctor(args) => args.run(),
        Command::Runs(command) => command.run(),
        Command::Spec(command) => command.run(),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
    }
}

/// Runs a command that connects to a server. The first Ctrl-C or SIGTERM ends the command in the middle of its work.
/// Use this function only for a command that can then be run again from its beginning.
///
/// Ask questions to the user only inside `command`. Reason: while `command` runs, a signal at an open question restores
/// the terminal and ends the process.
fn run_async<T>(command: impl AsyncFnOnce(&Interrupt) -> Result<T, Error>) -> Result<T, Error> {
    run_gracefully("stopping", async |interrupt| {
        tokio::select! {
            result = command(interrupt) => result,
            () = interrupt.asked() => Err(Error::Interrupted),
        }
    })
}

/// Runs a command that connects to a server. The first Ctrl-C or SIGTERM does not stop the command: this function only
/// prints `notice` and sets the interrupt. The command reads the interrupt and decides when it stops. The second signal
/// ends the process immediately. If a question to the user is open, the first signal already ends the process.
fn run_gracefully<T>(
    notice: &'static str,
    command: impl AsyncFnOnce(&Interrupt) -> Result<T, Error>,
) -> Result<T, Error> {
    limits::require_for_server()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::Stopped(format!("cannot start threads: {error}")))?;
    let interrupt = Interrupt::default();
    // The signals are registered before the command starts. Otherwise, a signal during the first question of the
    // command could end the process without restoring the terminal.
    let signals = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)))
    };
    if let Ok((int, term)) = signals {
        runtime.spawn(await_signals(notice, interrupt.clone(), int, term));
    }
    let result = runtime.block_on(command(&interrupt));
    // The command has ended, but its result is not printed yet. After this call, the next signal ends the process at
    // once.
    interrupt.ask();
    // The tasks of the driver run until the process exits. They depend on each other, so a shutdown of the runtime
    // could stop one task and make another one panic.
    std::mem::forget(runtime);
    result
}

async fn await_signals(notice: &'static str, interrupt: Interrupt, mut int: Signal, mut term: Signal) {
    loop {
        tokio::select! { _ = int.recv() => (), _ = term.recv() => () };
        if prompt::abandon() {
            output::tell_as_it_is("\n");
            output::tell(&Error::Interrupted);
            std::process::exit(Error::Interrupted.exit_code().into());
        }
        if interrupt.is_asked() {
            remove_line();
            output::tell("stopped immediately");
            std::process::exit(1);
        }
        output::tell(format_args!("{notice}; press Ctrl-C again to stop immediately"));
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

    /// Parses a command line of `medlift` and returns the command.
    pub(super) fn command(arguments: &[&str]) -> Command {
        let typed = std::iter::once("medlift").chain(arguments.iter().copied());
        Cli::try_parse_from(typed).unwrap_or_else(|error| panic!("{error}")).command
    }

    /// Returns true if `medlift` accepts these arguments as a command.
    pub(super) fn is_accepted(arguments: &[&str]) -> bool {
        Cli::try_parse_from(std::iter::once("medlift").chain(arguments.iter().copied())).is_ok()
    }

    #[test]
    fn debug_output_of_a_command_shows_no_password() {
        for line in [
            &["load", "a.csv", "--uri", "mongodb://u:pa55@h/", "--password=pa55"][..],
            &["load", "mongodb://u:pa55@h/", "a.csv"],
            &["verify", "a.csv", "--password=pa55"],
            &["export", "mongodb://u:pa55@h/", "--password=pa55"],
            &["provision", "mongodb://u:pa55@h/", "--password=pa55"],
            &["doctor", "mongodb://u:pa55@h/", "--password=pa55"],
        ] {
            let shown = format!("{0:?} {0:#?}", command(line));
            assert!(!shown.contains("pa55"), "{line:?}");
        }
    }

    #[test]
    fn options_that_exclude_each_other_and_values_out_of_bounds_are_refused() {
        for line in [
            &["load", "a", "--stop-on-error", "--max-rejects", "1"][..],
            &["load", "a", "--quiet", "--verbose"],
            &["provision", "--plan", "--emit-init-js"],
            &["provision", "--to-files", "d"],
            &["provision", "--generate-missing", "--emit-init-js"],
            &["load", "a", "--batch-size", "0"],
            &["load", "a", "--batch-size", "100001"],
            &["load", "a", "-j", "0"],
            &["load", "a", "-j", "65"],
            &["load", "a", "--run-size", "0"],
            &["load", "a", "--run-size", "4097"],
            &["load", "a", "--lease-seconds", "0"],
            &["load", "a", "--lease-seconds", "86401"],
            &["load", "a", "--workers", "257"],
            &["load", "a", "--write-concern", "1"],
            &["load", "a", "--mode", "replace"],
            &["load", "a", "--type", "xml"],
            &["export", "--type", "tsv"],
            &["export", "--host", "h", "--uri", "mongodb://h"],
            &["export", "--port", "1", "--uri", "mongodb://h"],
            &["export", "--port", "0"],
            &["export", "--port", "65536"],
        ] {
            assert!(!is_accepted(line), "{line:?}");
        }
        for line in [
            &["load", "a", "--batch-size", "1"][..],
            &["load", "a", "--batch-size", "100000"],
            &["load", "a", "-j", "1"],
            &["load", "a", "-j", "64"],
            &["load", "a", "--run-size", "1"],
            &["load", "a", "--run-size", "4096"],
            &["load", "a", "--lease-seconds", "1"],
            &["load", "a", "--lease-seconds", "86400"],
            &["load", "a", "--workers", "0"],
            &["load", "a", "--workers", "256"],
            &["load", "a", "--write-concern", "majority"],
            &["load", "a", "--ssl", "--ssl-ca-file", "f", "--ssl-pem-key-file", "f"],
            &["load"],
            &["load", "a", "--headerline"],
            &["load", "a", "-vvv", "--verbose"],
            &["load", "a", "--type", "CSV", "--mode", "Upsert"],
            &["export", "--type", "Json"],
            &["load", "a", "--host", "rs0/h1,h2", "--port", "1"],
            &["export", "--query", "{}", "--config", "f"],
            &["export", "-q", "{}"],
            &["provision", "--plan", "--generate-missing", "mongodb://h"],
            &["provision", "--generate-missing=f"],
            &["provision", "--generate-missing", "--to-files", "d"],
        ] {
            assert!(is_accepted(line), "{line:?}");
        }
    }

    #[test]
    fn no_help_shows_markdown() {
        use clap::CommandFactory;
        fn check(command: &mut clap::Command) {
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                assert!(!help.contains('`') && !help.contains("](") && !help.contains("**"), "{help}");
            }
            command.get_subcommands_mut().for_each(check);
        }
        check(&mut Cli::command());
    }

    #[test]
    fn only_the_options_of_the_connection_have_its_heading() {
        use clap::{Args, CommandFactory};
        let ids = |command: &clap::Command| -> Vec<String> {
            let arguments = command.get_arguments().filter(|found| found.get_help_heading() == Some("Connection"));
            arguments.map(|found| found.get_id().to_string()).collect()
        };
        let expected = ids(&connection::ConnectionArgs::augment_args(clap::Command::new("x")));
        for command in Cli::command().get_subcommands().filter(|command| !ids(command).is_empty()) {
            assert_eq!(ids(command), expected, "{}", command.get_name());
        }
    }

    #[test]
    fn the_help_lists_the_exit_codes() {
        for part in [
            "0 success",
            "1 failed",
            "2 wrong usage",
            "3 cannot connect",
            "4 loaded with rejects",
            "5 verification",
            "6 stopped",
        ] {
            assert!(AFTER_HELP.contains(part), "{part}");
        }
    }
}
