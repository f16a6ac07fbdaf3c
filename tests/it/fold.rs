//! Tests of `medlift fold`: what it writes, that the order of loading does not matter, and that a fold can be repeated.

use bson::spec::BinarySubtype;
use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use mongodb::Collection;
use serde_json::Value as Json;

use crate::load::{Place, block_on, text};
use crate::program::medlift;
use crate::server::shared;

pub(crate) const SPEC: [&str; 2] = ["--spec", "hl7v2"];
pub(crate) const STATE: [&str; 3] = ["patients", "visits", "results"];

/// A message about patient `patient` and visit `visit`, at minute `minute`.
pub(crate) fn message(name: &str, minute: u32, patient: &str, visit: &str, more: &str) -> String {
    let time = format!("2026010203{minute:02}");
    let mut lines = vec![format!(r"MSH|^~\&|ADT1|GOODHEALTH|||{time}||{name}|M{minute}|P|2.5")];
    lines.extend(name.starts_with("ADT").then(|| format!("EVN||{time}")));
    lines.push(format!("PID|1||{patient}^^^GOODHEALTH^MR||DOE^{patient}||19800102|F"));
    lines.extend(Some(more).filter(|more| more.starts_with("MRG")).map(str::to_owned));
    lines.push(format!("PV1|1|I|W{minute}^R1||||||||||||||||{visit}^^^GOODHEALTH"));
    lines.extend(Some(more).filter(|more| more.starts_with("OB")).map(str::to_owned));
    lines.join("\r")
}

/// A stream with admissions, a transfer, results with a correction, a discharge, a cancellation and merges.
pub(crate) fn stream() -> Vec<String> {
    let observation = |value: u32, status: &str| {
        format!("OBR|1||F1^LAB|CBC\rOBX|1|NM|K^Potassium^L||{value}|||||| {status}").replace("| ", "|")
    };
    vec![
        message("ADT^A01", 1, "P1", "V1", ""),
        message("ADT^A01", 2, "P2", "V2", ""),
        message("ORU^R01", 3, "P1", "V1", &observation(4, "F")),
        message("ADT^A02", 4, "P1", "V1", ""),
        message("ORU^R01", 5, "P1", "V1", &observation(5, "C")),
        message("ADT^A03", 6, "P1", "V1", ""),
        message("ADT^A13", 7, "P1", "V1", ""),
        message("ADT^A40", 8, "P2", "V9", "MRG|P1^^^GOODHEALTH^MR"),
        message("ADT^A40", 9, "P3", "V9", "MRG|P2^^^GOODHEALTH^MR"),
        message("ADT^A08", 10, "P2", "V2", ""),
        message("SIU^S12", 11, "P2", "V2", ""),
    ]
}

impl Place {
    pub(crate) fn load_messages(&self, name: &str, messages: &[String]) {
        self.load_folding(name, messages, &["--no-fold"]);
    }

    /// Loads messages with these options. Returns the part of the summary about the fold.
    pub(crate) fn load_folding(&self, name: &str, messages: &[String], options: &[&str]) -> Json {
        let source = self.write(name, messages.join("\r"));
        self.load(&source, &[&SPEC[..], &["--no-verify"], options].concat(), 0)["fold"].clone()
    }

    pub(crate) fn fold(&self, options: &[&str]) -> Json {
        let run = self.run(&[&["fold", "--json"], &SPEC[..], options].concat()).expect_code(0);
        serde_json::from_str(&run.stdout).expect("JSON")
    }

    /// Returns the documents of the state, with the names of their collections.
    pub(crate) fn state(&self) -> Vec<(&'static str, RawDocumentBuf)> {
        let documents = |name| {
            let collection: Collection<RawDocumentBuf> = self.collection(name).clone_with_type();
            let found = block_on(async move {
                collection.find(doc! {}).sort(doc! { "_id": 1 }).await?.try_collect::<Vec<_>>().await
            });
            found.expect("documents").into_iter().map(move |document| (name, document))
        };
        STATE.into_iter().flat_map(documents).collect()
    }

