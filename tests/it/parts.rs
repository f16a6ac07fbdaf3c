//! Tests of loads that are divided into parts: `medlift plan`, `medlift load --manifest` and `medlift runs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::doc;
use medlift::ledger::{Claim, Ledger};
use mongodb::IndexModel;
use mongodb::options::IndexOptions;
use serde_json::Value as Json;

use crate::load::{ENDS, HEADER, Place, block_on, counts, row, text};
use crate::program::{Run, medlift};
use crate::server::shared;

/// Makes a manifest in the directory of the test, and returns its path.
fn plan(place: &Place, sources: &[&Path], options: &[&str]) -> PathBuf {
    let path = place.dir.path().join("load.manifest.json");
    let sources: Vec<&str> = sources.iter().map(|source| text(source)).collect();
    medlift([&["plan", "--out", text(&path)], &sources[..], options].concat()).run().expect_code(0);
    path
}

fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Runs one worker, and returns its result.
fn work(place: &Place, manifest: &Path, options: &[&str], code: i32) -> Json {
    let run = place.run(&[&["load", "--manifest", text(manifest), "--json"], options].concat()).expect_code(code);
    json(&run.stdout)
}

fn runs(place: &Place, arguments: &[&str]) -> Run {
    let uri = shared().uri();
    medlift([&["runs"], arguments, &[&uri, "--db", &place.database]].concat()).run()
}

/// Runs several workers at the same time. Returns the result of the worker that ended the load.
fn work_together(place: &Place, manifest: &Path, workers: usize, code: i32) -> Json {
    let uri = shared().uri();
    let of = workers.to_string();
    let all: Vec<_> = (0..workers)
        .map(|index| {
            let index = index.to_string();
            let place = ["--index", &index, "--of", &of, "--uri", &uri, "--db", &place.database, "--quiet", "--json"];
            let limited = ["load", "--manifest", text(manifest), "--writers-max", "2"];
            medlift(limited.iter().chain(&place)).start()
        })
        .collect();
    let result = |run: Run| {
        // The worker that ended the load has the exit code `code`. Another worker has the exit code 0 if none of its
        // rows were rejected.
        assert!(run.code == Some(code) || run.code == Some(0), "{}", run.stderr);
        json(&run.stdout)
    };
    let runs: Vec<Json> = all.into_iter().map(|worker| result(worker.wait())).collect();
    let parts: usize = runs.iter().map(|run| run["parts"].as_array().unwrap().len()).sum();
    let planned = json(&fs::read_to_string(manifest).unwrap())["parts"].as_array().unwrap().len();
    assert_eq!(parts, planned, "every part is loaded once");
    runs.into_iter().find(|run| run["tables"][0]["outcome"] == "loaded").expect("one worker ends the load")
}

#[test]
fn parts_give_the_documents_counts_and_digest_of_one_process() {
    let alone = Place::new("parts_alone");
    // The source has rejected rows, and duplicates within one part and in different parts.
    let mut rows = fs::read(alone.sample("a.csv", 9_000, "heavy")).unwrap();
    let again: Vec<u8> = rows.split_inclusive(|&byte| byte == b'\n').skip(1).take(2_000).flatten().copied().collect();
    rows.extend(again);
    let source = alone.write("a.csv", rows);
    let expected = alone.load(&source, &[], 4);
    for workers in [1, 3] {
        let place = Place::new("parts");
        let manifest = plan(&place, &[&source], &["--part-size", "1"]);
        let parts = json(&fs::read_to_string(&manifest).unwrap())["parts"].as_array().unwrap().len();
        assert!(parts > 1, "{parts} parts");
        let found = work_together(&place, &manifest, workers, 4);
        let table = &found["tables"][0];
        assert_eq!(counts(table, &ENDS), counts(&expected, &ENDS), "{workers} workers");
        assert_eq!(table["digest"], expected["digest"]);
        assert_eq!(table["verification"]["equal"], expected["verification"]["equal"]);
        assert_eq!(table["counts_are_estimates"], false);
        let documents = place.documents();
        let indexes: Vec<String> = block_on(async { documents.list_index_names().await.unwrap() });
        assert_eq!(indexes.len(), 4, "the last worker builds the indexes");
        // Each rejected row is in the reject file of its part.
        let files = table["reject_files"].as_array().unwrap();
        let lines: usize = files.iter().map(|file| rejected_lines(Path::new(file.as_str().unwrap()))).sum();
        assert_eq!(lines as u64, counts(&expected, &["rejected"])[0]);
        verify_in_shares(&place, &manifest, counts(&expected, &["written"])[0]);
        // A load of the same source by one process recognises that the source is already loaded. A new worker loads no
        // part again.
        let again = place.load(&source, &[], 4);
        assert_eq!(again["outcome"], "already loaded, verified instead");
        let again = work(&place, &manifest, &[], 4);
        assert_eq!((&again["parts"], &again["tables"][0]["outcome"]), (&Json::Array(Vec::new()), &again_outcome()));
    }
}

