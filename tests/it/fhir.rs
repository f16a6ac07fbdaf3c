//! Tests of FHIR resources: loaded, verified and exported with the built-in spec.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bson::{Bson, Document, doc};
use serde_json::Value as Json;
use testkit::json::normal;

use crate::bad_days::{SLOWLY, load, stop_midway, summary};
use crate::load::{Place, block_on, text};
use crate::program::medlift;
use crate::provision::{Deployment, USERS, run_with_passwords};
use crate::server::{shared, slow_server};

const SPEC: [&str; 2] = ["--spec", "fhir-r4"];
/// The counts of a load that are compared.
const ENDS: [&str; 6] = ["read", "written", "already_present", "duplicates", "conflicts", "rejected"];

/// Returns the sums of the counts of all types.
fn total(summary: &Json) -> Vec<u64> {
    ENDS.iter()
        .map(|name| summary["total"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {}", summary["total"])))
        .collect()
}

/// Returns the summary of one type.
fn of_type<'s>(summary: &'s Json, kind: &str) -> &'s Json {
    let further = summary["further"].as_array().expect("several kinds");
    std::iter::once(summary).chain(further).find(|found| found["kind"] == kind).expect("a kind of the spec")
}

fn find(place: &Place, collection: &str, filter: Document) -> Document {
    let documents = place.collection(collection);
    block_on(async move { documents.find_one(filter).await }).unwrap().expect("the document is stored")
}

/// Returns the lines of an NDJSON text in normal form, sorted.
fn normal_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(normal).collect();
    lines.sort();
    lines
}

fn export(place: &Place, options: &[&str]) -> String {
    place.run(&[&["export"], &SPEC[..], options].concat()).expect_code(0).stdout
}

/// Returns the files with sample resources beside the repository. Prints a notice if they are not there.
fn samples() -> Option<Vec<PathBuf>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/fhir");
    let Ok(files) = fs::read_dir(&folder) else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\nSKIPPED: the FHIR samples are not here\n");
        return None;
    };
    Some(
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "gz")).collect(),
    )
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn all_sample_resources_are_loaded_proven_and_exported() {
    let Some(samples) = samples() else { return };
    let place = Place::new("fhir_samples");
    let rejects = place.dir.path().join("rejects");
    fs::create_dir(&rejects).unwrap();
    let folder = samples[0].parent().unwrap().join("*.ndjson.gz");
    let options = [&SPEC[..], &["--rejects", text(&rejects)]].concat();
    let summary = place.load(&folder, &options, 0);
    let resources: Vec<String> = samples.iter().map(|path| unpacked(path)).collect();
    let count = resources.iter().map(|text| text.lines().count() as u64).sum::<u64>();
    assert_eq!(total(&summary), [count, count, 0, 0, 0, 0], "{}", summary["total"]);
    assert_eq!(summary["sources"][0]["format"], "fhir, ndjson");
    let further = summary["further"].as_array().unwrap();
    let equal = std::iter::once(&summary).chain(further).map(|kind| kind["verification"]["equal"].as_u64().unwrap());
    assert_eq!(equal.sum::<u64>(), count);
    assert!(normal_lines(&export(&place, &[])) == normal_lines(&resources.concat()), "each resource must come back");
    place.run(&[&["verify", text(&folder)], &SPEC[..]].concat()).expect_code(0);
    let again = place.load(&folder, &options, 0);
    assert_eq!(total(&again), [count, 0, count, 0, 0, 0], "{}", again["total"]);
}

const UUIDS: [&str; 2] = ["0123abcd-4567-89ef-0123-456789abcdef", "ffffffff-4567-89ef-0123-456789abcdef"];