    /// Runs `medlift verify` for a file of messages. Returns the part of the result that is about the state.
    pub(crate) fn verify_state(&self, source: &str, code: i32) -> Json {
        let run =
            self.run(&["verify", "--json", "--spec", "hl7v2", "--ignore-extra", text(&self.dir.path().join(source))]);
        let found: Json = serde_json::from_str(&run.expect_code(code).stdout).expect("JSON");
        found["state"].clone()
    }

    pub(crate) fn one(&self, collection: &str, filter: Document) -> Document {
        let documents = self.collection(collection);
        block_on(async move { documents.find_one(filter).await }).expect("an answer").expect("a document")
    }
}

pub(crate) fn number(counts: &Json, name: &str) -> u64 {
    counts[name].as_u64().unwrap_or_else(|| panic!("no {name} in {counts}"))
}

#[test]
fn messages_are_folded_once_and_merges_are_followed() {
    let place = Place::new("fold");
    place.load_messages("adt.hl7", &stream());
    let folded = place.fold(&[]);
    assert_eq!((number(&folded, "messages"), number(&folded, "unreadable")), (11, 0));
    let visit = place.one("visits", doc! { "number.value": "V1" });
    assert_eq!(visit.get_str("status").unwrap(), "admitted");
    assert_eq!(visit.get_document("location").unwrap(), &doc! { "unit": "W7", "room": "R1" });
    let result = place.one("results", doc! {});
    assert_eq!((result.get_str("status").unwrap(), result.get_str("value").unwrap()), ("C", "5"));
    // P1 was merged into P2, and P2 into P3.
    let survivor = place.one("patients", doc! { "identifiers.value": "P3" });
    for document in [&visit, &result] {
        assert_eq!(document.get("patient"), survivor.get("_id"));
        assert_ne!(document.get("patientAsSent"), survivor.get("_id"));
    }
    let message = place.one("messages", doc! { "controlId": "M9" });
    assert_eq!(message.get("patient"), survivor.get("_id"), "messages and state have the same keys");

    let before = place.state();
    let again = place.fold(&[]);
    assert_eq!((number(&again, "messages"), number(&again, "written")), (0, 0));
    let rebuilt = place.fold(&["--rebuild"]);
    assert_eq!((number(&rebuilt, "messages"), number(&rebuilt, "written"), number(&rebuilt, "removed")), (11, 0, 0));
    assert_eq!(place.state(), before);
}

#[test]
fn messages_and_patients_have_the_same_keys() {
    let place = Place::new("fold_keys");
    let identifiers = [
        "1^^^H^MR",
        "9^^^STATE^SS~2^^^H^MR~3^^^H^MR",
        "9^^^STATE^SS~2^^^H^PI",
        "^^^H^MR~4^^^H^PI",
        " 5 ^^^ H ^ MR ",
        "6^^^&1.2.3&ISO^MR",
        "6^^^H&1.2.3&ISO^MR",
        "6^^^^MR",
        r#"""^^^H^MR~7^^^""^MR"#,
        r"8\T\9^^^H\F\I^MR",
        "10\u{200b}^^^H\u{feff}^MR",
        "\u{2060}^^^H^MR~11^^^H^PI",
    ];
    let messages = identifiers.iter().enumerate().map(|(at, identifier)| {
        let header = format!(r"MSH|^~\&|A|B|||20260101||ADT^A28|M{at}|P|2.5");
        format!("{header}\rEVN||20260101\rPID|1||{identifier}||DOE")
    });
    // The patient with the number 10 was merged into the patient with the number 1.
    let merge = "MSH|^~\\&|A|B|||20260102||ADT^A40|M99|P|2.5\rPID|1||1^^^H^MR\rMRG|10^^^H^MR\u{200b}".to_owned();
    place.load_folding("a.hl7", &messages.chain([merge]).collect::<Vec<_>>(), &[]);
    let (messages, patients) = (place.collection("messages"), place.collection("patients"));
    let keys = |documents: Collection<Document>, field: &'static str| {
        let found = block_on(async move { documents.distinct(field, doc! {}).await }).expect("read");
        found.into_iter().map(|key| key.to_string()).collect::<std::collections::BTreeSet<_>>()
    };
    let (of_messages, of_patients) = (keys(messages, "patient"), keys(patients, "_id"));
    assert_eq!(of_messages, of_patients);
    assert_eq!(of_patients.len(), identifiers.len(), "each message is of another patient");
}

