//! The contenders, which are the programs that the benchmark compares: the command line of each, and what is done
//! before it runs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bson::{Document, doc};

use crate::inputs::{self, Inputs};
use crate::replay::Pace;
use crate::stand::{COLLECTION, DATABASE};

const DURABLE: &str = "{w: \"majority\", j: true}";

/// One program that is measured.
#[derive(Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    /// Steps before each measurement. Their time is not measured.
    pub(crate) prepare: Vec<Step>,
    pub(crate) command: Vec<String>,
    /// Further commands that start at the same moment as `command`.
    pub(crate) beside: Vec<Vec<String>>,
    /// Exit codes of a successful run.
    pub(crate) accepted: &'static [i64],
}

/// A step before a measurement.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Drop the database.
    Drop,
    /// Run a program.
    Run(Vec<String>),
    /// Run a command of the server.
    Command(Document),
    /// Make an empty directory. If the directory exists, its files are removed.
    Empty(PathBuf),
}

/// The server and the programs from which contenders are made.
#[derive(Debug, Clone)]
pub(crate) struct Tools<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) uri: String,
    pub(crate) address: SocketAddr,
}

impl Contender {
    fn new(name: impl Into<String>, command: Vec<String>) -> Self {
        Self { name: name.into(), prepare: vec![Step::Drop], command, beside: Vec::new(), accepted: &[0] }
    }

    /// Sets the steps before each measurement. Without this call, the only step is to drop the database.
    pub(crate) fn after(mut self, prepare: Vec<Step>) -> Self {
        self.prepare = prepare;
        self
    }

    /// Returns the commands that start at the same moment.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.command).chain(&self.beside)
    }
}