/// Returns a Bundle with a Patient and a Condition that refers to it by UUID. The Condition has no id of its own.
fn bundle(kind: &str, patient: &str) -> String {
    let [first, second] = UUIDS;
    format!(
        r#"{{
  "resourceType": "Bundle", "id": "b", "type": "{kind}",
  "link": [{{ "relation": "self", "url": "http://a.example/[]{{}}" }}],
  "entry": [
    {{ "fullUrl": "urn:uuid:{second}", "search": {{ "mode": "match" }}, "request": {{ "method": "POST", "url": "Condition" }},
      "resource": {{ "resourceType": "Condition", "subject": {{ "reference": "urn:uuid:{first}" }},
        "code": {{ "coding": [{{ "system": "s", "code": "1" }}] }}, "onsetDateTime": "2024-01" }} }},
    {{ "fullUrl": "urn:uuid:{first}", "response": {{ "status": "201" }},
      "resource": {{ "resourceType": "Patient", "id": "{patient}", "identifier": [{{ "system": "north", "value": "7" }}] }} }}
  ],
  "signature": {{ "data": "entry" }}
}}
"#
    )
}

#[test]
fn a_bundle_of_each_kind_gives_the_resources_of_its_entries() {
    for kind in ["collection", "transaction", "batch", "searchset", "history"] {
        let place = Place::new("fhir_bundle");
        let source = place.write("bundle.json", bundle(kind, "p1"));
        let summary = place.load(&source, &SPEC, 0);
        assert_eq!(total(&summary), [2, 2, 0, 0, 0, 0], "{}", summary["total"]);
        assert_eq!(summary["sources"][0]["format"], "fhir, bundle");
        let condition = find(&place, "Condition", doc! { "id": UUIDS[1] });
        let search = condition.get_document("_search").unwrap();
        assert_eq!(search.get_str("subject").unwrap(), "Patient/p1");
        assert_eq!(search.get("onset"), Some(&Bson::Null));
        let code = doc! { "code": "1", "system": "s" };
        assert_eq!(search.get_array("code").unwrap(), &[Bson::from(code)]);
        let stored = condition.get_document("resource").unwrap().get_document("subject").unwrap();
        assert_eq!(stored.get_str("reference").unwrap(), format!("urn:uuid:{}", UUIDS[0]));
        let patient = find(&place, "Patient", doc! { "id": "p1" });
        assert_eq!(condition.get("patient"), patient.get("patientReference"));
        assert_ne!(patient.get("patient"), patient.get("patientReference"));
        let exported = place.write("all.ndjson", export(&place, &[]));
        assert_eq!(fs::read_to_string(&exported).unwrap().lines().count(), 2);
        if kind == "batch" {
            // The exported Condition is not in a Bundle, so its reference `urn:uuid:…` leads to no resource. It must
            // not replace the stored Condition, whose reference leads to the patient.
            let again = place.load(&exported, &[&SPEC[..], &["--no-verify"]].concat(), 0);
            assert_eq!(total(&again), [2, 0, 1, 0, 1, 0], "{}", again["total"]);
            assert_eq!(find(&place, "Condition", doc! { "id": UUIDS[1] }), condition);
            let notice = again["sources"][0]["notices"][0].as_str().unwrap_or_default();
            assert!(notice.contains("whose entry is not known: 1;"), "{}", again["sources"]);
        }
    }
}

#[test]
fn a_reference_leads_to_the_patient_of_its_own_bundle() {
    let place = Place::new("fhir_bundles");
    let other = bundle("batch", "b").replace(UUIDS[1], "eeeeeeee-4567-89ef-0123-456789abcdef");
    let source = place.write("two.json", format!("[{},{other}]", bundle("batch", "a")));
    let summary = place.load(&source, &SPEC, 0);
    assert_eq!(total(&summary), [4, 4, 0, 0, 0, 0], "{}", summary["total"]);
    for (condition, patient) in [(UUIDS[1], "a"), ("eeeeeeee-4567-89ef-0123-456789abcdef", "b")] {
        let condition = find(&place, "Condition", doc! { "id": condition });
        assert_eq!(
            condition.get_document("_search").unwrap().get_str("subject").unwrap(),
            format!("Patient/{patient}")
        );
        let patient = find(&place, "Patient", doc! { "id": patient });
        assert_eq!(condition.get("patient"), patient.get("patientReference"));
    }
}

