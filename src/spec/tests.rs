use std::path::PathBuf;

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
fn built_in_spec_is_the_seeds_document() {
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
fn a_quite_different_dataset_is_another_spec() {
    let spec = Spec::from_file(&data("laboratory.toml")).expect("a right spec");
    assert_eq!((spec.name.as_str(), spec.collection.as_str()), ("laboratory", "lab_results"));
    assert_eq!(spec.identity, Identity { fields: vec![0, 1], on_conflict: OnConflict::KeepLast });
    let value = &spec.fields[spec.field_index("result.value").expect("a field")];
    let format = NumberFormat { thousands: Some('.'), decimal_comma: true, currency: Vec::new() };
    assert_eq!(value.kind, FieldType::Decimal128(format));
    assert_eq!(value.null_markers, ["N/A", "-", "not done"]);
    assert_eq!(spec.plausibility[1].severity, Severity::Warn);
    assert_eq!(spec.indexes[1].keys, [("patient.mrn".to_owned(), 1), ("collected".to_owned(), -1)]);
    let order = spec.fields[0].constraints.pattern.as_ref().expect("a pattern");
    assert!(order.is_match("AB123456") && !order.is_match("AB1234567") && !order.is_match("xAB123456"));
}

/// Every `tests/data/spec/wrong/*.toml` must be refused with the message in the `.txt` file next to it.
#[test]
fn wrong_specs_are_refused_with_place_and_remedy() {
    let mut cases: Vec<PathBuf> = fs::read_dir(data("wrong"))
        .expect("the folder of wrong specs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 50, "only {} wrong specs found", cases.len());
    for case in cases {
        let text = fs::read_to_string(&case).expect("a wrong spec");
        let origin = case.file_name().expect("a file").to_string_lossy();
        let message = Spec::from_toml(&text, &origin).expect_err(&origin).to_string();
        let expected = fs::read_to_string(case.with_extension("txt")).unwrap_or_default();
        assert_eq!(message, expected.trim_end(), "{origin}");
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
    let (_, after) = docs.split_once("<!-- fields of admissions -->\n").expect("where the table begins");
    let (table, _) = after.split_once("<!-- end of fields -->").expect("where the table ends");
    assert_eq!(table.trim(), Spec::built_in().fields_table().trim(), "docs/spec.md: put this table in");
}

#[test]
fn a_spec_says_how_its_sources_are_written() {
    let read = |table: &str| {
        let field = "[[field]]\nname = 'a'\ntype = 'string'\nprivacy = 'none'\n";
        Spec::from_toml(&format!("name = 'x'\n{table}\n{field}"), "test").map(|spec| spec.source)
    };
    assert_eq!(read("").unwrap(), SourceFormat::default());
    let table = "[source]\ndelimiter = 'tab'\nquote = 'none'\nescape = '\\'\nmultiline_cells = true";
    let expected = SourceFormat {
        delimiter: Some(b'\t'),
        quote: Some(Sign::None),
        escape: Some(Sign::Byte(b'\\')),
        multiline_cells: true,
    };
    assert_eq!(read(table).unwrap(), expected);
    assert_eq!(read("[source]\nquote = \"'\"").unwrap().quote, Some(Sign::Byte(b'\'')));
}
