//! Errors of a spec: its file cannot be read, its text is wrong, or a command cannot work with it. Each message says
//! what to do.

use std::io;
use std::path::PathBuf;

use crate::wording::file_problem;

/// The error for a spec that cannot be used. If a key is wrong, the message has the form `file:line: key: problem;
/// remedy`.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("{}: reading the dataset spec: {}; give the path of a readable TOML file", path.display(), file_problem(.source))]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The text is not valid TOML.
    #[error("{origin}:{line}: not valid TOML: {problem}; correct the syntax there")]
    NotToml {
        /// The name of the text: a path, or `built-in:admissions`.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// The message of the TOML parser.
        problem: String,
    },
    /// The spec describes several kinds of documents, but the command works with only one.
    #[error(
        "{origin}: the spec describes several kinds of documents, but this command works with one kind; give a spec of one kind"
    )]
    SeveralDocuments {
        /// The name of the text.
        origin: String,
    },
    /// A key is missing or unknown, or has an invalid value.
    #[error("{origin}:{line}: {key}: {problem}; {remedy}")]
    Wrong {
        /// The name of the text.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// The dotted key, e.g. `field."Blood Type".values`.
        key: String,
        /// The problem, e.g. `the list is empty`.
        problem: String,
        /// The remedy, e.g. `list it once`.
        remedy: String,
    },
    /// The spec has several errors.
    #[error("{}\n{} errors in {origin}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), errors.len())]
    Several {
        /// The name of the text.
        origin: String,
        /// The errors, in the order of their lines.
        errors: Vec<SpecError>,
    },
}

impl SpecError {
    /// Returns the line of the error, from 1. Returns 0 if the error has no line.
    pub(super) const fn line(&self) -> usize {
        match self {
            Self::NotToml { line, .. } | Self::Wrong { line, .. } => *line,
            _ => 0,
        }
    }
}
