//! Tests of a dataset other than admissions. Medlift needs only a spec to load it. The dataset has decimals, booleans,
//! nested fields, optional columns, and an identity of two fields.

use std::path::Path;

use bson::{Bson, doc};

use crate::load::{Place, block_on, counts, text};

fn data(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec").join(name)
}

#[test]
fn laboratory_results_are_loaded_verified_exported_and_loaded_again() {
    let place = Place::new("laboratory");
    let source = place.write("laboratory.csv", std::fs::read(data("laboratory.csv")).unwrap());
    let spec = data("laboratory.toml");
    let spec = ["--spec", text(&spec)];
    let dry = place.run(&[&["load", "--dry-run", "--json", text(&source)], &spec[..]].concat());
    let dry: serde_json::Value = serde_json::from_str(&dry.stdout).expect("the summary is JSON");
    let rejected = dry["counts"]["rejected"].as_u64().unwrap();
    let summary = place.load(&source, &spec, if rejected > 0 { 4 } else { 0 });
    assert_eq!(summary["counts"], dry["counts"]);
    assert_eq!(counts(&summary, &["read"]), [27]);
    assert!(counts(&summary, &["written"])[0] >= 20, "{summary}");

    let results = place.collection("lab_results");
    let of = |line: i32| {
        let results = results.clone();
        block_on(async move { results.find_one(doc! { "order.number": "AB100200", "order.line": line }).await })
            .unwrap()
            .expect("the document is stored")
    };
    let (first, second, third) = (of(1), of(2), of(3));
    let order = first.get_document("order").unwrap();
    assert_eq!(order.get_document("ordered_by").unwrap().get_str("name").unwrap(), "Ada Vance MD");
    assert_eq!(first.get_document("patient").unwrap().get("mrn"), Some(&Bson::Int64(9_000_000_000)));
    assert_eq!(first.get_document("patient").unwrap().get("fasting"), Some(&Bson::Boolean(true)));
    assert_eq!(first.get_document("result").unwrap().get("value"), Some(&Bson::Null));
    assert_eq!(first.get("price").unwrap().to_string(), "12.50");
    assert_eq!(first.get_datetime("collected").unwrap().timestamp_millis(), 1_741_441_860_000);
    assert_eq!(second.get_document("result").unwrap().get("value").unwrap().to_string(), "8.7");
    assert_eq!(second.get("price").unwrap().to_string(), "1204.00");
    assert_eq!(second.get("uncertainty"), Some(&Bson::Double(1e-3)));
    assert_eq!(third.get_document("result").unwrap().get_str("flag").unwrap(), "high");

    place.run(&[&["verify", text(&source)], &spec[..]].concat()).expect_code(0);
    for name in ["out.csv", "out.ndjson"] {
        let out = place.dir.path().join(name);
        place.run(&[&["export", "--out", text(&out)], &spec[..]].concat()).expect_code(0);
        let again = place.load(&out, &spec, 0);
        assert_eq!(counts(&again, &["written", "conflicts", "rejected"]), [0, 0, 0], "{name}");
    }
}
