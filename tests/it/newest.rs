//! Tests of `on_conflict = "newest"`: of the records with the same identity, the newest is stored, in whatever order
//! they are loaded.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bson::{Bson, Document, doc};
use serde_json::Value as Json;

use crate::bad_days::{self, SLOW_ROWS, SLOWLY, stop_midway, summary};
use crate::load::{Place, block_on, counts, text};
use crate::server::{shared, slow_server};

const SPEC: &str = r#"
name = "stays"
collection = "stays"

[identity]
fields = ["No"]
on_conflict = "newest"
order_by = "changed.at"

[[field]]
name = "No"
type = "int32"
privacy = "none"

[[field]]
name = "Ward"
type = "string"
privacy = "none"

[[field]]
name = "changed.at"
column = "At"
type = "datetime"
presence = "nullable"
privacy = "none"
"#;

/// Three extracts. The newest record of stay 1 is in the second extract. The record of stay 2 has no time in the first
/// extract. Stay 3 has different records with the same time, and stay 5 different records without a time. Stay 4 has
/// several records, some of them twice, not in the order of their times.
const EXTRACTS: [&str; 3] = [
    "No,Ward,At\n1,old,2026-01-01T08:00\n2,none,\n3,one,2026-01-03T08:00\n4,x,2026-01-02T08:00\n4,x,2026-01-02T08:00\n",
    "No,Ward,At\n4,z,2026-01-04T08:00\n1,new,2026-01-03T08:00\n3,two,2026-01-03T08:00\n4,y,2026-01-03T08:00\n5,i,\n",
    "No,Ward,At\n2,some,1969-01-01T08:00\n1,mid,2026-01-02T08:00\n3,three,2026-01-03T08:00\n4,x,2026-01-02T08:00\n5,j,\n",
];

struct Extracts {
    place: Place,
    spec: PathBuf,
    files: Vec<PathBuf>,
}

impl Extracts {
    fn new(purpose: &str) -> Self {
        let place = Place::new(purpose);
        let spec = place.write("spec.toml", SPEC);
        let files = (0..).zip(EXTRACTS).map(|(at, rows)| place.write(&format!("{at}.csv"), rows)).collect();
        Self { place, spec, files }
    }

    /// Loads extracts into a collection, and returns the summary.
    fn load(&self, files: &[usize], collection: &str, options: &[&str]) -> Json {
        let files: Vec<&str> = files.iter().map(|&file| text(&self.files[file])).collect();
        let common = ["--json", "--spec", text(&self.spec), "-c", collection];
        let run = self.place.run(&[&["load"], &files[..], &common, options].concat()).expect_code(0);
        let summary: Json = serde_json::from_str(&run.stdout).unwrap();
        let all = counts(&summary, &["read", "written", "already_present", "duplicates", "rejected", "conflicts"]);
        assert_eq!(all[0], all[1..].iter().sum::<u64>(), "{summary}");
        summary
    }

    fn documents(&self, collection: &str) -> BTreeSet<String> {
        let documents = self.place.collection(collection);
        block_on(async move {
            let mut cursor = documents.find(doc! {}).await.unwrap();
            let mut found = BTreeSet::new();
            while cursor.advance().await.unwrap() {
                found.insert(format!("{:?}", cursor.current()));
            }
            found
        })
    }

    fn ward(&self, collection: &str, stay: i32) -> Bson {
        let documents = self.place.collection(collection);
        let found = block_on(async move { documents.find_one(doc! { "No": stay }).await.unwrap() });
        found.expect("the stay is stored").get("Ward").expect("a ward").clone()
    }
}

const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn the_newest_records_are_stored_whatever_the_order_of_the_loads() {
    let extracts = Extracts::new("newest_order");
    // All extracts in one load: the order of the files, rows and blocks does not matter either.
    extracts.load(&[0, 1, 2], "stays", &["--no-verify"]);
    let expected = extracts.documents("stays");
    assert_eq!([1, 2, 4].map(|stay| extracts.ward("stays", stay)), ["new", "some", "z"].map(Bson::from));
    for (at, order) in PERMUTATIONS.into_iter().enumerate() {
        let together = format!("together{at}");
        let found = extracts.load(&order, &together, &[]);
        assert_eq!((extracts.documents(&together), counts(&found, &["written"])), (expected.clone(), vec![5]));
        assert_eq!(found["verification"]["superseded"], 0, "{found}");
        let apart = format!("apart{at}");
        for extract in order {
            extracts.load(&[extract], &apart, &[]);
        }
        assert_eq!(extracts.documents(&apart), expected, "{order:?}");
    }
}