#[test]
fn a_reference_to_another_server_gives_no_patient() {
    let place = Place::new("fhir_base");
    let condition = |id: &str, server: &str| {
        format!(
            "{{\"resourceType\":\"Condition\",\"id\":\"{id}\",\"subject\":{{\"reference\":\"{server}/Patient/17\"}}}}\n"
        )
    };
    let [own, other] = ["https://own.example/fhir", "https://other.example/fhir"];
    let patient = "{\"resourceType\":\"Patient\",\"id\":\"17\"}\n";
    let source = place.write("a.ndjson", [patient, &condition("c1", own), &condition("c2", other)].concat());
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/fhir-r4.toml")).unwrap();
    let spec = spec.replace("type = \"fhir\"", &format!("type = \"fhir\"\nbase = \"{own}/\""));
    let spec = place.write("spec.toml", spec);
    place.load(&source, &["--spec", text(&spec)], 0);
    let patient = find(&place, "Patient", doc! { "id": "17" });
    let subject = |id: &str| {
        let found = find(&place, "Condition", doc! { "id": id });
        let subject = found.get_document("_search").unwrap().get_str("subject").unwrap().to_owned();
        (subject, found.get("patient").cloned())
    };
    assert_eq!(subject("c1"), ("Patient/17".to_owned(), patient.get("patientReference").cloned()));
    assert_eq!(subject("c2"), (format!("{other}/Patient/17"), Some(Bson::Null)));
}

#[test]
fn nothing_beside_the_entries_of_a_bundle_is_lost() {
    let place = Place::new("fhir_beside");
    let patient = |id: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}");
    let nested = r#"{"resource":{"resourceType":"Bundle","id":"n"}}"#;
    let wrong = format!("{{\"resourceType\":\"Bundle\",\"total\":x,\"entry\":[{{\"resource\":{}}}]}}", patient("p4"));
    for (name, content, ends) in [
        ("after.json", format!("{}\n{}\n", bundle("batch", "p1"), patient("p2")), [3, 3, 0]),
        (
            "one.json",
            format!("{{\"resourceType\":\"Bundle\",\"entry\":{{\"resource\":{}}}}}", patient("p3")),
            [1, 1, 0],
        ),
        ("wrong.json", wrong, [2, 1, 1]),
        ("error.json", format!("{}\n<html>\n502\n</html>", bundle("batch", "p5")), [5, 1, 3]),
        ("a.ndjson.rejects.ndjson", format!("{nested}\n{{\"resource\":{}}}\n", patient("p6")), [2, 1, 1]),
        (
            "b.ndjson.rejects.ndjson",
            "{\"resourceType\":\"Patient\",\"id\":\"p7\",\"a\":\"\u{fffd}\"}\n".into(),
            [1, 0, 1],
        ),
    ] {
        let source = place.write(name, content);
        let code = if ends[2] > 0 { 4 } else { 0 };
        let summary = place.load(&source, &[&SPEC[..], &["--no-verify"]].concat(), code);
        let total = total(&summary);
        assert_eq!([total[0], total[1], total[5]], ends, "{name}: {}", summary["total"]);
    }
}

#[test]
fn damaged_bytes_do_not_change_the_encoding_of_resources() {
    let place = Place::new("fhir_encoding");
    let mut content = "{\"resourceType\":\"Patient\",\"id\":\"p1\",\"a\":\"é\"}\n".as_bytes().to_vec();
    content.extend_from_slice(b"{\"resourceType\":\"Patient\",\"id\":\"p2\",\"a\":\"\xe9\"}\n");
    let source = place.dir.path().join("a.ndjson");
    fs::write(&source, &content).unwrap();
    let summary = place.load(&source, &[&SPEC[..], &["--no-verify"]].concat(), 4);
    assert_eq!(total(&summary), [2, 1, 0, 0, 0, 1], "{}", summary["total"]);
    let stored = find(&place, "Patient", doc! { "id": "p1" });
    assert_eq!(stored.get_document("resource").unwrap().get_str("a").unwrap(), "é");
    let kept = fs::read(source.with_file_name("a.ndjson.rejects.ndjson")).unwrap();
    assert!(content.ends_with(&kept) && !kept.is_empty());
}

