//! Compares every part of real messages with the Python package `hl7`. The messages are not in the repository; without
//! them, the test does nothing. The package is from PyPI; without it, the test does nothing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value as Json, json};
use testkit::pypi::Wheel;

use super::*;
use crate::read::{Framing, records};

const HL7: Wheel = Wheel {
    requirement: "hl7==0.4.5",
    sha256: "f46bf7c165801fd40e8fcc9f2be41c5794415039adc97646aee7ee6b20ce8ccd",
    program: "hl7",
    version: "0.4.5",
};

/// Prints the reason why a test does nothing. Does not use `eprintln!`, because the test harness captures its output.
fn skip(reason: &str) {
    let notice = format!("\nSKIPPED: the comparison of HL7 messages with another program: {reason}\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes());
}

/// Returns the paths of the messages: beside the repository, or in the directory `MEDLIFT_HL7V2`.
fn paths() -> Vec<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hl7v2");
    let directory = std::env::var_os("MEDLIFT_HL7V2").map_or(beside, PathBuf::from);
    let files = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "hl7"));
    paths.sort();
    paths
}

/// Returns every part of a message: name and number of the segment, numbers of field, repetition, component and
/// subcomponent, the text as it is written, and the decoded text.
fn parts(row: &[u8]) -> Vec<Json> {
    let mut index = Index::default();
    let message = Message::split(row, &mut index).unwrap();
    let decoder = Decoder::new(message, Charset::Utf8).unwrap();
    let mut parts = Vec::new();
    for (segment, s) in message.segments().zip(1..) {
        for (field, f) in segment.fields().zip(1..) {
            for (repetition, r) in field.children().zip(1..) {
                for (component, c) in repetition.children().zip(1..) {
                    for (leaf, n) in component.children().zip(1..) {
                        let (text, kept) = decoded(decoder, leaf.value());
                        assert_eq!(kept, 0, "the escapes of these messages are known");
                        let raw = std::str::from_utf8(leaf.text()).unwrap();
                        parts.push(json!([segment.id().as_str(), s, f, r, c, n, raw, text]));
                    }
                }
            }
        }
    }
    parts
}

/// Removes the known differences between Medlift and the package from the output of the package:
/// - It decodes `MSH-2` like other text, so it takes the escape character there for the beginning of an escape. The
///   field declares the separators and has no escapes.
///
/// [`without_blanks`] removes the other known difference.
fn explained(mut theirs: Json) -> Json {
    let is_msh_2 = theirs[0] == "MSH" && theirs[2] == 2;
    if is_msh_2 {
        theirs[7] = theirs[6].clone();
    }
    theirs
}

/// Removes blanks at the end of a message's last part. The package removes them before it reads the message. Medlift keeps
/// them, because they are part of the message.
fn without_blanks(parts: &mut [Json]) {
    let Some(last) = parts.last_mut() else { return };
    for text in [6, 7] {
        last[text] = last[text].as_str().unwrap().trim_end().into();
    }
}

#[test]
fn every_part_of_real_messages_is_read_as_another_program_reads_it() {
    let paths = paths();
    if paths.is_empty() {
        return skip("the messages are not here; set MEDLIFT_HL7V2 to their directory");
    }
    let wheel = match HL7.package() {
        Ok(wheel) => wheel,
        Err(error) => return skip(&error.to_string()),
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/parse/hl7/tests/peer.py");
    let output = Command::new("python3").env("PYTHONPATH", wheel).arg(script).args(&paths).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = String::from_utf8(output.stdout).unwrap();
    let mut theirs = theirs.lines().map(|line| explained(serde_json::from_str(line).unwrap()));
    for path in &paths {
        let text = fs::read(path).unwrap();
        let rows: Vec<_> = records(&text, Framing::Hl7).collect();
        assert_eq!(rows.len(), 1, "{}", path.display());
        let row = &text[rows[0].start as usize..rows[0].end as usize];
        let mut ours = parts(row);
        without_blanks(&mut ours);
        for part in ours {
            assert_eq!(Some(part), theirs.next(), "{}", path.display());
        }
    }
    assert_eq!(theirs.next(), None);
}
