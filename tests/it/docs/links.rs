//! Checks the links between the documents.

use std::fs;
use std::path::Path;

use regex::Regex;

/// Returns the links of a document to a file that does not exist, or to a heading that the file does not have.
pub(super) fn broken(document: &Path, text: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a regex");
    let targets = link.captures_iter(text).map(|found| found[1].to_owned());
    let is_broken = |target: &String| !target.contains("://") && !exists(document, text, target);
    targets.filter(is_broken).map(|target| format!("{}: {target}", document.display())).collect()
}

fn exists(document: &Path, text: &str, target: &str) -> bool {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = document.parent().expect("a directory").join(file);
    if anchor.is_empty() {
        return path.exists();
    }
    let other = if file.is_empty() { Some(text.to_owned()) } else { fs::read_to_string(path).ok() };
    other.is_some_and(|text| anchors(&text).any(|known| known == anchor))
}

/// Returns the anchors of the headings, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        heading.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    })
}

#[test]
fn a_link_without_a_target_is_found() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = "# A `b`: c\n[x](Cargo.toml) [x](#a-b-c) [x](https://h/y) [x](no.md) [x](#d) [x](Cargo.toml#d)";
    let found: Vec<String> =
        broken(&document, text).iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect();
    assert_eq!(found, ["no.md", "#d", "Cargo.toml#d"]);
}
