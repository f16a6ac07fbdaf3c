//! Reads the documents of a patient.

use std::collections::BTreeSet;

use bson::{Binary, Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::FindOptions;

use super::collections::{Kind, examine, list};
use super::entry::Entry;
use super::name::Name;
use crate::encode::{Id, IdentityKey};
use crate::fold;
use crate::ledger::{CollectionIdentity, LEASE_DEFAULT, Ledger, LedgerError};
use crate::server::{Failure, ServerError, Target, patiently};
use crate::spec::patient::{PATIENT_FIELD, PATIENT_REFERENCE_FIELD};

/// A patient has at most this number of keys. More of them are a sign of a wrong merge, and would make queries too large.
const KEYS_MAX: usize = 1_000;

/// What is searched.
#[derive(Debug)]
pub struct Question<'q> {
    /// The patient.
    pub name: &'q Name,
    /// The key of the hash from which the keys of patients are made.
    pub identity: &'q IdentityKey,
    /// The only collection to read. `None` for all.
    pub only: Option<&'q str>,
    /// The first and the last time, in milliseconds since 1970. A document without a time is left out if one is given.
    pub times_ms: (Option<i64>, Option<i64>),
    /// The largest number of documents. The latest are kept.
    pub limit: Option<usize>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The documents, in time order. Documents without a time come first.
    pub entries: Vec<Entry>,
    /// The collections that were read, each with the number of documents of the patient.
    pub searched: Vec<(String, usize)>,
    /// The collections whose documents have no key of a patient.
    pub without_key: Vec<String>,
    /// The collections that the user may not read.
    pub forbidden: Vec<String>,
    /// Number of keys of the patient. More than one if records were merged.
    pub keys: usize,
    /// Number of documents that the times and the limit left out.
    pub left_out: usize,
    /// Messages about what was not searched, or not quickly.
    pub notices: Vec<String>,
}

/// Why the documents of a patient cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The ledger failed.
    #[error("cannot read the ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The documents have keys of another identity key.
    #[error(
        "the keys of the patients in {collection} were made with {stored}; set MEDLIFT_IDENTITY_KEY to the secret of the loads"
    )]
    OtherKey {
        /// Database and collection.
        collection: String,
        /// The difference, in words.
        stored: String,
    },
    /// The collection that the user chose does not exist, or has no documents with keys.
    #[error(
        "{collection} has no documents with the key of a patient; leave out --collection to search all collections"
    )]
    NoKeys {
        /// Database and collection.
        collection: String,
    },
}

impl SearchError {
    /// Returns the exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Server(error) => error.exit_code(),
            Self::Ledger(LedgerError::Server(failure)) => failure.exit_code(),
            Self::Ledger(_) => 1,
            Self::OtherKey { .. } | Self::NoKeys { .. } => 2,
        }
    }
}

/// Finds the documents of a patient in the target's database.
///
/// # Errors
/// The server fails, or the documents have keys that were made with another identity key.
pub async fn search(target: &Target, question: &Question<'_>) -> Result<Found, SearchError> {
    let mut found = Found::default();
    let Keyed { names: keyed, with_references } = keyed_collections(target, question, &mut found).await?;
    if matches!(question.name, Name::Identifier { .. }) {
        check_identity(target, &keyed, question.identity, &mut found.notices).await?;
    }
    let keys = question.name.keys(question.identity).into_iter().collect();
    let keys = all_keys(target, keys, &with_references, &mut found.notices).await?;
    found.keys = keys.len();
    let is_wanted = |entry: &Entry| {
        let (from, to) = question.times_ms;
        from.is_none_or(|from| entry.time_ms.is_some_and(|time| time >= from))
            && to.is_none_or(|to| entry.time_ms.is_some_and(|time| time <= to))
    };
    for name in keyed {
        let entries = read(&target.in_collection(&name), &keys).await?;
        found.left_out += entries.iter().filter(|entry| !is_wanted(entry)).count();
        found.searched.push((name, entries.len()));
        found.entries.extend(entries.into_iter().filter(is_wanted));
    }
    found.entries.sort_by(|one, other| {
        let order = |entry: &Entry| (entry.time_ms, entry.collection.clone(), entry.id.clone());
        order(one).cmp(&order(other))
    });
    let surplus = found.entries.len().saturating_sub(question.limit.unwrap_or(usize::MAX));
    found.entries.drain(..surplus);
    found.left_out += surplus;
    Ok(found)
}

