//! Decides how a command of a document is checked.

use std::fs;
use std::path::Path;

use super::words::words;

/// How a command is checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The command is run, and must succeed.
    Run,
    /// The options of this `medlift` command are checked, but it is not run.
    Parsed { command: String, reason: &'static str },
    /// The command was checked. It is not run.
    Checked { reason: &'static str },
    /// The check found an error.
    Wrong(String),
    /// This file has no rule for the command, so the test fails.
    Unknown,
}

/// A `medlift` command that contains one of these texts cannot be run in a test. The second text is the reason.
const ONLY_PARSED: &[(&str, &str)] = &[
    (" -p ", "asks for a password"),
    (" > ~/", "writes into the home directory"),
    ("medlift runs show ", "needs the id of a load"),
    ("medlift watch ", "runs until it is stopped"),
    ("medlift listen ", "runs until it is stopped"),
    ("medlift send ", "needs a receiver"),
];

/// Beginnings of commands of other programs that are not checked.
const NOT_CHECKED: &[(&str, &str)] = &[
    ("cargo bench", "takes minutes"),
    ("cargo cyclonedx ", "needs a program that is not installed"),
    ("cargo install ", "takes minutes"),
    ("cargo test ", "would start these tests again"),
    ("docker build ", "needs a container engine"),
    ("sbatch ", "needs a Slurm cluster"),
];

const NO_ENGINE: &str = "needs a container engine";

const COMPOSE_COMMANDS: &[&str] =
    &["build", "config", "down", "exec", "kill", "logs", "ps", "restart", "run", "stop", "up"];

/// Options of `docker compose run`, `exec` and `kill` that are followed by a value.
const COMPOSE_VALUES: &[&str] = &["--entrypoint", "-e", "--env", "-s", "--tail", "--user", "-v", "--volume"];

/// Options of mongosh that are followed by a value.
const MONGOSH_VALUES: &[&str] =
    &["--authenticationDatabase", "--eval", "--host", "--port", "--tlsCAFile", "-u", "--username"];

/// Options of mongosh without a value. `-p` without a value asks for the password.
const MONGOSH_FLAGS: &[&str] = &["-p", "--password", "--quiet", "--tls"];

impl Kind {
    pub(super) fn of(command: &str) -> Self {
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // A command can begin with variables, as in `NAME=value medlift load`.
        let program = words.iter().position(|word| !word.contains('=')).unwrap_or_default();
        let checked = match words[program..] {
            ["medlift", ..] => Ok(of_medlift(command)),
            ["cargo", "xtask", ref arguments @ ..] => xtask(arguments),
            ["docker", "compose", ref arguments @ ..] => compose(arguments),
            ["mongosh", ref arguments @ ..] => mongosh(arguments, "needs a shell of MongoDB"),
            _ => Ok(of_other(&words.join(" "))),
        };
        checked.unwrap_or_else(Self::Wrong)
    }
}

fn of_medlift(command: &str) -> Kind {
    let found = ONLY_PARSED.iter().find(|(part, _)| command.contains(part));
    found.map_or(Kind::Run, |(_, reason)| Kind::Parsed { command: command.to_owned(), reason })
}

fn of_other(command: &str) -> Kind {
    let found = NOT_CHECKED.iter().find(|(beginning, _)| format!("{command} ").starts_with(beginning));
    found.map_or(Kind::Unknown, |(_, reason)| Kind::Checked { reason })
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of the repository")
}

/// Checks that `cargo xtask` lists the command, and that the source code contains the command's options.
fn xtask(arguments: &[&str]) -> Result<Kind, String> {
    let usage = read("xtask/src/main.rs");
    let sources = [read("xtask/src/mutants.rs"), read("benchmark/src/options.rs")].concat();
    let (command, options) = arguments.split_first().ok_or("a command is missing")?;
    let has_options = || options.iter().all(|word| !word.starts_with("--") || sources.contains(&format!("\"{word}\"")));
    let lists = |line: &str| {
        let Some(listed) = line.strip_prefix("  ").map(str::trim_start) else { return false };
        let takes_options = listed.starts_with(&format!("{command} [OPTION…]")) && has_options();
        // A line begins with the names of a command. The description follows: `test, ci   everything that CI runs`.
        takes_options
            || listed.split(", ").any(|name| format!("{name} ").starts_with(&format!("{} ", arguments.join(" "))))
    };
    if usage.lines().any(lists) {
        return Ok(Kind::Checked { reason: "is a command for developers" });
    }
    Err("`cargo xtask` does not list this command, or has no such option".to_owned())
}

/// Checks that compose.yaml has the service, and checks the command that runs in its container.
fn compose(arguments: &[&str]) -> Result<Kind, String> {
    let done = Ok(Kind::Checked { reason: NO_ENGINE });
    let (command, rest) = arguments.split_first().ok_or("a command is missing")?;
    if !COMPOSE_COMMANDS.contains(command) {
        return Err(format!("`docker compose {command}` is not known"));
    }
    let at = first_operand(rest, COMPOSE_VALUES);
    let Some(service) = rest.get(at) else { return done };
    if !services(&read("compose.yaml")).iter().any(|known| known == service) {
        return Err(format!("compose.yaml has no service {service}"));
    }
    match (&rest[..at], *service, &rest[at + 1..]) {
        (_, _, ["mongosh", arguments @ ..]) => mongosh(arguments, NO_ENGINE),
        (options, "app", arguments) if *command == "run" && !options.contains(&"--entrypoint") => {
            Ok(Kind::Parsed { command: format!("medlift {}", arguments.join(" ")), reason: NO_ENGINE })
        }
        _ => done,
    }
}

/// Returns the position of the first operand: it is neither an option nor the value of an option.
fn first_operand(words: &[&str], with_values: &[&str]) -> usize {
    let mut at = 0;
    while words.get(at).is_some_and(|word| word.starts_with('-')) {
        at += if with_values.contains(&words[at]) { 2 } else { 1 };
    }
    at
}

/// Returns the names of the services in compose.yaml.
fn services(compose: &str) -> Vec<String> {
    let inside = compose.lines().skip_while(|line| *line != "services:").skip(1);
    let inside = inside.take_while(|line| line.is_empty() || line.starts_with(' '));
    let name = |line: &str| Some(line.strip_prefix("  ")?.strip_suffix(':')?.to_owned());
    inside.filter_map(name).filter(|name| !name.starts_with([' ', '#'])).collect()
}

/// Checks the options, and that the command names a database. Without a name, mongosh opens the database `test`.
fn mongosh(arguments: &[&str], reason: &'static str) -> Result<Kind, String> {
    let (mut operands, mut at) = (Vec::new(), 0);
    while let Some(word) = arguments.get(at) {
        at += 1;
        match *word {
            option if MONGOSH_VALUES.contains(&option) => at += 1,
            option if MONGOSH_FLAGS.contains(&option) => (),
            option if option.starts_with('-') => return Err(format!("mongosh option {option} is not known")),
            operand => operands.push(operand),
        }
    }
    let [database] = operands[..] else { return Err("mongosh needs one database or connection string".to_owned()) };
    let names_database = database.split_once("://").is_none_or(|(_, address)| {
        address.split_once('/').is_some_and(|(_, path)| !path.is_empty() && !path.starts_with('?'))
    });
    if names_database { Ok(Kind::Checked { reason }) } else { Err(format!("{database} does not name a database")) }
}

#[test]
fn a_command_that_cannot_work_is_found() {
    let is_wrong = |command: &str| matches!(Kind::of(command), Kind::Wrong(_));
    for command in [
        "cargo xtask nonsense",
        "cargo xtask demo --start",
        "cargo xtask bench --no-such-option 1",
        "docker compose begin",
        "docker compose run --rm application",
        "docker compose exec mongo mongosh -u reader -p",
        "mongosh mongodb://h:1/?x=/y",
        "mongosh --nonsense hospital",
    ] {
        assert!(is_wrong(command), "{command}");
    }
    for command in [
        "cargo xtask demo --stop    # why",
        "cargo xtask bench --only load",
        "docker compose up",
        "docker compose run --rm --no-deps --entrypoint cat provision /run/x",
        "docker compose exec mongo mongosh -u reader -p hospital",
        "mongosh 'mongodb://h:1/hospital?x=y'",
    ] {
        assert!(matches!(Kind::of(command), Kind::Checked { .. }), "{command}: {:?}", Kind::of(command));
    }
    assert_eq!(Kind::of("NAME=value medlift load a.csv"), Kind::Run);
    assert_eq!(Kind::of("kubectl apply -f x"), Kind::Unknown);
    let parsed = Kind::Parsed { command: "medlift load /data/x".to_owned(), reason: NO_ENGINE };
    assert_eq!(Kind::of("docker compose run --rm app load /data/x"), parsed);
}
