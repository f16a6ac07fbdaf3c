//! Tests of HL7 v2 messages: loaded, verified and exported with the built-in spec.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bson::spec::BinarySubtype;
use bson::{Document, doc};

use crate::load::{ENDS, Place, block_on, counts, text};
use crate::program::medlift;
use crate::server::shared;

const SPEC: [&str; 2] = ["--spec", "hl7v2"];

/// A message with an admission of this patient.
fn admission(patient: &str, control_id: &str) -> String {
    [
        &format!(r"MSH|^~\&|ADT1|GOODHEALTH|LAB|LAB|20260102030405.5+0100||ADT^A01^ADT_A01|{control_id}|P|2.5"),
        "EVN|A01|202601020300",
        &format!("PID|1||77^^^OTHER^PI~{patient}^^^GOODHEALTH^MR||Doe^Ann"),
        r"PV1|1|I|2000^2012^01||||004777^Attend\T\Co||||||||||||V1",
    ]
    .join("\r")
}

fn find(place: &Place, filter: Document) -> Document {
    let messages = place.collection("messages");
    block_on(async move { messages.find_one(filter).await }).unwrap().expect("the message is stored")
}

fn text_of<'d>(document: &'d Document, name: &str) -> &'d str {
    document.get_str(name).expect("a text")
}

#[test]
fn messages_are_stored_once_with_their_header_and_patient() {
    let place = Place::new("hl7");
    let (first, second) = (admission("1", "M1"), admission("2", "M2"));
    let source = place.write("adt.hl7", format!("{first}\r{second}\r{first}\r"));
    let summary = place.load(&source, &SPEC, 0);
    assert_eq!(counts(&summary, &ENDS), [3, 2, 0, 1, 0]);
    assert_eq!(summary["sources"][0]["format"], "hl7");
    assert_eq!(summary["verification"]["equal"], 2);
    let stored = find(&place, doc! { "controlId": "M2" });
    assert_eq!((text_of(&stored, "type"), text_of(&stored, "event")), ("ADT", "A01"));
    assert_eq!(stored.get_datetime("sentAt").unwrap().timestamp_millis(), 1_767_319_445_500);
    assert_eq!(text_of(&stored, "sentAtPrecision"), "fraction");
    assert_eq!(stored.get_datetime("eventAt").unwrap().timestamp_millis(), 1_767_322_800_000);
    assert_eq!(text_of(&stored, "eventAtPrecision"), "minute");
    let identifiers = stored.get_array("patientIdentifiers").unwrap();
    let second_identifier = doc! { "value": "2", "authority": "GOODHEALTH", "authorityId": null, "type": "MR" };
    assert_eq!(identifiers[1], second_identifier.into());
    assert_eq!(stored.get_binary_generic("message").unwrap(), second.as_bytes());

    // The MR number identifies the patient, although it is not the first of the identifiers.
    let patient = |message: &Document| {
        let key = message.get("patient").and_then(|key| match key {
            bson::Bson::Binary(key) if key.subtype == BinarySubtype::Uuid => Some(key.bytes.clone()),
            _ => None,
        });
        key.expect("the key of the patient is a UUID")
    };
    let other = find(&place, doc! { "controlId": "M1" });
    assert_ne!(patient(&stored), patient(&other));
    let later = place.write("later.hl7", admission("2", "M3"));
    place.load(&later, &[&SPEC[..], &["--no-verify"]].concat(), 0);
    assert_eq!(patient(&stored), patient(&find(&place, doc! { "controlId": "M3" })));
    place.run(&[&["verify", text(&source), "--ignore-extra"], &SPEC[..]].concat()).expect_code(0);
}

