//! Rules for every file: sizes, names, unfinished code, paths of a developer's machine.

use std::path::Path;

use super::Violation;
use super::source::{Source, lines_with_word};

const PRODUCTION_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_BYTES_MAX: usize = 1_000_000;
const README_LINES_MAX: usize = 120;

/// Names of files and folders that say nothing about their contents.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];

const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "dbg!"];

/// Directories on developers' machines. Each is split in two, so that this file does not contain a forbidden path.
const MACHINE_PATHS: &[[&str; 2]] =
    &[["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"], ["/wo", "rk/"], ["C:\\", "Users"]];

/// Checks a file of any kind.
pub(super) fn check_any(path: &str, bytes: &[u8]) -> Vec<Violation> {
    let mut violations = Vec::new();
    if bytes.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; the limit is {FILE_BYTES_MAX}", bytes.len());
        violations.push(Violation::new(path, 1, message));
    }
    if let Some(name) = empty_name(path) {
        violations.push(Violation::new(path, 1, format!("the name {name} says nothing about the contents")));
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    violations.extend(machine_paths(path, text));
    if path == "README.md" && text.lines().count() > README_LINES_MAX {
        violations.push(Violation::new(
            path,
            README_LINES_MAX + 1,
            format!("README.md must fit one page: {README_LINES_MAX} lines"),
        ));
    }
    violations
}

/// Checks a Rust file.
pub(super) fn check_rust(source: &Source<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    if source.production_lines > PRODUCTION_LINES_MAX {
        let message =
            format!("{} lines of production code; the limit is {PRODUCTION_LINES_MAX}", source.production_lines);
        violations.push(Violation::new(source.path, 1, message));
    }
    for function in source.functions().iter().filter(|function| function.lines > FUNCTION_LINES_MAX) {
        let message = format!("fn {} has {} lines; the limit is {FUNCTION_LINES_MAX}", function.name, function.lines);
        violations.push(Violation::new(source.path, function.line, message));
    }
    for word in UNFINISHED {
        let lines = lines_with_word(&source.code, word).into_iter();
        violations.extend(lines.map(|line| Violation::new(source.path, line, format!("{word} marks unfinished code"))));
    }
    violations
}

fn empty_name(path: &str) -> Option<&str> {
    Path::new(path)
        .components()
        .filter_map(|part| Path::new(part.as_os_str()).file_stem()?.to_str())
        .find(|name| EMPTY_NAMES.contains(name))
}

fn machine_paths(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for prefix in MACHINE_PATHS.iter().map(|parts| parts.concat()) {
        let lines = text.lines().enumerate().filter(|(_, line)| line.contains(&prefix));
        violations.extend(
            lines.map(|(index, _)| Violation::new(path, index + 1, "this path exists only on a developer's machine")),
        );
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(path: &str, text: &str) -> usize {
        check_any(path, text.as_bytes()).len()
    }

    fn rust(text: &str) -> usize {
        check_rust(&Source::new("src/x.rs", text)).len()
    }

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(any("data.bin", &"x".repeat(FILE_BYTES_MAX)), 0);
        assert_eq!(any("data.bin", &"x".repeat(FILE_BYTES_MAX + 1)), 1);
        assert_eq!(any("README.md", &"x\n".repeat(README_LINES_MAX)), 0);
        assert_eq!(any("README.md", &"x\n".repeat(README_LINES_MAX + 1)), 1);
        assert_eq!(rust(&"use x;\n".repeat(PRODUCTION_LINES_MAX)), 0);
        assert_eq!(rust(&"use x;\n".repeat(PRODUCTION_LINES_MAX + 1)), 1);
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "x;\n".repeat(lines - 2));
        assert_eq!(rust(&function(FUNCTION_LINES_MAX)), 0);
        assert_eq!(rust(&function(FUNCTION_LINES_MAX + 1)), 1);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(600));
        assert_eq!(rust(&tests), 0);
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(any("src/read/utils.rs", ""), 1);
        assert_eq!(any("src/common/mod.rs", ""), 1);
        assert_eq!(any("src/read/commons.rs", ""), 0);
    }

    #[test]
    fn unfinished_code_is_found() {
        for word in UNFINISHED {
            assert_eq!(rust(&format!("fn f() {{ {word}() }}")), 1, "{word}");
            assert_eq!(rust(&format!("fn f() {{ \"{word}\" }}")), 0, "{word}");
        }
    }

    #[test]
    fn paths_of_a_developers_machine_are_found() {
        for parts in MACHINE_PATHS {
            assert_eq!(any("docs/x.md", &format!("see {}somebody", parts.concat())), 1);
        }
        assert_eq!(any("docs/x.md", "see /etc/medlift and /usr/bin"), 0);
    }
}
