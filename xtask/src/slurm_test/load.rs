//! The load of the test: its sources, its manifest, and the results that Medlift prints as JSON.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::mongod::{ROOT_USER, Server};
use testkit::{Doing, Error, Result};

/// The database of the load by several workers, and that of the load by one process.
pub(super) const DATABASE: &str = "several";
const DATABASE_ALONE: &str = "alone";

/// One source has `ROWS_CUT` rows and is cut into parts. `WHOLE_FILES` further sources have `ROWS_WHOLE` rows each.
/// Each of them is one part.
const ROWS_CUT: u32 = 35_000;
const ROWS_WHOLE: u32 = 6_000;
const WHOLE_FILES: u32 = 7;

/// The counts that must be equal in both loads.
const COUNTS: [&str; 6] = ["read", "written", "already_present", "duplicates", "rejected", "conflicts"];

/// The exit codes of a complete load: 0 without rejected rows, 4 with rejected rows.
const LOADED: [i32; 2] = [0, 4];

/// The exit code of `medlift runs show` if the ledger has no load of the manifest.
const NO_LOAD: i32 = 1;

/// The files of the load. Their directory is visible on all nodes.
pub(super) struct Load {
    medlift: PathBuf,
    dir: PathBuf,
    sources: Vec<String>,
    /// The id of the manifest.
    id: String,
    /// The number of parts.
    pub(super) parts: usize,
}

/// A part, as `medlift runs show` describes it.
pub(super) struct Part {
    pub(super) number: u64,
    pub(super) state: String,
    pub(super) worker: String,
}

impl Load {
    /// Generates the sources and makes the manifest.
    pub(super) fn prepare(medlift: &Path, dir: &Path, server: &Server) -> Result<Self> {
        let mut load =
            Self { medlift: medlift.to_owned(), dir: dir.to_owned(), sources: Vec::new(), id: String::new(), parts: 0 };
        load.write_config(server)?;
        for index in 0..=WHOLE_FILES {
            let rows = if index == 0 { ROWS_CUT } else { ROWS_WHOLE };
            // The last file has the seed of the first file, so both begin with the same rows. The load therefore has
            // duplicates in different parts.
            load.generate(index, rows, if index == WHOLE_FILES { 0 } else { index })?;
        }
        let sources: Vec<&str> = load.sources.iter().map(String::as_str).collect();
        let manifest = load.manifest();
        let options = ["--part-size", "1", "--json", "--out", &manifest];
        let planned = load.medlift(&[&["plan"], &sources[..], &options].concat())?;
        let id = planned["id"].as_str().unwrap_or_default().to_owned();
        let parts = planned["tables"][0]["parts"].as_u64().and_then(|parts| parts.try_into().ok()).unwrap_or_default();
        Ok(Self { id, parts, ..load })
    }

    pub(super) fn manifest(&self) -> String {
        self.path("load.manifest.json")
    }

    /// The file with the connection string and the password.
    pub(super) fn config(&self) -> String {
        self.path("medlift.yaml")
    }

    /// Returns the PATH for the tasks: the directory of Medlift, then the PATH of this process.
    pub(super) fn program_path(&self) -> String {
        let dir = self.medlift.parent().unwrap_or(Path::new(".")).display().to_string();
        dir + ":" + &env::var("PATH").unwrap_or_default()
    }

    /// Loads the sources with one process, which is not disturbed. Returns the result of the load.
    pub(super) fn load_alone(&self) -> Result<Value> {
        let sources: Vec<&str> = self.sources.iter().map(String::as_str).collect();
        let config = self.config();
        let rejects = self.path("rejects-alone");
        fs::create_dir(&rejects).doing(|| format!("creating {rejects}"))?;
        let options = ["--config", &config, "--db", DATABASE_ALONE, "--rejects", &rejects, "--quiet", "--json"];
        self.medlift(&[&["load"], &sources[..], &options].concat())
    }

