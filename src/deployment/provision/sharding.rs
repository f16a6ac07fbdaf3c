//! The steps that shard a collection before its first document, and give each chosen shard an equal range of the
//! `_id`s.
//!
//! An `_id` is a UUID of version 8. Its first 48 bits are from a hash, so all values are equally likely. After them are
//! the four bits of the version, 12 bits of the hash, the two bits of the variant, and 62 bits of the hash. The ranges
//! are divided by the first 32 bits, so they are equal, and the bits of version and variant do not matter.
//!
//! MongoDB advises `moveRange` to distribute the empty ranges of a new collection: since 6.0, the balancer does not
//! move empty ranges. `moveRange` also splits the range that it moves. Zones could distribute the ranges too. But
//! they would stay, and would prevent the balancer from using a shard that is added later.

use std::fmt::Write;

use bson::{Bson, Document, doc};

use super::step::Step;
use super::wanted::{Sharding, Wanted};
use crate::deployment::indexes::unique_index_without_id;
use crate::server::sharding::{Bound, Cluster, Owned};
use crate::server::{ServerError, Target, first_batch};

/// The oldest major version of MongoDB that has `moveRange`.
const VERSION_MIN: i32 = 6;

/// The state of the cluster before the collection is sharded.
#[derive(Debug)]
struct Found {
    cluster: Cluster,
    /// The major version of MongoDB.
    version: i32,
    has_documents: bool,
}

/// The steps that shard the collection. They are empty if the collection is sharded as wanted.
#[derive(Debug, Default)]
pub(super) struct ShardingSteps {
    /// Steps before the collection is created.
    pub(super) before: Vec<Step>,
    /// Steps after the collection was created, and before its indexes are built.
    pub(super) after: Vec<Step>,
    /// A message if the ranges are left as they are, because the collection has documents.
    pub(super) note: Option<String>,
}

/// Returns the steps that shard the target's collection.
///
/// # Errors
/// The collection cannot be sharded: the target is not a mongos, its MongoDB is too old, the cluster has too few
/// shards, the collection has documents and is not sharded, it is sharded on another key, or the spec has a unique
/// index that does not begin with `_id`. Or a command fails.
pub(super) async fn steps(
    target: &Target,
    sharding: Sharding,
    wanted: &Wanted<'_>,
) -> Result<ShardingSteps, ServerError> {
    let failed =
        |failure| ServerError::Command { doing: format!("read how {} is sharded", target.full_name()), failure };
    if !target.is_mongos().await.map_err(failed)? {
        return Err(refused(format!(
            "{} is not a mongos, and only a mongos can shard a collection; give the address of a mongos, or leave out \
             --sharded",
            target.address
        )));
    }
    let info = target.look(doc! { "buildInfo": 1 }).await.map_err(failed)?;
    let version = info.get_array("versionArray").ok().and_then(|numbers| numbers.first()?.as_i32()).unwrap_or_default();
    let query = doc! {
        "find": &wanted.collection, "limit": 1, "projection": { "_id": 1 }, "readConcern": { "level": "majority" },
    };
    let has_documents = first_batch(&target.look(query).await.map_err(failed)?).next().is_some();
    let cluster = target.cluster().await.map_err(failed)?;
    steps_of(&Found { cluster, version, has_documents }, sharding, wanted)
}

fn refused(problem: String) -> ServerError {
    ServerError::Setting { setting: "--sharded".to_owned(), problem }
}

fn steps_of(found: &Found, sharding: Sharding, wanted: &Wanted<'_>) -> Result<ShardingSteps, ServerError> {
    let name = format!("{}.{}", wanted.database, wanted.collection);
    refuse_unfit(found, wanted, &name).map_err(refused)?;
    let shards = chosen(&found.cluster, sharding).map_err(refused)?;
    let mut steps = ShardingSteps::default();
    let now = match &found.cluster.collection {
        Some(_) if found.has_documents => {
            let note = format!("the ranges of {name} are left to the balancer, because the collection has documents");
            return Ok(ShardingSteps { note: Some(note), ..steps });
        }
        Some(sharded) => sharded.ranges.clone(),
        None => {
            steps.after.push(shard(&name));
            // A new sharded collection is one range on the primary shard of its database.
            let primary = found.cluster.primary.as_ref().unwrap_or(&shards[0]);
            vec![Owned { from: Bound::Lowest, shard: primary.clone() }]
        }
    };
    if found.cluster.primary.is_none() {
        let what = format!("create database {} with the primary shard {}", wanted.database, shards[0]);
        let command = doc! { "enableSharding": &wanted.database, "primaryShard": &shards[0] };
        steps.before.push(Step::new(what, [command]).on_admin());
    }
    steps.after.extend(moves(&now, &even_ranges(&shards)).into_iter().map(|moved| move_range(&name, moved)));
    Ok(steps)
}

