//! Tests of specs with several kinds of documents: each row gives one document of each kind, in a collection of its
//! own.

use std::fs;
use std::path::{Path, PathBuf};

use bson::{Document, doc};
use medlift::ledger::{Ledger, Owner, State};
use mongodb::Collection;
use serde_json::Value as Json;

use crate::bad_days::{SLOW_ROWS, SLOWLY, client, count, load, stop_midway, summary};
use crate::ledger;
use crate::load::{Place, block_on, text};
use crate::server::slow_server;

const ENDS: [&str; 6] = ["read", "written", "already_present", "duplicates", "conflicts", "rejected"];

const TABLE: &str = "Name,Age,Date of Admission,Doctor,Hospital\n\
    ann bo,30,2024-01-31,Jo Kim,North\n\
    Cy Day,31,2024-02-01,Jo Kim,North\n\
    ann bo,30,2024-01-31,Jo Kim,North\n\
    Ed Fox,32,2024-02-02,Lu Ma,\n\
    Gus Ho,33,2024-02-03,Jo Kim,South\n\
    ,34,2024-02-03,Mo Nu,South\n";

fn spec_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec/two_documents.toml")
}

fn counts_of(document: &Json) -> Vec<u64> {
    ENDS.iter().map(|name| document["counts"][name].as_u64().expect("a count")).collect()
}

fn all(collection: &Collection<Document>) -> Vec<Document> {
    use futures_util::TryStreamExt;
    let collection = collection.clone();
    block_on(async move { collection.find(doc! {}).await.unwrap().try_collect().await.unwrap() })
}

#[test]
fn a_row_gives_a_document_of_each_kind_and_both_are_proven() {
    let place = Place::new("kinds");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let spec = ["--spec", text(&spec)];
    let dry = place.run(&[&["load", "--dry-run", "--json", text(&source)], &spec[..]].concat()).expect_code(4);
    let loaded = place.load(&source, &spec, 4);
    for found in [&loaded, &serde_json::from_str(&dry.stdout).unwrap()] {
        assert_eq!(counts_of(found), [6, 4, 0, 1, 0, 1], "{found}");
        assert_eq!(found["further"][0]["kind"], "doctor");
        assert_eq!(counts_of(&found["further"][0]), [6, 2, 0, 2, 1, 1], "{found}");
    }
    assert_eq!(
        (&loaded["verification"]["missing"], &loaded["further"][0]["verification"]["missing"]),
        (&0.into(), &0.into())
    );
    let [stays, doctors] = ["stays", "doctors"].map(|name| place.collection(name));
    assert_eq!((all(&stays).len(), all(&doctors).len()), (4, 2));
    let kim = all(&doctors).into_iter().find(|doctor| doctor.get_str("name").unwrap() == "Jo Kim").unwrap();
    assert_eq!(
        kim.get_document("works").unwrap().get_str("hospital").unwrap(),
        "North",
        "of two records with the same identity, the first must be kept"
    );
    let again = place.load(&source, &spec, 4);
    assert_eq!(again["outcome"], "already loaded, verified instead");
    assert_eq!(counts_of(&again["further"][0]), [6, 0, 2, 2, 1, 1]);

    let verify = |code| place.run(&[&["verify", text(&source), "--json"], &spec[..]].concat()).expect_code(code).stdout;
    verify(0);
    block_on(async move { doctors.update_one(doc! { "name": "Jo Kim" }, doc! { "$set": { "name": "Jo" } }).await })
        .unwrap();
    let found: Json = serde_json::from_str(&verify(5)).unwrap();
    let different: Vec<&Json> = found["documents"].as_array().unwrap().iter().map(|kind| &kind["different"]).collect();
    assert_eq!(different, [0, 1], "{found}");
    let reloaded = place.load(&source, &[&spec[..], &["--drop", "--yes"]].concat(), 4);
    assert_eq!(counts_of(&reloaded["further"][0]), [6, 2, 0, 2, 1, 1], "--drop must drop the second collection too");

    place.run(&[&["load", text(&source), "--collection", "x"], &spec[..]].concat()).expect_code(2);
    let refused = place.run(&[&["export"], &spec[..]].concat()).expect_code(2);
    assert!(refused.stderr.contains("--collection stays or doctors"), "{}", refused.stderr);
    let exported = place.run(&[&["export", "--collection", "doctors"], &spec[..]].concat()).expect_code(0).stdout;
    assert!(exported.starts_with("Doctor,Hospital\n") && exported.contains("Jo Kim,North\n"), "{exported}");
}

