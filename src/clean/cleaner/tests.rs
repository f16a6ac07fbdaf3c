use super::*;
use crate::clean::tally::{RULES, TRIM};
use crate::parse::DateFormat;
use crate::parse::{Dialect, Format, RowRules};
use crate::spec::Field;
use crate::spec::column_key;

mod stability;

/// A spec with fields of most types, and with plausibility rules of both severities.
const SPEC: &str = r#"
name = "test"
null_markers = ["N/A"]
[[field]]
name = "who"
type = "string"
clean = ["nfc", "collapse_whitespace", "person_name"]
privacy = "direct-identifier"
[[field]]
name = "where"
type = "string"
presence = "nullable"
clean = ["organisation_name"]
length = [2, 20]
privacy = "none"
[[field]]
name = "group"
type = "enum"
values = ["A+", "A-"]
privacy = "clinical"
[[field]]
name = "age"
type = "int32"
range = [0, 130]
privacy = "quasi-identifier"
[[field]]
name = "bill"
type = "double"
presence = "nullable"
clean = ["null_if_negative"]
currency = ["$"]
thousands = ","
privacy = "none"
[[field]]
name = "from"
type = "date"
presence = "nullable"
privacy = "quasi-identifier"
[[field]]
name = "to"
type = "datetime"
presence = "optional"
privacy = "quasi-identifier"
[[plausibility]]
name = "to_not_before_from"
left = "from"
right = "to"
[[plausibility]]
name = "ages_rarely_exceed_bills"
left = "age"
right = "visits"
severity = "warn"
[[field]]
name = "visits"
type = "int64"
presence = "optional"
privacy = "none"
"#;

fn cleaner() -> Cleaner {
    let spec = Spec::from_toml(SPEC, "test").expect("a valid spec");
    let layout = Layout {
        format: Format::Csv(Dialect { delimiter: b'|', line_end: b'\n', quote: Some(b'"'), escape: None }),
        cell_of_field: (0..8).map(Some).collect(),
        array_of_field: Vec::new(),
        dates: vec![None; 8],
        header: Vec::new(),
        unknown: Vec::new(),
        charset: crate::parse::Charset::default(),
        is_of_resource_rejects: false,
        rules: RowRules::default(),
        doubtful_numbers: Vec::new(),
    };
    Cleaner::new(&spec, &layout)
}

/// Splits a row at `|`. A cell that begins with `"` is stored as a copy beside the row, as the parser stores a cell
/// with doubled quotes.
fn cells_of(row: &[u8]) -> Cells {
    let mut cells = Cells::default();
    let mut start = 0;
    for cell in row.split(|byte| *byte == b'|') {
        match cell.strip_prefix(b"\"") {
            Some(text) => cells.push_owned(text),
            None => cells.push_borrowed(start..start + cell.len()),
        }
        start += cell.len() + 1;
    }
    cells
}

fn clean(row: &[u8]) -> Result<(Record, Tally), Reject> {
    let (mut record, mut tally) = (Record::default(), Tally::default());
    cleaner().clean(row, &cells_of(row), &mut record, &mut tally)?;
    Ok((record, tally))
}

fn texts(record: &Record) -> Vec<String> {
    let show = |value: &Value| match value {
        Value::Text(range) => record.text(range).to_owned(),
        other => format!("{other:?}"),
    };
    record.values.iter().map(show).collect()
}

#[test]
fn a_row_becomes_a_typed_record() {
    let row = "\u{a0}bobby  jacksOn|and Kim Inc,|a+|30| $1,234.5 |1970-01-02|1970-01-02 01:00|\"40".as_bytes();
    let (record, tally) = clean(row).expect("an accepted row");
    let expected =
        ["Bobby Jackson", "Kim Inc", "A+", "Int32(30)", "Double(1234.5)", "Datetime(86400000)", "Datetime(90000000)"];
    assert_eq!(texts(&record)[..7], expected);
    assert_eq!(record.values[7], Value::Int64(40));
    let changed: Vec<&[u64]> = tally.changed.iter().map(Vec::as_slice).collect();
    let expected: [&[u64]; 8] =
        [&[1, 0, 0, 1, 1], &[0, 0, 1], &[0, 0, 1], &[0, 0], &[1, 0, 0], &[0, 0], &[0, 0], &[0, 0]];
    assert_eq!(changed, expected);
    assert_eq!(tally.warned, [0]);
}

