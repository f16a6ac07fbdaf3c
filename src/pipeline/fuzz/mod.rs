//! Fuzzing: changes real and synthetic sources at random, reads them like a load, and checks what must be true of any
//! source. `cargo xtask fuzz` runs these tests. They are no ordinary tests, because they have no fixed number of cases.
//!
//! If a check fails, the source is written to the directory `fuzz` in the target directory, and the test prints the
//! command that checks this source again. A run with the same seed makes the same sources only if the files beside the
//! repository are the same.

mod mutate;

use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use testkit::json::normal;

use super::*;
use crate::encode::{EncodedBlock, IdentityKey, Stored, whole_of};
use crate::error::Error;
use crate::read::{Block, RowSpan};
use crate::spec::Dataset;

use mutate::Random;

/// Time for which a target runs if `MEDLIFT_FUZZ_SECONDS` does not set it.
const SECONDS_DEFAULT: u64 = 5;

/// Sources are not longer than this. Short sources are faster, and have nearly all faults that long ones have.
const SOURCE_BYTES_MAX: usize = 4_000;

/// A format that is fuzzed.
struct Target {
    name: &'static str,
    spec: &'static str,
    /// Extension of the file names of its sources.
    extension: &'static str,
    /// Sources that are part of this program, so that every run has some.
    seeds: &'static [&'static str],
    /// Pieces that have a meaning in the format.
    tokens: &'static [&'static str],
    /// A directory with more sources, beside the repository.
    more_seeds: &'static str,
    /// Checks a row that is not rejected. Receives its bytes and its document.
    check: fn(&[u8], &[u8]),
}

const HL7: Target = Target {
    name: "hl7",
    spec: "hl7v2",
    extension: "hl7",
    seeds: &[
        "MSH|^~\\&|LAB^2.16&x|||R|20040629165819.5-0500||ADT^A01^ADT_A01|7|P|2.5||||||UNICODE UTF-8\rEVN|A01|2004\r\
         PID|1||A1^^^H&1.2&ISO^MR~B2^^^G||Do\\T\\e^Ann~\"\"||\"\"|F\rPV1|1|I|W1^2|||||||||||||||||V7\r",
        "FHS|^~\\&\rBHS|^~\\&\rMSH|^~\\&|a||||2024||ORU^R01|1|P|2.3\r\nOBX|1|TX|a||x\\.br\\y^z~2\r\nOBX|2|NM|b||\\X41\\\r\nBTS|1\rFTS|1\r",
        "\u{b}MSH#*:?!#a*b!c:d?F?###20240131#\rPID#1|2*3^4\u{1c}\r\u{b}MSH|^~\\&|||||||||||||||||8859/1\rZP1|own\u{1c}\r",
    ],
    tokens: &[
        "MSH|^~\\&|",
        "\rPID|",
        "\rOBX|1|",
        "\rMSH|",
        "\rBTS|2",
        "\rFTS|1",
        "BHS|^~\\&",
        "|",
        "^",
        "~",
        "&",
        "\\",
        "\\F\\",
        "\\.br\\",
        "\\X0D\\",
        "\\Zx\\",
        "\"\"",
        "\r",
        "\n",
        "\r\n",
        "\u{b}",
        "\u{1c}\r",
        "\0",
        "\u{feff}",
        "8859/1",
        "é",
        "20240131235959.1234+0100",
    ],
    more_seeds: "hl7v2",
    check: |row, document| {
        assert_eq!(whole_of(document, "message").as_deref(), Some(row), "the stored message must be the row");
        assert_eq!(crate::parse::hl7::tests::joined_again(row), Some(row.to_vec()), "the parts must be the message");
    },
};

const JSON: Target = Target {
    name: "plain_json",
    spec: JSON_SPEC,
    extension: "ndjson",
    seeds: &[
        "{\"id\":\"a\",\"n\":1.50,\"at\":\"2024-01-31T08:00:00.5+01:00\",\"tags\":[\"x\",null,\"y\"],\
         \"names\":[{\"family\":\"Doe\",\"given\":[\"Ann\",\"J.\"]}]}\n{\"id\":\"b\",\"n\":null}\n",
        "[{\"id\":\"\\u00e9\\n\\\"\",\"n\":-0.0,\"names\":[]},\n {\"id\": \"c\", \"n\": 1e3, \"more\": {\"deep\": [1, [2, {}]]}}]",
    ],
    tokens: &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0000",
        "\\ud800",
        "\\\"",
        "null",
        "true",
        "1e999",
        "-0",
        "0.1",
        "[[[[",
        "\"id\":",
        "\"n\":",
        "\"names\":",
        "\"given\":",
        "\"tags\":",
        "\n",
        "\r\n",
        " ",
        "\u{feff}",
        "é",
        "\0",
    ],
    more_seeds: "fhir",
    check: |row, document| {
        check_json(row);
        assert!(Stored::parse(document).is_some());
    },
};