/// Verifies the `_id`s in three shares. Then removes a document and checks that exactly one share reports a difference.
/// At the end, inserts the document again.
fn verify_in_shares(place: &Place, manifest: &Path, documents: u64) {
    let verify = || -> Vec<(Option<i32>, u64)> {
        let share = |index: &str| {
            let run = place.run(&["verify", "--manifest", text(manifest), "--index", index, "--of", "3", "--json"]);
            (run.code, json(&run.stdout)["equal"].as_u64().unwrap())
        };
        ["0", "1", "2"].map(share).to_vec()
    };
    let proofs = verify();
    assert!(proofs.iter().all(|(code, equal)| *code == Some(0) && *equal > documents / 4), "{proofs:?}");
    assert_eq!(proofs.iter().map(|(_, equal)| equal).sum::<u64>(), documents);
    let collection = place.documents();
    let removed = block_on(async { collection.find_one_and_delete(doc! {}).await.unwrap().expect("a document") });
    let mut codes: Vec<_> = verify().into_iter().map(|(code, _)| code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(0), Some(5)]);
    block_on(async { collection.insert_one(removed).await.unwrap() });
    let unknown = place.run(&["verify", "--manifest", text(manifest), "--index", "1"]).expect_code(2);
    assert!(unknown.stderr.contains("give the number of workers with --of"), "{}", unknown.stderr);
}

fn again_outcome() -> Json {
    "already loaded, verified instead".into()
}

/// Returns the number of rows in a reject file, which begins with its header. No row of the sample has several lines.
fn rejected_lines(path: &Path) -> usize {
    fs::read(path).unwrap().split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count() - 1
}

#[test]
fn counts_are_right_if_the_collection_was_not_empty() {
    let row_of = |number: u32| row(&format!("Ann {number}"), "30", "A+", "2024-01-31", "2024-02-02");
    let rows = |numbers: std::ops::Range<u32>| numbers.map(row_of).collect::<Vec<_>>().join("\n");
    let place = Place::new("parts_before");
    let early = place.write("early.csv", format!("{HEADER}\n{}", rows(0..50)));
    place.load(&early, &[], 0);
    // 20 rows that are already stored, and 30 new rows. Five rows of each group are in both files.
    let first = place.write("b.csv", format!("{HEADER}\n{}", rows(30..80)));
    let second = place.write("c.csv", format!("{HEADER}\n{}", rows(45..55)));
    let manifest = plan(&place, &[&first, &second], &[]);
    let mut content = json(&fs::read_to_string(&manifest).unwrap());
    assert_eq!(content["parts"].as_array().unwrap().len(), 1, "small files share a part");
    let huge = plan(&place, &[&first, &second, &early], &["--part-size", "1", "--overwrite"]);
    content = json(&fs::read_to_string(huge).unwrap());
    assert_eq!(content["parts"][0]["sources"], serde_json::json!([0, 1, 2]));
    let manifest = plan(&place, &[&first, &second], &["--overwrite"]);
    let found = work(&place, &manifest, &[], 0);
    assert_eq!(counts(&found["tables"][0], &ENDS), [60, 30, 20, 10, 0]);
}

