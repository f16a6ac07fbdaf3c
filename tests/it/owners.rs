//! A load has one owner. A second process waits, reports an error, or takes the load over. An owner that returns too
//! late changes nothing.

use std::time::Duration;

use bson::{Document, Uuid, doc};
use medlift::ledger::{CollectionIdentity, Ledger, LedgerError};
use mongodb::Collection;
use serde_json::Value as Json;
use testkit::mongod::Server;

use crate::bad_days::{
    SLOW_ROWS, SLOWLY, client, count, documents, load, stop_midway, summary, wait_for_checkpoint, wait_for_documents,
};
use crate::load::{HEADER, Place, block_on, counts, row, text};
use crate::program::{Medlift, medlift};
use crate::server::{
    delay, fresh_database, heal, release, server_with_fail_points, server_with_slow_inserts, shared, slow_server,
    wait_for_a_scan,
};

const SHORT_LEASE: [&str; 2] = ["--lease-seconds", "2"];

fn slowly<'a>(server: &Server, place: &'a Place, file: &'a str) -> Medlift {
    load(server, place, file, &[&SLOWLY[..], &SHORT_LEASE].concat())
}

fn loads(server: &Server, place: &Place) -> Vec<Document> {
    let ledger: Collection<Document> = client(server).database(&place.database).collection("medlift_runs");
    block_on(async move {
        let found = ledger.find(doc! { "collection": "admissions" }).await.unwrap();
        futures_util::TryStreamExt::try_collect(found).await.unwrap()
    })
}

#[test]
fn a_second_process_is_told_who_has_the_load_and_the_first_goes_on() {
    let place = Place::new("second");
    // The inserts are so slow that the first process is still loading when the second one gives up.
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    let server = server_with_slow_inserts(250);
    // Both loads use the same reject file. The second load must be stopped by the lease, not by the lock of the file.
    let file = place.dir.path().join("r.csv");
    let options = [&SLOWLY[..], &["--rejects", text(&file), "--lease-seconds", "2"]].concat();
    let first = load(&server, &place, text(&path), &options).start();
    wait_for_documents(&server, &place.database);
    let second = load(&server, &place, text(&path), &options).run().expect_code(6);
    assert!(second.stderr.contains("waiting up to") && second.stderr.contains("since 20"), "{}", second.stderr);
    assert!(second.stderr.contains("run the same command again"), "{}", second.stderr);
    first.signal("INT");
    heal(&server);
    let first = first.wait().expect_code(1);
    assert!(first.stderr.contains("durable"), "{}", first.stderr);
    // The first process has released its lease. Therefore this load does not wait.
    let run = load(&server, &place, text(&path), &["--rejects", text(&file)]).run().expect_code(0);
    assert!(!run.stderr.contains("waiting"), "{}", run.stderr);
    let loads = loads(&server, &place);
    assert_eq!(loads.len(), 1, "{loads:?}");
    assert_eq!(loads[0].get_str("state").unwrap(), "complete");
}

#[test]
fn a_frozen_process_loses_its_load_and_its_late_writes_are_refused() {
    let place = Place::new("frozen");
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    let server = slow_server();
    let frozen = slowly(&server, &place, text(&path)).start();
    wait_for_checkpoint(&server, &place.database);
    frozen.signal("STOP");
    heal(&server);
    let run = load(&server, &place, text(&path), &SHORT_LEASE).run().expect_code(0);
    let done = summary(&run);
    assert_eq!(done["verification"]["equal"], done["counts"]["written"], "{done}");
    let before = loads(&server, &place);
    frozen.signal("CONT");
    let late = frozen.wait().expect_code(6);
    assert!(late.stderr.contains("another process has taken this load over"), "{}", late.stderr);
    assert_eq!(loads(&server, &place), before, "the ledger is as the new owner left it");
    let written = done["counts"]["written"].as_u64().unwrap();
    assert_eq!(count(&documents(&server, &place.database)), written);
}

#[test]
fn a_killed_process_is_known_to_be_gone_and_nobody_waits() {
    let place = Place::new("gone");
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    let server = slow_server();
    let killed = load(&server, &place, text(&path), &SLOWLY).start();
    stop_midway(killed, &server, &place.database, "KILL");
    let runs = |arguments: &[&str]| {
        let arguments = [&["runs"], arguments, &["--db", &place.database]].concat();
        medlift(arguments).env("MONGODB_URI", server.uri()).run()
    };
    let stalled: Json = serde_json::from_str(&runs(&["list", "--json"]).expect_code(0).stdout).unwrap();
    assert_eq!((&stalled[0]["state"], &stalled[0]["worker_has_ended"]), (&"stalled".into(), &true.into()), "{stalled}");
    // The lease has not expired, but the process that has it has ended. So `--watch` does not wait.
    let watched = runs(&["show", stalled[0]["load"].as_str().unwrap(), "--watch"]).expect_code(6);
    for part in ["stalled\n", ", since 20", "; the process has ended", "run the same command again", text(&path)] {
        assert!(watched.stdout.contains(part), "{part}: {}", watched.stdout);
    }
    let run = load(&server, &place, text(&path), &[]).run().expect_code(0);
    assert!(!run.stderr.contains("waiting"), "{}", run.stderr);
    let text = runs(&["list"]).expect_code(0).stdout;
    assert!(text.contains("complete, verified\n") && !text.contains("process"), "{text}");
}

