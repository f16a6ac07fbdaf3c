//! Mutation testing. A *mutant* is a copy of the program in which cargo-mutants changed one operator, value or function
//! body. A mutant is caught if a test fails or hangs. If all tests pass, it survives: the tests do not check that code.
//!
//! Each mutant is tested by the unit tests first. If they all pass, it is tested by the integration tests of
//! `INTEGRATION`. The option `--unit` leaves the integration tests out. `.cargo/mutants.toml` lists mutants that are
//! not tested, because no test can notice them.

use crate::tree;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::{Doing, Error, Result, cargo, mongod, on_path, target_dir};

const USAGE: &str = "usage: cargo xtask mutants [OPTION…]
  --modules NAME,…   write, ledger, verify, spill, settle, encode, clean [all]
  --shard K/N        every Nth mutant, from the Kth on, K from 0 [all]
  --unit             unit tests only
  --list             list the mutants and run no test";

/// Names of modules for `--modules`, each with the files it selects.
const MODULES: [(&str, &str); 7] = [
    ("write", "src/write/**/*.rs"),
    ("ledger", "src/ledger/**/*.rs"),
    ("verify", "src/verify/**/*.rs"),
    ("spill", "src/spill.rs"),
    ("settle", "src/pipeline/settle.rs"),
    ("encode", "src/encode/**/*.rs"),
    ("clean", "src/clean/**/*.rs"),
];

/// Fast modules of `tests/it`, as prefixes of test names.
const INTEGRATION: [&str; 9] =
    ["commands::", "concerns::", "known::", "ledger::", "load::", "proof::", "quotes::", "rejects::", "verify::"];

const VERSION: &str = "27.1.0";

/// Time limit in seconds. A mutant whose tests take longer counts as hung.
const UNIT_LIMIT: &str = "90";
const INTEGRATION_LIMIT: &str = "300";

/// Exit codes of cargo-mutants after a complete run: all mutants caught, some missed, some hung.
const FINISHED: [i32; 3] = [0, 2, 3];

#[derive(Debug, Default)]
struct Options {
    modules: Vec<&'static str>,
    shard: Option<String>,
    unit_only: bool,
    list_only: bool,
}

/// Mutants by outcome, in cargo-mutants' format `file:line:column: change`.
#[derive(Debug, Default)]
struct Outcome {
    caught: Vec<String>,
    missed: Vec<String>,
}

/// Tests the mutants that the arguments select. Prints the score of each module and the mutants that survived.
pub fn run(arguments: &[&str]) -> Result<()> {
    let options = parse(arguments)?;
    let place = Place::prepare()?;
    let mut selection: Vec<String> = options.modules.iter().map(|name| format!("--file={}", files_of(name))).collect();
    if let Some(shard) = &options.shard {
        selection.extend([format!("--shard={shard}"), "--sharding=round-robin".to_owned()]);
    }
    if options.list_only {
        return place.mutants(&["--list"], &selection, &[]).map(drop);
    }
    let unit = place.test("unit", UNIT_LIMIT, &selection, "--lib", &[])?;
    let mut outcome = Outcome { caught: unit.caught, missed: Vec::new() };
    if options.unit_only || unit.missed.is_empty() {
        outcome.missed = unit.missed;
    } else {
        let selection = selected(&unit.missed);
        let integration = place.test("integration", INTEGRATION_LIMIT, &selection, "--test=it", &INTEGRATION)?;
        let (caught, missed) = unit.missed.into_iter().partition(|name| integration.caught.contains(name));
        outcome.caught.extend::<Vec<_>>(caught);
        outcome.missed = missed;
    }
    print!("{}", report(&outcome));
    Ok(())
}

fn parse(arguments: &[&str]) -> Result<Options> {
    let mut options = Options { modules: MODULES.map(|(name, _)| name).into(), ..Options::default() };
    let mut arguments = arguments.iter();
    while let Some(&name) = arguments.next() {
        let mut value = || arguments.next().copied().ok_or_else(|| Error::failed(USAGE));
        match name {
            "--modules" => options.modules = value()?.split(',').map(module).collect::<Result<_>>()?,
            "--shard" => options.shard = Some(value()?.to_owned()),
            "--unit" => options.unit_only = true,
            "--list" => options.list_only = true,
            _ => return Err(Error::failed(USAGE)),
        }
    }
    Ok(options)
}

fn module(name: &str) -> Result<&'static str> {
    let found = MODULES.into_iter().find(|(known, _)| *known == name);
    found.map(|(name, _)| name).ok_or_else(|| Error::failed(format!("there is no module `{name}`\n{USAGE}")))
}

fn files_of(module: &str) -> &'static str {
    MODULES.into_iter().find(|(name, _)| *name == module).map_or("", |(_, files)| files)
}

/// A directory that contains a copy of the source tree and a build directory. The mutants are made in the copy. Each
/// `cargo xtask mutants` makes a new copy, but uses the same build directory.
struct Place {
    dir: PathBuf,
    program: PathBuf,
    mongod: PathBuf,
}

impl Place {
    fn prepare() -> Result<Self> {
        let dir = target_dir().join("mutants");
        let tree = dir.join("tree");
        if tree.exists() {
            fs::remove_dir_all(&tree).doing(|| format!("removing {}", tree.display()))?;
        }
        tree::copy_to(&tree)?;
        Ok(Self { program: program(&dir)?, mongod: mongod::find()?, dir })
    }

