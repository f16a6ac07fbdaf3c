//! Errors in a spec.

use std::io;
use std::path::PathBuf;

/// A spec that cannot be used. The message has the form `file:line: key: problem; remedy`.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file could not be read.
    #[error("{}: reading the dataset spec: {source}; give the path of a readable TOML file", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("{origin}:{line}: not valid TOML: {problem}; correct the syntax there")]
    NotToml {
        /// The origin of the spec.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// The message of the TOML parser.
        problem: String,
    },
    /// The spec describes several kinds of documents, and one is expected.
    #[error("{origin}: the spec describes several documents; this command takes a spec with one")]
    SeveralDocuments {
        /// The origin of the spec.
        origin: String,
    },
    /// A key is missing or unknown, or has an invalid value.
    #[error("{origin}:{line}: {key}: {problem}; {remedy}")]
    Wrong {
        /// The origin of the spec.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// Dotted key, e.g. `field."Blood Type".values`.
        key: String,
        /// A description of the error.
        problem: String,
        /// How to correct it.
        remedy: String,
    },
}