#[test]
fn an_export_has_the_original_bytes_whatever_the_framing() {
    let place = Place::new("hl7_export");
    let [crlf, cr, latin] = ["M1", "M2", "M3"].map(|id| admission("1", id));
    let crlf = crlf.replace('\r', "\r\n");
    let latin = latin.replace("|P|2.5", "|P|2.5||||||8859/1").replace("Ann", "Zo\u{eb}");
    let latin: Vec<u8> = latin.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    let framed = [&b"\x0b"[..], cr.as_bytes(), b"\r\x1c\r\x0b", &latin, b"\r\x1c\r"].concat();
    let [batch, mllp] = [
        place.write("batch.hl7", format!("FHS|^~\\&\r\nBHS|^~\\&\r\n{crlf}\r\nBTS|1\r\nFTS|1\r\n")),
        place.write("mllp.hl7", framed),
    ];
    let sources = [text(&batch), text(&mllp)];
    place.run(&[&["load"], &sources[..], &SPEC].concat()).expect_code(0);
    let out = place.dir.path().join("out.hl7");
    let export = || place.run(&[&["export", "--out", text(&out)], &SPEC[..]].concat()).expect_code(0).stderr;
    assert!(!export().contains("replaced"));
    assert!(export().contains("out.hl7 existed and was replaced"));
    let exported = fs::read(&out).unwrap();
    for message in [crlf.as_bytes(), cr.as_bytes(), &latin] {
        let is_in = exported.windows(message.len()).any(|bytes| bytes == message);
        assert!(is_in, "{}", message.escape_ascii());
    }
    assert_eq!(exported.len(), crlf.len() + 2 + cr.len() + 1 + latin.len() + 1);
    // The export separates the messages by other characters than the source, but their documents are the same. So all
    // three are already present.
    let summary = place.load(&out, &SPEC, 0);
    assert_eq!(counts(&summary, &ENDS), [3, 0, 3, 0, 0]);
    let csv = place.run(&[&["export", "--type", "csv"], &SPEC[..]].concat()).expect_code(0).stdout;
    assert!(csv.starts_with("type,event,") && csv.contains(",V1\n") && !csv.contains("message"), "{csv}");
}

#[test]
fn latin_1_without_a_declared_character_set_needs_the_option() {
    let place = Place::new("hl7_latin");
    let message = admission("1", "M1").replace("Attend", "J\u{f6}rg");
    let bytes: Vec<u8> = message.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect();
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/hl7v2.toml")).unwrap();
    let doctor = "[[field]]\nname = 'doctor'\ncolumn = 'PV1-7.2'\ntype = 'string'\nprivacy = 'none'\n";
    let spec = place.write("ours.toml", format!("{spec}\n{doctor}"));
    let source = place.write("latin.hl7", bytes);
    let summary = place.load(&source, &["--spec", text(&spec)], 4);
    assert_eq!(counts(&summary, &ENDS), [1, 0, 0, 0, 1]);
    assert_eq!(summary["rejects"][0]["what"], "undecodable", "{summary}");
    place.load(&source, &["--spec", text(&spec), "--encoding", "windows-1252"], 0);
    assert_eq!(text_of(&find(&place, doc! {}), "doctor"), "J\u{f6}rg&Co");
    let wrong = place.run(&["load", text(&source), "--spec", text(&spec), "--encoding", "utf-16"]).expect_code(1);
    assert!(wrong.stderr.contains("HL7 messages cannot be read as utf-16le"), "{}", wrong.stderr);
}

#[test]
fn a_spec_and_a_source_must_be_of_the_same_format() {
    let place = Place::new("hl7_formats");
    let messages = place.write("adt.hl7", admission("1", "M1"));
    let table = place.write("a.csv", "Name,Age\nAnn,1\n");
    let found = place.run(&["load", text(&messages), "--spec", "admissions"]).expect_code(1);
    assert!(
        found.stderr.contains("the source has HL7 v2 messages, but the spec built-in:admissions"),
        "{}",
        found.stderr
    );
    let found = place.run(&[&["load", text(&table)], &SPEC[..]].concat()).expect_code(1);
    assert!(found.stderr.contains("no segment of the first 15 bytes begins with `MSH`"), "{}", found.stderr);
}

