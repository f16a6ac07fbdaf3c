//! Tests of reject files. Two loads never write to the same reject file at the same time. A load never overwrites rows
//! that another load or a person wrote. A problem with a reject file never blocks a load for ever.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;
use testkit::mongod::Server;

use crate::bad_days::{SLOW_ROWS, SLOWLY, client, load, stop_midway, summary, wait_for_checkpoint};
use crate::load::{ENDS, HEADER, Place, counts, row, text};
use crate::program::{bash, medlift};
use crate::server::{heal, server_with_slow_inserts, slow_server};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn two_loads_of_one_source_at_the_same_time_write_two_reject_files() {
    let place = Place::new("targets");
    let path = place.long_rows("a.csv", SLOW_ROWS, "heavy");
    let server = slow_server();
    let running = load(&server, &place, text(&path), &SLOWLY).start();
    wait_for_checkpoint(&server, &place.database);
    let elsewhere = Place::new("elsewhere");
    heal(&server);
    let run = load(&server, &elsewhere, text(&path), &["--no-verify"]).run().expect_code(4);
    let file = place.dir.path().join("a.csv.rejects.csv");
    let second = place.dir.path().join("a.csv.rejects.2.csv");
    assert!(
        run.stdout.contains("a.csv.rejects.2.csv") && run.stdout.contains("was not changed"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    let run = running.wait().expect_code(4);
    assert!(!run.stdout.contains("rejects.2."), "{}", run.stdout);
    assert_eq!(read(&file), read(&second), "both files must contain all rejects");
    // If the load is repeated, it writes the same rejects again, to the same file.
    load(&server, &place, text(&path), &["--reload", "--no-verify"]).run().expect_code(4);
    assert_eq!(read(&file), read(&second));
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 3);
}

#[test]
fn rows_that_a_load_did_not_write_are_never_overwritten() {
    let place = Place::new("byhand");
    let path = place.sample("a.csv", 2_000, "heavy");
    let file = place.dir.path().join("a.csv.rejects.csv");
    place.load(&path, &[], 4);
    let rejects = read(&file);
    let corrected = rejects.replacen("out_of_range", "corrected by hand", 1);
    fs::write(&file, &corrected).unwrap();
    let bits = || std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777;
    Command::new("chmod").args(["640", text(&file)]).status().unwrap();
    let again = place.load(&path, &["--reload"], 4);
    assert_eq!(read(&file), corrected);
    let second = place.dir.path().join("a.csv.rejects.2.csv");
    assert_eq!(read(&second), rejects);
    assert_eq!(again["reject_files"][0].as_str(), second.to_str());
    // A file that `--rejects` names is refused if it contains rows that this load did not write, also in a dry run.
    for options in [&["--reload"][..], &["--dry-run"]] {
        let run = place.run(&[&["load", text(&path), "--rejects", text(&file)], options].concat()).expect_code(1);
        assert!(run.stderr.contains("it contains rows that this load did not write"), "{}", run.stderr);
        assert_eq!(read(&file), corrected);
        assert_eq!(bits(), 0o640);
    }
}

#[test]
fn a_directory_gets_one_reject_file_per_source_even_if_two_sources_have_the_same_name() {
    let place = Place::new("directory");
    let rejects = place.dir.path().join("rejects");
    let other = place.dir.path().join("other");
    fs::create_dir(&rejects).unwrap();
    fs::create_dir(&other).unwrap();
    let table = |age: &str| format!("{HEADER}\n{}\n", row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02"));
    let one = place.write("a.csv", table("x1"));
    let two = place.write("other/a.csv", table("x2"));
    let load = || place.run(&["load", text(&one), text(&two), "--rejects", text(&rejects), "--json"]).expect_code(4);
    let summary = summary(&load());
    assert_eq!(summary["notes"], serde_json::json!([]));
    let expected = ["a.csv.rejects.csv", "a.csv.rejects.2.csv"].map(|name| rejects.join(name));
    assert_eq!(summary["reject_files"], serde_json::json!(expected));
    let found = expected.each_ref().map(|file| read(file));
    assert!(found[0].contains("x1") && !found[0].contains("x2") && found[1].contains("x2"), "{found:?}");
    // A third source with the same name does not replace the rejects of the first two.
    fs::write(&one, table("x3")).unwrap();
    let third = place.run(&["load", text(&one), "--rejects", text(&rejects)]).expect_code(4);
    assert!(third.stdout.contains("a.csv.rejects.3.csv"), "{}", third.stdout);
    assert_eq!(expected.each_ref().map(|file| read(file)), found);
    // A path that ends with a slash is a directory, and must exist.
    let absent = place.dir.path().join("absent/");
    let refused = place.run(&["load", text(&two), "--reload", "--rejects", text(&absent)]).expect_code(1);
    assert!(refused.stderr.contains("absent/a.csv.rejects.csv"), "{}", refused.stderr);
}

#[test]
fn a_resumed_load_continues_its_reject_file_and_keeps_rows_of_others() {
    let place = Place::new("resumes");
    let path = place.long_rows("a.csv", SLOW_ROWS, "heavy");
    let file = place.dir.path().join("a.csv.rejects.csv");
    let server = slow_server();
    let killed = load(&server, &place, text(&path), &SLOWLY).start();
    stop_midway(killed, &server, &place.database, "KILL");
    let left = read(&file);
    // A dry run must not overwrite the file of the interrupted load.
    let dry = medlift(["load", "-n", text(&path), "--rejects", text(&file)]).run().expect_code(1);
    assert!(dry.stderr.contains("did not write"), "{}", dry.stderr);
    assert_eq!(read(&file), left);
    // Somebody corrects the file by hand. The load stops.
    let edited = left.replacen('\n', "\n# corrected\n", 1);
    fs::write(&file, &edited).unwrap();
    let refused = load(&server, &place, text(&path), &SLOWLY).run().expect_code(1);
    assert!(refused.stderr.contains("the file has changed since this load was interrupted"), "{}", refused.stderr);
    assert_eq!(read(&file), edited);
    // The file is as the load left it, but another program has added a row at its end. The load continues, and moves
    // that row to another file.
    fs::write(&file, format!("{left}somebody's\n")).unwrap();
    let run = load(&server, &place, text(&path), &["--no-verify"]).run().expect_code(4);
    assert!(run.stdout.contains("were moved to"), "{}", run.stdout);
    let moved = read(&place.dir.path().join("a.csv.rejects.2.csv"));
    assert!(moved.ends_with("somebody's\n"), "{moved}");
    let whole = medlift(["load", "-n", text(&path), "--rejects", text(&place.dir.path().join("dry"))]).run();
    assert_eq!(whole.code, Some(4));
    assert_eq!(read(&file), read(&place.dir.path().join("dry")));
}

#[test]
fn a_load_whose_reject_file_is_missing_starts_from_the_beginning_and_reports_it() {
    let place = Place::new("missing");
    let path = place.long_rows("a.csv", SLOW_ROWS, "heavy");
    let file = place.dir.path().join("a.csv.rejects.csv");
    let server = slow_server();
    let killed = load(&server, &place, text(&path), &SLOWLY).start();
    stop_midway(killed, &server, &place.database, "KILL");
    fs::remove_file(&file).unwrap();
    let run = load(&server, &place, text(&path), &["--no-verify"]).run().expect_code(4);
    let summary: Json = serde_json::from_str(&run.stdout).unwrap();
    assert!(summary["notes"].to_string().contains("is missing"), "{summary}");
    let rejected = usize::try_from(counts(&summary, &["rejected"])[0]).unwrap();
    assert!(read(&file).lines().count() > rejected, "the new file must contain all rejects");
}

#[test]
fn a_load_that_a_full_disk_has_stopped_can_be_finished_with_the_same_command() {
    let place = Place::new("full");
    let path = place.sample("a.csv", 8_000, "heavy");
    let small = place.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let mount =
        |options: &str| Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", text(&small)]).status();
    if !mount("size=16k").is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not mount a tmpfs, which simulates a full disk");
        return;
    }
    let server = Server::builder().start().expect("a mongod");
    let file = small.join("r.csv");
    let options = ["--rejects", text(&file), "--run-size", "1", "--no-verify"];
    let full = load(&server, &place, text(&path), &options).run();
    let grown = mount("remount,size=64m");
    let again = load(&server, &place, text(&path), &options).run();
    let rejects = read(&file);
    let unmounted = Command::new("umount").arg(&small).status();
    assert!(grown.is_ok() && unmounted.is_ok());
    full.expect_code(1);
    let summary: Json = serde_json::from_str(&again.expect_code(4).stdout).unwrap();
    let dry = medlift(["load", "-n", text(&path), "--json"]).run();
    let dry: Json = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!(summary["counts"]["written"], dry["counts"]["written"], "{summary}");
    assert_eq!(rejects.lines().count() as u64, 1 + counts(&summary, &["rejected"])[0]);
}

#[test]
fn a_source_under_another_name_is_refused_as_reject_file() {
    let place = Place::new("links");
    let path = place.sample("a.csv", 50, "heavy");
    let before = read(&path);
    let hard = place.dir.path().join("hard");
    fs::hard_link(&path, &hard).unwrap();
    let soft = place.dir.path().join("soft");
    std::os::unix::fs::symlink(&path, &soft).unwrap();
    let dotted = place.dir.path().join(".").join("a.csv");
    for name in [&hard, &soft, &dotted] {
        let run = place.run(&["load", text(&path), "--rejects", text(name)]).expect_code(2);
        assert!(run.stderr.contains("names a source"), "{}", run.stderr);
        assert_eq!(read(&path), before);
    }
    // A link to the source has the default name of the reject file. The load uses the next name, so that it does not
    // overwrite the source.
    fs::hard_link(&path, place.dir.path().join("a.csv.rejects.csv")).unwrap();
    place.load(&path, &["--no-verify"], 4);
    assert_eq!(read(&path), before);
    assert!(place.dir.path().join("a.csv.rejects.2.csv").exists());
}

#[test]
fn rejects_can_be_written_to_a_device_whose_mode_stays() {
    let place = Place::new("device");
    let path = place.sample("a.csv", 2_000, "heavy");
    let device = place.dir.path().join("null");
    let made = Command::new("mknod").args(["-m", "666", text(&device), "c", "1", "3"]).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not create a device");
        return;
    }
    place.load(&path, &["--rejects", text(&device)], 4);
    place.load(&path, &["--rejects", text(&device), "--reload"], 4);
    let bits = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&device).unwrap().permissions());
    assert_eq!(bits & 0o777, 0o666);
}

