//! Tests of rejected rows and of the loads after them, of conflicts and limits, and of sources and targets that a load
//! refuses.

use std::fs;

use crate::load::{ENDS, HEADER, Place, counts, row, spec_without_age, text};

#[test]
fn a_reject_with_invalid_bytes_is_rejected_again_until_it_is_corrected() {
    let place = Place::new("again");
    let good = row("Zo\u{eb} Lee", "30", "O+", "2024-01-31", "2024-02-02");
    for (name, encoding, bad) in [("utf8", "utf-8", b"Ann\xff\xfeLee"), ("1252", "windows-1252", b"Ann\x81\x8dLee")] {
        let mut bytes = format!("{HEADER}\n").into_bytes();
        let encoded: Vec<u8> = good.chars().map(|letter| letter as u8).collect();
        bytes.extend_from_slice(if name == "utf8" { good.as_bytes() } else { &encoded });
        bytes.push(b'\n');
        bytes.extend_from_slice(bad);
        bytes.extend_from_slice(&good.as_bytes()["Zo\u{eb} Lee".len()..]);
        let summary = place.load(&place.write(name, bytes), &["-c", name, "--encoding", encoding], 4);
        assert_eq!(counts(&summary, &ENDS)[4], 1, "{summary}");
        let rejects = place.dir.path().join(format!("{name}.rejects.csv"));
        let summary = place.load(&rejects, &["-c", name], 4);
        assert_eq!(counts(&summary, &ENDS), [1, 0, 0, 0, 1], "{summary}");
        assert_eq!(summary["rejects"][0]["what"], "undecodable");
        let corrected = fs::read_to_string(&rejects).unwrap().replace('\u{fffd}', "x");
        let summary = place.load(&place.write("corrected.csv", corrected), &["-c", name], 0);
        assert_eq!(counts(&summary, &ENDS), [1, 1, 0, 0, 0], "{summary}");
    }
}

#[test]
fn a_glob_pattern_does_not_match_reject_files() {
    let place = Place::new("pattern");
    place.sample("a.csv", 200, "heavy");
    let pattern = place.dir.path().join("*.csv");
    let first = place.load(&pattern, &[], 4);
    let again = place.load(&pattern, &[], 4);
    assert_eq!(again["outcome"], "already loaded, verified instead");
    assert_eq!(counts(&again, &["read", "rejected"]), counts(&first, &["read", "rejected"]));
}

#[test]
fn the_ledger_cannot_be_the_target_of_a_load() {
    let place = Place::new("ledger");
    let path = place.sample("a.csv", 10, "none");
    let refused = place.run(&["load", text(&path), "-c", "medlift_runs"]).expect_code(2);
    assert!(refused.stderr.contains("medlift_runs"), "{}", refused.stderr);
}

#[test]
fn a_header_without_rows_stops_before_anything_is_written() {
    let place = Place::new("header");
    let path = place.write("a.csv", format!("{HEADER}\n\n"));
    let stopped = place.run(&["load", text(&path)]).expect_code(1);
    assert!(stopped.stderr.contains("a.csv: there is a header and no row"), "{}", stopped.stderr);
    place.run(&["load", "--dry-run", text(&path)]).expect_code(1);
}

#[test]
fn a_record_rejected_for_a_conflict_is_not_a_difference_in_a_repeated_load() {
    let place = Place::new("refused");
    let spec = place.write("spec.toml", spec_without_age("reject"));
    let of_age = |age| format!("{HEADER}\n{}\n", row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02"));
    let options = ["--spec", text(&spec)];
    place.load(&place.write("a.csv", of_age("30")), &options, 0);
    let other = place.write("b.csv", of_age("40"));
    let first = place.load(&other, &options, 4);
    assert_eq!(counts(&first, &["rejected", "refused_for_conflict"]), [1, 1]);
    place.load(&other, &options, 4);
    place.run(&["verify", text(&other), "--spec", text(&spec)]).expect_code(5);
}

#[test]
fn verify_resolves_conflicts_by_the_mode_of_the_load() {
    let place = Place::new("settled");
    let spec = place.write("spec.toml", spec_without_age("keep-first"));
    let rows = ["30", "40"].map(|age| row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02")).join("\n");
    let path = place.write("a.csv", format!("{HEADER}\n{rows}\n"));
    place.load(&path, &["--spec", text(&spec), "--mode", "upsert"], 0);
    let verify = ["verify", text(&path), "--spec", text(&spec)];
    place.run(&verify).expect_code(5);
    place.run(&[&verify[..], &["--mode", "upsert"]].concat()).expect_code(0);
}

#[test]
fn a_dry_run_reports_that_a_load_would_stop() {
    let place = Place::new("dry");
    let path = place.sample("a.csv", 2_000, "heavy");
    let outcome = |most| place.load(&path, &["--dry-run", "--max-rejects", most], 4)["outcome"].to_string();
    assert!(outcome("1").contains("a load would stop"), "{}", outcome("1"));
    assert!(!outcome("50%").contains("a load would stop"), "{}", outcome("50%"));
}
