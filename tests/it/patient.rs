//! Tests of `medlift patient`: it finds all documents of a patient, also after merges, and shows no identifier in
//! messages.

use std::path::PathBuf;

use bson::{Document, doc};
use serde_json::Value as Json;

use crate::load::{Place, block_on, text};
use crate::program::{Medlift, Run, medlift};
use crate::server::shared;

const SPEC: [&str; 2] = ["--spec", "hl7v2"];
const SECRET: (&str, &str) = ("MEDLIFT_IDENTITY_KEY", "a secret of thirty-two characters");

/// A message about a patient, at this hour.
fn message(kind: &str, hour: u32, patient: &str, more: &str) -> String {
    let time = format!("20260102{hour:02}0000");
    let header = format!(r"MSH|^~\&|ADT1|GOODHEALTH|||{time}||{kind}|M{hour}|P|2.5");
    let pid = format!("PID|1||{patient}^^^GOODHEALTH^MR||DOE^{patient}||19800102|F");
    [&header, &format!("EVN||{time}"), &pid, more].map(str::to_owned).join("\r")
}

/// Messages of the patients MRN77 and MRN78, who are merged, and of another patient.
fn messages() -> String {
    let visit = "PV1|1|I|W1||||||||||||||||V77^^^GOODHEALTH";
    let result = "OBR|1||F1^LAB|CBC^Blood count\rOBX|1|NM|K^Potassium^L||4.1|mmol/L||N|||F";
    let all = [
        message("ADT^A01", 1, "MRN77", visit),
        message("ORU^R01", 2, "MRN77", result),
        message("ADT^A28", 3, "MRN78", ""),
        message("ADT^A40", 4, "MRN78", "MRG|MRN77^^^GOODHEALTH^MR"),
        message("ADT^A28", 5, "MRN99", "").replace("MRN99^^^GOODHEALTH", "MRN99^^^&1.2.3&ISO"),
    ];
    all.join("\r")
}

impl Place {
    fn program(&self, arguments: &[&str]) -> Medlift {
        medlift(arguments.iter().chain(&["--uri", &shared().uri(), "--db", &self.database]))
    }

    fn load_patients(&self, secret: Option<(&str, &str)>) {
        let source: PathBuf = self.write("adt.hl7", messages());
        for arguments in [&["load", text(&source), "--no-verify", "--quiet"][..], &["fold", "--quiet"]] {
            let program = self.program(&[arguments, &SPEC[..]].concat());
            secret.into_iter().fold(program, |program, (name, value)| program.env(name, value)).run().expect_code(0);
        }
    }
}

/// Returns the collection and the description of each line.
fn lines(run: &Run) -> Vec<(String, String)> {
    let of_line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let collection = words.next().expect("a collection").to_owned();
        let rest: Vec<&str> = words.collect();
        (collection, rest[..rest.len() - 1].join(" "))
    };
    run.stdout.lines().map(of_line).collect()
}

#[test]
fn all_documents_of_a_patient_are_found_by_old_and_new_identifiers() {
    let place = Place::new("patient");
    place.load_patients(None);
    place.load(&place.sample("a.csv", 3, "none"), &["--no-verify"], 0);
    let run = place.program(&["patient", "MRN77^^^GOODHEALTH"]).run().expect_code(0);
    let found = lines(&run);
    let expected = [
        ("messages", "ADT A01"),
        ("visits", "admitted I"),
        ("messages", "ORU R01"),
        ("results", "F Blood count Potassium 4.1 mmol/L N"),
        ("messages", "ADT A28"),
        ("messages", "ADT A40"),
        ("patients", "born 1980-01-02"),
        ("patients", "born 1980-01-02 merged into another patient"),
    ];
    let sorted = |mut lines: Vec<(String, String)>| {
        lines.sort();
        lines
    };
    let expected = expected.map(|(collection, what)| (collection.to_owned(), what.to_owned())).to_vec();
    assert_eq!(sorted(found.clone()), sorted(expected), "{}", run.stdout);
    let mut times: Vec<&str> = run.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    let shown = times.clone();
    times.sort_unstable();
    assert_eq!(shown, times, "in time order");
    assert!(run.stderr.contains("8 documents found, under 2 keys: messages 4, patients 2"), "{}", run.stderr);
    assert!(run.stderr.contains("do not say to which patient they belong: admissions"), "{}", run.stderr);
    for named in [&["MRN78^^^GOODHEALTH"][..], &["MRN77", "--authority", "GOODHEALTH"]] {
        let other = place.program(&[&["patient"], named].concat()).run().expect_code(0);
        assert_eq!(other.stdout, run.stdout, "{named:?}");
    }
    let by_id = place.program(&["patient", "MRN99^^^&1.2.3&ISO", "--quiet"]).run().expect_code(0);
    assert_eq!(by_id.stdout.lines().count(), 2, "the universal id is the authority: {}", by_id.stdout);
    let piped = place.program(&["patient", "-", "--quiet"]).input("MRN77^^^GOODHEALTH\n").run().expect_code(0);
    assert_eq!((piped.stdout, piped.stderr.as_str()), (run.stdout.clone(), ""));
    let later = place.program(&["patient", "MRN77^^^GOODHEALTH", "--from", "2026-01-02T03:00:00Z", "--limit", "2"]);
    let later = later.run().expect_code(0);
    assert_eq!(later.stdout.lines().count(), 2);
    assert!(later.stderr.contains("6 are not shown, because of --from"), "{}", later.stderr);
}