#[test]
fn many_sources_need_few_open_files() {
    let place = Place::new("many");
    let bad = row("Bea Lee", "999", "O+", "2024-01-31", "2024-02-02");
    for number in 0..300 {
        let good = row("Ann Lee", &(number % 100).to_string(), "O+", "2024-01-31", "2024-02-02");
        place.write(&format!("{number:03}.csv"), format!("{HEADER}\n{good}\n{bad}\n"));
    }
    let uri = crate::server::shared().uri();
    let script = format!(
        "ulimit -n 128; exec {} load '*.csv' --uri '{uri}' --db {} --json",
        env!("CARGO_BIN_EXE_medlift"),
        place.database
    );
    let run = bash(&script).current_dir(place.dir.path()).output().unwrap();
    assert_eq!(run.status.code(), Some(4), "{}", String::from_utf8_lossy(&run.stderr));
    let summary: Json = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(counts(&summary, &["read", "rejected"]), [600, 300]);
    assert_eq!(summary["reject_files"].as_array().unwrap().len(), 300);
    let name = place.dir.path().join("299.csv.rejects.csv");
    assert!(read(&name).contains("out_of_range"));
    drop(client(crate::server::shared()));
}

#[test]
fn a_load_that_starts_from_the_beginning_writes_every_reject_once() {
    let place = Place::new("anew");
    let one = place.sample("a.csv", 15_000, "heavy");
    place.long_rows("b.csv", SLOW_ROWS, "heavy");
    let pattern = place.dir.path().join("?.csv");
    let server = server_with_slow_inserts(60);
    let killed = load(&server, &place, text(&pattern), &SLOWLY).start();
    let first = place.dir.path().join("a.csv.rejects.csv");
    let second = place.dir.path().join("b.csv.rejects.csv");
    let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while read(&second).lines().count() < 100 {
        assert!(std::time::Instant::now() < until, "expected 100 lines in the second reject file within a minute");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    killed.signal("KILL");
    killed.wait();
    fs::remove_file(&second).unwrap();
    load(&server, &place, text(&pattern), &["--no-verify"]).run().expect_code(4);
    let dry = place.dir.path().join("dry");
    medlift(["load", "-n", text(&one), "--rejects", text(&dry)]).run().expect_code(4);
    assert_eq!(read(&first), read(&dry));
}

#[test]
fn a_disk_that_is_full_at_the_first_reject_does_not_prevent_a_resume() {
    let place = Place::new("nospace");
    let rows = |number: u32| {
        row("Ann Lee", if number == 49_999 { "999" } else { "30" }, "O+", "2024-01-31", "2024-02-02")
            .replace("10.5", &number.to_string())
    };
    let rows: Vec<String> = (0..50_000).map(rows).collect();
    let path = place.write("a.csv", format!("{HEADER}\n{}\n", rows.join("\n")));
    let small = place.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    // On this full disk, the reject file can be created, but no byte can be written to it.
    let mount =
        |options: &str| Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs", text(&small)]).status();
    if !mount("size=4k").is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not mount a tmpfs, which simulates a full disk");
        return;
    }
    fs::write(small.join("filler"), [0; 4096]).unwrap();
    let server = Server::builder().start().expect("a mongod");
    let file = small.join("r.csv");
    let options = ["--rejects", text(&file), "--run-size", "1", "--no-verify"];
    let full = load(&server, &place, text(&path), &options).run();
    fs::remove_file(small.join("filler")).unwrap();
    let again = load(&server, &place, text(&path), &options).run();
    let unmounted = Command::new("umount").arg(&small).status();
    assert!(unmounted.is_ok());
    let full = full.expect_code(1);
    assert!(full.stderr.contains("the disk is full") && !full.stderr.contains(" 0 documents"), "{}", full.stderr);
    let summary: Json = serde_json::from_str(&again.expect_code(4).stdout).unwrap();
    assert_eq!(summary["notes"].as_array().unwrap().len(), 0, "{summary}");
    assert_eq!(counts(&summary, &["written", "already_present", "rejected"]), [49_999, 0, 1]);
}