/// The collections that have documents with keys of patients, and that the user may read.
#[derive(Debug, Default)]
struct Keyed {
    /// The collections to read.
    names: Vec<String>,
    /// The collections with FHIR Patients.
    with_references: Vec<String>,
}

/// Finds the collections to read, and notes the others.
async fn keyed_collections(target: &Target, question: &Question<'_>, found: &mut Found) -> Result<Keyed, SearchError> {
    let listed = list(target).await?;
    if !listed.is_complete {
        found
            .notices
            .push(format!("the user may not list the collections of {}, so there may be others", target.database));
    }
    let mut keyed = Keyed::default();
    for name in listed.names {
        let place = target.in_collection(&name);
        let kind = examine(&place).await?;
        if matches!(kind, Kind::Keyed { has_references: true, .. }) {
            keyed.with_references.push(name.clone());
        }
        match kind {
            Kind::Forbidden => found.forbidden.push(name),
            _ if question.only.is_some_and(|only| only != name) => {}
            Kind::WithoutKey => found.without_key.push(name),
            Kind::Keyed { is_slow, .. } => {
                found.notices.extend(is_slow.then(|| {
                    format!(
                        "{} is large and has no index that begins with `{PATIENT_FIELD}`, so all of its documents are \
                         read; add such an index to the spec, then run medlift provision",
                        place.full_name()
                    )
                }));
                keyed.names.push(name);
            }
        }
    }
    match question.only {
        Some(only) if keyed.names.is_empty() && !found.forbidden.iter().any(|name| name == only) => {
            Err(SearchError::NoKeys { collection: target.in_collection(only).full_name() })
        }
        _ => Ok(keyed),
    }
}

