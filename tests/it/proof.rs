//! Tests that the proof of a load finds every difference. The exceptions are records that the load has listed in the
//! ledger, because they were refused or not stored. A load without a proof must not report that the content was
//! verified.

use bson::{Bson, doc};
use serde_json::Value as Json;

use crate::bad_days::{SLOW_ROWS, SLOWLY, client, documents, load, stop_midway, wait_for_checkpoint};
use crate::load::{ENDS, HEADER, Place, block_on, counts, row, spec_without_age, text};
use crate::program::medlift;
use crate::server::{heal, shared, slow_server};

fn rows(people: &[(&str, &str)]) -> String {
    let rows: Vec<String> = people.iter().map(|(name, age)| row(name, age, "O+", "2024-01-31", "2024-02-02")).collect();
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

/// Returns four counts of the proof: missing, different, refused by the server, kept out by a conflict.
fn found(summary: &Json) -> Vec<u64> {
    ["missing", "different", "refused", "kept_out"].map(|name| summary["verification"][name].as_u64().unwrap()).into()
}

fn set_validator(place: &Place, validator: bson::Document) {
    let database = place.collection("admissions").client().database(&place.database);
    block_on(async move {
        let _ = database.create_collection("admissions").await;
        database.run_command(doc! { "collMod": "admissions", "validator": validator }).await.unwrap();
    });
}

#[test]
fn a_refused_record_does_not_hide_another_missing_record() {
    let place = Place::new("mask");
    set_validator(&place, doc! { "Age": { "$lt": 50 } });
    let path = place.write("a.csv", rows(&[("Ann Lee", "30"), ("Bea Lee", "31"), ("Cia Lee", "77")]));
    let first = place.load(&path, &[], 4);
    assert_eq!(found(&first), [0, 0, 1, 0], "{first}");
    // The ledger lists Cia's record as refused. Now a load of another file writes Cia's record, and the test deletes
    // Ann's. As before, one record is missing. But the ledger does not list Ann's record, so it must be reported.
    set_validator(&place, doc! {});
    place.load(&place.write("b.csv", rows(&[("Cia Lee", "77")])), &["--no-verify"], 0);
    let documents = place.documents();
    block_on(async { documents.delete_one(doc! { "Name": "Ann Lee" }).await.unwrap() });
    let again = place.load(&path, &[], 5);
    assert_eq!(again["outcome"], "already loaded, verified instead", "{again}");
    assert_eq!(found(&again), [1, 0, 0, 0], "{again}");
    let path = place.write("c.csv", rows(&[("Dot Lee", "30")]));
    place.load(&path, &[], 0);
}

#[test]
fn a_conflict_does_not_hide_another_difference_or_a_missing_document() {
    let place = Place::new("kept");
    let spec = place.write("spec.toml", spec_without_age("keep-first"));
    let options = ["--spec", text(&spec)];
    place.load(&place.write("a.csv", rows(&[("Ann Lee", "30"), ("Bea Lee", "30")])), &options, 0);
    let path = place.write("b.csv", rows(&[("Ann Lee", "40"), ("Cia Lee", "40"), ("Cia Lee", "41")]));
    let second = place.load(&path, &options, 0);
    assert_eq!(counts(&second, &["written", "conflicts"]), [1, 2], "{second}");
    assert_eq!(found(&second), [0, 0, 0, 1], "{second}");
    let set_age = |name: &str, age: i32| {
        let (documents, name) = (place.documents(), name.to_owned());
        block_on(async move {
            let change = documents.update_one(doc! { "Name": name }, doc! { "$set": { "Age": age } });
            change.bypass_document_validation(true).await.unwrap();
        });
    };
    // Two records of this load have the same identity. The proof expects the first one (age 40), not the second (41).
    set_age("Cia Lee", 41);
    assert_eq!(found(&place.load(&path, &options, 5)), [0, 1, 0, 1]);
    set_age("Cia Lee", 40);
    assert_eq!(found(&place.load(&path, &options, 0)), [0, 0, 0, 1]);
    let documents = place.documents();
    block_on(async { documents.delete_one(doc! { "Name": "Ann Lee" }).await.unwrap() });
    let again = place.load(&path, &options, 5);
    assert_eq!(again["outcome"], "already loaded, verified instead", "{again}");
    assert_eq!(found(&again), [1, 0, 0, 0], "{again}");
}

#[test]
fn records_refused_before_a_kill_are_known_to_the_resumed_load() {
    let place = Place::new("exceptions");
    let path = place.long_rows("a.csv", SLOW_ROWS, "none");
    let server = slow_server();
    let database = client(&server).database(&place.database);
    block_on(async {
        let validator = doc! { "Age": { "$lt": 70 } };
        database.create_collection("admissions").validator(validator).await.unwrap();
    });
    let killed = load(&server, &place, text(&path), &SLOWLY).start();
    stop_midway(killed, &server, &place.database, "KILL");
    let run = load(&server, &place, text(&path), &SLOWLY).run().expect_code(4);
    let summary: Json = serde_json::from_str(&run.stdout).unwrap();
    let refused = counts(&summary, &["refused_by_server"])[0];
    assert!(refused > 250, "{summary}");
    assert_eq!(found(&summary), [0, 0, refused, 0], "{summary}");
    let documents = documents(&server, &place.database);
    block_on(async {
        documents.delete_one(doc! { "Age": { "$lt": 20 } }).await.unwrap();
        // Inserts a document, so that the collection has as many documents as before. Otherwise the source would be
        // loaded again, and not only verified.
        let other = documents.insert_one(doc! { "_id": Bson::Int32(1) }).bypass_document_validation(true);
        other.await.unwrap();
    });
    let again = load(&server, &place, text(&path), &[]).run().expect_code(5);
    assert_eq!(found(&serde_json::from_str(&again.stdout).unwrap()), [1, 0, refused, 0]);
}

#[test]
fn a_repeated_load_without_a_proof_writes_missing_documents() {
    let place = Place::new("noverify");
    let (one, two) = (
        place.write("a.csv", rows(&[("Ann Lee", "30"), ("Bea Lee", "31")])),
        place.write("b.csv", rows(&[("Cia Lee", "40")])),
    );
    place.load(&one, &["--no-verify"], 0);
    let again = place.load(&one, &["--no-verify"], 0);
    assert_eq!((&again["outcome"], counts(&again, &ENDS)), (&"loaded".into(), vec![2, 0, 2, 0, 0]));
    let documents = place.documents();
    block_on(async { documents.drop().await.unwrap() });
    place.load(&two, &["--no-verify"], 0);
    let replaced = place.load(&one, &["--no-verify"], 0);
    assert_eq!(counts(&replaced, &["written"]), [2], "{replaced}");
    assert_eq!(place.count(doc! {}), 3);
}

#[test]
fn a_source_is_loaded_again_if_its_collection_was_replaced_or_lost_documents() {
    let place = Place::new("replaced");
    let (one, two) = (place.sample("a.csv", 200, "none"), place.sample("b.csv", 300, "typical"));
    place.load(&one, &[], 0);
    let documents = place.documents();
    block_on(async { documents.drop().await.unwrap() });
    place.load(&two, &[], 0);
    let again = place.load(&one, &[], 0);
    assert_eq!(again["outcome"], "loaded", "{again}");
    assert!(again["notes"].to_string().contains("dropped and created again"), "{again}");
    let documents = place.documents();
    block_on(async { documents.delete_many(doc! { "Age": { "$gte": 0 } }).await.unwrap() });
    block_on(async {
        documents.insert_one(doc! { "_id": Bson::Int32(1) }).bypass_document_validation(true).await.unwrap()
    });
    let again = place.load(&one, &[], 0);
    assert!(again["notes"].to_string().contains("fewer documents"), "{again}");
    assert_eq!(counts(&again, &["written"]), [200]);
}

#[test]
fn load_and_verify_refuse_another_identity_and_name_the_difference() {
    let place = Place::new("identity");
    let path = place.sample("a.csv", 50, "none");
    let uri = shared().uri();
    let with_key = |arguments: &[&str], key: &str| {
        let rest = [text(&path), "--uri", &uri, "--db", &place.database, "--quiet"];
        medlift(arguments.iter().chain(&rest)).env("MEDLIFT_IDENTITY_KEY", key).run()
    };
    with_key(&["load"], "abcabcabcabc1").expect_code(0);
    for refused in [
        with_key(&["load"], "another-key-1").expect_code(2),
        with_key(&["verify"], "another-key-1").expect_code(2),
        place.run(&["load", text(&path)]).expect_code(2),
        place.run(&["verify", text(&path)]).expect_code(2),
    ] {
        assert!(
            refused.stderr.contains("identity key") && !refused.stderr.contains("another-key"),
            "{}",
            refused.stderr
        );
    }
    let spec = place.write("spec.toml", spec_without_age("keep-first"));
    let refused = with_key(&["load", "--spec", text(&spec)], "abcabcabcabc1").expect_code(2);
    assert!(refused.stderr.contains("`Age: int32`"), "{}", refused.stderr);
    assert_eq!(place.count(doc! {}), 50);
    with_key(&["load"], "abcabcabcabc1").expect_code(0);
    with_key(&["verify"], "abcabcabcabc1").expect_code(0);
    // If a collection was dropped or is empty, its stored identity does not count. Any identity is then accepted.
    place.load(&path, &["--drop", "--yes"], 0);
    let documents = place.documents();
    block_on(async { documents.delete_many(doc! {}).await.unwrap() });
    with_key(&["load", "--no-verify"], "a-new-key-123").expect_code(0);
    assert_eq!(place.count(doc! {}), 50);
}

#[test]
fn the_load_after_an_unfinished_first_load_builds_indexes_and_validator() {
    let place = Place::new("inherits");
    let (one, two) = (place.long_rows("a.csv", SLOW_ROWS, "none"), place.sample("b.csv", 100, "none"));
    let server = slow_server();
    let killed = load(&server, &place, text(&one), &SLOWLY).start();
    stop_midway(killed, &server, &place.database, "KILL");
    load(&server, &place, text(&two), &[]).run().expect_code(0);
    let names = || {
        let documents = documents(&server, &place.database);
        block_on(async move { documents.list_index_names().await.unwrap().len() })
    };
    assert!(names() > 1);
    // After the first load is complete, another load does not build missing indexes. It only reports them.
    let documents = documents(&server, &place.database);
    block_on(async { documents.drop_indexes().await.unwrap() });
    load(&server, &place, text(&one), &[]).run().expect_code(0);
    block_on(async { documents.drop_indexes().await.unwrap() });
    let run = load(&server, &place, text(&place.sample("c.csv", 120, "none")), &[]).run().expect_code(0);
    assert!(run.stdout.contains("indexes missing") && run.stdout.contains("medlift provision"), "{}", run.stdout);
    assert_eq!(names(), 1);
}

#[test]
fn a_merge_keeps_other_fields_of_a_nested_document() {
    let place = Place::new("nested");
    let field = |name: &str| format!("[[field]]\nname = \"{name}\"\ntype = \"string\"\nprivacy = \"none\"\n");
    let spec = format!(
        "name = \"t\"\ncollection = \"admissions\"\n[identity]\nfields = [\"key\"]\n{}{}{}",
        field("key"),
        field("n.a"),
        field("n.deep.b")
    );
    let spec = place.write("n.toml", spec);
    let options = ["--spec", text(&spec)];
    place.load(&place.write("a.csv", "key,n.a,n.deep.b\nk1,a1,b1\n"), &options, 0);
    let documents = place.documents();
    block_on(async {
        let change = doc! { "$set": { "n.note": "ward", "n.deep.note": "bed", "top": 1 } };
        documents.update_one(doc! {}, change).await.unwrap()
    });
    let summary = place.load(
        &place.write("b.csv", "key,n.a,n.deep.b\nk1,NEW,b1\n"),
        &["--spec", text(&spec), "--mode", "merge"],
        0,
    );
    assert_eq!(counts(&summary, &["written", "replaced"]), [1, 1]);
    let stored = block_on(async { documents.find_one(doc! {}).await.unwrap().unwrap() });
    let nested = stored.get_document("n").unwrap();
    assert_eq!((nested.get_str("a").unwrap(), nested.get_str("note").unwrap()), ("NEW", "ward"));
    let deep = nested.get_document("deep").unwrap();
    assert_eq!((deep.get_str("b").unwrap(), deep.get_str("note").unwrap()), ("b1", "bed"));
    assert_eq!(stored.get_i32("top").unwrap(), 1);
}

#[test]
fn records_with_the_identity_of_a_refused_record_are_rejected_and_not_lost() {
    for (rule, ages) in [("keep-first", ["77", "30"]), ("keep-last", ["30", "77"])] {
        let place = Place::new("behind");
        set_validator(&place, doc! { "Age": { "$lt": 50 } });
        let spec = place.write("spec.toml", spec_without_age(rule));
        let path = place.write("a.csv", rows(&ages.map(|age| ("Ann Lee", age))));
        let summary = place.load(&path, &["--spec", text(&spec)], 4);
        assert_eq!(counts(&summary, &["read", "written", "conflicts", "rejected"]), [2, 0, 0, 2], "{rule}: {summary}");
        let rejects = std::fs::read_to_string(place.dir.path().join("a.csv.rejects.csv")).unwrap();
        assert_eq!(rejects.matches("Ann Lee").count(), 2, "{rejects}");
        assert!(rejects.contains("another record with the same identity"), "{rejects}");
    }
}

#[test]
fn a_restored_collection_keeps_its_identity() {
    let place = Place::new("restored");
    let path = place.sample("a.csv", 50, "none");
    place.load(&path, &[], 0);
    let documents = place.documents();
    block_on(async {
        let database = documents.client().database(&place.database);
        let copy = doc! { "aggregate": "admissions", "pipeline": [{ "$out": "copy" }], "cursor": {} };
        database.run_command(copy).await.unwrap();
        documents.drop().await.unwrap();
        let name = |collection: &str| format!("{}.{collection}", place.database);
        let rename = doc! { "renameCollection": name("copy"), "to": name("admissions") };
        documents.client().database("admin").run_command(rename).await.unwrap();
    });
    let uri = shared().uri();
    let other = ["load", text(&path), "--uri", &uri, "--db", &place.database, "--quiet"];
    medlift(other).env("MEDLIFT_IDENTITY_KEY", "another-key-1").run().expect_code(2);
    // Removes the stored identity, because earlier versions did not store one. Another key must be refused even then.
    let leases = place.collection("medlift_runs.leases");
    block_on(async { leases.delete_many(doc! {}).await.unwrap() });
    medlift(other).env("MEDLIFT_IDENTITY_KEY", "another-key-1").run().expect_code(2);
    assert_eq!(place.count(doc! {}), 50);
    place.load(&path, &[], 0);
}

#[test]
fn an_old_load_that_wrote_nothing_does_not_hide_extra_documents() {
    let place = Place::new("blind");
    let ledger = place.collection("medlift_runs");
    let old = bson::DateTime::from_millis(0);
    let failed = doc! { "collection": "admissions", "state": "failed", "collection_uuid": Bson::Null, "updated": old };
    block_on(async { ledger.insert_one(failed).await.unwrap() });
    let path = place.sample("a.csv", 50, "none");
    place.load(&path, &[], 0);
    let documents = place.documents();
    let other = documents.insert_one(doc! { "_id": 1 }).bypass_document_validation(true);
    block_on(async { other.await.unwrap() });
    let again = place.load(&path, &[], 5);
    assert_eq!(again["verification"]["extra"], 1, "{again}");
}

#[test]
fn a_document_of_another_program_that_violates_the_validator_is_counted() {
    let place = Place::new("violates");
    let path = place.long_rows("a.csv", SLOW_ROWS, "none");
    let server = slow_server();
    let running = load(&server, &place, text(&path), &SLOWLY).start();
    wait_for_checkpoint(&server, &place.database);
    let documents = documents(&server, &place.database);
    block_on(async { documents.insert_one(doc! { "_id": 1, "Age": "thirty" }).await.unwrap() });
    heal(&server);
    let run = running.wait().expect_code(5);
    let summary: Json = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&summary["nonconforming"], &summary["verification"]["extra"]), (&1.into(), &1.into()), "{summary}");
}

