//! Which collections of the database can have documents of a patient.

use bson::{Bson, Document, doc};

use crate::fold::notes_of;
use crate::ledger::LEDGER_COLLECTION;
use crate::server::codes::NAMESPACE_NOT_FOUND;
use crate::server::{Failure, ServerError, Target, first_batch, leases_of};
use crate::spec::patient::{PATIENT_FIELD, PATIENT_REFERENCE_FIELD};

/// If a large collection has no index on the patient's key, only this number of its documents is examined for the
/// key.
pub(super) const LOOKED_AT: i32 = 100;
/// A collection with more documents than this is large: without an index, it takes long to read.
pub(super) const LARGE: i64 = 100_000;
/// The field of the state's patients that has the key of the patient into whom they were merged.
pub(super) const MERGED_FIELD: &str = "mergedInto.patient";

/// The collections of the database.
#[derive(Debug)]
pub(super) struct Listed {
    /// The names, sorted. Collections of the server, of the ledger and of the fold's notes are left out.
    pub names: Vec<String>,
    /// False if the user may see only the collections that the user may read.
    pub is_complete: bool,
}

/// What was found about a collection.
#[derive(Debug)]
pub(super) enum Kind {
    /// The user may not read it.
    Forbidden(Failure),
    /// Its documents have no key of a patient.
    WithoutKey,
    /// It is large, no index begins with the key, and its first documents have none.
    Unknown,
    /// Its documents have the key of a patient.
    Keyed {
        /// True if the collection is large, and no index begins with the key.
        is_slow: bool,
        /// Whether its documents have a second key. FHIR Patients have one: the key that references to the Patient
        /// give.
        references: Links,
        /// Whether its documents can say into which patient they were merged.
        merges: Links,
    },
}

/// Whether the documents of a collection have further keys of a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They have none.
    Absent,
    /// They have some, but the collection is large, and no index finds them.
    TooSlow,
    /// They can be followed.
    Followed,
}

/// Lists the collections of the database.
pub(super) async fn list(target: &Target) -> Result<Listed, ServerError> {
    let command = |more: Document| {
        let mut command = doc! {
            "listCollections": 1, "nameOnly": true, "filter": { "type": "collection" }, "cursor": { "batchSize": 10_000 },
        };
        command.extend(more);
        command
    };
    let (reply, is_complete) = match target.look(command(Document::new())).await {
        Err(Failure::NotAuthorized { .. }) => {
            (target.look(command(doc! { "authorizedCollections": true })).await, false)
        }
        reply => (reply, true),
    };
    let doing = || format!("list the collections of {}", target.database);
    let reply = reply.map_err(|failure| ServerError::Command { doing: doing(), failure })?;
    let names = first_batch(&reply).filter_map(|listed| listed.get_str("name").ok()).map(str::to_owned).collect();
    Ok(Listed { names: of_data(names), is_complete })
}

/// Returns the collections that can have documents of a patient, sorted.
fn of_data(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    let ledger = [LEDGER_COLLECTION.to_owned(), leases_of(LEDGER_COLLECTION)];
    let notes: Vec<String> = names.iter().map(|name| notes_of(name)).collect();
    names.retain(|name| !name.starts_with("system.") && !ledger.contains(name) && !notes.contains(name));
    names
}

/// Finds out whether the documents of the target's collection have the key of a patient.
pub(super) async fn examine(target: &Target) -> Result<Kind, ServerError> {
    let name = &target.collection;
    let failed = |failure| ServerError::Command { doing: format!("read {}", target.full_name()), failure };
    let shown = doc! { PATIENT_FIELD: 1, PATIENT_REFERENCE_FIELD: 1, MERGED_FIELD: 1 };
    let probe = doc! { "find": name, "limit": LOOKED_AT, "batchSize": LOOKED_AT, "projection": shown };
    let probed = match target.look(probe).await {
        Err(failure @ Failure::NotAuthorized { .. }) => return Ok(Kind::Forbidden(failure)),
        probed => probed.map_err(failed)?,
    };
    let listed = target.look(doc! { "listIndexes": name, "cursor": { "batchSize": 1_000 } }).await;
    let listed = match listed {
        // The user may read the collection but not list its indexes, or the collection was dropped just now. Both are
        // treated like a collection without indexes.
        Err(Failure::NotAuthorized { .. } | Failure::Other { code: Some(NAMESPACE_NOT_FOUND), .. }) => Document::new(),
        listed => listed.map_err(failed)?,
    };
    let counted = target.look(doc! { "count": name }).await.map_err(failed)?;
    let is_large = counted.get("n").and_then(number).unwrap_or_default() > LARGE;
    let is_sampled = |field: &str| first_batch(&probed).any(|document| has(document, field));
    let is_indexed = |field: &str| first_batch(&listed).any(|index| begins_with(index, field));
    let exists = async |field: &str| -> Result<bool, ServerError> {
        if is_sampled(field) || is_large {
            return Ok(is_sampled(field));
        }
        let any =
            doc! { "find": name, "filter": { field: { "$exists": true } }, "limit": 1, "projection": { "_id": 1 } };
        Ok(first_batch(&target.look(any).await.map_err(failed)?).next().is_some())
    };
    let links = async |field: &str| -> Result<Links, ServerError> {
        if is_indexed(field) {
            return Ok(Links::Followed);
        }
        let found = if is_large { Links::TooSlow } else { Links::Followed };
        Ok(if exists(field).await? { found } else { Links::Absent })
    };
    let has_index = first_batch(&listed).any(is_of_key);
    if !has_index && !exists(PATIENT_FIELD).await? {
        return Ok(if is_large { Kind::Unknown } else { Kind::WithoutKey });
    }
    let (references, merges) = (links(PATIENT_REFERENCE_FIELD).await?, links(MERGED_FIELD).await?);
    Ok(Kind::Keyed { is_slow: is_large && !has_index, references, merges })
}

/// Returns true if the document has a field with this dotted name.
fn has(document: &Document, field: &str) -> bool {
    match field.split_once('.') {
        None => document.contains_key(field),
        Some((outer, inner)) => document.get_document(outer).is_ok_and(|document| document.contains_key(inner)),
    }
}

/// Returns true if this is the first key of the index.
fn begins_with(index: &Document, field: &str) -> bool {
    let first = index.get_document("key").ok().and_then(|keys| keys.keys().next());
    first.is_some_and(|first| first == field)
}

/// Returns true if the first key of the index is the patient's key, and the index has all documents with a key.
fn is_of_key(index: &Document) -> bool {
    begins_with(index, PATIENT_FIELD) && !index.contains_key("partialFilterExpression")
}

fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_collections_of_data_are_searched() {
        let names = [
            "visits",
            "messages",
            "messages.folded",
            "medlift_runs",
            "medlift_runs.leases",
            "system.views",
            "x.folded",
        ];
        let found = of_data(names.map(str::to_owned).to_vec());
        assert_eq!(found, ["messages", "visits", "x.folded"]);
    }

    #[test]
    fn an_index_helps_if_it_begins_with_the_key_and_has_all_documents() {
        let check = |index: Document, expected: bool| assert_eq!(is_of_key(&index), expected, "{index}");
        check(doc! { "key": { "patient": 1 } }, true);
        check(doc! { "key": { "patient": -1, "sentAt": 1 } }, true);
        check(doc! { "key": { "sentAt": 1, "patient": 1 } }, false);
        check(doc! { "key": { "patient": 1 }, "partialFilterExpression": { "x": 1 } }, false);
        check(doc! { "key": { "_id": 1 } }, false);
    }
}