const FHIR: Target = Target {
    name: "fhir",
    spec: FHIR_SPEC,
    extension: "json",
    seeds: &[
        "{\"resourceType\":\"Patient\",\"id\":\"a\",\"meta\":{\"lastUpdated\":\"2024-01-31T08:00:00.5+01:00\"},\
         \"identifier\":[{\"system\":\"s\",\"value\":\"7\"}],\"birthDate\":\"1980-01\"}\n\
         {\"resourceType\":\"Observation\",\"id\":\"o\",\"subject\":{\"reference\":\"Patient/a\"},\"valueQuantity\":{\"value\":1.50}}\n",
        "{\"resourceType\":\"Bundle\",\"type\":\"batch\",\"entry\":[{\"fullUrl\":\"urn:uuid:0123abcd-4567-89ef-0123-456789abcdef\",\
         \"resource\":{\"resourceType\":\"Condition\",\"subject\":{\"reference\":\"urn:uuid:0123abcd-4567-89ef-0123-456789abcdef\"},\
         \"x\":[1e2,-0,1E2,12345678901234567890,{\"y\":null}]}}]}",
    ],
    tokens: &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\u0000",
        "\\ud800",
        "\\n",
        "null",
        "1e999",
        "-0",
        "0.10",
        "1E-7",
        "[[[[",
        "\"resourceType\":\"Patient\",",
        "\"entry\":[",
        "\"resource\":",
        "\"id\":",
        "\"reference\":\"Patient/1\"",
        "\n",
        "é",
        "\0",
    ],
    more_seeds: "fhir",
    check: |row, document| {
        let stored = whole_of(document, "resource").expect("the resource is stored");
        assert_eq!(resource_of(&stored), resource_of(row), "the stored resource must be the row");
    },
};

const TARGETS: [Target; 3] = [HL7, JSON, FHIR];

/// Checks that a text is JSON. Does not decode strings, because a load accepts an escape such as `\ud800` in values
/// that it does not read.
fn check_json(text: &[u8]) {
    assert!(serde_json::from_slice::<&RawValue>(text).is_ok(), "a row that is not rejected must be JSON");
}

/// Returns the resource of a row, or of an entry of a Bundle, in normal form.
fn resource_of(text: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Row<'r> {
        #[serde(rename = "resourceType", borrow)]
        kind: Option<&'r RawValue>,
        #[serde(borrow)]
        resource: Option<&'r RawValue>,
    }
    let text = std::str::from_utf8(text).expect("UTF-8");
    let row: Row<'_> = serde_json::from_str(text).expect("JSON");
    normal(row.resource.filter(|_| row.kind.is_none()).map_or(text, RawValue::get))
}

/// A short spec, because a long one would take time that is needed for the sources.
const FHIR_SPEC: &str = "name = 'x'\n[source]\ntype = 'fhir'\n\
    [[document]]\nresource = 'Patient'\npatient = { identifier = 'identifier', prefer = ['MR'] }\n\
    [document.search]\nidentifier = { identifier = 'identifier', privacy = 'direct-identifier' }\n\
    birthdate = { date = 'birthDate', privacy = 'quasi-identifier' }\n\
    [[document]]\nresource = 'Condition'\npatient = { reference = 'subject' }\n\
    [document.search]\nsubject = { reference = 'subject', privacy = 'direct-identifier' }\n\
    code = { token = 'code.coding', privacy = 'clinical' }\n\
    [[document]]\nresource = 'Observation'\n\
    [document.search]\nvalue = { code = 'valueQuantity.unit', privacy = 'clinical' }\n";

const JSON_SPEC: &str = "name = 'x'\n[identity]\nfields = ['id']\n\
    [[field]]\nname = 'id'\ntype = 'string'\npresence = 'nullable'\nprivacy = 'none'\n\
    [[field]]\nname = 'n'\ntype = 'decimal128'\npresence = 'optional'\nprivacy = 'none'\n\
    [[field]]\nname = 'at'\ntype = 'datetime'\npresence = 'optional'\nprivacy = 'none'\n\
    [[field]]\nname = 'tags'\ntype = 'string'\nrepeats = true\npresence = 'optional'\nprivacy = 'none'\n\
    [[group]]\nname = 'names'\nrepeats = 'names'\n\
    [[field]]\nname = 'names.family'\ntype = 'string'\npresence = 'optional'\nprivacy = 'none'\n\
    [[field]]\nname = 'names.given'\ntype = 'string'\nrepeats = true\npresence = 'optional'\nprivacy = 'none'\n";

impl Target {
    fn dataset(&self) -> Dataset {
        let read = if self.spec.contains('\n') {
            Dataset::from_toml(self.spec, "a test")
        } else {
            Dataset::from_file(Path::new(self.spec))
        };
        read.expect("the spec of a target must be valid")
    }

