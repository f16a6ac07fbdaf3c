//! Tests on a real server that the validator accepts every document that cleaning accepts.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bson::{Bson, Document, doc};
use medlift::deployment::schema;
use medlift::server::Target;
use medlift::spec::Spec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::bad_days::{self, documents, load};
use crate::connection::{block_on, connect, wishes};
use crate::load::Place;
use crate::program::medlift;
use crate::server::{fail_point, fresh_database, server_with_fail_points, shared};

/// Returns cases. A case is the type of a field, the other keys of the field in the spec, and cells. Cleaning and the
/// server must understand the keys in the same way. Otherwise the server refuses cells that cleaning accepts.
fn cases() -> Vec<(&'static str, String, Vec<String>)> {
    let pattern = |pattern: &str| format!("pattern = '{pattern}'");
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    vec![
        ("string", pattern("[a-z&&[^x]]+"), texts(&["abc", "abx"])),
        ("string", pattern("[a-z--[aeiou]]+"), texts(&["bcd", "abc"])),
        ("string", pattern("[a-g~~[c-k]]+"), texts(&["ab", "hk", "d"])),
        ("string", pattern(r"\p{Script=Greek}+"), texts(&["αβγ", "abc"])),
        ("string", pattern(r"\p{L}+"), texts(&["Émile", "हिन्दी", "1"])),
        ("string", pattern(r"\w+"), texts(&["हिन्दी", "e\u{301}a", "\u{1e900}", "a b"])),
        ("string", pattern(r"\d{2}\s\S*"), texts(&["١٢ x", "12\u{3000}", "12\u{2028}é", "1 2"])),
        ("string", pattern("a{0,70000}"), texts(&["aaa", "b"])),
        ("string", pattern(r"\u{e9}+"), texts(&["éé"])),
        ("string", pattern("(?i)straße|ſ"), texts(&["STRASSE", "STRAẞE", "straße", "S", "s", "ſ"])),
        ("string", pattern("(?i)k+"), texts(&["K", "\u{212a}", "kk"])),
        ("string", pattern("(?i)[σά]+"), texts(&["Σς", "ΆΣ"])),
        ("string", pattern(r"\ba.*\bz"), texts(&["a é z"])),
        ("string", pattern("[[:alpha:]]+"), texts(&["abc", "é"])),
        ("string", pattern(".+"), texts(&["a\u{2028}b", "a\u{85}b", "a\rb", "\u{10ffff}", "\u{e000}\u{d7ff}"])),
        ("string", pattern("a$"), texts(&["a", "a\nb"])),
        ("string", pattern(r"^a\z"), texts(&["a"])),
        ("string", pattern(r"(?-u:\w)+"), texts(&["ab", "é"])),
        ("string", pattern(r"[\x00-\x{10FFFF}]{1,3}"), texts(&["a\tb", "😀é"])),
        ("string", pattern("(a+)+b"), vec!["a".repeat(40) + "b", "a".repeat(40)]),
        ("string", pattern("(a|aa)+b?"), vec!["a".repeat(5000)]),
        ("string", pattern("(a|b)+[0-9]*"), vec!["ab".repeat(50_000), "ab".repeat(20)]),
        ("string", pattern("[a-z ]+[0-9]*x?"), vec!["a ".repeat(400_000) + "1"]),
        ("string", pattern(".*[0-9]"), vec!["a".repeat(400_000) + "1"]),
        ("string", pattern("(ab|c)*d") + "\nlength = [0, 4000]", vec!["ab".repeat(1999) + "d", "c".repeat(3999) + "d"]),
        ("string", pattern("(ab|cd){1000}"), vec!["abcd".repeat(500)]),
        ("string", pattern(r"(\d{3}-)*\d{3}") + "\nlength = [0, 400]", texts(&["123-456", "123-"])),
        (
            "string",
            pattern("(.*)@(.*)") + "\nlength = [0, 120]",
            vec!["@".repeat(120), "a@b".to_owned(), "a".repeat(120)],
        ),
        ("string", pattern(&format!("x|{}", "y".repeat(5000))), texts(&["x"])),
        ("string", pattern(&format!("x|{}", "y".repeat(40_000))), texts(&["x"])),
        ("string", pattern(r"\w\W\w\W\w"), texts(&["a-b-c"])),
        ("string", "length = [1, 2]".to_owned(), texts(&["👨\u{200d}👩", "😀😀", "e\u{301}", "éé"])),
        (
            "decimal128",
            "range = [0.1, 0.3]".to_owned(),
            texts(&["0.1", "0.3", "0.10", "0.2", "0.30000000000000001", "1e-1"]),
        ),
        (
            "decimal128",
            "range = [0, 9007199254740993]".to_owned(),
            texts(&["9007199254740993", "9007199254740994", "-0"]),
        ),
        ("decimal128", "range = [-1e40, 1e-40]".to_owned(), texts(&["1e-40", "2e-40", "-1e40", "0E+50"])),
        (
            "int64",
            "range = [0, 9007199254740993]".to_owned(),
            texts(&["9007199254740993", "9007199254740992", "9007199254740994"]),
        ),
        ("int64", "range = [-inf, inf]".to_owned(), texts(&["9223372036854775807", "-9223372036854775808"])),
        (
            "int64",
            "range = [-9223372036854775808, 9223372036854775806.5]".to_owned(),
            texts(&["9223372036854775806", "9223372036854775807"]),
        ),
        ("double", "range = [0.1, 0.3]".to_owned(), texts(&["0.1", "0.3", "0.30000000000000004"])),
        ("double", "range = [-0.0, inf]".to_owned(), texts(&["-0.0", "1e308", "5e-324", "-5e-324"])),
        ("int32", "range = [0.5, 3.5]".to_owned(), texts(&["0", "1", "3", "4"])),
        ("enum", "values = [\"A\", \"é\", \"ß\"]".to_owned(), texts(&["a", "É", "ß"])),
        ("bool", String::new(), texts(&["yes", "0"])),
        ("date", String::new(), texts(&["0001-01-01", "9999-12-31", "2024-01-31T00:00Z"])),
        (
            "datetime",
            String::new(),
            texts(&["9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00+14:00"]),
        ),
    ]
}