#[test]
fn missing_values_become_null_if_the_field_allows_it() {
    let (record, tally) = clean(b"Ann|n/a|A-|0|-5|||").expect("an accepted row");
    assert_eq!(texts(&record), ["Ann", "Null", "A-", "Int32(0)", "Null", "Null", "Null", "Null"]);
    assert_eq!((tally.changed[1][1], tally.changed[4][2]), (1, 1));
    let (record, _) = clean(b"Ann|and ,|A-|0||||").expect("an accepted row");
    assert_eq!(record.values[1], Value::Null);
}

#[test]
fn a_bad_row_is_refused_with_its_reason() {
    for (row, field, reason, message) in [
        ("||A+|1||||", Some(0), Reason::Missing, "expected a value: the field is required"),
        ("N/A||A+|1||||", Some(0), Reason::Missing, "expected a value: the field is required"),
        ("x\0y||A+|1||||", Some(0), Reason::ControlCharacter, "expected text without control characters"),
        ("x||B+|1||||", Some(2), Reason::NotAllowed, "expected one of A+, A-"),
        ("x|y|A+|1||||", Some(1), Reason::WrongLength, "expected 2 to 20 characters"),
        ("x||A+|1.0||||", Some(3), Reason::NotAnInteger, "expected a whole number"),
        ("x||A+|131||||", Some(3), Reason::OutOfRange, "expected a number from 0 to 130"),
        ("x||A+|3000000000||||", Some(3), Reason::NumberTooLarge, "expected a number that fits int32"),
        ("x||A+|1|1,23|||", Some(4), Reason::NotANumber, "expected a number"),
        ("x||A+|1|NaN|||", Some(4), Reason::NotANumber, "expected a number"),
        (
            "x||A+|1||1970-01-02 03:00||",
            Some(5),
            Reason::NotADate,
            "expected a date as YYYY-MM-DD without a time of day",
        ),
        ("x||A+|1|||soon|", Some(6), Reason::NotADate, "expected a date as YYYY-MM-DD, with or without a time of day"),
        (
            "x||A+|1||1970-01-02|1970-01-01|",
            None,
            Reason::Implausible,
            "to_not_before_from: expected to not before from",
        ),
    ] {
        let reject = clean(row.as_bytes()).expect_err(row);
        assert_eq!(reject, Reject { field, reason, message: message.to_owned() }, "{row}");
    }
}

#[test]
fn undecodable_bytes_are_located() {
    let reject = clean(b"x|\xff|A+|1||||").expect_err("not UTF-8");
    assert_eq!((reject.field, reject.reason), (None, Reason::Undecodable));
    assert_eq!(reject.message, "expected UTF-8, found other bytes at byte 2 of the row");
}

#[test]
fn a_rejected_row_counts_nothing() {
    let mut cleaner = cleaner();
    let (mut record, mut tally) = (Record::default(), Tally::default());
    let mut run = |row: &[u8]| cleaner.clean(row, &cells_of(row), &mut record, &mut tally).is_ok();
    assert!(run(b" x||A+|9||||3"));
    assert!(!run(b" x||B+|9||||3"));
    assert!(run(b"X||A+|1||||3"));
    assert_eq!((tally.changed[0][TRIM], tally.changed[0][RULES + 2]), (1, 1));
    assert_eq!(tally.warned, [1]);
}

#[test]
fn an_absent_column_is_null() {
    let mut cleaner = cleaner();
    cleaner.plans[7].cell = None;
    let row = b"x||A+|1|||";
    let mut record = Record::default();
    cleaner.clean(row, &cells_of(row), &mut record, &mut Tally::default()).expect("an accepted row");
    assert_eq!(record.values[7], Value::Null);
}

