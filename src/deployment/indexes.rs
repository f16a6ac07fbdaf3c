//! The collection's indexes: reads which ones exist or are being built, and waits for builds.
//!
//! The server lists an index as soon as its build begins. It continues the build even if the client disconnects.
//! During the build, the server refuses a new validator for the collection. So this module also reads whether a listed
//! index is ready.

use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};

use crate::server::codes::NAMESPACE_NOT_FOUND;
use crate::server::{Failure, ServerError, Target, first_batch, pause};
use crate::spec::{Index, Spec};

/// Maximum wait for index builds. An index build on a billion documents takes hours.
const WAIT_MAX: Duration = Duration::from_hours(12);

/// The indexes of a collection, except the index on `_id`.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The indexes that are ready. Indexes that a spec cannot describe (`text`, `hashed`) are left out.
    pub(super) ready: Vec<Index>,
    /// The names of the indexes that are being built.
    pub(super) building: Vec<String>,
}

/// Reads the indexes of the target's collection. Returns no indexes if the collection does not exist.
pub(super) async fn read(target: &Target) -> Result<Listed, ServerError> {
    Ok(listed(first_batch(&read_raw(target).await?)))
}

/// Returns the server's list of the indexes. The list is empty if the collection does not exist.
pub(super) async fn read_raw(target: &Target) -> Result<Document, ServerError> {
    let command =
        doc! { "listIndexes": &target.collection, "includeBuildUUIDs": true, "cursor": { "batchSize": 1_000 } };
    match target.look(command).await {
        Ok(answer) => Ok(answer),
        Err(Failure::Other { code: Some(NAMESPACE_NOT_FOUND), .. }) => Ok(Document::new()),
        Err(failure) => {
            let doing = format!("read the indexes of {}.{}", target.database, target.collection);
            Err(ServerError::Command { doing, failure })
        }
    }
}

/// Separates the indexes in the server's list: those that are ready, and those that are still being built. An index
/// that is being built is listed as `{ spec: …, buildUUID: … }`, or has the field `indexBuildInfo`.
fn listed<'a>(entries: impl Iterator<Item = &'a Document>) -> Listed {
    let mut listed = Listed::default();
    for entry in entries {
        let spec = entry.get_document("spec").unwrap_or(entry);
        let name = spec.get_str("name").unwrap_or_default();
        if entry.contains_key("buildUUID") || entry.contains_key("indexBuildInfo") {
            listed.building.push(name.to_owned());
        } else if name != "_id_" {
            listed.ready.extend(index(name, spec));
        }
    }
    listed
}

/// Converts a listed index. The direction of a key may be any type of number. Returns `None` for an index with another
/// kind of key (`text`, `hashed`), because a spec cannot describe it.
fn index(name: &str, listed: &Document) -> Option<Index> {
    let direction = |value: &Bson| match value {
        Bson::Int32(direction) => Some(*direction),
        Bson::Int64(direction) => i32::try_from(*direction).ok(),
        Bson::Double(direction) => Some(if *direction < 0.0 { -1 } else { 1 }),
        _ => None,
    };
    let keys = listed.get_document("key").ok()?;
    let keys = keys.iter().map(|(name, value)| Some((name.clone(), direction(value)?))).collect::<Option<_>>()?;
    Some(Index { name: name.to_owned(), keys, unique: listed.get_bool("unique").unwrap_or(false) })
}

/// Waits until no index of the target's collection is being built. Calls `waiting` once if it must wait.
pub(super) async fn wait_for_builds(target: &Target, mut waiting: impl FnMut(&str)) -> Result<(), ServerError> {
    let begun = Instant::now();
    for look in 1.. {
        let building = read(target).await?.building;
        if building.is_empty() {
            break;
        }
        let (names, collection) = (building.join(", "), format!("{}.{}", target.database, target.collection));
        if look == 1 {
            waiting(&format!("waiting for the server to finish building the indexes {names} of {collection}"));
        }
        if begun.elapsed() > WAIT_MAX {
            let doing = format!("wait any longer for the indexes {names} of {collection}");
            return Err(ServerError::Command { doing, failure: Failure::of_code(12_587, "", None) });
        }
        tokio::time::sleep(pause(look)).await;
    }
    Ok(())
}

