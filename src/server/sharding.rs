//! Reads how a sharded cluster is made: its shards, and which shard owns which range of a collection's `_id`s.
//!
//! The source is the database `config`, which mongos shows to its clients. MongoDB documents its collections, but
//! calls them internal. The form that is read here is that of MongoDB 5.0 and newer. In older versions, a document of
//! `config.chunks` names the collection in the field `ns` and not in `uuid`; such a collection counts as one range.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::options::ReadConcern;

use super::{Failure, Target, patiently};

/// The length of a UUID, in bytes.
const UUID_LEN: usize = 16;

/// The shards of a cluster, and how one collection is sharded.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The names of the shards, sorted. A shard that is being removed from the cluster is not among them.
    pub shards: Vec<String>,
    /// The primary shard of the collection's database: it stores the collections that are not sharded. `None` if the
    /// database does not exist.
    pub primary: Option<String>,
    /// How the collection is sharded. `None` if it is not sharded.
    pub collection: Option<Sharded>,
}

/// A sharded collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharded {
    /// The shard key, for example `{ _id: 1 }`.
    pub key: Document,
    /// The ranges in ascending order. Empty if the collection is not sharded on `{ _id: 1 }`.
    pub ranges: Vec<Owned>,
}

/// A range of `_id`s and the shard that owns it. The range ends where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// The first `_id` of the range.
    pub from: Bound,
    /// The name of the shard.
    pub shard: String,
}

/// A boundary of a range of `_id`s. The `_id`s of Medlift are UUIDs. The server sorts values of different types by
/// type. It sorts binary values first by length, then by subtype, then byte by byte. A boundary that is not a UUID is
/// therefore before or after all `_id`s of Medlift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    /// Before all UUIDs, for example `MinKey` or a text.
    Lowest,
    /// A UUID.
    At([u8; UUID_LEN]),
    /// After all UUIDs, for example an `ObjectId` or `MaxKey`.
    Highest,
}

impl Sharded {
    /// Returns true if the shard key is `{ _id: 1 }`.
    pub fn is_by_id(&self) -> bool {
        self.key.len() == 1 && self.key.get("_id").is_some_and(is_ascending)
    }
}

fn is_ascending(direction: &Bson) -> bool {
    matches!(direction, Bson::Int32(1) | Bson::Int64(1)) || direction.as_f64() == Some(1.0)
}

impl Bound {
    fn of(value: &Bson) -> Self {
        match value {
            Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes }) if bytes.len() == UUID_LEN => {
                Self::At(bytes.as_slice().try_into().expect("the length was compared"))
            }
            Bson::Binary(binary) if (binary.bytes.len(), u8::from(binary.subtype)) < (UUID_LEN, 4) => Self::Lowest,
            Bson::MinKey
            | Bson::Undefined
            | Bson::Null
            | Bson::Int32(_)
            | Bson::Int64(_)
            | Bson::Double(_)
            | Bson::Decimal128(_)
            | Bson::Symbol(_)
            | Bson::String(_)
            | Bson::Document(_)
            | Bson::Array(_) => Self::Lowest,
            _ => Self::Highest,
        }
    }

    /// Returns an `_id` at this place: a UUID, `MinKey` or `MaxKey`.
    pub fn to_bson(self) -> Bson {
        match self {
            Self::Lowest => Bson::MinKey,
            Self::At(bytes) => Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() }),
            Self::Highest => Bson::MaxKey,
        }
    }
}

/// Returns true if this answer to `hello` is from a mongos.
pub fn is_mongos(hello: &Document) -> bool {
    hello.get_str("msg").ok() == Some("isdbgrid")
}