#[test]
fn a_rule_between_fields_allows_equal_values_of_every_type() {
    let text = |range| Value::Text(range);
    for (left, right, expected) in [
        (Value::Datetime(5), Value::Datetime(5), false),
        (Value::Datetime(6), Value::Datetime(5), true),
        (Value::Double(0.5), Value::Double(0.5), false),
        (Value::Double(0.500_001), Value::Double(0.5), true),
        (Value::Int32(5), Value::Int64(5), false),
        (Value::Int64(6), Value::Int32(5), true),
        (Value::Int32(-6), Value::Int32(-5), false),
        (Value::Null, Value::Datetime(5), false),
        (Value::Datetime(5), Value::Null, false),
        (text(1..2), text(0..1), false),
    ] {
        assert_eq!(comes_after(&left, &right), expected, "{left:?} {right:?}");
    }
}

#[test]
fn a_stay_may_begin_and_end_on_the_same_day() {
    assert!(clean(b"Ann||A+|1||1970-01-02|1970-01-02 00:00|").is_ok());
    let reject = clean(b"Ann||A+|1||1970-01-02|1970-01-01 23:59:59.999|").expect_err("ends before it begins");
    assert_eq!(reject.reason, Reason::Implausible);
}

#[test]
fn each_rule_that_warns_has_its_own_count() {
    let field = |name| format!("[[field]]\nname = '{name}'\ntype = 'int32'\nprivacy = 'none'\n");
    let rule = |left, right, severity| {
        format!(
            "[[plausibility]]\nname = '{left}{right}'\nleft = '{left}'\nright = '{right}'\nseverity = '{severity}'\n"
        )
    };
    let rules = rule("a", "b", "warn") + &rule("a", "c", "reject") + &rule("b", "c", "warn");
    let text = format!("name = 'x'\n{}{}{}{rules}", field("a"), field("b"), field("c"));
    let spec = Spec::from_toml(&text, "test").expect("a valid spec");
    let mut cleaner = Cleaner::new(&spec, &laboratory_layout(&spec, "a;b;c"));
    let (mut record, mut tally) = (Record::default(), Tally::default());
    let mut is_good = |row: &[u8]| cleaner.clean(row, &cells_of(row), &mut record, &mut tally).is_ok();
    assert!(is_good(b"1|5|4") && is_good(b"1|3|2") && is_good(b"2|1|2") && is_good(b"1|1|1"));
    assert!(!is_good(b"3|1|2"));
    assert_eq!(tally.warned, [1, 2]);
}

#[test]
fn canonical_spelling_has_the_slot_after_the_rules() {
    let text = "name = 'x'\n[[field]]\nname = 'a'\ntype = 'enum'\nvalues = ['one', 'two']\nprivacy = 'none'\n\
                synonyms = { 'I' = 'one', 'II' = 'two' }\nclean = ['collapse_whitespace', 'lower_case']";
    let spec = Spec::from_toml(text, "test").expect("a valid spec");
    let mut cleaner = Cleaner::new(&spec, &laboratory_layout(&spec, "a"));
    let (mut record, mut tally) = (Record::default(), Tally::default());
    for (row, expected) in [("two", "two"), ("ii", "two"), ("I", "one"), ("TWO", "two")] {
        cleaner.clean(row.as_bytes(), &cells_of(row.as_bytes()), &mut record, &mut tally).expect("an accepted row");
        assert_eq!(texts(&record), [expected], "{row}");
    }
    assert_eq!(tally.changed, [[0, 0, 0, 2, 2]]);
}