#[test]
fn the_validator_accepts_what_cleaning_accepts() {
    check_cases("conformity", "", "", str::to_owned);
}

/// Each field is a list inside a repeating group. For the cell `x` of the first case, the row contains the array
/// `[{"f0":["x"]}]`.
#[test]
fn the_validator_accepts_in_arrays_what_cleaning_accepts() {
    let group = "[[group]]\nname = \"rows\"\nrepeats = \"rows\"\n";
    check_cases("conformity_arrays", group, "rows.", |cell| serde_json::json!([cell]).to_string());
}

/// Loads one row for each cell of the cases, first without the validator and then with it. Both loads must accept the
/// same cells. `prefix` comes before the name of each field. If it is not empty, the fields are lists inside `group`.
fn check_cases(purpose: &str, group: &str, prefix: &str, write: impl Fn(&str) -> String) {
    let mut spec = "name = \"t\"\n[[field]]\nname = \"id\"\ntype = \"int32\"\nprivacy = \"none\"\n".to_owned();
    spec += group;
    let (mut header, mut rows, mut fields) = ("id".to_owned(), Vec::new(), 0);
    let cases = cases();
    let is_list = !prefix.is_empty();
    for (field, (kind, keys, cells)) in cases.iter().enumerate() {
        let _ = write!(
            spec,
            "[[field]]\nname = \"{prefix}f{field}\"\ntype = \"{kind}\"\npresence = \"nullable\"\nprivacy = \"none\"\n\
             repeats = {is_list}\n{keys}\n"
        );
        let _ = write!(header, ",f{field}");
        rows.extend(cells.iter().map(|cell| (field, write(cell))));
        fields += 1;
    }
    let file = |first_id: usize| {
        let mut text = if is_list { "id,rows\n".to_owned() } else { header.clone() + "\n" };
        for (row, (field, cell)) in rows.iter().enumerate() {
            let (before, after) = if is_list { (0, 0) } else { (*field, fields - 1 - field) };
            let cell = if is_list { format!("[{{\"f{field}\":{cell}}}]") } else { cell.clone() }.replace('"', "\"\"");
            let _ = writeln!(text, "{}{},\"{cell}\"{}", first_id + row, ",".repeat(before), ",".repeat(after));
        }
        text
    };
    let place = Place::new(purpose);
    let spec = place.write("t.toml", spec);
    let options = ["--spec", spec.to_str().expect("UTF-8"), "--date-format", "YYYY-MM-DD"];
    let first = place.load(&place.write("1.csv", file(0)), &options, 4);
    let (written, rejected) = (first["counts"]["written"].as_u64(), first["counts"]["rejected"].as_u64());
    assert_eq!(written.zip(rejected).map(|(written, rejected)| written + rejected), Some(rows.len() as u64));
    assert!(written > Some(60) && rejected > Some(20), "{written:?} {rejected:?}");
    let notes = first["collection_notes"].to_string();
    assert!(notes.contains("the server finds no document that violates the validator"), "{first}");
    // The first load has attached the validator. With the validator, the second load must accept the same documents.
    let second = place.load(&place.write("2.csv", file(1_000_000)), &options, 4);
    assert_eq!(second["counts"]["written"].as_u64(), written, "{second}");
    assert!(!second.to_string().contains("failed_validation"), "{second}");
}

