//! The server: settings, secrets, connections, repeated calls, and the meaning of failures.
//!
//! Every error of the server is reduced here to its code and to messages written here (see [`Failure`]), because the
//! server's messages quote documents with patients' data. This module knows neither the spec nor the data.

pub mod codes;
mod connect;
mod diagnose;
mod failure;
mod patience;
mod secret;
mod settings;
mod uri;

use std::path::PathBuf;

pub use connect::{Connection, Destination, Purpose, Target};
pub(crate) use connect::{address, are_on_this_machine};
pub use failure::{CertificateFault, Failure, SignIn, Unreachable};
pub use patience::ATTEMPTS_MAX;
pub(crate) use patience::{patiently, pause};
pub use secret::Secret;
pub use settings::{Account, Settings};
pub use uri::{is_connection_string, may_hold_password};

/// Returns the name of the collection for leases, for the identities of collections, and for lists of refused
/// records. It is stored beside the ledger.
pub fn leases_of(ledger: &str) -> String {
    format!("{ledger}.leases")
}

/// The reason why the deployment cannot be used. No variant contains a password or a text from the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The connection string cannot be used.
    #[error("cannot use the connection string: {problem}")]
    Uri {
        /// The problem and its remedy.
        problem: String,
    },
    /// A setting is missing or wrong.
    #[error("{setting}: {problem}")]
    Setting {
        /// The name of the setting on the command line or in the environment.
        setting: String,
        /// The problem and its remedy.
        problem: String,
    },
    /// `.env` cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    EnvFile {
        /// The path of the file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// The file that a `…_FILE` variable names cannot be read.
    #[error(
        "cannot read the file that {variable} names: {problem}; it must be the path of a file with the secret in it"
    )]
    SecretFile {
        /// The variable. Its value is not shown, because by mistake it may be the secret itself.
        variable: String,
        /// The problem.
        problem: String,
    },
    /// A secret is given both directly and as a file.
    #[error("both {name} and {name}_FILE are set; keep one of them")]
    SetTwice {
        /// The name of the variable without `_FILE`.
        name: String,
    },
    /// A user is named without a password.
    #[error("{user} is set, but neither {password} nor {password}_FILE is; set one of them")]
    PasswordUnset {
        /// The variable for the user's name.
        user: &'static str,
        /// The variable for the password.
        password: &'static str,
    },
    /// The users cannot be created with the given settings.
    #[error("cannot make the users: {problems}; set each in the environment, in .env or as a …_FILE")]
    Users {
        /// All variables that are missing or contain a weak password.
        problems: String,
    },
    /// The server cannot be reached, or refuses the sign-in.
    #[error("cannot connect to {address}: {failure}")]
    Connect {
        /// Hosts and ports.
        address: String,
        /// The cause and its remedy.
        failure: Failure,
    },
    /// The collection's validator has the action `warn`.
    #[error(
        "the validator of {collection} only warns: the server would write documents that break it, whole, into its log; \
         set it to refuse them with `medlift provision`, or db.runCommand({{ collMod: …, validationAction: \"error\" }})"
    )]
    ValidatorWarns {
        /// Database and collection.
        collection: String,
    },
    /// An index of the spec conflicts with an existing index of the collection.
    #[error("cannot build the index `{index}` of {collection}: it has {clash}; drop that index, or change the spec")]
    IndexClash {
        /// The name of the spec's index.
        index: String,
        /// Database and collection.
        collection: String,
        /// The existing index.
        clash: String,
    },
    /// A command failed.
    #[error("cannot {doing}: {failure}")]
    Command {
        /// The operation and its object.
        doing: String,
        /// The cause and its remedy.
        failure: Failure,
    },
}

impl ServerError {
    /// Creates the error for a failed command. `doing` describes the operation, e.g. "read the indexes of
    /// hospital.admissions".
    pub fn of(doing: String, error: &mongodb::error::Error) -> Self {
        Self::Command { doing, failure: Failure::of(error) }
    }

    /// Returns the failure of the connection or the command, if the error is one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Connect { failure, .. } | Self::Command { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// Returns the exit code of a command that stops with this error: 3 if the connection failed, the failure's own
    /// code for a failed command, 1 for a validator that only warns or a conflicting index, and 2 for a wrong
    /// setting.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Connect { .. } => 3,
            Self::Command { failure, .. } => failure.exit_code(),
            Self::ValidatorWarns { .. } | Self::IndexClash { .. } => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_exit_code() {
        let text = || "x".to_owned();
        let connect = |failure| ServerError::Connect { address: text(), failure };
        let command = |failure| ServerError::Command { doing: text(), failure };
        let check = |error: ServerError, code: u8| assert_eq!(error.exit_code(), code, "{error}");
        check(ServerError::Uri { problem: text() }, 2);
        check(ServerError::Setting { setting: text(), problem: text() }, 2);
        check(ServerError::EnvFile { path: PathBuf::new(), problem: text() }, 2);
        check(ServerError::SecretFile { variable: text(), problem: text() }, 2);
        check(ServerError::SetTwice { name: text() }, 2);
        check(ServerError::PasswordUnset { user: "u", password: "p" }, 2);
        check(ServerError::Users { problems: text() }, 2);
        check(connect(Failure::Timeout), 3);
        check(connect(Failure::SignIn(SignIn::Refused)), 3);
        check(command(Failure::SignIn(SignIn::Refused)), 3);
        check(command(Failure::Unreachable(Unreachable::Lost)), 3);
        check(command(Failure::NotAuthorized { command: None }), 1);
        check(ServerError::ValidatorWarns { collection: text() }, 1);
        check(ServerError::IndexClash { index: text(), collection: text(), clash: text() }, 1);
        assert_eq!(connect(Failure::Timeout).failure(), Some(&Failure::Timeout));
        assert_eq!(command(Failure::Timeout).failure(), Some(&Failure::Timeout));
        assert!(ServerError::Users { problems: text() }.failure().is_none());
        assert_eq!(leases_of("runs"), "runs.leases");
    }
}
