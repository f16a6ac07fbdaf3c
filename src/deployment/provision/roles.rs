//! The roles of the users. Three of them are custom roles, because the roles of MongoDB would permit too much.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};

use super::Wanted;
use super::state::{folded_collections, view_names};
use super::view::view_name;
use crate::fold::{collections, notes_of};
use crate::server::{Account, leases_of, rejected_of};

/// The role of the user who loads and verifies.
pub(super) const LOADER_ROLE: &str = "medliftLoader";
/// The role of the user who reads the de-identified view.
pub(super) const ANALYST_ROLE: &str = "medliftAnalyst";

/// The role that reads which shard owns which range of a collection. It is a role of `admin`, because a role of another
/// database can only have privileges on that database.
pub(super) const RANGES_ROLE: &str = "medliftRanges";

/// Returns the role of an account's user.
pub(super) fn role_of(account: Account) -> &'static str {
    match account {
        Account::Root => "root",
        Account::Admin => "dbAdmin",
        Account::Writer => "readWrite",
        Account::Reader => "read",
        Account::Loader => LOADER_ROLE,
        Account::Analyst => ANALYST_ROLE,
    }
}

/// The actions that the loader may execute on the collection of the data and on those of the ledger.
const LOADING: [&str; 4] = ["find", "insert", "listIndexes", "update"];
/// The actions that the loader may execute on the collections that a fold writes. A fold removes documents that follow
/// from no message.
const FOLDING: [&str; 5] = ["find", "insert", "listIndexes", "remove", "update"];
/// The actions that [`ANALYST_ROLE`] permits on a de-identified view, and [`RANGES_ROLE`] on collections of `config`.
const READING: [&str; 1] = ["find"];

/// A custom role and its privileges.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) privileges: Vec<Document>,
}

/// Returns the custom roles of the loader and of the analyst.
///
/// The loader may insert, update and find documents in the collection of the data and in those of the ledger. It may
/// also list collections, validators and indexes, to check that the collection matches the spec, and may read the free
/// disk space. It cannot change validators or indexes. It cannot delete documents, or read the documents of other
/// collections, with two exceptions. If the spec describes messages that can be folded, it may read, write and delete
/// documents in the collections that a fold writes. If the spec describes messages, it may read and write those that a
/// listener refused. The analyst may only read the de-identified views.
pub(super) fn roles(wanted: &Wanted<'_>) -> [Role; 2] {
    let on = |collection: &str, actions: &[&str]| privilege(&wanted.database, collection, actions);
    let mut loader = vec![
        on("", &["dbStats", "listCollections"]),
        on(&wanted.collection, &LOADING),
        on(&wanted.ledger, &LOADING),
        on(&leases_of(&wanted.ledger), &LOADING),
    ];
    let folded = folded_collections(wanted.spec, &wanted.collection);
    loader.extend(folded.iter().map(|name| on(name, &FOLDING)));
    if wanted.spec.is_of_messages() {
        loader.push(on(&rejected_of(&wanted.collection), &LOADING));
    }
    let views = std::iter::once(view_name(&wanted.collection)).chain(view_names(wanted.spec));
    let analyst = views.map(|view| on(&view, &READING)).collect();
    [Role { name: LOADER_ROLE, privileges: loader }, Role { name: ANALYST_ROLE, privileges: analyst }]
}

/// Returns the role that reads which shard owns which range.
pub(super) fn ranges_role() -> Role {
    let on = |collection: &str| privilege("config", collection, &READING);
    Role { name: RANGES_ROLE, privileges: vec![on("collections"), on("chunks")] }
}

/// Returns the privileges that the loader may have got when `collection` was provisioned. Each inner list has
/// alternatives, the one with the most actions first. [`Role::keep`] keeps at most one of them: the first that the
/// role on the server has.
fn loading(database: &str, collection: &str) -> Vec<Vec<Document>> {
    let load = privilege(database, collection, &LOADING);
    let of_collection = if collections().contains(&collection) {
        vec![privilege(database, collection, &FOLDING), load]
    } else {
        vec![load]
    };
    let of_rejected = vec![privilege(database, &rejected_of(collection), &LOADING)];
    vec![of_collection, vec![privilege(database, &notes_of(collection), &FOLDING)], of_rejected]
}