/// Generates patterns from all constructs that a pattern in the validator may contain.
fn pattern() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        "[abc]",
        "é",
        "\\[ab\\]",
        "\\[\\^a\\]",
        "\\[b-c\\]",
        "ab",
        "\\.",
        "\\\\w",
        "\\\\d",
        "\\$",
        "\\^",
        "\\(\\?i:A\\)",
        "\\(\\?i:ß\\)"
    ];
    part.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            3 => proptest::collection::vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            2 => proptest::collection::vec(inner.clone(), 2..4).prop_map(|parts| format!("({})", parts.join("|"))),
            1 => inner.clone().prop_map(|part| format!("({part}|)")),
            1 => inner.clone().prop_map(|part| format!("(|{part})")),
            2 => (inner, "[*+?]|\\{2\\}|\\{0,2\\}|\\{1,3\\}|\\{2,\\}", "\\??")
                .prop_map(|(part, count, lazy)| format!("({part}){count}{lazy}")),
        ]
    })
}

/// Returns every text of up to five letters from `a`, `b` and `c`, and some other texts.
fn texts() -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut last = texts.clone();
    for _ in 0..5 {
        last = last.iter().flat_map(|text| ["a", "b", "c"].map(|letter| format!("{text}{letter}"))).collect();
        texts.extend(last.clone());
    }
    texts.extend(
        ["é", "aéb", "A", "AB", "ß", "ẞa", "a\n", "\n", "1", "a1", "aaaaaaaaaaaa", "abababababab", "cccccbbbbaaa"]
            .map(str::to_owned),
    );
    texts
}

#[test]
fn a_pattern_matches_the_same_texts_in_cleaning_and_on_the_server() {
    let (texts, database) = (texts(), fresh_database("patterns"));
    let mut runner = TestRunner::new(Config::with_cases(400));
    block_on(async {
        let mut wanted = wishes(&shared().uri());
        wanted.database = Some(database);
        let target = connect(&wanted).await.expect("connects");
        let documents = (0_i32..).zip(&texts).map(|(id, text)| doc! { "_id": id, "a": text });
        target.db().collection::<Document>(&target.collection).insert_many(documents).await.expect("stored");
        let mut checked = 0;
        for _ in 0..400 {
            let pattern = pattern().new_tree(&mut runner).expect("a pattern").current();
            checked += u32::from(check_pattern(&target, &pattern, &texts).await);
        }
        // Patterns that the validator cannot contain were not compared. They must be less than half of the 400
        // patterns.
        assert!(checked > 200, "{checked}");
    });
}

/// Returns true if the validator contains the pattern. In that case, checks that cleaning and the server match the
/// same texts.
async fn check_pattern(target: &Target, pattern: &str, texts: &[String]) -> bool {
    let toml = format!(
        "name = \"t\"\n[[field]]\nname = \"a\"\ntype = \"string\"\nprivacy = \"none\"\nlength = [0, 12]\npattern = '{pattern}'"
    );
    let spec = Spec::from_toml(&toml, "test").unwrap_or_else(|error| panic!("{pattern}: {error}"));
    if !schema::unchecked_patterns(&spec).is_empty() {
        return false;
    }
    let regex = spec.fields[0].constraints.pattern.clone().expect("a pattern");
    let expected: BTreeSet<&str> = texts.iter().map(String::as_str).filter(|text| regex.is_match(text)).collect();
    let found = target.db().collection::<Document>(&target.collection);
    let found =
        found.distinct("a", schema::validator(&spec)).await.unwrap_or_else(|error| panic!("{pattern}: {error}"));
    let found: BTreeSet<&str> = found.iter().filter_map(Bson::as_str).collect();
    assert_eq!(found, expected, "{pattern} as {}", schema::validator(&spec));
    true
}

