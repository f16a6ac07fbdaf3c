//! Looks up collections and databases. Also makes the errors about a missing collection, a missing database, a view or
//! a missing privilege.

use bson::{Bson, Document, Uuid, doc};

use super::{Account, Failure, ServerError, Target, collection_of_view, view_name};
use crate::namespace::RESERVED_DATABASES;
use crate::wording::shell_word;

/// The end of the advice to provision a collection. The user must add the spec, because it is not known here.
const WITH_SPEC: &str = "(add --spec if the data has its own spec)";

/// The action that permits a user to drop a collection.
pub(crate) const DROP: &str = "dropCollection";

/// An error lists at most this number of collections.
const LISTED_MAX: usize = 10;

/// Returns an error if the target's collection does not exist. The error lists the collections that exist, except
/// `hidden` and those of the server itself.
///
/// If the user may not read the collection, this function may return an error or `Ok`. After `Ok`, the caller's first
/// query of the collection fails.
pub async fn require_collection(target: &Target, hidden: &[&str]) -> Result<(), ServerError> {
    let name = &target.collection;
    match names(target, doc! { "name": name }).await {
        Ok(found) if found.is_empty() => {}
        Ok(_) | Err(Failure::NotAuthorized { .. }) => return Ok(()),
        Err(failure) => return Err(cannot_look(target, failure)),
    }
    // The collection is not listed. It may exist all the same, because the server does not list a collection that the
    // user may not read. In this case, the following query fails.
    let query = doc! { "find": name, "limit": 1, "projection": { "_id": 1 } };
    target.look(query).await.map_err(|failure| match failure {
        Failure::NotAuthorized { .. } => target.not_permitted("find"),
        other => cannot_look(target, other),
    })?;
    let others = names(target, Document::new()).await.map_err(|failure| cannot_look(target, failure))?;
    let no_database = if others.is_empty() { missing_database(target).await } else { None };
    let others = no_database.map_or_else(|| listed(others, hidden), |found| format!("{found}; choose one with --db"));
    Err(ServerError::NoCollection { name: target.full_name(), others })
}

/// Returns the documents in the first batch of a reply that has a cursor.
pub(crate) fn first_batch(reply: &Document) -> impl Iterator<Item = &Document> {
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    batch.into_iter().flatten().filter_map(Bson::as_document)
}

/// Returns the server's description of a collection or view in the target's database.
pub(crate) async fn listing(target: &Target, name: &str) -> Result<Option<Document>, ServerError> {
    let command = doc! { "listCollections": 1, "filter": { "name": name } };
    let listed = target.look(command).await;
    let doing = || format!("look up {}.{name}", target.database);
    let listed = listed.map_err(|failure| ServerError::Command { doing: doing(), failure })?;
    Ok(first_batch(&listed).next().cloned())
}

/// Returns the UUID that the server gave the collection. A collection that is dropped and created again has another
/// UUID. Returns `None` if the collection does not exist, or if the user may not list collections.
pub async fn collection_uuid(target: &Target) -> Result<Option<Uuid>, ServerError> {
    let listed = match listing(target, &target.collection).await {
        Err(error) if error.is_not_authorized() => return Ok(None),
        listed => listed?,
    };
    let info = listed.as_ref().and_then(|listed| listed.get_document("info").ok());
    let uuid = info.and_then(|info| info.get("uuid"));
    Ok(uuid.and_then(|uuid| if let Bson::Binary(binary) = uuid { binary.to_uuid().ok() } else { None }))
}