impl Target {
    /// Returns true if the target is a mongos, the router of a sharded cluster.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn is_mongos(&self) -> Result<bool, Failure> {
        Ok(is_mongos(&self.look(doc! { "hello": 1 }).await?))
    }

    /// Reads the cluster. Call it only if the target is a mongos.
    ///
    /// # Errors
    /// If a command fails, for example because the user may not read the database `config`.
    pub async fn cluster(&self) -> Result<Cluster, Failure> {
        let admin = self.client.database("admin");
        let listed = patiently(|| admin.run_command(doc! { "listShards": 1 }).into_future()).await?;
        let databases = self.config("databases", doc! { "_id": &self.database }).await?;
        let primary = databases.first().and_then(|database| database.get_str("primary").ok()).map(str::to_owned);
        Ok(Cluster { shards: shard_names(&listed), primary, collection: self.sharded().await? })
    }

    /// Reads how the target's collection is sharded. `None` if it is not sharded. Call it only if the target is a
    /// mongos.
    ///
    /// # Errors
    /// If the server cannot be read, for example because the user may not read the database `config`.
    pub async fn sharded(&self) -> Result<Option<Sharded>, Failure> {
        let listed = self.config("collections", doc! { "_id": self.full_name() }).await?;
        let Some((key, uuid)) = listed.first().and_then(key_and_uuid) else { return Ok(None) };
        let mut sharded = Sharded { key, ranges: Vec::new() };
        if sharded.is_by_id() {
            sharded.ranges = ranges(&self.config("chunks", doc! { "uuid": uuid }).await?);
        }
        Ok(Some(sharded))
    }

    async fn config(&self, collection: &str, filter: Document) -> Result<Vec<Document>, Failure> {
        let documents = self.client.database("config").collection::<Document>(collection);
        let found = patiently(|| async {
            let found = documents.find(filter.clone()).sort(doc! { "min": 1 }).read_concern(ReadConcern::majority());
            found.await?.try_collect::<Vec<Document>>().await
        });
        found.await
    }
}

