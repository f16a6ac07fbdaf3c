//! What can go wrong in a developer command: always told as what was being done and why it failed.

use std::io;

/// A developer command's result.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a developer command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// A server answered a command with an error.
    #[error("the server refused {command}: {message} (code {code})")]
    Command {
        /// The command's name.
        command: String,
        /// The server's error code, 0 if it gave none.
        code: i32,
        /// The server's own words.
        message: String,
    },
    /// Anything else, said in full.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// A failure that is fully told by `message`.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

/// Adds to an I/O error what was being done.
pub trait Doing<T> {
    /// Turns the error into [`Error::Io`] with what was being done.
    fn doing(self, doing: impl Fn() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl Fn() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}
