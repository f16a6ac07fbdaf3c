//! Finds the program's messages in its source, and compares them with the page about troubleshooting.
//!
//! A text counts as a message if it is the text of an error (`#[error("…")]`), if it gives advice after a semicolon, or
//! if it is in a file that only describes failures. The reasons of rejects count too.

use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// Files in which every text of several words is a message.
const ONLY_MESSAGES: &[&str] = &["server/failure.rs", "server/uri.rs"];

/// Files and directories whose texts are not checked:
/// - tests
/// - `from_toml`: the problems of a spec. They all have the form `FILE:LINE: KEY: PROBLEM; REMEDY`.
/// - `tool_options.rs`: explanations of options that the MongoDB Database Tools have and Medlift does not have. They
///   also have one common form.
const LEFT_OUT: &[&str] = &["/tests.rs", "/tests/", "/simulation", "/from_toml/", "/tool_options.rs"];

/// Texts that users do not see as a message of their own.
const INTERNAL: &[&str] = &[
    // Parts of the driver's error texts. Medlift recognises failures by them.
    "failed to lookup address",
    "Name or service not known",
    "corrupt message of type InvalidContentType",
    "to execute command { ",
    "not valid for name",
    // Results that are not problems.
    "{} to do; run without --plan to carry out:",
    "true: {}; false: {}",
    "verified: the collection contains all accepted rows of the source, except for the records that are counted below as \
     refused, kept as stored or superseded; it also contains other documents",
];

/// A text with fewer bytes cannot identify a message.
const PIECE_MIN: usize = 9;

/// A text of at least this many bytes is enough to identify a message.
const PIECE_ENOUGH: usize = 20;

/// Returns the messages that the page lacks, each with its file.
pub(super) fn missing(source: &Path, page: &str) -> Vec<String> {
    let page = plain(page);
    let mut missing = Vec::new();
    for path in rust_files(source) {
        let text = fs::read_to_string(&path).expect("a source file");
        let name = path.strip_prefix(source).expect("below src/").display().to_string();
        let in_this_file = messages(&text, ONLY_MESSAGES.contains(&name.as_str())).into_iter().chain(reasons(&text));
        missing.extend(in_this_file.filter(|message| !is_on(&page, message)).map(|lost| format!("src/{name}: {lost}")));
    }
    missing
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] }).collect();
    files.retain(|path| !LEFT_OUT.iter().any(|part| path.to_string_lossy().contains(part)));
    files.sort();
    files
}

/// Returns true if the page contains the message. Also returns true if the page need not contain it: the message is in
/// [`INTERNAL`], or it consists almost only of placeholders.
fn is_on(page: &str, message: &str) -> bool {
    let piece = piece(message);
    piece.len() < PIECE_MIN || INTERNAL.contains(&message) || page.contains(&piece)
}

/// Returns the text by which the message is searched for on the page.
///
/// The message is split at its placeholders and sentence ends. The result is the first piece of at least
/// [`PIECE_ENOUGH`] bytes, or else the longest piece. The advice after `; ` is used only if the text before it is too
/// short, because several messages can have the same advice.
fn piece(message: &str) -> String {
    let message = plain(message);
    let between = Regex::new(r"\{[^{}]*\}|\. ").expect("a regex");
    let choose = |text: &str| {
        let punctuation = |letter: char| " :;,.(')".contains(letter);
        let pieces: Vec<&str> = between.split(text).map(|piece| piece.trim_matches(punctuation)).collect();
        let first = pieces.iter().find(|piece| piece.len() >= PIECE_ENOUGH).copied();
        first.or(pieces.into_iter().max_by_key(|piece| piece.len())).unwrap_or_default().to_owned()
    };
    let cause = choose(message.split("; ").next().unwrap_or_default());
    if cause.len() < PIECE_MIN { choose(&message) } else { cause }
}

/// Removes backquotes and backslashes, and joins lines, so that texts in Rust and in Markdown can be compared.
fn plain(text: &str) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    joined.replace(['`', '\\'], "").replace("{{", "{").replace("}}", "}")
}

/// Returns the messages in the text of a Rust file, without those of its tests. If `are_all` is true, every text of
/// several words is a message.
fn messages(text: &str, are_all: bool) -> Vec<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let comment_or_quote = Regex::new(r#"(?m)^\s*//.*$|b?'\\?"'"#).expect("a regex");
    let text = comment_or_quote.replace_all(text, "");
    let literal = Regex::new(r#"(?s)"((?:[^"\\]|\\.)*)""#).expect("a regex");
    let broken_line = Regex::new(r"\\\n\s*").expect("a regex");
    let mut found = Vec::new();
    for captures in literal.captures_iter(&text) {
        let (whole, inner) = (captures.get(0).expect("a match"), captures.get(1).expect("a group"));
        let inner = broken_line.replace_all(inner.as_str(), "");
        let is_error = text[..whole.start()].trim_end().ends_with("#[error(");
        let begins_like_advice = inner.starts_with(|letter: char| letter.is_uppercase() || letter == ';');
        let gives_advice = are_all || inner.contains("; ") && !begins_like_advice;
        if !inner.contains('\n') && (is_error || gives_advice && inner.matches(' ').count() >= 3) {
            found.push(inner.into_owned());
        }
    }
    found
}

/// Returns the names of the reasons for rejects, if this is the file that lists them.
fn reasons(text: &str) -> Vec<String> {
    let Some((_, list)) = text.split_once("\nreasons! {") else { return Vec::new() };
    let name = Regex::new(r#"(?m)^    \w+ = "(\w+)",$"#).expect("a regex");
    name.captures_iter(list).map(|found| found[1].to_owned()).collect()
}

#[test]
fn messages_are_found_in_rust() {
    let rust = r#"
        // "in a comment; not a message"
        #[error("short")]
        Short,
        #[error(
            "cannot read {name}: \
             it is `empty`"
        )]
        let advice = format!("a word is missing; add it");
        let no_message = "four words are enough";
        let help = "Text of an option; may be left out";
        let quote = b'"'; let other = "{x} is wrong; correct \"{x}\"";
        #[cfg(test)]
        mod tests { "in a test; not a message" }
    "#;
    let expected = ["short", "cannot read {name}: it is `empty`", "a word is missing; add it"];
    let found = messages(rust, false);
    assert_eq!(found[..3], expected);
    assert_eq!(found[3..], ["{x} is wrong; correct \\\"{x}\\\""]);
    assert!(found.len() == 4 && messages(rust, true).contains(&"four words are enough".to_owned()));
    assert_eq!(reasons("\nreasons! {\n    /// X.\n    Missing = \"missing\",\n}"), ["missing"]);
}

#[test]
fn a_message_is_recognised_by_its_longest_fixed_text() {
    let check = |message: &str, expected: &str| assert_eq!(piece(message), expected, "{message}");
    check("cannot read `{name}`: it is {what}, not text; export the data", "cannot read");
    check("{why}; move it away, or name another file", "move it away, or name another file");
    check(
        "the quotes can be read in two ways. As quotes around cells, there are {n}",
        "the quotes can be read in two ways",
    );
    check("{a}: {b}", "");
    let page = "| `cannot read FILE: it is a\n  PDF, not text` |";
    assert!(is_on(&plain(page), "cannot read `{name}`: it is {what}, not text; export the data"));
    assert!(!is_on(&plain(page), "cannot write `{name}`") && is_on(&plain(page), "{a}: {b}"));
}
