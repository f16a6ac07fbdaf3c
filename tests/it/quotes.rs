//! Tests that no row of an unusual file is lost: a file with quotes that are ordinary characters, with cells of
//! several lines, blank rows or repeated headers, or with dates of an unknown format.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use bson::doc;
use serde_json::Value as Json;

use crate::load::{ENDS, Place, block_on, counts, text};

/// Loads the source, and then verifies it with the same options, because `verify` must read the source in the same way.
fn load(place: &Place, path: &Path, spec: &Path, options: &[&str], code: i32) -> Json {
    let summary = place.load(path, &[&["--spec", text(spec)], options].concat(), code);
    let also = options.iter().filter(|option| !["--drop", "--yes", "--lineage"].contains(option));
    let arguments: Vec<&str> = ["verify", text(path), "--spec", text(spec)].iter().chain(also).copied().collect();
    place.run(&arguments).expect_code(0);
    summary
}

/// Creates a spec with these fields for the collection `rows`. In `fields`, the name `note?` means that `note` may be
/// empty, and `id#` that `id` is an integer.
fn spec(place: &Place, fields: &[&str], source: &str) -> PathBuf {
    let mut toml = format!("name = \"rows\"\n{source}\n");
    for field in fields {
        let name = field.trim_end_matches(['?', '#']);
        let kind = if field.contains('#') { "int32" } else { "string" };
        let presence = if field.contains('?') { "nullable" } else { "required" };
        let _ = write!(
            toml,
            "[[field]]\nname = \"{name}\"\ntype = \"{kind}\"\npresence = \"{presence}\"\nprivacy = \"none\"\n"
        );
    }
    place.write("spec.toml", toml)
}

fn count(place: &Place, filter: bson::Document) -> u64 {
    let rows = place.collection("rows");
    block_on(async move { rows.count_documents(filter).await.expect("counted") })
}

fn notices(summary: &Json) -> String {
    summary["sources"][0]["notices"].to_string()
}

/// A file in which quotes are ordinary characters, at the beginning, in the middle and at the end of cells.
const LETTERS: &str = "concept_id\tconcept_name\tcode\n1\tNormal\tX1\n2\t\"edoxa\tX2\n3\tfine\tX3\n4\talso fine\tX4\n\
    5\tby \"Pharm\"\tX5\n6\tlast one\"\tX6\n7\t\"Cold\" abscess\tX7\n";

/// A file that can be read in two ways. One cell begins with a quote, and a later cell ends with a quote. If the two
/// quotes enclose one cell, the file has 3 rows. If they are ordinary characters, it has 6 rows. In both cases every
/// row has three cells.
const TWO: &str = "concept_id\tconcept_name\tcode\n1\tNormal\tX1\n2\t\"edoxa\tX2\n3\tfine\tX3\n4\talso fine\tX4\n\
    5\tlast one\"\tX5\n6\tNormal\tX6\n";

#[test]
fn quotes_that_are_ordinary_characters_swallow_no_row() {
    let place = Place::new("letters");
    let spec = spec(&place, &["concept_id#", "concept_name", "code"], "");
    let path = place.write("in.tsv", LETTERS);
    let summary = load(&place, &path, &spec, &[], 0);
    assert_eq!(counts(&summary, &ENDS), [7, 7, 0, 0, 0], "{summary}");
    assert!(notices(&summary).contains("ordinary characters"), "{summary}");
    assert_eq!(summary["sources"][0]["format"], "csv, tab, no quotes");
    assert_eq!(count(&place, doc! { "concept_name": "\"Cold\" abscess" }), 1);
    let path = place
        .write("c3.csv", "concept_id,concept_name,code\n1,x,\"open note\n2,y,ok\n3,z,ok\n4,\"quoted\",ok\n5,w,ok\n");
    let summary = load(&place, &path, &spec, &["--drop", "--yes"], 0);
    assert_eq!(counts(&summary, &ENDS), [5, 5, 0, 0, 0], "{summary}");
}

