//! The rules for the modules of `src/`: which other modules and crates a module may use, and which words its code may
//! not contain.

use std::collections::BTreeSet;

use super::Violation;
use super::source::{Source, line_of, lines_with_word, word_offsets};

/// A top-level module of the crate, and the top-level modules that it may use.
struct Module {
    name: &'static str,
    uses: &'static [&'static str],
}

/// The modules and what each may use. Every module must be in this table. A test checks that the table has no circular
/// dependency. Only `pipeline` connects the stages.
const MODULES: &[Module] = &[
    Module { name: "main", uses: &[] },
    Module { name: "lib", uses: &[] },
    Module {
        name: "cli",
        uses: &[
            "deployment",
            "encode",
            "error",
            "export",
            "fold",
            "generate",
            "ledger",
            "listen",
            "outputs",
            "parse",
            "patient",
            "pipeline",
            "read",
            "report",
            "s3",
            "server",
            "spec",
            "verify",
            "watch",
            "wording",
            "write",
        ],
    },
    Module { name: "spec", uses: &["namespace", "wording"] },
    Module { name: "s3", uses: &[] },
    Module { name: "read", uses: &["s3"] },
    Module { name: "reject", uses: &[] },
    Module { name: "outputs", uses: &[] },
    Module { name: "wording", uses: &[] },
    Module { name: "namespace", uses: &[] },
    Module { name: "parse", uses: &["read", "reject", "spec"] },
    Module { name: "clean", uses: &["parse", "reject", "spec"] },
    Module { name: "encode", uses: &["clean", "parse", "reject", "spec"] },
    Module { name: "write", uses: &["encode", "ledger", "outputs", "reject", "server", "spec"] },
    Module { name: "ledger", uses: &["encode", "namespace", "read", "server", "spec"] },
    Module { name: "verify", uses: &["encode", "ledger", "server", "spec", "spill"] },
    Module { name: "server", uses: &["namespace", "wording"] },
    Module { name: "deployment", uses: &["fold", "server", "spec", "wording"] },
    Module { name: "spill", uses: &["encode"] },
    Module {
        name: "report",
        uses: &["clean", "fold", "ledger", "outputs", "parse", "reject", "server", "spec", "verify", "wording"],
    },
    Module {
        name: "pipeline",
        uses: &[
            "clean",
            "deployment",
            "encode",
            "error",
            "fold",
            "ledger",
            "outputs",
            "parse",
            "read",
            "reject",
            "report",
            "s3",
            "server",
            "spec",
            "spill",
            "verify",
            "wording",
            "write",
        ],
    },
    Module {
        name: "listen",
        uses: &[
            "deployment",
            "encode",
            "error",
            "fold",
            "ledger",
            "parse",
            "pipeline",
            "read",
            "reject",
            "report",
            "server",
            "spec",
            "wording",
            "write",
        ],
    },
    Module {
        name: "error",
        uses: &[
            "deployment",
            "export",
            "fold",
            "ledger",
            "parse",
            "patient",
            "read",
            "s3",
            "server",
            "spec",
            "verify",
            "wording",
            "write",
        ],
    },
    Module { name: "watch", uses: &["error", "ledger", "outputs", "pipeline", "read", "report", "wording"] },
    Module { name: "generate", uses: &["parse"] },
    Module { name: "fold", uses: &["encode", "ledger", "parse", "server", "spec", "spill", "verify"] },
    Module { name: "patient", uses: &["encode", "fold", "ledger", "server", "spec"] },
    Module { name: "export", uses: &["encode", "outputs", "parse", "spec", "verify", "wording"] },
];

/// Crates that only some modules may use.
const CRATES: &[(&str, &[&str])] = &[
    ("mongodb", &["deployment", "fold", "ledger", "patient", "server", "verify", "write"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("indicatif", &["report"]),
    ("object_store", &["read", "s3"]),
    ("rpassword", &["cli"]),
];

/// Modules that contain only pure functions: no I/O, clock, randomness, async or logging.
const PURE: &[&str] = &["clean", "encode", "parse"];
const IMPURE_WORDS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "std::time",
    "tokio",
    "async",
    "await",
    "rand",
    "getrandom",
    "log",
    "tracing",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "dbg!",
];

/// Checks one file under `src/`.
pub(super) fn check(source: &Source<'_>) -> Vec<Violation> {
    let Some(module) = module_of(source.path) else { return Vec::new() };
    let mut violations = foreign_crates(source, module);
    violations.extend(impurity(source, module));
    violations.extend(neighbours(source, module));
    violations
}

fn module_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    rest.split_once('/').map(|(module, _)| module).or_else(|| rest.strip_suffix(".rs"))
}