#[test]
fn several_bundles_arrays_and_single_resources_are_read() {
    let place = Place::new("fhir_forms");
    let patient = |id: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\"}}");
    let sources = [
        ("two.json", format!("[{},{}]", bundle("batch", "b1"), bundle("batch", "b2")), "fhir, bundle", 4),
        ("one.json", format!("{{\n\"resourceType\":\"Patient\",\n\"id\":\"{}\"\n}}\n", "o1"), "fhir, json", 1),
        ("array.json", format!("[\n{},\n{}]", patient("a1"), patient("a2")), "fhir, json", 2),
        ("lines.ndjson", format!("{}\n{}\n", patient("l1"), patient("l2")), "fhir, ndjson", 2),
        ("empty.json", "{\"resourceType\":\"Bundle\",\"type\":\"batch\"}".to_owned(), "fhir, bundle", 0),
    ];
    for (name, content, format, rows) in sources {
        let source = place.write(name, content);
        let summary = place.load(&source, &[&SPEC[..], &["--no-verify"]].concat(), 0);
        assert_eq!(
            (total(&summary)[0], &summary["sources"][0]["format"]),
            (rows, &Json::from(format)),
            "{name}: {}",
            summary["total"]
        );
    }
    let lines = format!("{}\n", patient("s1"));
    let run = medlift([
        "load",
        "-",
        "--spec",
        "fhir-r4",
        "--json",
        "--quiet",
        "--db",
        &place.database,
        "--uri",
        &shared().uri(),
    ]);
    run.input(lines).run().expect_code(0);
    find(&place, "Patient", doc! { "id": "s1" });
}

#[test]
fn refused_resources_are_kept_and_loaded_after_their_correction() {
    let place = Place::new("fhir_rejects");
    let good = r#"{"resourceType":"Patient","id":"p1"}"#;
    let wrong = [
        r#"{"resourceType":"Patient","id":"p2",}"#,
        r#"{"resourceType":"Patent","id":"p3"}"#,
        r#"{"id":"p4"}"#,
        r#"{"resourceType":"Patient","id":"p5","id":"p5"}"#,
        r#"{"resourceType":"Patient"}"#,
        "hello",
    ];
    let source = place.write("a.ndjson", format!("{good}\n{}\n", wrong.join("\n")));
    let dry = place.run(&[&["load", "--dry-run", "--json", text(&source)], &SPEC[..]].concat()).expect_code(4);
    let dry: Json = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!(total(&dry), [7, 1, 0, 0, 0, 6], "{dry}");
    assert_eq!(dry["total"]["of_no_kind"], 3, "{}", dry["total"]);
    let summary = place.load(&source, &SPEC, 4);
    assert_eq!(total(&summary), [7, 1, 0, 0, 0, 6], "{}", summary["total"]);
    assert_eq!(summary["total"]["of_no_kind"], 3, "{}", summary["total"]);
    let rejects = source.with_file_name("a.ndjson.rejects.ndjson");
    let listed = [&rejects, &source.with_file_name("a.ndjson.rejects.csv")].map(|path| path.display().to_string());
    assert_eq!(summary["reject_files"], serde_json::json!(listed));
    assert_eq!(fs::read_to_string(&rejects).unwrap(), format!("{}\n", wrong.join("\n")));
    let positions = fs::read_to_string(&listed[1]).unwrap();
    let rules: Vec<&str> = positions.lines().skip(1).map(|line| line.split(',').nth(3).unwrap()).collect();
    assert_eq!(rules, ["not_json", "not_fhir", "not_fhir", "not_json", "not_fhir", "not_fhir"]);
    assert!(!positions.contains("Patent") && !positions.contains("hello"), "no value may be there: {positions}");
    place.run(&[&["verify", text(&source)], &SPEC[..]].concat()).expect_code(0);

    let corrected = [
        r#"{"resourceType":"Patient","id":"p2"}"#,
        r#"{"resourceType":"Patient","id":"p3"}"#,
        r#"{"fullUrl":"urn:uuid:x","resource":{"resourceType":"Patient","id":"p4"}}"#,
    ];
    fs::write(&rejects, corrected.join("\n")).unwrap();
    let summary = place.load(&rejects, &[&SPEC[..], &["--no-verify"]].concat(), 0);
    assert_eq!(total(&summary), [3, 3, 0, 0, 0, 0], "{}", summary["total"]);

    // A rejected entry has several lines in the Bundle, but one line in the reject file.
    let bundle = bundle("batch", "p9").replace("\"Condition\",", "\"Unknown\",");
    let source = place.write("b.json", bundle);
    let summary = place.load(&source, &[&SPEC[..], &["--no-verify"]].concat(), 4);
    assert_eq!(total(&summary), [2, 1, 0, 0, 0, 1], "{}", summary["total"]);
    let rejects = source.with_file_name("b.json.rejects.ndjson");
    let kept = fs::read_to_string(&rejects).unwrap();
    assert_eq!(kept.lines().count(), 1);
    fs::write(&rejects, kept.replace("Unknown", "Condition")).unwrap();
    let summary = place.load(&rejects, &[&SPEC[..], &["--no-verify"]].concat(), 0);
    assert_eq!(total(&summary), [1, 1, 0, 0, 0, 0], "{}", summary["total"]);
}