#[test]
fn a_file_that_can_be_read_in_two_ways_stops_the_load_until_quote_is_given() {
    let place = Place::new("readings");
    let fields = ["concept_id#", "concept_name", "code"];
    let open = spec(&place, &fields, "");
    let path = place.write("two.tsv", TWO);
    for command in [&["load", "--dry-run"][..], &["load"], &["verify"]] {
        let run = place.run(&[command, &[text(&path), "--spec", text(&open)]].concat()).expect_code(1);
        for part in ["two.tsv", "3 rows of 3 cells", "6 rows of 3 cells", "line 3", "--quote none", "--quote '\"'"] {
            assert!(run.stderr.contains(part), "{}", run.stderr);
        }
        assert!(!run.stderr.contains("edoxa") && !run.stderr.contains("Normal"), "{}", run.stderr);
    }
    let summary = load(&place, &path, &open, &["--quote", "none"], 0);
    assert_eq!(counts(&summary, &ENDS), [6, 6, 0, 0, 0], "{summary}");
    let summary = load(&place, &path, &open, &["--quote", "\"", "--drop", "--yes"], 4);
    assert_eq!(counts(&summary, &ENDS), [3, 2, 0, 0, 1], "{summary}");
    assert_eq!(summary["rejects"][0]["what"], "swallowed_rows");
    let rejects = fs::read_to_string(place.dir.path().join("two.tsv.rejects.csv")).unwrap();
    assert!(rejects.contains("lines 3 to 6") && rejects.contains("edoxa\tX2\n3\tfine\tX3\n4"), "{rejects}");
    let again = place.load(&place.dir.path().join("two.tsv.rejects.csv"), &["--spec", text(&open)], 4);
    assert_eq!(counts(&again, &ENDS), [1, 0, 0, 0, 1], "{again}");
    let summary = load(&place, &path, &open, &["--multiline-cells", "--drop", "--yes"], 0);
    assert_eq!(counts(&summary, &ENDS), [3, 3, 0, 0, 0], "{summary}");
    assert!(notices(&summary).contains("line breaks: 1 (lines 3 to 6)"), "{summary}");
    let settled = spec(&place, &fields, "[source]\nquote = \"none\"");
    let summary = load(&place, &path, &settled, &["--drop", "--yes"], 0);
    assert_eq!(counts(&summary, &ENDS), [6, 6, 0, 0, 0], "{summary}");
    let summary = load(&place, &path, &settled, &["--quote", "\"", "--drop", "--yes"], 4);
    assert_eq!(counts(&summary, &ENDS), [3, 2, 0, 0, 1], "the command line overrides the spec: {summary}");
}

#[test]
fn cells_of_several_lines_are_loaded_and_their_lines_are_reported() {
    let place = Place::new("notes");
    let spec = spec(&place, &["id#", "note", "ward"], "");
    let path =
        place.write("a.csv", "id,note,ward\n1,\"Dear all,\nwell\n\nbye\",A\n2,5\" pipe,B\n3,\"x, y\",\"C\r\nD\"\n");
    let summary = load(&place, &path, &spec, &[], 0);
    assert_eq!(counts(&summary, &ENDS), [3, 3, 0, 0, 0], "{summary}");
    let source = &summary["sources"][0];
    assert_eq!((&source["multiline_cells"], &source["loose_quotes"]), (&2.into(), &1.into()), "{source}");
    assert!(notices(&summary).contains("(lines 2 to 5, 7 to 8)"), "{summary}");
    assert_eq!(count(&place, doc! { "note": "Dear all,\nwell\n\nbye" }), 1);
    let dry = place.load(&path, &["--dry-run", "--spec", text(&spec)], 0);
    assert_eq!(dry["sources"], summary["sources"]);
}

#[test]
fn a_stray_quote_after_the_sample_rejects_the_rows_that_it_joins() {
    let place = Place::new("beyond");
    let spec = spec(&place, &["id#", "name", "code"], "");
    let mut rows = String::from("id,name,code\n");
    for row in 0..400_000 {
        let _ = writeln!(rows, "{row},somebody or other,X");
    }
    assert!(rows.len() > 9 << 20);
    let path = place.write("a.csv", rows + "400001,\"open,X\n400002,fine,X\n400003,close\",X\n400004,\"Cold\" one,X\n");
    let summary = place.load(&path, &["--dry-run", "--spec", text(&spec)], 4);
    assert_eq!(counts(&summary, &["read", "rejected"]), [400_002, 2], "{summary}");
    let reasons: Vec<&Json> = summary["rejects"].as_array().unwrap().iter().map(|reject| &reject["what"]).collect();
    assert_eq!(reasons, ["stray_quote", "swallowed_rows"]);
}

#[test]
fn escaped_characters_are_text() {
    let place = Place::new("escaped");
    let spec = spec(&place, &["id#", "note", "ward"], "[source]\nescape = '\\'\nquote = \"none\"");
    let path = place.write("a.csv", "id,note,ward\n1,a\\, b\\\nc\\\\,A\n2,\"x,B\n");
    let summary = load(&place, &path, &spec, &[], 0);
    assert_eq!(counts(&summary, &ENDS), [2, 2, 0, 0, 0], "{summary}");
    assert_eq!(count(&place, doc! { "note": "a, b\nc\\" }), 1);
    assert_eq!(count(&place, doc! { "note": "\"x" }), 1);
    let run = place.run(&["load", text(&path), "--spec", text(&spec), "--escape", ","]).expect_code(1);
    assert!(run.stderr.contains("two meanings"), "{}", run.stderr);
    place.run(&["load", text(&path), "--spec", text(&spec), "--quote", "ab"]).expect_code(2);
}

