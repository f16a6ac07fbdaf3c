//! The collections of a database.

use bson::{Document, doc};

use super::{Failure, ServerError, Target};

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
    // The server does not list a collection that the user may not read. This query then fails.
    let query = doc! { "find": name, "limit": 1, "projection": { "_id": 1 } };
    target.look(query).await.map_err(|failure| cannot_look(target, failure))?;
    let others = names(target, Document::new()).await.map_err(|failure| cannot_look(target, failure))?;
    Err(ServerError::NoCollection { name: target.full_name(), others: listed(others, hidden) })
}

/// Returns an error if the target is a view. Documents cannot be written to a view, and a view can hide the `_id`s that a
/// verification needs. If the user may not list views, returns `Ok`.
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
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let listed = batch.into_iter().flatten().filter_map(|listed| listed.as_document()?.get_str("name").ok());
    Ok(listed.map(str::to_owned).collect())
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