#[test]
fn a_resource_that_the_server_refuses_comes_back_as_json() {
    let place = Place::new("fhir_refused");
    let patient =
        |id: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"{id}\",\"n\":[1.0,1e2,1E2],\"t\":\"a\\n\"}}");
    let first = place.write("first.ndjson", patient("p0"));
    place.load(&first, &SPEC, 0);
    let client = place.collection("Patient").client().database(&place.database);
    let change = doc! { "collMod": "Patient", "validator": { "id": { "$ne": "p2" } } };
    block_on(async move { client.run_command(change).await }).unwrap();
    let source = place.write("a.ndjson", format!("{}\n{}\n", patient("p1"), patient("p2")));
    let summary = place.load(&source, &[&SPEC[..], &["--no-verify"]].concat(), 4);
    assert_eq!(total(&summary), [2, 1, 0, 0, 0, 1], "{}", summary["total"]);
    let kept = fs::read_to_string(source.with_file_name("a.ndjson.rejects.ndjson")).unwrap();
    assert_eq!(kept, format!("{}\n", patient("p2")));
}

#[test]
fn the_same_id_in_two_systems_is_two_resources() {
    let place = Place::new("fhir_systems");
    let source = place.write("a.ndjson", "{\"resourceType\":\"Patient\",\"id\":\"p1\"}\n");
    let load = |options: &[&str]| total(&place.load(&source, &[&SPEC[..], options].concat(), 0));
    assert_eq!(load(&["--source-system", "north"]), [1, 1, 0, 0, 0, 0]);
    assert_eq!(load(&["--source-system", "south"]), [1, 1, 0, 0, 0, 0]);
    assert_eq!(load(&["--source-system", "north"]), [1, 0, 1, 0, 0, 0]);
    let [north, south] = ["north", "south"].map(|system| find(&place, "Patient", doc! { "source": system }));
    assert_ne!(north.get("patientReference"), south.get("patientReference"));
    // A Patient without an identifier has only one key, which is computed from its id. References to it have the same
    // key.
    assert_eq!(north.get("patient"), north.get("patientReference"));
    let table = place.write("a.csv", "Name,Age\nann,1\n");
    let wrong = place.run(&["load", text(&table), "--source-system", "north"]).expect_code(2);
    assert!(wrong.stderr.contains("--source-system is only for FHIR resources"), "{}", wrong.stderr);
}

#[test]
fn the_version_that_was_changed_last_is_stored_in_whatever_order() {
    let version = |time: &str, note: &str| {
        format!(
            "{{\"resourceType\":\"Patient\",\"id\":\"p1\",\"meta\":{{\"lastUpdated\":\"{time}\"}},\"note\":\"{note}\"}}\n"
        )
    };
    let [old, new] = [version("2024-01-01T00:00:00Z", "old"), version("2024-01-01T00:00:00.001+00:00", "new")];
    for (first, second, written) in [(&old, &new, 1), (&new, &old, 0)] {
        let place = Place::new("fhir_newest");
        let [first, second] =
            [("first.ndjson", first), ("second.ndjson", second)].map(|(name, text)| place.write(name, text));
        place.load(&first, &SPEC, 0);
        let summary = place.load(&second, &SPEC, 0);
        assert_eq!((total(&summary)[1], total(&summary)[5]), (written, 0), "{}", summary["total"]);
        let stored = find(&place, "Patient", doc! {});
        assert_eq!(stored.get_document("resource").unwrap().get_str("note").unwrap(), "new");
        place.run(&[&["verify", text(&first), text(&second)], &SPEC[..]].concat()).expect_code(0);
    }
}

