//! Tests the commands that the server receives, as its profiler records them. Reads of documents have read concern
//! majority. Writes have a journaled majority as write concern. Inserts into the collection of the data also have the
//! timeout of the connection string.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use medlift::deployment::schema;
use medlift::spec::Spec;

use crate::load::{HEADER, Place, block_on, row, spec_without_age, text};
use crate::program::medlift;
use crate::server::shared;

/// Switches the profiler on for the database of this test.
fn profile(place: &Place) {
    let database = place.documents().client().database(&place.database);
    block_on(async move { database.run_command(doc! { "profile": 2 }).await.expect("the profiler is on") });
}

/// Returns the name and the document of each command that medlift has sent.
fn sent(place: &Place) -> Vec<(String, Document)> {
    let profile = place.collection("system.profile");
    let found: Vec<Document> = block_on(async move {
        profile.find(doc! { "appName": "medlift" }).await.expect("finds").try_collect().await.expect("reads")
    });
    let command = |entry: &Document| {
        let command = entry.get_document("command").ok()?.clone();
        let originating = entry.get_document("originatingCommand").ok().cloned();
        let name = command.keys().next()?.clone();
        Some((name, originating.unwrap_or(command)))
    };
    found.iter().filter_map(command).collect()
}

fn at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    match path.split_once('.') {
        Some((first, rest)) => at(document.get_document(first).ok()?, rest),
        None => document.get(path),
    }
}

/// Checks the concerns of the commands that read or write, and returns the names of all commands.
fn check(place: &Place, wtimeout: Option<i64>) -> BTreeSet<String> {
    let commands = sent(place);
    for (name, command) in &commands {
        let concern = |field: &str| at(command, &format!("writeConcern.{field}")).cloned();
        match name.as_str() {
            "find" | "aggregate" | "count" | "getMore" => {
                assert_eq!(at(command, "readConcern.level"), Some(&Bson::from("majority")), "{command}");
            }
            // `update` is not checked, because the profiler shows an update without its write concern.
            "insert" | "findAndModify" | "create" | "collMod" | "createIndexes" => {
                assert_eq!((concern("w"), concern("j")), (Some("majority".into()), Some(true.into())), "{command}");
                if name == "insert" && command.get_str("insert").is_ok_and(|collection| collection == "admissions") {
                    let found = concern("wtimeout").and_then(|time| time.as_i64().or(time.as_i32().map(i64::from)));
                    assert_eq!(found, wtimeout, "{command}");
                }
            }
            _ => {}
        }
    }
    commands.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_load_a_proof_and_an_export_read_and_write_at_majority() {
    let place = Place::new("commands");
    profile(&place);
    let rows = |age: &str| {
        let rows = ["Ann Lee", "Bea Lee"].map(|name| row(name, age, "O+", "2024-01-31", "2024-02-02"));
        format!("{HEADER}\n{}\n", rows.join("\n"))
    };
    let spec = place.write("spec.toml", spec_without_age("keep-first"));
    let (one, two) = (place.write("a.csv", rows("30")), place.write("b.csv", rows("31")));
    let uri = shared().uri() + "&wTimeoutMS=43210";
    let run = |arguments: &[&str], code: i32| {
        let target = ["--uri", &uri, "--db", &place.database, "--spec", text(&spec), "--quiet"];
        medlift(arguments.iter().chain(&target)).run().expect_code(code)
    };
    run(&["load", text(&one)], 0);
    run(&["load", text(&two), "--mode", "upsert"], 0);
    // The collection has the ages of the second load, not those of the file `one`. Because the documents differ, the
    // verification reads them again by their `_id`s.
    run(&["verify", text(&one)], 5);
    run(&["export"], 0);
    let names = check(&place, Some(43_210));
    for name in ["insert", "findAndModify", "find", "aggregate", "createIndexes", "collMod"] {
        assert!(names.contains(name), "{names:?}");
    }
    let place = Place::new("commands_plain");
    profile(&place);
    place.load(&place.write("a.csv", rows("30")), &[], 0);
    assert!(check(&place, None).contains("insert"));
    // Before the load writes, it sends the validator in a query that matches no document. This makes the server check
    // the validator.
    let first = sent(&place).into_iter().find(|(name, _)| name == "find").expect("a query").1;
    let expected = doc! { "_id": { "$in": [] }, "$nor": [schema::validator(&Spec::built_in())] };
    assert_eq!(first.get_document("filter").ok(), Some(&expected));
}
