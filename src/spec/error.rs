//! Why a spec was refused.

use std::io;
use std::path::PathBuf;

/// A spec that cannot be used. It renders as `file:line: key: what is wrong; what would be right`.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file could not be read.
    #[error("{}: reading the dataset spec: {source}; give the path of a readable TOML file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not TOML.
    #[error("{origin}:{line}: not valid TOML: {problem}; correct the syntax there")]
    NotToml {
        /// Where the spec came from.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// What the TOML parser said.
        problem: String,
    },
    /// A key is missing, unknown, or says something that cannot be.
    #[error("{origin}:{line}: {key}: {problem}; {remedy}")]
    Wrong {
        /// Where the spec came from.
        origin: String,
        /// Line, from 1.
        line: usize,
        /// Dotted key, e.g. `field."Blood Type".values`.
        key: String,
        /// What is wrong.
        problem: String,
        /// What would be right.
        remedy: String,
    },
}