#[test]
fn a_killed_load_of_resources_goes_on_and_counts_exactly() {
    let place = Place::new("fhir_resumed");
    let resource = |number: u32| {
        let kind = ["Patient", "Condition", "Observation"][number as usize % 3];
        let rest = "x".repeat(2_000);
        format!("{{\"resourceType\":\"{kind}\",\"id\":\"r{}\",\"text\":\"{rest}\"}}\n", number % 4_500)
    };
    let source = place.write("a.ndjson", (0..6_000).map(resource).collect::<String>());
    let server = slow_server();
    let options = [&SLOWLY[..], &SPEC[..]].concat();
    let running = load(&server, &place, text(&source), &options).start();
    stop_midway(running, &server, &place.database, "KILL");
    let resumed = summary(&load(&server, &place, text(&source), &options).run().expect_code(0));
    let found = total(&resumed);
    assert_eq!((found[0], found[1] + found[2], found[3] + found[4], found[5]), (6_000, 4_500, 1_500, 0));
    let mut documents = 0;
    for kind in ["Patient", "Condition", "Observation"] {
        let proof = &of_type(&resumed, kind)["verification"];
        assert_eq!((&proof["missing"], &proof["different"]), (&0.into(), &0.into()), "{kind}: {proof}");
        documents += proof["found"].as_u64().unwrap();
    }
    assert_eq!(documents, 4_500);
}

/// Documents whose references by UUID lead to their Bundle can be moved to another database as a Bundle.
#[test]
fn an_exported_bundle_gives_the_same_documents() {
    let (place, other) = (Place::new("fhir_from"), Place::new("fhir_to"));
    let source = place.write("bundle.json", bundle("collection", UUIDS[0]));
    place.load(&source, &SPEC, 0);
    let ours = ["Condition", "Patient"].map(|kind| find(&place, kind, doc! {}));
    assert!(ours[0].get_document("_search").unwrap().get_str("subject").is_ok());
    let path = place.dir.path().join("all.json");
    export(&place, &["--type", "bundle", "--out", text(&path)]);
    let read: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap()).expect("one JSON value");
    assert_eq!((&read["resourceType"], read["entry"].as_array().unwrap().len()), (&"Bundle".into(), 2));
    let summary = other.load(&path, &SPEC, 0);
    assert_eq!(total(&summary), [2, 2, 0, 0, 0, 0], "{}", summary["total"]);
    assert_eq!(ours, ["Condition", "Patient"].map(|kind| find(&other, kind, doc! {})));
    let again = place.load(&path, &SPEC, 0);
    assert_eq!(total(&again), [2, 0, 2, 0, 0, 0], "{}", again["total"]);
    // Without documents, the file is a Bundle without entries.
    let none = export(&place, &["--type", "bundle", "--limit", "0"]);
    assert_eq!(serde_json::from_str::<Json>(&none).expect("JSON")["entry"], serde_json::json!([]));
    let refused = place.run(&["export", "--type", "bundle", "--spec", "hl7v2"]).expect_code(2);
    assert!(refused.stderr.contains("--type bundle is for FHIR resources"), "{}", refused.stderr);
}

const TWO_TYPES: &str = "name = 'two'\n[source]\ntype = 'fhir'\n\
    [[document]]\nresource = 'Patient'\npatient = { identifier = 'identifier' }\n[document.search]\n\
    identifier = { identifier = 'identifier', privacy = 'direct-identifier' }\n\
    gender = { code = 'gender', privacy = 'clinical' }\n\
    [[document]]\nresource = 'Condition'\npatient = { reference = 'subject' }\n[document.search]\n\
    subject = { reference = 'subject', privacy = 'direct-identifier' }\n\
    code = { token = 'code.coding', privacy = 'clinical' }\n";