#[test]
fn verify_names_the_loads_that_may_have_written_the_extra_documents() {
    let place = Place::new("twofiles");
    let of = |name: &str, people: std::ops::Range<u32>| {
        let rows: Vec<String> =
            people.map(|age| row("Ann Lee", &age.to_string(), "O+", "2024-01-31", "2024-02-02")).collect();
        place.write(name, format!("{HEADER}\n{}\n", rows.join("\n")))
    };
    let (first, second, third) = (of("a.csv", 1..6), of("b.csv", 11..14), of("c.csv", 21..23));
    let verify = |options: &[&str], code: i32| {
        place.run(&[&["verify", text(&first)], options].concat()).expect_code(code).stdout
    };
    place.load(&first, &[], 0);
    assert!(!verify(&[], 0).contains("load"), "there are no extra documents");
    let other = place.load(&second, &[], 0);
    let told = verify(&[], 5);
    let load = other["run"].as_str().unwrap();
    let wrote = format!("  3 documents were written into this collection by load {load} of {}\n", text(&second));
    assert!(told.contains(&wrote), "{told}");
    assert!(told.ends_with("to verify this source alone, add --ignore-extra\n"), "{told}");
    verify(&["--ignore-extra"], 0);
    // With lineage, each extra document says which load it is from.
    let exact = place.load(&third, &["--lineage"], 0);
    let told = verify(&[], 5);
    let belong = format!("  2 extra documents belong to load {} of {}\n", exact["run"].as_str().unwrap(), text(&third));
    assert!(told.contains(&wrote) && told.contains(&belong), "{told}");
    let json: Json = serde_json::from_str(&verify(&["--json"], 5)).unwrap();
    assert_eq!(json["other_loads"].as_array().map(Vec::len), Some(2), "{json}");
    let documents = place.documents();
    let foreign = documents.insert_one(doc! { "_id": 1 }).bypass_document_validation(true);
    block_on(async { foreign.await.unwrap() });
    let told = verify(&[], 5);
    assert!(told.ends_with("so at least 1 extra document was not written by these loads\n"), "{told}");
}

#[test]
fn the_loads_of_a_dropped_collection_are_not_named() {
    let place = Place::new("dropped");
    let rows = |age| format!("{HEADER}\n{}\n", row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02"));
    let (first, second) = (place.write("a.csv", rows("1")), place.write("b.csv", rows("2")));
    place.load(&second, &[], 0);
    let documents = place.documents();
    block_on(async { documents.drop().await.unwrap() });
    place.load(&first, &[], 0);
    let foreign = documents.insert_one(doc! { "_id": 1 }).bypass_document_validation(true);
    block_on(async { foreign.await.unwrap() });
    let told = place.run(&["verify", text(&first)]).expect_code(5).stdout;
    assert!(!told.contains("load"), "{told}");
}
