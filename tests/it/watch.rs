//! Tests of `medlift watch`: which files are loaded, where they are moved, and what a kill, a signal or a lost server
//! changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bson::doc;
use serde_json::Value as Json;

use crate::bad_days::{SLOW_ROWS, SLOWLY, count, documents, wait_for_checkpoint};
use crate::load::{HEADER, Place, row, text};
use crate::program::{Medlift, Run, medlift};
use crate::server::{Server, heal, shared, slow_server};

impl Place {
    /// Creates a folder to watch.
    fn folder(&self) -> PathBuf {
        let folder = self.dir.path().join("landing");
        fs::create_dir(&folder).expect("a folder");
        folder
    }

    fn watch(&self, server: &Server, folder: &Path, options: &[&str]) -> Medlift {
        let arguments = ["watch", text(folder), "--db", &self.database, "--settle", "0"];
        medlift(arguments.iter().chain(options)).env("MONGODB_URI", server.uri())
    }

    fn watch_once(&self, folder: &Path, options: &[&str]) -> Medlift {
        self.watch(shared(), folder, &[&["--once", "--json"], options].concat())
    }
}

fn csv(rows: &[String]) -> String {
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

fn good(name: &str) -> String {
    row(name, "30", "AB+", "2024-01-31", "2024-02-02")
}

fn bad(name: &str) -> String {
    row(name, "thirty", "AB+", "2024-01-31", "2024-02-02")
}

/// Returns the sorted names of the files in a folder. `inner` is empty or the name of a subfolder.
fn names(folder: &Path, inner: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(inner)).expect("a folder").map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.path().is_file());
    let mut names: Vec<String> = files.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

/// Returns the lines of JSON, by the names of their files.
fn reports(run: &Run) -> Vec<(String, Json)> {
    let report = |line: &str| {
        let report: Json = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (report["file"].as_str().expect("a name").to_owned(), report)
    };
    let mut reports: Vec<(String, Json)> = run.stdout.lines().map(report).collect();
    reports.sort_by(|left, right| left.0.cmp(&right.0));
    reports
}