fn privilege(database: &str, collection: &str, actions: &[&str]) -> Document {
    doc! { "resource": { "db": database, "collection": collection }, "actions": actions.to_vec() }
}

/// The actions that a role permits, by resource. The key is the resource as text.
pub(super) type Permitted = BTreeMap<String, BTreeSet<String>>;

/// Groups privileges by resource, so that two lists of privileges can be compared. The order in the server's reply is
/// arbitrary.
pub(super) fn permitted(privileges: &[Document]) -> Permitted {
    let mut permitted = Permitted::new();
    for privilege in privileges {
        let resource = privilege.get_document("resource").map(ToString::to_string).unwrap_or_default();
        let actions = privilege.get_array("actions").map(Vec::as_slice).unwrap_or_default();
        let actions = actions.iter().filter_map(Bson::as_str).map(str::to_owned);
        permitted.entry(resource).or_default().extend(actions);
    }
    permitted
}

/// Returns true if `actual` permits everything in `wanted`.
fn includes(actual: &Permitted, wanted: &Permitted) -> bool {
    wanted.iter().all(|(resource, actions)| actual.get(resource).is_some_and(|actual| actual.is_superset(actions)))
}

impl Role {
    /// Adds the privileges that the role on the server has on other provisioned collections. Otherwise, provisioning
    /// one collection would remove the rights on the others. `actual` are the privileges of the role on the server, and
    /// `others` are the other provisioned collections.
    ///
    /// Never adds a privilege that the role on the server does not have. Reason: a user who may write could create a
    /// view with the name of a de-identified view. The role would then permit more than the administrator granted.
    pub(super) fn keep(&mut self, actual: &[Document], database: &str, others: &[String]) {
        let actual = permitted(actual);
        let is_kept = |privilege: &Document| includes(&actual, &permitted(std::slice::from_ref(privilege)));
        let of = |collection: &String| match self.name {
            LOADER_ROLE => loading(database, collection),
            _ => vec![vec![privilege(database, &view_name(collection), &READING)]],
        };
        let kept = others.iter().flat_map(of).filter_map(|choices| choices.into_iter().find(is_kept));
        self.privileges.extend(kept.collect::<Vec<_>>());
    }

    /// Compares the role with the privileges `actual` of the role on the server. If they differ, returns the
    /// description of the step that corrects the role on the server.
    pub(super) fn difference(&self, actual: &[Document]) -> Option<String> {
        let (actual, wanted) = (permitted(actual), permitted(&self.privileges));
        if actual == wanted {
            return None;
        }
        if !includes(&wanted, &actual) {
            return Some(format!("correct the privileges of role {}", self.name));
        }
        let is_missing = |privilege: &&Document| !includes(&actual, &permitted(std::slice::from_ref(*privilege)));
        let place = |privilege: &Document| {
            let resource = privilege.get_document("resource").ok()?;
            let (database, collection) = (resource.get_str("db").ok()?, resource.get_str("collection").ok()?);
            Some(format!("{database}.{collection}").trim_end_matches('.').to_owned())
        };
        let places: Vec<String> = self.privileges.iter().filter(is_missing).filter_map(place).collect();
        Some(format!("add privileges on {} to role {}", places.join(", "), self.name))
    }

