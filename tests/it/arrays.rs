//! Tests of documents with arrays: loads, the validator, verification, exports, rejects and the analysts' view.

use std::fs;
use std::path::{Path, PathBuf};

use bson::{Bson, DateTime, Document, doc};
use medlift::deployment::provision::pipeline;
use medlift::spec::Spec;
use mongodb::Collection;
use serde_json::json;

use crate::load::{ENDS, Place, block_on, counts, text};

fn spec_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec/patients.toml")
}

fn patients() -> Vec<serde_json::Value> {
    let ann = json!({
        "id": "P001",
        "identifier": [{ "system": "PASSPORT", "value": "ab1" }, { "system": "insurance", "value": "77", "use": "old" }],
        "name": [
            {
                "family": "o'neil", "given": ["ann", "B\u{e9}a"], "use": "official",
                "period": [{ "start": "2001-02-03", "end": "2010-01-31T10:20:30Z" }, { "start": null }],
            },
            { "family": "Lee", "use": "nickname", "given": [] },
        ],
        "address": { "city": "Bern", "floor": 3 },
        "dose": [1.50, "2.25", 0],
        "allergies": ["nuts, \"all\"", "unknown", "dust\nmites"],
        "ages": [12, 97],
    });
    let empty = json!({ "id": "P002", "identifier": [{ "system": "passport", "value": "x" }], "allergies": [] });
    let absent = json!({
        "id": "P003", "identifier": [{ "system": "passport", "value": "y" }], "allergies": null, "name": [],
        "address": {},
    });
    vec![ann, empty, absent]
}

/// Returns the patients as NDJSON, one per line. The first dose is written `1.50`, to check that its last zero is kept.
fn lines(patients: &[serde_json::Value]) -> String {
    let lines = patients.iter().map(|patient| patient.to_string() + "\n").collect::<String>();
    lines.replace("[1.5,", "[1.50,")
}

/// Loads the patients and returns the file.
fn loaded(place: &Place) -> PathBuf {
    let source = place.write("patients.ndjson", lines(&patients()));
    let summary = place.load(&source, &["--spec", text(&spec_file())], 0);
    assert_eq!(counts(&summary, &ENDS), [3, 3, 0, 0, 0]);
    source
}

fn stored(place: &Place, mrn: &str) -> Document {
    let patients: Collection<Document> = place.collection("patients");
    let filter = doc! { "mrn": mrn };
    block_on(async move { patients.find_one(filter).await }).unwrap().expect("the document is stored")
}

#[test]
fn arrays_are_loaded_in_their_order() {
    let place = Place::new("arrays");
    loaded(&place);
    let mut ann = stored(&place, "P001");
    ann.remove("_id");
    let date = |text: &str| Bson::from(DateTime::parse_rfc3339_str(text).unwrap());
    let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
    let periods = vec![
        doc! { "start": date("2001-02-03T00:00:00Z"), "end": date("2010-01-31T10:20:30Z") },
        doc! { "start": null, "end": null },
    ];
    let expected = doc! {
        "mrn": "P001",
        "identifiers": [{ "system": "passport", "value": "AB1" }, { "system": "insurance", "value": "77" }],
        "names": [
            { "family": "O'Neil", "given": ["Ann", "Béa"], "use": "official", "periods": periods },
            { "family": "Lee", "given": [], "use": "nickname", "periods": [] },
        ],
        "address": { "city": "Bern", "floor": 3 },
        "doses": [decimal("1.50"), decimal("2.25"), decimal("0")],
        "allergies": ["nuts, \"all\"", Bson::Null, "dust\nmites"],
        "ages": [12, 97],
    };
    assert_eq!(ann, expected);
    for mrn in ["P002", "P003"] {
        let found = stored(&place, mrn);
        for name in ["names", "doses", "allergies", "ages"] {
            assert_eq!(found.get_array(name).map(Vec::len).ok(), Some(0), "{mrn} {name}");
        }
    }
}

