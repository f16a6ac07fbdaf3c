//! The MongoDB deployment: settings, secrets, connections, repeated calls, and the meaning of failures.
//!
//! The server's messages may quote documents with patients' data. Every error of the server is therefore reduced to its
//! code, and the user sees a message of this module (see [`Failure`]). This module knows neither the spec nor the data.

pub mod codes;
mod collections;
mod connect;
mod connection;
mod credential;
mod diagnose;
pub mod documentdb;
pub mod env_file;
mod failure;
mod names;
mod patience;
mod secret;
mod settings;
pub mod sharding;
mod uri;

use std::path::PathBuf;

/// The name of a de-identified view is the name of its collection, followed by this suffix.
const VIEW_SUFFIX: &str = "_deidentified";

pub(crate) use collections::{DROP, first_batch, listing, missing_database};
pub use collections::{collection_uuid, refuse_view, require_collection};
pub use connect::{Destination, Target};
pub(crate) use connect::{address, are_on_this_machine};
pub use connection::{Connection, Purpose};
pub use failure::{CertificateFault, Failure, SignIn, Unreachable};
pub use names::refuse_name_for_data;
pub use patience::{ATTEMPTS_MAX, Trouble, trouble};
pub(crate) use patience::{Patience, patiently, pause};
pub use secret::Secret;
pub use settings::{Account, Settings};
pub use uri::{is_connection_string, may_hold_password};

/// Returns the name of the ledger's second collection. This collection contains leases, the identities of
/// collections, the documents of parts, and the `_id`s of records that the server refused or that were not stored
/// because of a conflict. `ledger` is the name of the ledger's first collection.
pub fn leases_of(ledger: &str) -> String {
    format!("{ledger}.leases")
}

/// Returns the name of the collection with the refused messages of a collection of messages.
pub fn rejected_of(messages: &str) -> String {
    format!("{messages}_rejected")
}

/// Returns the name of the de-identified view of `collection`.
pub fn view_name(collection: &str) -> String {
    format!("{collection}{VIEW_SUFFIX}")
}

/// Returns the name of the collection whose de-identified view has this name. `None` if this is not the name of a
/// de-identified view. The server is not asked.
pub fn collection_of_view(view: &str) -> Option<&str> {
    view.strip_suffix(VIEW_SUFFIX).filter(|collection| !collection.is_empty())
}

/// The reason why the server cannot be used. No variant contains a password or a message of the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The connection string cannot be used.
    #[error("cannot use the connection string: {problem}")]
    Uri {
        /// What is wrong, and what the user can do.
        problem: String,
    },
    /// A setting is missing or wrong.
    #[error("{setting}: {problem}")]
    Setting {
        /// The name of the setting on the command line or in the environment.
        setting: String,
        /// What is wrong, and what the user can do.
        problem: String,
    },
    /// `.env` cannot be read.
    #[error("cannot read {}: {problem}", path.display())]
    EnvFile {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong. Never quotes a value from the file, because it may be a password.
        problem: String,
    },
    /// The file that a `…_FILE` variable names cannot be read.
    #[error(
        "cannot read the file that {variable} names: {problem}; {variable} must be the path of a file that contains the secret"
    )]
    SecretFile {
        /// The variable. Its value is not shown, because by mistake it may be the secret itself.
        variable: String,
        /// Why the file could not be read as UTF-8 text.
        problem: String,
    },
    /// A secret is given both in a variable and in a file.
    #[error("both {name} and {name}_FILE are set; remove one of them")]
    SetTwice {
        /// The name of the variable without `_FILE`.
        name: String,
    },
    /// A user is given without a password, and the settings have no password for this user.
    #[error("no password is given for user `{user}`; use -p to enter it, or {remedy}")]
    NoPassword {
        /// The name of the user.
        user: String,
        /// How to set the password in the settings.
        remedy: String,
    },
    /// The name of a user is set, but not its password.
    #[error("{user} is set, but its password is not; set {password} or {password}_FILE, or sign in with -u and -p")]
    PasswordUnset {
        /// The variable for the user's name.
        user: &'static str,
        /// The variable for the password.
        password: &'static str,
    },
    /// The server cannot be reached, or refuses the sign-in.
    #[error("cannot {} {address}: {failure}", if matches!(failure, Failure::SignIn(_)) { "sign in to" } else { "connect to" })]
    Connect {
        /// Hosts and ports.
        address: String,
        /// The cause of the failure.
        failure: Failure,
    },
    /// The user lacks a privilege on the collection.
    #[error("{user} lacks the privilege `{privilege}` on {name} (code 13); {advice}")]
    NotPermitted {
        /// The user, for example "user `loader`".
        user: String,
        /// The action that the server refuses, for example `find`.
        privilege: &'static str,
        /// Database and collection, as `database.collection`.
        name: String,
        /// How to get the privilege.
        advice: String,
    },
    /// The collection to read does not exist.
    #[error("collection {name} does not exist; {others}")]
    NoCollection {
        /// Database and collection, as `database.collection`.
        name: String,
        /// The collections that exist, and what to do, in words for the message.
        others: String,
    },
    /// The name belongs to a view, but a collection is needed.
    #[error("{name} is a view, which has no documents of its own; give the name of a collection with --collection")]
    IsView {
        /// Database and view, as `database.view`.
        name: String,
    },
    /// The server is not MongoDB, and lacks features that the command needs.
    #[error(
        "{server} lacks features that this command needs: {features}. Nothing was changed. Use MongoDB or MongoDB Atlas; \
         docs/documentdb.md lists the limits"
    )]
    Lacks {
        /// The server and its version.
        server: String,
        /// The features, each with its use.
        features: String,
    },
    /// A command failed.
    #[error("cannot {doing}: {failure}")]
    Command {
        /// What the command was to do, for example "read the indexes of hospital.admissions".
        doing: String,
        /// The cause of the failure.
        failure: Failure,
    },
}