/// Checks that the keys of the documents were made with this identity key. If this is so in some collections only, adds
/// notices about the others.
async fn check_identity(
    target: &Target,
    collections: &[String],
    identity: &IdentityKey,
    notices: &mut Vec<String>,
) -> Result<(), SearchError> {
    let (mut same, mut others) = (0, Vec::new());
    for name in collections {
        let place = target.in_collection(name);
        let stored = match Ledger::new(&place.db(), name, LEASE_DEFAULT).identity().await {
            Ok(Some(stored)) => stored,
            Ok(None) => continue,
            Err(LedgerError::Server(Failure::NotAuthorized { .. })) => {
                notices.push(
                    "the user may not read the ledger, so it is not checked whether MEDLIFT_IDENTITY_KEY is the key of the \
                     loads"
                        .to_owned(),
                );
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let wanted = CollectionIdentity { fields: stored.fields.clone(), key: identity.fingerprint() };
        match stored.difference(&wanted) {
            None => same += 1,
            Some(difference) => others.push((place.full_name(), difference)),
        }
    }
    if same == 0
        && let Some((collection, stored)) = others.first().cloned()
    {
        return Err(SearchError::OtherKey { collection, stored });
    }
    let notice = |(collection, stored)| {
        format!("documents of {collection} are not found, because their keys were made with {stored}")
    };
    notices.extend(others.into_iter().map(notice));
    Ok(())
}

/// Adds all other keys of the patient:
/// - the keys of all patients who were merged into the same patient, and the key of the survivor,
/// - for a FHIR Patient: the key of the identifier, and the key that references to the Patient give.
///
/// If the user may not read the merges, adds a notice.
async fn all_keys(
    target: &Target,
    mut keys: BTreeSet<Id>,
    with_references: &[String],
    notices: &mut Vec<String>,
) -> Result<BTreeSet<Id>, SearchError> {
    let mut places: Vec<(Target, &[&str])> =
        with_references.iter().map(|name| (target.in_collection(name), FHIR_LINKS)).collect();
    places.push((target.in_collection(fold::Kind::Patient.collection()), MERGE_LINKS));
    let mut next: Vec<Id> = keys.iter().copied().collect();
    while !next.is_empty() && keys.len() < KEYS_MAX {
        let asked = std::mem::take(&mut next);
        let mut refused = None;
        for (at, (place, links)) in places.iter().enumerate() {
            match linked(place, links, &asked).await {
                Ok(found) => next.extend(found.into_iter().filter(|key| keys.insert(*key))),
                Err(Failure::NotAuthorized { .. }) => refused = Some(at),
                Err(failure) => {
                    return Err(ServerError::Command { doing: format!("read {}", place.full_name()), failure }.into());
                }
            }
        }
        if let Some(at) = refused {
            let (place, _) = places.remove(at);
            notices.push(format!("merges are not followed, because the user may not read {}", place.full_name()));
        }
    }
    Ok(keys)
}

/// The fields of the state's patients that contain keys of one patient.
const MERGE_LINKS: &[&str] = &["_id", PATIENT_FIELD, "mergedInto.patient"];
/// The fields of FHIR Patients that contain keys of one patient.
const FHIR_LINKS: &[&str] = &[PATIENT_FIELD, PATIENT_REFERENCE_FIELD];

/// Returns the keys in the documents that have one of these keys in one of the fields `links`.
async fn linked(place: &Target, links: &[&str], keys: &[Id]) -> Result<Vec<Id>, Failure> {
    let documents = place.db().collection::<Document>(&place.collection);
    let among = doc! { "$in": binaries(keys.iter().copied()) };
    let any: Vec<Document> = links.iter().map(|link| doc! { *link: among.clone() }).collect();
    let (filter, shown) =
        (doc! { "$or": any }, links.iter().map(|link| ((*link).to_owned(), 1.into())).collect::<Document>());
    let found = patiently(|| async {
        documents.find(filter.clone()).projection(shown.clone()).await?.try_collect::<Vec<_>>().await
    });
    let found = found.await?;
    Ok(found.iter().flat_map(|document| keys_in(document, links)).collect())
}

/// Returns the keys in these fields.
fn keys_in(document: &Document, links: &[&str]) -> Vec<Id> {
    let at = |link: &&str| match link.split_once('.') {
        None => document.get(link),
        Some((outer, inner)) => document.get_document(outer).ok()?.get(inner),
    };
    links.iter().filter_map(at).filter_map(id_of).collect()
}

fn id_of(value: &bson::Bson) -> Option<Id> {
    let uuid = match value {
        bson::Bson::Binary(binary) => binary.to_uuid().ok()?,
        _ => return None,
    };
    Some(Id(uuid.bytes()))
}

fn binaries(keys: impl IntoIterator<Item = Id>) -> Vec<Binary> {
    keys.into_iter().map(Id::to_binary).collect()
}

/// Reads the documents of the target's collection that have one of these keys.
async fn read(target: &Target, keys: &BTreeSet<Id>) -> Result<Vec<Entry>, SearchError> {
    let documents = target.db().collection::<Document>(&target.collection);
    let filter = doc! { PATIENT_FIELD: { "$in": binaries(keys.iter().copied()) } };
    // These elements are not shown, and can be large.
    let hidden = doc! { "message": 0, "resource": 0, "messages": 0, "movements": 0 };
    let options = FindOptions::builder().projection(hidden).build();
    let entries = patiently(|| async {
        let mut cursor = documents.find(filter.clone()).with_options(options.clone()).await?;
        let mut entries = Vec::new();
        while let Some(document) = cursor.try_next().await? {
            entries.push(Entry::new(&target.collection, &document));
        }
        Ok::<_, mongodb::error::Error>(entries)
    });
    let doing = || format!("read {}", target.full_name());
    Ok(entries.await.map_err(|failure| ServerError::Command { doing: doing(), failure })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_a_patient_names_all_keys() {
        let uuid = |number: u8| bson::Uuid::from_bytes([number; 16]);
        let ids = |numbers: &[u8]| numbers.iter().map(|number| Id([*number; 16])).collect::<Vec<_>>();
        let document = doc! { "_id": uuid(1), "patient": uuid(2), "mergedInto": { "patient": uuid(3) } };
        assert_eq!(keys_in(&document, MERGE_LINKS), ids(&[1, 2, 3]));
        assert_eq!(keys_in(&document, FHIR_LINKS), ids(&[2]));
        let document = doc! { "_id": uuid(1), "patient": uuid(2), "patientReference": uuid(4) };
        assert_eq!(keys_in(&document, FHIR_LINKS), ids(&[2, 4]));
        assert_eq!(keys_in(&doc! { "_id": "text", "mergedInto": 5 }, MERGE_LINKS), []);
    }
}
