use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// The fields of the admissions documents, in their order.
const SEED: [(&str, &str); 15] = [
    ("Name", "string"),
    ("Age", "int32"),
    ("Gender", "enum"),
    ("Blood Type", "enum"),
    ("Medical Condition", "string"),
    ("Doctor", "string"),
    ("Hospital", "string"),
    ("Room Number", "int32"),
    ("Insurance Provider", "string"),
    ("Admission Type", "enum"),
    ("Medication", "string"),
    ("Test Results", "enum"),
    ("Billing Amount", "double"),
    ("Date of Admission", "date"),
    ("Discharge Date", "date"),
];

#[test]
fn the_built_in_spec_has_the_admissions_fields() {
    let spec = Spec::built_in();
    let fields: Vec<(&str, &str)> = spec.fields.iter().map(|field| (&*field.name, field.kind.name())).collect();
    assert_eq!(fields, SEED);
    let nullable: Vec<&str> =
        spec.fields.iter().filter(|field| field.presence != Presence::Required).map(|field| &*field.name).collect();
    assert_eq!(nullable, ["Billing Amount"]);
    assert_eq!(spec.identity.fields, (0..15).collect::<Vec<_>>());
    assert_eq!((spec.collection.as_str(), spec.plausibility.len(), spec.indexes.len()), ("admissions", 1, 3));
    assert_eq!(spec.indexes[1].keys, [("Medical Condition".to_owned(), 1), ("Date of Admission".to_owned(), -1)]);
    assert_eq!(spec.hash.len(), 64);
}

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/spec").join(path)
}

#[test]
fn a_spec_can_describe_a_dataset_other_than_admissions() {
    let spec = Spec::from_file(&data("laboratory.toml")).expect("a valid spec");
    assert_eq!((spec.name.as_str(), spec.collection.as_str()), ("laboratory", "lab_results"));
    assert_eq!(spec.identity, Identity { fields: vec![0, 1], on_conflict: OnConflict::KeepLast });
    let value = spec.fields.iter().find(|field| field.name == "result.value").expect("a field");
    let format = NumberFormat { thousands: Some('.'), decimal_comma: true, currency: Vec::new() };
    assert_eq!(value.kind, FieldType::Decimal128(format));
    assert_eq!(value.null_markers, ["N/A", "-", "not done"]);
    assert_eq!(spec.plausibility[1].severity, Severity::Warn);
    assert_eq!(spec.indexes[1].keys, [("patient.mrn".to_owned(), 1), ("collected".to_owned(), -1)]);
    let order = spec.fields[0].constraints.pattern.as_ref().expect("a pattern");
    assert!(order.is_match("AB123456") && !order.is_match("AB1234567") && !order.is_match("xAB123456"));
}