#[test]
fn a_killed_load_goes_on_with_all_kinds_and_counts_exactly() {
    let place = Place::new("kinds_killed");
    let path = place.long_rows("a.csv", SLOW_ROWS, "heavy");
    let spec = spec_path();
    let whole = place.load(&path, &["--spec", text(&spec)], 4);
    let rejects = fs::read(place.dir.path().join("a.csv.rejects.csv")).unwrap();
    let server = slow_server();
    let options = [&SLOWLY[..], &["--spec", text(&spec)]].concat();
    let running = load(&server, &place, text(&path), &options).start();
    let [stays, doctors] = ["stays", "doctors"].map(|name| client(&server).database(&place.database).collection(name));
    stop_midway(running, &server, &place.database, "KILL");
    let before = [count(&stays), count(&doctors)];
    let resumed = summary(&load(&server, &place, text(&path), &options).run().expect_code(4));
    let written = |found: &Json| found["counts"]["written"].as_u64().unwrap();
    assert!(before[0] > 0 && before[0] < written(&whole), "{before:?}");
    for (found, expected) in [(&resumed, &whole), (&resumed["further"][0], &whole["further"][0])] {
        assert_eq!(counts_of(found), counts_of(expected));
        assert_eq!(found["digest"], expected["digest"]);
        assert_eq!((&found["verification"]["missing"], &found["verification"]["different"]), (&0.into(), &0.into()));
    }
    assert_eq!(resumed["counts_are_estimates"], false);
    assert_eq!(fs::read(place.dir.path().join("a.csv.rejects.csv")).unwrap(), rejects);
    assert_eq!([count(&stays), count(&doctors)], [written(&whole), written(&whole["further"][0])]);
}

#[test]
fn a_row_with_a_refused_document_is_rejected_once_and_whole() {
    let place = Place::new("kinds_refused");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let spec = ["--spec", text(&spec)];
    let refuse = doc! { "works.hospital": { "$type": "string" } };
    let database = place.collection("doctors").client().database(&place.database);
    block_on(async move { database.create_collection("doctors").validator(refuse).await }).unwrap();
    let loaded = place.load(&source, &[&spec[..], &["--no-verify"]].concat(), 4);
    assert_eq!(counts_of(&loaded), [6, 4, 0, 1, 0, 1]);
    assert_eq!(counts_of(&loaded["further"][0]), [6, 1, 0, 2, 1, 2]);
    let rejects = fs::read_to_string(place.dir.path().join("a.csv.rejects.csv")).unwrap();
    let lines: Vec<&str> = rejects.lines().collect();
    assert_eq!(lines.len(), 3, "{rejects}");
    assert!(lines[2].ends_with("Ed Fox,32,2024-02-02,Lu Ma,"), "{rejects}");
    let corrected = [lines[0], &format!("{}West", lines[2])].join("\n");
    let corrected = place.write("corrected.csv", corrected);
    let loaded = place.load(&corrected, &[&spec[..], &["--no-verify"]].concat(), 0);
    assert_eq!(
        (counts_of(&loaded), counts_of(&loaded["further"][0])),
        (vec![1, 0, 1, 0, 0, 0], vec![1, 1, 0, 0, 0, 0])
    );
}

#[test]
fn a_load_that_stops_counts_the_documents_of_all_kinds() {
    let place = Place::new("kinds_stopped");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let refuse = doc! { "works.hospital": { "$type": "string" } };
    let database = place.collection("doctors").client().database(&place.database);
    block_on(async move { database.create_collection("doctors").validator(refuse).await }).unwrap();
    let stopped = place.run(&["load", text(&source), "--spec", text(&spec), "--max-rejects", "1"]).expect_code(1);
    for expected in
        ["1 (admission), 2 (doctor) rows rejected of 6 read", "; 6 rows are committed, with 5 documents written"]
    {
        assert!(stopped.stderr.contains(expected), "{}", stopped.stderr);
    }
}

#[test]
fn one_key_of_json_feeds_several_kinds_and_has_one_column_in_the_reject_file() {
    let place = Place::new("kinds_json");
    let spec = spec_path();
    let spec = ["--spec", text(&spec)];
    let row = |age: &str| {
        format!(
            "{{\"Name\":\"Ann\",\"Age\":{age},\"Date of Admission\":\"2024-01-31\",\"Doctor\":\"Jo Kim\",\"Hospital\":null}}\n"
        )
    };
    let source = place.write("a.json", row("30") + &row("300"));
    let loaded = place.load(&source, &spec, 4);
    assert_eq!(counts_of(&loaded["further"][0]), [2, 1, 0, 0, 0, 1]);
    let rejects = fs::read_to_string(place.dir.path().join("a.json.rejects.csv")).unwrap();
    assert!(rejects.lines().next().unwrap().ends_with(",Name,Age,Date of Admission,Doctor,Hospital"), "{rejects}");
    let corrected = place.write("corrected.csv", rejects.replace(",300,", ",31,"));
    let loaded = place.load(&corrected, &spec, 0);
    assert_eq!(
        (counts_of(&loaded), counts_of(&loaded["further"][0])),
        (vec![1, 1, 0, 0, 0, 0], vec![1, 0, 1, 0, 0, 0])
    );
}

