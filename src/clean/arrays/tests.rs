use super::*;
use crate::clean::{Cleaner, Tally};
use crate::parse::{Format, Layout, LayoutOptions, Parser};

const PATIENTS: &str = include_str!("../../../tests/data/spec/patients.toml");

/// Parses and cleans each line with the same parser and cleaner.
fn clean(lines: &[&str]) -> (Vec<Result<Record, Reject>>, Tally) {
    let spec = Spec::from_toml(PATIENTS, "patients.toml").expect("a valid spec");
    let text = lines.join("\n");
    let sample = r#"{"id":"P001","identifier":[],"allergies":[]}"#.as_bytes();
    let layout = Layout::bind(&spec, Format::Ndjson, sample, &LayoutOptions::default()).expect("the keys are known");
    let (mut parser, mut cleaner) = (Parser::new(&layout, &spec), Cleaner::new(&spec, &layout));
    let (mut cells, mut record, mut tally) = (Cells::default(), Record::default(), Tally::default());
    let records = Format::Ndjson.rows(text.as_bytes()).map(|span| {
        let row = &text.as_bytes()[span.start as usize..span.end as usize];
        parser.parse(row, span, &mut cells)?;
        cleaner.clean(row, &cells, &mut record, &mut tally)?;
        Ok(record.clone())
    });
    (records.collect(), tally)
}

/// Writes a value as text for comparison. An array is written in brackets.
fn show(record: &Record, value: &Value) -> String {
    match value {
        Value::Text(range) => record.text(range).to_owned(),
        Value::Items(range) => {
            let items: Vec<String> = record.items(range).iter().map(|value| show(record, value)).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Decimal128(bytes) => bson::Decimal128::from_bytes(*bytes).to_string(),
        other => format!("{other:?}"),
    }
}

fn shown(record: &Record) -> String {
    record.values.iter().map(|value| show(record, value)).collect::<Vec<_>>().join(" ")
}

const FULL: &str = r#"{"id":"P001","identifier":[{"system":"PASSPORT","value":"ab 1"},{"system":"insurance","value":"c"}],
 "name":[{"family":"o'neil  smith","given":["ann","unknown",null],"period":[{"start":"1970-01-02"},{}]},{"family":"Lee"}],
 "dose":[1.50," 2 "],"allergies":null}"#;
const NEXT: &str = r#"{"id":"P002","identifier":[{"system":"passport","value":"x"}],"allergies":["nuts"],"ages":[]}"#;

#[test]
fn the_items_of_arrays_are_cleaned_like_cells() {
    let full = FULL.replace('\n', "");
    let (records, tally) = clean(&[&full, NEXT, &full]);
    let records: Vec<Record> = records.into_iter().map(|record| record.expect("an accepted row")).collect();
    // Values: mrn, identifiers (2 fields), names (5 fields), address (2 fields), doses, allergies, ages.
    let names = "[O'Neil Smith [Ann Null Null] Null [Datetime(86400000) Null Null Null] Lee [] Null []]";
    let expected =
        format!("P001 [passport AB 1 insurance C] Null {names} Null Null Null Null Null Null [1.50 2] [] []");
    assert_eq!(shown(&records[0]), expected);
    assert_eq!(shown(&records[1]), "P002 [passport X] Null [] Null Null Null Null Null Null [] [nuts] []");
    assert_eq!(records[0], records[2], "equal rows give equal records, whatever row was cleaned between them");
    assert_eq!(records[0].values.len(), 13);
    // The first and the last row are equal. In each of them, `collapse_whitespace` changed a family name, a dose was
    // trimmed, and a given name was a null marker.
    assert_eq!((tally.changed[3][3], tally.changed[10][0], tally.changed[4][1]), (2, 2, 2));
}

#[test]
fn a_bad_item_rejects_the_row_with_its_number() {
    let row = |more: &str| format!("{{\"id\":\"P001\",\"allergies\":[],{more}}}");
    let identifier = r#""identifier":[{"system":"passport","value":"canary"}]"#;
    for (more, field, reason, message) in [
        ("\"identifier\":[]".to_owned(), 1, Reason::Missing, "expected at least one item: the array is required"),
        ("\"name\":[]".to_owned(), 1, Reason::Missing, "expected at least one item: the array is required"),
        (
            r#""identifier":[{"system":"passport","value":"canary"},{"system":"canary","value":"x"}]"#.to_owned(),
            1,
            Reason::NotAllowed,
            "item 2, `system`: expected one of passport, insurance",
        ),
        (
            r#""identifier":[{"system":"passport"}]"#.to_owned(),
            2,
            Reason::Missing,
            "item 1, `value`: expected a value: the field is required",
        ),
        (
            format!(
                "{identifier},\"name\":[{{\"family\":\"a\"}},{{\"family\":\"b\",\"period\":[{{}},{{\"start\":\"canary\"}}]}}]"
            ),
            6,
            Reason::NotADate,
            "item 2, `period`, item 2, `start`: expected a date as YYYY-MM-DD without a time of day",
        ),
        (format!("{identifier},\"dose\":[1,501]"), 10, Reason::OutOfRange, "item 2: expected a number from 0 to 500"),
        (format!("{identifier},\"dose\":5"), 10, Reason::NotJson, "expected a JSON array, e.g. [\"a\", \"b\"]"),
    ] {
        let row = row(&more);
        let (found, tally) = clean(&[&row]);
        let expected = Reject { field: Some(field), reason, message: message.to_owned() };
        assert_eq!(found, [Err(expected)], "{row}");
        assert_eq!(tally, Tally::default());
    }
}

#[test]
fn a_text_with_escapes_is_cleaned_whole_even_if_its_row_is_plain() {
    let row = |family: &str| {
        format!(
            "{{\"id\":\"P001\",\"identifier\":[{{\"system\":\"passport\",\"value\":\"x\"}}],\"allergies\":[],\
             \"name\":[{{\"family\":\"{family}\"}}]}}"
        )
    };
    let (escaped, plain) = (row("lee\\tkim\\u00a0o"), row("lee kim o"));
    assert!(escaped.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{escaped}");
    let (records, _) = clean(&[&escaped, &plain]);
    assert!(shown(records[1].as_ref().expect("an accepted row")).contains("Lee Kim O"));
    assert_eq!(records[0], records[1]);
}