#[test]
fn json_has_the_facts_and_the_key_finds_the_same() {
    let place = Place::new("patient_json");
    place.load_patients(None);
    let json = |arguments: &[&str]| -> Vec<Json> {
        let run = place.program(&[&["patient", "--json", "--quiet"], arguments].concat()).run().expect_code(0);
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let all = json(&["MRN77^^^GOODHEALTH"]);
    let result = all.iter().find(|entry| entry["collection"] == "results").expect("a result");
    assert_eq!(
        (&result["time"], &result["what"]),
        (&"2026-01-02T02:00:00Z".into(), &"F Blood count Potassium 4.1 mmol/L N".into())
    );
    assert_eq!((&result["facts"]["code.code"], &result["facts"]["value"]), (&"K".into(), &"4.1".into()));
    assert!(all.iter().all(|entry| entry["facts"].get("message").is_none()));
    let messages = place.collection("messages");
    let message = block_on(async move { messages.find_one(doc! { "controlId": "M1" }).await });
    let key = message.expect("read").expect("a message").get("patient").expect("a key").clone();
    let bson::Bson::Binary(key) = key else { panic!("a UUID") };
    assert_eq!(json(&["--key", &key.to_uuid().expect("a UUID").to_string()]), all);
    assert_eq!(json(&["MRN77^^^GOODHEALTH", "--collection", "visits"]).len(), 1);
}

#[test]
fn nothing_found_says_what_was_searched_and_no_message_shows_the_identifier() {
    let place = Place::new("patient_none");
    place.load_patients(None);
    let check = |arguments: &[&str], code: i32, part: &str| {
        let run = place.program(&[&["patient"], arguments].concat()).run().expect_code(code);
        assert!(run.stderr.contains(part) && run.stdout.is_empty(), "{arguments:?}: {} {}", run.stderr, run.stdout);
        assert!(!run.stderr.contains("77123"), "{arguments:?}: {}", run.stderr);
    };
    let searched = "nothing found; searched: messages 0, patients 0, results 0, visits 0; ";
    check(&["77123^^^GOODHEALTH"], 0, &format!("{searched}the authority must be written as in the source"));
    check(&["77123"], 0, &format!("{searched}no authority was given"));
    check(&["77123^^^A", "--authority", "B"], 2, "--authority names another one");
    check(&["--key", "77123"], 2, "--key is not a UUID");
    check(&["77123", "x77123"], 2, "give one identifier of the patient");
    check(&[], 2, "give one identifier of the patient");
    check(&["77123^^^A", "--from", "soon"], 2, "give a day such as 2026-01-31");
    // The user types the identifier where an option or its value belongs. The message must not contain it.
    let typed = "77123^^^A";
    for option in ["--from", "--to", "--limit", "--port", "--target"] {
        check(&[option, typed], 2, &format!("invalid value '***' for '{option}"));
    }
    for argument in ["--77123^^^A", "-77123", "--json=77123", "--quiet=77123", "--lmit=77123"] {
        check(&["--limit", "5", argument], 2, "***");
    }
    check(&["77123^^^A", "--collection", "other"], 2, "other has no documents with the key of a patient");
}

#[test]
fn another_identity_key_is_reported() {
    let place = Place::new("patient_key");
    place.load_patients(Some(SECRET));
    let patient = || place.program(&["patient", "MRN77^^^GOODHEALTH"]);
    let run = patient().run().expect_code(2);
    assert!(run.stderr.contains("messages were made with the identity key with the fingerprint"), "{}", run.stderr);
    assert!(run.stderr.contains("but MEDLIFT_IDENTITY_KEY is not set; set MEDLIFT_IDENTITY_KEY"), "{}", run.stderr);
    // The ledger stores the identity key of the messages, but not of the state. Both have the same key. So the command
    // must refuse another key for the collections of the state too.
    for collection in ["patients", "visits", "results"] {
        let run = place.program(&["patient", "MRN77^^^GOODHEALTH", "--collection", collection]).run().expect_code(2);
        assert!(run.stderr.contains("set MEDLIFT_IDENTITY_KEY"), "{}", run.stderr);
    }
    let copies = place.collection("copies");
    block_on(async { copies.insert_one(doc! { "patient": 1 }).await.expect("inserted") });
    let run = patient().env(SECRET.0, SECRET.1).run().expect_code(0);
    assert!(run.stderr.contains("8 documents found"), "{}", run.stderr);
    assert!(run.stderr.contains("so documents in them may not be found: copies\n"), "{}", run.stderr);
}

#[test]
fn a_collection_without_an_index_is_read_too() {
    let place = Place::new("patient_scan");
    place.load_patients(None);
    let (messages, copies) = (place.collection("messages"), place.collection("copies"));
    block_on(async {
        let message: Document = messages.find_one(doc! { "controlId": "M1" }).await.expect("read").expect("a message");
        // The first 200 documents have no key of a patient. The command must still find the document after them.
        let without = (0..200).map(|number| doc! { "_id": number });
        copies.insert_many(without).await.expect("inserted");
        copies.insert_one(message).await.expect("inserted");
    });
    let run = place.program(&["patient", "MRN77^^^GOODHEALTH"]).run().expect_code(0);
    assert!(
        run.stderr.contains("9 documents found") && run.stderr.contains(": copies 1, messages 4"),
        "{}",
        run.stderr
    );
}

/// A FHIR Patient has two keys. One is computed from its identifier. The other is computed from its id, and is also the
/// key of the resources that refer to the Patient.
#[test]
fn the_references_to_a_fhir_patient_are_found_by_the_identifier_and_the_other_way_round() {
    let place = Place::new("patient_fhir");
    let key = |value: &str, authority: &str| {
        let id = medlift::encode::IdentityKey::default().derive("patient", &[value, authority]);
        bson::Uuid::from_bytes(id.0)
    };
    let (identifier, reference) = (key("77", "http://hospital.example/mrn"), key("p1", "default/Patient"));
    let (patients, observations) = (place.collection("Patient"), place.collection("Observation"));
    block_on(async {
        let patient = doc! { "_id": 1, "patient": identifier, "patientReference": reference };
        patients.insert_one(patient).await.expect("inserted");
        observations.insert_one(doc! { "_id": 2, "patient": reference }).await.expect("inserted");
        observations.insert_one(doc! { "_id": 3, "patient": key("p2", "default/Patient") }).await.expect("inserted");
    });
    for name in ["77^^^http://hospital.example/mrn", "p1^^^default/Patient"] {
        let run = place.program(&["patient", name]).run().expect_code(0);
        assert!(run.stderr.contains("2 documents found, under 2 keys: Observation 1, Patient 1"), "{}", run.stderr);
    }
}

/// Merges can form chains and circles. If too many records were merged with a patient, a message says so.
#[test]
fn all_merges_are_followed_up_to_a_limit() {
    let place = Place::new("patient_merges");
    let key = |number: u32| bson::Uuid::from_bytes(((u128::from(number) << 64) | (8 << 60)).to_be_bytes());
    let patient =
        |of: u32, into: u32| doc! { "_id": key(of), "patient": key(of), "mergedInto": { "patient": key(into) } };
    let all = (1..=2).map(|number| patient(number, number + 1)).chain([patient(3, 1), patient(4, 5)]);
    let wrong = (10_001..=11_100).map(|number| patient(number, 10_000));
    let all: Vec<Document> = all.chain(wrong).collect();
    let patients = place.collection("patients");
    block_on(async { patients.insert_many(all).await.expect("inserted") });
    let found = |number: u32| {
        let run = place.program(&["patient", "--key", &key(number).to_string()]).run().expect_code(0);
        run.stderr
    };
    for number in 1..=3 {
        assert!(found(number).contains("3 documents found, under 3 keys"), "{number}: {}", found(number));
    }
    let wrong = found(10_500);
    assert!(wrong.contains("1000 or more records were merged with this patient"), "{wrong}");
}
