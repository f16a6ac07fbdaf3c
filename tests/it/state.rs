//! Tests of what `medlift provision` makes for HL7 v2 messages and for the documents of the state: each user signs in
//! and tries what its role permits and what it does not permit.

use std::sync::OnceLock;

use bson::{Bson, DateTime, Document, doc};
use futures_util::TryStreamExt;
use medlift::deployment::provision::{Changes, Wanted, view_name};
use medlift::spec::{Dataset, Spec};

use crate::connection::{block_on, settings};
use crate::load::{Place, text};
use crate::program::{Medlift, medlift};
use crate::provision::{Deployment, Tried, USERS, find, wanted};

const STATE: [&str; 3] = ["patients", "visits", "results"];
const FOLDED: [&str; 4] = ["patients", "visits", "results", "messages.folded"];
const MESSAGE: &str = "MSH|^~\\&|ADT1|GOODHEALTH|||20260102030405||ADT^A01|M1|P|2.5\rEVN||20260102030405\r\
                       PID|1||MRN77^^^GOODHEALTH^MR||DOE^JANE||19800102|F\rPV1|1|I|W1||||||||||||||||V1";

fn spec() -> Spec {
    Dataset::built_in("hl7v2").and_then(|dataset| dataset.into_only().ok()).expect("the built-in spec")
}

/// A deployment that is provisioned for HL7 v2 messages, and contains one message and its state.
fn shared() -> &'static Deployment {
    static DEPLOYMENT: OnceLock<Deployment> = OnceLock::new();
    DEPLOYMENT.get_or_init(|| {
        let deployment = Deployment::of(spec());
        block_on(deployment.provision(&settings(&USERS)));
        let place = Place::new("state");
        let source = place.write("adt.hl7", MESSAGE);
        // The loader loads and folds.
        for arguments in [&["load", text(&source)][..], &["fold"]] {
            program(&deployment, &[arguments, &["--spec", "hl7v2"]].concat()).run().expect_code(0);
        }
        deployment
    })
}

/// A command with the passwords of all users except the root user.
fn program(deployment: &Deployment, arguments: &[&str]) -> Medlift {
    let (uri, _) = deployment.address();
    let program = medlift(arguments).env("MONGODB_URI", uri);
    USERS.into_iter().fold(program, |program, (name, value)| program.env(name, value))
}

fn insert(collection: &str) -> Document {
    doc! { "insert": collection, "documents": [{ "of": "a test" }] }
}

fn update(collection: &str) -> Document {
    doc! { "update": collection, "updates": [{ "q": { "of": "a test" }, "u": { "$set": { "x": 1 } } }] }
}

fn delete(collection: &str) -> Document {
    doc! { "delete": collection, "deletes": [{ "q": { "of": "a test" }, "limit": 1 }] }
}

fn index(collection: &str) -> Document {
    doc! { "createIndexes": collection, "indexes": [{ "key": { "x": 1 }, "name": "x" }] }
}

#[test]
fn the_loader_may_write_and_remove_the_state_and_no_message() {
    shared();
    block_on(async {
        let loader = Tried::on(shared(), "loader").await;
        for collection in FOLDED {
            loader.may(find(collection)).await;
            loader.may(insert(collection)).await;
            loader.may(update(collection)).await;
            loader.may(delete(collection)).await;
            loader.may(doc! { "listIndexes": collection }).await;
            loader.may_not(doc! { "drop": collection }).await;
            loader.may_not(index(collection)).await;
            loader.may_not(doc! { "collMod": collection, "validationLevel": "off" }).await;
        }
        loader.may(find("messages")).await;
        loader.may_not(delete("messages")).await;
        loader.may_not(find(&view_name("patients"))).await;
        loader.may_not(find("letters")).await;
    });
}

#[test]
fn the_reader_only_reads_and_the_admin_reads_no_document() {
    shared();
    block_on(async {
        let (reader, admin) = (Tried::on(shared(), "reader").await, Tried::on(shared(), "admin").await);
        for collection in FOLDED.into_iter().chain(["messages"]) {
            reader.may(find(collection)).await;
            for write in [insert(collection), update(collection), delete(collection), doc! { "drop": collection }] {
                reader.may_not(write).await;
            }
            admin.may(doc! { "collStats": collection }).await;
            admin.may_not(find(collection)).await;
        }
    });
}