#[test]
fn the_validator_refuses_wrong_items() {
    let place = Place::new("arrays_validator");
    loaded(&place);
    let good = stored(&place, "P001");
    let insert = |change: &dyn Fn(&mut Document)| {
        let mut document = good.clone();
        document.insert("_id", bson::Uuid::new());
        change(&mut document);
        let patients: Collection<Document> = place.collection("patients");
        block_on(async move { patients.insert_one(document).await })
    };
    insert(&|_| ()).expect("a right document is accepted");
    let name = |change: &dyn Fn(&mut Document)| {
        let mut names = good.get_array("names").unwrap().clone();
        if let Bson::Document(name) = &mut names[1] {
            change(name);
        }
        insert(&|document| _ = document.insert("names", names.clone()))
    };
    name(&|_| ()).expect("a right document is accepted");
    for (what, refused) in [
        ("no identifier", insert(&|document| _ = document.insert("identifiers", Bson::Array(Vec::new())))),
        ("no array", insert(&|document| _ = document.insert("identifiers", doc! { "system": "passport" }))),
        ("a null array", insert(&|document| _ = document.insert("allergies", Bson::Null))),
        ("another type", insert(&|document| _ = document.insert("allergies", vec![1]))),
        ("a value out of range", insert(&|document| _ = document.insert("doses", vec![Bson::Int32(501)]))),
        ("no family", name(&|name| _ = name.remove("family"))),
        ("an unknown use", name(&|name| _ = name.insert("use", "x"))),
        ("a number as given name", name(&|name| _ = name.insert("given", vec![1]))),
        ("a text as period", name(&|name| _ = name.insert("periods", vec![doc! { "start": "2001" }]))),
    ] {
        assert!(refused.is_err(), "{what} is accepted");
    }
}

#[test]
fn a_hand_edit_in_an_array_is_found_and_named() {
    let place = Place::new("arrays_verify");
    let source = loaded(&place);
    let spec = spec_file();
    let verify = |code| place.run(&["verify", text(&source), "--spec", text(&spec), "--json"]).expect_code(code).stdout;
    verify(0);
    let edit = |update: Document| {
        let patients: Collection<Document> = place.collection("patients");
        let updated = block_on(async move {
            patients.update_one(doc! { "mrn": "P001" }, update).bypass_document_validation(true).await
        });
        assert_eq!(updated.unwrap().modified_count, 1);
    };
    let good = stored(&place, "P001");
    let reversed: Vec<Bson> = good.get_array("names").unwrap().iter().rev().cloned().collect();
    for (update, expected) in [
        (doc! { "$set": { "names.1.family": "Kim" } }, vec!["names[1].family"]),
        (doc! { "$set": { "names.0.given.1": "Cia" } }, vec!["names[0].given[1]"]),
        (doc! { "$push": { "names.0.given": "Cia" } }, vec!["names[0].given"]),
        (doc! { "$push": { "identifiers": { "system": "passport", "value": "Z" } } }, vec!["identifiers"]),
        (doc! { "$pop": { "allergies": 1 } }, vec!["allergies"]),
        (doc! { "$set": { "ages": [97, 12] } }, vec!["ages[0]", "ages[1]"]),
        (doc! { "$set": { "ages.0": 12_i64 } }, vec!["ages[0]"]),
        (doc! { "$unset": { "doses": 1 } }, vec!["doses"]),
        (
            doc! { "$set": { "names": reversed } },
            vec!["names[0].family", "names[0].given", "names[0].use", "names[0].periods", "names[1].family"],
        ),
    ] {
        edit(update.clone());
        let report = verify(5);
        for name in expected {
            assert!(report.contains(&format!("\"{name}\"")), "{update}: the report must name {name}: {report}");
        }
        edit(doc! { "$set": good.clone() });
        // An upsert writes the record of the source again, with its fields in order.
        place.load(&source, &["--spec", text(&spec), "--mode", "upsert", "--reload"], 0);
        verify(0);
    }
}