#[test]
fn rows_that_the_server_refuses_are_no_difference() {
    let place = Place::new("parts_refusals");
    let ann = |age: &str| row("Ann", age, "A+", "2024-01-31", "2024-02-02");
    let other = row("Bea", "30", "B+", "2024-01-31", "2024-02-02");
    let first = place.write("a.csv", format!("{HEADER}\n{}\n{other}\n", ann("30")));
    let second = place.write("b.csv", format!("{HEADER}\n{}\n", ann("31")));
    let documents = place.documents();
    let options = IndexOptions::builder().unique(true).build();
    let unique = IndexModel::builder().keys(doc! { "Blood Type": 1 }).options(options).build();
    block_on(async { documents.create_index(unique).await.unwrap() });
    let manifest = plan(&place, &[&first, &second], &["--part-size", "1"]);
    let found = work(&place, &manifest, &[], 4);
    assert_eq!(counts(&found["tables"][0], &ENDS), [3, 2, 0, 0, 1]);
    assert_eq!(found["tables"][0]["verification"]["refused"], 1);
    for again in
        [&work(&place, &manifest, &[], 4)["tables"][0], &work(&place, &manifest, &["--finish"], 4)["tables"][0]]
    {
        assert_eq!((&again["outcome"], &again["verification"]["refused"]), (&again_outcome(), &1.into()));
        assert_eq!(again["reject_files"].as_array().unwrap().len(), 1);
    }
    let elsewhere = place.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let again = &work(&place, &manifest, &["--rejects", text(&elsewhere)], 4)["tables"][0];
    assert_eq!(again["reject_files"].as_array().unwrap().len(), 0);
    assert!(again["notes"][0].as_str().unwrap().contains("is not there; perhaps the worker"), "{again}");
}

