//! The roles of the users. Two of them are custom roles, because the roles of MongoDB would permit too much.

use bson::{Bson, Document, doc};

use super::Wanted;
use super::view::view_name;
use crate::server::{Account, leases_of};

/// The role of the user who loads and verifies.
pub(super) const LOADER_ROLE: &str = "medliftLoader";
/// The role of the user who reads the de-identified view.
pub(super) const ANALYST_ROLE: &str = "medliftAnalyst";

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

/// A custom role and its privileges.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) privileges: Vec<Document>,
}

/// Returns the two custom roles, of the loader and of the analyst.
///
/// The loader may insert, update and find documents in the collection of the data and in those of the ledger. It may
/// also list collections, validators and indexes, to check that the collection matches the spec, and may read the free
/// disk space. It cannot change validators or indexes, delete documents, or read the documents of other collections.
/// The analyst may only read the de-identified view.
pub(super) fn roles(wanted: &Wanted<'_>) -> [Role; 2] {
    let on = |collection: &str, actions: &[&str]| {
        doc! { "resource": { "db": &wanted.database, "collection": collection }, "actions": actions.to_vec() }
    };
    let documents = ["find", "insert", "listIndexes", "update"];
    let loader = vec![
        on("", &["dbStats", "listCollections"]),
        on(&wanted.collection, &documents),
        on(&wanted.ledger, &documents),
        on(&leases_of(&wanted.ledger), &documents),
    ];
    let analyst = vec![on(&view_name(&wanted.collection), &["find"])];
    [Role { name: LOADER_ROLE, privileges: loader }, Role { name: ANALYST_ROLE, privileges: analyst }]
}

impl Role {
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

    #[test]
    fn the_loader_cannot_delete_and_the_analyst_reads_only_the_view() {
        let spec = Spec::built_in();
        let (database, collection) = ("ward".to_owned(), "stays".to_owned());
        let wanted = Wanted { spec: &spec, database, collection, ledger: "runs".to_owned(), users: Vec::new() };
        let [loader, analyst] = roles(&wanted);
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
