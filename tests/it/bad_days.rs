//! Tests of failures: a server that does not exist or stops, a load that is killed, a collection with documents of
//! other programs. Also tests that no output contains a patient's value, whatever fails.

use std::fs;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::{Client, Collection};
use serde_json::Value as Json;
use testkit::mongod::Server;

use crate::load::{Place, block_on, counts, spec_without_age, text};
use crate::program::{Run, Running, medlift};
use crate::server::{fail_point, heal, server_with_fail_points, server_with_slow_inserts, slow_server};

/// With these options, a load writes chunks of 1 MiB in batches of 125 documents, one batch after another. It then
/// takes so long that a test can interrupt it in the middle.
pub(crate) const SLOWLY: [&str; 6] = ["--run-size", "1", "--batch-size", "125", "-j", "1"];

/// A source with this number of [long rows](Place::long_rows) has five blocks of 1 MiB. A test can interrupt the load
/// of this source when some of the blocks are committed, but not all.
pub(crate) const SLOW_ROWS: u32 = 9_000;

pub(crate) fn client(server: &Server) -> Client {
    let uri = format!("{}&serverSelectionTimeoutMS=5000", server.uri());
    block_on(async move { Client::with_uri_str(uri).await.expect("connected") })
}

pub(crate) fn documents(server: &Server, database: &str) -> Collection<Document> {
    client(server).database(database).collection("admissions")
}

pub(crate) fn count(documents: &Collection<Document>) -> u64 {
    let documents = documents.clone();
    block_on(async move { documents.count_documents(doc! {}).await.unwrap_or_default() })
}

/// Waits until a load has written documents.
pub(crate) fn wait_for_documents(server: &Server, database: &str) {
    let stored = documents(server, database);
    wait_until("documents", || count(&stored) > 0);
}