    /// Tests the selected mutants with the tests of one binary. `name` is the directory for the lists of results.
    fn test(&self, name: &str, limit: &str, selection: &[String], binary: &str, filters: &[&str]) -> Result<Outcome> {
        let lists = self.dir.join(name);
        fs::create_dir_all(&lists).doing(|| format!("creating {}", lists.display()))?;
        let output = format!("--output={}", lists.display());
        let timeout = format!("--timeout={limit}");
        let built = format!("--cargo-arg={binary}");
        let fixed = ["--in-place", "--no-shuffle", "--profile=mutants", &built, &output, &timeout];
        self.mutants(&fixed, selection, filters)?;
        let read = |file: &str| {
            let path = lists.join("mutants.out").join(file);
            let text = fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
            Ok(text.lines().map(str::to_owned).collect::<Vec<_>>())
        };
        // A mutant that hangs counts as caught.
        let caught = [read("caught.txt")?, read("timeout.txt")?].concat();
        Ok(Outcome { caught, missed: read("missed.txt")? })
    }

    /// Runs cargo-mutants; `filters` are names of tests.
    fn mutants(&self, options: &[&str], selection: &[String], filters: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("mutants").args(["--package", "medlift"]).args(options).args(selection);
        command.args(["--", "--"]).args(filters).current_dir(self.dir.join("tree"));
        command.env("CARGO_TARGET_DIR", self.dir.join("build")).env("MEDLIFT_MONGOD", &self.mongod);
        let status = command.status().doing(|| format!("running {}", self.program.display()))?;
        match status.code() {
            Some(code) if FINISHED.contains(&code) => Ok(()),
            _ => Err(Error::failed(format!("cargo-mutants ended early: {status}"))),
        }
    }
}

/// The path of cargo-mutants: the program on PATH, or one that is built from crates.io into `target/mutants`.
fn program(dir: &Path) -> Result<PathBuf> {
    let own = dir.join("bin/cargo-mutants");
    if let Some(program) = on_path("cargo-mutants").or_else(|| own.is_file().then(|| own.clone())) {
        return Ok(program);
    }
    let mut install = cargo();
    install.args(["install", "--locked", "--quiet", "--root"]).arg(dir).arg(format!("cargo-mutants@{VERSION}"));
    let status = install.status().doing(|| "running cargo install".to_owned())?;
    if status.success() { Ok(own) } else { Err(Error::failed("cargo-mutants cannot be installed")) }
}

/// Returns the options that select these mutants. cargo-mutants does not apply `--re` to mutants that remove a field of
/// a struct. Therefore `--file` also limits the files.
fn selected(names: &[String]) -> Vec<String> {
    let files: BTreeSet<&str> = names.iter().filter_map(|name| name.split(':').next()).collect();
    let files = files.into_iter().map(|file| format!("--file={file}"));
    files.chain(names.iter().map(|name| format!("--re=^{}$", escaped(name)))).collect()
}

/// A regular expression that matches only this text.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() * 2);
    for char in text.chars() {
        if !char.is_alphanumeric() && char.is_ascii() && char != ' ' {
            pattern.push('\\');
        }
        pattern.push(char);
    }
    pattern
}

fn report(outcome: &Outcome) -> String {
    let mut scores: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for name in &outcome.caught {
        scores.entry(module_of(name)).or_default().0 += 1;
    }
    for name in &outcome.missed {
        scores.entry(module_of(name)).or_default().1 += 1;
    }
    let mut text = "module      caught  survived   score\n".to_owned();
    for (module, (caught, missed)) in scores {
        let score = 100.0 * caught as f64 / (caught + missed) as f64;
        let _ = writeln!(text, "{module:<10} {caught:>7} {missed:>9} {score:>5.1} %");
    }
    for name in &outcome.missed {
        let _ = writeln!(text, "survived: {name}");
    }
    text
}

/// The module of a mutant, found by the mutant's file.
fn module_of(name: &str) -> &'static str {
    let starts = |files: &str| name.starts_with(files.split('*').next().unwrap_or(files));
    MODULES.into_iter().find(|(_, files)| starts(files)).map_or("other", |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_counts_by_module() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let outcome = Outcome {
            caught: names(&["src/write/machine.rs:1:2: replace < with <=", "src/spill.rs:3:4: replace + with -"]),
            missed: names(&["src/write/bulk.rs:5:6: replace f with ()"]),
        };
        let report = report(&outcome);
        assert!(report.contains("spill            1         0 100.0 %\n"), "{report}");
        assert!(report.contains("write            1         1  50.0 %\n"), "{report}");
        assert!(report.contains("survived: src/write/bulk.rs:5:6: replace f with ()\n"), "{report}");
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let options = parse(&["--modules", "write,spill", "--shard", "1/8", "--unit"]).expect("right");
        assert_eq!((options.modules, options.shard.as_deref()), (vec!["write", "spill"], Some("1/8")));
        assert!(options.unit_only && !options.list_only);
        for wrong in [&["--modules", "nothing"][..], &["--shard"], &["write"]] {
            assert!(parse(wrong).expect_err("wrong").to_string().contains("usage:"));
        }
    }

    #[test]
    fn mutants_are_selected_by_their_names_and_files() {
        let names = ["src/a.rs:1:2: replace f with ()", "src/b.rs:1:2: x", "src/a.rs:3:4: y"].map(str::to_owned);
        let selection = selected(&names);
        assert_eq!(selection[..2], ["--file=src/a.rs", "--file=src/b.rs"]);
        assert_eq!(selection.len(), 5);
        assert!(selection[3].ends_with("b\\.rs\\:1\\:2\\: x$"), "{}", selection[3]);
    }

    #[test]
    fn special_characters_of_a_mutants_name_are_escaped() {
        assert_eq!(escaped("src/a.rs:1: x -> (A)"), r"src\/a\.rs\:1\: x \-\> \(A\)");
    }
}