fn foreign_crates(source: &Source<'_>, module: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, modules) in CRATES.iter().filter(|(_, modules)| !modules.contains(&module)) {
        let message = format!("only {} may use the crate {name}", modules.join(", "));
        let lines = lines_with_word(&source.production, name);
        violations.extend(lines.into_iter().map(|line| Violation::new(source.path, line, message.clone())));
    }
    violations
}

fn impurity(source: &Source<'_>, module: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for word in IMPURE_WORDS.iter().filter(|_| PURE.contains(&module)) {
        let message = format!("{module} has only pure functions and may not use {word}");
        let lines = lines_with_word(&source.production, word);
        violations.extend(lines.into_iter().map(|line| Violation::new(source.path, line, message.clone())));
    }
    violations
}

fn neighbours(source: &Source<'_>, module: &str) -> Vec<Violation> {
    let Some(uses) = MODULES.iter().find(|known| known.name == module).map(|known| known.uses) else {
        let message = format!("the module {module} is not in the table of xtask/src/tidy/modules.rs");
        return vec![Violation::new(source.path, 1, message)];
    };
    let foreign = named(source).into_iter().filter(|(_, name)| *name != module && !uses.contains(name));
    foreign.map(|(line, name)| Violation::new(source.path, line, format!("{module} may not use {name}"))).collect()
}

/// Returns the modules that a file uses, with line numbers. The binary writes them as `medlift::…`, the library as
/// `crate::…`.
fn named<'a>(source: &'a Source<'_>) -> Vec<(usize, &'a str)> {
    let code = &source.production;
    let mut named = Vec::new();
    for root in ["crate::", "medlift::"] {
        for offset in word_offsets(code, root) {
            let modules = modules_at(&code[offset + root.len()..]).into_iter().filter(|name| is_module(name));
            named.extend(modules.map(|name| (line_of(code, offset), name)));
        }
    }
    named
}

/// The modules, the dependencies between them, and the crates that the files of `src/` really use.
#[derive(Debug, Default)]
pub(super) struct Used {
    modules: BTreeSet<String>,
    arrows: BTreeSet<(String, String)>,
    crates: BTreeSet<(String, String)>,
}

impl Used {
    /// Adds the uses in one file.
    pub(super) fn add(&mut self, source: &Source<'_>) {
        let Some(module) = module_of(source.path) else { return };
        self.modules.insert(module.to_owned());
        self.arrows.extend(named(source).into_iter().map(|(_, name)| (module.to_owned(), name.to_owned())));
        let crates = CRATES.iter().filter(|(name, _)| !lines_with_word(&source.production, name).is_empty());
        self.crates.extend(crates.map(|(name, _)| (module.to_owned(), (*name).to_owned())));
    }

    /// Returns a violation for each entry of the tables that no code uses. Reason: such an entry would permit a new
    /// dependency that nobody has decided on.
    pub(super) fn unused(&self) -> Vec<Violation> {
        let violation = |message: String| Violation::new("xtask/src/tidy/modules.rs", 1, message);
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        let mut violations = Vec::new();
        for Module { name, uses } in MODULES {
            if !self.modules.contains(*name) {
                violations.push(violation(format!("there is no module {name}")));
            }
            let unused = uses.iter().filter(|used| !self.arrows.contains(&pair(name, used)));
            violations.extend(unused.map(|used| violation(format!("no code of {name} uses {used}; remove the entry"))));
        }
        for (name, modules) in CRATES {
            let unused = modules.iter().filter(|module| !self.crates.contains(&pair(module, name)));
            violations.extend(
                unused.map(|module| violation(format!("no code of {module} uses the crate {name}; remove the entry"))),
            );
        }
        let missing = PURE.iter().filter(|module| !self.modules.contains(**module));
        violations.extend(missing.map(|module| violation(format!("there is no module {module}"))));
        violations
    }
}

/// Returns true if the name is in the table of modules. Names of types and macros are not in the table.
fn is_module(name: &str) -> bool {
    MODULES.iter().any(|module| module.name == name)
}