impl ServerError {
    /// Makes the error of a failed command. `doing` describes the command, for example "read the indexes of
    /// hospital.admissions".
    pub fn of(doing: String, error: &mongodb::error::Error) -> Self {
        Self::Command { doing, failure: Failure::of(error) }
    }

    /// Returns the failure if the connection or a command failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Connect { failure, .. } | Self::Command { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// Returns true if the user may not run a command.
    pub const fn is_not_authorized(&self) -> bool {
        matches!(self, Self::Command { failure: Failure::NotAuthorized { .. }, .. })
    }

    /// Returns true if a user is given or set, but the password for the sign-in is missing.
    pub const fn is_missing_password(&self) -> bool {
        matches!(self, Self::NoPassword { .. } | Self::PasswordUnset { .. })
    }

    /// Returns the exit code of a command that stops with this error. It is 3 if the connection failed, and 2 for a
    /// wrong setting. It is 1 if the user lacks a privilege, if the server lacks a feature, or if the collection does
    /// not exist or is a view. If a command of the server failed, it is the exit code of the failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Connect { .. } => 3,
            Self::NoCollection { .. } | Self::NotPermitted { .. } | Self::IsView { .. } | Self::Lacks { .. } => 1,
            Self::Command { failure, .. } => failure.exit_code(),
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
        check(connect(Failure::Timeout), 3);
        check(connect(Failure::SignIn(SignIn::Refused)), 3);
        check(command(Failure::SignIn(SignIn::Refused)), 3);
        check(command(Failure::Unreachable(Unreachable::Lost)), 3);
        check(command(Failure::NotAuthorized { command: None }), 1);
        check(ServerError::NoCollection { name: text(), others: text() }, 1);
        check(ServerError::NotPermitted { user: text(), privilege: "find", name: text(), advice: text() }, 1);
        check(ServerError::NoPassword { user: text(), remedy: text() }, 2);
        check(ServerError::IsView { name: text() }, 1);
        check(ServerError::Lacks { server: text(), features: text() }, 1);
        assert_eq!(connect(Failure::Timeout).failure(), Some(&Failure::Timeout));
        assert_eq!(command(Failure::Timeout).failure(), Some(&Failure::Timeout));
        assert!(ServerError::SetTwice { name: text() }.failure().is_none());
        assert_eq!((leases_of("runs"), rejected_of("messages")), ("runs.leases".into(), "messages_rejected".into()));
    }

    #[test]
    fn a_failed_sign_in_is_not_a_failed_connection() {
        let text = |failure| ServerError::Connect { address: "h:1".to_owned(), failure }.to_string();
        assert!(text(Failure::SignIn(SignIn::Refused)).starts_with("cannot sign in to h:1: the server refuses"));
        assert!(text(Failure::Unreachable(Unreachable::Lost)).starts_with("cannot connect to h:1: the connection"));
    }

    #[test]
    fn the_name_of_a_view_leads_to_its_collection() {
        assert_eq!(view_name("stays"), "stays_deidentified");
        assert_eq!(collection_of_view("stays_deidentified"), Some("stays"));
        assert_eq!([collection_of_view("stays"), collection_of_view("_deidentified")], [None; 2]);
    }
}