/// Without a verification, the counts of the load are the sums of the counts of its parts. Here both parts have the
/// same records, so the sums are larger than the number of documents. The same command must still recognise that the
/// load is complete.
#[test]
fn a_load_with_counts_that_are_sums_is_known_again() {
    let place = Place::new("parts_sums");
    let first = place.sample("a.csv", 5_000, "none");
    let second = place.write("b.csv", fs::read(&first).unwrap());
    let manifest = plan(&place, &[&first, &second], &["--part-size", "1"]);
    let found = work(&place, &manifest, &["--no-verify"], 0);
    let sums = counts(&found["tables"][0], &ENDS);
    assert_eq!((found["parts"].as_array().unwrap().len(), &sums[..]), (2, &[10_000, 5_000, 5_000, 0, 0][..]));
    assert_eq!(found["tables"][0]["counts_are_estimates"], true);
    let phases = found["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().map(|time| time["phase"].as_str().unwrap()).collect();
    assert_eq!(
        names[..3],
        ["preparation", "reading_and_writing", "indexes"],
        "the times are those of the whole worker"
    );
    let sum: f64 = phases.iter().map(|time| time["seconds"].as_f64().unwrap()).sum();
    assert!((found["total_seconds"].as_f64().unwrap() - sum).abs() < 1e-6 && found["rows_per_second"].is_number());
    assert_eq!(found["tables"][0].get("total_seconds"), None);
    let again = work(&place, &manifest, &[], 0);
    assert_eq!((&again["parts"], &again["tables"][0]["outcome"]), (&Json::Array(Vec::new()), &again_outcome()));
    assert_eq!(json(&runs(&place, &["list", "--json"]).expect_code(0).stdout).as_array().unwrap().len(), 1);
}

/// Each of the two parts has three rejects.
#[test]
fn a_limit_of_rejects_applies_to_all_parts_together() {
    let bad = ["x1", "x2", "x3"].map(|age| row("Ann Lee", age, "A+", "2024-01-31", "2024-02-02")).join("\n");
    let problem = "6 rows rejected of 9806 read, more than allowed";
    // A limit in percent is checked after 10,000 rows and at the end. Both parts together have fewer rows, so both are
    // loaded before the limit is checked.
    for (limit, code, parts_loaded) in [("5", 1, 1), ("0.061%", 1, 2), ("0.062%", 4, 2)] {
        let place = Place::new("parts_limit");
        let good = fs::read(place.sample("a.csv", 4_900, "none")).unwrap();
        let sources = ["a.csv", "b.csv"].map(|name| place.write(name, [&good, bad.as_bytes()].concat()));
        let manifest = plan(&place, &[&sources[0], &sources[1]], &["--part-size", "1"]);
        let load = |options: &[&str]| place.run(&[&["load", "--manifest", text(&manifest)], options].concat());
        let run = load(&["--max-rejects", limit]).expect_code(code);
        assert_eq!(run.stderr.contains(problem), code == 1, "{limit}: {}", run.stderr);
        let id = json(&fs::read_to_string(&manifest).unwrap())["id"].as_str().unwrap().to_owned();
        let shown = json(&runs(&place, &["show", &id, "--json"]).expect_code(0).stdout);
        let loaded = shown[0]["parts"].as_array().unwrap().iter().filter(|part| part["state"] == "loaded").count();
        assert_eq!(loaded, parts_loaded, "{limit}: {shown}");
        // With the same limit, another worker stops before it loads a part. With a higher limit, the load is completed.
        if code == 1 {
            let again = load(&["--max-rejects", limit]).expect_code(1);
            assert!(again.stderr.contains(problem), "{limit}: {}", again.stderr);
            load(&["--max-rejects", "6"]).expect_code(4);
        }
    }
}

/// The test pretends that another worker is ending the load, and removes the second source. A worker that opens the
/// sources would fail.
#[test]
fn a_worker_does_not_open_the_sources_if_another_worker_ends_the_load() {
    let place = Place::new("parts_late");
    let [first, second] = ["a.csv", "b.csv"].map(|name| place.sample(name, 50, "none"));
    let manifest = plan(&place, &[&first, &second], &["--part-size", "1"]);
    work(&place, &manifest, &[], 0);
    let loads = place.collection("medlift_runs");
    let uri = shared().uri();
    let claim = block_on(async {
        let load = loads.find_one_and_update(doc! {}, doc! { "$set": { "state": "running" } }).await.unwrap().unwrap();
        let database = mongodb::Client::with_uri_str(uri).await.unwrap().database(&place.database);
        let ledger = Ledger::new(&database, "admissions", Duration::from_secs(2));
        Claim::take(&ledger, load.get_str("key").unwrap()).await.unwrap().unwrap()
    });
    fs::remove_file(&second).unwrap();
    let found = work(&place, &manifest, &["--index", "0", "--of", "2"], 0);
    assert_eq!((found["parts"].as_array().unwrap().len(), found["tables"].as_array().unwrap().len()), (0, 0));
    block_on(claim.release());
}

#[test]
fn a_worker_that_is_killed_loses_nothing() {
    let alone = Place::new("parts_kill_alone");
    let source = alone.sample("a.csv", 12_000, "typical");
    let expected = alone.load(&source, &[], 0);
    let place = Place::new("parts_kill");
    let manifest = plan(&place, &[&source], &["--part-size", "1"]);
    let uri = shared().uri();
    let first = medlift([
        "load",
        "--manifest",
        text(&manifest),
        "--uri",
        &uri,
        "--db",
        &place.database,
        "--quiet",
        "--batch-size",
        "50",
        "-j",
        "1",
    ])
    .start();
    let documents = place.documents();
    block_on(async {
        while documents.estimated_document_count().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    drop(first);
    let id = json(&fs::read_to_string(&manifest).unwrap())["id"].as_str().unwrap().to_owned();
    let shown = json(&runs(&place, &["show", &id, "--json"]).expect_code(0).stdout);
    let part = &shown[0]["parts"][0];
    assert_eq!(
        (&shown[0]["state"], &part["state"], &part["worker_has_ended"]),
        (&"running".into(), &"stalled".into(), &true.into())
    );
    assert!(part["worker"].as_str().unwrap().starts_with("process "), "{part}");
    let shown = runs(&place, &["show", &id]).expect_code(0).stdout;
    assert!(shown.contains(", since 20") && shown.contains("start workers with"), "{shown}");
    let found = work(&place, &manifest, &[], 0);
    assert_eq!(counts(&found["tables"][0], &ENDS), counts(&expected, &ENDS));
    assert_eq!(found["tables"][0]["digest"], expected["digest"]);
}

#[test]
fn several_tables_are_one_migration_and_a_spec_with_conflicts_is_one_part() {
    let place = Place::new("parts_tables");
    let spec = |name: &str, identity: &str| {
        format!(
            "name = '{name}'\ncollection = '{name}'\n[identity]\nfields = {identity}\n\
             [[field]]\nname = 'No'\ntype = 'int32'\nprivacy = 'none'\n\
             [[field]]\nname = 'Text'\ntype = 'string'\nprivacy = 'none'\n"
        )
    };
    let (person, visit) =
        (place.write("p.toml", spec("person", "'all'")), place.write("v.toml", spec("visit", "['No']")));
    let persons = place.write("person.ndjson", "{\"No\": 1, \"Text\": \"a\"}\n{\"No\": 2, \"Text\": \"b\"}\n");
    let visits = place.write("visit.csv", "No,Text\n1,a\n2,b\n1,a\n1,c\n");
    let more = place.write("visit2.csv", "No,Text\n2,z\n3,c\n");
    let manifest = plan(&place, &[&persons], &["--spec", text(&person)]);
    let manifest = {
        plan(&place, &[&visits, &more], &["--spec", text(&visit), "--add", "--part-size", "1"]);
        manifest
    };
    let again = ["plan", "--out", text(&manifest), "--add", text(&persons), "--spec", text(&person)];
    let refused = medlift(again).run().expect_code(2);
    assert!(refused.stderr.contains("already has a table for the collection person"), "{}", refused.stderr);
    // The workers need no spec.
    fs::remove_file(&person).unwrap();
    fs::remove_file(&visit).unwrap();
    let found = work(&place, &manifest, &[], 0);
    assert_eq!(found["tables"].as_array().unwrap().len(), 2);
    assert_eq!(counts(&found["tables"][0], &ENDS), [2, 2, 0, 0, 0]);
    assert_eq!(counts(&found["tables"][1], &[&ENDS[..], &["conflicts"]].concat()), [6, 3, 0, 1, 0, 2]);
    let first = place.collection("visit");
    let stored = block_on(async { first.find_one(doc! { "No": 1 }).await.unwrap().expect("stored") });
    assert_eq!(stored.get_str("Text").unwrap(), "a", "the first record is kept, as in a load by one process");
    let shown = runs(&place, &["show", found["manifest"].as_str().unwrap(), "--json"]).expect_code(0);
    let shown = json(&shown.stdout);
    assert_eq!(shown.as_array().unwrap().len(), 2);
    assert_eq!((&shown[1]["state"], &shown[1]["parts"][0]["state"]), (&"complete".into(), &"loaded".into()));
    let load = shown[0]["load"].as_str().unwrap();
    runs(&place, &["show", &load[..8]]).expect_code(0);
    let listed = json(&runs(&place, &["list", "--json"]).expect_code(0).stdout);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let unknown = runs(&place, &["show", "0123"]).expect_code(1);
    assert!(unknown.stderr.contains("no load and no manifest with the id 0123"), "{}", unknown.stderr);
}

#[test]
fn a_manifest_that_no_longer_holds_is_refused() {
    let place = Place::new("parts_refused");
    let one = |name: &str| format!("{HEADER}\n{}\n", row(name, "30", "A+", "2024-01-31", "2024-02-02"));
    let source = place.write("a.csv", one("Ann"));
    let manifest = plan(&place, &[&source], &[]);
    let load = |options: &[&str], code: i32| {
        place.run(&[&["load", "--manifest", text(&manifest)], options].concat()).expect_code(code).stderr
    };
    assert!(load(&["--finish"], 1).contains("none of its parts is loaded"));
    for (options, part) in [
        (&[text(&source)][..], "belong to medlift plan"),
        (&["--drop"], "--drop is not possible"),
        (&["--mode", "upsert"], "only --mode insert"),
        (&["--lineage"], "--lineage is not possible"),
        (&["--reload"], "--reload is not possible"),
        (&["--index", "3", "--of", "3"], "the workers have the indexes 0 to 2"),
        (&["--rejects", text(&source)], "give a directory"),
    ] {
        let refused = load(options, 2);
        assert!(refused.contains(part), "{refused}");
    }
    let out = ["plan", text(&source), "--out"];
    let replaced = medlift(out.iter().chain(&[text(&source)])).run().expect_code(2);
    assert!(replaced.stderr.contains("which is an input"), "{}", replaced.stderr);
    for typed in ["mongodb://u:pa55@h/", "u:pa55@h", "http://u:pa55@h/"] {
        let hidden = medlift(["plan", text(&source), typed, "--out", "x.json"]).run();
        assert!(!hidden.stderr.contains("pa55"), "{}", hidden.stderr);
    }
    let other = place.write("notes.txt", "notes");
    let replaced = medlift(out.iter().chain(&[text(&other)])).run().expect_code(2);
    assert!(replaced.stderr.contains("exists and is not a manifest"), "{}", replaced.stderr);
    fs::write(&source, one("Bea")).unwrap();
    let changed = load(&[], 1);
    assert!(changed.contains("was changed after the manifest was made"), "{changed}");
    assert_eq!(place.count(doc! {}), 0);
    let text_of = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text_of.replace("\"admissions\"", "\"others\"")).unwrap();
    assert!(load(&[], 1).contains("changed or damaged"));
    fs::write(&manifest, "{}").unwrap();
    assert!(load(&[], 1).contains("it is not a manifest"));
    let directory = place.run(&["load", "--manifest", text(place.dir.path())]).expect_code(2).stderr;
    assert!(directory.contains("is a directory; give the file that `medlift plan"), "{directory}");
    assert!(!directory.contains("*.csv"), "{directory}");
}

#[test]
fn a_manifest_is_replaced_only_if_the_user_asks_for_it() {
    let place = Place::new("parts_replaced");
    let (first, second) = (place.sample("a.csv", 20, "none"), place.sample("b.csv", 30, "none"));
    let manifest = plan(&place, &[&first], &[]);
    let content = fs::read(&manifest).unwrap();
    // The new manifest is equal to the existing one, so `--overwrite` is not needed.
    plan(&place, &[&first], &[]);
    let again = |options: &[&str], code: i32| {
        medlift([&["plan", text(&second), "--out", text(&manifest)], options].concat()).run().expect_code(code).stderr
    };
    let refused = again(&[], 2);
    assert!(refused.contains("a load may use it") && refused.contains("add --overwrite"), "{refused}");
    assert_eq!(fs::read(&manifest).unwrap(), content);
    for options in [&["--overwrite"][..], &["--add", "-c", "others"]] {
        let told = again(options, 0);
        assert!(told.contains("notice: manifest ") && told.contains("begin it anew"), "{told}");
    }
    assert_ne!(fs::read(&manifest).unwrap(), content);
}

#[test]
fn an_export_never_replaces_a_manifest_or_the_reject_file_of_a_part() {
    let place = Place::new("parts_originals");
    let source = place.sample("a.csv", 300, "heavy");
    let manifest = plan(&place, &[&source], &[]);
    let rejects = place.dir.path().join("rejects");
    fs::create_dir(&rejects).unwrap();
    let found = work(&place, &manifest, &["--rejects", text(&rejects)], 4);
    let file = found["tables"][0]["reject_files"][0].as_str().expect("a reject file");
    let refused = |out: &str, part: &str| {
        let before = fs::read(out).unwrap();
        let said = place.run(&["export", "--out", out]).expect_code(2).stderr;
        assert!(said.contains(part) && fs::read(out).unwrap() == before, "{said}");
    };
    refused(file, "is the reject file of load");
    refused(text(&manifest), "is a manifest");
    refused(text(&source), "is a source of load");
}

#[test]
fn a_scheduler_names_the_worker_in_a_variable() {
    let place = Place::new("parts_array");
    let source = place.sample("a.csv", 200, "none");
    let manifest = plan(&place, &[&source], &[]);
    let uri = shared().uri();
    let arguments = ["load", "--manifest", text(&manifest), "--uri", &uri, "--db", &place.database, "--quiet"];
    for (name, value, code) in
        [("SLURM_ARRAY_TASK_ID", "x", 2), ("AWS_BATCH_JOB_ARRAY_INDEX", "1", 0), ("JOB_COMPLETION_INDEX", "5", 0)]
    {
        let run = medlift(arguments).env(name, value).run().expect_code(code);
        assert!(code == 0 || run.stderr.contains(&format!("the variable {name} must be")), "{}", run.stderr);
    }
}

/// Messages of 40 patients, in the order of time, and further ones that occur twice or are damaged.
fn messages() -> String {
    let message = |number: u32| {
        let (patient, event) = (number % 40, ["ADT^A01", "ADT^A08", "ORU^R01", "ADT^A03"][number as usize / 40 % 4]);
        let time = format!("2026{:02}{:02}{:02}00", 1 + number / 672 % 12, 1 + number / 24 % 28, number % 24);
        let note = "x".repeat(600);
        format!(
            "MSH|^~\\&|A|H|||{time}||{event}|M{number}|P|2.5\rEVN||{time}\rPID|1||{patient}^^^H^MR||DOE^P{patient}||19800102|F\r\
             PV1|1|I|W{}||||||||||||||||V{patient}^^^H\rOBR|1||F{patient}^LAB|CBC\rOBX|1|NM|K^Potassium^L||{}||||||F\rNTE|1||{note}\r",
            number % 7,
            number % 9,
        )
    };
    let all: Vec<String> = (0..3_200).map(message).collect();
    [&all.concat(), "what is this\r", &all[100..150].concat()].concat()
}

/// All messages were once a single part.
#[test]
fn messages_in_parts_give_the_documents_counts_and_state_of_one_process() {
    let spec = ["--spec", "hl7v2"];
    let (alone, place) = (Place::new("parts_hl7_alone"), Place::new("parts_hl7"));
    let (large, small) = (alone.write("a.hl7", messages()), alone.write("b.hl7", messages().replace("^^^H", "^^^B")));
    let folder = alone.dir.path().join("*.hl7");
    let expected = alone.load(&folder, &spec, 4);
    let manifest = plan(&place, &[&large, &small], &[&spec[..], &["--part-size", "1"]].concat());
    let parts = json(&fs::read_to_string(&manifest).unwrap())["parts"].as_array().unwrap().len();
    assert!(parts >= 4, "{parts} parts");
    let found = work_together(&place, &manifest, 2, 4);
    let table = &found["tables"][0];
    assert_eq!(counts(table, &ENDS), counts(&expected, &ENDS), "{found}");
    assert_eq!(table["digest"], expected["digest"]);
    assert_eq!(place.state().len(), 80 + 80 + 40);
    assert_eq!(place.state(), alone.state());
    let files = table["reject_files"].as_array().unwrap().iter().map(|file| file.as_str().unwrap());
    let rejects: String = files
        .filter(|file| Path::new(file).extension().is_some_and(|end| end == "hl7"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    assert_eq!(rejects.matches("what is this").count(), 2, "{table}");
}
