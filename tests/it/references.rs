//! Tests of references to resources that do not exist. Also tests that the newest version of a resource is stored,
//! whatever the order in which the versions are loaded.

use bson::doc;
use serde_json::Value as Json;

use crate::load::{Place, block_on, text};

const SPEC: [&str; 2] = ["--spec", "fhir-r4"];

/// Three conditions: one of the patient p1 and two of p2. The first two refer to the encounter e1. The third refers to
/// `Pond/1`, but FHIR has no type `Pond`.
const CONDITIONS: &str = r##"{"resourceType":"Condition","id":"c1","subject":{"reference":"Patient/p1"},"encounter":{"reference":"Encounter/e1"}}
{"resourceType":"Condition","id":"c2","subject":{"reference":"Patient/p2"},"encounter":{"reference":"Encounter/e1"}}
{"resourceType":"Condition","id":"c3","subject":{"reference":"Patient/p2/_history/3"},"evidence":[{"detail":[{"reference":"Pond/1"},{"reference":"#here"}]}]}
"##;

const PATIENT: &str = "{\"resourceType\":\"Patient\",\"id\":\"p1\"}\n";

/// Returns the references to documents that do not exist. For each type of such documents: its name, the number of
/// missing documents, and the number of references to them. The last item is the number of references to types that
/// the spec does not describe.
fn to_nothing(summary: &Json) -> (Vec<(String, u64, u64)>, u64) {
    let kinds: Vec<(Json, Json)> = if let Some(proofs) = summary["documents"].as_array() {
        proofs.iter().map(|proof| (proof["kind"].clone(), proof.clone())).collect()
    } else {
        let further = summary["further"].as_array().expect("several kinds");
        let all = std::iter::once(summary).chain(further);
        all.map(|found| (found["kind"].clone(), found["verification"].clone())).collect()
    };
    let elsewhere = kinds.iter().map(|(_, proof)| proof["references_elsewhere"].as_u64().unwrap()).sum();
    let found = kinds.iter().map(|(kind, proof)| {
        let number = |name: &str| proof["references_to_nothing"][name].as_u64().unwrap();
        (kind.as_str().unwrap().to_owned(), number("documents"), number("references"))
    });
    (found.filter(|(_, documents, _)| *documents > 0).collect(), elsewhere)
}

#[test]
fn references_to_nothing_are_reported_by_type_and_are_no_differences() {
    let place = Place::new("references");
    let source = place.write("conditions.ndjson", CONDITIONS);
    let summary = place.load(&source, &SPEC, 0);
    let (mut found, elsewhere) = to_nothing(&summary);
    found.sort();
    let expected =
        [("Encounter", 1, 2), ("Patient", 2, 3)].map(|(kind, absent, count)| (kind.to_owned(), absent, count));
    assert_eq!((&found[..], elsewhere), (&expected[..], 1), "{summary}");
    // Now loads the patient p1 from another source. A verification of the conditions must find p1 on the server.
    place.load(&place.write("patient.ndjson", PATIENT), &SPEC, 0);
    let verify =
        |options: &[&str]| place.run(&[&["verify", text(&source), "--ignore-extra"], &SPEC[..], options].concat());
    let proof: Json = serde_json::from_str(&verify(&["--json"]).expect_code(0).stdout).unwrap();
    let (mut found, elsewhere) = to_nothing(&proof);
    found.sort();
    assert_eq!((found, elsewhere), (vec![("Encounter".to_owned(), 1, 2), ("Patient".to_owned(), 1, 2)], 1), "{proof}");
    let shown = verify(&[]).expect_code(0).stdout;
    for part in [
        "  2 references to 1 document of this kind that does not exist\n",
        "  1 reference to documents of kinds that the spec does not describe\n",
    ] {
        assert!(shown.contains(part), "{part}{shown}");
    }
    let loaded = place.run(&[&["load", text(&source), "--reload"], &SPEC[..]].concat()).expect_code(0).stdout;
    let lines: Vec<&str> = loaded.lines().skip_while(|line| !line.contains("do not exist, by kind")).take(4).collect();
    assert!(lines[1].ends_with("1 to kinds that the spec does not describe"), "{loaded}");
    assert!(lines[2].starts_with("    Encounter ") && lines[2].ends_with(" 2 to 1 document"), "{loaded}");
    assert!(lines[3].starts_with("    Patient ") && lines[3].ends_with(" 2 to 1 document"), "{loaded}");
}

#[test]
fn a_table_has_no_references_to_nothing() {
    let place = Place::new("no_references");
    let summary = place.load(&place.sample("a.csv", 20, "none"), &[], 0);
    assert_eq!(
        summary["verification"]["references_to_nothing"],
        serde_json::json!({ "documents": 0, "references": 0 })
    );
}

#[test]
fn the_newest_version_of_a_resource_is_stored() {
    let version = |day: u32, gender: &str| {
        let meta = format!(r#"{{"lastUpdated":"2026-01-{day:02}T08:00:00.5Z"}}"#);
        format!("{{\"resourceType\":\"Patient\",\"id\":\"p1\",\"meta\":{meta},\"gender\":\"{gender}\"}}\n")
    };
    let place = Place::new("newest_resource");
    let newer = place.write("newer.ndjson", version(3, "female") + &version(2, "unknown"));
    let older = place.write("older.ndjson", version(1, "male") + PATIENT);
    for order in [[&newer, &older], [&older, &newer]] {
        for path in order {
            place.load(path, &SPEC, 0);
        }
        let patients = place.collection("Patient");
        let (found, count) = block_on(async move {
            let newest = doc! { "id": "p1", "resource.gender": "female" };
            let counts = (patients.count_documents(newest).await, patients.count_documents(doc! {}).await);
            patients.drop().await.unwrap();
            counts
        });
        assert_eq!((found.unwrap(), count.unwrap()), (1, 1));
    }
}