#[test]
fn a_spec_that_the_server_refuses_is_refused_before_anything_is_written_or_dropped() {
    let place = Place::new("refused_spec");
    let server = server_with_fail_points();
    let path = place.sample("a.csv", 10, "none");
    let run = |options: &[&str]| load(&server, &place, path.to_str().expect("UTF-8"), options).run();
    // No spec is known that medlift accepts and the server refuses. This test therefore makes the server refuse
    // medlift's next query, which contains the validator.
    let refuse_next = || {
        let data = doc! { "failCommands": ["find"], "errorCode": 9 };
        fail_point(&server, doc! { "configureFailPoint": "failCommand", "mode": { "times": 1 }, "data": data });
    };
    refuse_next();
    let refused = run(&[]).expect_code(1).stderr;
    assert!(refused.contains("the server refuses its validator"), "{refused}");
    assert_eq!(bad_days::count(&documents(&server, &place.database)), 0);
    run(&[]).expect_code(0);
    refuse_next();
    run(&["--drop", "--yes"]).expect_code(1);
    assert_eq!(bad_days::count(&documents(&server, &place.database)), 10);
}

fn count(place: &Place, collection: &str) -> u64 {
    block_on(async {
        let wanted = medlift::server::Connection {
            database: Some(place.database.clone()),
            collection: Some(collection.to_owned()),
            ..wishes(&shared().uri())
        };
        connect(&wanted).await.expect("connects").documents().count_documents(doc! {}).await.expect("counts")
    })
}

#[test]
fn an_index_that_conflicts_with_the_spec_stops_the_load_before_it_writes() {
    let place = Place::new("clash");
    let text = "name = \"t\"\n[[field]]\nname = \"a\"\ntype = \"int32\"\nprivacy = \"none\"\n\
                [[field]]\nname = \"b\"\ntype = \"int32\"\nprivacy = \"none\"\n[[index]]\nname = \"first\"\nkeys = [\"-a\", \"b\"]\n[[index]]\nname = \"by_a\"\nkeys = [\"a\"]\n";
    let spec = place.write("t.toml", text);
    let source = place.write("a.csv", "a,b\n1,1\n");
    let make = |command: Document| {
        block_on(async {
            let wanted =
                medlift::server::Connection { database: Some(place.database.clone()), ..wishes(&shared().uri()) };
            connect(&wanted).await.expect("connects").db().run_command(command).await.expect("done")
        })
    };
    for (key, name, unique, expected) in [
        (doc! { "a": -1 }, "by_a", false, "another index of that name"),
        (doc! { "a": 1 }, "old", true, "the index `old` with the same keys, which is unique"),
    ] {
        make(doc! { "createIndexes": "t", "indexes": [{ "key": key, "name": name, "unique": unique }] });
        let paths = [&source, &spec].map(|path| path.to_str().expect("UTF-8"));
        let refused = place.run(&["load", paths[0], "--spec", paths[1]]).expect_code(1).stderr;
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(count(&place, "t"), 0);
        make(doc! { "drop": "t" });
    }
}

#[test]
fn checking_a_spec_names_the_patterns_that_only_cleaning_checks() {
    let place = Place::new("notice");
    let text = "name = \"t\"\n[[field]]\nname = \"a.b\"\ntype = \"string\"\nprivacy = \"none\"\npattern = '\\bx'\n";
    let spec = place.write("t.toml", text);
    let run = medlift(["spec", "check", spec.to_str().expect("UTF-8")]).run().expect_code(0);
    assert!(run.stdout.contains("ok, t with 1 fields"), "{}", run.stdout);
    assert!(
        run.stderr.contains("a.b: a load checks the pattern") && run.stderr.contains("word boundaries"),
        "{}",
        run.stderr
    );
}
