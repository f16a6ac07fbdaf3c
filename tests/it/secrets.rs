//! Tests that a password is never shown, even if it was typed in the wrong place or in an invalid connection string.

use crate::load::{Place, text};
use crate::program::medlift;

const PASSWORD: &str = "SECRETPW";

/// Valid and invalid connection strings, and similar texts, each with a password.
const URIS: [&str; 14] = [
    "mongodb://u:SECRETPW@127.0.0.1:1/?serverSelectionTimeoutMS=20",
    "MONGODB://u:SECRETPW@127.0.0.1:1/?serverSelectionTimeoutMS=20",
    "Mongodb://u:SECRETPW@127.0.0.1:1/?serverSelectionTimeoutMS=20",
    "  mongodb://u:SECRETPW@127.0.0.1:1/?serverSelectionTimeoutMS=20  ",
    "mongodb+SRV://u:SECRETPW@127.0.0.1",
    "http://u:SECRETPW@h",
    "mongodb:/u:SECRETPW@h",
    "mongodb:u:SECRETPW",
    "//u:SECRETPW@h",
    "u:SECRETPW@h",
    "mongodb://u:SECRETPW@h:notaport/",
    "mongodb://u:12/SECRETPW@127.0.0.1",
    "mongodb://u:12?SECRETPW@127.0.0.1",
    "mongodb://u:SECRETPW@127.0.0.1:1/u:SECRETPW@h",
];

/// Command lines. The tests replace `URI` by each connection string.
const LINES: [&[&str]; 34] = [
    &["load", "a.csv", "URI"],
    &["load", "URI"],
    &["load", "URI", "URI"],
    &["load", "a.csv", "--uri", "URI"],
    &["load", "a.csv", "--uri=URI", "extra.csv"],
    &["load", "a.csv", "--urii", "URI"],
    &["load", "a.csv", "--urii=URI"],
    &["load", "--file", "URI"],
    &["load", "a.csv", "--spec", "URI"],
    &["load", "a.csv", "--rejects", "URI", "-n"],
    &["load", "a.csv", "--db", "URI"],
    &["load", "a.csv", "--collection", "URI"],
    &["load", "a.csv", "--username", "URI"],
    &["load", "a.csv", "-uURI"],
    &["load", "a.csv", "-xURI"],
    &["load", "a.csv", "--tls-ca-file", "URI"],
    &["load", "a.csv", "--quiet=URI"],
    &["load", "a.csv", "--batch-size", "URI"],
    &["load", "a.csv", "--mode", "URI"],
    &["load", "a.csv", "--date-format", "URI"],
    &["load", "a.csv", "-n", "URI"],
    &["verify", "a.csv", "URI"],
    &["verify", "--file=URI", "a.csv"],
    &["export", "URI"],
    &["export", "--out", "URI"],
    &["export", "URI", "URI"],
    &["doctor", "URI"],
    &["doctor", "--spec=URI"],
    &["provision", "--plan", "URI"],
    &["generate", "--out", "URI", "--rows", "1"],
    &["generate", "URI"],
    &["spec", "check", "URI"],
    &["URI"],
    &["--URI", "load"],
];

#[test]
fn no_command_line_shows_the_password_of_a_connection_string() {
    let place = Place::new("secrets");
    place.sample("a.csv", 3, "none");
    for uri in URIS {
        for line in LINES {
            let arguments: Vec<String> = line.iter().map(|word| word.replace("URI", uri)).collect();
            let mut program = medlift(&arguments).dir(place.dir.path());
            for name in ["MONGO_ROOT_PASS", "WRITER_PASS", "READER_PASS"] {
                program = program.env(name, "k4Tz-9pLmw2x");
            }
            let run = program.run();
            assert!(!run.stdout.contains(PASSWORD) && !run.stderr.contains(PASSWORD), "{arguments:?}: {run:?}");
            assert!(matches!(run.code, Some(0..=3)), "{arguments:?}: {run:?}");
        }
    }
    let names: Vec<_> =
        std::fs::read_dir(place.dir.path()).expect("listed").map(|entry| entry.unwrap().path()).collect();
    assert_eq!(names.len(), 1, "no file with a connection string as its name may be created: {names:?}");
}

#[test]
fn no_setting_shows_the_password_of_a_connection_string() {
    let place = Place::new("secret_settings");
    let path = place.sample("a.csv", 3, "none");
    let variables = [
        "MONGODB_URI",
        "DB_NAME",
        "COLLECTION_NAME",
        "WRITER_USER",
        "LOADER_PASS_FILE",
        "MEDLIFT_REJECTS",
        "MEDLIFT_IDENTITY_KEY_FILE",
        "SSL_CERT_FILE",
    ];
    for uri in URIS {
        for variable in variables {
            let arguments = ["load", text(&path), "--tls"];
            let run = medlift(arguments).env("WRITER_PASS", "k4Tz-9pLmw2x");
            let run =
                run.env("MONGODB_URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=20").env(variable, uri).run();
            assert!(!run.stdout.contains(PASSWORD) && !run.stderr.contains(PASSWORD), "{variable}={uri}: {run:?}");
            let home = tempfile::tempdir().expect("a directory");
            for line in [format!("{variable}='{uri}'\n"), format!("{variable}={uri}\n"), format!("{uri}\n")] {
                std::fs::write(home.path().join(".env"), &line).expect("written");
                let mut program = medlift(["load", text(&path)]).dir(home.path());
                if variable != "MONGODB_URI" {
                    program = program.env("MONGODB_URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=20");
                }
                let run = program.run();
                assert!(!run.stdout.contains(PASSWORD) && !run.stderr.contains(PASSWORD), ".env {line}: {run:?}");
            }
        }
    }
}

#[test]
fn the_error_of_a_wrong_command_line_does_not_show_its_password() {
    for line in [
        &["doctor", "-p", "SECRETPW", "--nonsense"][..],
        &["doctor", "-pSECRETPW", "--batch", "x"],
        &["doctor", "--password=SECRETPW", "extra"],
        &["load", "--password", "SECRETPW", "--mode", "x"],
    ] {
        let run = medlift(line).run().expect_code(2);
        assert!(!run.stdout.contains(PASSWORD) && !run.stderr.contains(PASSWORD), "{line:?}: {run:?}");
    }
}