#[test]
fn loading_an_export_again_writes_nothing_new() {
    let place = Place::new("arrays_export");
    let source = loaded(&place);
    let spec = spec_file();
    for name in ["out.csv", "out.ndjson"] {
        let out = place.dir.path().join(name);
        place.run(&["export", "--spec", text(&spec), "--out", text(&out)]).expect_code(0);
        let again = place.load(&out, &["--spec", text(&spec)], 0);
        assert_eq!(counts(&again, &ENDS), [3, 0, 3, 0, 0], "{name}");
    }
    let csv = fs::read_to_string(place.dir.path().join("out.csv")).unwrap();
    assert!(csv.starts_with("id,identifier,name,address.city,address.floor,dose,allergies,ages\n"), "{csv}");
    // A JSON array gives the same documents as NDJSON, and one worker gives the same documents as several.
    let array =
        place.write("patients.json", serde_json::to_string_pretty(&patients()).unwrap().replace("1.5,", "1.50,"));
    let again = place.load(&array, &["--spec", text(&spec), "--workers", "1"], 0);
    assert_eq!(counts(&again, &ENDS), [3, 0, 3, 0, 0]);
    place.run(&["verify", text(&source), "--spec", text(&spec)]).expect_code(0);
}

#[test]
fn the_number_of_workers_does_not_change_the_documents() {
    let row = |number: usize| {
        let names: Vec<_> = (0..number % 4)
            .map(|name| json!({ "family": format!("Lee {name}"), "given": vec!["ann"; number % 7] }))
            .collect();
        // In every 97th row, an item is an object instead of a number.
        let doses = if number.is_multiple_of(97) { json!([1, { "x": 2 }]) } else { json!([number % 500, null, 2.5]) };
        let identifier = json!([{ "system": "passport", "value": format!("n{number}") }]);
        let text = "x".repeat(number % 600);
        json!({ "id": format!("P{:03}", number % 1000), "identifier": identifier, "name": names, "dose": doses,
            "allergies": [text, number.to_string()] })
    };
    let text_of_rows: String = (0..20_000).map(|number| row(number).to_string() + "\n").collect();
    let toml = fs::read_to_string(spec_file()).unwrap().replace("[identity]\nfields = [\"mrn\"]\n", "");
    let load = |workers: &str| {
        let place = Place::new("arrays_blocks");
        let spec = place.write("patients.toml", &toml);
        let source = place.write("patients.ndjson", &text_of_rows);
        let summary = place.load(&source, &["--spec", text(&spec), "--workers", workers], 4);
        assert_eq!(counts(&summary, &ENDS), [20_000, 19_793, 0, 0, 207], "{workers} workers");
        summary["digest"].clone()
    };
    assert_eq!(load("1"), load("3"));
}

#[test]
fn rejected_arrays_can_be_corrected_in_the_reject_file_and_loaded() {
    let place = Place::new("arrays_rejects");
    let spec = spec_file();
    let mut patients = patients();
    patients[0]["name"][1]["period"] = json!([{ "start": "2001-02-30" }]);
    patients[1]["allergies"] = json!("nuts");
    patients[2]["identifier"] = json!([]);
    let good = "{\"id\":\"P009\",\"identifier\":[{\"system\":\"passport\",\"value\":\"z\"}],\"allergies\":[]}\n";
    let source = place.write("patients.ndjson", lines(&patients) + good);
    let summary = place.load(&source, &["--spec", text(&spec)], 4);
    assert_eq!(counts(&summary, &ENDS), [4, 1, 0, 0, 3]);
    let path = place.dir.path().join("patients.ndjson.rejects.csv");
    let rejects = fs::read_to_string(&path).unwrap();
    for expected in [
        "1,0,name,not_a_date,\"item 2, `period`, item 1, `start`: expected a date as YYYY-MM-DD without a time of day\"",
        "allergies,not_json,\"expected a JSON array, e.g. [\"\"a\"\", \"\"b\"\"]\"",
        "identifier,missing,expected at least one item: the array is required",
    ] {
        assert!(rejects.contains(expected), "{expected} in\n{rejects}");
    }
    let again = place.load(&path, &["--spec", text(&spec)], 4);
    assert_eq!(counts(&again, &ENDS), [3, 0, 0, 0, 3], "rows that nobody corrected must be rejected again");
    let corrected = rejects
        .replace("2001-02-30", "2001-02-28")
        .replace("\"\"nuts\"\"", "[\"\"nuts\"\"]")
        .replace("P003,[]", "P003,\"[{\"\"system\"\": \"\"passport\"\", \"\"value\"\": \"\"y\"\"}]\"");
    let corrected = place.write("corrected.csv", corrected);
    let summary = place.load(&corrected, &["--spec", text(&spec)], 0);
    assert_eq!(counts(&summary, &ENDS), [3, 3, 0, 0, 0]);
    assert_eq!(stored(&place, "P001").get_array("names").map(Vec::len).ok(), Some(2));
}

