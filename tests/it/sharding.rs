//! Tests of the code for sharded clusters, on a server that is not a mongos. There is no mongos to test with.

use bson::oid::ObjectId;
use bson::{Bson, Document, Uuid, doc};
use medlift::server::sharding::{Bound, Owned};

use crate::connection::{block_on, connect, wishes};
use crate::load::Place;
use crate::program::medlift;
use crate::server::shared;

#[test]
fn a_server_that_is_not_a_mongos_cannot_shard_and_is_not_changed() {
    let place = Place::new("not_a_mongos");
    let uri = shared().uri();
    for more in [&["--plan"][..], &[], &["--shards", "2"]] {
        let arguments = ["provision", "--sharded", "--generate-missing=new.env", "-d", &place.database, &uri];
        let run = medlift([&arguments[..], more].concat()).dir(place.dir.path()).run().expect_code(2);
        assert!(run.stderr.contains("is not a mongos, and only a mongos can shard a collection"), "{}", run.stderr);
    }
    block_on(async {
        let target = connect(&wishes(&shared().uri())).await.expect("connects");
        let collections = target.client.database(&place.database).list_collection_names().await.expect("lists");
        assert!(collections.is_empty(), "{collections:?}");
        assert!(!target.is_mongos().await.expect("an answer"));
    });
}

/// The server is not sharded. So the test itself writes the documents that a sharded cluster with MongoDB 5.0 or newer
/// has in its database `config`.
#[test]
fn the_ranges_of_a_collection_are_read_from_the_config() {
    block_on(async {
        let database = format!("sharded_{}", ObjectId::new());
        let target = connect(&wishes(&shared().uri())).await.expect("connects");
        let target = medlift::server::Target { database: database.clone(), ..target };
        let config = target.client.database("config");
        let (collections, chunks) =
            (config.collection::<Document>("collections"), config.collection::<Document>("chunks"));
        let (uuid, other) = (Uuid::new(), Uuid::new());
        let half = Uuid::from_bytes([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let chunk = |of: Uuid, from: Bson, to: Bson, shard: &str| {
            doc! { "uuid": of, "min": { "_id": from }, "max": { "_id": to }, "shard": shard }
        };
        let listed = doc! { "_id": target.full_name(), "uuid": uuid, "key": { "_id": 1 }, "unique": false };
        assert_eq!(target.sharded().await.expect("reads"), None);
        collections.insert_one(listed).await.expect("inserts");
        let all = [
            chunk(uuid, half.into(), Bson::MaxKey, "B"),
            chunk(other, Bson::MinKey, Bson::MaxKey, "C"),
            chunk(uuid, Bson::MinKey, half.into(), "A"),
        ];
        chunks.insert_many(all).await.expect("inserts");
        let sharded = target.sharded().await.expect("reads").expect("it is sharded");
        let owned = |from: Bound, shard: &str| Owned { from, shard: shard.to_owned() };
        assert_eq!(sharded.ranges, [owned(Bound::Lowest, "A"), owned(Bound::At(half.bytes()), "B")]);
        collections.delete_one(doc! { "_id": target.full_name() }).await.expect("deletes");
        chunks.delete_many(doc! { "uuid": { "$in": [uuid, other] } }).await.expect("deletes");
    });
}