pub(super) fn create_indexes_command(collection: &str, indexes: &[&Index]) -> Document {
    let models: Vec<Document> = indexes.iter().map(|index| index_model(index)).collect();
    doc! { "createIndexes": collection, "indexes": models }
}

/// Returns a unique index of the spec that does not begin with `_id`. A collection that is sharded on `_id` cannot have
/// such an index, because no shard can check it alone.
pub fn unique_index_without_id(spec: &Spec) -> Option<&Index> {
    spec.indexes.iter().find(|index| index.unique && index.keys.first().is_none_or(|(name, _)| name != "_id"))
}

fn index_model(index: &Index) -> Document {
    let keys: Document = index.keys.iter().map(|(name, direction)| (name.clone(), Bson::Int32(*direction))).collect();
    let mut model = doc! { "key": keys, "name": &index.name };
    if index.unique {
        model.insert("unique", true);
    }
    model
}

#[cfg(test)]
mod tests {
    use super::super::builds::aborted;
    use super::*;

    #[test]
    fn an_index_that_is_being_built_is_not_ready() {
        let entries = [
            doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" },
            doc! { "v": 2, "key": { "a": 1.0, "b": -1_i64 }, "name": "ab", "unique": true },
            doc! { "spec": { "v": 2, "key": { "c": 1 }, "name": "c" }, "buildUUID": bson::Uuid::new() },
            doc! { "spec": { "v": 2, "key": { "d": 1 }, "name": "d" }, "indexBuildInfo": {} },
            doc! { "spec": { "v": 2, "key": { "e": 1 }, "name": "e" } },
            doc! { "v": 2, "key": { "f": "hashed" }, "name": "f" },
        ];
        let found = listed(entries.iter());
        let index = |name: &str, keys: &[(&str, i32)], unique| Index {
            name: name.to_owned(),
            keys: keys.iter().map(|(name, direction)| ((*name).to_owned(), *direction)).collect(),
            unique,
        };
        assert_eq!(found.ready, [index("ab", &[("a", 1), ("b", -1)], true), index("e", &[("e", 1)], false)]);
        assert_eq!(found.building, ["c", "d"]);
    }

    #[test]
    fn directions_may_be_any_number_and_other_keys_are_ignored() {
        let check = |direction: Bson, expected: Option<i32>| {
            let found = index("i", &doc! { "key": { "a": direction } });
            assert_eq!(found.map(|index| index.keys), expected.map(|direction| vec![("a".to_owned(), direction)]));
        };
        check(Bson::Int32(1), Some(1));
        check(Bson::Int32(-1), Some(-1));
        check(Bson::Int64(-1), Some(-1));
        check(Bson::Int64(i64::MAX), None);
        check(Bson::Double(1.0), Some(1));
        check(Bson::Double(-1.0), Some(-1));
        check(Bson::from("text"), None);
        assert!(index("i", &doc! {}).is_none());
        assert!(!index("i", &doc! { "key": { "a": 1 } }).expect("an index").unique);
    }

    #[test]
    fn an_index_command_has_the_keys_in_order_and_unique_only_if_needed() {
        let index = |name: &str, unique| Index {
            name: name.to_owned(),
            keys: vec![("b".to_owned(), -1), ("a.c".to_owned(), 1)],
            unique,
        };
        let expected = doc! { "createIndexes": "stays", "indexes": [
            { "key": { "b": -1, "a.c": 1 }, "name": "one" },
            { "key": { "b": -1, "a.c": 1 }, "name": "two", "unique": true },
        ] };
        assert_eq!(create_indexes_command("stays", &[&index("one", false), &index("two", true)]), expected);
    }

    #[test]
    fn an_aborted_build_can_be_repeated() {
        assert_eq!(aborted(), Failure::Other { code: Some(276), name: "IndexBuildAborted".to_owned() });
        assert!(aborted().is_retryable());
    }
}
