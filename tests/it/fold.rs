//! Tests of `medlift fold`: what it writes, that the order of loading does not matter, and that a fold can be repeated.

use std::path::Path;

use bson::spec::BinarySubtype;
use bson::{Bson, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use medlift::encode::IdentityKey;
use medlift::fold::shell::{Checked, check};
use medlift::server::{Connection, Destination};
use medlift::spec::Dataset;
use mongodb::Collection;
use serde_json::Value as Json;

use crate::connection::{settings, wishes};
use crate::load::{Place, block_on, text};
use crate::server::shared;

const SPEC: [&str; 2] = ["--spec", "hl7v2"];
const STATE: [&str; 3] = ["patients", "visits", "results"];

/// A message about patient `patient` and visit `visit`, at minute `minute`.
fn message(name: &str, minute: u32, patient: &str, visit: &str, more: &str) -> String {
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
fn stream() -> Vec<String> {
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
    fn load_messages(&self, name: &str, messages: &[String]) {
        let source = self.write(name, messages.join("\r"));
        self.run(&[&["load", text(&source), "--no-verify"], &SPEC[..]].concat()).expect_code(0);
    }

    fn fold(&self, options: &[&str]) -> Json {
        let run = self.run(&[&["fold", "--json"], &SPEC[..], options].concat()).expect_code(0);
        serde_json::from_str(&run.stdout).expect("JSON")
    }

    /// Returns the documents of the state, with the names of their collections.
    fn state(&self) -> Vec<(&'static str, RawDocumentBuf)> {
        let documents = |name| {
            let collection: Collection<RawDocumentBuf> = self.collection(name).clone_with_type();
            let found = block_on(async move {
                collection.find(doc! {}).sort(doc! { "_id": 1 }).await?.try_collect::<Vec<_>>().await
            });
            found.expect("documents").into_iter().map(move |document| (name, document))
        };
        STATE.into_iter().flat_map(documents).collect()
    }

    /// Folds all messages again, and compares the result with the stored documents.
    fn check(&self) -> Checked {
        let wishes = Connection { database: Some(self.database.clone()), ..wishes(&shared().uri()) };
        block_on(async {
            let destination = Destination::settle(&wishes, &settings(&[]), "messages").expect("settles");
            let target = destination.connect().await.expect("connects");
            let spec = Dataset::from_file(Path::new("hl7v2")).and_then(Dataset::into_only).expect("the built-in spec");
            check(&target, &spec, &IdentityKey::default(), 20).await.expect("checked")
        })
    }

    fn one(&self, collection: &str, filter: Document) -> Document {
        let documents = self.collection(collection);
        block_on(async move { documents.find_one(filter).await }).expect("an answer").expect("a document")
    }
}

fn number(counts: &Json, name: &str) -> u64 {
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
fn a_killed_fold_is_repeated() {
    let place = Place::new("fold_killed");
    place.load_messages("adt.hl7", &stream());
    place.fold(&[]);
    let before = place.state();
    let (folded, visits) = (place.collection("messages.folded"), place.collection("visits"));
    // Simulates a kill before the last step. No message is noted as folded. First all documents are written, then all
    // except one.
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
    let checked = place.check();
    let mut differences: Vec<_> = checked.differences.iter().map(|found| (found.collection, found.what)).collect();
    differences.sort_unstable();
    assert_eq!(differences, [("patients", "different"), ("visits", "extra"), ("visits", "missing")]);
    assert_eq!((checked.different, checked.equal), (3, before.len() as u64 - 2));
    let rebuilt = place.fold(&["--rebuild"]);
    assert_eq!((number(&rebuilt, "written"), number(&rebuilt, "removed")), (2, 1));
    assert_eq!(place.check().different, 0);
    block_on(async { patients.delete_one(doc! { "name": "of another program" }).await.expect("still there") });
    assert_eq!(place.state(), before);
    // Deletes the message with the admission of P2. Without its admission, the visit is provisional.
    block_on(async { messages.delete_one(doc! { "controlId": "M2" }).await.expect("deleted") });
    place.fold(&["--rebuild"]);
    assert!(place.one("visits", doc! { "number.value": "V2" }).get_bool("provisional").unwrap());
    assert_eq!(number(&place.fold(&[]), "messages"), 0);
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