/// Returns the names of the databases that the user may see, sorted. The databases of the server itself are left out,
/// for example `admin`.
async fn databases(target: &Target) -> Result<Vec<String>, Failure> {
    let command = doc! { "listDatabases": 1, "nameOnly": true, "authorizedDatabases": true };
    let admin = target.client.database("admin");
    let reply = super::patiently(|| admin.run_command(command.clone()).into_future()).await?;
    let listed = reply.get_array("databases").into_iter().flatten();
    let names = listed.filter_map(|listed| listed.as_document()?.get_str("name").ok());
    let mut names: Vec<String> = names.filter(|name| !RESERVED_DATABASES.contains(name)).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// If the database for the data does not exist, returns a text that lists the existing databases, because the name may
/// be misspelled. Returns `None` if the database exists, or if no other database can be listed.
pub(crate) async fn missing_database(target: &Target) -> Option<String> {
    let others = databases(target).await.ok()?;
    no_database(&target.database, others)
}

fn no_database(name: &str, mut others: Vec<String>) -> Option<String> {
    if others.is_empty() || others.iter().any(|other| other == name) {
        return None;
    }
    let more = others.len().saturating_sub(LISTED_MAX);
    others.truncate(LISTED_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("there is no database `{name}`; the server has {}{more}", others.join(", ")))
}

impl Target {
    /// Returns the error for a command that the server refused because the user lacks `privilege` on the collection.
    pub(crate) fn not_permitted(&self, privilege: &'static str) -> ServerError {
        let user = match &self.user {
            Some(user) => format!("user `{user}`"),
            None => "the user of the client certificate".to_owned(),
        };
        let advice = match self.account {
            Some(Account::Loader) if privilege == DROP => {
                format!("the loader deletes nothing; load with --drop as the writer: -u {}", shell_word(&self.writer))
            }
            _ => self.advice_on_rights(),
        };
        ServerError::NotPermitted { user, privilege, name: self.full_name(), advice }
    }

    /// Returns the command that provisions the collection. It names database and collection even if they are the usual
    /// ones, because `.env` may name others.
    pub(crate) fn provision_command(&self) -> String {
        let [database, collection] = [&self.database, &self.collection].map(|name| shell_word(name));
        format!("medlift provision --db {database} --collection {collection}")
    }

    /// Returns the advice for a user who lacks rights on the collection: how to get them, or what to do instead.
    pub(crate) fn advice_on_rights(&self) -> String {
        let collection = &self.collection;
        let of_view = collection_of_view(collection);
        match self.account {
            Some(Account::Loader) if let Some(of) = of_view => {
                format!(
                    "this is the name of a de-identified view; give its collection: --collection {}",
                    shell_word(of)
                )
            }
            Some(Account::Loader) => {
                format!("`{}` gives the loader its rights there {WITH_SPEC}", self.provision_command())
            }
            Some(Account::Analyst) if let Some(of) = of_view => {
                format!("`{}` creates this view for analysts {WITH_SPEC}", self.in_collection(of).provision_command())
            }
            Some(Account::Analyst) => {
                let view = view_name(collection);
                format!("the analyst may read only the de-identified view: --collection {}", shell_word(&view))
            }
            _ => "grant the user a role that permits it, or sign in as another user".to_owned(),
        }
    }
}

/// Returns an error if the target is a view. Documents cannot be written to a view, and a view can hide the `_id`s that
/// a verification needs. If the user may not list views, returns `Ok`.
pub async fn refuse_view(target: &Target) -> Result<(), ServerError> {
    match names(target, doc! { "name": &target.collection, "type": "view" }).await {
        Ok(found) if !found.is_empty() => Err(ServerError::IsView { name: target.full_name() }),
        Ok(_) | Err(Failure::NotAuthorized { .. }) => Ok(()),
        Err(failure) => Err(cannot_look(target, failure)),
    }
}

fn cannot_look(target: &Target, failure: Failure) -> ServerError {
    ServerError::Command { doing: format!("look up {}", target.full_name()), failure }
}

/// Returns the names of the collections and views that match `filter` and that the user may read.
async fn names(target: &Target, filter: Document) -> Result<Vec<String>, Failure> {
    let command = doc! {
        "listCollections": 1, "filter": filter, "nameOnly": true, "authorizedCollections": true,
        "cursor": { "batchSize": 10_000 },
    };
    let reply = target.look(command).await?;
    Ok(first_batch(&reply).filter_map(|listed| listed.get_str("name").ok()).map(str::to_owned).collect())
}

/// Returns the names for the error, sorted.
fn listed(mut names: Vec<String>, hidden: &[&str]) -> String {
    names.retain(|name| !name.starts_with("system.") && !hidden.contains(&name.as_str()));
    names.sort();
    let more = names.len().saturating_sub(LISTED_MAX);
    names.truncate(LISTED_MAX);
    match (names.is_empty(), more) {
        (true, _) => "the database has no other collection; check --db and --collection".to_owned(),
        (false, 0) => format!("the database has {}; choose one with --collection", names.join(", ")),
        (false, more) => format!("the database has {} and {more} more; choose one with --collection", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_database_is_reported_with_the_databases_that_exist() {
        let check = |others: &[&str], expected: Option<&str>| {
            let others = others.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(no_database("hospitl", others).as_deref(), expected);
        };
        check(&[], None);
        check(&["hospitl", "ward"], None);
        check(&["hospital", "ward"], Some("there is no database `hospitl`; the server has hospital, ward"));
        let all: Vec<String> = (10..23).map(|number| format!("d{number}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let text = format!("there is no database `hospitl`; the server has {} and 3 more", all[..10].join(", "));
        check(&all, Some(&text));
    }

    #[test]
    fn at_most_ten_collections_of_data_are_listed() {
        let check = |names: &[&str], expected: &str| {
            assert_eq!(listed(names.iter().map(|name| (*name).to_owned()).collect(), &["runs"]), expected);
        };
        check(&[], "the database has no other collection; check --db and --collection");
        check(&["runs", "system.views"], "the database has no other collection; check --db and --collection");
        check(&["visits", "runs", "stays"], "the database has stays, visits; choose one with --collection");
        let all: Vec<String> = (10..23).map(|number| format!("c{number}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let first = all[..10].join(", ");
        check(&all[..10], &format!("the database has {first}; choose one with --collection"));
        check(&all, &format!("the database has {first} and 3 more; choose one with --collection"));
    }
}
