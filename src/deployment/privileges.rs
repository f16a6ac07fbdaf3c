//! Reads the privileges of the signed-in user.

use bson::{Bson, Document, doc};

use crate::server::{Failure, ServerError, Target};

/// The server's name for all actions on a resource.
const ANY_ACTION: &str = "anyAction";

/// The privileges of the signed-in user, including those of inherited roles.
pub struct Privileges {
    /// True if nobody is signed in. The server then has no access control, and permits everything.
    everything: bool,
    list: Vec<Document>,
}

impl Privileges {
    /// Reads the privileges from the server.
    pub async fn read(target: &Target) -> Result<Self, Failure> {
        let command = doc! { "connectionStatus": 1, "showPrivileges": true };
        let reply = target.look(command).await?;
        let info = reply.get_document("authInfo").cloned().unwrap_or_default();
        let documents = |name: &str| -> Vec<Document> {
            let all = info.get_array(name).map(Vec::as_slice).unwrap_or_default();
            all.iter().filter_map(Bson::as_document).cloned().collect()
        };
        Ok(Self::of(documents("authenticatedUsers").is_empty(), documents("authenticatedUserPrivileges")))
    }

    /// Reads the privileges as [`Privileges::read`] does. The error also says what was being done.
    pub(crate) async fn of_user(target: &Target) -> Result<Self, ServerError> {
        let named = |failure| ServerError::Command { doing: "read the privileges of the user".to_owned(), failure };
        Self::read(target).await.map_err(named)
    }

    /// Makes the privileges from the server's list. `everything` is true if the server has no access control.
    pub(super) const fn of(everything: bool, list: Vec<Document>) -> Self {
        Self { everything, list }
    }

    /// Returns true if the server has no access control.
    pub(super) const fn is_unlimited(&self) -> bool {
        self.everything
    }

    /// Returns true if the user may do `action` on the collection.
    pub(super) fn allow(&self, action: &str, database: &str, collection: &str) -> bool {
        self.everything
            || self.list.iter().any(|privilege| {
                let actions = privilege.get_array("actions").map(Vec::as_slice).unwrap_or_default();
                let resource = privilege.get_document("resource").cloned().unwrap_or_default();
                let is_meant =
                    |allowed: &Bson| matches!(allowed.as_str(), Some(name) if name == action || name == ANY_ACTION);
                actions.iter().any(is_meant) && covers(&resource, database, collection)
            })
    }

    /// Returns true if the user certainly may not do `action` on the collection. If the server lists no privileges at
    /// all, nothing is certain.
    pub fn forbid(&self, action: &str, database: &str, collection: &str) -> bool {
        !self.list.is_empty() && !self.allow(action, database, collection)
    }

    /// Returns true if one of the user's privileges names this database.
    pub(super) fn has_any(&self, database: &str) -> bool {
        let resources = self.list.iter().filter_map(|privilege| privilege.get_document("resource").ok());
        resources.filter_map(|resource| resource.get_str("db").ok()).any(|name| name == database)
    }
}

/// Returns true if `resource` includes the collection. An empty name in `resource` means every database, or every
/// collection except the system's collections.
fn covers(resource: &Document, database: &str, collection: &str) -> bool {
    let matches =
        |name: &str, wanted: &str| resource.get_str(name).is_ok_and(|given| given.is_empty() || given == wanted);
    resource.get_bool("anyResource").unwrap_or(false) || (matches("db", database) && matches("collection", collection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_privilege_with_any_action_permits_every_action() {
        let of = |actions: &[&str]| {
            let resource = doc! { "db": "ward", "collection": "stays" };
            Privileges::of(false, vec![doc! { "resource": resource, "actions": actions }])
        };
        assert!(of(&["find"]).forbid("dropCollection", "ward", "stays"));
        assert!(!of(&["find", "anyAction"]).forbid("dropCollection", "ward", "stays"));
        assert!(of(&["anyAction"]).forbid("dropCollection", "ward", "other"));
    }
}
