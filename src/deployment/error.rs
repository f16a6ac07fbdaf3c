//! The error of setting up a deployment.

use crate::server::ServerError;

/// The reason why a deployment cannot be set up or used for a load. No variant contains a password or a text from the
/// server.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The server cannot be used.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The settings for the users are not sufficient to create the users.
    #[error(
        "cannot create the users: {problems}; set each variable in the environment, in .env, or with _FILE, or let \
         --generate-missing make the passwords that are not set"
    )]
    Users {
        /// All problems: passwords that are not set or too weak, and variables that contain the same user name.
        problems: String,
    },
    /// The validator of the collection only logs a warning for a document that violates it.
    #[error(
        "the validator of {collection} only warns: the server would write each invalid document, with patient data, to its log; \
         make it refuse such documents with `{command}` or db.runCommand({{ collMod: …, validationAction: \"error\" }})"
    )]
    ValidatorWarns {
        /// The name of the collection with its database.
        collection: String,
        /// The command that sets the validator.
        command: String,
    },
    /// An index of the spec conflicts with an existing index of the collection.
    #[error(
        "cannot build the index `{index}` of {collection}: the collection has {clash}; drop that index, or change the spec"
    )]
    IndexClash {
        /// The name of the spec's index.
        index: String,
        /// The name of the collection with its database.
        collection: String,
        /// The existing index that conflicts, in words for the message, for example `another index of that name`.
        clash: String,
    },
}

impl DeploymentError {
    /// Returns the exit code of a command that stops with this error. It is 2 for wrong settings of the users, and 1
    /// for a validator that only warns or a conflicting index. Errors of the server have exit codes of their own.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Server(error) => error.exit_code(),
            Self::Users { .. } => 2,
            Self::ValidatorWarns { .. } | Self::IndexClash { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Failure;

    #[test]
    fn every_error_has_its_exit_code() {
        let text = || "x".to_owned();
        let check = |error: DeploymentError, code: u8| assert_eq!(error.exit_code(), code, "{error}");
        check(DeploymentError::Users { problems: text() }, 2);
        check(DeploymentError::ValidatorWarns { collection: text(), command: text() }, 1);
        check(DeploymentError::IndexClash { index: text(), collection: text(), clash: text() }, 1);
        check(ServerError::Connect { address: text(), failure: Failure::Timeout }.into(), 3);
        check(ServerError::SetTwice { name: text() }.into(), 2);
    }
}
