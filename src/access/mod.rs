//! Who may do what: connections, users, roles, validators and indexes; wanted state against actual state.
//!
//! Every error of the server is reduced here to its code and our own words (see [`Failure`]): the server's texts quote
//! documents, and documents are patients. This room never writes patient data and never reads it, except for the count
//! of documents that break the validator.

pub mod codes;
mod connect;
mod diagnose;
pub mod doctor;
mod failure;
mod indexes;
mod patience;
mod pattern;
pub mod provision;
pub mod schema;
mod secret;
mod settings;
mod uri;

use std::path::PathBuf;

pub use connect::{Connection, Destination, Purpose, Target};
pub use failure::{CertificateFault, Failure, SignIn, Unreachable};
pub use patience::{ATTEMPTS_MAX, patiently, pause};
pub use secret::Secret;
pub use settings::{Account, Settings};
pub use uri::{is_connection_string, may_hold_password};

/// The collection beside the ledger for leases, the identities of collections, and lists of refused records.
pub fn leases_of(ledger: &str) -> String {
    format!("{ledger}.leases")
}

/// Why the deployment cannot be used. No variant carries a password or a text of the server.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The connection string cannot be used.
    #[error("cannot use the connection string: {problem}")]
    Uri {
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A setting is missing or wrong.
    #[error("{setting}: {problem}")]
    Setting {
        /// Its name on the command line or in the environment.
        setting: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// `.env` cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A `…_FILE` secret cannot be read.
    #[error(
        "cannot read the file that {variable} names: {problem}; it must be the path of a file with the secret in it"
    )]
    SecretFile {
        /// The variable. Its value is not shown: it may be the secret itself, by mistake.
        variable: String,
        /// What is wrong.
        problem: String,
    },
    /// A secret is given as itself and as a file.
    #[error("both {name} and {name}_FILE are set; keep one of them")]
    SetTwice {
        /// The variable.
        name: String,
    },
    /// A user is named without a password.
    #[error("{user} is set, but neither {password} nor {password}_FILE is; set one of them")]
    PasswordUnset {
        /// The user's variable.
        user: &'static str,
        /// The password's variable.
        password: &'static str,
    },
    /// Users cannot be made as they are set.
    #[error("cannot make the users: {problems}; set each in the environment, in .env or as a …_FILE")]
    Users {
        /// Every variable that is missing or weak.
        problems: String,
    },
    /// The server cannot be reached or refuses the sign-in.
    #[error("cannot connect to {address}: {failure}")]
    Connect {
        /// Hosts and ports.
        address: String,
        /// What is wrong and what to do.
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
    /// An index of the spec cannot be built beside one that the collection has.
    #[error("cannot build the index `{index}` of {collection}: it has {clash}; drop that index, or change the spec")]
    IndexClash {
        /// The spec's index.
        index: String,
        /// Database and collection.
        collection: String,
        /// The index in its way.
        clash: String,
    },
    /// A command failed.
    #[error("cannot {doing}: {failure}")]
    Command {
        /// What was being done, to what.
        doing: String,
        /// What is wrong and what to do.
        failure: Failure,
    },
}

impl AccessError {
    /// A command that failed while `doing` something, e.g. "read the indexes of hospital.admissions".
    pub fn of(doing: String, error: &mongodb::error::Error) -> Self {
        Self::Command { doing, failure: Failure::of(error) }
    }

    /// The failure of the command that was sent, if it was one.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Connect { failure, .. } | Self::Command { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// The exit code of a command that stops with this error: 2 for a wrong setting, else the failure's.
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
        let connect = |failure| AccessError::Connect { address: text(), failure };
        let command = |failure| AccessError::Command { doing: text(), failure };
        let check = |error: AccessError, code: u8| assert_eq!(error.exit_code(), code, "{error}");
        check(AccessError::Uri { problem: text() }, 2);
        check(AccessError::Setting { setting: text(), problem: text() }, 2);
        check(AccessError::EnvFile { path: PathBuf::new(), problem: text() }, 2);
        check(AccessError::SecretFile { variable: text(), problem: text() }, 2);
        check(AccessError::SetTwice { name: text() }, 2);
        check(AccessError::PasswordUnset { user: "u", password: "p" }, 2);
        check(AccessError::Users { problems: text() }, 2);
        check(connect(Failure::Timeout), 3);
        check(connect(Failure::SignIn(SignIn::Refused)), 3);
        check(command(Failure::SignIn(SignIn::Refused)), 3);
        check(command(Failure::Unreachable(Unreachable::Lost)), 3);
        check(command(Failure::NotAuthorized { command: None }), 1);
        check(AccessError::ValidatorWarns { collection: text() }, 1);
        check(AccessError::IndexClash { index: text(), collection: text(), clash: text() }, 1);
        assert_eq!(connect(Failure::Timeout).failure(), Some(&Failure::Timeout));
        assert_eq!(command(Failure::Timeout).failure(), Some(&Failure::Timeout));
        assert!(AccessError::Users { problems: text() }.failure().is_none());
        assert_eq!(leases_of("runs"), "runs.leases");
    }
}