#[test]
fn a_killed_fold_is_repeated() {
    let place = Place::new("fold_killed");
    place.load_messages("adt.hl7", &stream());
    place.fold(&[]);
    let before = place.state();
    let (folded, visits) = (place.collection("messages.folded"), place.collection("visits"));
    // Simulates a kill before the last step: no message is noted as folded. In the first round, all documents are
    // written. In the second round, one document is missing.
    let last = bson::Binary { subtype: BinarySubtype::Generic, bytes: [[0; 16], [0xff; 16]].concat() };
    for written in [0, 1] {
        block_on(async {
            folded.delete_many(doc! { "_id": { "$lte": &last } }).await.expect("deleted");
            let missing = doc! { "number.value": if written == 0 { "none" } else { "V1" } };
            visits.delete_one(missing).await.expect("deleted");
        });
        let again = place.fold(&[]);
        assert_eq!((number(&again, "messages"), number(&again, "written")), (11, written));
        assert_eq!(place.state(), before);
    }
}

#[test]
fn the_order_of_loading_does_not_change_a_byte() {
    let (all, one_by_one) = (Place::new("fold_all"), Place::new("fold_late"));
    let messages = stream();
    all.load_messages("all.hl7", &messages);
    all.fold(&[]);
    // Loads the messages in reverse order, four at a time, and folds them each time. At the end, one message is loaded
    // again.
    let mut reversed = messages.clone();
    reversed.reverse();
    reversed.push(messages[4].clone());
    for (at, part) in reversed.chunks(4).enumerate() {
        one_by_one.load_messages(&format!("{at}.hl7"), part);
        one_by_one.fold(&[]);
    }
    assert_eq!(one_by_one.state(), all.state());
}

#[test]
fn a_rebuild_corrects_and_removes_what_no_message_says() {
    let place = Place::new("fold_rebuild");
    place.load_messages("adt.hl7", &stream());
    place.fold(&[]);
    let before = place.state();
    let (patients, visits, messages) =
        (place.collection("patients"), place.collection("visits"), place.collection("messages"));
    block_on(async {
        patients.update_one(doc! { "name.given": "P1" }, doc! { "$set": { "sex": "X" } }).await.expect("changed");
        visits.delete_one(doc! { "number.value": "V2" }).await.expect("deleted");
        let foreign = doc! { "_id": bson::Uuid::new(), "name": "of another program" };
        patients.insert_one(&foreign).await.expect("inserted");
        let mut extra = visits.find_one(doc! { "number.value": "V1" }).await.expect("read").expect("a visit");
        extra.insert("_id", Bson::from(bson::Uuid::from_bytes([7; 16])));
        visits.insert_one(extra).await.expect("inserted");
    });
    let state = place.verify_state("adt.hl7", 5);
    let counts = |found: &Json, name: &str| -> Vec<u64> {
        found["collections"].as_array().expect("a list").iter().map(|of| number(of, name)).collect()
    };
    let found = ["missing", "extra", "different"].map(|what| counts(&state, what));
    assert_eq!(found, [vec![0, 1, 0], vec![0, 1, 0], vec![1, 0, 0]]);
    assert_eq!(counts(&state, "equal").iter().sum::<u64>(), before.len() as u64 - 2);
    assert_eq!(state["differences"].as_array().map(Vec::len), Some(3));
    assert!(!state.to_string().contains("DOE"), "no patient's value");
    let rebuilt = place.fold(&["--rebuild"]);
    assert_eq!((number(&rebuilt, "written"), number(&rebuilt, "removed")), (2, 1));
    assert_eq!(number(&place.verify_state("adt.hl7", 0), "not_folded"), 0);
    block_on(async { patients.delete_one(doc! { "name": "of another program" }).await.expect("still there") });
    assert_eq!(place.state(), before);
    // Deletes the message with the admission of P2. Without its admission, the visit is provisional.
    block_on(async { messages.delete_one(doc! { "controlId": "M2" }).await.expect("deleted") });
    place.fold(&["--rebuild"]);
    assert!(place.one("visits", doc! { "number.value": "V2" }).get_bool("provisional").unwrap());
    assert_eq!(number(&place.fold(&[]), "messages"), 0);
}