#[test]
fn a_load_is_repeated_if_one_of_its_collections_lost_documents() {
    let place = Place::new("kinds_thinned");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let spec = ["--spec", text(&spec)];
    place.load(&source, &spec, 4);
    let doctors = place.collection("doctors");
    block_on(async move { doctors.delete_one(doc! { "name": "Lu Ma" }).await }).unwrap();
    let again = place.load(&source, &spec, 4);
    assert_eq!(
        (&again["outcome"], &again["further"][0]["counts"]["written"]),
        (&"loaded".into(), &1.into()),
        "{again}"
    );
}

#[test]
fn each_kind_has_its_own_rule_for_conflicts_in_a_dry_run_and_in_a_load() {
    let place = Place::new("kinds_rules");
    let source = place.write("a.csv", TABLE);
    let spec = fs::read_to_string(spec_path()).unwrap().replace("\"keep-first\"", "\"reject\"");
    let spec = place.write("spec.toml", spec);
    let spec = ["--spec", text(&spec)];
    let dry = place.run(&[&["load", "--dry-run", "--json", text(&source)], &spec[..]].concat()).expect_code(4);
    let dry: Json = serde_json::from_str(&dry.stdout).unwrap();
    let loaded = place.load(&source, &spec, 4);
    for found in [&dry, &loaded] {
        assert_eq!(counts_of(found), [6, 4, 0, 1, 0, 1], "{found}");
        assert_eq!(counts_of(&found["further"][0]), [6, 2, 0, 2, 0, 2], "{found}");
    }
}

#[test]
fn the_proof_of_each_kind_excuses_its_own_refused_documents() {
    let place = Place::new("kinds_excused");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let database = place.collection("doctors").client().database(&place.database);
    block_on(async move {
        let create = |name, refuse| database.create_collection(name).validator(refuse);
        create("stays", doc! { "Name": { "$ne": "Gus Ho" } }).await.unwrap();
        create("doctors", doc! { "works.hospital": { "$type": "string" } }).await.unwrap();
    });
    let loaded = place.load(&source, &["--spec", text(&spec)], 4);
    for (found, refused) in [(&loaded, 1), (&loaded["further"][0], 1)] {
        let proof = &found["verification"];
        assert_eq!(
            (&proof["refused"], &proof["missing"], &proof["extra"]),
            (&refused.into(), &0.into(), &0.into()),
            "{found}"
        );
    }
}

/// When the load begins, the collection of the second kind already contains a document of another program. The
/// verification counts it under `others`, not under `extra`.
#[test]
fn documents_of_others_are_allowed_where_a_kind_found_them() {
    let place = Place::new("kinds_others");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let doctors = place.collection("doctors");
    block_on(async move { doctors.insert_one(doc! { "_id": 1 }).await }).unwrap();
    let loaded = place.load(&source, &["--spec", text(&spec)], 4);
    let others = |found: &Json| ["extra", "others"].map(|name| found["verification"][name].as_u64().unwrap());
    assert_eq!((others(&loaded), others(&loaded["further"][0])), ([0, 0], [0, 1]));
}

#[test]
fn drop_concerns_the_collections_of_all_kinds() {
    let place = Place::new("kinds_dropped");
    let source = place.write("a.csv", TABLE);
    let spec = spec_path();
    let drop = ["load", text(&source), "--spec", text(&spec), "--drop", "--yes"];
    let database = place.collection("doctors").client().database(&place.database);
    let ledger = Ledger::new(&database, "doctors", ledger::LEASE);
    let earlier = ledger::load("doctors", "earlier", State::Complete);
    block_on(async { ledger::put(&ledger, earlier).await });
    block_on(async { ledger::put_lease(&database, "another", "doctors", &Owner::this_process()).await });
    let busy = place.run(&drop).expect_code(6);
    assert!(busy.stderr.contains("not dropped"), "{}", busy.stderr);
    assert!(block_on(async { ledger.find("earlier").await.unwrap() }).is_some());

    let ended = Owner { ticks: "1".into(), ..Owner::this_process() };
    block_on(async { ledger::put_lease(&database, "another", "doctors", &ended).await });
    place.run(&drop).expect_code(4);
    assert!(
        block_on(async { ledger.find("earlier").await.unwrap() }).is_none(),
        "a load whose documents were dropped must not be found"
    );
}
