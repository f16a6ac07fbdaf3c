//! The indexes by which a fold, and a search for a patient, find documents of the state.

use bson::{Bson, Document, doc};

use super::super::Kind;
use super::super::identifier::PatientRule;
use super::{FoldError, Store};
use crate::server::codes::{INDEX_KEY_SPECS_CONFLICT, INDEX_OPTIONS_CONFLICT, NAMESPACE_NOT_FOUND};
use crate::server::{Failure, ServerError, first_batch};
use crate::spec::{FormatName, Spec};

/// Returns true if the spec describes messages that can be folded.
pub fn is_folded(spec: &Spec) -> bool {
    spec.source.format == Some(FormatName::Hl7) && spec.whole().is_some() && PatientRule::of(spec).is_ok()
}

/// Returns the collections of the state, each with its indexes as in the command `createIndexes`.
pub fn indexes() -> [(&'static str, Vec<Document>); 3] {
    let index = |field: &str| doc! { "key": { field: 1 }, "name": format!("by_{field}") };
    let merges = doc! {
        "key": { "mergedInto.patient": 1 }, "name": "by_mergedInto",
        "partialFilterExpression": { "mergedInto.patient": { "$exists": true } },
    };
    Kind::ALL.map(|kind| {
        let further = if kind == Kind::Patient { merges.clone() } else { index("patientAsSent") };
        (kind.collection(), vec![index("patient"), further])
    })
}

/// Returns the indexes that are not in the server's answer to `listIndexes`. An index is recognised by its fields,
/// because an administrator may have built it under another name. If an index with other fields already has the name
/// of a missing index, the missing index gets the server's default name, for example `patient_1`.
pub fn missing_indexes(wanted: &[Document], listed: &Document) -> Vec<Document> {
    let listed: Vec<&Document> = first_batch(listed).collect();
    let missing = wanted.iter().filter(|index| !listed.iter().any(|listed| serves(listed, index)));
    let is_taken = |name: &str| listed.iter().any(|listed| listed.get_str("name").is_ok_and(|other| other == name));
    let named = |mut index: Document| {
        if index.get_str("name").is_ok_and(is_taken) {
            let field = index.get_document("key").ok().and_then(|key| key.keys().next().cloned()).unwrap_or_default();
            index.insert("name", format!("{field}_1"));
        }
        index
    };
    missing.cloned().map(named).collect()
}

/// Returns true if an index finds the same documents as the wanted one, which has a single field.
fn serves(listed: &Document, wanted: &Document) -> bool {
    // Accepts every number as the direction. Older versions of the MongoDB shell write 1.0, and the direction makes no
    // difference for a single field.
    let field = |index: &Document| match index.get_document("key").ok()?.iter().collect::<Vec<_>>()[..] {
        [(name, Bson::Int32(_) | Bson::Int64(_) | Bson::Double(_))] => Some(name.clone()),
        _ => None,
    };
    let part = |index: &Document| index.get("partialFilterExpression").cloned();
    field(listed).is_some()
        && field(listed) == field(wanted)
        && (part(listed).is_none() || part(listed) == part(wanted))
}

impl Store {
    /// Builds the indexes that are missing. Does nothing if the user may not build indexes: `medlift provision` builds
    /// them, too. An index that the server refuses, for example because it has an index that is too similar, does not
    /// stop the fold, which is only slower without it.
    pub(super) async fn build_indexes(&self) -> Result<(), FoldError> {
        for (collection, wanted) in indexes() {
            let doing = || format!("build the indexes of {}.{collection}", self.target.database);
            let list = doc! { "listIndexes": collection, "cursor": { "batchSize": 1_000 } };
            let listed = match self.target.look(list).await {
                Ok(listed) => listed,
                Err(Failure::Other { code: Some(NAMESPACE_NOT_FOUND), .. }) => Document::new(),
                Err(Failure::NotAuthorized { .. }) => return Ok(()),
                Err(failure) => return Err(ServerError::Command { doing: doing(), failure }.into()),
            };
            let missing = missing_indexes(&wanted, &listed);
            if !missing.is_empty() {
                let command = doc! { "createIndexes": collection, "indexes": missing };
                match self.target.run(&self.target.database, command, doing).await {
                    Err(error) if error.is_not_authorized() => return Ok(()),
                    Err(error) if error.failure().is_some_and(is_conflict) => {}
                    built => built.map(drop)?,
                }
            }
        }
        Ok(())
    }
}

fn is_conflict(failure: &Failure) -> bool {
    matches!(failure.code(), Some(INDEX_OPTIONS_CONFLICT | INDEX_KEY_SPECS_CONFLICT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indexes_that_are_not_listed_are_missing() {
        let [(_, wanted), ..] = indexes();
        let check = |listed: &[Document], expected: &[&str]| {
            let missing = missing_indexes(&wanted, &doc! { "cursor": { "firstBatch": listed.to_vec() } });
            let names: Vec<&str> = missing.iter().filter_map(|index| index.get_str("name").ok()).collect();
            assert_eq!(names, expected, "{listed:?}");
        };
        let index = |name: &str, key: Document| doc! { "v": 2, "key": key, "name": name };
        let partial = |field: &str| {
            let mut index = index("partial", doc! { field: 1 });
            index.insert("partialFilterExpression", doc! { "x": 1 });
            index
        };
        let both = ["by_patient", "by_mergedInto"];
        assert_eq!(missing_indexes(&wanted, &Document::new()), wanted);
        check(&[index("_id_", doc! { "_id": 1 })], &both);
        check(&wanted, &[]);
        // An administrator built them.
        check(&[index("patient_1", doc! { "patient": 1.0 })], &["by_mergedInto"]);
        check(&[index("a", doc! { "patient": -1 }), index("b", doc! { "mergedInto.patient": 1 })], &[]);
        // These indexes do not find the same documents as the wanted ones.
        check(&[index("by_patient", doc! { "name": 1 })], &["patient_1", "by_mergedInto"]);
        check(&[index("a", doc! { "patient": "hashed" }), partial("patient"), partial("mergedInto.patient")], &both);
    }

    #[test]
    fn only_messages_are_folded() {
        let hl7 = crate::spec::Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind");
        assert!(is_folded(&hl7) && !is_folded(&Spec::built_in()));
        assert!(!is_folded(&Spec { patient: None, ..hl7 }));
    }
}