#[test]
fn the_reject_of_a_record_that_the_server_refused_contains_its_arrays() {
    let place = Place::new("arrays_refused");
    let source = loaded(&place);
    let toml = fs::read_to_string(spec_file()).unwrap();
    let strict =
        place.write("strict.toml", toml.replace("fields = [\"mrn\"]", "fields = [\"mrn\"]\non_conflict = \"reject\""));
    let changed = fs::read_to_string(&source).unwrap().replace("B\u{e9}a", "Dot");
    let changed = place.write("changed.ndjson", changed);
    let summary = place.load(&changed, &["--spec", text(&strict)], 4);
    assert_eq!(counts(&summary, &ENDS), [3, 0, 2, 0, 1]);
    let rejects = place.dir.path().join("changed.ndjson.rejects.csv");
    assert!(fs::read_to_string(&rejects).unwrap().contains("\"\"given\"\":[\"\"Ann\"\",\"\"Dot\"\"]"));
    let summary = place.load(&rejects, &["--spec", text(&spec_file()), "--mode", "upsert"], 0);
    assert_eq!(counts(&summary, &["read", "replaced"]), [1, 1]);
    let names = stored(&place, "P001").get_array("names").unwrap().clone();
    assert_eq!(names[0].as_document().unwrap().get_array("given").unwrap()[1], Bson::from("Dot"));
}

#[test]
fn a_merge_sets_an_array_as_one_value() {
    let place = Place::new("arrays_merge");
    let source = loaded(&place);
    let patients: Collection<Document> = place.collection("patients");
    block_on(async move {
        let set = doc! { "$set": { "note": "kept", "address.zip": "3000" }, "$push": { "ages": 5 } };
        patients.update_one(doc! { "mrn": "P001" }, set).await
    })
    .unwrap();
    place.load(&source, &["--spec", text(&spec_file()), "--mode", "merge", "--reload", "--no-verify"], 0);
    let found = stored(&place, "P001");
    assert_eq!(found.get_array("ages").unwrap(), &vec![Bson::Int32(12), Bson::Int32(97)]);
    assert_eq!(found.get_str("note").ok(), Some("kept"));
    assert_eq!(found.get_document("address").unwrap().get_str("zip").ok(), Some("3000"));
}

#[test]
fn the_view_shows_items_by_the_privacy_classes_of_their_fields() {
    let place = Place::new("arrays_view");
    loaded(&place);
    let patients: Collection<Document> = place.collection("patients");
    let pipeline = pipeline(&Spec::from_file(&spec_file()).unwrap());
    let shown = block_on(async move {
        // A document that another program wrote must not make the view unreadable.
        patients.insert_one(doc! { "mrn": "P999", "names": "x", "ages": 5 }).bypass_document_validation(true).await?;
        // Sorts by the record number before the stages of the view, because the view does not show this number.
        let sorted = [vec![doc! { "$sort": { "mrn": 1 } }], pipeline].concat();
        let mut cursor = patients.aggregate(sorted).await?;
        let mut shown = Vec::new();
        while cursor.advance().await? {
            shown.push(cursor.deserialize_current()?);
        }
        Ok::<Vec<Document>, mongodb::error::Error>(shown)
    })
    .unwrap();
    let doses = ["1.50", "2.25", "0"].map(|text| Bson::Decimal128(text.parse().unwrap())).to_vec();
    let expected = doc! {
        "identifiers": [{ "system": "passport" }, { "system": "insurance" }],
        "names": [
            { "use": "official", "periods": [{ "start": 2001, "end": 2010 }, { "start": null, "end": null }] },
            { "use": "nickname", "periods": [] },
        ],
        "address": { "floor": 3 },
        "doses": doses,
        "allergies": ["nuts, \"all\"", Bson::Null, "dust\nmites"],
        "ages": [12, 90],
    };
    for (name, value) in &expected {
        assert_eq!(shown[0].get(name), Some(value), "{name}");
    }
    assert_eq!(shown[0].len(), expected.len(), "nothing else is shown: {:?}", shown[0]);
    assert_eq!(shown.len(), 4);
    assert_eq!(shown[3], doc! { "identifiers": null, "names": null, "ages": null, "address": {} });
}