fn wait_until(what: &str, is_met: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !is_met() {
        assert!(Instant::now() < until, "expected {what} within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn each_file_is_loaded_once_and_moved_and_nothing_is_overwritten() {
    let place = Place::new("watch");
    let folder = place.folder();
    let put = |name: &str, content: &str| fs::write(folder.join(name), content).expect("written");
    put("a.csv", &csv(&[good("Ann A"), good("Bea B")]));
    put("b.csv", &csv(&[good("Cy C"), bad("Di D")]));
    put("c.csv", "");
    put(".d.csv", "hidden");
    put("e.csv.part", "unfinished");
    put("f.csv.done", "a marker of no file");
    let run = place.watch_once(&folder, &[]).run().expect_code(1);
    assert_eq!(names(&folder, ""), [".d.csv", "e.csv.part", "f.csv.done"]);
    assert_eq!(names(&folder, "done"), ["a.csv", "b.csv", "b.csv.rejects.csv"]);
    assert_eq!(names(&folder, "rejected"), ["c.csv", "c.csv.error.txt"]);
    let reason = fs::read_to_string(folder.join("rejected/c.csv.error.txt")).expect("the reason");
    assert!(reason.contains("it is empty"), "{reason}");
    let reports = reports(&run);
    let outcomes: Vec<(&str, &Json)> = reports.iter().map(|(name, found)| (name.as_str(), &found["outcome"])).collect();
    assert_eq!(outcomes, [("a.csv", &"loaded".into()), ("b.csv", &"loaded".into()), ("c.csv", &"rejected".into())]);
    let of_b = &reports[1].1["summary"];
    assert_eq!((&of_b["counts"]["rejected"], &of_b["verification"]["equal"]), (&1.into(), &1.into()), "{of_b}");
    assert!(!run.stdout.contains("thirty") && !reason.contains("thirty"));
    assert_eq!(place.count(doc! {}), 3);

    // The same name with other content, and the same content with another name.
    put("a.csv", &csv(&[good("Ed E")]));
    put("g.csv", &csv(&[good("Ann A"), good("Bea B")]));
    let run = place.watch_once(&folder, &[]).run().expect_code(0);
    assert_eq!(names(&folder, "done"), ["a.2.csv", "a.csv", "b.csv", "b.csv.rejects.csv", "g.csv"]);
    assert_eq!(fs::read_to_string(folder.join("done/a.2.csv")).expect("read"), csv(&[good("Ed E")]));
    let outcome = &self::reports(&run)[1].1["summary"]["outcome"];
    assert_eq!(outcome, "already loaded, verified instead");
    assert_eq!(place.count(doc! {}), 4);
}

#[test]
fn a_file_with_too_many_rejects_is_rejected_with_its_reject_file() {
    let place = Place::new("watch_limit");
    let folder = place.folder();
    fs::write(folder.join("a.csv"), csv(&[bad("Ann A"), good("Bea B")])).expect("written");
    let wrong = csv(&[good("Cy C")]).replace("Age,", "Years,");
    fs::write(folder.join("b.csv"), wrong).expect("written");
    let run = place.watch_once(&folder, &["--max-rejects", "0"]).run().expect_code(1);
    assert_eq!(names(&folder, ""), Vec::<String>::new());
    let expected = ["a.csv", "a.csv.error.txt", "a.csv.rejects.csv", "b.csv", "b.csv.error.txt"];
    assert_eq!(names(&folder, "rejected"), expected, "{}", run.stdout);
    let reason = fs::read_to_string(folder.join("rejected/a.csv.error.txt")).expect("the reason");
    assert!(reason.starts_with("stopped: ") && !reason.contains("thirty"), "{reason}");
}

#[test]
fn a_marker_makes_a_file_complete_and_a_signal_ends_the_command() {
    let place = Place::new("watch_marker");
    let folder = place.folder();
    for name in ["a.csv", "b.csv", "b.csv.done"] {
        fs::write(folder.join(name), csv(&[good("Ann A")])).expect("written");
    }
    let arguments = ["watch", text(&folder), "--db", &place.database, "--settle", "3600"];
    let running = medlift(arguments).env("MONGODB_URI", shared().uri()).start();
    wait_until("b.csv in done", || folder.join("done/b.csv").exists());
    running.signal("TERM");
    let run = running.wait().expect_code(0);
    assert!(run.stdout.starts_with("b.csv: loaded, 1 row read, 1 written"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().count(), 1, "{}", run.stdout);
    assert_eq!(names(&folder, ""), ["a.csv"]);
}

#[test]
fn a_killed_watch_continues_the_load_and_moves_the_file_once() {
    let place = Place::new("watch_kill");
    let folder = place.folder();
    let path = place.long_rows("a.csv", SLOW_ROWS, "none");
    fs::rename(path, folder.join("a.csv")).expect("moved");
    let server = slow_server();
    for signal in ["KILL", "TERM"] {
        let running = place.watch(&server, &folder, &SLOWLY).start();
        wait_for_checkpoint(&server, &place.database);
        running.signal(signal);
        running.wait();
        assert_eq!(names(&folder, ""), ["a.csv"], "{signal}");
        assert_eq!(names(&folder, "done"), Vec::<String>::new(), "{signal}");
    }
    heal(&server);
    let run = place.watch(&server, &folder, &[&SLOWLY[..], &["--once", "--json"]].concat()).run().expect_code(0);
    let summary = &reports(&run)[0].1["summary"];
    assert!(summary["continued_after"].as_u64().is_some_and(|rows| rows > 0), "{summary}");
    assert_eq!(summary["counts"]["read"], SLOW_ROWS, "{summary}");
    assert_eq!(summary["verification"]["equal"], summary["counts"]["written"], "{summary}");
    assert_eq!(count(&documents(&server, &place.database)), summary["counts"]["written"].as_u64().unwrap());
    assert_eq!((names(&folder, ""), names(&folder, "done")), (Vec::new(), vec!["a.csv".to_owned()]));
}

#[test]
fn a_file_stays_while_the_server_is_away() {
    let place = Place::new("watch_away");
    let folder = place.folder();
    fs::write(folder.join("a.csv"), csv(&[good("Ann A")])).expect("written");
    let mut server = Server::builder().start().expect("a mongod");
    server.stop().expect("stopped");
    let uri = server.uri() + "&serverSelectionTimeoutMS=300";
    let once = place.watch(&server, &folder, &["--once"]).env("MONGODB_URI", &uri).run().expect_code(3);
    assert!(once.stdout.contains("not loaded yet: ") && once.stdout.contains("; the file stays\n"), "{}", once.stdout);
    let (log, mut lines) = std::io::pipe().map(|(log, to)| (to, std::io::BufReader::new(log))).expect("a pipe");
    let running = place.watch(&server, &folder, &[]).env("MONGODB_URI", &uri).stdout(log).start();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut lines, &mut line).expect("a line");
    assert!(line.ends_with("; the file stays and is tried again in 1 s\n"), "{line}");
    server.restart().expect("restarted");
    wait_until("a.csv in done", || folder.join("done/a.csv").exists());
    running.signal("TERM");
    running.wait().expect_code(0);
}

#[test]
fn what_cannot_be_used_is_refused_before_the_first_file() {
    let place = Place::new("watch_stop");
    let folder = place.folder();
    fs::write(folder.join("a.csv"), csv(&[good("Ann A")])).expect("written");
    let run = place.watch_once(&folder, &["--spec", "no-such.toml"]).run().expect_code(2);
    assert!(run.stderr.contains("no-such.toml"), "{}", run.stderr);
    let other = place.watch_once(&place.dir.path().join("none"), &[]).run().expect_code(2);
    assert!(other.stderr.contains("cannot watch ") && other.stderr.contains("it is not a folder"), "{}", other.stderr);
    let named = place.dir.path().join("r.csv");
    let rejects = place.watch_once(&folder, &["--rejects", text(&named)]).run().expect_code(2);
    assert!(rejects.stderr.contains("a watch needs a directory"), "{}", rejects.stderr);
    assert_eq!(names(&folder, ""), ["a.csv"]);
}