impl Tools<'_> {
    /// The floor, which measures the server alone: sends the encoded documents of a file.
    pub(crate) fn floor(&self, name: &str, documents: &Path, pace: Pace) -> Contender {
        let mut command = vec![text(&self.inputs.replay)];
        command.extend(pace.arguments(self.address, documents));
        Contender::new(name, command)
    }

    /// `medlift load` with additional arguments. Exit code 4, which means that rows were rejected, is accepted.
    pub(crate) fn medlift(&self, name: &str, csv: &Path, arguments: &[&str]) -> Contender {
        let command = self.medlift_command("load", csv, &[&["--yes", "--no-verify"], arguments].concat());
        Contender { accepted: &[0, 4], ..Contender::new(name, command) }
    }

    /// `medlift load` as a user types it: with the built-in spec's indexes and validator, and with the proof.
    pub(crate) fn default_load(&self, csv: &Path) -> Contender {
        let command = self.medlift_command("load", csv, &["--yes"]);
        Contender { accepted: &[0, 4], ..Contender::new("medlift load (default)", command) }
    }

    /// `medlift verify` of the documents that the previous contender loaded.
    pub(crate) fn verify(&self, csv: &Path, arguments: &[&str]) -> Contender {
        Contender::new("medlift verify", self.medlift_command("verify", csv, arguments)).after(Vec::new())
    }

    /// A Medlift command without `--collection`: it uses the collections that the spec names.
    pub(crate) fn medlift_into_own(&self, name: &str, verb: &str, source: &Path, arguments: &[&str]) -> Contender {
        Contender { accepted: &[0, 4], ..Contender::new(name, self.command(verb, source, arguments)) }
    }

    fn medlift_command(&self, verb: &str, csv: &Path, arguments: &[&str]) -> Vec<String> {
        self.command(verb, csv, &[&["--collection", COLLECTION], arguments].concat())
    }

    fn command(&self, verb: &str, source: &Path, arguments: &[&str]) -> Vec<String> {
        let mut command = vec![text(&self.inputs.medlift), verb.to_owned(), text(source)];
        command.extend(["--uri", &self.uri, "--db", DATABASE, "--json", "--quiet"].map(str::to_owned));
        command.extend(arguments.iter().map(|&argument| argument.to_owned()));
        command
    }

    /// `medlift load --manifest` by this number of workers. Their reject files are in the directory `rejects`, which is
    /// emptied first. Reason: the database is dropped, so its ledger no longer knows the files of the previous
    /// contender, and Medlift does not overwrite such files.
    pub(crate) fn workers(&self, name: &str, manifest: &Path, rejects: &Path, workers: u64) -> Contender {
        let mut all = (0..workers).map(|index| {
            let mut command = vec![text(&self.inputs.medlift), "load".to_owned()];
            let pairs = [("--manifest", text(manifest)), ("--uri", self.uri.clone()), ("--rejects", text(rejects))];
            command.extend(pairs.into_iter().flat_map(|(option, value)| [option.to_owned(), value]));
            command.extend(["--db", DATABASE, "--json", "--quiet", "--no-verify"].map(str::to_owned));
            if workers > 1 {
                command.extend(["--index".to_owned(), index.to_string(), "--of".to_owned(), workers.to_string()]);
            }
            command
        });
        let contender = Contender::new(name, all.next().unwrap_or_default());
        let prepare = vec![Step::Drop, Step::Empty(rejects.to_owned())];
        Contender { accepted: &[0, 4], beside: all.collect(), prepare, ..contender }
    }

    /// The benchmark program itself: sends commands to a ledger of its own (see [`ledger`](crate::ledger)).
    pub(crate) fn ledger(&self, name: &str, kind: &str) -> Contender {
        let command = [text(&self.inputs.replay), "ledger".to_owned(), self.address.to_string(), kind.to_owned()];
        Contender::new(name, command.into())
    }

    /// One of the Python programs in `benches/`, run by the interpreter `python`.
    pub(crate) fn python(&self, name: &str, python: &Path, program: &str, csv: &Path) -> Contender {
        let program = inputs::program(program);
        let arguments = [text(python), text(&program), text(csv), self.uri.clone()];
        let target = [DATABASE, COLLECTION].map(str::to_owned);
        Contender::new(name, arguments.into_iter().chain(target).collect())
    }

    /// `mongoimport` of a file without a header, with typed columns and this number of workers.
    pub(crate) fn mongoimport(&self, name: &str, program: &Path, file: &Path, fields: &str, workers: u32) -> Contender {
        let workers = workers.to_string();
        let file = text(file);
        // Not all versions of mongoimport accept a connection string together with a database. All accept a host.
        let host = self.address.to_string();
        let pairs = [
            ("--host", host.as_str()),
            ("--db", DATABASE),
            ("--collection", COLLECTION),
            ("--type", "csv"),
            ("--fields", fields),
            ("--file", &file),
            ("--numInsertionWorkers", &workers),
            ("--writeConcern", DURABLE),
        ];
        let mut command = vec![text(program), "--quiet".to_owned(), "--columnsHaveTypes".to_owned()];
        command.extend(pairs.iter().flat_map(|&(option, value)| [option.to_owned(), value.to_owned()]));
        Contender::new(name, command)
    }
}

/// Removes all documents and keeps indexes and validator.
pub(crate) fn empty_collection() -> Step {
    Step::Command(doc! { "delete": COLLECTION, "deletes": [{ "q": {}, "limit": 0 }], "$db": DATABASE })
}

/// Creates an index on these fields. Without an index, mongoimport's upsert would scan the collection for each row.
pub(crate) fn index_on(fields: &[&str]) -> Step {
    let key: Document = fields.iter().map(|&field| (field.to_owned(), 1.into())).collect();
    Step::Command(doc! {
        "createIndexes": COLLECTION, "indexes": [{ "key": key, "name": "by_upsert_fields" }], "$db": DATABASE,
    })
}

/// Converts a path to an argument. Bytes that are not UTF-8 are replaced.
fn text(path: &Path) -> String {
    path.display().to_string()
}
