//! Tests of what a user sees while a command runs: the line on a terminal, the lines in a log, and the times in the
//! summary.

use std::process::Output;
use std::time::Instant;

use bson::{Document, doc};
use serde_json::Value as Json;

use crate::load::{Place, text};
use crate::program::{bash, medlift};
use crate::server::{Server, delay, fail_point, heal, server_with_fail_points};

/// The width of the terminal.
const COLUMNS: usize = 60;

/// Loads a file on a terminal, in a new database. Returns the texts that the terminal displayed.
fn load_on_a_terminal(server: &Server, path: &str, database: &str) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_medlift");
    let command = format!("stty rows 24 cols {COLUMNS}; {program} load {path} --db {database}");
    // `script` runs the command on a new terminal. It reads from `/dev/null`, so that it does not copy the test's input
    // to this terminal.
    let script = format!("timeout 60 script -qec '{command}' /dev/null </dev/null");
    let run: Output =
        bash(&script).env("TERM", "xterm").env("MONGODB_URI", server.uri()).output().expect("`script` runs");
    let shown = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success(), "{shown}");
    texts(&shown)
}

/// Splits the output at CR and LF: each text begins in the first column of the terminal. Removes escape sequences such
/// as `\x1b[K`.
fn texts(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = shown;
    while let Some((before, command)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = command.trim_start_matches(|sign: char| !sign.is_ascii_alphabetic()).get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain.split(['\r', '\n']).map(str::to_owned).collect()
}

/// The texts that show the progress: they begin with a spinner.
fn progress(texts: &[String]) -> Vec<&str> {
    texts
        .iter()
        .filter(|text| text.chars().next().is_some_and(|sign| !sign.is_ascii()))
        .map(|text| text.trim())
        .collect()
}

#[test]
fn a_terminal_of_60_columns_shows_the_phases_of_a_load_and_that_the_server_is_gone() {
    let place = Place::new("terminal");
    let path = place.sample("a.csv", 1_000, "none");
    let server = server_with_fail_points();
    let slow = format!("{}_slow", place.database);
    let commands = ["insert", "createIndexes", "collMod", "find"];
    delay(&server, doc! { "failCommands": &commands[..], "namespace": format!("{slow}.admissions") }, 300);
    let shown = load_on_a_terminal(&server, text(&path), &slow);
    let lines = progress(&shown);
    for part in ["preparation: ", "writing: 1,000 rows", "indexes: ", "validator: ", "verification: "] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    }
    let too_wide = lines.iter().find(|line| line.chars().count() >= COLUMNS);
    assert!(too_wide.is_none(), "{too_wide:?}");
    heal(&server);

    let lost: Document = doc! { "failCommands": ["insert"], "closeConnection": true, "appName": "medlift" };
    fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": { "times": 5 }, "data": lost });
    let shown = load_on_a_terminal(&server, text(&path), &format!("{}_lost", place.database));
    let lines = progress(&shown);
    assert!(lines.iter().any(|line| line.contains("server gone, retrying for ")), "{lines:#?}");
}

#[test]
fn a_log_gets_a_line_every_ten_seconds_unless_the_command_is_quiet() {
    let place = Place::new("log");
    let path = place.sample("a.csv", 1_000, "none");
    // The source does not end for 11 seconds.
    let run = |options: &str| {
        let program = env!("CARGO_BIN_EXE_medlift");
        let script = format!("(cat {}; sleep 11) | timeout 60 {program} load --dry-run - {options}", text(&path));
        bash(&script).current_dir(place.dir.path()).output().expect("bash runs")
    };
    let (loud, quiet) = std::thread::scope(|scope| {
        let quiet = scope.spawn(|| run("--quiet"));
        (run(""), quiet.join().unwrap())
    });
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(loud.status.success() && quiet.status.success(), "{loud:?} {quiet:?}");
    let shown = text(&loud);
    assert!(shown.starts_with("medlift: preparation: ") && shown.lines().count() == 1, "{shown}");
    assert_eq!(text(&quiet), "");
}

#[test]
fn the_times_of_the_phases_add_up_to_the_time_of_the_command() {
    let place = Place::new("times");
    let path = place.sample("a.csv", 1_000, "none");
    let check = |summary: &Json, clock: f64, expected: &[&str]| {
        let phases = summary["phases"].as_array().unwrap();
        let names: Vec<&str> = phases.iter().map(|time| time["phase"].as_str().unwrap()).collect();
        assert_eq!(names, expected);
        let sum: f64 = phases.iter().map(|time| time["seconds"].as_f64().unwrap()).sum();
        let total = summary["total_seconds"].as_f64().unwrap();
        assert!((sum - total).abs() < 1e-6 && total > 0.0 && total < clock, "{sum} {total} {clock}");
    };
    let clocked = |options: &[&str]| {
        let begun = Instant::now();
        let summary = place.load(&path, options, 0);
        (summary, begun.elapsed().as_secs_f64())
    };
    let (first, clock) = clocked(&[]);
    check(&first, clock, &["preparation", "reading_and_writing", "indexes", "validator", "verification"]);
    assert_eq!(first["seconds"], first["phases"][1]["seconds"], "{first}");
    let (again, clock) = clocked(&[]);
    check(&again, clock, &["preparation", "verification"]);
    let (dry, clock) = clocked(&["--dry-run"]);
    check(&dry, clock, &["preparation", "reading", "duplicates"]);
    let shown = medlift(["load", text(&path), "--dry-run"]).run().expect_code(0).stdout;
    assert!(shown.contains("\n  time ") && shown.contains(" rows/s\n"), "{shown}");
}
