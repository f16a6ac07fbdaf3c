//! One change to a deployment: its commands, and their description for people.

use std::fmt;

use bson::Document;

/// One change to the deployment.
pub struct Step {
    what: String,
    pub(super) commands: Vec<Document>,
    /// The database on which the commands are run. `None` for the database of the data.
    pub(super) database: Option<&'static str>,
}

impl Step {
    pub(super) fn new(what: impl Into<String>, commands: impl Into<Vec<Document>>) -> Self {
        Self { what: what.into(), commands: commands.into(), database: None }
    }

    /// Returns the same step, but its commands are run on the database `admin`.
    pub(super) fn on_admin(self) -> Self {
        Self { database: Some("admin"), ..self }
    }
}

/// Prints the description of the step. The commands are never printed, because they may contain a password.
impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Step").field(&self.what).finish()
    }
}
