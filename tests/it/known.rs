//! Tests which earlier load in the ledger counts as the same load: it has the same sources, and the same options for
//! reading and writing.

use bson::{Document, doc};

use crate::load::{HEADER, Place, block_on, counts, row, spec_without_age, text};

/// Returns the loads in the ledger, the earliest first.
fn loads(place: &Place) -> Vec<Document> {
    let ledger = place.collection("medlift_runs");
    block_on(async move {
        let found = ledger.find(doc! {}).sort(doc! { "started": 1 }).await.unwrap();
        futures_util::TryStreamExt::try_collect(found).await.unwrap()
    })
}

fn set(place: &Place, change: Document) {
    let ledger = place.collection("medlift_runs");
    block_on(async move { ledger.update_many(doc! {}, doc! { "$set": change }).await.unwrap() });
}

fn sample(place: &Place) -> std::path::PathBuf {
    let rows = ["30", "200"].map(|age| row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02"));
    place.write("a.csv", format!("{HEADER}\n{}\n", rows.join("\n")))
}

#[test]
fn a_load_with_other_options_is_another_load() {
    let place = Place::new("options");
    let path = sample(&place);
    let others: [&[&str]; 6] = [
        &["--lineage"],
        &["--mode", "upsert"],
        &["--mode", "merge"],
        &["--delimiter", ","],
        &["--date-format", "YYYY-MM-DD"],
        &["--encoding", "utf-8"],
    ];
    place.load(&path, &[], 4);
    for options in others {
        assert_eq!(place.load(&path, options, 4)["outcome"], "loaded", "{options:?}");
    }
    let mut keys: Vec<_> = loads(&place).iter().map(|load| load.get_str("key").unwrap().to_owned()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1 + others.len());
    let again = place.load(&path, &[], 4);
    assert_eq!(again["outcome"], "already loaded, verified instead");
    assert_eq!(counts(&again, &["read", "written", "already_present", "rejected"]), [2, 0, 1, 1]);
    for options in [&["--no-verify"][..], &["--reload"], &["--mode", "upsert"]] {
        assert_eq!(place.load(&path, options, 4)["outcome"], "loaded", "{options:?}");
    }
}

#[test]
fn the_ledger_records_the_end_of_a_load_and_a_load_of_another_version_is_not_resumed() {
    let place = Place::new("ended");
    let path = sample(&place);
    place.run(&["load", text(&path), "--max-rejects", "0"]).expect_code(1);
    let stopped = &loads(&place)[0];
    assert_eq!((stopped.get_str("state").unwrap(), stopped.get("finished")), ("stopped", Some(&bson::Bson::Null)));
    assert_eq!(stopped.get_document("checkpoint").unwrap().get_array("rejects").unwrap().len(), 1);
    set(&place, doc! { "version": "0.0.0" });
    let summary = place.load(&path, &[], 4);
    assert!(summary["notes"].to_string().contains("another version"), "{summary}");
    let all = loads(&place);
    let states: Vec<_> = all.iter().map(|load| load.get_str("state").unwrap()).collect();
    assert_eq!(states, ["superseded", "complete"]);
    assert!(all[1].get_datetime("finished").is_ok() && all[1].get_binary_generic("collection_uuid").is_err());
    assert_ne!(all[1].get("collection_uuid"), Some(&bson::Bson::Null));
    assert_eq!(all[1].get_document("checkpoint").unwrap().get_array("rejects").unwrap().len(), 1);
    let other = place.write("b.csv", format!("{HEADER}\n{}\n", row("Bob Lee", "3", "O+", "2024-01-31", "2024-02-02")));
    place.load(&other, &["--drop", "--yes"], 0);
    let all = loads(&place);
    let states: Vec<_> = all.iter().map(|load| load.get_str("state").unwrap()).collect();
    assert_eq!(states, ["dropped", "dropped", "complete"]);
    assert_eq!(
        place.load(&path, &[], 4)["outcome"],
        "loaded",
        "a source must be loaded again after its collection was dropped"
    );
}

#[test]
fn documents_that_are_not_in_the_source_are_a_difference_only_after_a_first_load() {
    let place = Place::new("lone");
    let path = sample(&place);
    place.load(&path, &[], 4);
    let documents = place.documents();
    block_on(async move {
        documents.insert_one(doc! { "_id": "by hand" }).bypass_document_validation(true).await.unwrap();
    });
    let again = place.load(&path, &[], 5);
    assert_eq!((&again["verification"]["extra"], &again["verification"]["others"]), (&1.into(), &0.into()), "{again}");
    let other = place.write("b.csv", format!("{HEADER}\n{}\n", row("Bob Lee", "3", "O+", "2024-01-31", "2024-02-02")));
    let later = place.load(&other, &[], 0);
    assert_eq!((&later["verification"]["extra"], &later["verification"]["others"]), (&0.into(), &2.into()), "{later}");
}

#[test]
fn a_repeated_load_counts_all_its_documents_as_already_present() {
    let place = Place::new("repeated");
    let rows = ["Ann Lee", "Bea Lee", "Cy Lee"].map(|name| row(name, "30", "O+", "2024-01-31", "2024-02-02"));
    let file = |name: &str, rows: &[String]| place.write(name, format!("{HEADER}\n{}\n", rows.join("\n")));
    let (one, all) = (file("one.csv", &rows[..1]), file("all.csv", &rows));
    let ends = ["read", "written", "already_present"];
    assert_eq!(counts(&place.load(&one, &[], 0), &ends), [1, 1, 0]);
    assert_eq!(counts(&place.load(&all, &[], 0), &ends), [3, 2, 1]);
    let repeated = place.load(&all, &[], 0);
    assert_eq!(
        (repeated["outcome"].as_str(), counts(&repeated, &ends)),
        (Some("already loaded, verified instead"), vec![3, 0, 3])
    );

    // The earlier load of this source wrote two documents, and one was already present. If the collection now has fewer
    // than three documents, the source is loaded again.
    let documents = place.documents();
    block_on(async move { documents.delete_one(doc! {}).await.unwrap() });
    let again = place.load(&all, &[], 0);
    assert_eq!((again["outcome"].as_str(), counts(&again, &ends)), (Some("loaded"), vec![3, 1, 2]));
}

#[test]
fn a_repeated_load_has_replaced_nothing() {
    let place = Place::new("replaced");
    let spec = place.write("spec.toml", spec_without_age("keep-last"));
    let file = |name: &str, age: &str| {
        place.write(name, format!("{HEADER}\n{}\n", row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02")))
    };
    let (one, two) = (file("one.csv", "30"), file("two.csv", "31"));
    let load = |path: &std::path::Path| {
        let summary = place.load(path, &["--spec", text(&spec)], 0);
        counts(&summary, &["written", "replaced", "already_present"])
    };
    assert_eq!((load(&one), load(&two), load(&two)), (vec![1, 0, 0], vec![1, 1, 0], vec![0, 0, 1]));
}