#[test]
fn a_reject_file_that_is_replaced_during_the_load_stops_the_load() {
    let place = Place::new("swapped");
    let path = place.long_rows("a.csv", SLOW_ROWS, "heavy");
    let file = place.dir.path().join("a.csv.rejects.csv");
    let whole = place.load(&path, &["--no-verify"], 4);
    let rejects = read(&file);
    fs::remove_file(&file).unwrap();
    let server = slow_server();
    let running = load(&server, &place, text(&path), &SLOWLY).start();
    wait_for_checkpoint(&server, &place.database);
    // Replaces the reject file by a copy. The load still writes to the moved file. The copy has all rows that the
    // ledger counts at this time.
    let moved = place.dir.path().join("moved");
    fs::rename(&file, &moved).unwrap();
    fs::copy(&moved, &file).unwrap();
    heal(&server);
    let stopped = running.wait().expect_code(1);
    assert!(stopped.stderr.contains("moved or replaced"), "{}", stopped.stderr);
    // Some rejects were written to the moved file after the copy was made. The ledger does not count them. So the next
    // load writes them again, to the copy.
    let resumed = summary(&load(&server, &place, text(&path), &SLOWLY).run().expect_code(4));
    assert_eq!(counts(&resumed, &ENDS), counts(&whole, &ENDS), "{resumed}");
    assert_eq!(resumed["verification"]["missing"], 0, "{resumed}");
    assert_eq!(read(&file), rejects, "the file that replaced the first one must contain all rejects");
}