    /// Returns the sources from which others are made.
    fn corpus(&self) -> Vec<Vec<u8>> {
        let mut corpus: Vec<Vec<u8>> = self.seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect();
        let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(self.more_seeds);
        let files = fs::read_dir(beside).into_iter().flatten().flatten().map(|file| file.path());
        let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
        files.sort();
        corpus.extend(files.iter().filter_map(|path| start_of(path).ok()));
        corpus
    }

    /// Reads a source like a load, and checks every row.
    fn check(&self, dataset: &Dataset, path: &Path) {
        let wishes = Wishes { sources: vec![path.display().to_string()], ..Wishes::default() };
        let plan = match Plan::new(dataset.clone(), IdentityKey::default(), &wishes) {
            Ok(plan) => plan,
            // A source that is refused as a whole, for example because it is empty.
            Err(Error::Layout { .. } | Error::Read(_)) => return,
            Err(error) => panic!("unexpected error: {error}"),
        };
        let mut reader = plan.open(0).expect("a source that was opened once can be opened again");
        let ids = plan
            .bundle_ids(0, || false, &AtomicU64::default())
            .expect("a source that was opened once can be read again");
        let mut bench = Bench::new(&plan, 0, None).with_bundle_ids(ids);
        while let Some(block) = reader.next_block(Block::default()).expect("a file can be read to its end") {
            let encoded = bench.encode(&block, vec![Vec::new(); plan.kinds.len()]);
            self.check_block(&block, &encoded);
        }
    }

    fn check_block(&self, block: &Block, encoded: &EncodedBlock) {
        let documents: usize = encoded.kinds.iter().map(|kind| kind.entries.len()).sum();
        assert_eq!(encoded.rows as usize, block.rows.len());
        assert_eq!(block.rows.len(), documents + encoded.rejects.len(), "every row must have one outcome");
        for kind in &encoded.kinds {
            for entry in &kind.entries {
                let span: RowSpan = block.rows[entry.row as usize];
                (self.check)(block.row(span), kind.document(entry));
                let is_valid = bson::deserialize_from_slice::<bson::Document>(kind.document(entry)).is_ok();
                assert!(is_valid, "a document must be valid BSON");
            }
        }
    }

    /// Checks changed sources until the time is over.
    fn run(&self) {
        if let Some(kept) = std::env::var_os("MEDLIFT_FUZZ_FILE") {
            self.check(&self.dataset(), Path::new(&kept));
            return println!("{}: 1 source checked, that in MEDLIFT_FUZZ_FILE", self.name);
        }
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let until = Instant::now() + Duration::from_secs(number("MEDLIFT_FUZZ_SECONDS").unwrap_or(SECONDS_DEFAULT));
        let seed = number("MEDLIFT_FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        let (dataset, corpus) = (self.dataset(), self.corpus());
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(format!("source.{}", self.extension));
        let mut random = Random::new(seed);
        let mut cases = 0_u64;
        while Instant::now() < until {
            let source = mutate::source(&corpus, self.tokens, SOURCE_BYTES_MAX, &mut random);
            fs::write(&path, &source).expect("written");
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.check(&dataset, &path))) {
                let kept = self.keep(&source);
                println!("{}: case {cases} failed, made with MEDLIFT_FUZZ_SEED={seed}. To check it again:", self.name);
                println!(
                    "MEDLIFT_FUZZ_FILE='{}' cargo test --lib -- --ignored --exact --nocapture pipeline::fuzz::{}",
                    kept.display(),
                    self.name
                );
                std::panic::resume_unwind(panic);
            }
            cases += 1;
        }
        println!("{}: {cases} sources checked, made from {} others with the seed {seed}", self.name, corpus.len());
        assert!(cases > 0);
    }

    /// Keeps a source for which a check fails.
    fn keep(&self, source: &[u8]) -> PathBuf {
        let dir = testkit::target_dir().join("fuzz");
        let path = dir.join(format!("{}.{}", blake3::hash(source).to_hex(), self.extension));
        fs::create_dir_all(dir).and_then(|()| fs::write(&path, source)).expect("the source is written");
        path
    }
}

/// Returns the beginning of a file. If the file is compressed, returns the beginning of its unpacked content.
fn start_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
    let from: Box<dyn Read> =
        if is_compressed { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut start = Vec::new();
    from.take(SOURCE_BYTES_MAX as u64).read_to_end(&mut start)?;
    Ok(start)
}

#[test]
#[ignore = "runs for as long as `cargo xtask fuzz` says"]
fn hl7() {
    HL7.run();
}

#[test]
#[ignore = "runs for as long as `cargo xtask fuzz` says"]
fn plain_json() {
    JSON.run();
}

#[test]
#[ignore = "runs for as long as `cargo xtask fuzz` says"]
fn fhir() {
    FHIR.run();
}

#[test]
fn the_sources_from_which_others_are_made_are_checked() {
    for target in TARGETS {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(format!("source.{}", target.extension));
        for seed in target.seeds {
            fs::write(&path, seed).expect("written");
            target.check(&target.dataset(), &path);
        }
    }
}