#[test]
fn keys_of_items_that_the_spec_does_not_know_are_named() {
    let place = Place::new("arrays_unknown");
    let source = place.write("patients.ndjson", lines(&patients()));
    let run = place.run(&["load", text(&source), "--spec", text(&spec_file()), "--dry-run", "--json"]).expect_code(0);
    assert!(run.stdout.contains("identifier[].use"), "{}", run.stdout);
}

#[test]
fn one_of_two_kinds_of_documents_can_have_arrays() {
    let place = Place::new("arrays_kinds");
    let toml = fs::read_to_string(spec_file()).unwrap();
    // Makes a spec with two kinds of documents. One kind has all fields of the patients' spec. The other kind has only
    // a city.
    let (head, rest) = toml.split_once("[identity]").unwrap();
    let patients =
        format!("[identity]{rest}").replace("[[", "[[document.").replace("[identity]", "[document.identity]");
    let marks = "[[document]]\nname = \"city\"\ncollection = \"cities\"\n[document.identity]\nfields = [\"name\"]\n\
                 [[document.field]]\nname = \"name\"\ncolumn = \"address.city\"\ntype = \"string\"\npresence = \"optional\"\n\
                 privacy = \"none\"\n";
    let spec = place.write("two.toml", format!("{head}{marks}[[document]]\nname = \"patient\"\n{patients}"));
    let source = place.write("patients.ndjson", lines(&self::patients()));
    let summary = place.load(&source, &["--spec", text(&spec)], 0);
    assert_eq!(counts(&summary, &["read", "written", "duplicates"]), [3, 2, 1], "cities: {summary}");
    assert_eq!(summary["further"][0]["counts"]["written"], 3, "{summary}");
    let collection: Collection<Document> = place.collection("patient");
    let ann = block_on(async move { collection.find_one(doc! { "mrn": "P001" }).await })
        .unwrap()
        .expect("the patient is stored");
    assert_eq!(ann.get_array("names").map(Vec::len).ok(), Some(2));
    place.run(&["verify", text(&source), "--spec", text(&spec)]).expect_code(0);
}

#[test]
fn the_server_accepts_the_deepest_arrays_that_a_spec_may_have() {
    let place = Place::new("arrays_deep");
    let path = |parts: usize| vec!["p"; parts].join(".");
    let group = |parts: usize| format!("[[group]]\nname = \"{}\"\nrepeats = \"p\"\n", path(parts));
    let groups: Vec<String> = (1..=30).map(group).collect();
    let field = format!("[[field]]\nname = \"{}\"\ntype = \"int32\"\nprivacy = \"none\"\n", path(31));
    let spec = place.write("deep.toml", format!("name = \"deep\"\n{}{field}", groups.concat()));
    let row = format!("{}{{\"p\":7}}{}", "{\"p\":[".repeat(30), "]}".repeat(30));
    let source = place.write("deep.ndjson", row + "\n");
    let summary = place.load(&source, &["--spec", text(&spec)], 0);
    assert_eq!(counts(&summary, &ENDS), [1, 1, 0, 0, 0]);
    let out = place.dir.path().join("out.csv");
    place.run(&["export", "--spec", text(&spec), "--out", text(&out)]).expect_code(0);
    assert_eq!(counts(&place.load(&out, &["--spec", text(&spec)], 0), &ENDS), [1, 0, 1, 0, 0]);
}
