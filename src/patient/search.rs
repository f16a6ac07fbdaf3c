//! Reads the documents of a patient.

use std::collections::BTreeSet;

use bson::{Binary, Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::FindOptions;

use super::collections::{Kind, LARGE, LOOKED_AT, Links, MERGED_FIELD, examine, list};
use super::entry::Entry;
use super::name::Name;
use crate::encode::{Id, IdentityKey};
use crate::fold;
use crate::ledger::{CollectionIdentity, LEASE_DEFAULT, Ledger, LedgerError};
use crate::server::{Failure, ServerError, Target, patiently};
use crate::spec::patient::{PATIENT_FIELD, PATIENT_REFERENCE_FIELD};

/// The largest number of documents that one query for further keys reads.
const LINKS_MAX: i64 = 1_000;
/// If a patient has this number of keys, no more are looked for. More of them are a sign of a wrong merge, and would
/// make queries too large.
const KEYS_MAX: usize = 1_000;

/// Documents are dropped because of the limit only if at least this number is in memory, so that they are sorted
/// rarely.
const SORTED_AT: usize = 1_000;

/// What is searched.
#[derive(Debug)]
pub struct Question<'q> {
    /// The patient.
    pub name: &'q Name,
    /// The key of the hash from which the keys of patients are made.
    pub identity: &'q IdentityKey,
    /// The only collection to read. `None` for all.
    pub only: Option<&'q str>,
    /// The first and the last time, in milliseconds since 1970. If one of the two is given, a document without a time
    /// is left out.
    pub times_ms: (Option<i64>, Option<i64>),
    /// The largest number of documents. The latest are kept. Memory is bounded by a few times this number.
    pub limit: usize,
}

impl Question<'_> {
    /// Returns true if the document is in the range of times.
    fn is_wanted(&self, entry: &Entry) -> bool {
        let (from, to) = self.times_ms;
        from.is_none_or(|from| entry.time_ms.is_some_and(|time| time >= from))
            && to.is_none_or(|to| entry.time_ms.is_some_and(|time| time <= to))
    }
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
    /// Number of documents that are not in `entries`, because of the range of times or the limit.
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
    let keyed = keyed_collections(target, question, &mut found).await?;
    if matches!(question.name, Name::Identifier { .. }) {
        check_identity(target, &keyed.names, question.identity, &mut found.notices).await?;
    }
    let keys = question.name.keys(question.identity).into_iter().collect();
    let keys = all_keys(keyed.linked, keys, &mut found.notices).await?;
    found.keys = keys.len();
    for name in keyed.names {
        let read = read(&target.in_collection(&name), &keys, question).await?;
        found.searched.push((name, read.count));
        found.left_out += read.count - read.entries.len();
        found.entries.extend(read.entries);
    }
    found.left_out += keep_latest(&mut found.entries, question.limit);
    Ok(found)
}

/// Sorts the entries by time, and removes all but the latest. Returns how many were removed.
fn keep_latest(entries: &mut Vec<Entry>, limit: usize) -> usize {
    entries.sort_by(|one, other| {
        (one.time_ms, &one.collection, &one.id).cmp(&(other.time_ms, &other.collection, &other.id))
    });
    let surplus = entries.len().saturating_sub(limit);
    entries.drain(..surplus);
    surplus
}

/// The collections that have documents with keys of patients, and that the user may read.
#[derive(Debug, Default)]
struct Keyed {
    /// The collections to read.
    names: Vec<String>,
    /// The collections whose documents have further keys of a patient, and the fields with these keys.
    linked: Vec<(Target, &'static [&'static str])>,
}