/// Reads the answer to `listShards`.
fn shard_names(listed: &Document) -> Vec<String> {
    let shards = listed.get_array("shards").into_iter().flatten().filter_map(Bson::as_document);
    let is_staying = |shard: &&Document| !shard.get_bool("draining").unwrap_or(false);
    let names = shards.filter(is_staying).filter_map(|shard| shard.get_str("_id").ok());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// Reads a document of `config.collections`. Returns `None` if the collection is not sharded. Since MongoDB 8.0, the
/// server also lists some collections that are not sharded. It marks them as `unsplittable`.
fn key_and_uuid(listed: &Document) -> Option<(Document, Bson)> {
    let has = |name: &str| listed.get_bool(name).unwrap_or(false);
    if has("unsplittable") || has("dropped") {
        return None;
    }
    Some((listed.get_document("key").ok()?.clone(), listed.get("uuid")?.clone()))
}

/// Reads the documents of `config.chunks` of one collection, which are sorted by `min`. Each document becomes one
/// range. All `_id`s of a range are on one shard: if the server moves a part of a range, it divides the range.
fn ranges(chunks: &[Document]) -> Vec<Owned> {
    let range = |chunk: &Document| {
        let from = chunk.get_document("min").ok()?.get("_id")?;
        Some(Owned { from: Bound::of(from), shard: chunk.get_str("shard").ok()?.to_owned() })
    };
    chunks.iter().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{DateTime, Timestamp, Uuid};

    use super::*;

    fn uuid(first: u8) -> Bson {
        let mut bytes = [0; UUID_LEN];
        bytes[0] = first;
        Bound::At(bytes).to_bson()
    }

    #[test]
    fn only_a_mongos_answers_hello_with_isdbgrid() {
        let mongos = doc! {
            "isWritablePrimary": true, "msg": "isdbgrid", "maxBsonObjectSize": 16_777_216, "maxWriteBatchSize": 100_000,
            "localTime": DateTime::from_millis(0), "minWireVersion": 0, "maxWireVersion": 21, "ok": 1.0,
        };
        assert!(is_mongos(&mongos));
        let member = doc! { "isWritablePrimary": true, "setName": "rs0", "hosts": ["a:27017"], "ok": 1.0 };
        assert!(!is_mongos(&member) && !is_mongos(&doc! { "isWritablePrimary": true, "ok": 1.0 }));
    }

    #[test]
    fn a_shard_that_is_being_removed_is_left_out() {
        let listed = doc! {
            "shards": [
                { "_id": "shardB", "host": "shardB/b1:27018,b2:27018", "state": 1 },
                { "_id": "shardA", "host": "shardA/a1:27018", "state": 1 },
                { "_id": "shardC", "host": "shardC/c1:27018", "state": 1, "draining": true },
            ],
            "ok": 1.0,
        };
        assert_eq!(shard_names(&listed), ["shardA", "shardB"]);
    }

    /// A document of `config.collections`, as the issue DOCS-14450 of MongoDB shows it for 5.0.
    fn listed(key: Document) -> Document {
        doc! {
            "_id": "ward.stays", "lastmodEpoch": ObjectId::from_bytes([6; 12]), "lastmod": DateTime::from_millis(0),
            "timestamp": Timestamp { time: 1_626_966_434, increment: 13 }, "uuid": Uuid::from_bytes([7; 16]),
            "key": key, "unique": false, "noBalance": false,
        }
    }

    #[test]
    fn a_sharded_collection_has_its_key_and_an_unsharded_one_has_none() {
        let found = key_and_uuid(&listed(doc! { "num": 1 }));
        assert_eq!(found, Some((doc! { "num": 1 }, Uuid::from_bytes([7; 16]).into())));
        for mark in ["unsplittable", "dropped"] {
            let mut unsharded = listed(doc! { "_id": 1 });
            unsharded.insert(mark, true);
            assert_eq!(key_and_uuid(&unsharded), None, "{mark}");
        }
        let check = |key: Document, expected: bool| {
            assert_eq!(Sharded { key: key.clone(), ranges: Vec::new() }.is_by_id(), expected, "{key}");
        };
        check(doc! { "_id": 1 }, true);
        check(doc! { "_id": 1.0 }, true);
        check(doc! { "_id": "hashed" }, false);
        check(doc! { "_id": 1, "Age": 1 }, false);
        check(doc! { "Age": 1 }, false);
    }

    #[test]
    fn every_chunk_is_a_range() {
        let chunk = |min: Bson, max: Bson, shard: &str| {
            doc! {
                "_id": ObjectId::from_bytes([1; 12]), "uuid": Uuid::from_bytes([7; 16]), "min": { "_id": min },
                "max": { "_id": max }, "shard": shard, "lastmod": Timestamp { time: 2, increment: 1 },
                "onCurrentShardSince": Timestamp { time: 1, increment: 1 },
                "history": [{ "validAfter": Timestamp { time: 1, increment: 1 }, "shard": shard }],
            }
        };
        let chunks = [
            chunk(Bson::MinKey, uuid(0x20), "A"),
            chunk(uuid(0x20), uuid(0x40), "A"),
            chunk(uuid(0x40), uuid(0x80), "B"),
            chunk(uuid(0x80), Bson::MaxKey, "A"),
        ];
        let found: Vec<(Bson, String)> =
            ranges(&chunks).into_iter().map(|range| (range.from.to_bson(), range.shard)).collect();
        let expected = [(Bson::MinKey, "A"), (uuid(0x20), "A"), (uuid(0x40), "B"), (uuid(0x80), "A")];
        assert_eq!(found, expected.map(|(from, shard)| (from, shard.to_owned())));
    }

    #[test]
    fn bounds_have_the_order_of_the_server() {
        let binary = |subtype: BinarySubtype, len: usize| Bson::Binary(Binary { subtype, bytes: vec![0xff; len] });
        let low = [
            Bson::MinKey,
            Bson::Null,
            Bson::Int32(5),
            Bson::from("ffff"),
            doc! { "a": 1 }.into(),
            Bson::Array(Vec::new()),
            binary(BinarySubtype::Uuid, 15),
            binary(BinarySubtype::Generic, 16),
            binary(BinarySubtype::UuidOld, 16),
        ];
        let high = [
            binary(BinarySubtype::Md5, 16),
            binary(BinarySubtype::Generic, 17),
            Bson::ObjectId(ObjectId::from_bytes([0; 12])),
            Bson::Boolean(false),
            DateTime::from_millis(0).into(),
            Timestamp { time: 0, increment: 0 }.into(),
            Bson::MaxKey,
        ];
        for value in &low {
            assert_eq!(Bound::of(value), Bound::Lowest, "{value}");
        }
        for value in &high {
            assert_eq!(Bound::of(value), Bound::Highest, "{value}");
        }
        let middle = [uuid(0), uuid(0x7f), uuid(0x80), uuid(0xff)].map(|value| Bound::of(&value));
        assert!(middle.is_sorted() && middle.iter().all(|bound| (Bound::Lowest..Bound::Highest).contains(bound)));
    }
}