#[test]
fn rows_with_only_delimiters_are_skipped_and_counted() {
    let place = Place::new("blank");
    let spec = spec(&place, &["id?#", "name?"], "");
    let path = place.write("a.csv", "id,name\n1,A\n,\n , \n2,B\n\"\",\"\"\n,\n");
    let summary = load(&place, &path, &spec, &["--lineage"], 0);
    assert_eq!(counts(&summary, &ENDS), [2, 2, 0, 0, 0], "{summary}");
    assert_eq!(summary["sources"][0]["blank_rows"], 4);
    assert!(notices(&summary).contains("skipped: 4"), "{summary}");
    assert_eq!(count(&place, doc! { "id": 2, "_medlift.row": 2i64 }), 1);
    let many = place.write("many.csv", format!("id,name\n3,C\n{}", ",\n".repeat(2_000_000)));
    let summary = load(&place, &many, &spec, &["--drop", "--yes"], 0);
    assert_eq!(counts(&summary, &ENDS), [1, 1, 0, 0, 0], "{summary}");
    assert_eq!(summary["sources"][0]["blank_rows"], 2_000_000, "blank rows must be counted in all blocks");
    let only = place.write("b.csv", "id,name\n,\n,\n");
    let run = place.run(&["load", text(&only), "--spec", text(&spec)]).expect_code(1);
    assert!(run.stderr.contains("no row below it"), "{}", run.stderr);
}

#[test]
fn a_repeated_header_and_a_filled_extra_cell_are_rejected() {
    let place = Place::new("header");
    let spec = spec(&place, &["id", "name"], "");
    let path = place.write("a.csv", "id,name\n1,A\nid,name\n2,B\n");
    let summary = load(&place, &path, &spec, &[], 4);
    assert_eq!(counts(&summary, &ENDS), [3, 2, 0, 0, 1], "{summary}");
    assert_eq!(summary["rejects"][0]["what"], "repeated_header");
    let path = place.write("b.csv", "id,name\n3,C,\n4,D,\n");
    let summary = load(&place, &path, &spec, &["--drop", "--yes"], 0);
    assert_eq!(counts(&summary, &ENDS), [2, 2, 0, 0, 0], "{summary}");
    assert!(notices(&summary).contains("one more delimiter at their end than the header"), "{summary}");
    let path = place.write("c.csv", "id,name\n3,C,\n4,D,x\n");
    let summary = load(&place, &path, &spec, &["--drop", "--yes"], 4);
    assert_eq!(summary["rejects"][0]["what"], "too_many_cells");
}

#[test]
fn dates_in_an_unknown_format_stop_the_load() {
    let place = Place::new("dates");
    let toml = "name = 'rows'\n[[field]]\nname = 'id'\ntype = 'int32'\nprivacy = 'none'\n\
        [[field]]\nname = 'born'\ntype = 'date'\nprivacy = 'none'\n";
    let spec = place.write("spec.toml", toml);
    let path = place.write("a.csv", "id,born\n1,16-07-68\n2,23-10-64\n3,01-02-05\n");
    let run = place.run(&["load", text(&path), "--spec", text(&spec)]).expect_code(1);
    assert!(run.stderr.contains("3 of the first 3 values") && run.stderr.contains("DD-MM-YY"), "{}", run.stderr);
    assert!(!run.stderr.contains("16-07"), "{}", run.stderr);
    let summary = place.load(&path, &["--spec", text(&spec), "--date-format", "born=YYYY-MM-DD"], 4);
    assert_eq!(counts(&summary, &ENDS), [3, 0, 0, 0, 3], "{summary}");
}

#[test]
fn one_file_under_two_paths_is_refused() {
    let place = Place::new("paths");
    let spec = spec(&place, &["id#"], "");
    let path = place.write("a.csv", "id\n1\n");
    let link = place.dir.path().join("b.csv");
    fs::hard_link(&path, &link).unwrap();
    let run = place.run(&["load", text(&path), text(&link), "--spec", text(&spec)]).expect_code(1);
    assert!(run.stderr.contains("the same file"), "{}", run.stderr);
}

#[test]
fn a_collection_is_not_dropped_for_a_source_that_cannot_be_read_to_its_end() {
    let place = Place::new("readable");
    let spec = spec(&place, &["id#"], "");
    place.load(&place.write("a.csv", "id\n1\n"), &["--spec", text(&spec)], 0);
    let rows = "12345678\n".repeat(1_000_000);
    let mut archive = zstd::encode_all(format!("id\n{rows}").as_bytes(), 1).unwrap();
    archive.truncate(archive.len() - 3);
    let path = place.write("b.csv.zst", archive);
    let load = ["load", "--drop", "--yes", "--spec", text(&spec)];
    let run = place.run(&[&load[..], &[text(&path)]].concat()).expect_code(1);
    assert!(run.stderr.contains("truncated"), "{}", run.stderr);
    assert_eq!(count(&place, doc! {}), 1);
    let run = place.run(&[&load[..], &["-"]].concat()).expect_code(1);
    assert!(run.stderr.contains("it is empty"), "{}", run.stderr);
    let uri = crate::server::shared().uri();
    let piped = crate::program::medlift(load.iter().chain(&["-", "--uri", &uri, "--db", &place.database]));
    let run = piped.input("id\n2\n").run().expect_code(2);
    assert!(run.stderr.contains("only once") && run.stderr.contains("save it in a file"), "{}", run.stderr);
    assert_eq!(count(&place, doc! {}), 1);
}