#[test]
fn a_load_folds_its_messages_and_a_verification_compares_the_state() {
    let (place, later) = (Place::new("fold_load"), Place::new("fold_later"));
    let messages = stream();
    let folded = place.load_folding("a.hl7", &messages[..4], &[]);
    assert_eq!((number(&folded, "messages"), folded.get("not_folded")), (4, None));
    assert_eq!(number(&place.load_folding("b.hl7", &messages, &[]), "messages"), 7);
    assert_eq!(number(&place.verify_state("b.hl7", 0), "not_folded"), 0);
    // Here the first load does not fold. The second load of the same messages verifies them, and then folds them.
    let kept = later.load_folding("b.hl7", &messages, &["--no-fold"]);
    assert!(kept["not_folded"].as_str().is_some_and(|why| why.contains("--no-fold was given")), "{kept}");
    assert!(later.state().is_empty());
    assert!(later.verify_state("b.hl7", 0)["not_compared"].is_string());
    let source = later.dir.path().join("b.hl7");
    let again = later.load(&source, &SPEC, 0);
    assert_eq!(again["outcome"], "already loaded, verified instead");
    assert_eq!(number(&again["fold"], "messages"), 11);
    assert_eq!(later.state(), place.state());
    // Messages that are stored but not folded are named as the reason of differences.
    later.load_messages("c.hl7", &[message("ADT^A31", 20, "P1", "V1", ""), message("ADT^A28", 21, "P8", "V1", "")]);
    let state = later.verify_state("c.hl7", 5);
    assert_eq!(number(&state, "not_folded"), 2, "{state}");
    let text = later.run(&["verify", "--spec", "hl7v2", "--ignore-extra", text(&source)]).expect_code(5).stdout;
    assert!(text.contains("2 stored messages are not folded yet; run `medlift fold`"), "{text}");
    // The summary of a dry run has no `fold`.
    let dry = later.run(&["load", "--dry-run", "--json", "--spec", "hl7v2", self::text(&source)]).expect_code(0).stdout;
    assert!(!dry.contains("\"fold\""), "{dry}");
}

#[test]
fn parts_are_folded_by_the_worker_that_ends_the_load() {
    let place = Place::new("fold_parts");
    let sources = stream()
        .chunks(6)
        .enumerate()
        .map(|(at, part)| place.write(&format!("{at}.hl7"), part.join("\r")))
        .collect::<Vec<_>>();
    let manifest = place.dir.path().join("m.json");
    let plan = ["plan", "--spec", "hl7v2", "--out", text(&manifest), text(&sources[0]), text(&sources[1])];
    medlift(plan).run().expect_code(0);
    let run = place.run(&["load", "--manifest", text(&manifest), "--json"]).expect_code(0);
    let summary: Json = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(number(&summary["tables"][0]["fold"], "messages"), 11);
    let run = place.run(&["verify", "--manifest", text(&manifest), "--json"]).expect_code(0);
    let proof: Json = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(number(&proof["state"]["collections"][1], "different"), 0);
}

#[test]
fn after_a_drop_the_state_is_that_of_the_new_messages() {
    let (place, fresh) = (Place::new("fold_drop"), Place::new("fold_fresh"));
    let messages = stream();
    place.load_folding("a.hl7", &messages, &[]);
    // After the drop, `messages[3]` is loaded once more. It is already noted as folded. Even so, its document must be
    // made again, from the new messages alone.
    let kept = [messages[3].clone(), message("ADT^A28", 30, "P7", "V7", "")];
    place.load_folding("b.hl7", &kept, &["--drop", "--yes"]);
    fresh.load_folding("b.hl7", &kept, &[]);
    assert_eq!(place.state(), fresh.state());
    assert_eq!(number(&place.verify_state("b.hl7", 0), "not_folded"), 0);
}