#[test]
fn the_validator_and_the_view_know_messages() {
    let place = Place::new("hl7_view");
    let source = place.write("adt.hl7", admission("1", "M1"));
    place.load(&source, &SPEC, 0);
    let messages = place.collection("messages");
    let refused = block_on(async { messages.insert_one(doc! { "type": "ADT", "message": "no bytes" }).await });
    assert!(refused.is_err(), "the validator must refuse a message that is not binary");
}

/// Returns the sample messages beside the repository. Prints a notice if they are not there.
fn samples() -> Option<Vec<PathBuf>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/hl7v2");
    let Ok(files) = fs::read_dir(&folder) else {
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"\nSKIPPED: the HL7 v2 samples are not here\n");
        return None;
    };
    Some(
        files
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "hl7"))
            .collect(),
    )
}

#[test]
fn all_sample_messages_are_loaded_proven_and_exported() {
    let Some(samples) = samples() else { return };
    let place = Place::new("hl7_samples");
    let folder = samples[0].parent().unwrap().join("*.hl7");
    let rejects = place.dir.path().join("rejects");
    fs::create_dir(&rejects).unwrap();
    let summary = place.load(&folder, &[&SPEC[..], &["--rejects", text(&rejects)]].concat(), 0);
    assert_eq!(counts(&summary, &ENDS), [97, 97, 0, 0, 0]);
    assert_eq!(summary["verification"]["equal"], 97);
    let out = place.dir.path().join("out.hl7");
    place.run(&[&["export", "--out", text(&out)], &SPEC[..]].concat()).expect_code(0);
    let trimmed = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']).to_owned()
    };
    let exported = fs::read(&out).unwrap();
    let exported = String::from_utf8_lossy(&exported).into_owned();
    let starts: Vec<usize> = exported.match_indices("MSH|").map(|(place, _)| place).collect();
    let ends = starts.iter().skip(1).copied().chain([exported.len()]);
    let exported: BTreeSet<String> =
        starts.iter().zip(ends).map(|(&start, end)| trimmed(&exported.as_bytes()[start..end])).collect();
    let originals: BTreeSet<String> = samples.iter().map(|path| trimmed(&fs::read(path).unwrap())).collect();
    assert!(exported == originals, "every exported message must equal its original, byte for byte");
}

/// Returns the lines of the file with the positions, without its header.
fn positions(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    assert_eq!(lines.next().unwrap(), "reject_line,reject_byte_offset,reject_column,reject_rule,reject_message");
    lines.collect()
}

#[test]
fn damaged_messages_are_kept_as_they_are_corrected_and_loaded() {
    let place = Place::new("hl7_rejects");
    let good = admission("1", "M1");
    let wrong_date = admission("2", "M2").replace("202601020300", "2026-01-02");
    let unknown = admission("3", "M3").replace("|P|2.5", "|P|2.5||||||ISO IR87");
    let source = place.write("adt.hl7", format!("BHS|^~\\&\r{good}\r{wrong_date}\r{unknown}\rBTS|4\rhello\r"));
    let summary = place.load(&source, &SPEC, 4);
    assert_eq!(counts(&summary, &ENDS), [5, 1, 0, 0, 4]);
    let rejects = source.with_file_name("adt.hl7.rejects.hl7");
    let listed = [&rejects, &source.with_file_name("adt.hl7.rejects.csv")].map(|path| path.display().to_string());
    assert_eq!(summary["reject_files"], serde_json::json!(listed));
    let kept = fs::read(&rejects).unwrap();
    assert_eq!(kept, format!("{wrong_date}\r{unknown}\rBTS|4\rhello\r").as_bytes());
    let found = positions(&source.with_file_name("adt.hl7.rejects.csv"));
    let starts = ["6,", "10,", "14,", "15,"];
    let count = ",,wrong_count,\"BTS-1 says 4, but the number of messages in this batch is 3;";
    let parts = [",EVN-2.1,not_a_date,", ",,undecodable,", count, ",,not_hl7,"];
    assert_eq!(found.len(), 4, "{found:?}");
    for ((line, start), part) in found.iter().zip(starts).zip(parts) {
        assert!(line.starts_with(start) && line.contains(part), "{line}: {start} {part}");
        assert!(!line.contains("2026-01-02") && !line.contains("hello"), "no value may be there: {line}");
    }
    // The same load again uses the same reject files. A pattern such as `*.hl7` leaves reject files out, so only the
    // source is read.
    let again = place.load(&source.with_file_name("*.hl7"), &SPEC, 4);
    assert_eq!((&again["reject_files"], again["counts"]["read"].as_u64()), (&serde_json::json!(listed), Some(5)));

    let corrected = String::from_utf8(kept).unwrap();
    let corrected = corrected.replace("hello\r", "").replace("2026-01-02", "20260102").replace("BTS|4\r", "");
    fs::write(&rejects, corrected.replace("ISO IR87", "UNICODE UTF-8")).unwrap();
    let summary = place.load(&rejects, &SPEC, 0);
    assert_eq!(counts(&summary, &ENDS), [2, 2, 0, 0, 0]);
}

