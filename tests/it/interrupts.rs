//! Ctrl-C ends every command soon, also if the server does not answer. A load that is stopped after its rows were
//! written can be completed by the same command.

use std::io::Write;

use bson::doc;
use testkit::mongod::Server;

use crate::bad_days::{documents, load, summary};
use crate::load::{Place, block_on, text};
use crate::program::medlift;
use crate::server::{delay, release, server_with_fail_points, shared, wait_for_a_scan, wait_for_operation};

/// The time for which the server blocks a command. The interrupted program must end before this time is over.
const BLOCKED_MS: i32 = 15_000;

/// A pipe holds this many bytes on Linux. When it is full, the writing program waits for the reader.
const PIPE_BYTES: usize = 65_536;

fn block(server: &Server, command: &str, database: &str) {
    delay(server, doc! { "failCommands": [command], "namespace": format!("{database}.admissions") }, BLOCKED_MS);
}

#[test]
fn an_interrupted_verification_or_export_ends_at_once_without_a_result() {
    let place = Place::new("verify_int");
    let path = place.sample("a.csv", 1_000, "none");
    let server = server_with_fail_points();
    for arguments in [&["verify", text(&path)][..], &["export"]] {
        let database = format!("{}_{}", place.database, arguments[0]);
        let options = ["--db", &database];
        let run = |arguments: &[&str]| medlift([arguments, &options].concat()).env("MONGODB_URI", server.uri());
        run(&["load", text(&path), "--no-verify"]).run().expect_code(0);
        block(&server, "find", &database);
        let running = run(arguments).start();
        let blocked = doc! { "command.find": "admissions", "command.$db": &database };
        wait_for_operation(&server, blocked.clone());
        running.signal("INT");
        let stopped = running.wait().expect_code(1);
        wait_for_operation(&server, blocked);
        assert!(stopped.stderr.contains("interrupted"), "{}", stopped.stderr);
        assert!(!stopped.stderr.contains("committed") && !stopped.stdout.contains("equal"), "{}", stopped.stderr);
        release(&server);
    }
}

#[test]
fn a_load_that_is_interrupted_while_it_builds_indexes_is_completed_by_the_same_command() {
    let place = Place::new("indexes_int");
    let path = place.sample("a.csv", 1_000, "none");
    let server = server_with_fail_points();
    block(&server, "createIndexes", &place.database);
    let running = load(&server, &place, text(&path), &[]).start();
    let blocked = doc! { "command.createIndexes": "admissions" };
    wait_for_operation(&server, blocked.clone());
    running.signal("INT");
    let stopped = running.wait().expect_code(1);
    wait_for_operation(&server, blocked);
    assert!(stopped.stderr.contains("1000 rows are committed"), "{}", stopped.stderr);
    release(&server);
    let done = summary(&load(&server, &place, text(&path), &[]).run().expect_code(0));
    assert_eq!((&done["counts"]["written"], &done["verification"]["equal"]), (&1_000.into(), &1_000.into()), "{done}");
    let stored = documents(&server, &place.database);
    assert_eq!(block_on(async move { stored.list_index_names().await.unwrap() }).len(), 4);
}

#[test]
fn a_load_that_is_interrupted_while_it_verifies_is_complete() {
    let place = Place::new("proof_int");
    let path = place.sample("a.csv", 1_000, "none");
    let server = server_with_fail_points();
    delay(&server, doc! { "failCommands": ["find"], "namespace": format!("{}.admissions", place.database) }, 2_000);
    let running = load(&server, &place, text(&path), &[]).start();
    wait_for_a_scan(&server);
    running.signal("INT");
    let stopped = running.wait().expect_code(1);
    assert!(stopped.stderr.contains("all documents are written"), "{}", stopped.stderr);
    release(&server);
    let again = load(&server, &place, text(&path), &[]).run().expect_code(0);
    assert_eq!(summary(&again)["outcome"], "already loaded, verified instead");
}

#[test]
fn a_command_that_cannot_print_its_result_ends_at_the_first_interrupt() {
    let place = Place::new("print_int");
    let path = place.sample("a.csv", 10, "none");
    let (_reader, mut full) = std::io::pipe().unwrap();
    full.write_all(&vec![0; PIPE_BYTES]).unwrap();
    let command = medlift(["load", text(&path), "--db", &place.database]).env("MONGODB_URI", shared().uri());
    let running = command.stdout(full).start();
    running.wait_until_it_writes_to(1);
    running.signal("INT");
    let stopped = running.wait().expect_code(1);
    assert!(stopped.stderr.ends_with("stopped immediately\n"), "{}", stopped.stderr);
    assert_eq!(place.count(doc! {}), 10);
}
