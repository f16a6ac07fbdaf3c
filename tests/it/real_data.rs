//! Tests of exact results with a real data set. The data set is not in the repository; without it, the tests do
//! nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;

use crate::load::{Place, block_on, counts, spec_without_age, text};

const NAME: &str = "healthcare_dataset.csv";

/// Returns the path of the data set: beside the repository, or the value of `MEDLIFT_DATASET`. If there is no data set,
/// prints a notice and returns `None`.
fn data_set() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(NAME);
    let path = std::env::var_os("MEDLIFT_DATASET").map_or(beside, PathBuf::from);
    if path.exists() {
        return Some(path);
    }
    // Does not use `eprintln!`, because the test harness captures its output. The notice must be visible in every run.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        b"\nSKIPPED: the real data set is not here; set MEDLIFT_DATASET to its path\n",
    );
    None
}

/// Copies the data set to the test's own directory, because reject files are written next to a source.
fn copy(place: &Place) -> Option<PathBuf> {
    let content = fs::read(data_set()?).expect("the data set is readable");
    Some(place.write(NAME, content))
}

/// Reads the rows of the data set: the cells of each row by column name. The simple parser is enough, because no cell
/// of this file contains a line break.
fn rows(path: &std::path::Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(cells);
    let header = lines.next().unwrap();
    lines.map(|cells| header.iter().cloned().zip(cells).collect()).collect()
}

fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            letter => cells.last_mut().unwrap().push(letter),
        }
    }
    cells
}

#[test]
fn every_record_arrives_once_and_every_change_by_hand_is_found() {
    let place = Place::new("real");
    let Some(path) = copy(&place) else { return };
    let summary = place.load(&path, &[], 0);
    assert_eq!(
        counts(&summary, &["read", "written", "already_present", "duplicates", "rejected", "conflicts"]),
        [55_500, 54_966, 0, 534, 0, 0]
    );
    assert_eq!(place.count(doc! {}), 54_966);
    assert_eq!(place.count(doc! { "Billing Amount": null }), 106);
    let again = place.load(&path, &["--reload"], 0);
    assert_eq!(counts(&again, &["written", "already_present", "duplicates"]), [0, 54_966, 534]);
    place.run(&["verify", text(&path)]).expect_code(0);
    changes_by_hand_are_found(&place, &path);
}

fn changes_by_hand_are_found(place: &Place, path: &std::path::Path) {
    let documents = place.documents();
    let some = block_on({
        let documents = documents.clone();
        async move { documents.find_one(doc! {}).await.unwrap().unwrap() }
    });
    let id = some.get("_id").unwrap().clone();
    let found = |kind: &str| {
        let run = place.run(&["verify", "--json", text(path)]).expect_code(5);
        let proof: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(proof["listed"].as_array().unwrap().len(), 1, "{proof}");
        assert_eq!(proof["listed"][0]["kind"], kind);
        assert!(!run.stdout.contains(some.get_str("Name").unwrap()), "no value must be shown");
    };
    let act =
        |change: fn(mongodb::Collection<Document>, Bson, Document) -> futures_util::future::BoxFuture<'static, ()>| {
            block_on(change(documents.clone(), id.clone(), some.clone()));
        };
    act(|documents, id, _| {
        Box::pin(async move {
            documents.update_one(doc! { "_id": id }, doc! { "$inc": { "Age": 1 } }).await.unwrap();
        })
    });
    found("different");
    act(|documents, id, _| {
        Box::pin(async move {
            documents.delete_one(doc! { "_id": id }).await.unwrap();
        })
    });
    found("missing");
    act(|documents, _, mut some| {
        Box::pin(async move {
            documents.insert_one(&some).await.unwrap();
            some.insert("_id", bson::Uuid::new());
            documents.insert_one(&some).await.unwrap();
        })
    });
    found("extra");
}

#[test]
fn types_and_values_are_exact() {
    let place = Place::new("exact");
    let Some(path) = copy(&place) else { return };
    place.load(&path, &["--no-verify", "--lineage"], 0);
    let rows = rows(&path);
    let documents = place.documents();
    let stored: Vec<Document> =
        block_on(async move { documents.find(doc! {}).await.unwrap().try_collect().await.unwrap() });
    assert_eq!(stored.len(), 54_966);
    for document in &stored {
        let row =
            &rows[document.get_document("_medlift").unwrap().get_i64("row").unwrap().cast_unsigned() as usize - 1];
        let amount: f64 = row["Billing Amount"].parse().unwrap();
        let expected = if amount < 0.0 { Bson::Null } else { Bson::Double(amount) };
        match (document.get("Billing Amount").unwrap(), expected) {
            (Bson::Double(stored), Bson::Double(expected)) => assert_eq!(stored.to_bits(), expected.to_bits()),
            (stored, expected) => assert_eq!(*stored, expected),
        }
        for name in ["Date of Admission", "Discharge Date"] {
            let expected = bson::DateTime::parse_rfc3339_str(format!("{}T00:00:00Z", row[name])).unwrap();
            assert_eq!(document.get_datetime(name).unwrap(), &expected);
        }
        assert_eq!(document.get_i32("Age").unwrap(), row["Age"].parse::<i32>().unwrap());
        assert_eq!(document.get_i32("Room Number").unwrap(), row["Room Number"].parse::<i32>().unwrap());
        for name in CATEGORIES {
            assert_eq!(document.get_str(name).unwrap(), row[*name]);
        }
    }
    categories_are_counted_as_in_the_file(&rows, &stored);
}