/// Finds the collections to read, and notes the others.
async fn keyed_collections(target: &Target, question: &Question<'_>, found: &mut Found) -> Result<Keyed, SearchError> {
    let listed = list(target).await?;
    if !listed.is_complete {
        found
            .notices
            .push(format!("the user may not list the collections of {}, so there may be others", target.database));
    }
    let mut names = listed.names;
    names.extend(question.only.filter(|only| !names.iter().any(|name| name == only)).map(str::to_owned));
    let mut keyed = Keyed::default();
    for name in names {
        let place = target.in_collection(&name);
        let is_wanted = question.only.is_none_or(|only| only == name);
        match examine(&place).await? {
            Kind::Forbidden(failure) if question.only.is_some() && is_wanted => {
                return Err(ServerError::Command { doing: format!("read {}", place.full_name()), failure }.into());
            }
            Kind::Forbidden(_) => {
                let has_merges = name == fold::Kind::Patient.collection();
                found.notices.extend(has_merges.then(|| not_followed(&place, "the user may not read it")));
                found.forbidden.extend(is_wanted.then_some(name));
            }
            Kind::WithoutKey => found.without_key.extend(is_wanted.then_some(name)),
            Kind::Unknown => found.notices.extend(is_wanted.then(|| not_searched(&place))),
            Kind::Keyed { is_slow, references, merges } => {
                found.notices.extend(keyed.add_links(&place, references, merges));
                if is_wanted {
                    found.notices.extend(is_slow.then(|| slow(&place)));
                    keyed.names.push(name);
                }
            }
        }
    }
    match question.only {
        Some(only) if keyed.names.is_empty() => {
            Err(SearchError::NoKeys { collection: target.in_collection(only).full_name() })
        }
        _ => Ok(keyed),
    }
}

impl Keyed {
    /// Adds the further keys in the documents of a collection. Returns notices about those that cannot be followed.
    fn add_links(&mut self, place: &Target, references: Links, merges: Links) -> Vec<String> {
        // The merges of the fold are in the state's patients only.
        let merges = if place.collection == fold::Kind::Patient.collection() { merges } else { Links::Absent };
        let mut notices = Vec::new();
        for (links, fields, index) in
            [(references, FHIR_LINKS, PATIENT_REFERENCE_FIELD), (merges, MERGE_LINKS, MERGED_FIELD)]
        {
            match links {
                Links::Followed => self.linked.push((place.clone(), fields)),
                Links::TooSlow => {
                    let reason = format!("it is large, and no index begins with `{index}`; run medlift provision");
                    notices.push(not_followed(place, &reason));
                }
                Links::Absent => {}
            }
        }
        notices
    }
}

fn not_searched(place: &Target) -> String {
    format!(
        "{} is NOT SEARCHED, so documents of the patient can be missing: it has more than {LARGE} documents and no index \
         that begins with `{PATIENT_FIELD}`, and none of its first {LOOKED_AT} documents has this field; if its documents \
         have the key of a patient, {}",
        place.full_name(),
        index_command(place)
    )
}

fn slow(place: &Target) -> String {
    format!(
        "{} has more than {LARGE} documents and no index that begins with `{PATIENT_FIELD}`, so all of them are read; {}",
        place.full_name(),
        index_command(place)
    )
}

/// Says how the index is built that the search needs.
fn index_command(place: &Target) -> String {
    let names = [&place.database, &place.collection].map(|name| bson::Bson::from(name.as_str()).to_string());
    let [database, collection] = names;
    format!(
        "build it: add an [[index]] with keys = [\"{PATIENT_FIELD}\"] to the spec and run `medlift provision`, or run in \
         mongosh: db.getSiblingDB({database}).getCollection({collection}).createIndex({{ {PATIENT_FIELD}: 1 }})"
    )
}

fn not_followed(place: &Target, reason: &str) -> String {
    format!("other keys of the patient in {} are not followed: {reason}", place.full_name())
}