/// Waits until `is_met` returns true. Panics after a minute.
fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !is_met() {
        assert!(Instant::now() < until, "expected {what} within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Stops a load in the middle with a signal, and waits for its end.
pub(crate) fn stop_midway(running: Running, server: &Server, database: &str, signal: &str) -> Run {
    wait_for_checkpoint(server, database);
    running.signal(signal);
    heal(server);
    running.wait()
}

/// Waits until the ledger has a checkpoint after two or more blocks. A resumed load must skip these blocks.
pub(crate) fn wait_for_checkpoint(server: &Server, database: &str) {
    let runs: Collection<Document> = client(server).database(database).collection("medlift_runs");
    let committed = || block_on(async { runs.find_one(doc! { "checkpoint.blocks": { "$gte": 2 } }).await });
    wait_until("a checkpoint", || committed().is_ok_and(|run| run.is_some()));
}

pub(crate) fn summary(run: &Run) -> Json {
    serde_json::from_str(&run.stdout).expect("the summary is JSON")
}

pub(crate) fn load<'a>(
    server: &Server,
    place: &'a Place,
    file: &'a str,
    options: &[&'a str],
) -> crate::program::Medlift {
    let arguments = ["load", file, "--db", &place.database, "--json", "--quiet"];
    medlift(arguments.iter().chain(options)).env("MONGODB_URI", server.uri())
}

#[test]
fn a_load_without_a_server_names_the_address_and_leaves_no_file() {
    let place = Place::new("nowhere");
    let path = place.sample("a.csv", 10, "none");
    let run =
        medlift(["load", text(&path), "mongodb://127.0.0.1:9/?serverSelectionTimeoutMS=300"]).run().expect_code(3);
    assert!(run.stderr.contains("127.0.0.1:9"), "{}", run.stderr);
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_killed_load_is_resumed_and_counts_as_if_it_had_not_been_killed() {
    let built_in = medlift(["spec", "show"]).run().expect_code(0).stdout;
    check_resumed_load("KILL", SLOW_ROWS, built_in);
    // With this spec, a record is a conflict if an earlier record has the same `_id` and other content. A conflict is
    // not stored. The file may contain the row of a conflict twice, the second time after the place at which the killed
    // load is resumed. The second row must then count as a conflict too, and not as a duplicate.
    check_resumed_load("KILL", SLOW_ROWS, spec_without_age("keep-first"));
}

#[test]
fn an_interrupted_load_is_resumed_and_counts_as_if_it_had_not_been_interrupted() {
    // After SIGINT the load still writes the rows that it has already read. The file has so many rows that this is not
    // the whole file.
    check_resumed_load("INT", 36_000, medlift(["spec", "show"]).run().expect_code(0).stdout);
}

/// Stops a load with a signal and repeats the command. Checks that the result is the same as that of a load that was
/// not stopped.
fn check_resumed_load(signal: &str, rows: u32, spec: String) {
    let place = Place::new("stopped");
    let path = place.long_rows("a.csv", rows, "heavy");
    let spec = place.write("spec.toml", spec);
    let whole = place.load(&path, &["--no-verify", "--drop", "--yes", "--spec", text(&spec)], 4);
    let rejects = fs::read(place.dir.path().join("a.csv.rejects.csv")).unwrap();
    let server = if signal == "INT" { server_with_slow_inserts(60) } else { slow_server() };
    let options = [&SLOWLY[..], &["--spec", text(&spec)]].concat();
    let running = load(&server, &place, text(&path), &options).start();
    let stopped = stop_midway(running, &server, &place.database, signal);
    if signal == "INT" {
        assert_eq!(stopped.code, Some(1), "{}", stopped.stderr);
        assert!(stopped.stderr.contains("durable"), "{}", stopped.stderr);
    }
    let before = count(&documents(&server, &place.database));
    let run = load(&server, &place, text(&path), &options).run().expect_code(4);
    let summary = summary(&run);
    assert!(
        before > 0 && before < summary["counts"]["written"].as_u64().unwrap(),
        "{signal}: the stopped load must have written some documents and not all, but wrote {before}"
    );
    for name in ["read", "duplicates", "conflicts", "rejected"] {
        assert_eq!(summary["counts"][name], whole["counts"][name], "{signal}: {name}");
    }
    for name in ["written", "already_present"] {
        assert_eq!(summary["counts"][name], whole["counts"][name], "{signal}: a first load must count {name} exactly");
    }
    let number = |name: &str| summary[name].as_f64().unwrap();
    let rows_of_its_own = number("rows_per_second") * number("seconds");
    let continued_after = summary["continued_after"].as_u64().unwrap();
    let all = summary["counts"]["read"].as_u64().unwrap();
    assert!(continued_after > 0 && (rows_of_its_own - (all - continued_after) as f64).abs() < 0.5, "{summary}");
    assert!(rows_of_its_own < summary["counts"]["read"].as_f64().unwrap() - 1.0, "{summary}");
    assert_eq!(summary["counts_are_estimates"], false, "{summary}");
    assert_eq!(summary["digest"], whole["digest"], "{signal}");
    assert_eq!(summary["changes"], whole["changes"], "{signal}");
    assert_eq!(fs::read(place.dir.path().join("a.csv.rejects.csv")).unwrap(), rejects, "{signal}");
    assert!(summary["verification"]["missing"] == 0, "{summary}");
}

#[test]
fn a_load_survives_a_restart_of_the_server_with_exact_counts() {
    let place = Place::new("restart");
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    let mut server = slow_server();
    let running = load(&server, &place, text(&path), &SLOWLY).start();
    wait_for_checkpoint(&server, &place.database);
    server.kill().expect("killed");
    server.restart().expect("started again");
    let run = running.wait().expect_code(0);
    let summary = summary(&run);
    assert_eq!(summary["verification"]["equal"], summary["counts"]["written"], "{summary}");
    assert_eq!(counts(&summary, &["already_present"]), [0]);
}

#[test]
fn a_load_whose_server_stops_reports_what_is_durable_and_can_be_resumed() {
    let place = Place::new("gone");
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    let mut server = slow_server();
    let uri = format!("{}&serverSelectionTimeoutMS=200", server.uri());
    // The lease expires while the server is stopped. The load must end all the same, and not try forever to renew the
    // lease.
    let options = [&SLOWLY[..], &["--lease-seconds", "2"]].concat();
    let running = load(&server, &place, text(&path), &options).env("MONGODB_URI", uri).start();
    wait_for_checkpoint(&server, &place.database);
    server.kill().expect("killed");
    let run = running.wait().expect_code(6);
    assert!(run.stderr.contains("durable") && run.stderr.contains("same command"), "{}", run.stderr);
    server.restart().expect("started again");
    let run = load(&server, &place, text(&path), &SLOWLY).run().expect_code(0);
    assert_eq!(summary(&run)["verification"]["missing"], 0);
}

#[test]
fn a_first_load_that_was_killed_before_its_first_checkpoint_is_resumed_as_a_first_load() {
    let place = Place::new("unsettled");
    let path = place.sample("a.csv", 1_000, "none");
    let server = Server::builder().start().expect("a mongod");
    load(&server, &place, text(&path), &[]).run().expect_code(0);
    // Changes the database to the state after a kill before the first checkpoint: there are documents, but no indexes,
    // no validator and no counts.
    let database = client(&server).database(&place.database);
    block_on(async {
        let runs: Collection<Document> = database.collection("medlift_runs");
        let loads = doc! { "collection": "admissions" };
        let mut run = runs.find_one(loads.clone()).await.unwrap().expect("the load is in the ledger");
        let zero =
            run.get_document("counts").unwrap().keys().map(|name| (name.clone(), 0_i64.into())).collect::<Document>();
        let checkpoint = doc! { "blocks": 0_i64, "rejects": [] };
        run.extend(doc! { "state": "running", "counts": zero, "checkpoint": checkpoint, "digest": "0".repeat(32) });
        runs.replace_one(loads, run).await.unwrap();
        let admissions: Collection<Document> = database.collection("admissions");
        admissions.drop_indexes().await.unwrap();
        database.run_command(doc! { "collMod": "admissions", "validator": {} }).await.unwrap();
    });
    let run = load(&server, &place, text(&path), &[]).run().expect_code(0);
    assert_eq!(counts(&summary(&run), &["read", "written", "already_present"]), [1_000, 1_000, 0]);
    let admissions = documents(&server, &place.database);
    assert_eq!(block_on(async move { admissions.list_index_names().await.unwrap() }).len(), 4);
}

#[test]
fn a_reply_with_duplicates_and_a_missed_write_concern_is_not_counted() {
    let place = Place::new("concern");
    let path = place.sample("a.csv", 2_000, "none");
    let server = server_with_fail_points();
    load(&server, &place, text(&path), &["--batch-size", "500"]).run().expect_code(0);
    let stored = documents(&server, &place.database);
    block_on(async move { stored.delete_many(doc! { "Age": { "$gt": 50 } }).await.unwrap() });
    let error = doc! { "code": 64, "errmsg": "waiting for replication timed out", "errInfo": { "wtimeout": true } };
    let data = doc! { "failCommands": ["insert"], "writeConcernError": error };
    fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": { "times": 3 }, "data": data });
    let run = load(&server, &place, text(&path), &["--batch-size", "500", "--reload"]).run().expect_code(0);
    let summary = summary(&run);
    let [read, written, present] = counts(&summary, &["read", "written", "already_present"])[..] else {
        unreachable!()
    };
    assert_eq!(read, written + present);
    assert!(written > 0 && present > 0, "{summary}");
    assert_eq!(summary["verification"]["equal"], 2_000);
}

#[test]
fn documents_of_other_programs_stay_unchanged_and_are_counted_by_the_proof() {
    let place = Place::new("foreign");
    let path = place.sample("a.csv", 100, "none");
    let documents = place.documents();
    block_on(async move { documents.insert_one(doc! { "_id": "somebody else's" }).await.unwrap() });
    let summary = place.load(&path, &[], 0);
    assert_eq!(summary["verification"]["others"], 1);
    let run = place.run(&["verify", text(&path)]).expect_code(5);
    assert!(run.stdout.contains("foreign") && !run.stdout.contains("somebody"), "{}", run.stdout);
    assert_eq!(place.count(doc! {}), 101);
}

#[test]
fn a_missing_right_and_a_wrong_password_have_different_messages() {
    let place = Place::new("privilege");
    let path = place.sample("a.csv", 10, "none");
    let server = Server::builder().access_control().start().expect("a mongod");
    let hospital = client(&server).database("hospital");
    block_on(async move {
        let reader = doc! { "createUser": "reader", "pwd": "Reader-pass-1", "roles": ["read"] };
        hospital.run_command(reader).await.unwrap();
    });
    let load_as = |password: &str, auth_database: &str| {
        let uri = server.uri_as("reader", password, auth_database);
        medlift(["load", text(&path), &uri, "--quiet"]).run()
    };
    let refused = load_as("Reader-pass-1", "hospital").expect_code(1);
    assert!(
        refused.stderr.contains("may not run") && refused.stderr.contains("grant the user a role"),
        "{}",
        refused.stderr
    );
    let wrong = load_as("another", "hospital").expect_code(3);
    assert!(wrong.stderr.contains("password") && !wrong.stderr.contains("another"), "{}", wrong.stderr);
    let elsewhere = load_as("Reader-pass-1", "admin").expect_code(3);
    assert!(elsewhere.stderr.contains("hospital"), "{}", elsewhere.stderr);
}

/// Values that must never appear in an error, log, summary or proof, whatever fails.
const CANARIES: [&str; 4] = ["Canaria Tweetwell", "Canaria TWEETWELL", "31337.125", "Birdcage Clinic"];

#[test]
fn no_output_contains_a_patients_value_whatever_fails() {
    let place = Place::new("canary");
    let header = fs::read_to_string(place.sample("h.csv", 0, "none")).unwrap();
    let row = |name: &str, age: &str, admitted: &str, amount: &str| {
        format!(
            "{name},{age},Male,O+,Asthma,{admitted},Jo Kim,Birdcage Clinic,Aetna,{amount},101,Urgent,2024-02-02,Aspirin,Normal"
        )
    };
    let good = row("Canaria TWEETWELL", "30", "2024-01-31", "31337.125");
    let bad = [
        row("Canaria TWEETWELL", "Canaria", "2024-01-31", "31337.125"),
        row("Canaria TWEETWELL", "30", "31337.125", "31337.125"),
        row("Canaria TWEETWELL", "30", "2025-01-31", "31337.125"),
        row("\"Canaria TWEETWELL\" x", "30", "2024-01-31", "31337.125x"),
        "Canaria TWEETWELL,31337.125".into(),
        format!("\"Canaria TWEETWELL,{good}"),
    ];
    let mixed = place.write("a.csv", format!("{}\n{good}\n{}\n", header.trim_end(), bad.join("\n")));
    let alone = place.write("b.csv", format!("{}\n{good}\n", header.trim_end()));
    let latin = place.write("c.csv", [header.as_bytes(), b"Canaria TWEETWELL\xff,30\n"].concat());
    let mut said = Vec::new();
    let mut tell = |arguments: &[&str]| {
        let run = place.run(arguments);
        said.push(format!("{arguments:?}\n{}\n{}", run.stdout, run.stderr));
    };
    tell(&["load", "--dry-run", text(&mixed), "--encoding", "utf-8"]);
    tell(&["load", text(&mixed)]);
    tell(&["load", text(&mixed), "--stop-on-error"]);
    tell(&["load", text(&latin), "--encoding", "utf-8"]);
    tell(&["load", text(&mixed), "--date-format", "DD/MM/YYYY"]);
    let documents = place.documents();
    block_on(async move {
        documents.update_many(doc! {}, doc! { "$set": { "Age": 31 } }).await.unwrap();
    });
    tell(&["verify", text(&alone)]);
    tell(&["verify", "--json", text(&alone)]);
    tell(&["load", "--reload", text(&alone)]);
    tell(&["load", "--json", "--reload", "--mode", "upsert", text(&alone)]);
    let (documents, database) = (place.documents(), place.collection("admissions"));
    block_on(async move {
        documents.delete_many(doc! {}).await.unwrap();
        let client = database.client().clone();
        let validator = doc! { "collMod": "admissions", "validator": { "Age": { "$gt": 1000 } } };
        client.database(&database.namespace().db).run_command(validator).await.unwrap();
    });
    tell(&["load", "--reload", "--no-verify", text(&alone)]);
    block_on({
        let documents = place.documents();
        async move {
            let unique = mongodb::IndexModel::builder().keys(doc! { "Hospital": 1 });
            let unique = unique.options(mongodb::options::IndexOptions::builder().unique(true).build()).build();
            documents.create_index(unique).await.unwrap();
            let other = doc! { "Hospital": "Birdcage Clinic" };
            documents.insert_one(other).bypass_document_validation(true).await.unwrap();
        }
    });
    tell(&["load", "--reload", "--no-verify", text(&alone)]);
    assert!(
        said.iter().any(|said| said.contains("failed_validation")),
        "a load must be refused by the validator: {said:#?}"
    );
    for said in &said {
        for canary in CANARIES {
            assert!(!said.contains(canary), "{canary} in\n{said}");
        }
    }
}