#[test]
fn an_older_record_is_a_conflict_and_a_newer_one_replaces() {
    let extracts = Extracts::new("newest_counts");
    let names = ["written", "replaced", "already_present", "duplicates", "conflicts"];
    let first = extracts.load(&[1], "stays", &[]);
    // Stay 4 has two records, of which the first is the newer one.
    assert_eq!(counts(&first, &names), [4, 0, 0, 0, 1]);
    let older = extracts.load(&[0], "stays", &[]);
    // The record of stay 2 is new. Those of stays 1 and 4 are older than the stored ones. The digests decide which
    // record of stay 3 is stored.
    let [written, replaced, present, duplicates, conflicts] = counts(&older, &names)[..] else { panic!("{older}") };
    assert_eq!((written - replaced, present, duplicates, written + conflicts), (1, 0, 1, 4), "{older}");
    assert!(replaced <= 1, "{older}");
    let proof = &older["verification"];
    assert_eq!((&proof["missing"], &proof["different"], &proof["kept_out"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(proof["superseded"], 3 - replaced, "{older}");
    let again = extracts.load(&[1], "stays", &["--reload"]);
    assert_eq!(counts(&again, &["replaced", "already_present", "conflicts"]), [0, 4 - replaced, 1 + replaced]);
}

#[test]
fn verify_accepts_newer_documents_and_reports_older_ones() {
    let extracts = Extracts::new("newest_verify");
    extracts.load(&[0], "stays", &[]);
    let verify = |file: usize, code| {
        let arguments = ["verify", text(&extracts.files[file]), "--spec", text(&extracts.spec), "--ignore-extra"];
        extracts.place.run(&arguments).expect_code(code).stdout
    };
    let line = |name: &str, count: u32| format!("  {name:<20}{count:>12}\n");
    let stale = verify(1, 5);
    assert!(stale.contains(&line("missing", 1)) && stale.contains("in Ward, changed.at"), "{stale}");
    extracts.load(&[1, 2], "stays", &[]);
    let found = verify(0, 0);
    let is_newest = extracts.ward("stays", 3) == Bson::from("one");
    assert!(found.contains(&line("superseded", 4 - u32::from(is_newest))), "{found}");
    assert!(found.starts_with("verified: the collection contains all accepted rows of the source, except"), "{found}");
    let stays = extracts.place.collection("stays");
    block_on(async move {
        let older = doc! { "$set": { "changed.at": bson::DateTime::from_millis(0) } };
        stays.update_one(doc! { "No": 1 }, older).bypass_document_validation(true).await.unwrap();
    });
    assert!(verify(1, 5).contains(&line("different", 1)));
}

/// Changes all documents, and then verifies the first extract. `different` is the number of documents that must be
/// reported as different. All others must be reported as superseded.
#[track_caller]
fn check_changed(extracts: &Extracts, change: Document, different: u64) {
    let stays = extracts.place.collection("stays");
    block_on(async move {
        let all = stays.update_many(doc! {}, doc! { "$set": change }).bypass_document_validation(true);
        all.await.unwrap();
    });
    let common = [text(&extracts.files[0]), "--json", "--ignore-extra", "--spec", text(&extracts.spec)];
    let run = extracts.place.run(&[&["verify"], &common[..]].concat()).expect_code(if different > 0 { 5 } else { 0 });
    let proof: Json = serde_json::from_str(&run.stdout).unwrap();
    let all = proof["expected"].as_u64().unwrap();
    let found = ["different", "superseded"].map(|name| proof[name].as_u64().unwrap());
    assert_eq!(found, [different, all - different], "{proof}");
    let named = proof["listed"].as_array().unwrap().iter().filter(|listed| listed["fields"] != serde_json::json!([]));
    assert_eq!(named.count() as u64, different, "{proof}");
}

#[test]
fn a_newer_document_is_a_difference_unless_another_load_can_have_stored_it() {
    let extracts = Extracts::new("newest_nobody");
    extracts.load(&[0], "stays", &[]);
    let load = ["load", text(&extracts.files[0]), "--json", "--spec", text(&extracts.spec)];
    // The times do not change here. Of two versions with the same time, the one with the greater digest is newer. So
    // some of the changed documents are newer than their records, and some are older. All must be differences, because
    // no other load can have stored them.
    for ward in ["p", "q", "r"] {
        check_changed(&extracts, doc! { "Ward": ward }, 4);
        let proof = &summary(&extracts.place.run(&load).expect_code(5))["verification"];
        assert_eq!((&proof["different"], &proof["superseded"]), (&4.into(), &0.into()), "{proof}");
    }
    let later = doc! { "changed.at": bson::DateTime::from_millis(1_800_000_000_000) };
    check_changed(&extracts, later.clone(), 4);
    // Without loads in the ledger, a document counts as newer only if its time is later.
    let ledger = extracts.place.collection("medlift_runs");
    block_on(async move { ledger.delete_many(doc! {}).await.unwrap() });
    check_changed(&extracts, later, 0);
    // Stay 2 has no time in the source. So even this early time counts as later, and the document of stay 2 is newer.
    // The other three documents are older, so they are differences.
    let earlier = bson::DateTime::from_millis(0);
    check_changed(&extracts, doc! { "changed.at": earlier }, 3);
}

#[test]
fn upsert_stores_the_last_record() {
    let extracts = Extracts::new("newest_upsert");
    extracts.load(&[1], "stays", &[]);
    extracts.load(&[0], "stays", &["--mode", "upsert"]);
    assert_eq!(extracts.ward("stays", 1), Bson::from("old"));
}

#[test]
fn the_dry_run_has_the_counts_of_a_load() {
    let extracts = Extracts::new("newest_dry");
    let dry = extracts.load(&[2, 0, 1], "stays", &["--dry-run"]);
    let loaded = extracts.load(&[2, 0, 1], "stays", &[]);
    assert_eq!((&dry["counts"], dry["counts"]["conflicts"].as_u64()), (&loaded["counts"], Some(8)), "{dry}");
}

/// Returns `rows` rows with several versions of each stay, not in the order of their times. The documents are so long
/// that there are several chunks of 1 MiB.
fn versions(rows: u32, stays: u32, salt: u32) -> String {
    let versions = (0..rows).map(|row| {
        let mixed = (row ^ salt).wrapping_mul(2_654_435_761) >> 8;
        let (stay, day, ward) = (mixed % stays, mixed / 1_000 % 28 + 1, mixed / 50_000 % 3);
        format!("{stay},{ward} {},2026-01-{day:02}T08:00\n", "x".repeat(500))
    });
    std::iter::once("No,Ward,At\n".to_owned()).chain(versions).collect()
}

#[test]
fn loads_at_the_same_time_store_the_newest_records() {
    let extracts = Extracts::new("newest_same_time");
    let place = &extracts.place;
    let files = [1, 2].map(|salt| place.write(&format!("{salt}.csv"), versions(4_000, 1_000, salt)));
    let load = |files: &[&str], collection: &str, options: &[&str]| {
        let common = ["--spec", text(&extracts.spec), "-c", collection, "--quiet", "--db", &place.database];
        let arguments = [&["load"], files, &common, options].concat();
        crate::program::medlift(arguments).env("MONGODB_URI", shared().uri()).start()
    };
    let small = ["--run-size", "1", "--batch-size", "50", "--no-verify"];
    let running = files.each_ref().map(|file| load(&[text(file)], "both", &small));
    for running in running {
        running.wait().expect_code(0);
    }
    load(&[text(&files[1]), text(&files[0])], "alone", &[]).wait().expect_code(0);
    assert_eq!(extracts.documents("both"), extracts.documents("alone"));
}

#[test]
fn a_killed_load_is_resumed_and_stores_the_newest_records() {
    let extracts = Extracts::new("newest_killed");
    let place = &extracts.place;
    let path = place.write("versions.csv", versions(SLOW_ROWS, 10_000, 7));
    let spec = SPEC.replace("\"stays\"", "\"admissions\"");
    let spec = place.write("slow.toml", spec.replace("[\"No\"]", "[\"No\", \"Ward\"]"));
    let whole = place.load(&path, &["--spec", text(&spec)], 0);
    let server = slow_server();
    let options = [&SLOWLY[..], &["--spec", text(&spec)]].concat();
    let running = bad_days::load(&server, place, text(&path), &options).start();
    stop_midway(running, &server, &place.database, "KILL");
    let resumed = summary(&bad_days::load(&server, place, text(&path), &options).run().expect_code(0));
    assert!(resumed["continued_after"].as_u64().is_some_and(|rows| rows > 0), "{resumed}");
    for name in ["read", "written", "already_present", "rejected"] {
        assert_eq!(resumed["counts"][name], whole["counts"][name], "{name}: {resumed}");
    }
    let of_repeats = |summary: &Json| counts(summary, &["duplicates", "conflicts"]).iter().sum::<u64>();
    assert_eq!(of_repeats(&resumed), of_repeats(&whole));
    for name in ["expected", "equal", "source_digest", "collection_digest"] {
        assert_eq!(resumed["verification"][name], whole["verification"][name], "{name}");
    }
}