    /// Runs the load once more after it is complete. Medlift then only verifies the documents. Returns the result of
    /// this verification, but with the counts of the load by several workers, which are in the ledger.
    pub(super) fn result(&self) -> Result<Value> {
        let (manifest, config) = (self.manifest(), self.config());
        let options = ["--config", &config, "--db", DATABASE, "--quiet", "--json"];
        let mut found = self.medlift(&[&["load", "--manifest", &manifest], &options[..]].concat())?;
        let mut result = found["tables"][0].take();
        result["counts"] = self.show()?["counts"].take();
        Ok(result)
    }

    /// Returns the parts, and true if the load is complete. If no worker has begun, the list of parts is empty.
    pub(super) fn progress(&self) -> Result<(Vec<Part>, bool)> {
        let shown = self.show()?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let parts = shown["parts"].as_array().into_iter().flatten().map(|part| Part {
            number: part["number"].as_u64().unwrap_or_default(),
            state: text(&part["state"]),
            worker: text(&part["worker"]),
        });
        Ok((parts.collect(), shown["state"] == "complete"))
    }

    /// Returns the load as `medlift runs show` describes it. Returns null if no worker has begun.
    fn show(&self) -> Result<Value> {
        let config = self.config();
        let arguments = ["runs", "show", &self.id, "--config", &config, "--db", DATABASE, "--json"];
        match self.run(&arguments, &[0, NO_LOAD])? {
            (0, text) => Ok(json(&text)?[0].take()),
            _ => Ok(Value::Null),
        }
    }

    /// Writes the file for `--config`. Only this user can read it, because it contains the password.
    fn write_config(&self, server: &Server) -> Result<()> {
        let password = server.root_password().ok_or_else(|| Error::failed("the server has no users"))?;
        let uri = server.uri().replacen(&format!(":{password}@"), "@", 1);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.config());
        file.and_then(|mut file| writeln!(file, "uri: {uri}\npassword: {password}"))
            .doing(|| format!("writing the password of {ROOT_USER}"))
    }

    fn generate(&mut self, index: u32, rows: u32, seed: u32) -> Result<()> {
        let path = self.path(&format!("admissions-{index}.csv"));
        let (rows, seed) = (rows.to_string(), (seed + 1).to_string());
        let arguments = ["generate", "--rows", &rows, "--seed", &seed, "--damage", "heavy", "--out", &path];
        self.run(&arguments, &[0])?;
        self.sources.push(path);
        Ok(())
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Runs Medlift and returns its standard output, which is JSON.
    fn medlift(&self, arguments: &[&str]) -> Result<Value> {
        json(&self.run(arguments, &LOADED)?.1)
    }

    /// Runs Medlift. Returns its exit code and its standard output. Fails if the exit code is not one of `codes`.
    fn run(&self, arguments: &[&str], codes: &[i32]) -> Result<(i32, String)> {
        let mut medlift = Command::new(&self.medlift);
        medlift.args(arguments).current_dir(&self.dir).stdin(Stdio::null()).env_clear();
        let output = medlift.output().doing(|| format!("running medlift {}", arguments[0]))?;
        match output.status.code() {
            Some(code) if codes.contains(&code) => Ok((code, String::from_utf8_lossy(&output.stdout).into_owned())),
            _ => Err(Error::failed(format!(
                "medlift {}: {}\n{}",
                arguments[0],
                output.status,
                String::from_utf8_lossy(&output.stderr).trim_end()
            ))),
        }
    }
}

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| Error::failed(format!("the result of medlift is not JSON: {error}")))
}

/// Returns the numbers that must be equal in both loads, as one text: the counts, the verification and the digest.
pub(super) fn figures(result: &Value) -> String {
    let mut text: Vec<String> = COUNTS.iter().map(|name| format!("{name} {}", result["counts"][name])).collect();
    for name in ["expected", "equal", "missing", "different", "extra"] {
        text.push(format!("{name} {}", result["verification"][name]));
    }
    text.push(format!("digest {}", result["digest"].as_str().unwrap_or_default()));
    text.join(", ")
}
