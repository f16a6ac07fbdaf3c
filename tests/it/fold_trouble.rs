//! Tests of folds in unusual situations: another process folds, another program has changed the documents, another
//! version of Medlift has folded, the fold was killed, or there are very many messages.

use std::time::{Duration, SystemTime};

use bson::{DateTime, Document, doc};
use futures_util::TryStreamExt;
use serde_json::Value as Json;

use crate::fold::{SPEC, STATE, message, number, stream};
use crate::load::{Place, block_on, text};

impl Place {
    /// Gives the lease of the fold to another process. It expires after the time `left`.
    fn hold_fold(&self, left: Duration, owner: bson::Uuid) {
        let until = DateTime::from_system_time(SystemTime::now() + left);
        let lease = doc! { "$set": { "until": until, "owner.machine": "elsewhere", "owner.id": owner } };
        let leases = self.collection("medlift_runs.leases");
        block_on(async { leases.update_one(doc! { "_id": "lease fold" }, lease).await.expect("changed") });
    }

    fn fold_record(&self) -> Document {
        self.one("medlift_runs.leases", doc! { "_id": "fold" })
    }

    fn change_fold_record(&self, change: Document) {
        let leases = self.collection("medlift_runs.leases");
        let changed = block_on(async { leases.update_one(doc! { "_id": "fold" }, change).await }).expect("changed");
        assert_eq!(changed.matched_count, 1);
    }

    /// Folds, and returns the number of documents that the server returned from `messages` meanwhile.
    fn messages_read_by_fold(&self) -> i64 {
        let profile = self.collection("system.profile");
        let database = profile.client().database(&self.database);
        let set = |level: i32| block_on(async { database.run_command(doc! { "profile": level }).await.expect("set") });
        block_on(async { profile.drop().await.expect("dropped") });
        set(2);
        self.fold(&[]);
        set(0);
        let filter = doc! { "ns": format!("{}.messages", self.database) };
        let found = block_on(async { profile.find(filter).await?.try_collect::<Vec<_>>().await }).expect("read");
        found.iter().map(|operation| i64::from(operation.get_i32("nreturned").unwrap_or(0))).sum()
    }
}

/// A result of `bytes` bytes, at second `second` of the day.
fn result(second: u32, bytes: usize) -> String {
    let time = format!("20260102{:02}{:02}{:02}", second / 3600, second / 60 % 60, second % 60);
    let header = format!(r"MSH|^~\&|LAB|H|||{time}||ORU^R01|R{second:06}|P|2.5");
    let value = "x".repeat(bytes);
    format!("{header}\rPID|1||P1^^^GOODHEALTH^MR\rOBR|1||F1^LAB|CBC\rOBX|1|TX|K^Potassium^L||{value}||||||F")
}

#[test]
fn new_messages_are_read_once_and_folded_in_the_order_of_time() {
    let place = Place::new("fold_order");
    place.load_messages("a.hl7", &[result(40_000, 10)]);
    place.fold(&[]);
    // Every new message is about the result that is already folded, and is later than the first message. Together, the
    // new messages are larger than the events of one group (4 MiB).
    let later: Vec<String> = (0..1_100).map(|at| result(50_000 + at, 9_000)).collect();
    place.load_messages("b.hl7", &later);
    let read = place.messages_read_by_fold();
    assert!(
        (1_100..2_250).contains(&read),
        "each _id and each new message must be read once, but {read} documents were read"
    );
    // These messages are earlier than those that are already folded. So the result is folded again from all its
    // messages. For this, each message must be read only once.
    let earlier: Vec<String> = (0..600).map(|at| result(10_000 + at, 9_000)).collect();
    place.load_messages("c.hl7", &earlier);
    let read = place.messages_read_by_fold();
    assert!(
        (1_700..4_050).contains(&read),
        "each _id and each message of the result must be read once, but {read} documents were read"
    );
    assert_eq!(number(&place.verify_state("c.hl7", 0), "not_folded"), 0);
    let result = place.one("results", doc! {});
    let last = result.get_document("asOf").expect("the last message");
    assert_eq!(last.get_str("controlId").expect("a control id"), "R051099");
}

#[test]
fn documents_of_another_program_are_not_mixed_with_the_state() {
    let place = Place::new("fold_other");
    let patients = place.collection("patients");
    let foreign = doc! { "_id": 1, "name": "of another program" };
    block_on(async { patients.insert_one(&foreign).await.expect("inserted") });
    let source = place.write("a.hl7", stream().join("\r"));
    let refused = |arguments: &[&str]| {
        let run = place.run(arguments).expect_code(2);
        assert!(run.stderr.contains("patients has documents that `medlift fold` did not write"), "{}", run.stderr);
    };
    refused(&["load", "--spec", "hl7v2", text(&source)]);
    let messages = place.collection("messages");
    assert_eq!(block_on(async { messages.count_documents(doc! {}).await }).expect("counted"), 0);
    place.load(&source, &[&SPEC[..], &["--no-fold"]].concat(), 0);
    refused(&["fold", "--spec", "hl7v2"]);
    assert_eq!(place.state().len(), 1);
}

#[test]
fn an_index_of_an_administrator_is_used() {
    let place = Place::new("fold_index");
    let (patients, visits) = (place.collection("patients"), place.collection("visits"));
    let index = |key: Document, name: &str| {
        let options = mongodb::options::IndexOptions::builder().name(name.to_owned()).build();
        mongodb::IndexModel::builder().keys(key).options(options).build()
    };
    block_on(async {
        patients.create_index(index(doc! { "patient": 1 }, "patient_1")).await.expect("built");
        visits.create_index(index(doc! { "class": 1 }, "by_patient")).await.expect("built");
    });
    assert_eq!(number(&place.load_folding("a.hl7", &stream(), &[]), "messages"), 11);
    let names = |name: &str| {
        let documents = place.collection(name);
        let mut names = block_on(async move { documents.list_index_names().await }).expect("listed");
        names.sort();
        names
    };
    assert_eq!(names("patients"), ["_id_", "by_mergedInto", "patient_1"]);
    assert_eq!(names("visits"), ["_id_", "by_patient", "by_patientAsSent", "patient_1"]);
}

