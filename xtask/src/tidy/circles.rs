//! Rule: files of one folder do not use each other in a circle. If two files need each other, join them, or move their
//! common part to a third file.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::source::Source;

/// Names of files that represent their folder. They may use all files of the folder.
const PARENTS: [&str; 4] = ["mod", "lib", "main", "tests"];

/// For each folder, which of its files uses which others.
#[derive(Debug, Default)]
pub(super) struct Neighbours(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Neighbours {
    /// Adds a file and the files of its folder that its production code uses.
    pub(super) fn add(&mut self, source: &Source<'_>) {
        let Some((folder, name)) = source.path.strip_suffix(".rs").and_then(|path| path.rsplit_once('/')) else {
            return;
        };
        if PARENTS.contains(&name) {
            return;
        }
        let uses = self.0.entry(folder.to_owned()).or_default().entry(name.to_owned()).or_default();
        for rest in source.production.split("super::").skip(1) {
            uses.extend(first_names(rest));
        }
    }

    /// Returns a violation for each file that is in a circle.
    pub(super) fn circles(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        for (folder, files) in &self.0 {
            for name in files.keys() {
                let reached = reach(files, name);
                if reached.contains(name.as_str()) {
                    let path = format!("{folder}/{name}.rs");
                    violations.push(Violation::new(
                        &path,
                        1,
                        "the file is in a circle: it uses files of this folder that use it in turn",
                    ));
                }
            }
        }
        violations
    }
}

/// Returns the first names of a path after `super::`: `a` for `a::B`, and `a` and `c` for `{a::B, c}`. Names that are
/// not files of the folder have no effect.
fn first_names(rest: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name = |text: &str| text.trim_start().chars().take_while(|&c| is_name(c)).collect::<String>();
    let Some(list) = rest.strip_prefix('{') else { return vec![name(rest)] };
    let (mut names, mut depth) = (vec![name(list)], 0);
    for (place, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&list[place + 1..])),
            _ => {}
        }
    }
    names
}

/// Returns all files that `from` uses, directly or through other files.
fn reach<'f>(files: &'f BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'f str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in files.get(file).into_iter().flatten().filter(|next| files.contains_key(*next)) {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circles(files: &[(&str, &str)]) -> Vec<String> {
        let mut neighbours = Neighbours::default();
        for (path, text) in files {
            neighbours.add(&Source::new(path, text));
        }
        neighbours.circles().into_iter().map(|violation| violation.path).collect()
    }

    #[test]
    fn files_in_a_circle_are_found() {
        let none: [&str; 0] = [];
        let (a, b) = ("use super::b::B;\n", "use super::{C, a::A};\n");
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/x/b.rs", b)]), ["src/x/a.rs", "src/x/b.rs"]);
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/x/b.rs", "use super::C;\n")]), none);
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/y/b.rs", b)]), none);
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/x/mod.rs", "use super::a::A;\n")]), none);
        let by_way =
            [("src/x/a.rs", a), ("src/x/b.rs", "fn f() { super::c::g() }\n"), ("src/x/c.rs", "use super::a;\n")];
        assert_eq!(circles(&by_way), ["src/x/a.rs", "src/x/b.rs", "src/x/c.rs"]);
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/x/b.rs", "use super::{a};\n")]), ["src/x/a.rs", "src/x/b.rs"]);
        let nested = "use super::{c::{C, D}, a::A};\n";
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/x/b.rs", nested)]), ["src/x/a.rs", "src/x/b.rs"]);
        let in_tests = "fn f() {}\n#[cfg(test)]\nmod tests {\n    use super::a::A;\n}\n";
        assert_eq!(circles(&[("src/x/a.rs", a), ("src/x/b.rs", in_tests)]), none);
    }
}
