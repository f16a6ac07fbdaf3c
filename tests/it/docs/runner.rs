//! Runs `medlift` commands of a document in a directory with the files that the documents name.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::load::Place;
use crate::program::bash;
use crate::{provision, server};

/// Addresses in the documents. They are replaced by the address of the test's server.
const ADDRESSES: &[&str] = &["mongodb://localhost:27017", "mongodb://db.example:27017", "…"];

/// Words in the documents that stand for a value, each with a value that the options accept.
const PLACEHOLDERS: &[(&str, &str)] =
    &[("N", "1"), ("N%", "1%"), ("COMMAND", "load"), ("SECONDS", "1"), ("FORMAT", "DD/MM/YYYY"), ("MIB", "1")];

/// A FHIR resource.
const CONDITION: &str = r#"{"resourceType":"Condition","id":"c1","subject":{"reference":"Patient/p1"}}"#;

/// A message for the commands about HL7 v2.
const MESSAGE: &str = "MSH|^~\\&|ADT|NORTH|||202601020304||ADT^A01|1|P|2.5\rPID|1||4711^^^NORTH^MR||DOE^JANE\r";

/// The exit codes of a successful command: 0, and 4 for a load with rejects.
const SUCCESS: [i32; 2] = [0, 4];

/// A directory and a database for the commands of one document.
pub(super) struct Desk {
    place: Place,
}

impl Desk {
    pub(super) fn new() -> Self {
        let place = Place::new("docs");
        let data = fs::read(place.sample("data.csv", 200, "heavy")).expect("a sample");
        place.write("admissions.csv", &data);
        place.write("input.csv", &data);
        fs::create_dir(place.dir.path().join("more")).expect("a directory");
        let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        archive.write_all(&fs::read(place.sample("other.csv", 100, "none")).expect("a sample")).expect("compressed");
        place.write("more/a.csv.gz", archive.finish().expect("compressed"));
        for (name, copy) in [("laboratory.toml", "laboratory.toml"), ("laboratory.csv", "results.csv")] {
            let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec").join(name);
            fs::copy(original, place.dir.path().join(copy)).expect("copied");
        }
        fs::create_dir(place.dir.path().join("adt")).expect("a directory");
        place.write("adt/a.hl7", MESSAGE);
        fs::create_dir(place.dir.path().join("export")).expect("a directory");
        let mut archive = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        archive.write_all(CONDITION.as_bytes()).expect("compressed");
        place.write("export/a.ndjson.gz", archive.finish().expect("compressed"));
        place.write("bundle.json", format!("{{\"resourceType\":\"Bundle\",\"entry\":[{{\"resource\":{CONDITION}}}]}}"));
        place.write("my.toml", medlift::spec::Spec::built_in().text.as_bytes());
        let desk = Self { place };
        desk.run("medlift plan data.csv --out load.manifest.json").expect("a manifest");
        desk.run("medlift load --spec hl7v2 --no-verify 'adt/*.hl7'").expect("messages");
        desk.run("medlift load --spec fhir-r4 --no-verify bundle.json").expect("resources");
        desk
    }

    /// Runs a command line with bash. Returns the exit code and the messages if it fails.
    pub(super) fn run(&self, command: &str) -> Result<(), String> {
        // Several commands in the documents write a manifest with the same name. `medlift plan` does not replace a
        // manifest by another one, so the old manifest is removed first.
        let manifest = "load.manifest.json";
        if command.starts_with("medlift plan") && command.contains(manifest) && !command.contains("--add") {
            let _ = fs::remove_file(self.place.dir.path().join(manifest));
        }
        let output = self.bash(command);
        let code = output.status.code().unwrap_or(-1);
        if SUCCESS.contains(&code) {
            return Ok(());
        }
        Err(format!("exit code {code}: {}{}", text(&output.stdout), text(&output.stderr)))
    }

    /// Checks that the options of a `medlift` command exist and have valid values. Does not run the command.
    pub(super) fn parse(&self, command: &str) -> Result<(), String> {
        let word = |word: &str| match PLACEHOLDERS.iter().find(|(placeholder, _)| *placeholder == word) {
            Some((_, value)) => (*value).to_owned(),
            None => word.replace('…', "x"),
        };
        // Leaves out everything from `>` or `|` on, so that no file is written.
        let words: Vec<String> = command.split(' ').take_while(|word| *word != ">" && *word != "|").map(word).collect();
        let help = if words.iter().any(|word| word == "help") { "" } else { "--help" };
        let output = self.bash(&format!("{} {help}", words.join(" ")));
        if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
    }

    /// Runs a command line. `medlift provision` and `medlift doctor` use a server with access control.
    fn bash(&self, line: &str) -> Output {
        let needs_users = ["medlift provision", "medlift doctor"].iter().any(|part| line.contains(part));
        let (uri, settings) = if needs_users {
            provision::shared_settings()
        } else {
            (server::shared().uri(), vec![("DB_NAME", self.place.database.clone())])
        };
        let line = ADDRESSES.iter().fold(line.to_owned(), |line, address| line.replace(address, &uri));
        let program = env!("CARGO_BIN_EXE_medlift");
        let mut command = bash(&format!("set -o pipefail; medlift() {{ timeout 60 {program} \"$@\"; }}; {line}"));
        command.env("HOME", self.place.dir.path()).env("COLUMNS", "80").env("MONGODB_URI", uri).envs(settings);
        self.output(command)
    }

    /// Runs the command. Its standard input contains admissions.
    fn output(&self, mut command: Command) -> Output {
        let input = fs::File::open(self.place.dir.path().join("input.csv")).expect("a sample");
        command.current_dir(self.place.dir.path()).stdin(Stdio::from(input)).output().expect("bash runs")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