#[test]
fn the_writer_writes_and_manages_no_users() {
    shared();
    block_on(async {
        let writer = Tried::on(shared(), "writer").await;
        for collection in FOLDED {
            writer.may(insert(collection)).await;
            writer.may(delete(collection)).await;
        }
        writer.may_not(doc! { "usersInfo": 1 }).await;
    });
}

#[test]
fn the_analyst_reads_only_the_views() {
    shared();
    block_on(async {
        let analyst = Tried::on(shared(), "analyst").await;
        for collection in STATE.into_iter().chain(["messages"]) {
            analyst.may(find(&view_name(collection))).await;
            let stage = doc! { "$unionWith": collection };
            analyst.may_not(doc! { "aggregate": view_name(collection), "pipeline": [stage], "cursor": {} }).await;
        }
        for collection in FOLDED.into_iter().chain(["messages", "messages_rejected"]) {
            analyst.may_not(find(collection)).await;
            analyst.may_not(insert(collection)).await;
        }
        analyst.may_not(find(&view_name("messages.folded"))).await;
    });
}

/// Results that are stored for the test of the view: type, code, unit and value, and the value that is shown.
fn values() -> [(&'static str, Document, &'static str, Bson, Bson); 19] {
    let potassium = doc! { "code": "2823-3", "text": "Canary", "system": "LN" };
    let local = doc! { "code": "Canary", "text": "Canary", "system": "L" };
    let age = doc! { "code": "30525-0", "text": "Age", "system": "LN" };
    let (mmol, null) = ("mmol/L", Bson::Null);
    [
        ("NM", potassium.clone(), mmol, Bson::from("4.1"), Bson::from("4.1")),
        ("NM", local.clone(), mmol, "4.1".into(), "4.1".into()),
        ("SN", potassium.clone(), mmol, ">^100".into(), ">^100".into()),
        ("CE", local.clone(), "", "260385009^Canary^SCT".into(), "260385009".into()),
        // The view does not show ages. The next two results are ages: the first by its code, the second by its unit.
        ("NM", age, mmol, "97".into(), null.clone()),
        ("NM", local.clone(), "a", "97".into(), null.clone()),
        ("NM", local.clone(), "", "97".into(), null.clone()),
        ("NM", local.clone(), mmol, "1980-01-02".into(), null.clone()),
        ("NM", local.clone(), mmol, "19800102".into(), null.clone()),
        ("NM", local.clone(), mmol, "555-123-4567".into(), null.clone()),
        ("SN", local.clone(), mmol, "^555^-^1234".into(), null.clone()),
        ("NM", local.clone(), mmol, "Canary".into(), null.clone()),
        ("CWE", local.clone(), "", "Canary".into(), null.clone()),
        ("CWE", local.clone(), "", "Canary^Canary^SCT".into(), null.clone()),
        ("CWE", local.clone(), "", "260385009^Canary^L".into(), null.clone()),
        ("CE", local.clone(), "", Bson::from(vec!["4", "5"]), null.clone()),
        ("TX", local.clone(), mmol, "4".into(), null.clone()),
        ("Canary", local.clone(), "Canary", "4".into(), null.clone()),
        ("NM", potassium.clone(), mmol, Bson::from(vec!["4", "5"]), null.clone()),
    ]
}