    /// Returns the command that creates or changes the role. `command` is `createRole` or `updateRole`.
    pub(super) fn command(&self, command: &str) -> Document {
        let privileges: Vec<Bson> = self.privileges.iter().cloned().map(Bson::from).collect();
        doc! { command: self.name, "privileges": privileges, "roles": [] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Spec;

    #[test]
    fn every_account_has_its_role() {
        let found = Account::ALL.map(role_of);
        assert_eq!(found, ["root", "dbAdmin", "readWrite", "read", "medliftLoader", "medliftAnalyst"]);
    }

    /// Returns the two roles for a collection of the database `ward`.
    fn roles_of(collection: &str) -> [Role; 2] {
        let spec = Spec::built_in();
        let (database, collection) = ("ward".to_owned(), collection.to_owned());
        roles(&Wanted {
            spec: &spec,
            database,
            collection,
            ledger: "runs".to_owned(),
            users: Vec::new(),
            sharding: None,
        })
    }

    #[test]
    fn privileges_are_compared_without_their_order() {
        let [loader, _] = roles_of("stays");
        let turned = |privilege: &Document| {
            let mut actions = privilege.get_array("actions").expect("actions").clone();
            actions.reverse();
            doc! { "resource": privilege.get_document("resource").expect("a resource").clone(), "actions": actions }
        };
        let same: Vec<Document> = loader.privileges.iter().rev().map(turned).collect();
        assert_eq!(loader.difference(&same), None);
        let without = |at: usize| {
            let mut less = same.clone();
            less.remove(at);
            loader.difference(&less)
        };
        assert_eq!(without(0).as_deref(), Some("add privileges on ward.runs.leases to role medliftLoader"));
        assert_eq!(without(3).as_deref(), Some("add privileges on ward to role medliftLoader"));
        let corrected = Some("correct the privileges of role medliftLoader");
        for more in [privilege("ward", "stays", &["remove"]), privilege("ward", "other", &["find"])] {
            let with: Vec<Document> = same.iter().cloned().chain([more]).collect();
            assert_eq!(loader.difference(&with).as_deref(), corrected);
        }
    }

    #[test]
    fn rights_on_another_provisioned_collection_are_kept_and_no_others() {
        let kept = |mut role: Role, actual: &[Document], others: &[&str]| {
            let before = role.privileges.len();
            role.keep(actual, "ward", &others.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            role.privileges.split_off(before)
        };
        let [[loader, analyst], [old_loader, old_analyst]] = [roles_of("stays"), roles_of("labs")];
        let check = |others: &[&str], expected: [&[Document]; 2]| {
            let found = [(&loader, &old_loader), (&analyst, &old_analyst)]
                .map(|(role, old)| kept(role.clone(), &old.privileges, others));
            assert_eq!(found.each_ref().map(Vec::as_slice), expected, "{others:?}");
        };
        let labs = [privilege("ward", "labs", &LOADING), privilege("ward", "labs_deidentified", &READING)];
        check(&["labs"], [&labs[..1], &labs[1..]]);
        // A privilege on a collection is kept only if the collection is provisioned and the role already has the privilege.
        check(&[], [&[], &[]]);
        check(&["letters"], [&[], &[]]);
        // Only privileges that Medlift grants are kept: not `remove` on `labs`, and not `find` alone.
        let with_more = [privilege("ward", "labs", &["find", "insert", "listIndexes", "remove", "update"])];
        assert_eq!(kept(loader.clone(), &with_more, &["labs"]), labs[..1]);
        assert_eq!(kept(loader.clone(), &[privilege("ward", "labs", &["find"])], &["labs"]), []);
    }

    #[test]
    fn the_loader_cannot_delete_and_the_analyst_reads_only_the_view() {
        let [loader, analyst] = roles_of("stays");
        let on = |collection: &str, actions: &[&str]| {
            doc! { "resource": { "db": "ward", "collection": collection }, "actions": actions.to_vec() }
        };
        let documents = ["find", "insert", "listIndexes", "update"];
        let expected = [
            on("", &["dbStats", "listCollections"]),
            on("stays", &documents),
            on("runs", &documents),
            on("runs.leases", &documents),
        ];
        assert_eq!(
            loader.command("createRole"),
            doc! { "createRole": "medliftLoader", "privileges": expected.to_vec(), "roles": [] }
        );
        let expected = vec![on("stays_deidentified", &["find"])];
        assert_eq!(
            analyst.command("updateRole"),
            doc! { "updateRole": "medliftAnalyst", "privileges": expected, "roles": [] }
        );
    }
}