#[test]
fn all_types_are_provisioned_together_and_each_role_is_tried() {
    let place = Place::new("fhir_roles");
    let spec = place.write("two.toml", TWO_TYPES);
    let source = place.write("bundle.json", bundle("collection", "p1"));
    let deployment = Deployment::start();
    let root = deployment.address().1;
    let run = |arguments: &[&str], code| {
        let spec = ["--spec", text(&spec)];
        run_with_passwords(&deployment, &[arguments, &spec[..]].concat(), &root, code)
    };
    run(&["provision"], 0);
    let plan = run(&["provision", "--plan"], 0);
    assert!(plan.contains("nothing to do"), "{plan}");
    run(&["load", text(&source), "--quiet"], 0);
    run(&["verify", text(&source), "--quiet"], 0);
    let exported = run(&["export", "--quiet"], 0);
    assert_eq!(exported.lines().count(), 2, "{exported}");
    for kind in ["Patient", "Condition"] {
        let doctor = run(&["doctor", "--collection", kind], 0);
        assert!(doctor.contains(&format!("may load and verify hospital.{kind}")), "{doctor}");
    }
    let password = |name: &str| USERS.iter().find(|(user, _)| *user == name).unwrap().1;
    let (analyst, loader) = (password("ANALYST_PASS"), password("LOADER_PASS"));
    crate::connection::block_on(async {
        let analyst = deployment.sign_in("analyst", analyst).await.expect("signs in");
        let loader = deployment.sign_in("loader", loader).await.expect("signs in");
        for kind in ["Patient", "Condition"] {
            let found = analyst.db().run_command(crate::provision::find(&format!("{kind}_deidentified"))).await;
            let found = found.expect("the analyst may read the view").to_string();
            assert!(!found.contains("resource\"") && !found.contains("p1") && found.contains("_search"), "{found}");
            analyst
                .db()
                .run_command(crate::provision::find(kind))
                .await
                .expect_err("the analyst may not read the data");
            loader.db().run_command(crate::provision::find(kind)).await.expect("the loader may read the data");
            loader.db().run_command(crate::provision::delete(kind)).await.expect_err("the loader may not delete");
        }
    });
}

/// Loads a Bundle of this number of entries of 2 KB each. Returns the largest memory of the load, in MiB.
fn memory_of_bundle(entries: usize, options: &[&str]) -> u64 {
    let place = Place::new("fhir_large");
    let source = place.dir.path().join("bundle.json");
    let mut file = std::io::BufWriter::new(fs::File::create(&source).unwrap());
    file.write_all(b"{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[").unwrap();
    for number in 0..entries {
        let comma = if number == 0 { "" } else { "," };
        let text = "y".repeat(1_900);
        let entry = format!(
            "{comma}{{\"fullUrl\":\"urn:uuid:{number:032x}\",\"resource\":{{\"resourceType\":\"Observation\",\"id\":\"o{number}\",\"note\":\"{text}\"}}}}\n"
        );
        file.write_all(entry.as_bytes()).unwrap();
    }
    file.write_all(b"]}").unwrap();
    drop(file);
    let uri = shared().uri();
    let load = ["load", text(&source), "--spec", "fhir-r4", "--db", &place.database, "--uri", &uri, "--quiet"];
    let running = medlift([&load[..], options].concat()).timeout(std::time::Duration::from_mins(10)).start();
    let (run, peak_mib) = running.wait_and_measure();
    run.expect_code(0);
    peak_mib
}

#[test]
fn the_memory_of_a_load_does_not_grow_with_its_bundle() {
    let options = ["--run-size", "1", "--no-verify"];
    let [small, large] = [8_000, 24_000].map(|entries| memory_of_bundle(entries, &options));
    assert!(large <= small + 25, "{small} MiB for 16 MB, {large} MiB for 48 MB");
}

#[test]
#[ignore = "writes 200 MB; run it with --ignored"]
fn a_large_bundle_needs_little_memory() {
    let peak_mib = memory_of_bundle(100_000, &[]);
    assert!(peak_mib <= 400, "{peak_mib} MiB");
}