#[test]
fn the_views_show_no_identifier_no_name_and_no_free_text() {
    let deployment = Deployment::of(spec());
    let day = |day: u8| Bson::from(DateTime::builder().year(2026).month(1).day(day).hour(5).build().expect("a date"));
    block_on(async {
        deployment.provision(&settings(&USERS)).await;
        let root = deployment.root().await;
        let put = async |collection: &str, documents: Vec<Document>| {
            root.db().collection::<Document>(collection).insert_many(documents).await.expect("inserts");
        };
        let shown = async |collection: &str| -> Vec<Document> {
            let analyst = deployment.sign_in("analyst", "k4Tz-9pLmw2x-n").await.expect("signs in");
            let view = analyst.db().collection::<Document>(&view_name(collection));
            view.find(doc! {}).await.expect("finds").try_collect().await.expect("reads")
        };
        let canary = doc! { "family": "Canary", "text": "Canary", "value": "Canary", "id": "Canary" };
        // A document of another program must not make the view unreadable.
        let foreign = doc! {
            "sex": 5, "birthDate": "1980", "status": [1], "flags": 7, "value": 4.5, "valueType": "CE", "code": "x",
            "movements": "x", "mergedInto": true, "unit": null,
        };
        let patient = doc! {
            "patient": "Canary", "identifiers": [&canary], "name": &canary, "address": &canary, "phone": "Canary",
            "birthDate": day(2), "sex": "F", "maritalStatus": "Canary", "language": "Canary", "account": &canary,
            "dead": "N", "messages": ["Canary"], "asOf": { "controlId": "Canary" }, "mergedInto": { "patient": "Canary" },
        };
        put("patients", vec![patient, foreign.clone()]).await;
        let patients = shown("patients").await;
        let expected = doc! {
            "sex": "F", "birthDate": 2026, "maritalStatus": null, "diedAt": null, "dead": "N", "isMerged": true,
        };
        assert_eq!(patients[0], expected);
        assert_eq!(
            patients[1],
            doc! {
                "sex": null, "birthDate": null, "maritalStatus": null, "diedAt": null, "dead": null, "isMerged": false,
            }
        );
        let visit = doc! {
            "number": &canary, "location": &canary, "attending": &canary, "status": "discharged", "class": "I",
            "admissionType": "E", "service": "CAR", "disposition": "Canary", "provisional": true,
            "admittedAt": day(2), "dischargedAt": day(5), "movements": [&canary, &canary],
        };
        let other = doc! { "status": "Canary", "service": "Canary", "class": "Canary", "disposition": "01" };
        put("visits", vec![visit, foreign.clone(), other]).await;
        let visits = shown("visits").await;
        assert_eq!(
            visits[0],
            doc! {
                "status": "discharged", "isProvisional": true, "class": "I", "admissionType": "E", "service": "CAR",
                "disposition": null, "movements": 2, "admittedAt": 2026, "dischargedAt": 2026,
                "admittedAt to dischargedAt (days)": 3_i64,
            }
        );
        let result = |kind: &str, code: Document, unit: &str, value: Bson| {
            doc! {
                "status": "F", "placerOrder": &canary, "subId": "Canary", "valueType": kind, "value": value,
                "panel": { "code": "Canary", "system": "L", "text": "Canary" }, "code": code,
                "unit": { "code": unit, "text": "Canary", "system": "Canary" }, "referenceRange": "3.5 - 5.0",
                "flags": ["H", "Canary"], "observedAt": day(2),
            }
        };
        let values = values();
        let documents =
            values.iter().map(|(kind, code, unit, value, _)| result(kind, code.clone(), unit, value.clone()));
        put("results", documents.collect()).await;
        put("results", vec![foreign]).await;
        let results = shown("results").await;
        assert_eq!(
            results[0],
            doc! {
                "status": "F", "panel": { "code": null, "system": null }, "code": { "code": "2823-3", "system": "LN" },
                "valueType": "NM", "value": "4.1", "unit": { "code": "mmol/L" }, "flags": ["H", null], "observedAt": 2026,
            }
        );
        for (shown, (kind, code, unit, value, expected)) in results.iter().zip(&values) {
            assert_eq!(shown.get("value"), Some(expected), "{kind} {code} {unit} {value}");
        }
        for document in [patients, visits, results].concat() {
            assert!(!document.to_string().contains("Canary"), "{document}");
        }
    });
}

