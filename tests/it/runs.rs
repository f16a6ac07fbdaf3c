//! Tests of `medlift runs`: what it shows of each load.

use bson::doc;
use serde_json::Value as Json;

use crate::load::{HEADER, Place, block_on, row, text};
use crate::program::{Run, medlift};
use crate::server::shared;

fn runs(place: &Place, arguments: &[&str]) -> Run {
    let connection = ["--db", &place.database];
    medlift([&["runs"], arguments, &connection].concat()).env("MONGODB_URI", shared().uri()).run()
}

/// Returns the loads, the latest first.
fn list(place: &Place) -> Vec<Json> {
    serde_json::from_str(&runs(place, &["list", "--json"]).expect_code(0).stdout).unwrap()
}

fn table(names: &[&str]) -> String {
    let rows: Vec<String> = names.iter().map(|name| row(name, "30", "O+", "2024-01-31", "2024-02-02")).collect();
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

#[test]
fn loads_have_sources_and_the_result_of_their_latest_verification() {
    let place = Place::new("runs_proof");
    let files = ["a.csv", "b.csv", "c.csv"].map(|name| place.write(name, table(&[&format!("Ann {}", &name[..1])])));
    let pattern = place.dir.path().join("?.csv");
    place.load(&pattern, &["--no-verify"], 0);
    place.load(&files[0], &[], 0);
    let proofs = |loads: &[Json]| loads.iter().map(|load| load["proof"].clone()).collect::<Vec<_>>();
    let loads = list(&place);
    assert_eq!(proofs(&loads), ["verified", "not_verified"]);
    assert_eq!(loads[1]["sources"], serde_json::json!(files));
    let shown = runs(&place, &["list"]).expect_code(0).stdout;
    assert!(shown.contains("complete, verified\n") && shown.contains("complete, not verified\n"), "{shown}");
    assert!(shown.contains(&format!("\n  from {} and 2 more\n", text(&files[0]))), "{shown}");
    // A second load of the same source only verifies. The result of this verification becomes that of the first load.
    place.load(&pattern, &[], 0);
    assert_eq!(proofs(&list(&place)), ["verified", "verified"]);
    let documents = place.documents();
    block_on(async {
        let change = doc! { "$set": { "Age": 31 } };
        documents.update_one(doc! { "Name": "Ann B" }, change).bypass_document_validation(true).await.unwrap()
    });
    place.load(&pattern, &[], 5);
    assert_eq!(proofs(&list(&place)), ["verified", "difference"]);
    assert!(runs(&place, &["list"]).stdout.contains("complete, verification found a difference\n"));
    // `--watch` waits for the end of a load. Its exit code shows whether the load succeeded.
    let id = loads[0]["load"].as_str().unwrap();
    runs(&place, &["show", id, "--watch"]).expect_code(0);
    let stopped = place.write("d.csv", table(&["Ann D", ""]));
    place.run(&["load", text(&stopped), "--stop-on-error"]).expect_code(1);
    let id = list(&place)[0]["load"].as_str().unwrap().to_owned();
    runs(&place, &["show", &id, "--watch"]).expect_code(1);
}
