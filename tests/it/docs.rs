//! Runs the commands in the documents and in the help texts, and compares the documents with the program.
//!
//! In the documents, an indented block contains commands. Any other block has a fence with the name of its language.
//! [`Kind::of`] decides how a command is checked. A command that it does not know fails the test.

mod blocks;
mod help;
mod kinds;
mod links;
mod messages;
mod runner;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use blocks::Command;
use kinds::Kind;
use runner::Desk;

/// Returns the repository's root. If it contains no documents, prints a message and returns `None`: the containers that
/// run the tests are built without documents.
fn root() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let found = root.join("README.md").is_file().then_some(root);
    if found.is_none() {
        eprintln!("skipped: there are no documents here");
    }
    found
}

/// Returns the documents that contain commands: their names and their texts.
fn documents(root: &Path) -> Vec<(String, String)> {
    let in_docs = fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|name| root.join(name))
        .into_iter()
        .chain(in_docs)
        .collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "md"));
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("inside the repository").display().to_string();
        (name, fs::read_to_string(path).expect("the document is read"))
    };
    paths.into_iter().map(read).collect()
}

/// The result of checking the commands of a text: a line for each command that does not work, and a line for each
/// command that was not run.
#[derive(Debug, Default)]
struct Report {
    problems: Vec<String>,
    not_run: Vec<String>,
}

/// Checks the commands of a text in their order, in one directory and one database.
fn check(desk: &Desk, name: &str, commands: &[Command]) -> Report {
    let mut report = Report::default();
    for Command { line, text } in commands {
        let place = format!("{name}:{line}: {text}");
        let checked = match Kind::of(text) {
            Kind::Run => desk.run(text),
            Kind::Parsed { command, reason } => {
                report.not_run.push(format!("only its options were checked, because it {reason}: {place}"));
                desk.parse(&command)
            }
            Kind::Checked { reason } => {
                report.not_run.push(format!("not run, because it {reason}: {place}"));
                Ok(())
            }
            Kind::Wrong(problem) => Err(problem),
            Kind::Unknown => {
                Err("say in tests/it/docs/kinds.rs how to check this command; if it is not a command, put its \
                                  block between ```text and ```"
                    .to_owned())
            }
        };
        report.problems.extend(checked.err().map(|problem| format!("{place}\n    {problem}")));
    }
    report
}

#[test]
fn every_command_of_the_documents_works() {
    let Some(root) = root() else { return };
    let documents = documents(&root);
    let check_one = |(name, text): &(String, String)| check(&Desk::new(), name, &blocks::commands(name, text));
    let reports: Vec<Report> = thread::scope(|scope| {
        let running: Vec<_> = documents.iter().map(|document| scope.spawn(|| check_one(document))).collect();
        running.into_iter().map(|thread| thread.join().expect("a document is checked")).collect()
    });
    reports.iter().flat_map(|report| &report.not_run).for_each(|line| println!("{line}"));
    let problems: Vec<String> = reports.into_iter().flat_map(|report| report.problems).collect();
    assert!(problems.is_empty(), "these commands do not work:\n{}", problems.join("\n"));
}

#[test]
fn every_command_within_a_sentence_has_options_that_exist() {
    let Some(root) = root() else { return };
    let desk = Desk::new();
    for (name, text) in documents(&root) {
        for Command { line, text } in blocks::within_sentences(&text) {
            desk.parse(&text).unwrap_or_else(|problem| panic!("{name}:{line}: {text}\n{problem}"));
        }
    }
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let Some(root) = root() else { return };
    let broken: Vec<String> =
        documents(&root).iter().flat_map(|(name, text)| links::broken(&root.join(name), text)).collect();
    assert!(broken.is_empty(), "these links lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn every_command_has_two_examples_in_its_help_and_they_work() {
    let desk = Desk::new();
    for command in help::commands() {
        let name = format!("medlift {} --help", command.join(" "));
        let examples = help::examples(&command);
        assert!(examples.len() >= 2, "{name} must show two examples");
        let problems = check(&desk, &name, &examples).problems;
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

#[test]
fn help_fits_its_width() {
    for command in help::commands() {
        for columns in [80, 110] {
            for line in help::text(&command, columns).lines() {
                assert!(line.chars().count() <= columns, "medlift {} --help: {line}", command.join(" "));
            }
        }
    }
}

#[test]
fn the_troubleshooting_page_has_every_message() {
    let Some(root) = root() else { return };
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).expect("the page");
    let missing = messages::missing(&root.join("src"), &page);
    assert!(missing.is_empty(), "docs/troubleshooting.md lacks these messages:\n{}", missing.join("\n"));
}