/// Checks that the keys of the documents were made with this identity key. If this is so in some collections only, adds
/// notices about the others.
async fn check_identity(
    target: &Target,
    collections: &[String],
    identity: &IdentityKey,
    notices: &mut Vec<String>,
) -> Result<(), SearchError> {
    let (mut same, mut others, mut unknown) = (0, Vec::new(), Vec::new());
    for name in collections {
        let place = target.in_collection(name);
        let stored = match identity_of(&place).await {
            Ok(Some(stored)) => stored,
            Ok(None) => {
                unknown.push(name.as_str());
                continue;
            }
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
    if !unknown.is_empty() {
        notices.push(format!(
            "the ledger does not say with which MEDLIFT_IDENTITY_KEY these collections were made, so documents in them may not be found: {}",
            unknown.join(", ")
        ));
    }
    Ok(())
}

/// Returns from which fields and with which key the `_id`s of the target's collection were made. For a collection of
/// the state, returns the same of the collection of messages, because the state's keys were made with the key of the
/// messages.
async fn identity_of(place: &Target) -> Result<Option<CollectionIdentity>, LedgerError> {
    let ledger = |collection: &str| Ledger::new(&place.db(), collection, LEASE_DEFAULT);
    let own = ledger(&place.collection).identity().await?;
    if own.is_some() || !fold::collections().contains(&place.collection.as_str()) {
        return Ok(own);
    }
    match ledger(fold::Kind::Patient.collection()).fold_record().await? {
        Some(folded) => ledger(&folded.messages).identity().await,
        None => Ok(None),
    }
}

/// Adds all other keys of the patient:
/// - the keys of all patients who were merged into the same patient, and the key of the survivor,
/// - for a FHIR Patient: the key of the identifier, and the key that references to the Patient give.
///
/// Adds a notice if there are too many keys.
async fn all_keys(
    linked_places: Vec<(Target, &[&str])>,
    mut keys: BTreeSet<Id>,
    notices: &mut Vec<String>,
) -> Result<BTreeSet<Id>, SearchError> {
    let mut next: Vec<Id> = keys.iter().copied().collect();
    while !next.is_empty() && keys.len() < KEYS_MAX {
        let asked = std::mem::take(&mut next);
        for (place, links) in &linked_places {
            let found = linked(place, links, &asked)
                .await
                .map_err(|failure| ServerError::Command { doing: format!("read {}", place.full_name()), failure })?;
            next.extend(found.into_iter().filter(|key| keys.insert(*key)));
        }
    }
    if keys.len() >= KEYS_MAX {
        notices.push(format!(
            "{KEYS_MAX} or more records were merged with this patient, so some of the patient's documents may be missing here; probably \
             a merge is wrong"
        ));
    }
    Ok(keys)
}

/// The fields of the state's patients that contain keys of one patient.
const MERGE_LINKS: &[&str] = &["_id", PATIENT_FIELD, MERGED_FIELD];
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
        let found = documents.find(filter.clone()).projection(shown.clone()).limit(LINKS_MAX);
        found.await?.try_collect::<Vec<_>>().await
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

/// The documents of a patient in one collection.
#[derive(Debug, Default)]
struct Read {
    /// The latest documents in the range of times.
    entries: Vec<Entry>,
    /// The number of all documents of the patient.
    count: usize,
}

/// Reads the documents of the target's collection that have one of these keys.
async fn read(target: &Target, keys: &BTreeSet<Id>, question: &Question<'_>) -> Result<Read, SearchError> {
    let documents = target.db().collection::<Document>(&target.collection);
    let filter = doc! { PATIENT_FIELD: { "$in": binaries(keys.iter().copied()) } };
    // These elements are not shown, and can be large.
    let hidden = doc! { "message": 0, "resource": 0, "messages": 0, "movements": 0 };
    let options = FindOptions::builder().projection(hidden).build();
    let read = patiently(|| async {
        let mut cursor = documents.find(filter.clone()).with_options(options.clone()).await?;
        let mut read = Read::default();
        while let Some(document) = cursor.try_next().await? {
            read.count += 1;
            let entry = Entry::new(&target.collection, &document);
            read.entries.extend(question.is_wanted(&entry).then_some(entry));
            if read.entries.len() > question.limit.saturating_mul(2).max(SORTED_AT) {
                keep_latest(&mut read.entries, question.limit);
            }
        }
        Ok::<_, mongodb::error::Error>(read)
    });
    let doing = || format!("read {}", target.full_name());
    Ok(read.await.map_err(|failure| ServerError::Command { doing: doing(), failure })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_documents_are_kept() {
        let entry = |day: i64| Entry::new("c", &doc! { "_id": day, "sentAt": bson::DateTime::from_millis(day) });
        let mut entries: Vec<Entry> = [3, 1, 4, 2].map(entry).to_vec();
        assert_eq!(keep_latest(&mut entries, 3), 1);
        assert_eq!(entries, [2, 3, 4].map(entry));
        assert_eq!((keep_latest(&mut entries, 5), entries.len()), (0, 3));
    }

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
