//! Finds out, before a load, which shard owns which `_id`s.

use bson::doc;

use super::{LoadTarget, writing};
use crate::deployment::unique_index_without_id;
use crate::error::Error;
use crate::server::Failure;
use crate::server::codes::NAMESPACE_NOT_FOUND;
use crate::server::sharding::Sharded;
use crate::spec::Spec;
use crate::write::ShardMap;

impl LoadTarget<'_> {
    /// Reads which shard owns which `_id`s, if the collection is sharded. `drops` says whether the load drops the
    /// collection. If the user may not read the ranges, returns a note for the summary: the load is then slower, but
    /// correct. With `--drop`, returns an error instead.
    pub(super) async fn find_shards(&mut self, drops: bool) -> Result<Option<String>, Error> {
        if !self.target.is_mongos().await.map_err(writing)? {
            return Ok(None);
        }
        self.bulk = self.bulk.clone().without_estimates();
        let name = self.target.full_name();
        let sharded = match self.target.sharded().await {
            Err(Failure::NotAuthorized { .. }) if self.is_certainly_whole().await => return Ok(None),
            Err(Failure::NotAuthorized { .. }) if drops => return Err(Error::Usage(unread_drop(&name))),
            Err(Failure::NotAuthorized { .. }) => return Ok(Some(unread_note(&name))),
            sharded => sharded.map_err(writing)?,
        };
        let Some(sharded) = sharded else { return Ok(None) };
        if let Some(problem) = problem(&sharded, self.spec, &name, drops) {
            return Err(Error::Usage(problem));
        }
        self.shards = ShardMap::new(&sharded.ranges);
        Ok(None)
    }

    /// Returns true if the collection does not exist, or if its statistics say that it is not sharded. Returns false if
    /// it is sharded, or if the statistics cannot be read.
    async fn is_certainly_whole(&self) -> bool {
        match self.target.look(doc! { "collStats": &self.target.collection }).await {
            Ok(stats) => stats.get_bool("sharded").is_ok_and(|is_sharded| !is_sharded),
            Err(failure) => failure.code() == Some(NAMESPACE_NOT_FOUND),
        }
    }
}

fn unread_drop(name: &str) -> String {
    format!(
        "the user may not read config.collections, so Medlift cannot find out whether {name} is sharded, and --drop would \
         make it a collection that is not sharded; run `medlift provision --sharded`, which gives the loader and the \
         writer this right, or load without --drop"
    )
}

fn unread_note(name: &str) -> String {
    format!(
        "the user may not read config.chunks, so the bulk inserts into {name} were not divided by shard; if it is \
         sharded, `medlift provision --sharded` gives the loader and the writer this right"
    )
}

/// Returns the reason why the sharded collection cannot be the target of the load. `None` if it can.
fn problem(sharded: &Sharded, spec: &Spec, name: &str, drops: bool) -> Option<String> {
    if sharded.key.keys().ne(["_id"]) {
        return Some(format!(
            "{name} is sharded on {}, so two documents on different shards can have the same _id; load into a \
             collection that is not sharded, or that is sharded on {{ _id: 1 }}",
            sharded.key
        ));
    }
    if let Some(index) = unique_index_without_id(spec) {
        return Some(format!(
            "the spec has the unique index `{}`, but {name} is sharded on _id, and MongoDB then permits only unique \
             indexes that begin with _id; remove `unique` from the spec, or load into another collection",
            index.name
        ));
    }
    drops.then(|| {
        format!(
            "{name} is sharded, and --drop would make it a collection that is not sharded; drop it yourself, run \
             `medlift provision --sharded`, and load without --drop"
        )
    })
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc};

    use super::*;

    #[test]
    fn a_sharded_collection_must_be_sharded_on_the_id() {
        let mut spec = Spec::built_in();
        let check = |spec: &Spec, key: Document, drops: bool, expected: Option<&str>| {
            let sharded = Sharded { key: key.clone(), ranges: Vec::new() };
            let found = problem(&sharded, spec, "ward.stays", drops);
            match expected {
                None => assert_eq!(found, None, "{key}"),
                Some(part) => assert!(found.as_ref().is_some_and(|text| text.contains(part)), "{key}: {found:?}"),
            }
        };
        check(&spec, doc! { "_id": 1 }, false, None);
        check(&spec, doc! { "_id": "hashed" }, false, None);
        check(&spec, doc! { "Hospital": 1 }, false, Some("ward.stays is sharded on { \"Hospital\": 1 }, so two"));
        check(&spec, doc! { "_id": 1, "Hospital": 1 }, false, Some("can have the same _id"));
        check(&spec, doc! { "_id": 1 }, true, Some("--drop would make it a collection that is not sharded"));
        spec.indexes[0].unique = true;
        check(&spec, doc! { "_id": 1 }, false, Some(&format!("unique index `{}`", spec.indexes[0].name)));
    }
}