#[test]
fn a_collection_is_not_dropped_while_another_load_writes_to_it() {
    let place = Place::new("under");
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    let other = place.sample("b.csv", 10, "none");
    let server = server_with_slow_inserts(250);
    let running = slowly(&server, &place, text(&path)).start();
    wait_for_documents(&server, &place.database);
    let drop = [&SHORT_LEASE[..], &["--drop", "--yes"]].concat();
    load(&server, &place, text(&other), &drop).run().expect_code(6);
    assert!(count(&documents(&server, &place.database)) > 0);
    running.signal("KILL");
    running.wait();
    // Kills the inserts of the killed process that the server still delays. Otherwise they would be carried out after
    // the drop.
    release(&server);
    load(&server, &place, text(&other), &drop).run().expect_code(0);
}

#[test]
fn two_first_loads_at_the_same_time_count_each_document_once_and_are_verified() {
    let place = Place::new("both");
    let (one, two) = (place.sample("a.csv", 7_000, "typical"), place.sample("b.csv", 10_000, "typical"));
    let server = Server::builder().start().expect("a mongod");
    let running = load(&server, &place, text(&one), &[]).start();
    let second = summary(&load(&server, &place, text(&two), &[]).run().expect_code(0));
    let first = summary(&running.wait().expect_code(0));
    let written = |summary: &Json| counts(summary, &["written"])[0];
    assert_eq!(written(&first) + written(&second), count(&documents(&server, &place.database)));
}

/// The server delays each query, so that the test can freeze the first load during its verification. The verification
/// reads the collection in 18 ranges. Most ranges are read after the second load has written.
#[test]
fn documents_of_a_load_that_begins_during_the_verification_are_not_differences() {
    let place = Place::new("late");
    let (one, two) = (place.sample("a.csv", 2_000, "typical"), place.sample("b.csv", 2_100, "typical"));
    let server = server_with_fail_points();
    delay(&server, doc! { "failCommands": ["find"], "namespace": format!("{}.admissions", place.database) }, 500);
    let first = load(&server, &place, text(&one), &[]).start();
    wait_for_a_scan(&server);
    first.signal("STOP");
    heal(&server);
    load(&server, &place, text(&two), &["--no-verify"]).run().expect_code(0);
    first.signal("CONT");
    let first = summary(&first.wait().expect_code(0));
    let verification = &first["verification"];
    assert_eq!(verification["extra"], 0);
    assert!(
        verification["others"].as_u64().unwrap() > 0,
        "the scan ended before the second load wrote: {verification}"
    );
}

/// Tests that the server's updates follow the rules that `Lease` and its simulation rely on.
#[test]
fn the_servers_leases_and_fences_are_those_of_the_model() {
    block_on(async {
        let client = mongodb::Client::with_uri_str(shared().uri()).await.unwrap();
        let database = client.database(&fresh_database("leases"));
        let ledger = || Ledger::new(&database, "rows", Duration::from_millis(700));
        let (ours, theirs) = (ledger(), ledger());
        assert_eq!(ours.take_lease("k").await.unwrap().unwrap(), 1);
        assert_eq!(ours.take_lease("k").await.unwrap().unwrap(), 2, "the owner of a lease can take it again");
        let held = theirs.take_lease("k").await.unwrap().unwrap_err();
        assert_eq!(held.lease.fence, 2);
        assert!(held.left <= Duration::from_millis(700));
        assert_eq!(theirs.take_lease("other").await.unwrap().unwrap(), 1, "another load has another lease");
        assert!(theirs.other_load(|key| key == "other").await.unwrap().is_some());
        assert!(!theirs.renew("k", 1).await.unwrap());
        assert!(ours.renew("k", 2).await.unwrap());
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert!(theirs.other_load(|key| key == "other").await.unwrap().is_none(), "an expired lease is not a load");
        assert_eq!(theirs.take_lease("k").await.unwrap().unwrap(), 3);
        assert!(!ours.renew("k", 2).await.unwrap());
        theirs.release("k", 3).await.unwrap();
        assert_eq!(ours.take_lease("k").await.unwrap().unwrap(), 4);
    });
}

