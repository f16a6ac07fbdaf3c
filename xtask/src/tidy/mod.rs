//! The project's rules, checked by a program instead of by memory.
//!
//! A rule checks one file, or how the files use each other. It returns the violations. For each rule, a test shows that
//! the rule finds a violation.

mod circles;
mod modules;
mod rules;
mod source;
mod unnamed;

use std::fmt;
use std::fs;
use std::path::Path;

use testkit::{Error, Result, root};

use crate::tree::files;

/// A violation of a rule, with its position.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    /// Line number, counted from 1.
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Which modules use which other modules, and which files of a folder use each other.
#[derive(Default)]
struct Uses {
    modules: modules::Used,
    neighbours: circles::Neighbours,
}

/// Checks every file of the repository that git tracks, or that is new and not ignored.
pub fn run() -> Result<()> {
    let (mut violations, mut used) = (Vec::new(), Uses::default());
    for path in files()? {
        let bytes = match fs::read(root().join(&path)) {
            Ok(bytes) => bytes,
            // git still lists a file that was deleted in the working tree.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Io { doing: format!("reading {path}"), source }),
        };
        violations.extend(check_file(&path, &bytes, &mut used));
    }
    violations.extend(used.modules.unused());
    violations.extend(used.neighbours.circles());
    violations.extend(unnamed::check(&files()?, |path| fs::read_to_string(root().join(path)).ok()));
    if violations.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
    Err(Error::failed(format!("the source breaks the rules of `cargo xtask tidy`\n{}", list.join("\n"))))
}

fn check_file(path: &str, bytes: &[u8], used: &mut Uses) -> Vec<Violation> {
    let mut violations = rules::check_any(path, bytes);
    let is_rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
    if let (true, Ok(text)) = (is_rust, std::str::from_utf8(bytes)) {
        let source = source::Source::new(path, text);
        violations.extend(rules::check_rust(&source));
        violations.extend(modules::check(&source));
        used.modules.add(&source);
        used.neighbours.add(&source);
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_follows_all_rules() {
        if let Err(error) = run() {
            panic!("{error}");
        }
    }

    #[test]
    fn tracked_files_are_listed_and_build_products_are_not() {
        let files = files().expect("git answers");
        assert!(files.iter().any(|path| path == "Cargo.lock") && files.iter().any(|path| path == "src/lib.rs"));
        assert!(!files.iter().any(|path| path.starts_with("target/")));
    }

    #[test]
    fn a_violation_shows_file_and_line() {
        let violations = check_file("src/parse/x.rs", b"fn x() {\n    todo!()\n}\n", &mut Uses::default());
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["src/parse/x.rs:2: todo! marks unfinished code"]);
    }
}
