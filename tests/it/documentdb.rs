//! Tests of `--target documentdb`, on a real mongod. There is no Amazon DocumentDB to test with.

use crate::connection::{block_on, connect, wishes};
use crate::load::Place;
use crate::program::medlift;
use crate::server::shared;

#[test]
fn what_amazon_documentdb_lacks_is_refused_before_anything_is_written() {
    let place = Place::new("documentdb");
    let path = place.sample("a.csv", 10, "none");
    let uri = shared().uri();
    let run = |arguments: &[&str], code: i32| {
        let target = ["--target", "documentdb", "-d", &place.database, "--uri", &uri];
        medlift([arguments, &target].concat()).dir(place.dir.path()).run().expect_code(code)
    };
    let path = path.to_str().expect("a path");
    for (arguments, part) in [
        (&["load", path][..], "updates with an aggregation pipeline (the leases and checkpoints of the ledger)"),
        (&["verify", path], "min and max of a query"),
        (&["export"], "min and max of a query"),
        (&["runs", "list"], "the variable $$NOW"),
        (&["provision", "--generate-missing=new.env"], "users and roles outside the database admin"),
    ] {
        let refused = run(arguments, 1);
        assert!(refused.stderr.contains("Amazon DocumentDB") && refused.stderr.contains(part), "{}", refused.stderr);
    }
    let examined = run(&["doctor"], 1);
    assert!(examined.stdout.contains("lacks features that a load needs"), "{}", examined.stdout);
    block_on(async {
        let target = connect(&wishes(&uri)).await.expect("connects");
        let collections = target.client.database(&place.database).list_collection_names().await.expect("lists");
        assert!(collections.is_empty(), "{collections:?}");
    });
    assert!(!place.dir.path().join("new.env").exists());
}