#[test]
fn a_removed_document_is_made_again_from_all_its_messages() {
    let place = Place::new("fold_removed");
    let messages = stream();
    place.load_folding("a.hl7", &messages, &[]);
    let visits = place.collection("visits");
    block_on(async { visits.delete_one(doc! { "number.value": "V1" }).await.expect("deleted") });
    place.load_folding("b.hl7", &[message("ADT^A08", 40, "P1", "V1", "")], &[]);
    let visit = place.one("visits", doc! { "number.value": "V1" });
    assert_eq!(visit.get("provisional"), None, "the admission counts");
    assert_eq!(number(&place.verify_state("b.hl7", 0), "not_folded"), 0);
}

#[test]
fn documents_follow_a_merge_that_is_found_again() {
    let place = Place::new("fold_merge");
    place.load_folding("a.hl7", &stream(), &[]);
    let before = place.state();
    // Another program undoes the merge of P1 in all documents.
    let own = place.one("patients", doc! { "identifiers.value": "P1" }).get("_id").cloned().expect("a key");
    let field = |collection: &str| if collection == "patients" { "_id" } else { "patientAsSent" };
    for name in STATE {
        let back = doc! { "$set": { "patient": &own }, "$unset": { "mergedInto": "" } };
        let (documents, filter) = (place.collection(name), doc! { field(name): &own });
        let found = block_on(async { documents.update_many(filter, back).await.expect("changed") });
        assert!(found.modified_count > 0, "{name}");
    }
    // This message is earlier than those that are already folded. So the patient P1 is folded again from all messages.
    // The visit is not folded again.
    let early = message("ADT^A31", 0, "P1", "V1", "");
    place.load_folding("b.hl7", &[early], &[]);
    let survivor = place.one("patients", doc! { "identifiers.value": "P3" });
    for name in STATE {
        assert_eq!(place.one(name, doc! { field(name): &own }).get("patient"), survivor.get("_id"), "{name}");
    }
    assert_eq!(place.state().len(), before.len());
    assert_eq!(number(&place.verify_state("b.hl7", 0), "not_folded"), 0);
}

#[test]
fn documents_that_are_no_messages_are_looked_at_once() {
    let place = Place::new("fold_foreign");
    place.load_folding("a.hl7", &stream()[..2], &[]);
    let foreign = doc! { "_id": bson::Uuid::new(), "message": "a text" };
    let stored = place.collection("messages");
    block_on(async { stored.insert_one(foreign).bypass_document_validation(true).await.expect("inserted") });
    let looked = |options: &[&str]| {
        let folded = place.fold(options);
        (number(&folded, "messages"), number(&folded, "unreadable"))
    };
    assert_eq!((looked(&[]), looked(&["--rebuild"]), looked(&[])), ((0, 0), (2, 0), (0, 0)));
    let notes = place.collection("messages.folded");
    let folded = bson::Binary { subtype: BinarySubtype::Generic, bytes: [[0; 16], [0xff; 16]].concat() };
    let note = block_on(async { notes.find_one(doc! { "_id": { "$lte": folded } }).await }).expect("read");
    let more = note.expect("a note").get_binary_generic("more").expect("the other messages").len();
    assert_eq!(more, 2 * 16, "three documents are noted");
}

#[test]
fn a_database_has_the_state_of_one_collection_of_messages() {
    let place = Place::new("fold_two");
    place.load_folding("a.hl7", &stream()[..3], &[]);
    let before = place.state();
    let source = place.write("b.hl7", stream()[3..].join("\r"));
    let refused = |arguments: &[&str], part: &str| {
        let run = place.run(arguments).expect_code(2);
        assert!(run.stderr.contains(part), "{}", run.stderr);
    };
    let (file, other) = (text(&source), "are folded from the messages in `messages`");
    refused(&["load", "--spec", "hl7v2", "--collection", "other", file], other);
    let stored = place.collection("other");
    assert_eq!(block_on(async { stored.count_documents(doc! {}).await }).expect("counted"), 0);
    place.run(&["load", "--spec", "hl7v2", "--collection", "other", "--no-fold", file]).expect_code(0);
    refused(&["fold", "--spec", "hl7v2", "--collection", "other"], other);
    refused(&["fold", "--spec", "hl7v2", "--collection", "other", "--rebuild"], other);
    refused(&["load", "--spec", "hl7v2", "--collection", "visits", "--no-fold", file], "that `medlift fold` writes");
    let table = place.sample("t.csv", 2, "none");
    refused(&["load", "--collection", "patients", text(&table)], "that `medlift fold` writes");
    assert_eq!(place.state(), before);
    // Nothing was folded in this database yet, so a table may be loaded into `patients`. A load of messages then fails,
    // because its fold would write into the same collection. Messages cannot be loaded into `visits` either.
    let tables = Place::new("fold_tables");
    tables.run(&["load", "--collection", "patients", text(&table)]).expect_code(0);
    let run = tables.run(&["load", "--spec", "hl7v2", file]).expect_code(2);
    assert!(run.stderr.contains("patients has documents of a load"), "{}", run.stderr);
    let run = tables.run(&["load", "--spec", "hl7v2", "--collection", "visits", file]).expect_code(2);
    assert!(run.stderr.contains("the fold writes a collection with this name"), "{}", run.stderr);
}

