//! Examines the privileges of the signed-in user.

use bson::{Bson, Document, doc};

use super::{Finding, Step};
use crate::access::provision::view_name;
use crate::access::{Failure, Target, leases_of};

/// The actions that loading needs on the data's collection and on the ledger's collections.
const LOADING: [&str; 3] = ["find", "insert", "update"];

/// The privileges of the signed-in user, including those of inherited roles.
pub(super) struct Privileges {
    /// True if nobody is signed in. Then there is no access control, and everything is allowed.
    everything: bool,
    list: Vec<Document>,
}

impl Privileges {
    pub(super) async fn read(target: &Target) -> Result<Self, Failure> {
        let command = doc! { "connectionStatus": 1, "showPrivileges": true };
        let reply = target.look(command).await?;
        let info = reply.get_document("authInfo").cloned().unwrap_or_default();
        let documents = |name: &str| -> Vec<Document> {
            let all = info.get_array(name).map(Vec::as_slice).unwrap_or_default();
            all.iter().filter_map(Bson::as_document).cloned().collect()
        };
        Ok(Self {
            everything: documents("authenticatedUsers").is_empty(),
            list: documents("authenticatedUserPrivileges"),
        })
    }

    /// Returns true if `action` is allowed on the collection.
    fn allow(&self, action: &str, database: &str, collection: &str) -> bool {
        self.everything
            || self.list.iter().any(|privilege| {
                let actions = privilege.get_array("actions").map(Vec::as_slice).unwrap_or_default();
                let resource = privilege.get_document("resource").cloned().unwrap_or_default();
                actions.iter().any(|allowed| allowed.as_str() == Some(action))
                    && covers(&resource, database, collection)
            })
    }

    /// Reports what the user may do with the target's collection, and privileges that the user should not have.
    pub(super) fn examine(&self, target: &Target, ledger: &str, findings: &mut Vec<Finding>) {
        let (database, collection) = (target.database.as_str(), target.collection.as_str());
        let lacks = |collection: &str| -> Vec<String> {
            let missing = LOADING.iter().filter(|action| !self.allow(action, database, collection));
            missing.map(|action| format!("{action} on {database}.{collection}")).collect()
        };
        let missing = [lacks(collection), lacks(ledger), lacks(&leases_of(ledger))].concat();
        findings.push(if missing.is_empty() {
            Finding::ok(Step::Role, format!("may load into and verify {database}.{collection}"))
        } else if self.allow("find", database, collection) {
            Finding::ok(Step::Role, format!("may read {database}.{collection}, but not load: lacks {}", missing.join(", ")))
        } else if self.allow("find", database, &view_name(collection)) {
            Finding::ok(Step::Role, format!("may read {database}.{} only", view_name(collection)))
        } else if self.allow("collMod", database, collection) {
            Finding::ok(Step::Role, format!("may administer {database}.{collection}, but neither read nor load it"))
        } else {
            Finding::failed(
                Step::Role,
                format!("the user has no role on {database}; grant one (`medlift provision` makes users with the right ones)"),
            )
        });
        if !self.everything && self.allow("bypassDocumentValidation", database, collection) {
            findings.push(Finding::warning(
                Step::Role,
                "the user may bypass document validation, as everybody with dbAdmin, dbOwner, restore or root; load as \
                 another user (`medlift provision` makes one)",
            ));
        }
    }
}

/// Returns true if `resource` includes the collection. An empty name means every database, or every collection except
/// the system's.
fn covers(resource: &Document, database: &str, collection: &str) -> bool {
    let matches =
        |name: &str, wanted: &str| resource.get_str(name).is_ok_and(|given| given.is_empty() || given == wanted);
    resource.get_bool("anyResource").unwrap_or(false) || (matches("db", database) && matches("collection", collection))
}