/// Returns the first names of a path after `crate::`: `read` for `read::Block`, and `read` and `spec` for
/// `{read::Block, spec}`.
fn modules_at(path: &str) -> Vec<&str> {
    let name = |path: &'_ str| {
        path.len() - path.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_').len()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![&path[..name(path)]] };
    let (mut depth, mut start, mut modules) = (0_usize, true, Vec::new());
    for (offset, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            _ if letter.is_whitespace() => {}
            _ if start => {
                modules.push(&group[offset..offset + name(&group[offset..])]);
                start = false;
            }
            _ => {}
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).into_iter().map(|violation| violation.message).collect()
    }

    #[test]
    fn the_table_of_modules_has_no_circle() {
        let mut left: Vec<&Module> = MODULES.iter().collect();
        while let Some(free) =
            left.iter().position(|module| module.uses.iter().all(|used| left.iter().all(|module| module.name != *used)))
        {
            left.remove(free);
        }
        let circle: Vec<&str> = left.iter().map(|module| module.name).collect();
        assert!(circle.is_empty(), "in a circle: {circle:?}");
    }

    #[test]
    fn a_crate_is_used_only_by_its_modules() {
        let check =
            |path: &str, text: &str, count: usize| assert_eq!(messages(path, text).len(), count, "{path}: {text}");
        check("src/write/mod.rs", "use mongodb::Client;", 0);
        check("src/read/mod.rs", "use mongodb::Client;", 1);
        check("src/pipeline.rs", "fn f(c: &mongodb::Client) {}", 1);
        check("src/spec/mod.rs", "use clap::Parser;", 1);
        check("src/cli/mod.rs", "use clap::Parser;", 0);
        check("src/read/mod.rs", "// mongodb\nfn f() { g(\"mongodb\") }", 0);
        check("src/read/mod.rs", "#[cfg(test)]\nmod tests { use mongodb::Client; }", 0);
        check("tests/it/main.rs", "use mongodb::Client;", 0);
    }

    #[test]
    fn io_and_time_are_refused_in_pure_modules_only() {
        for word in IMPURE_WORDS {
            let text = format!("fn f() {{ {word} }}");
            assert_eq!(messages("src/clean/x.rs", &text).len(), 1, "{text}");
            assert_eq!(messages("src/read/x.rs", &text).len(), 0, "{text}");
        }
    }

    #[test]
    fn modules_use_only_the_modules_that_the_table_permits() {
        let check =
            |path: &str, text: &str, expected: &[&str]| assert_eq!(messages(path, text), expected, "{path}: {text}");
        check("src/clean/mod.rs", "use crate::parse::Cells;", &[]);
        check("src/clean/mod.rs", "use crate::clean::Record;", &[]);
        check("src/clean/mod.rs", "use crate::write::Writer;", &["clean may not use write"]);
        check(
            "src/spec/mod.rs",
            "use crate::{parse::Cells, clean::{Record, Value}};",
            &["spec may not use parse", "spec may not use clean"],
        );
        check("src/read/mod.rs", "fn f() -> crate::pipeline::Plan {}", &["read may not use pipeline"]);
        check("src/pipeline.rs", "use crate::{read, parse, clean, encode, write};", &[]);
        check("src/pipeline.rs", "use crate::cli;", &["pipeline may not use cli"]);
        check("src/write/mod.rs", "use crate::Error;", &[]);
        check("src/cli/mod.rs", "use medlift::read::Source;", &[]);
        check("src/cli/mod.rs", "use medlift::{spill::Sorter, read};", &["cli may not use spill"]);
        check("src/helper_room.rs", "", &["the module helper_room is not in the table of xtask/src/tidy/modules.rs"]);
    }

    #[test]
    fn entries_of_the_tables_that_no_code_uses_are_reported() {
        let mut used = Used::default();
        used.add(&Source::new("src/encode/mod.rs", "use crate::clean::Record;"));
        used.add(&Source::new("src/write/bulk.rs", "use mongodb::Client;"));
        let told: Vec<String> = used.unused().into_iter().map(|violation| violation.message).collect();
        let is_told = |message: &str| told.iter().any(|told| told.split(';').next() == Some(message));
        assert!(is_told("no code of encode uses spec") && !is_told("no code of encode uses clean"), "{told:?}");
        assert!(is_told("there is no module pipeline") && !is_told("there is no module write"), "{told:?}");
        assert!(is_told("no code of ledger uses the crate mongodb"), "{told:?}");
        assert!(!is_told("no code of write uses the crate mongodb"), "{told:?}");
    }
}