#[test]
fn a_message_that_the_server_refuses_is_rejected_as_it_was() {
    let place = Place::new("hl7_refused");
    let messages = [admission("1", "M1"), admission("2", "M2").replace('\r', "\n")];
    let first = place.write("first.hl7", admission("9", "M9"));
    place.load(&first, &SPEC, 0);
    let (database, strict) = (place.collection("messages"), doc! { "controlId": { "$ne": "M2" } });
    block_on(async {
        let change = doc! { "collMod": "messages", "validator": strict };
        let uri = crate::server::shared().uri();
        let client = mongodb::Client::with_uri_str(uri).await.unwrap();
        client.database(&place.database).run_command(change).await.unwrap();
        drop(database);
    });
    let source = place.write("adt.hl7", messages.join("\r"));
    let named = place.dir.path().join("refused");
    let summary = place.load(&source, &[&SPEC[..], &["--rejects", text(&named), "--no-verify"]].concat(), 4);
    assert_eq!(counts(&summary, &ENDS), [2, 1, 0, 0, 1]);
    assert_eq!(fs::read_to_string(&named).unwrap(), format!("{}\n", messages[1]));
    let found = positions(&place.dir.path().join("refused.csv"));
    assert!(found.len() == 1 && found[0].contains(",,failed_validation,"), "{found:?}");
}

#[test]
fn without_a_spec_the_content_of_the_sources_chooses_it() {
    let place = Place::new("hl7_detected");
    let uri = shared().uri();
    let run = |arguments: &[&str]| {
        let program = medlift(arguments.iter().chain(&["--uri", &uri, "--db", &place.database]));
        program.input(admission("1", "M1")).run()
    };
    let detected = "spec hl7v2 (detected)";
    let adt = place.write("adt.txt", admission("1", "M1"));
    let table = place.sample("a.csv", 3, "none");
    let dry = place.load(&adt, &["--dry-run"], 0);
    assert_eq!((&dry["notes"][0], dry["counts"]["written"].as_u64()), (&detected.into(), Some(1)));
    let summary = place.load(&adt, &[], 0);
    assert_eq!((counts(&summary, &ENDS), &summary["notes"][0]), (vec![1, 1, 0, 0, 0], &detected.into()));
    assert_eq!(text_of(&find(&place, doc! {}), "controlId"), "M1");
    let verified = run(&["verify", text(&adt)]).expect_code(0);
    assert!(verified.stderr.contains(detected), "{}", verified.stderr);
    let piped = run(&["load", "-"]).expect_code(0);
    assert!(piped.stdout.contains(&format!("  {detected}\n")), "{}", piped.stdout);
    let manifest = place.dir.path().join("manifest.json");
    let plan = medlift(["plan", text(&adt), "--out", text(&manifest)]).run().expect_code(0);
    assert!(plan.stderr.contains(detected), "{}", plan.stderr);
    place.run(&["load", "--manifest", text(&manifest)]).expect_code(0);
    let tables = place.load(&table, &["--dry-run"], 0);
    assert!(!tables["notes"].to_string().contains("detected"), "{tables}");

    // `COLLECTION_NAME` names the collection of the admissions, not that of the messages. So these commands ignore it
    // and say so.
    for arguments in [&["verify", text(&adt)][..], &["load", text(&adt)], &["fold", "--spec", "hl7v2"]] {
        let program = medlift(arguments.iter().chain(&["--uri", &uri, "--db", &place.database]));
        let run = program.env("COLLECTION_NAME", "admissions").run().expect_code(0);
        assert!(run.stderr.contains("COLLECTION_NAME is ignored"), "{arguments:?}: {}", run.stderr);
    }
    for more in [&["--quiet"][..], &["--collection", "messages"]] {
        let arguments = [&["verify", text(&adt), "--uri", &uri, "--db", &place.database], more].concat();
        let run = medlift(arguments).env("COLLECTION_NAME", "admissions").run().expect_code(0);
        assert!(!run.stderr.contains("COLLECTION_NAME"), "{more:?}: {}", run.stderr);
    }
    assert_eq!(place.count(doc! {}), 0, "no message in the collection `admissions`");

    let mixed = run(&["load", text(&table), text(&adt)]).expect_code(2);
    for part in ["a.csv needs the spec admissions", "adt.txt needs the spec hl7v2", "or give --spec"] {
        assert!(mixed.stderr.contains(part), "{}", mixed.stderr);
    }
}

