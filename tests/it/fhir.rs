//! Tests of FHIR resources: loaded, verified and exported with the built-in spec.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bson::{Bson, Document, doc};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::load::{Place, block_on, text};

const SPEC: [&str; 2] = ["--spec", "fhir-r4"];
/// The counts of a load that are compared.
const ENDS: [&str; 6] = ["read", "written", "already_present", "duplicates", "conflicts", "rejected"];

/// Returns the sums of the counts of all types.
fn total(summary: &Json) -> Vec<u64> {
    ENDS.iter()
        .map(|name| summary["total"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {summary}")))
        .collect()
}

/// Returns the summary of one type.
fn of_type<'s>(summary: &'s Json, kind: &str) -> &'s Json {
    let further = summary["further"].as_array().expect("several kinds");
    std::iter::once(summary).chain(further).find(|found| found["kind"] == kind).expect("a kind of the spec")
}

fn find(place: &Place, collection: &str, filter: Document) -> Document {
    let documents = place.collection(collection);
    block_on(async move { documents.find_one(filter).await }).unwrap().expect("the document is stored")
}

/// Returns JSON without white space, with its strings written in one way and its numbers as they are.
fn normal(json: &str) -> String {
    match json.as_bytes().first() {
        Some(b'{') => {
            let keys: Vec<(String, Box<RawValue>)> = {
                struct Pairs(Vec<(String, Box<RawValue>)>);
                impl<'de> serde::Deserialize<'de> for Pairs {
                    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                        struct Visit;
                        impl<'de> serde::de::Visitor<'de> for Visit {
                            type Value = Pairs;
                            fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
                                formatter.write_str("an object")
                            }
                            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                                let mut pairs = Vec::new();
                                while let Some(pair) = map.next_entry()? {
                                    pairs.push(pair);
                                }
                                Ok(Pairs(pairs))
                            }
                        }
                        from.deserialize_map(Visit)
                    }
                }
                serde_json::from_str::<Pairs>(json).expect("an object").0
            };
            let pair = |(key, value): &(String, Box<RawValue>)| format!("{key:?}:{}", normal(value.get()));
            format!("{{{}}}", keys.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(json).expect("an array");
            format!("[{}]", items.iter().map(|item| normal(item.get())).collect::<Vec<_>>().join(","))
        }
        Some(b'"') => format!("{:?}", serde_json::from_str::<String>(json).expect("a string")),
        _ => json.to_owned(),
    }
}

/// Returns the lines of an NDJSON text in normal form, sorted.
fn normal_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(normal).collect();
    lines.sort();
    lines
}

fn export(place: &Place, options: &[&str]) -> String {
    place.run(&[&["export"], &SPEC[..], options].concat()).expect_code(0).stdout
}

/// Returns the files with sample resources beside the repository. Prints a notice if they are not there.
fn samples() -> Option<Vec<PathBuf>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/fhir");
    let Ok(files) = fs::read_dir(&folder) else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\nSKIPPED: the FHIR samples are not here\n");
        return None;
    };
    Some(
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "gz")).collect(),
    )
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn all_sample_resources_are_loaded_proven_and_exported() {
    let Some(samples) = samples() else { return };
    let place = Place::new("fhir_samples");
    let rejects = place.dir.path().join("rejects");
    fs::create_dir(&rejects).unwrap();
    let folder = samples[0].parent().unwrap().join("*.ndjson.gz");
    let options = [&SPEC[..], &["--rejects", text(&rejects)]].concat();
    let summary = place.load(&folder, &options, 0);
    let resources: Vec<String> = samples.iter().map(|path| unpacked(path)).collect();
    let count = resources.iter().map(|text| text.lines().count() as u64).sum::<u64>();
    assert_eq!(total(&summary), [count, count, 0, 0, 0, 0], "{summary}");
    assert_eq!(summary["sources"][0]["format"], "fhir, ndjson");
    let further = summary["further"].as_array().unwrap();
    let equal = std::iter::once(&summary).chain(further).map(|kind| kind["verification"]["equal"].as_u64().unwrap());
    assert_eq!(equal.sum::<u64>(), count);
    assert!(normal_lines(&export(&place, &[])) == normal_lines(&resources.concat()), "each resource must come back");
    place.run(&[&["verify", text(&folder)], &SPEC[..]].concat()).expect_code(0);
    let again = place.load(&folder, &options, 0);
    assert_eq!(total(&again), [count, 0, count, 0, 0, 0], "{again}");
}