#[test]
fn an_unfinished_load_starts_from_the_beginning_with_reload_or_another_version() {
    let place = Place::new("again");
    let path = place.long_rows("a.csv", SLOW_ROWS, "typical");
    for how in ["reload", "version"] {
        let server = slow_server();
        let options = [&SLOWLY[..], &["--drop", "--yes"]].concat();
        let killed = load(&server, &place, text(&path), &options).start();
        stop_midway(killed, &server, &place.database, "KILL");
        let ledger: mongodb::Collection<bson::Document> =
            client(&server).database(&place.database).collection("medlift_runs");
        if how == "version" {
            let other = bson::doc! { "$set": { "version": "0.0.1" } };
            crate::load::block_on(async { ledger.update_many(bson::doc! {}, other).await.unwrap() });
        }
        let options: &[&str] = if how == "reload" { &["--reload"] } else { &[] };
        let run = load(&server, &place, text(&path), options).run().expect_code(0);
        assert!(run.stdout.contains("is not resumed, because"), "{how}: {}", run.stdout);
        crate::load::block_on(async { ledger.drop().await.unwrap() });
    }
}

#[test]
fn rejects_of_a_reject_file_have_a_short_name_and_no_pattern_matches_them() {
    let place = Place::new("rejects_of_rejects");
    let table = format!("{HEADER}\n{}\n", row("Ann Lee", "x", "O+", "2024-01-31", "2024-02-02"));
    place.load(&place.write("a.csv", table), &[], 4);
    for (source, rejects) in
        [("a.csv.rejects.csv", "a.csv.rejects.2.csv"), ("a.csv.rejects.2.csv", "a.csv.rejects.3.csv")]
    {
        // A corrected file has new content, and is therefore a new source.
        let path = place.dir.path().join(source);
        fs::write(&path, read(&path).replace("Ann Lee", source)).unwrap();
        let summary = place.load(&path, &[], 4);
        assert_eq!(summary["reject_files"], serde_json::json!([place.dir.path().join(rejects)]));
    }
    let all = place.run(&["load", "--dry-run", text(&place.dir.path().join("*.csv")), "--json"]).expect_code(4);
    assert_eq!(summary(&all)["sources"].as_array().unwrap().len(), 1, "{}", all.stdout);
}