#[test]
fn local_times_are_read_in_the_time_zone_of_the_spec() {
    let place = Place::new("hl7_zone");
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/hl7v2.toml")).unwrap();
    let spec = spec.replacen("type = \"hl7\"", "type = \"hl7\"\ntime_zone = \"Europe/Berlin\"", 1);
    let born = "\n[[field]]\nname = \"born\"\ncolumn = \"PID-7\"\ntype = \"date\"\nprivacy = \"direct-identifier\"\n";
    let spec = place.write("ours.toml", spec + born);
    let times = [
        ("20260102030000", "2026-01-02T02:00:00Z"),
        ("20260702030000", "2026-07-02T01:00:00Z"),
        // Daylight saving time ends and begins on these days: the first time occurs twice, the second not at all.
        ("20261025023000", "2026-10-25T00:30:00Z"),
        ("20260329023000", "2026-03-29T01:30:00Z"),
        ("20260702030000+0500", "2026-07-01T22:00:00Z"),
    ];
    let message = |(number, (time, _)): (usize, &(&str, &str))| {
        format!(
            "MSH|^~\\&|A|B|||{time}||ADT^A08|M{number}|P|2.5\rEVN||{time}\rPID|1||1^^^B||||19800702\rPV1|1|I|W1||||||||||||||||V{number}"
        )
    };
    let messages: Vec<String> = times.iter().enumerate().map(message).collect();
    let source = place.write("adt.hl7", messages.join("\r"));
    place.load(&source, &["--spec", text(&spec)], 0);
    place.run(&["fold", "--spec", text(&spec)]).expect_code(0);
    let birth = bson::DateTime::parse_rfc3339_str("1980-07-02T00:00:00Z").unwrap();
    let patients = place.collection("patients");
    let patient = block_on(async { patients.find_one(doc! {}).await }).unwrap().unwrap();
    assert_eq!(patient.get_datetime("birthDate").unwrap(), &birth, "a day has no time zone");
    for (number, (_, expected)) in times.into_iter().enumerate() {
        let expected = bson::DateTime::parse_rfc3339_str(expected).unwrap();
        let stored = find(&place, doc! { "controlId": format!("M{number}") });
        assert_eq!(stored.get_datetime("sentAt").unwrap(), &expected, "M{number}");
        assert_eq!(stored.get_datetime("born").unwrap(), &birth, "a day has no time zone");
        let visits = place.collection("visits");
        let number = format!("V{number}");
        let visit = block_on(async { visits.find_one(doc! { "number.value": number }).await }).unwrap().unwrap();
        assert_eq!(visit.get_document("asOf").unwrap().get_datetime("at").unwrap(), &expected);
    }
}