/// Returns the reason why the collection cannot be sharded.
fn refuse_unfit(found: &Found, wanted: &Wanted<'_>, name: &str) -> Result<(), String> {
    if found.version < VERSION_MIN {
        return Err(format!(
            "the cluster has MongoDB {}, which lacks moveRange; upgrade it to {VERSION_MIN}.0 or newer",
            found.version
        ));
    }
    if let Some(sharded) = found.cluster.collection.as_ref().filter(|sharded| !sharded.is_by_id()) {
        return Err(format!(
            "{name} is already sharded on {}, and Medlift needs {{ _id: 1 }}: only with this key is _id unique, and only \
             then does each bulk insert go to one shard; give another --collection, or drop this one",
            sharded.key
        ));
    }
    if found.cluster.collection.is_none() && found.has_documents {
        return Err(format!(
            "{name} has documents, and ranges should only be divided in an empty collection; shard the collection \
             before the first load, or shard it yourself with sh.shardCollection(\"{name}\", {{ _id: 1 }})"
        ));
    }
    match unique_index_without_id(wanted.spec) {
        None => Ok(()),
        Some(index) => Err(format!(
            "the spec has the unique index `{}`, but in a collection that is sharded on _id, MongoDB permits only \
             unique indexes that begin with _id; remove `unique` from the spec",
            index.name
        )),
    }
}

/// Returns the shards that receive a range, in the order of their ranges. The first is the primary shard of the
/// database. A new sharded collection is on this shard, so the first range need not be moved.
fn chosen(cluster: &Cluster, sharding: Sharding) -> Result<Vec<String>, String> {
    let is_primary = |name: &String| Some(name) == cluster.primary.as_ref();
    let count = sharding.shards.unwrap_or(cluster.shards.len());
    if count > cluster.shards.len() || cluster.shards.is_empty() {
        return Err(format!(
            "{count} shards are wanted, but the cluster has {}: {}; give a lower number with --shards, or add shards",
            cluster.shards.len(),
            cluster.shards.join(", ")
        ));
    }
    let (primary, others): (Vec<_>, Vec<_>) = cluster.shards.iter().cloned().partition(is_primary);
    Ok(primary.into_iter().chain(others).take(count).collect())
}

/// Divides all `_id`s into ranges of equal length, one for each shard.
fn even_ranges(shards: &[String]) -> Vec<Owned> {
    let count = shards.len() as u64;
    let bound = |number: u64| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(((number << 32) / count) as u32).to_be_bytes());
        if number == 0 { Bound::Lowest } else { Bound::At(bytes) }
    };
    (0..).zip(shards).map(|(number, shard)| Owned { from: bound(number), shard: shard.clone() }).collect()
}

/// A range that must be moved, and the shard that receives it.
#[derive(Debug, Clone, PartialEq)]
struct Moved {
    from: Bound,
    to: Bound,
    shard: String,
}

/// Returns the ranges that must be moved so that each shard has its wanted range. Each returned range is inside one
/// range of `now`, because one `moveRange` cannot move parts of two ranges.
fn moves(now: &[Owned], wanted: &[Owned]) -> Vec<Moved> {
    let with_ends = |ranges: &[Owned]| {
        let ends = ranges.iter().skip(1).map(|range| range.from).chain([Bound::Highest]);
        ranges.iter().cloned().zip(ends).collect::<Vec<_>>()
    };
    let now = with_ends(now);
    let mut moves = Vec::new();
    for (range, end) in with_ends(wanted) {
        for (present, present_end) in now.iter().filter(|(present, _)| present.shard != range.shard) {
            let (from, to) = (range.from.max(present.from), end.min(*present_end));
            if from < to {
                moves.push(Moved { from, to, shard: range.shard.clone() });
            }
        }
    }
    moves
}