const CATEGORIES: &[&str] = &[
    "Gender",
    "Blood Type",
    "Medical Condition",
    "Insurance Provider",
    "Admission Type",
    "Medication",
    "Test Results",
];

/// Counts only the unique rows, because duplicates are stored once.
fn categories_are_counted_as_in_the_file(rows: &[BTreeMap<String, String>], stored: &[Document]) {
    let unique: std::collections::BTreeSet<&BTreeMap<String, String>> = rows.iter().collect();
    for name in CATEGORIES {
        let (mut file, mut database) = (BTreeMap::new(), BTreeMap::new());
        for row in &unique {
            *file.entry(row[*name].as_str()).or_insert(0) += 1;
        }
        for document in stored {
            *database.entry(document.get_str(name).unwrap()).or_insert(0) += 1;
        }
        assert_eq!(file, database, "{name}");
    }
}

#[test]
fn with_all_fields_except_the_age_as_identity_there_are_50_000_documents() {
    let place = Place::new("ages");
    let Some(path) = copy(&place) else { return };
    let spec = place.write("spec.toml", spec_without_age("keep-first"));
    let summary = place.load(&path, &["--spec", text(&spec)], 0);
    assert_eq!(counts(&summary, &["read", "written", "duplicates", "conflicts"]), [55_500, 50_000, 534, 4_966]);
    assert_eq!(place.count(doc! {}), 50_000);
}

#[test]
fn copies_with_another_delimiter_encoding_or_column_order_give_the_same_documents() {
    let place = Place::new("copies");
    let Some(path) = copy(&place) else { return };
    let first = place.load(&path, &["--no-verify"], 0);
    let plain = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let lf = place.write("lf.csv", &plain);
    let day_first = place.write("day-first.csv", as_day_first(&plain));
    let utf16 = place.write("utf16.csv", as_utf16(&shuffled(&plain)));
    let gzip = place.dir.path().join("lf.csv.gz");
    assert!(std::process::Command::new("gzip").arg("-k").arg(&lf).status().unwrap().success());
    for copy in [lf, day_first, utf16, gzip] {
        let summary = place.load(&copy, &["--no-verify"], 0);
        let ends = counts(&summary, &["read", "written", "already_present", "duplicates", "rejected"]);
        assert_eq!(ends, [55_500, 0, 54_966, 534, 0], "{}", copy.display());
        assert_eq!(summary["digest"], first["digest"]);
    }
}

/// Returns the content of the data set with `;` as delimiter and dates as DD/MM/YYYY.
fn as_day_first(plain: &str) -> String {
    let quote = |cell: &String| if cell.contains(';') { format!("\"{cell}\"") } else { cell.clone() };
    let line = |line: &str| cells(line).iter().map(|cell| quote(&day_first(cell))).collect::<Vec<_>>().join(";");
    plain.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn day_first(cell: &str) -> String {
    let parts: Vec<&str> = cell.split('-').collect();
    match parts[..] {
        [year, month, day] if year.len() == 4 && day.len() == 2 && year.parse::<u16>().is_ok() => {
            format!("{day}/{month}/{year}")
        }
        _ => cell.to_owned(),
    }
}

/// Returns the content of the data set with its columns in reverse order, and with names such as `BLOOD_TYPE`.
fn shuffled(plain: &str) -> String {
    let quote = |cell: String| if cell.contains(',') { format!("\"{cell}\"") } else { cell };
    let line = |(at, line): (usize, &str)| {
        let cells = cells(line).into_iter().rev();
        let name = |cell: String| if at == 0 { cell.to_uppercase().replace(' ', "_") } else { quote(cell) };
        cells.map(name).collect::<Vec<_>>().join(",")
    };
    plain.lines().enumerate().map(line).collect::<Vec<_>>().join("\n")
}

fn as_utf16(text: &str) -> Vec<u8> {
    [0xfe, 0xff].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect()
}
