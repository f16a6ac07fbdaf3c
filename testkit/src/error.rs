//! Errors of developer commands. Each names the operation that failed and the reason.

use std::io;

/// The result of a developer command.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a developer command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An I/O operation failed.
    #[error("{doing}: {source}")]
    Io {
        /// The operation, for example `starting /usr/bin/mongod`.
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
    /// Creates an error that has only a message.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

/// Adds the name of the failed operation to an I/O error.
pub trait Doing<T> {
    /// Converts an I/O error into [`Error::Io`]. `doing` names the operation; it is called only if there is an error.
    fn doing(self, doing: impl Fn() -> String) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl Fn() -> String) -> Result<T> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}
