//! Tests of `medlift load` as a user runs it: what is written, counted and rejected, and that a source that was loaded
//! before is recognised.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use bson::{Document, doc};
use mongodb::{Client, Collection};
use serde_json::Value as Json;
use tokio::runtime::Runtime;

use crate::program::{Run, medlift};
use crate::server::{fresh_database, shared};

/// Runs `work` for at most two minutes. All tests share one runtime, because a client of the driver stops working when
/// the runtime in which it was created ends.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Runtime::new().expect("a runtime"));
    let bounded = async { tokio::time::timeout(Duration::from_mins(2), work).await.expect("done in time") };
    runtime.block_on(bounded)
}

/// A temporary directory, and a database on the shared server, for one test.
pub(crate) struct Place {
    pub dir: tempfile::TempDir,
    pub database: String,
}

impl Place {
    pub(crate) fn new(purpose: &str) -> Self {
        Self { dir: tempfile::tempdir().expect("a directory"), database: fresh_database(purpose) }
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).expect("the file is written");
        path
    }

    /// Generates a file of synthetic admissions. `damage` is the value of `medlift generate --damage`.
    pub(crate) fn sample(&self, name: &str, rows: u32, damage: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        medlift(["generate", "--rows", &rows.to_string(), "--damage", damage, "--out", text(&path)])
            .run()
            .expect_code(0);
        path
    }

    /// Generates a file like `sample`, with one more column that the spec does not name. This column makes each row
    /// about four times as long. The load then needs fewer rows for the same number of blocks, so the test is faster.
    pub(crate) fn long_rows(&self, name: &str, rows: u32, damage: &str) -> PathBuf {
        let bytes = fs::read(self.sample(name, rows, damage)).expect("the file was written");
        let mut column = "Notes".to_owned();
        let mut long = Vec::new();
        for line in bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let row = line.strip_suffix(b"\r").unwrap_or(line);
            long.extend([row, b",", column.as_bytes(), b"\n"].concat());
            column = "x".repeat(450);
        }
        self.write(name, long)
    }

    /// Runs a command on this test's database.
    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let uri = shared().uri();
        medlift(arguments.iter().chain(&["--uri", &uri, "--db", &self.database, "--quiet"])).run()
    }

    /// Loads a file and returns the summary.
    pub(crate) fn load(&self, path: &Path, options: &[&str], code: i32) -> Json {
        let run = self.run(&[&["load", text(path), "--json"], options].concat()).expect_code(code);
        serde_json::from_str(&run.stdout).expect("the summary is JSON")
    }

    pub(crate) fn documents(&self) -> Collection<Document> {
        self.collection("admissions")
    }

    pub(crate) fn collection(&self, name: &str) -> Collection<Document> {
        let uri = shared().uri();
        let client = block_on(async move { Client::with_uri_str(uri).await.expect("connected") });
        client.database(&self.database).collection(name)
    }

    pub(crate) fn count(&self, filter: Document) -> u64 {
        let documents = self.documents();
        block_on(async move { documents.count_documents(filter).await.expect("counted") })
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

pub(crate) fn counts(summary: &Json, names: &[&str]) -> Vec<u64> {
    names
        .iter()
        .map(|name| summary["counts"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}")))
        .collect()
}

pub(crate) const ENDS: [&str; 5] = ["read", "written", "already_present", "duplicates", "rejected"];

pub(crate) const HEADER: &str = "Name,Age,Gender,Blood Type,Medical Condition,Date of Admission,Doctor,Hospital,Insurance Provider,Billing Amount,Room Number,Admission Type,Discharge Date,Medication,Test Results";

pub(crate) fn row(name: &str, age: &str, blood: &str, admitted: &str, discharged: &str) -> String {
    format!(
        "{name},{age},Male,{blood},Asthma,{admitted},Jo Kim,Kim Inc,Aetna,10.5,101,Urgent,{discharged},Aspirin,Normal"
    )
}

#[test]
fn a_load_cleans_writes_and_verifies_and_a_second_load_writes_nothing() {
    let place = Place::new("load");
    let rows = [
        row("bobby jacksOn", "30", "ab+", "2024-01-31", "2024-02-02"),
        row("JOHN SMITH MD", "31", "B-", "2024-02-01", "2024-02-02"),
        row("bobby jacksOn", "30", "AB+", "2024-01-31", "2024-02-02"),
    ];
    let path = place.write("a.csv", format!("{HEADER}\r\n{}\r\n", rows.join("\r\n")));
    let summary = place.load(&path, &[], 0);
    assert_eq!(counts(&summary, &ENDS), [3, 2, 0, 1, 0]);
    assert_eq!(summary["verification"]["equal"], 2);
    let documents = place.documents();
    let stored = block_on(async move { documents.find_one(doc! { "Name": "Bobby Jackson" }).await })
        .unwrap()
        .expect("the document is stored");
    assert_eq!(stored.get_str("Blood Type").unwrap(), "AB+");
    assert_eq!(stored.get_i32("Age").unwrap(), 30);
    assert_eq!(stored.get_f64("Billing Amount").unwrap().to_bits(), 10.5f64.to_bits());
    assert_eq!(stored.get_datetime("Date of Admission").unwrap().timestamp_millis(), 1_706_659_200_000);
    let names: Vec<&String> = stored.keys().collect();
    assert_eq!(
        names,
        [
            "_id",
            "Name",
            "Age",
            "Gender",
            "Blood Type",
            "Medical Condition",
            "Doctor",
            "Hospital",
            "Room Number",
            "Insurance Provider",
            "Admission Type",
            "Medication",
            "Test Results",
            "Billing Amount",
            "Date of Admission",
            "Discharge Date"
        ]
    );

    let again = place.load(&path, &[], 0);
    assert_eq!(again["outcome"], "already loaded, verified instead");
    assert_eq!(counts(&again, &ENDS), [3, 0, 2, 1, 0]);
    let reloaded = place.load(&path, &["--reload"], 0);
    assert_eq!(counts(&reloaded, &ENDS), [3, 0, 2, 1, 0]);
    assert!(!place.dir.path().join("a.csv.rejects.csv").exists());
}

#[test]
fn a_first_load_builds_indexes_and_attaches_the_validator() {
    let place = Place::new("first");
    place.load(&place.sample("a.csv", 500, "typical"), &[], 0);
    let (documents, database) = (place.documents(), place.collection("admissions"));
    let names = block_on(async move { documents.list_index_names().await.unwrap() });
    assert!(names.len() > 1, "{names:?}");
    let refused = block_on(async move { database.insert_one(doc! { "Name": 1 }).await });
    assert!(refused.is_err(), "the validator must refuse the document");
    let spec = medlift(["spec", "show"]).run().expect_code(0).stdout;
    assert!(names.iter().skip(1).all(|name| spec.contains(name.as_str())), "{names:?}");
}

#[test]
fn rejects_have_line_and_reason_and_can_be_corrected_and_loaded() {
    let place = Place::new("rejects");
    let rows = [
        row("Ann Lee", "30", "O+", "2024-01-31", "2024-02-02"),
        row("Bea Lee", "200", "O+", "2024-01-31", "2024-02-02"),
        row("Cia Lee", "30", "C+", "2024-01-31", "2024-02-02"),
        row("Dot Lee", "30", "O+", "2024-01-31", "2024-01-02"),
        row("", "30", "O+", "2024-01-31", "2024-02-02"),
        "Eve Lee,30".to_owned(),
        row("Fay Lee", "30", "O+", "2024-01-31,", "2024-02-02"),
    ];
    let path = place.write("a.csv", format!("{HEADER}\n{}\n", rows.join("\n")));
    let summary = place.load(&path, &[], 4);
    assert_eq!(counts(&summary, &ENDS), [7, 1, 0, 0, 6]);
    let file = place.dir.path().join("a.csv.rejects.csv");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let rejects = fs::read_to_string(&file).unwrap();
    for (line, reason) in [
        (3, "out_of_range"),
        (4, "not_allowed"),
        (5, "implausible"),
        (6, "missing"),
        (7, "too_few_cells"),
        (8, "too_many_cells"),
    ] {
        let found = rejects.lines().any(|row| row.starts_with(&format!("{line},")) && row.contains(reason));
        assert!(found, "line {line} must be rejected as {reason} in\n{rejects}");
    }
    let offset = format!("3,{},Age,out_of_range", HEADER.len() + 1 + rows[0].len() + 1);
    assert!(rejects.contains(&offset), "{offset} in\n{rejects}");

    let corrected: String =
        rejects.lines().take(4).map(|line| line.replace(",200,", ",20,").replace(",C+,", ",B+,") + "\n").collect();
    let corrected = place.write("corrected.csv", corrected);
    let summary = place.load(&corrected, &[], 4);
    assert_eq!(counts(&summary, &ENDS), [3, 2, 0, 0, 1]);
    assert_eq!(summary["sources"][0]["unknown_columns"].as_array().unwrap().len(), 0);
    assert_eq!(place.count(doc! {}), 3);
}

#[test]
fn rejects_are_never_written_to_a_source() {
    let place = Place::new("place");
    let path = place.sample("a.csv", 50, "heavy");
    let before = fs::read(&path).unwrap();
    let refused = place.run(&["load", text(&path), "--rejects", text(&path)]).expect_code(2);
    assert!(refused.stderr.contains("--rejects"));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn limits_on_rejects_stop_a_load() {
    let place = Place::new("limits");
    let path = place.sample("a.csv", 2_000, "heavy");
    place.run(&["load", text(&path), "--max-rejects", "1"]).expect_code(1);
    place.run(&["load", text(&path), "--max-rejects", "0.01%"]).expect_code(1);
    place.run(&["load", text(&path), "--stop-on-error"]).expect_code(1);
    let summary = place.load(&path, &["--max-rejects", "50%"], 4);
    let all = counts(&summary, &ENDS);
    assert_eq!(all[0], all[1..].iter().sum::<u64>());
}

#[test]
fn another_delimiter_encoding_or_compression_of_a_file_gives_the_same_documents() {
    let place = Place::new("dialects");
    let path = place.sample("a.csv", 300, "typical");
    let first = place.load(&path, &[], 0);
    let plain = fs::read_to_string(&path).unwrap().replace("\r\n", "\n");
    let lf = place.write("lf.csv", &plain);
    let utf16: Vec<u8> = [0xff, 0xfe].into_iter().chain(plain.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let utf16 = place.write("utf16.csv", utf16);
    let renamed = place
        .write("renamed.csv", plain.replacen("Blood Type", "blood_type", 1).replacen("Room Number", "roomNumber", 1));
    let gzip = place.dir.path().join("lf.csv.dat");
    assert!(Command::new("gzip").arg("-k").arg(&lf).status().unwrap().success());
    fs::rename(place.dir.path().join("lf.csv.gz"), &gzip).unwrap();
    for copy in [lf, utf16, renamed, gzip] {
        let summary = place.load(&copy, &[], 0);
        assert_eq!(counts(&summary, &["written"]), [0], "{}", copy.display());
        assert_eq!(summary["counts"]["already_present"], first["counts"]["written"]);
        assert_eq!(summary["digest"], first["digest"]);
    }
}

/// Returns the built-in spec with another identity: all fields except the age. `rule` is the value of `on_conflict`.
pub(crate) fn spec_without_age(rule: &str) -> String {
    let shown = medlift(["spec", "show"]).run().expect_code(0).stdout;
    let at = shown.find("[identity]").expect("the built-in spec has an identity");
    let end = shown[at + 1..].find("\n[").expect("another table follows the identity") + at + 1;
    format!("{}[identity]\nexcept = [\"Age\"]\non_conflict = \"{rule}\"\n{}", &shown[..at], &shown[end..])
}

#[test]
fn run_size_batch_size_and_workers_do_not_change_the_counts() {
    let place = Place::new("runs");
    // With `--run-size 1`, the load has more chunks of documents than may be in memory at once.
    let path = place.sample("a.csv", 24_000, "heavy");
    let small = ["1", "700", "3"];
    for (rule, [size, batch, workers]) in
        [("keep-first", small), ("keep-last", small), ("reject", small), ("keep-last", ["64", "10000", "1"])]
    {
        let spec = place.write("spec.toml", spec_without_age(rule));
        let dry = medlift(["load", "--dry-run", "--json", text(&path), "--spec", text(&spec)]).run().expect_code(4);
        let dry: Json = serde_json::from_str(&dry.stdout).unwrap();
        let options = ["--spec", text(&spec), "--run-size", size, "--batch-size", batch, "--workers", workers];
        let summary = place.load(&path, &[&options[..], &["-c", &format!("{rule}-{size}")]].concat(), 4);
        assert_eq!(summary["counts"], dry["counts"], "{rule}, runs of {size} MiB");
        assert_eq!(summary["changes"], dry["changes"]);
        let found = &summary["verification"];
        assert_eq!(
            (&found["missing"], &found["different"], &found["extra"]),
            (&0.into(), &0.into(), &0.into()),
            "{summary}"
        );
    }
}

#[test]
fn conflicts_are_resolved_as_the_spec_says() {
    let rows = |ages: &[&str]| {
        let rows: Vec<String> = ages.iter().map(|age| row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02")).collect();
        format!("{HEADER}\n{}\n", rows.join("\n"))
    };
    for (rule, code, expected, age) in
        [("keep-first", 0, [2, 0, 1, 0], 30), ("keep-last", 0, [2, 1, 0, 0], 40), ("reject", 4, [2, 0, 1, 1], 30)]
    {
        let place = Place::new("conflicts");
        let spec = place.write("spec.toml", spec_without_age(rule));
        let options = ["--spec", text(&spec)];
        place.load(&place.write("a.csv", rows(&["30"])), &options, 0);
        let summary = place.load(&place.write("b.csv", rows(&["30", "40"])), &options, code);
        assert_eq!(
            counts(&summary, &["read", "written", "already_present", "rejected"]),
            expected,
            "{rule}: {summary}"
        );
        assert_eq!(place.count(doc! { "Age": age }), 1, "{rule}");
        assert_eq!(place.count(doc! {}), 1);
    }
}

#[test]
fn upsert_replaces_and_merge_keeps_other_fields() {
    let place = Place::new("modes");
    let path = place.sample("a.csv", 200, "none");
    place.load(&path, &[], 0);
    let documents = place.documents();
    block_on(async move {
        let unchecked = documents.update_many(doc! {}, doc! { "$set": { "note": "by hand", "Age": 99 } });
        unchecked.bypass_document_validation(true).await.unwrap();
    });
    let summary = place.load(&path, &["--mode", "merge"], 0);
    assert_eq!(counts(&summary, &["written", "replaced"]), [200, 200]);
    assert_eq!(
        place.count(doc! { "note": "by hand", "Age": { "$ne": 99 } }),
        place.count(doc! { "Age": { "$ne": 99 } })
    );
    assert!(place.count(doc! { "note": "by hand" }) == 200);
    let summary = place.load(&path, &["--mode", "upsert"], 0);
    assert_eq!(counts(&summary, &["written", "replaced"]), [200, 200]);
    assert_eq!(place.count(doc! { "note": "by hand" }), 0);
    assert_eq!(summary["verification"]["equal"], 200);
}

#[test]
fn drop_needs_yes_without_a_terminal_and_then_loads_into_an_empty_collection() {
    let place = Place::new("drop");
    let path = place.sample("a.csv", 100, "none");
    place.load(&path, &[], 0);
    let refused = place.run(&["load", text(&path), "--drop"]).expect_code(2);
    assert!(refused.stderr.contains("--yes"));
    assert_eq!(place.count(doc! {}), 100);
    let summary = place.load(&path, &["--drop", "--yes"], 0);
    assert_eq!(counts(&summary, &["written"]), [100]);
}

#[test]
fn lineage_is_in_each_document_and_is_no_difference_for_verify() {
    let place = Place::new("lineage");
    let path = place.sample("a.csv", 50, "none");
    let summary = place.load(&path, &["--lineage"], 0);
    let run: bson::Uuid = summary["run"].as_str().unwrap().parse().unwrap();
    assert_eq!(place.count(doc! { "_medlift.run": run, "_medlift.row": { "$gte": 1i64, "$lte": 50i64 } }), 50);
    place.run(&["verify", text(&path)]).expect_code(0);
}

#[test]
fn standard_input_and_several_files_can_be_loaded() {
    let place = Place::new("sources");
    let sample = fs::read(place.sample("all.csv", 120, "none")).unwrap();
    let text_of = String::from_utf8(sample.clone()).unwrap();
    let (head, rows) = text_of.split_once("\r\n").unwrap();
    let rows: Vec<&str> = rows.trim_end().split("\r\n").collect();
    place.write("part-1.csv", format!("{head}\n{}\n", rows[..70].join("\n")));
    place.write("part-2.csv", format!("{head}\n{}", rows[50..].join("\n")));
    let glob = place.dir.path().join("part-*.csv");
    let summary = place.load(&glob, &[], 0);
    assert_eq!(counts(&summary, &ENDS), [140, 120, 0, 20, 0]);
    let uri = shared().uri();
    let run =
        medlift(["load", "-", &uri, "--db", &place.database, "--json", "--quiet"]).input(sample).run().expect_code(0);
    let summary: Json = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(counts(&summary, &ENDS), [120, 0, 120, 0, 0]);
    assert!(summary["unverified"].as_str().unwrap().contains("standard input"));
}

#[test]
fn standard_input_after_a_file_is_read_from_its_start() {
    let place = Place::new("stdin_second");
    let [first, second] = ["a.csv", "b.csv"].map(|name| place.sample(name, 30, "none"));
    let input = fs::read(&second).unwrap();
    let run = medlift(["load", "-n", text(&first), "-", "--json", "--quiet"]).input(input).run().expect_code(0);
    let summary: Json = serde_json::from_str(&run.stdout).expect("the summary is JSON");
    assert_eq!(counts(&summary, &["read", "rejected"]), [60, 0]);
}

#[test]
fn a_dry_run_needs_no_database_and_has_the_counts_of_a_load() {
    let place = Place::new("dry");
    let path = place.sample("a.csv", 3_000, "heavy");
    let dry = medlift(["load", "--dry-run", "--json", "--quiet", text(&path)]).run().expect_code(4);
    let dry: Json = serde_json::from_str(&dry.stdout).unwrap();
    let loaded = place.load(&path, &[], 4);
    for name in ["counts", "rejects", "changes", "warnings", "digest", "sources"] {
        assert_eq!(dry[name], loaded[name], "{name}");
    }
}

#[test]
fn loading_an_export_writes_nothing_new() {
    let place = Place::new("export");
    let path = place.sample("a.csv", 400, "typical");
    let first = place.load(&path, &[], 0);
    for name in ["out.csv", "out.ndjson"] {
        let out = place.dir.path().join(name);
        place.run(&["export", "--out", text(&out)]).expect_code(0);
        let summary = place.load(&out, &[], 0);
        assert_eq!(counts(&summary, &["written", "rejected", "duplicates"]), [0, 0, 0], "{name}");
        assert_eq!(summary["digest"], first["digest"]);
    }
}