/// Each `tests/data/spec/wrong/*.toml` is refused with the message in the `.txt` file beside it.
#[test]
fn wrong_specs_are_refused_with_place_and_remedy() {
    let mut cases: Vec<PathBuf> = fs::read_dir(data("wrong"))
        .expect("the folder of wrong specs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "only {} wrong specs found", cases.len());
    let mut mismatches = Vec::new();
    for case in cases {
        let text = fs::read_to_string(&case).expect("a wrong spec");
        let origin = case.file_name().expect("a file").to_string_lossy();
        let message = Spec::from_toml(&text, &origin).expect_err(&origin).to_string();
        let expected = fs::read_to_string(case.with_extension("txt")).unwrap_or_default();
        if message != expected.trim_end() {
            mismatches.push(format!("--- {origin}\n{message}"));
        }
    }
    assert!(mismatches.is_empty(), "other messages than expected:\n{}", mismatches.join("\n"));
}

/// After an error, the reader goes on with the other parts of the spec. The reader must not panic then, and must still
/// refuse the spec.
#[test]
fn a_spec_without_one_of_its_lines_is_read_or_refused() {
    for path in ["laboratory.toml", "patients.toml", "two_documents.toml"] {
        let text = fs::read_to_string(data(path)).expect("a spec");
        let lines: Vec<&str> = text.lines().collect();
        for left_out in 0..lines.len() {
            let rest = [&lines[..left_out], &lines[left_out + 1..]].concat().join("\n");
            if let Err(error) = Dataset::from_toml(&rest, path) {
                assert!(error.to_string().starts_with(path), "line {left_out}: {error}");
            }
        }
        let cut = text.replace("name = ", "nam = ");
        assert!(Dataset::from_toml(&cut, path).is_err());
    }
}

#[test]
fn a_dataset_with_several_documents_has_the_fields_of_all() {
    let dataset = Dataset::from_file(&data("two_documents.toml")).expect("a valid spec");
    let kinds: Vec<_> = dataset.kinds.iter().map(|kind| (kind.name.as_str(), kind.collection.as_str())).collect();
    assert_eq!(kinds, [("admission", "stays"), ("doctor", "doctors")]);
    let names: Vec<&str> = dataset.columns.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["Name", "Age", "Date of Admission", "Doctor", "name", "works.hospital"]);
    assert_eq!((dataset.kinds[0].indexes.len(), dataset.kinds[1].indexes.len()), (1, 0));
    assert_eq!(dataset.kinds[1].identity.fields, [0]);
    assert!(dataset.kinds.iter().all(|kind| kind.hash == dataset.columns.hash));
    assert_eq!(dataset.kind_of("doctors").map(|kind| kind.name.as_str()), Some("doctor"));
    assert!(dataset.kind_of("admissions").is_none());
    let message = dataset.into_only().expect_err("there are two").to_string();
    assert!(message.ends_with("but this command works with one kind; give a spec of one kind"), "{message}");
}

#[test]
fn documents_without_null_markers_use_those_of_the_dataset() {
    let document = |name: &str, markers: &str| {
        format!(
            "[[document]]\nname = '{name}'\n{markers}\n[[document.field]]\nname = 'a'\ntype = 'string'\nprivacy = 'none'\n"
        )
    };
    let text =
        format!("name = 'x'\nnull_markers = ['-']\n{}{}", document("b", ""), document("c", "null_markers = ['?']"));
    let dataset = Dataset::from_toml(&text, "test").expect("a valid spec");
    let markers: Vec<&[String]> = dataset.kinds.iter().map(|kind| &kind.fields[0].null_markers[..]).collect();
    assert_eq!(markers, [["-"], ["?"]]);
}

