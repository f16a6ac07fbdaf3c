//! Errors of developer commands. Each says what was being done and why it failed.

use std::io;

/// The result of a developer command.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a developer command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An I/O operation failed.
    #[error("{doing}: {source}")]
    Io {
        /// The operation and its object.
        doing: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// A server answered a command with an error.
    #[error("the server refused {command}: {message} (code {code})")]
    Command {
        /// The command's name.
        command: String,
        /// The server's error code, 0 if it gave none.
        code: i32,
        /// The server's message.
        message: String,
    },
    /// Any other failure, with its complete message.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// An error with only a message.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

/// Adds to an I/O error the operation that failed.
pub trait Doing<T> {
    /// Converts the error into [`Error::Io`] with the operation that failed.
    fn doing(self, doing: impl Fn() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl Fn() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}