fn shard(name: &str) -> Step {
    let command = doc! { "shardCollection": name, "key": { "_id": 1 } };
    Step::new(format!("shard collection {name} on {{ _id: 1 }}"), [command]).on_admin()
}

fn move_range(name: &str, moved: Moved) -> Step {
    let Moved { from, to, shard } = moved;
    let what = format!("move the _ids from {} to {} of {name} to shard {shard}", text(from), text(to));
    let bound = |bound: Bound| doc! { "_id": bound.to_bson() };
    let command: Document = doc! { "moveRange": name, "toShard": shard, "min": bound(from), "max": bound(to) };
    Step::new(what, [command]).on_admin()
}

fn text(bound: Bound) -> String {
    match bound.to_bson() {
        Bson::MinKey => "MinKey".to_owned(),
        Bson::Binary(binary) => {
            binary.bytes.iter().take(4).fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            }) + "…"
        }
        _ => "MaxKey".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::sharding::Sharded;
    use crate::spec::Spec;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn cluster(shards: &[&str], primary: Option<&str>) -> Cluster {
        Cluster { shards: names(shards), primary: primary.map(str::to_owned), collection: None }
    }

    fn uuid(hex: &str) -> Bound {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&u32::from_str_radix(hex, 16).expect("hex").to_be_bytes());
        Bound::At(bytes)
    }

    fn owned(ranges: &[(Bound, &str)]) -> Vec<Owned> {
        ranges.iter().map(|(from, shard)| Owned { from: *from, shard: (*shard).to_owned() }).collect()
    }

    fn sharded(ranges: &[(Bound, &str)]) -> Sharded {
        Sharded { key: doc! { "_id": 1 }, ranges: owned(ranges) }
    }

    fn found(cluster: Cluster) -> Found {
        Found { cluster, version: 8, has_documents: false }
    }

    fn steps(found: &Found, shards: Option<usize>, spec: &Spec) -> Result<ShardingSteps, ServerError> {
        let (database, collection) = ("ward".to_owned(), "stays".to_owned());
        let sharding = Sharding { shards };
        let wanted = Wanted {
            spec,
            database,
            collection,
            ledger: "runs".to_owned(),
            users: Vec::new(),
            sharding: Some(sharding),
        };
        steps_of(found, sharding, &wanted)
    }

    fn commands(steps: &[Step]) -> Vec<Document> {
        assert!(steps.iter().all(|step| step.database == Some("admin")), "{steps:?}");
        steps.iter().flat_map(|step| step.commands.clone()).collect()
    }

    fn id(bound: Bound) -> Document {
        doc! { "_id": bound.to_bson() }
    }

    #[test]
    fn a_new_collection_is_sharded_and_each_other_shard_receives_its_range() {
        let spec = Spec::built_in();
        let found = found(cluster(&["A", "B", "C"], Some("B")));
        let made = steps(&found, None, &spec).expect("steps");
        let (third, two_thirds) = (uuid("55555555"), uuid("aaaaaaaa"));
        let expected = [
            doc! { "shardCollection": "ward.stays", "key": { "_id": 1 } },
            doc! { "moveRange": "ward.stays", "toShard": "A", "min": id(third), "max": id(two_thirds) },
            doc! { "moveRange": "ward.stays", "toShard": "C", "min": id(two_thirds), "max": { "_id": Bson::MaxKey } },
        ];
        assert_eq!(commands(&made.after), expected);
        assert!(made.before.is_empty() && made.note.is_none());
        let texts: Vec<String> = made.after.iter().map(ToString::to_string).collect();
        let expected = [
            "shard collection ward.stays on { _id: 1 }",
            "move the _ids from 55555555… to aaaaaaaa… of ward.stays to shard A",
            "move the _ids from aaaaaaaa… to MaxKey of ward.stays to shard C",
        ];
        assert_eq!(texts, expected);
    }

    #[test]
    fn a_missing_database_is_created_on_the_first_shard() {
        let made = steps(&found(cluster(&["A", "B"], None)), None, &Spec::built_in()).expect("steps");
        assert_eq!(commands(&made.before), [doc! { "enableSharding": "ward", "primaryShard": "A" }]);
        assert_eq!(made.before[0].to_string(), "create database ward with the primary shard A");
        let moved =
            doc! { "moveRange": "ward.stays", "toShard": "B", "min": id(uuid("80000000")), "max": id(Bound::Highest) };
        assert_eq!(commands(&made.after)[1..], [moved]);
    }

    #[test]
    fn only_what_is_missing_is_done() {
        let spec = Spec::built_in();
        let half = uuid("80000000");
        let state = |collection: Option<Sharded>, has_documents| Found {
            has_documents,
            ..found(Cluster { collection, ..cluster(&["A", "B"], Some("A")) })
        };
        let done =
            steps(&state(Some(sharded(&[(Bound::Lowest, "A"), (half, "B")])), false), None, &spec).expect("steps");
        assert!(done.before.is_empty() && done.after.is_empty() && done.note.is_none(), "{done:?}");
        let interrupted = steps(&state(Some(sharded(&[(Bound::Lowest, "A")])), false), None, &spec).expect("steps");
        assert_eq!(commands(&interrupted.after).len(), 1, "{interrupted:?}");
        let filled = steps(&state(Some(sharded(&[(Bound::Lowest, "A")])), true), None, &spec).expect("steps");
        assert!(filled.after.is_empty() && filled.note.is_some_and(|note| note.contains("left to the balancer")));
        // One shard needs no ranges.
        let one = steps(&state(None, false), Some(1), &spec).expect("steps");
        assert_eq!(commands(&one.after), [doc! { "shardCollection": "ward.stays", "key": { "_id": 1 } }]);
    }

    #[test]
    fn a_collection_that_cannot_be_sharded_is_refused() {
        let mut spec = Spec::built_in();
        let check = |found: &Found, shards: Option<usize>, spec: &Spec, part: &str| {
            let error = steps(found, shards, spec).expect_err("refused");
            assert!(error.to_string().contains(part) && error.exit_code() == 2, "{error}");
        };
        let empty = || found(cluster(&["A", "B"], Some("A")));
        check(
            &Found { version: 5, ..empty() },
            None,
            &spec,
            "--sharded: the cluster has MongoDB 5, which lacks moveRange",
        );
        check(&Found { has_documents: true, ..empty() }, None, &spec, "ward.stays has documents");
        check(&empty(), Some(3), &spec, "3 shards are wanted, but the cluster has 2: A, B");
        check(&found(cluster(&[], None)), None, &spec, "the cluster has 0");
        for key in [doc! { "Hospital": 1 }, doc! { "_id": "hashed" }] {
            let collection = Some(Sharded { key: key.clone(), ranges: Vec::new() });
            let other = found(Cluster { collection, ..cluster(&["A"], Some("A")) });
            check(&other, None, &spec, &format!("ward.stays is already sharded on {key}"));
        }
        spec.indexes[0].unique = true;
        check(&empty(), None, &spec, "the spec has the unique index");
    }

    #[test]
    fn ranges_are_equal_for_any_number_of_shards() {
        for count in 1..=70_u64 {
            let shards: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            let ranges = even_ranges(&shards);
            assert!(ranges.is_sorted_by(|a, b| a.from < b.from) && ranges[0].from == Bound::Lowest, "{count}");
            let lead = |range: &Owned| match range.from {
                Bound::At(bytes) => u64::from(u32::from_be_bytes(*bytes.first_chunk().expect("16 bytes"))),
                _ => 0,
            };
            let ends = ranges.iter().skip(1).map(lead).chain([1 << 32]);
            let lengths: Vec<u64> = ranges.iter().zip(ends).map(|(range, end)| end - lead(range)).collect();
            let (shortest, longest) = (lengths.iter().min().expect("a range"), lengths.iter().max().expect("a range"));
            assert!(longest - shortest <= 1, "{count}: {lengths:?}");
        }
    }

    #[test]
    fn a_moved_range_is_a_part_of_one_present_range() {
        let (quarter, half) = (uuid("40000000"), uuid("80000000"));
        let now = owned(&[(Bound::Lowest, "A"), (quarter, "B"), (half, "C")]);
        let wanted = owned(&[(Bound::Lowest, "A"), (half, "B")]);
        let moved = |from, to, shard: &str| Moved { from, to, shard: shard.to_owned() };
        let expected = [moved(quarter, half, "A"), moved(half, Bound::Highest, "B")];
        assert_eq!(moves(&now, &wanted), expected);
        assert_eq!(moves(&wanted, &wanted), []);
    }
}