#[test]
fn documents_may_share_columns_and_aliases() {
    let dataset = |first: &str, second: &str| {
        let document = |name: &str, field: &str| {
            let more = "type = 'string'\nprivacy = 'none'";
            format!("[[document]]\nname = '{name}'\n[[document.field]]\nname = 'f'\n{more}\n{field}\n")
        };
        Dataset::from_toml(&format!("name = 'x'\n{}{}", document("a", first), document("b", second)), "test")
    };
    let x = "column = 'X'\naliases = ['Y']";
    for second in [x, "column = 'X'", "column = 'x'\naliases = ['Z']", "column = 'Z'\naliases = ['Y']"] {
        assert!(dataset(x, second).is_ok(), "{second}");
    }
    // `_id` and `id` are different columns.
    assert!(dataset("column = 'X'\naliases = ['_id']", "column = 'id'").is_ok());
    for (first, second) in [(x, "column = 'Y'"), ("column = 'y'", x), (x, "column = 'Y'\naliases = ['X']")] {
        assert!(dataset(first, second).is_err(), "{first} {second}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let message = Spec::from_file(Path::new("no/such.toml")).expect_err("no such file").to_string();
    assert!(message.starts_with("no/such.toml: reading the dataset spec: "), "{message}");
}

#[test]
fn the_documented_table_of_fields_is_current() {
    let docs = include_str!("../../docs/spec.md");
    let (_, after) = docs.split_once("<!-- fields of admissions -->\n").expect("the comment before the table");
    let (table, _) = after.split_once("<!-- end of fields -->").expect("the comment after the table");
    assert_eq!(table.trim(), Spec::built_in().fields_table().trim(), "docs/spec.md must contain this table");
}

#[test]
fn the_source_table_sets_delimiter_quote_and_escape() {
    let read = |table: &str| {
        let field = "[[field]]\nname = 'a'\ntype = 'string'\nprivacy = 'none'\n";
        Spec::from_toml(&format!("name = 'x'\n{table}\n{field}"), "test").map(|spec| spec.source)
    };
    assert_eq!(read("").unwrap(), SourceFormat::default());
    let table = "[source]\ndelimiter = 'tab'\nquote = 'none'\nescape = '\\'\nmultiline_cells = true";
    let expected = SourceFormat {
        format: None,
        zone: Zone::UTC,
        delimiter: Some(b'\t'),
        quote: Some(Sign::None),
        escape: Some(Sign::Byte(b'\\')),
        multiline_cells: true,
    };
    assert_eq!(read(table).unwrap(), expected);
    assert_eq!(read("[source]\nquote = \"'\"").unwrap().quote, Some(Sign::Byte(b'\'')));
}

/// Reads a spec with two fields, `a` and `b`. `more` is appended to its text.
fn small(more: &str) -> Result<Spec, String> {
    let field = |name| format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n");
    let text = format!("name = 'x'\nnull_markers = ['-']\n{}{}{more}", field("a"), field("b"));
    Spec::from_toml(&text, "test").map_err(|error| error.to_string())
}

#[test]
fn a_minimal_spec_has_these_defaults() {
    let more = "[[field]]\nname = 'c'\ntype = 'int32'\nprivacy = 'none'\nnull_markers = ['?']\n\
                [[index]]\nname = 'i'\nkeys = ['a', '-b']\n[[plausibility]]\nname = 'p'\nleft = 'a'\nright = 'b'\n";
    let spec = small(more).unwrap();
    assert_eq!((spec.name.as_str(), spec.collection.as_str(), spec.origin.as_str()), ("x", "x", "test"));
    assert_eq!(spec.identity, Identity { fields: vec![0, 1, 2], on_conflict: OnConflict::KeepFirst });
    assert_eq!(
        spec.indexes,
        [Index { name: "i".into(), keys: vec![("a".into(), 1), ("b".into(), -1)], unique: false }]
    );
    let rule = &spec.plausibility[0];
    assert_eq!((rule.left, rule.right, rule.severity), (0, 1, Severity::Reject));
    let markers: Vec<&[String]> = spec.fields.iter().map(|field| field.null_markers.as_slice()).collect();
    assert_eq!(markers, [["-"], ["-"], ["?"]]);
    assert!(spec.fields.iter().all(|field| field.presence == Presence::Required && field.column == field.name));
    assert_eq!(spec.hash, blake3::hash(spec.text.as_bytes()).to_hex().to_string());
}

#[test]
fn identity_fields_are_sorted_in_document_order() {
    let identity = |table: &str| small(&format!("[identity]\n{table}\n")).unwrap().identity;
    let keep_first = |fields: &[usize]| Identity { fields: fields.to_vec(), on_conflict: OnConflict::KeepFirst };
    assert_eq!(identity("fields = ['b', 'a']"), keep_first(&[0, 1]));
    assert_eq!(identity("fields = 'all'"), keep_first(&[0, 1]));
    assert_eq!(identity("fields = ['b']"), keep_first(&[1]));
    assert_eq!(identity("except = ['b']"), keep_first(&[0]));
    assert_eq!(identity("on_conflict = 'keep-last'").on_conflict, OnConflict::KeepLast);
    assert_eq!(identity("on_conflict = 'reject'").on_conflict, OnConflict::Reject);
    let newest = identity("fields = ['a']\non_conflict = 'newest'\norder_by = 'b'");
    assert_eq!(newest.on_conflict, OnConflict::Newest { order_by: 1 });
}

#[test]
fn indexes_are_limited_as_the_server_limits_them() {
    let index = |name: &str, keys: &str| format!("[[index]]\nname = '{name}'\nkeys = [{keys}]\n");
    let name = |bytes: usize| index(&"n".repeat(bytes), "'a'");
    assert!(small(&name(1024)).is_ok());
    assert!(small(&name(1025)).unwrap_err().contains("the name has more than 1024 bytes"));
    let field = |n: usize| format!("[[field]]\nname = 'f{n}'\ntype = 'int32'\nprivacy = 'none'\n");
    let fields = |count: usize| (0..count).map(field).collect::<Vec<_>>().concat();
    let keys = |count: usize| index("i", &(0..count).map(|n| format!("'f{n}'")).collect::<Vec<_>>().join(","));
    assert!(small(&(fields(33) + &keys(32))).is_ok());
    assert!(small(&(fields(33) + &keys(33))).unwrap_err().contains("more than 32 keys"));
    let many = |count: usize| {
        fields(count) + &(0..count).map(|n| index(&format!("i{n}"), &format!("'f{n}'"))).collect::<String>()
    };
    assert_eq!(small(&many(63)).unwrap().indexes.len(), 63);
    assert!(small(&many(64)).unwrap_err().contains("more than 63 indexes"));
}

#[test]
fn lengths_and_ranges_are_read_exactly() {
    let more = "[[field]]\nname = 's'\ntype = 'string'\nprivacy = 'none'\nlength = [0, 80]\n\
                [[field]]\nname = 'd'\ntype = 'double'\nprivacy = 'none'\nrange = [-0.5, inf]\n";
    let spec = small(more).unwrap();
    assert_eq!(spec.fields[2].constraints.length, Some((0, 80)));
    assert_eq!(spec.fields[3].constraints.range.map(|range| range.to_string()), Some("-0.5 to inf".to_owned()));
}

#[test]
fn a_bool_has_the_usual_words_unless_the_spec_has_its_own() {
    let kind = |more: &str| {
        let spec = small(&format!("[[field]]\nname = 'f'\ntype = 'bool'\nprivacy = 'none'\n{more}")).unwrap();
        spec.fields[2].kind.clone()
    };
    let words = |truthy: &[&str], falsy: &[&str]| FieldType::Bool {
        truthy: truthy.iter().map(ToString::to_string).collect(),
        falsy: falsy.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(kind(""), words(&["true", "yes", "y", "1"], &["false", "no", "n", "0"]));
    assert_eq!(kind("truthy = ['ja']"), words(&["ja"], &["false", "no", "n", "0"]));
}

#[test]
fn a_pipe_does_not_end_a_cell_of_the_table() {
    let spec = small("[[field]]\nname = 'x|y'\ntype = 'int32'\nprivacy = 'none'\n").unwrap();
    assert!(spec.fields_table().contains("| x\\|y | x\\|y | int32 |"), "{}", spec.fields_table());
}

/// Returns the message for a spec in which the field `f` has these keys.
fn refused_field(keys: &str) -> String {
    small(&format!("[[field]]\nname = 'f'\nprivacy = 'none'\n{keys}\n")).expect_err(keys)
}

#[test]
fn a_null_marker_cannot_be_a_value_of_the_field() {
    for keys in [
        "type = 'bool'\nnull_markers = ['Y']",
        "type = 'bool'\nnull_markers = ['?', 'NO']",
        "type = 'enum'\nvalues = ['a', 'b']\nnull_markers = ['B']",
        "type = 'enum'\nvalues = ['a', 'b']\nsynonyms = { 'c' = 'b' }\nnull_markers = ['C']",
    ] {
        assert!(refused_field(keys).contains("is a value of this field"), "{keys}");
    }
}

#[test]
fn synonyms_that_differ_only_in_letter_case_are_refused() {
    for synonyms in ["{ 'A' = 'b' }", "{ 'x' = 'a', 'X' = 'b' }"] {
        let message = refused_field(&format!("type = 'enum'\nvalues = ['a', 'b']\nsynonyms = {synonyms}"));
        assert!(message.contains("differs from another spelling only in letter case"), "{message}");
    }
}

#[test]
fn an_index_key_with_a_hyphen_may_be_a_field_of_that_name() {
    let field = "[[field]]\nname = '-c'\ntype = 'int32'\nprivacy = 'none'\n";
    let keys = |key: &str| {
        small(&format!("{field}[[index]]\nname = 'i'\nkeys = ['{key}']\n")).unwrap().indexes[0].keys.clone()
    };
    assert_eq!(keys("-c"), [("-c".to_owned(), 1)]);
    assert_eq!(keys("--c"), [("-c".to_owned(), -1)]);
    assert_eq!(keys("-a"), [("a".to_owned(), -1)]);
}

#[test]
fn two_indexes_cannot_have_the_same_keys() {
    let index = |name: &str, keys: &str| format!("[[index]]\nname = '{name}'\nkeys = [{keys}]\n");
    let three = |keys: &str| small(&(index("i", "'a'") + &index("j", "'b'") + &index("k", keys)));
    assert!(three("'a'").unwrap_err().contains("the index `i` has these keys"));
    assert!(three("'b'").unwrap_err().contains("the index `j` has these keys"));
    assert!(three("'-a'").is_ok() && three("'a', 'b'").is_ok());
}

#[test]
fn a_collection_has_a_name_that_the_server_allows() {
    let named = |name: &str| {
        let field = "[[field]]\nname = 'a'\ntype = 'string'\nprivacy = 'none'\n";
        Spec::from_toml(&format!("name = 'x'\ncollection = \"{name}\"\n{field}"), "test").map(|spec| spec.collection)
    };
    for name in [
        "",
        "a$b",
        "a\\u0000b",
        "system.users",
        "_medlift",
        "_medlift_runs",
        ".a",
        "a.",
        "a.system.b",
        "medlift_runs",
        "medlift_runs.leases",
        &"a".repeat(254),
    ] {
        assert!(named(name).is_err(), "{name}");
    }
    for name in ["a.b", "systems", "_med", "x_medlift"] {
        assert_eq!(named(name).unwrap(), name);
    }
}

#[test]
fn delimiter_quote_and_escape_must_differ() {
    let read = |table: &str| small(&format!("[source]\n{table}\n"));
    for table in ["delimiter = ','\nquote = ','", "delimiter = '|'\nescape = '|'", "quote = '\"'\nescape = '\"'"] {
        assert!(read(table).unwrap_err().contains("one character cannot have two meanings"), "{table}");
    }
    for table in ["delimiter = ','\nquote = '|'\nescape = '/'", "quote = 'none'\nescape = 'none'"] {
        assert!(read(table).is_ok(), "{table}");
    }
    assert!(read("quote = 'x'").unwrap_err().contains("`x` is not known here"));
}

#[test]
fn a_name_can_have_sixty_nested_documents_and_no_more() {
    let named = |parts: usize| {
        let name = vec!["p"; parts].join(".");
        small(&format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n"))
    };
    assert!(named(61).is_ok());
    assert!(named(62).unwrap_err().contains("more than 60 nested documents"));
}

#[test]
fn a_currency_cannot_look_like_part_of_a_number() {
    let currency = |sign: &str| format!("type = 'double'\ncurrency = ['$', \"{sign}\"]");
    for sign in ["", "5", "E5", "+", "-", ".", ",", "'", " ", "U S"] {
        assert!(refused_field(&currency(sign)).contains("cannot be distinguished from the number beside it"), "{sign}");
    }
    assert!(small(&format!("[[field]]\nname = 'f'\nprivacy = 'none'\n{}", currency("EUR"))).is_ok());
}

#[test]
fn a_sign_is_one_punctuation_character_or_none() {
    let backslash = Some(Sign::Byte(b'\\'));
    for (text, expected) in [("none", Some(Sign::None)), ("\\", backslash), ("~", Some(Sign::Byte(b'~')))] {
        assert_eq!(Sign::from_text(text), expected, "{text}");
    }
    for text in ["", "None", "a", "1", " ", "\t", "''", "\u{e9}"] {
        assert_eq!(Sign::from_text(text), None, "{text}");
    }
}

#[test]
fn an_index_has_a_name_that_the_server_allows() {
    for name in ["", "*", "_id_"] {
        let refused = small(&format!("[[index]]\nname = '{name}'\nkeys = ['a']\n")).unwrap_err();
        assert!(refused.contains("the server does not allow this name"), "{name}");
    }
    assert!(small("[[index]]\nname = '**'\nkeys = ['a']\n").is_ok());
}

#[test]
fn only_fields_of_similar_types_can_be_compared() {
    let groups: [&[&str]; 3] = [&["date", "datetime"], &["int32", "int64"], &["double"]];
    let types = ["date", "datetime", "int32", "int64", "double", "decimal128", "string", "bool"];
    let field = |name: &str, kind: &str| format!("[[field]]\nname = '{name}'\ntype = '{kind}'\nprivacy = 'none'\n");
    for left in types {
        for right in types {
            let rule = "[[plausibility]]\nname = 'p'\nleft = 'l'\nright = 'r'\n";
            let is_right = groups.iter().any(|group| group.contains(&left) && group.contains(&right));
            assert_eq!(small(&(field("l", left) + &field("r", right) + rule)).is_ok(), is_right, "{left} {right}");
        }
    }
}

#[test]
fn each_key_belongs_to_its_types() {
    let types = ["string", "int32", "int64", "double", "decimal128", "bool", "date", "datetime", "enum"];
    let numbers = &types[1..5];
    let keys: [(&str, &[&str]); 9] = [
        ("length = [1, 2]", &["string"]),
        ("pattern = 'a'", &["string"]),
        ("range = [1, 2]", numbers),
        ("thousands = \"'\"", numbers),
        ("currency = ['$']", numbers),
        ("decimal = ','", &["double", "decimal128"]),
        ("truthy = ['ja']", &["bool"]),
        ("falsy = ['nein']", &["bool"]),
        ("clean = ['null_if_negative']\npresence = 'nullable'", numbers),
    ];
    for kind in types {
        let values = if kind == "enum" { "values = ['u']\n" } else { "" };
        for (key, fitting) in keys {
            let field = format!("[[field]]\nname = 'f'\nprivacy = 'none'\ntype = '{kind}'\n{values}{key}\n");
            assert_eq!(small(&field).is_ok(), fitting.contains(&kind), "{kind} {key}");
        }
    }
}

#[test]
fn each_word_in_the_spec_is_read_as_the_value_with_that_name() {
    let field = |keys: &str| {
        small(&format!("[[field]]\nname = 'f'\ntype = 'string'\n{keys}\n")).map(|spec| spec.fields[2].clone())
    };
    for privacy in ["direct-identifier", "quasi-identifier", "clinical", "none"] {
        assert_eq!(field(&format!("privacy = '{privacy}'")).unwrap().privacy.name(), privacy);
    }
    for presence in ["required", "nullable", "optional"] {
        let found = field(&format!("privacy = 'none'\npresence = '{presence}'")).unwrap();
        assert_eq!(found.presence.name(), presence);
    }
    let rules = ["collapse_whitespace", "nfc", "person_name", "organisation_name", "lower_case"];
    let found = field(&format!("privacy = 'none'\nclean = {rules:?}")).unwrap();
    assert_eq!(found.clean.iter().map(|rule| rule.name()).collect::<Vec<_>>(), rules);
    for delimiter in [(",", b','), (";", b';'), ("|", b'|'), ("tab", b'\t')] {
        let spec = small(&format!("[source]\ndelimiter = '{}'\n", delimiter.0)).unwrap();
        assert_eq!(spec.source.delimiter, Some(delimiter.1));
    }
    for (thousands, sign) in [(",", ','), ("'", '\''), (" ", ' ')] {
        let keys = format!("[[field]]\nname = 'f'\ntype = 'double'\nprivacy = 'none'\nthousands = \"{thousands}\"\n");
        let FieldType::Double(format) = small(&keys).unwrap().fields[2].kind.clone() else { panic!("not a double") };
        assert_eq!(format, NumberFormat { thousands: Some(sign), ..NumberFormat::default() });
    }
}

#[test]
fn names_of_rules_and_of_indexes_differ() {
    let rule = |name: &str| format!("[[plausibility]]\nname = '{name}'\nleft = 'a'\nright = 'b'\n");
    assert!(small(&(rule("p") + &rule("q"))).is_ok());
    assert!(small(&(rule("p") + &rule("q") + &rule("p"))).unwrap_err().contains("another rule has this name"));
    let index = |name: &str, keys: &str| format!("[[index]]\nname = '{name}'\nkeys = [{keys}]\n");
    let same_name = index("i", "'a'") + &index("j", "'b'") + &index("i", "'a', 'b'");
    assert!(small(&same_name).unwrap_err().contains("another index has this name"));
    for keys in ["'a', 'a'", "'a', '-a'", "'a', 'b', '-a'"] {
        assert!(small(&index("i", keys)).unwrap_err().contains("`a` is listed twice"), "{keys}");
    }
}

#[test]
fn a_column_cannot_have_the_name_of_a_document_with_other_fields() {
    let fields = |column: &str| {
        let inner = "[[field]]\nname = 'lab.value'\ncolumn = 'Result'\ntype = 'int32'\nprivacy = 'none'\n";
        small(&format!("{inner}[[field]]\nname = 'c'\ncolumn = '{column}'\ntype = 'int32'\nprivacy = 'none'\n"))
    };
    for column in ["LAB", "lab.value", "re-sult"] {
        assert!(fields(column).is_err(), "{column}");
    }
    assert!(fields("value").is_ok());
}

#[test]
fn the_table_shows_each_constraint() {
    let cells = |keys: &str| {
        let field = format!("[[field]]\nname = 'f'\nprivacy = 'clinical'\nnull_markers = []\n{keys}\n");
        let table = small(&field).expect(keys).fields_table();
        table.lines().last().expect("a line").to_owned()
    };
    let check = |keys: &str, expected: &str| assert_eq!(cells(keys), format!("| f | f | {expected} | clinical |"));
    check("type = 'date'", "date | required | trim | midnight UTC");
    check("type = 'datetime'\npresence = 'optional'", "datetime | optional | trim | ");
    check("type = 'int64'\nthousands = \"'\"\nrange = [1, 2]", "int64 | required | trim | thousands `'`; 1 to 2");
    check("type = 'int64'\nrange = [5, 5]", "int64 | required | trim | 5 to 5");
    let money = "type = 'decimal128'\ndecimal = ','\ncurrency = ['€', 'EUR']";
    check(money, "decimal128 | required | trim | decimal `,`; currency `€`, `EUR`");
    check(
        "type = 'string'\nlength = [1, 9]\npattern = 'a+'\nclean = ['nfc']",
        "string | required | trim, nfc | 1 to 9 characters; matches `\\A(?:a+)\\z`",
    );
    check("type = 'bool'\ntruthy = ['j']\nfalsy = ['n']", "bool | required | trim | true: `j`; false: `n`");
    check("type = 'enum'\nvalues = ['A', 'B']", "enum | required | trim, canonical_spelling | one of `A`, `B`");
}

#[test]
fn groups_and_lists_have_defaults_of_their_own() {
    let field =
        |name: &str, more: &str| format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n{more}\n");
    let groups = "[[group]]\nname = 'g'\nrepeats = 'rows'\n\
                  [[group]]\nname = 'g.h'\nrepeats = 'inner'\naliases = ['i']\npresence = 'required'\n";
    let fields = field("g.x.y", "") + &field("g.h.z", "column = 'k'") + &field("l", "repeats = true");
    let spec = small(&(fields + groups)).unwrap();
    let group = |name: &str, column: &str, aliases: &[&str], presence| Group {
        name: name.to_owned(),
        column: column.to_owned(),
        aliases: aliases.iter().map(ToString::to_string).collect(),
        presence,
    };
    let expected = [group("g", "rows", &[], Presence::Optional), group("g.h", "inner", &["i"], Presence::Required)];
    assert_eq!(spec.shape.groups, expected);
    let columns: Vec<&str> = spec.fields.iter().map(|field| field.column.as_str()).collect();
    assert_eq!(columns, ["a", "b", "x.y", "k", "l"]);
    let is_list: Vec<bool> = spec.fields.iter().map(|field| field.repeats).collect();
    assert_eq!(is_list, [false, false, false, false, true]);
    let names: Vec<String> = spec.columns().into_iter().map(|column| column.name).collect();
    assert_eq!(names, ["a", "b", "g", "l"]);
    let table = spec.fields_table();
    for row in [
        "| g[] | rows | array of documents | optional |  |  |  |",
        "| g[].x.y | x.y | int32 | required | trim, null_marker (`-`) |  | none |",
        "| g[].h[] | inner, i | array of documents | required |  |  |  |",
        "| g[].h[].z | k | int32 | required | trim, null_marker (`-`) |  | none |",
        "| l[] | l | int32 | required | trim, null_marker (`-`) |  | none |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row} in\n{table}");
    }
}

#[test]
fn a_group_in_the_identity_means_all_of_its_fields() {
    let field = |name: &str| format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n");
    let group = "[[group]]\nname = 'g'\nrepeats = 'rows'\n";
    let identity = |keys: &str| {
        let more = field("g.x") + &field("g.y") + group + &format!("[identity]\n{keys}\n");
        small(&more).unwrap().identity.fields
    };
    assert_eq!(identity("fields = ['g', 'a']"), [0, 2, 3]);
    assert_eq!(identity("except = ['g']"), [0, 1]);
    assert_eq!(identity("fields = 'all'"), [0, 1, 2, 3]);
}

#[test]
fn keys_of_an_index_may_be_in_one_array_and_the_arrays_inside_it() {
    let field =
        |name: &str, more: &str| format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n{more}\n");
    let groups = "[[group]]\nname = 'g'\nrepeats = 'rows'\n[[group]]\nname = 'g.h'\nrepeats = 'h'\n";
    let fields = field("g.x", "") + &field("g.h.y", "") + &field("g.h.z", "repeats = true") + groups;
    for keys in ["'a', 'g.x'", "'g.h.z', 'g.x', '-g.h.y'", "'g.x', 'b', 'g.h.z'"] {
        assert!(small(&format!("{fields}[[index]]\nname = 'i'\nkeys = [{keys}]\n")).is_ok(), "{keys}");
    }
}

#[test]
fn an_array_counts_as_one_more_part_of_a_name() {
    let field =
        |name: &str, more: &str| format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n{more}\n");
    let list = |parts: usize| small(&field(&vec!["p"; parts].join("."), "repeats = true"));
    assert!(list(60).is_ok());
    assert!(list(61).unwrap_err().contains("more than 60 nested documents and arrays"));
    let in_group = |parts: usize| {
        let name = vec!["p"; parts].join(".");
        small(&(field(&name, "") + "[[group]]\nname = 'p'\nrepeats = 'p'\n[[group]]\nname = 'p.p'\nrepeats = 'p'\n"))
    };
    assert!(in_group(59).is_ok());
    assert!(in_group(60).unwrap_err().contains("more than 60 nested documents and arrays"));
}