/// Creates a layout for the laboratory's header. Each column is found by its name, as in a real source.
fn laboratory_layout(spec: &Spec, header: &str) -> Layout {
    let header: Vec<String> = header.split(';').map(str::to_owned).collect();
    let keys: Vec<String> = header.iter().map(|name| column_key(name)).collect();
    let cell = |field: &Field| {
        let mut names = std::iter::once(&field.column).chain(&field.aliases);
        names.find_map(|name| keys.iter().position(|key| *key == column_key(name)))
    };
    Layout {
        format: Format::Csv(Dialect { delimiter: b';', line_end: b'\n', quote: Some(b'"'), escape: None }),
        cell_of_field: spec.fields.iter().map(cell).collect(),
        array_of_field: Vec::new(),
        dates: vec![Some(DateFormat::Iso); spec.fields.len()],
        header,
        unknown: Vec::new(),
        charset: crate::parse::Charset::default(),
        is_of_resource_rejects: false,
        rules: RowRules::default(),
        doubtful_numbers: Vec::new(),
    }
}

#[test]
fn the_laboratory_dataset_is_cleaned_by_its_spec() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/spec/laboratory");
    let spec = Spec::from_file(format!("{data}.toml").as_ref()).expect("a valid spec");
    let text = std::fs::read_to_string(format!("{data}.csv")).expect("the laboratory's results");
    let (header, rows) = text.split_once('\n').expect("a header");
    let mut cleaner = Cleaner::new(&spec, &laboratory_layout(&spec, header));
    let (mut record, mut tally) = (Record::default(), Tally::default());
    let (mut rejects, mut checked) = (Vec::new(), 0);
    for row in rows.lines() {
        let mut cells = Cells::default();
        row.split(';').for_each(|cell| cells.push_owned(cell.as_bytes()));
        rejects.extend(cleaner.clean(row.as_bytes(), &cells, &mut record, &mut tally).err());
        if row.starts_with("ab100200;2;") && row.contains(";8,7;") {
            check_laboratory_record(&spec, &record);
            checked += 1;
        }
    }
    let reasons: Vec<Reason> = rejects.iter().map(|reject| reject.reason).collect();
    assert_eq!((reasons.as_slice(), checked), ([Reason::PatternMismatch, Reason::Implausible].as_slice(), 1));
    let billed = index_of(&spec, "billed");
    assert_eq!(tally.changed[billed], [0, 0]);
}

fn index_of(spec: &Spec, name: &str) -> usize {
    spec.fields.iter().position(|field| field.name == name).expect(name)
}

fn check_laboratory_record(spec: &Spec, record: &Record) {
    let decimal = |text| super::super::decimal128::decimal128(text).map(Value::Decimal128).expect("a decimal");
    let value = |name| &record.values[index_of(spec, name)];
    let text = |name| match value(name) {
        Value::Text(range) => record.text(range),
        other => panic!("{name} is {other:?}"),
    };
    assert_eq!([text("order.number"), text("test"), text("result.flag")], ["AB100200", "HBA1C", "normal"]);
    assert_eq!([text("order.ordered_by.name"), text("order.ordered_by.department")], ["Ada Vance MD", "emergency"]);
    assert_eq!([value("patient.mrn"), value("patient.fasting")], [&Value::Int64(9_000_000_000), &Value::Bool(false)]);
    assert_eq!([value("result.value"), value("price")], [&decimal("8.7"), &decimal("1204.00")]);
    assert_eq!([value("uncertainty"), value("billed")], [&Value::Double(0.001), &Value::Null]);
    assert_eq!(value("collected"), &Value::Datetime(1_740_903_720_000));
}

#[test]
fn a_cell_outside_its_row_is_checked_on_its_own() {
    let name = |text: &str| {
        let (mut record, mut cells) = (Record::default(), Cells::default());
        for cell in [text, "", "A+", "1", "", "", "", ""] {
            cells.push_owned(cell.as_bytes());
        }
        let cleaned = cleaner().clean(b"plain", &cells, &mut record, &mut Tally::default());
        cleaned.map(|()| texts(&record)[0].clone()).map_err(|reject| reject.reason)
    };
    assert_eq!(name("jane  ROE"), Ok("Jane Roe".to_owned()));
    assert_eq!(name("ZOE\u{308} ROE"), Ok("Zo\u{eb} Roe".to_owned()));
    assert_eq!(name("a\0b"), Err(Reason::ControlCharacter));
}
