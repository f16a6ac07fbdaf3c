//! Rule: every Rust file is compiled. The file of the parent module must contain `mod NAME;`. Otherwise the compiler
//! ignores the file without a message.

use std::path::Path;

use super::Violation;

/// Files that cargo finds by itself.
const ROOTS: [&str; 3] = ["main.rs", "lib.rs", "build.rs"];

/// Folders whose files cargo finds by itself.
const ROOT_FOLDERS: [&str; 4] = ["benches", "examples", "tests", "src/bin"];

/// Checks the files of the repository. `read` returns the text of a file, or `None` if there is no such file.
pub(super) fn check(files: &[String], read: impl Fn(&str) -> Option<String>) -> Vec<Violation> {
    let is_unnamed = |path: &&String| {
        parents(path).is_some_and(|(name, parents)| {
            let line = format!("mod {name};");
            let names = |text: String| {
                text.lines()
                    .filter(|found| !found.trim_start().starts_with("//"))
                    .any(|found| found.trim().trim_start_matches("pub ").ends_with(&line))
            };
            !parents.iter().any(|parent| read(parent).is_some_and(names))
        })
    };
    let message = "no parent module declares this file with `mod`, so it is not compiled";
    files.iter().filter(is_unnamed).map(|path| Violation::new(path, 1, message)).collect()
}

/// Returns the name of the file's module, and the possible paths of the file that must declare the module. For
/// `src/read/a.rs`, the name is `a`, and the paths are `src/read/mod.rs`, `src/read.rs` and so on. Returns `None` if
/// cargo finds the file by itself.
fn parents(path: &str) -> Option<(String, Vec<String>)> {
    let stem = path.strip_suffix(".rs")?;
    let (folder, name) = stem.rsplit_once('/')?;
    let is_root = ROOTS.iter().any(|root| path.ends_with(&format!("/{root}")));
    if is_root || ROOT_FOLDERS.iter().any(|root| folder == *root || folder.ends_with(&format!("/{root}"))) {
        return None;
    }
    let (folder, name) = if name == "mod" { folder.rsplit_once('/')? } else { (folder, name) };
    let in_folder = ["mod.rs", "lib.rs", "main.rs"].map(|file| format!("{folder}/{file}"));
    let beside = format!("{folder}.rs");
    let is_nested = Path::new(folder).file_name().is_some();
    is_nested.then(|| (name.to_owned(), in_folder.into_iter().chain([beside]).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let check = |path: &str, parent: (&str, &str), expected: usize| {
            let read = |file: &str| (file == parent.0).then(|| parent.1.to_owned());
            assert_eq!(check(&[path.to_owned()], read).len(), expected, "{path} {parent:?}");
        };
        check("src/read/text.rs", ("src/read/mod.rs", "mod block;\nmod text;\n"), 0);
        check("src/read/text.rs", ("src/read/mod.rs", "mod block;\nmod context;\n"), 1);
        check("src/read/text.rs", ("src/read/mod.rs", "// mod text;\n"), 1);
        check("src/read/text.rs", ("src/read.rs", "    pub(crate) mod text;\n"), 0);
        check("src/read/mod.rs", ("src/lib.rs", "pub mod read;\n"), 0);
        check("src/read/mod.rs", ("src/lib.rs", "pub mod write;\n"), 1);
        check("tests/it/ledger.rs", ("tests/it/main.rs", "mod load;\n"), 1);
        check("tests/it/ledger.rs", ("tests/it/main.rs", "mod ledger;\nmod load;\n"), 0);
        for path in
            ["src/main.rs", "xtask/src/lib.rs", "benches/stages.rs", "examples/x.rs", "docs/x.md", "tests/it/main.rs"]
        {
            check(path, ("", ""), 0);
        }
    }
}