#[test]
fn another_spelling_of_the_path_is_the_same_source_with_the_same_reject_file() {
    let place = Place::new("spelling");
    let line = |age: &str| row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02");
    let table = format!("{HEADER}\n{}\n{}\n", line("x"), line("31"));
    place.write("a.csv", table);
    let uri = crate::server::shared().uri();
    let load = |source: &str, options: &[&str]| {
        let arguments = ["load", source, "--uri", &uri, "--db", &place.database, "--json", "--quiet"];
        summary(&medlift(arguments.iter().chain(options)).dir(place.dir.path()).run().expect_code(4))
    };
    load("a.csv", &[]);
    let again = load("./a.csv", &[]);
    assert_eq!(again["outcome"], "already loaded, verified instead");
    assert_eq!(again["reject_files"], serde_json::json!(["./a.csv.rejects.csv"]));
    assert_eq!(load("./a.csv", &["--reload"])["notes"], serde_json::json!([]));
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_repeated_load_names_a_reject_file_that_was_corrected_by_hand_or_removed() {
    let place = Place::new("corrected");
    let line = |age: &str| row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02");
    let table = format!("{HEADER}\n{}\n{}\n", line("x"), line("31"));
    let path = place.write("a.csv", table);
    let file = place.dir.path().join("a.csv.rejects.csv");
    place.load(&path, &[], 4);
    fs::write(&file, read(&file).replace("Lee,x", "Lee,30")).unwrap();
    let note = |summary: &Json| summary["notes"][0].as_str().unwrap_or_default().to_owned();
    let changed = note(&place.load(&path, &[], 4));
    assert!(changed.contains(&format!("`medlift load {}`", text(&file))), "{changed}");
    fs::remove_file(&file).unwrap();
    let removed = note(&place.load(&path, &[], 4));
    assert!(removed.contains(text(&file)) && removed.contains("--reload writes it again"), "{removed}");
}

#[test]
fn the_summary_names_the_source_of_each_reject_file() {
    let place = Place::new("of_source");
    fs::create_dir(place.dir.path().join("b")).unwrap();
    let table = |age: &str| format!("{HEADER}\n{}\n", row("Ann Lee", age, "O+", "2024-01-31", "2024-02-02"));
    let (one, two) = (place.write("a.csv", table("x")), place.write("b/a.csv", table("y")));
    let run = place.run(&["load", text(&one), text(&two)]).expect_code(4);
    for source in [&one, &two] {
        let expected = format!("  rejects of {0} are in {0}.rejects.csv\n", text(source));
        assert!(run.stdout.contains(&expected), "{}", run.stdout);
    }
}

#[test]
fn the_variable_for_rejects_may_be_empty_or_in_the_env_file() {
    let dir = tempfile::tempdir().unwrap();
    let table = format!("{HEADER}\n{}\n", row("Ann Lee", "x", "O+", "2024-01-31", "2024-02-02"));
    fs::write(dir.path().join("a.csv"), table).unwrap();
    let load = |value: &str| {
        let run = medlift(["load", "-n", "a.csv", "--json"]).dir(dir.path()).env("MEDLIFT_REJECTS", value).run();
        summary(&run.expect_code(4))["reject_files"].clone()
    };
    assert_eq!(load(""), serde_json::json!([]));
    assert_eq!(load("r.csv"), serde_json::json!(["r.csv"]));
    fs::write(dir.path().join(".env"), "MEDLIFT_REJECTS=of_env.csv\n").unwrap();
    assert_eq!(load(""), serde_json::json!(["of_env.csv"]));
    assert_eq!(load("r2.csv"), serde_json::json!(["r2.csv"]));
    let refused = medlift(["load", "-n", "a.csv"]).dir(dir.path()).env("MEDLIFT_REJECTS", "mongodb://u:pa55@h").run();
    assert!(refused.code == Some(2) && !refused.stderr.contains("pa55"), "{}", refused.stderr);
}