#[test]
fn a_fold_with_another_key_or_another_rule_is_refused() {
    let place = Place::new("fold_rule");
    let source = place.write("a.hl7", stream().join("\r"));
    place.load(&source, &SPEC, 0);
    let before = place.state();
    let uri = shared().uri();
    let keyed = medlift(["fold", "--spec", "hl7v2", "--uri", &uri, "--db", &place.database])
        .env("MEDLIFT_IDENTITY_KEY", "a secret of thirty-two characters")
        .run()
        .expect_code(2);
    assert!(keyed.stderr.contains("the fold would give every patient a different key"), "{}", keyed.stderr);
    let spec =
        include_str!("../../specs/hl7v2.toml").replace("type = \"hl7\"", "type = \"hl7\"\ntime_zone = \"+01:00\"");
    let path = place.write("ours.toml", spec);
    let ours = ["--spec", text(&path)];
    for command in [&["fold"][..], &["load", text(&source)], &["verify", text(&source)]] {
        let run = place.run(&[command, &ours].concat());
        assert!(run.stderr.contains("another [patient] or time_zone"), "{command:?} {}", run.stderr);
        run.expect_code(2);
    }
    assert_eq!(place.state(), before);
    place.run(&[&["fold", "--rebuild"], &ours[..]].concat()).expect_code(0);
    assert_ne!(place.state(), before);
    place.run(&[&["fold"], &ours[..]].concat()).expect_code(0);
    let other = include_str!("../../specs/hl7v2.toml").replace(
        "name = \"patientIdentifiers.value\"",
        "name = \"patientIdentifiers.value\"\nclean = [\"upper_case\"]",
    );
    let path = place.write("clean.toml", other);
    let run = place.run(&["fold", "--spec", text(&path)]).expect_code(2);
    assert!(run.stderr.contains("`clean` or `null_markers`, which the fold does not apply"), "{}", run.stderr);
    let elsewhere = Place::new("fold_clean");
    let loaded = elsewhere.load(&source, &["--spec", text(&path)], 0);
    assert!(loaded["fold"]["not_folded"].as_str().is_some_and(|why| why.contains("`clean`")), "{loaded}");
}

#[test]
fn only_one_process_folds_and_other_specs_are_refused() {
    let place = Place::new("fold_refused");
    place.load_messages("adt.hl7", &stream()[..1]);
    let tables = place.run(&["fold", "--collection", "messages"]).expect_code(2);
    assert!(tables.stderr.contains("only HL7 v2 messages can be folded"), "{}", tables.stderr);
    let missing = place.run(&["fold", "--spec", "hl7v2", "--collection", "other"]).expect_code(1);
    assert!(missing.stderr.contains("other does not exist"), "{}", missing.stderr);
    place.fold(&[]);
    let leases = place.collection("medlift_runs.leases");
    block_on(async {
        let later =
            doc! { "$set": { "until": bson::DateTime::from_millis(4_000_000_000_000), "owner.machine": "elsewhere" } };
        let changed = leases.update_many(doc! {}, later).await.expect("changed");
        assert!(changed.matched_count > 0);
    });
    let held = place.run(&["fold", "--spec", "hl7v2"]).expect_code(6);
    assert!(held.stderr.contains("are being folded by"), "{}", held.stderr);
}