#[test]
fn provisioning_is_repeatable_and_keeps_the_rights_of_other_collections() {
    let deployment = Deployment::of(spec());
    let settings = settings(&USERS);
    block_on(async {
        let steps = deployment.provision(&settings).await;
        for step in [
            "create collection hospital.patients with its indexes",
            "create collection hospital.results with its indexes",
            "create the de-identified view hospital.visits_deidentified",
        ] {
            assert!(steps.iter().any(|done| done == step), "{step}: {steps:?}");
        }
        assert_eq!(deployment.provision(&settings).await, [""; 0]);
        let root = deployment.root().await;
        let spec = spec();
        let state = Wanted { collection: "patients".to_owned(), ..wanted(&spec, &settings) };
        let refused = Changes::make(&root.in_collection("patients"), &deployment.destination(), &state, false).await;
        let refused = refused.expect_err("refused").to_string();
        assert!(refused.contains("--collection: the fold writes patients in hospital"), "{refused}");
        root.db().run_command(doc! { "dropIndexes": "visits", "index": "by_patient" }).await.expect("drops");
        assert_eq!(deployment.provision(&settings).await, ["build the indexes of hospital.visits"]);
        let admissions = Spec::built_in();
        let other = Wanted { collection: "admissions".to_owned(), ..wanted(&admissions, &settings) };
        let target = root.in_collection("admissions");
        let changes = Changes::make(&target, &deployment.destination(), &other, false).await.expect("plans");
        let steps: Vec<String> = changes.steps.iter().map(ToString::to_string).collect();
        let expected = [
            "add privileges on hospital.admissions to role medliftLoader",
            "add privileges on hospital.admissions_deidentified to role medliftAnalyst",
        ];
        assert!(steps.ends_with(&expected.map(str::to_owned)), "{steps:?}");
        changes.carry_out(&target, |_| (), |_| ()).await.expect("carries out");
        assert_eq!(deployment.provision(&settings).await, [""; 0]);
        let loader = deployment.sign_in("loader", "k4Tz-9pLmw2x-l").await.expect("signs in");
        loader.db().run_command(delete("messages.folded")).await.expect("may still fold");
        loader.db().run_command(insert("messages_rejected")).await.expect("may still store refused messages");
        loader.db().run_command(delete("messages_rejected")).await.expect_err("may not delete them");
    });
}

#[test]
fn a_patient_is_shown_to_who_may_read_and_doctor_checks_the_state() {
    let deployment = shared();
    let patient = ["patient", "MRN77^^^GOODHEALTH"];
    let reader = program(deployment, &patient).run().expect_code(0);
    assert!(
        reader.stderr.contains("3 documents found: messages 1, patients 1, results 0, visits 1"),
        "{}",
        reader.stderr
    );
    let analyst = program(deployment, &[&patient[..], &["-u", "analyst"]].concat()).run().expect_code(0);
    assert!(analyst.stdout.is_empty(), "{}", analyst.stdout);
    let one = [&patient[..], &["-u", "analyst", "--collection", "messages"]].concat();
    let refused = program(deployment, &one).run().expect_code(1).stderr;
    assert!(refused.contains("read hospital.messages") && refused.contains("may not"), "{refused}");
    let loader = program(deployment, &[&patient[..], &["-u", "loader"]].concat()).run().expect_code(0);
    assert!(loader.stderr.contains("3 documents found"), "{}", loader.stderr);
    block_on(async {
        let letters = deployment.root().await.db().collection::<Document>("letters");
        letters.insert_one(doc! { "patient": 1 }).await.expect("inserts");
    });
    let loader = program(deployment, &[&patient[..], &["-u", "loader"]].concat()).run().expect_code(0);
    assert!(loader.stderr.contains("the user may not read them: letters"), "{}", loader.stderr);
    let export = ["export", "--spec", "hl7v2", "-u", "analyst", "-c", "patients_deidentified", "--type", "json"];
    let exported = program(deployment, &export).run().expect_code(0);
    assert!(exported.stdout.contains(r#""sex":"F""#) && !exported.stdout.contains("JANE"), "{}", exported.stdout);
    let doctor = program(deployment, &["doctor", "--spec", "hl7v2"]).run().expect_code(0);
    for part in ["may load and verify hospital.messages", "patients, visits, results have the indexes"] {
        assert!(doctor.stdout.contains(part), "{}", doctor.stdout);
    }
}