/// The caller repeats a failed renewal. Therefore the renewal itself must not repeat its command.
#[test]
fn a_renewal_is_one_command() {
    let server = slow_server();
    let (admin, data) = (client(&server).database("admin"), client(&server).database("renewals"));
    block_on(async {
        let ledger = Ledger::new(&data, "rows", Duration::from_secs(9));
        let fence = ledger.take_lease("k").await.unwrap().unwrap();
        let data = doc! { "failCommands": ["update"], "errorCode": 91 };
        let point = async |mode: &str| {
            let point = doc! { "configureFailPoint": "failCommand", "mode": mode, "data": data.clone() };
            let answer = admin.run_command(point).await.unwrap();
            answer.get_i32("count").unwrap()
        };
        let before = point("alwaysOn").await;
        assert!(matches!(ledger.renew("k", fence).await, Err(failure) if failure.is_retryable()));
        // The driver itself repeats a retryable write once, so the server may receive two commands.
        let failed = point("off").await - before;
        assert!((1..=2).contains(&failed), "{failed} commands");
    });
}

#[test]
fn a_write_with_a_lower_fence_is_refused() {
    let place = Place::new("fence");
    place.load(
        &place.write("a.csv", format!("{HEADER}\n{}\n", row("Ann Lee", "30", "O+", "2024-01-31", "2024-02-02"))),
        &[],
        0,
    );
    let loads = place.collection("medlift_runs");
    block_on(async {
        let client = mongodb::Client::with_uri_str(shared().uri()).await.unwrap();
        let database = client.database(&place.database);
        let ledger = Ledger::new(&database, "admissions", Duration::from_secs(9));
        let key = loads.find_one(doc! { "collection": "admissions" }).await.unwrap().unwrap();
        let mut load = ledger.find(key.get_str("key").unwrap()).await.unwrap().expect("the load is there");
        load.fence += 5;
        ledger.put(&mut load).await.unwrap();
        let began = load.started;
        load.fence -= 1;
        load.counts.written += 1;
        assert!(matches!(ledger.put(&mut load).await, Err(LedgerError::TakenOver)));
        let stored = ledger.find(&load.key).await.unwrap().unwrap();
        assert_eq!((stored.counts.written, stored.started), (load.counts.written - 1, began));
        // A process with a lower fence cannot mark a load with a higher fence as superseded.
        stored_as_running(&loads, load.id).await;
        ledger.supersede(&load.key, Uuid::new(), load.fence).await.unwrap();
        assert!(ledger.find(&load.key).await.unwrap().is_some());
        // After a process with a higher fence has marked the load as superseded, the former owner cannot change that.
        stored_as_running(&loads, load.id).await;
        ledger.supersede(&load.key, Uuid::new(), load.fence + 9).await.unwrap();
        assert!(matches!(ledger.put(&mut load).await, Err(LedgerError::TakenOver)));
        assert!(ledger.find(&load.key).await.unwrap().is_none());
    });
}

async fn stored_as_running(loads: &Collection<Document>, id: Uuid) {
    loads.update_one(doc! { "_id": id }, doc! { "$set": { "state": "running" } }).await.unwrap();
}

#[test]
fn nobody_replaces_an_identity_that_another_load_has_just_agreed_to() {
    block_on(async {
        let client = mongodb::Client::with_uri_str(shared().uri()).await.unwrap();
        let database = client.database(&fresh_database("agreed"));
        let ledger = || Ledger::new(&database, "rows", Duration::from_secs(9));
        let identity = |key: &str| CollectionIdentity { fields: vec!["a: string".into()], key: key.into() };
        let (one, two) = (ledger(), ledger());
        one.take_lease("one").await.unwrap().unwrap();
        assert_eq!(one.settle_identity(&identity("k1"), true, "one").await.unwrap(), identity("k1"));
        two.take_lease("two").await.unwrap().unwrap();
        assert_eq!(
            two.settle_identity(&identity("k2"), true, "two").await.unwrap(),
            identity("k1"),
            "the identity of a load that still has its lease must stay"
        );
        one.release("one", 1).await.unwrap();
        assert_eq!(
            two.settle_identity(&identity("k2"), false, "two").await.unwrap(),
            identity("k1"),
            "the identity of a collection that is not empty must stay"
        );
        assert_eq!(two.settle_identity(&identity("k2"), true, "two").await.unwrap(), identity("k2"));
        // Eight loads with different keys determine the identity at the same time. All must get the same identity.
        let loads = (0..8).map(|number| {
            let (ledger, key) = (ledger(), format!("load {number}"));
            let wanted = identity(&format!("k{number}"));
            async move {
                ledger.take_lease(&key).await.unwrap().unwrap();
                ledger.settle_identity(&wanted, true, &key).await.unwrap()
            }
        });
        let settled = futures_util::future::join_all(loads).await;
        assert!(settled.iter().all(|identity| *identity == settled[0]), "{settled:?}");
    });
}