#[test]
fn a_load_waits_while_another_process_folds() {
    let place = Place::new("fold_waits");
    place.load_folding("a.hl7", &stream()[..2], &[]);
    let owner = bson::Uuid::new();
    place.hold_fold(Duration::from_secs(2), owner);
    let source = place.write("b.hl7", stream().join("\r"));
    let summary = std::thread::scope(|scope| {
        // The other process renews its lease several times.
        scope.spawn(|| {
            for _ in 0..8 {
                std::thread::sleep(Duration::from_millis(500));
                let lease = doc! { "_id": "lease fold", "owner.id": owner };
                let until = DateTime::from_system_time(SystemTime::now() + Duration::from_secs(2));
                let leases = place.collection("medlift_runs.leases");
                let renewed = doc! { "$set": { "until": until } };
                block_on(async { leases.update_one(lease, renewed).await.expect("renewed") });
            }
        });
        place.load(&source, &[&SPEC[..], &["--no-verify"]].concat(), 0)
    });
    assert_eq!(number(&summary["fold"], "messages"), 9);
    // A fold and a verification do not wait. They say that another process folds.
    place.hold_fold(Duration::from_mins(10), owner);
    for command in [&["fold"][..], &["verify", text(&source)]] {
        let run = place.run(&[command, &SPEC[..]].concat()).expect_code(6);
        assert!(run.stderr.contains("are being folded by"), "{command:?} {}", run.stderr);
    }
}

#[test]
fn a_process_that_lost_its_lease_does_not_write_the_record() {
    let place = Place::new("fold_fence");
    place.load_folding("a.hl7", &stream(), &[]);
    place.change_fold_record(doc! { "$set": { "fence": 1_000_i64 } });
    let before = place.fold_record();
    place.run(&[&["fold", "--rebuild"], &SPEC[..]].concat()).expect_code(6);
    assert_eq!(place.fold_record(), before);
}

#[test]
fn a_state_of_another_version_is_folded_again() {
    let place = Place::new("fold_version");
    place.load_folding("a.hl7", &stream(), &[]);
    let before = place.state();
    place.change_fold_record(doc! { "$unset": { "version": "" } });
    let visits = place.collection("visits");
    let other = doc! { "$set": { "status": "of other rules" } };
    block_on(async { visits.update_one(doc! { "number.value": "V1" }, other).await.expect("changed") });
    let proof = place.verify_state("a.hl7", 0);
    assert!(proof["not_compared"].as_str().is_some_and(|why| why.contains("another version of Medlift")), "{proof}");
    let folded: Json = place.fold(&[]);
    assert_eq!((number(&folded, "messages"), number(&folded, "written")), (11, 1));
    assert_eq!(place.state(), before);
    assert_eq!(number(&place.fold(&[]), "messages"), 0);
}

#[test]
fn a_collection_that_was_emptied_keeps_the_rule_of_its_state() {
    let place = Place::new("fold_emptied");
    let source = place.write("a.hl7", stream().join("\r"));
    place.load(&source, &SPEC, 0);
    let messages = place.collection("messages");
    block_on(async { messages.delete_many(doc! {}).await.expect("deleted") });
    let spec =
        include_str!("../../specs/hl7v2.toml").replace("type = \"hl7\"", "type = \"hl7\"\ntime_zone = \"+01:00\"");
    let path = place.write("ours.toml", spec);
    let other = place.write("b.hl7", message("ADT^A28", 50, "P1", "V1", ""));
    let run = place.run(&["load", "--spec", text(&path), text(&other)]).expect_code(2);
    assert!(run.stderr.contains("another [patient] or time_zone"), "{}", run.stderr);
}

#[test]
fn a_fold_that_was_killed_at_any_step_is_repeated() {
    let place = Place::new("fold_steps");
    place.load_folding("a.hl7", &stream(), &[]);
    let before = place.state();
    let notes = place.collection("messages.folded");
    // Simulates a kill between two steps: the documents are written, but they still have their own patient instead of
    // the patient into which it was merged.
    let last = bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: [[0; 16], [0xff; 16]].concat() };
    block_on(async { notes.delete_many(doc! { "_id": { "$lte": last } }).await.expect("deleted") });
    for name in STATE {
        let own = if name == "patients" { "$_id" } else { "$patientAsSent" };
        let documents = place.collection(name);
        let back = vec![doc! { "$set": { "patient": own } }];
        let changed = block_on(async { documents.update_many(doc! {}, back).await }).expect("changed");
        assert!(changed.modified_count > 0, "{name}");
    }
    place.fold(&[]);
    assert_eq!(place.state(), before);
    // Simulates a kill in the middle of a fold of all messages: half of the documents are missing, and no message is
    // noted as folded.
    place.change_fold_record(doc! { "$set": { "is_rebuilding": true } });
    for (name, document) in before.iter().step_by(2) {
        let id = document.get("_id").expect("BSON").expect("an _id");
        let (documents, id) = (place.collection(name), bson::Bson::try_from(id).expect("a UUID"));
        block_on(async { documents.delete_one(doc! { "_id": id }).await.expect("deleted") });
    }
    block_on(async { notes.delete_many(doc! {}).await.expect("deleted") });
    place.fold(&[]);
    assert_eq!(place.state(), before);
    assert!(!place.fold_record().get_bool("is_rebuilding").expect("a field of the record"));
}
