//! The indexes by which a fold, and a search for a patient, find documents of the state.

use bson::{Document, doc};

use super::super::Kind;
use super::super::identifier::PatientRule;
use super::{FoldError, Store};
use crate::server::codes::NAMESPACE_NOT_FOUND;
use crate::server::{Failure, ServerError};
use crate::spec::{FormatName, Spec};

/// Returns true if the spec describes messages that can be folded.
pub fn is_folded(spec: &Spec) -> bool {
    spec.source.format == Some(FormatName::Hl7) && spec.whole().is_some() && PatientRule::of(spec).is_some()
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

/// Returns the indexes that are not in the server's answer to `listIndexes`. An index is recognised by its name, as the
/// server does.
pub fn missing_indexes(wanted: &[Document], listed: &Document) -> Vec<Document> {
    let listed = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let names: Vec<&str> =
        listed.into_iter().flatten().filter_map(|index| index.as_document()?.get_str("name").ok()).collect();
    let is_missing = |index: &&Document| !index.get_str("name").is_ok_and(|name| names.contains(&name));
    wanted.iter().filter(is_missing).cloned().collect()
}

impl Store {
    /// Builds the indexes that are missing. A user who loads may not build indexes, but `medlift provision` has built
    /// them.
    pub(super) async fn build_indexes(&self) -> Result<(), FoldError> {
        for (collection, wanted) in indexes() {
            let doing = || format!("build the indexes of {}.{collection}", self.target.database);
            let list = doc! { "listIndexes": collection, "cursor": { "batchSize": 1_000 } };
            let listed = match self.target.look(list).await {
                Ok(listed) => listed,
                Err(Failure::Other { code: Some(NAMESPACE_NOT_FOUND), .. }) => Document::new(),
                Err(failure) => return Err(ServerError::Command { doing: doing(), failure }.into()),
            };
            let missing = missing_indexes(&wanted, &listed);
            if !missing.is_empty() {
                let command = doc! { "createIndexes": collection, "indexes": missing };
                self.target.run(&self.target.database, command, doing).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_indexes_that_are_not_listed_are_missing() {
        let [(_, wanted), ..] = indexes();
        let answer = |names: &[&str]| {
            let listed: Vec<Document> = names.iter().map(|name| doc! { "name": *name }).collect();
            doc! { "cursor": { "firstBatch": listed } }
        };
        assert_eq!(missing_indexes(&wanted, &Document::new()), wanted);
        assert_eq!(missing_indexes(&wanted, &answer(&["_id_", "by_patient"])), wanted[1..]);
        assert_eq!(missing_indexes(&wanted, &answer(&["by_patient", "by_mergedInto"])), [] as [Document; 0]);
    }

    #[test]
    fn only_messages_are_folded() {
        let hl7 = crate::spec::Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind");
        assert!(is_folded(&hl7) && !is_folded(&Spec::built_in()));
        assert!(!is_folded(&Spec { patient: None, ..hl7 }));
    }
}
