//! Tests of the files that the program writes: an input is never overwritten, a device keeps its mode, and a killed
//! program leaves no files behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::load::{Place, text};
use crate::program::{bash, medlift};
use crate::server::shared;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("listed");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_killed_export_leaves_no_file() {
    let place = Place::new("killed_export");
    let path = place.sample("a.csv", 60_000, "none");
    place.load(&path, &["--no-verify"], 0);
    fs::write(place.dir.path().join("old.csv"), "old").unwrap();
    let before = names(place.dir.path());
    let uri = shared().uri();
    for out in ["new.csv", "old.csv"] {
        let out = place.dir.path().join(out);
        let running =
            medlift(["export", "--out", text(&out), "--uri", &uri, "--db", &place.database, "--quiet"]).start();
        // Waits until the export has written bytes. The file has no name yet, so the test cannot look at its size. It
        // asks the kernel how many bytes the process has written.
        let until = Instant::now() + Duration::from_mins(1);
        while running.bytes_written() < 100_000 {
            assert!(Instant::now() < until, "expected the export to write within a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.signal("KILL");
        assert_eq!(running.wait().code, None);
        assert_eq!(names(place.dir.path()), before);
    }
    assert_eq!(fs::read_to_string(place.dir.path().join("old.csv")).unwrap(), "old");
}

#[test]
fn an_output_is_never_written_to_an_input() {
    let place = Place::new("inputs");
    let path = place.sample("a.csv", 10, "none");
    place.load(&path, &[], 0);
    let dir = place.dir.path();
    let spec = place.write("s.toml", medlift(["spec", "show"]).run().expect_code(0).stdout);
    let env = place.write(".env", "WRITER_PASS_FILE=secret\n");
    let secret = place.write("secret", "k4Tz-9pLmw2x");
    fs::create_dir(dir.join("d")).unwrap();
    let uri = shared().uri();
    for input in [&spec, &env, &secret] {
        let content = fs::read(input).unwrap();
        let (hard, soft) = (dir.join("hard"), dir.join("soft"));
        fs::hard_link(input, &hard).unwrap();
        symlink(input, &soft).unwrap();
        let spelled = dir.join("d/..").join(input.file_name().unwrap());
        for out in [input, &hard, &soft, &spelled] {
            let export = ["export", "--out", text(out), "--uri", &uri, "--db", &place.database, "--spec", "s.toml"];
            let run = medlift(export).dir(dir).run().expect_code(2);
            assert!(run.stderr.contains("is an input"), "{}", run.stderr);
            if input != &spec {
                let run = medlift(["generate", "--out", text(out), "--rows", "1"]).dir(dir).run().expect_code(2);
                assert!(run.stderr.contains("is an input"), "{}", run.stderr);
            }
            assert_eq!(fs::read(input).unwrap(), content, "{}", out.display());
        }
        fs::remove_file(hard).unwrap();
        fs::remove_file(soft).unwrap();
    }
}

#[test]
fn an_export_never_replaces_a_source_or_a_reject_file() {
    let place = Place::new("originals");
    let path = place.sample("a.csv", 10, "none");
    let source = fs::read_to_string(&path).unwrap() + "Eve Lee,30\n";
    fs::write(&path, &source).unwrap();
    // The ledger contains the path as the user gave it. Here, the path is relative.
    let uri = shared().uri();
    let load = ["load", "a.csv", "--uri", &uri, "--db", &place.database, "--quiet"];
    medlift(load).dir(place.dir.path()).run().expect_code(4);
    let rejects = place.dir.path().join("a.csv.rejects.csv");
    let refused = |out: &Path, dir: &Path, part: &str| {
        let before = fs::read(dir.join(out)).unwrap();
        let export = ["export", "--out", text(out), "--uri", &uri, "--db", &place.database];
        let run = medlift(export).dir(dir).run().expect_code(2);
        assert!(run.stderr.contains(part) && run.stderr.contains("give another file"), "{}", run.stderr);
        assert_eq!(fs::read(dir.join(out)).unwrap(), before);
    };
    let (here, elsewhere) = (place.dir.path(), tempfile::tempdir().unwrap());
    refused(Path::new("a.csv"), here, "is a source of load");
    refused(&path, elsewhere.path(), "is a source of load");
    refused(Path::new("a.csv.rejects.csv"), here, "is the reject file of load");
    refused(&rejects, elsewhere.path(), "is the reject file of load");
    // The path of a source is refused as an output, even if the content of the file was changed after the load.
    fs::write(&path, source.replace("Eve", "Eva")).unwrap();
    refused(Path::new("a.csv"), here, "is a source of load");
    let new = elsewhere.path().join("new.csv");
    for _ in 0..2 {
        place.run(&["export", "--out", text(&new)]).expect_code(0);
    }
    assert_eq!(fs::read_to_string(&new).unwrap().lines().count(), 11);
}

#[test]
fn devices_and_pipes_are_written_to_directly() {
    let place = Place::new("devices");
    let path = place.sample("a.csv", 10, "none");
    place.load(&path, &[], 0);
    let uri = shared().uri();
    let export = |out: &str| medlift(["export", "--out", out, "--uri", &uri, "--db", &place.database]).run();
    let mode = fs::metadata("/dev/null").unwrap().permissions().mode();
    export("/dev/null").expect_code(0);
    medlift(["generate", "--out", "/dev/null", "--rows", "5"]).run().expect_code(0);
    assert_eq!(fs::metadata("/dev/null").unwrap().permissions().mode(), mode);
    assert_eq!(export("/dev/stdout").expect_code(0).stdout.lines().count(), 11);
    let generated = medlift(["generate", "--out", "/dev/stdout", "--rows", "5"]).run().expect_code(0);
    assert_eq!(generated.stdout.lines().count(), 6);
    export("/dev/full").expect_code(1);
    let pipe = place.dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).expect("read")
    });
    export(text(&pipe)).expect_code(0);
    assert_eq!(reader.join().expect("read").lines().count(), 11);
}

#[test]
fn rows_are_appended_if_standard_output_appends_to_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_medlift");
    let script = format!("echo first > f && {program} generate --rows 2 --out /dev/stdout >> f && echo last >> f");
    let run = bash(&script).current_dir(dir.path()).output().expect("bash runs");
    assert!(run.status.success(), "{run:?}");
    let text = fs::read_to_string(dir.path().join("f")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[4]), (5, "first", "last"), "{text}");
}

/// The program refuses the output before it connects to a server.
#[test]
fn an_export_never_replaces_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let authority = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let content = format!("{authority}-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n");
    for name in ["ca.pem", "key.pem"] {
        fs::write(dir.path().join(name), &content).unwrap();
    }
    let tls = ["--tls-ca-file", "ca.pem", "--tls-certificate-key-file", "key.pem"];
    for out in ["ca.pem", "key.pem"] {
        let export = ["export", "--uri", "mongodb://localhost:9", "--out", out];
        let run = medlift(export.iter().chain(&tls)).dir(dir.path()).run().expect_code(2);
        assert!(run.stderr.contains("is an input"), "{}", run.stderr);
        assert_eq!(fs::read_to_string(dir.path().join(out)).unwrap(), content);
    }
}
