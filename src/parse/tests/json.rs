//! Tests of NDJSON and of other JSON sources: which key belongs to which field, and what the cells contain.

use super::*;

fn nested_spec() -> Spec {
    spec_of(vec![
        field("id", FieldType::String, Presence::Required),
        field("result.value", FieldType::String, Presence::Nullable),
        field("result.unit", FieldType::String, Presence::Optional),
        field("taken", FieldType::Datetime, Presence::Optional),
    ])
}

fn check(line: &str, expected: &[&str]) {
    let spec = nested_spec();
    let layout = bind_with(&spec, "{\"id\":1,\"result\":{\"value\":1}}", &LayoutOptions::default()).unwrap();
    let rows = rows(&spec, &layout, line.as_bytes());
    assert_eq!(rows, [(Ok(()), expected.iter().map(|&cell| cell.to_owned()).collect())], "{line}");
}

fn check_refused(line: &[u8], reason: Reason, field: Option<usize>, cells: &[&str]) {
    let spec = nested_spec();
    let layout = bind_with(&spec, "{\"id\":1,\"result\":{\"value\":1}}", &LayoutOptions::default()).unwrap();
    let [(Err(reject), left)] = &rows(&spec, &layout, line)[..] else { panic!("not refused") };
    assert_eq!((reject.reason, reject.field), (reason, field), "{}", reject.message);
    assert_eq!(left, cells);
}

#[test]
fn values_become_cells_in_the_order_of_the_fields() {
    check(r#"{"id":"a","result":{"value":1.50,"unit":"mg"}}"#, &["a", "1.50", "mg", ""]);
    check(r#"{"result":{"UNIT":null,"Value":-1e400},"ID":true,"x":[{"id":2}]}"#, &["true", "-1e400", "", ""]);
    check(r#" { "result.value" : 12345678901234567890.10 , "id" : "" } "#, &["", "12345678901234567890.10", "", ""]);
    check(r#"{"id":"say \"hi\" \u00e9\ud83d\ude00\n"}"#, &["say \"hi\" é😀\n", "", "", ""]);
    check(r#"{"_id":{"$oid":"65b9"},"id":"Zoë"}"#, &["Zoë", "", "", ""]);
    check(
        r#"{"i\u0064":"a","result":{"value":{"deep":1},"x":{"y":{}}}}"#.replace("{\"deep\":1}", "2").as_str(),
        &["a", "2", "", ""],
    );
    check("{}", &["", "", "", ""]);
}

#[test]
fn extended_json_is_read_relaxed_and_canonical() {
    let value =
        |json: &str, expected| check(&format!(r#"{{"id":1,"result":{{"value":{json}}}}}"#), &["1", expected, "", ""]);
    value(r#"{"$numberInt":"42"}"#, "42");
    value(r#"{ "$numberLong" : "9007199254740993" }"#, "9007199254740993");
    value(r#"{"$numberDouble":"0.1"}"#, "0.1");
    value(r#"{"$numberDecimal":"1.10"}"#, "1.10");
    let date = |json: &str, expected| check(&format!(r#"{{"id":1,"taken":{json}}}"#), &["1", "", "", expected]);
    date(r#"{"$date":"2024-01-31T09:05:07Z"}"#, "2024-01-31T09:05:07Z");
    date(r#"{"$date":{"$numberLong":"1706691907123"}}"#, "2024-01-31T09:05:07.123Z");
    date(r#"{"$date":{"$numberLong":"-1"}}"#, "1969-12-31T23:59:59.999Z");
    date(r#"{"$date":0}"#, "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_line_that_is_not_one_object_is_refused_without_its_content() {
    for line in
        ["canary", "[1]", "{\"id\":1", "{\"id\":canary}", "{\"id\":1} canary", "\"canary\"", "{\"id\":1}{\"id\":2}"]
    {
        check_refused(line.as_bytes(), Reason::NotJson, None, &[line]);
    }
    check_refused(b"{\"id\":\"a\xff\"}", Reason::Undecodable, None, &["{\"id\":\"a\u{fffd}\"}"]);
    let deep = format!("{}1{}", "{\"a\":".repeat(120), "}".repeat(120));
    check_refused(deep.as_bytes(), Reason::NotJson, None, &[&deep]);
}

#[test]
fn a_row_with_a_wrong_value_is_refused_with_all_other_cells() {
    let object = r#"{"id":{"a":1},"result":{"unit":"mg"}}"#;
    check_refused(object.as_bytes(), Reason::NotJson, Some(0), &["\u{fffd}{\"a\":1}", "", "mg", ""]);
    check_refused(br#"{"result":{"value":[1]},"id":"b"}"#, Reason::NotJson, Some(1), &["b", "\u{fffd}[1]", "", ""]);
    check_refused(br#"{"id":"a","ID":"b"}"#, Reason::NotJson, Some(0), &["\u{fffd}a", "", "", ""]);
    check_refused(br#"{"id":{"$oid":"1"}}"#, Reason::NotJson, Some(0), &["\u{fffd}{\"$oid\":\"1\"}", "", "", ""]);
    check_refused(br#"{"id":"\ud800"}"#, Reason::NotJson, Some(0), &["\u{fffd}\"\\ud800\"", "", "", ""]);
    let late = r#"{"taken":{"$date":{"$numberLong":"999999999999999999"}}}"#;
    check_refused(
        late.as_bytes(),
        Reason::NotADate,
        Some(3),
        &["", "", "", &format!("\u{fffd}{}", &late[9..late.len() - 1])],
    );
}

#[test]
fn the_keys_of_all_rows_of_the_sample_are_its_columns() {
    let sample =
        "{\"ID\":1,\"x\":{\"y\":1,\"z\":{\"$date\":0}},\"_id\":7}\n{\"result\":{\"value\":1}}\nnot json\n{\"w\":[1]}\n";
    let layout = bind_with(&nested_spec(), sample, &LayoutOptions::default()).unwrap();
    assert_eq!(layout.unknown, ["x.y", "x.z", "w"]);
    assert_eq!(layout.header, ["id", "result.value", "result.unit", "taken"]);
    assert_eq!((layout.format, layout.cell_of_field), (Format::Ndjson, (0..4).map(Some).collect()));
    let missing = bind_with(&nested_spec(), "{\"id\":1}\n", &LayoutOptions::default()).unwrap_err();
    let expected = LayoutError::MissingColumns {
        spec: "test".into(),
        missing: vec!["result.value".into()],
        similar: Vec::new(),
        seen: vec!["id".into()],
    };
    assert_eq!(missing, expected);
}

#[test]
fn date_formats_are_decided_for_ndjson_too() {
    let bind = |date: &str| {
        let sample = format!("{{\"id\":1,\"result\":{{\"value\":1}},\"taken\":{date}}}\n");
        bind_with(&nested_spec(), &sample, &LayoutOptions::default()).map(|layout| layout.dates[3])
    };
    assert_eq!(bind("\"31/01/2024\""), Ok(Some(DateFormat::DayMonthYear(b'/'))));
    assert_eq!(bind("{\"$date\":{\"$numberLong\":\"0\"}}"), Ok(Some(DateFormat::Iso)));
    assert!(matches!(bind("\"01/02/2024\""), Err(LayoutError::AmbiguousDate { column, .. }) if column == "taken"));
}

#[test]
fn objects_may_be_nested_as_deeply_as_mongodb_allows() {
    let nested = |depth: usize| format!("{{\"id\":1,\"a\":{}1{}}}", "{\"a\":".repeat(depth - 1), "}".repeat(depth - 1));
    check(&nested(100), &["1", "", "", ""]);
    check_refused(nested(101).as_bytes(), Reason::NotJson, None, &[&nested(101)]);
}

#[test]
fn the_first_wrong_value_is_reported() {
    check_refused(br#"{"result":{"value":[1]},"id":[2]}"#, Reason::NotJson, Some(1), &["[2]", "\u{fffd}[1]", "", ""]);
}

#[test]
fn json_values_are_written_as_the_column_requires() {
    let comma = crate::spec::NumberFormat { decimal_comma: true, ..crate::spec::NumberFormat::default() };
    let words = FieldType::Bool { truthy: vec!["ja".into(), "j".into()], falsy: vec!["nein".into(), "n".into()] };
    let spec =
        spec_of(vec![field("n", FieldType::Double(comma), Presence::Optional), field("b", words, Presence::Optional)]);
    let layout = bind_with(&spec, "{\"n\":1,\"b\":true}", &LayoutOptions::default()).unwrap();
    for (line, expected) in [
        (r#"{"n":1.5,"b":true}"#, ["1,5", "ja"]),
        (r#"{"n":-1.5,"b":false}"#, ["-1,5", "nein"]),
        (r#"{"n":{"$numberDouble":"-0.5"},"b":"j"}"#, ["-0,5", "j"]),
        (r#"{"n":"1.234,5","b":null}"#, ["1.234,5", ""]),
    ] {
        assert_eq!(rows(&spec, &layout, line.as_bytes()), [(Ok(()), expected.map(str::to_owned).to_vec())], "{line}");
    }
}

#[test]
fn a_fraction_in_json_never_becomes_a_whole_number() {
    for (thousands, expected) in [(None, "1.234"), (Some(','), "1.234"), (Some('.'), "1,234"), (Some(' '), "1.234")] {
        let format = crate::spec::NumberFormat { thousands, ..crate::spec::NumberFormat::default() };
        let spec = spec_of(vec![field("n", FieldType::Int64(format), Presence::Optional)]);
        let layout = bind_with(&spec, "{\"n\":1}", &LayoutOptions::default()).unwrap();
        let found = rows(&spec, &layout, br#"{"n":1.234}"#);
        assert_eq!(found, [(Ok(()), vec![expected.to_owned()])], "{thousands:?}");
    }
}

#[test]
fn a_byte_that_is_not_utf8_is_counted_from_one() {
    let spec = nested_spec();
    let layout = bind_with(&spec, "{\"id\":1,\"result\":{\"value\":1}}", &LayoutOptions::default()).unwrap();
    let [(Err(reject), _)] = &rows(&spec, &layout, b"{\"id\":\"a\xff\"}")[..] else { panic!("not refused") };
    assert_eq!(reject.message, "byte 9 of the line is not valid UTF-8");
}

#[test]
fn at_most_ten_thousand_keys_are_distinguished() {
    let keys = |count: usize| (0..count).map(|n| format!(",\"k{n}\":0")).collect::<Vec<_>>().concat();
    for (count, expected) in [(9_998, 9_998), (9_999, 9_998)] {
        let sample = format!("{{\"id\":1,\"result\":{{\"value\":1}}{}}}\n", keys(count));
        let layout = bind_with(&nested_spec(), &sample, &LayoutOptions::default()).unwrap();
        assert_eq!(layout.unknown.len(), expected);
    }
}

#[test]
fn every_number_of_extended_json_is_a_number() {
    for kind in ["Int", "Long", "Double", "Decimal"] {
        check(&format!("{{\"id\":1,\"result\":{{\"value\":{{\"$number{kind}\":\"7\"}}}}}}"), &["1", "7", "", ""]);
    }
}

#[test]
fn an_array_and_pretty_objects_give_the_rows_of_the_same_lines() {
    let spec = nested_spec();
    let lines = "{\"id\":1,\"result\":{\"value\":1}}\n{\"id\":2,\"result\":{\"value\":2,\"unit\":\"mg\"}}\n";
    let expected = [vec!["1", "1", "", ""], vec!["2", "2", "mg", ""]];
    let objects: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let pretty = |value: &serde_json::Value| serde_json::to_string_pretty(value).unwrap();
    let array = serde_json::Value::from(objects.clone());
    let one_after_another = objects.iter().map(pretty).collect::<Vec<_>>().join("\n");
    for (text, format) in [
        (lines.to_owned(), Format::Ndjson),
        (array.to_string(), Format::Json),
        (pretty(&array), Format::Json),
        (one_after_another, Format::Json),
    ] {
        let layout = bind_with(&spec, &text, &LayoutOptions::default()).unwrap();
        assert_eq!(layout.format, format, "{text}");
        let seen: Vec<Vec<String>> = rows(&spec, &layout, text.as_bytes())
            .into_iter()
            .map(|(parsed, cells)| parsed.map(|()| cells).expect("a row"))
            .collect();
        assert_eq!(seen, expected, "{text}");
    }
}

#[test]
fn an_array_that_ends_too_early_has_a_refused_row() {
    let spec = nested_spec();
    let first = "{\"id\":1,\"result\":{\"value\":1}}";
    let check = |text: String, message: &str, cells: &[&str]| {
        let layout = bind_with(&spec, &text, &LayoutOptions::default()).unwrap();
        let seen = rows(&spec, &layout, text.as_bytes());
        let [(Ok(()), _), (Err(reject), left)] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((reject.reason, reject.field), (Reason::NotJson, None), "{}", reject.message);
        assert!(reject.message.contains(message), "{}", reject.message);
        assert_eq!(left, cells);
    };
    check(format!("[{first},{{\"id\":"), "the source ends inside this object", &["{\"id\":"]);
    check(format!("[{first},\n"), "the source ends before the `]` of its array", &[""]);
}

#[test]
fn an_error_on_a_later_line_of_an_object_is_found_by_its_byte() {
    let spec = nested_spec();
    let check = |row: &str, byte: usize| {
        let text = format!("[{{\"id\":1,\"result\":{{\"value\":1}}}},{row}]");
        let layout = bind_with(&spec, &text, &LayoutOptions::default()).unwrap();
        let [_, (Err(reject), _)] = &rows(&spec, &layout, text.as_bytes())[..] else { panic!("not refused") };
        assert_eq!(reject.message, format!("not one JSON object: see its byte {byte}"));
    };
    check("{\n\"id\":\n x}", 10);
    check("{\"id\": x}", 8);
    check("{\n\"x\": {\n \"y\": x}}", 16);
}

/// Creates a spec with two kinds of documents, each with one field.
fn two_kinds(first: &str, second: &str) -> Spec {
    let kind = |name: &str, field: &str| {
        format!("[[document]]\nname = '{name}'\n[[document.field]]\nname = 'f'\nprivacy = 'none'\n{field}\n")
    };
    let text = format!("name = 'x'\n{}{}", kind("a", first), kind("b", second));
    crate::spec::Dataset::from_toml(&text, "a test").unwrap().columns
}

#[test]
fn a_column_that_two_kinds_read_is_one_column_with_one_notation() {
    let check = |first: &str, second: &str, value: &str, expected: &str| {
        for (first, second) in [(first, second), (second, first)] {
            let spec = two_kinds(&format!("column = 'The Value'\n{first}"), &format!("column = 'the_value'\n{second}"));
            let row = format!("{{\"the_value\":{value}}}");
            let layout = bind_with(&spec, &row, &LayoutOptions::default()).unwrap();
            assert_eq!(
                (&layout.header[..], &layout.cell_of_field[..]),
                (&["The Value".to_owned()][..], &[Some(0); 2][..])
            );
            assert_eq!(
                rows(&spec, &layout, row.as_bytes()),
                [(Ok(()), vec![expected.to_owned()])],
                "{first}, {second}"
            );
        }
    };
    let string = "type = 'string'";
    check(string, string, "1.5", "1.5");
    check("type = 'double'\ndecimal = ','", string, "1.5", "1,5");
    for whole in ["type = 'int64'", "type = 'int32'\nthousands = ' '"] {
        check("type = 'double'\ndecimal = ','", whole, "1.5", "1,5");
        check("type = 'decimal128'", whole, "1.5", "1.5");
    }
    check("type = 'bool'\ntruthy = ['ja']\nfalsy = ['nein']", string, "true", "ja");
    let [german, short] = ["truthy = ['ja', 'J']\nfalsy = ['nein', 'n']", "truthy = ['j']\nfalsy = ['N']"];
    check(&format!("type = 'bool'\n{german}"), &format!("type = 'bool'\n{short}"), "\"J\"", "J");
    for (value, expected) in [("true", "J"), ("false", "n")] {
        let spec = two_kinds(&format!("type = 'bool'\n{german}"), &format!("type = 'bool'\n{short}"));
        let row = format!("{{\"f\":{value}}}");
        let layout = bind_with(&spec, &row, &LayoutOptions::default()).unwrap();
        assert_eq!(rows(&spec, &layout, row.as_bytes())[0].1, [expected]);
    }
}

#[test]
fn a_column_that_two_kinds_read_in_contradictory_notations_is_refused() {
    let check = |first: &str, second: &str| {
        let found = bind_with(&two_kinds(first, second), "{\"f\":1}", &LayoutOptions::default()).map(|_| ());
        assert_eq!(found, Err(LayoutError::TwoNotations { column: "f".to_owned() }));
    };
    check("type = 'double'\ndecimal = ','", "type = 'decimal128'");
    check("type = 'double'\ndecimal = ','", "type = 'int64'\nthousands = ','");
    check("type = 'bool'\ntruthy = ['ja']\nfalsy = ['no']", "type = 'bool'\ntruthy = ['yes']\nfalsy = ['no']");
    check("type = 'bool'\ntruthy = ['1']\nfalsy = ['0']", "type = 'bool'\ntruthy = ['1']\nfalsy = ['2']");
}

#[test]
fn id_and_mongodbs_own_key_are_two_columns_of_two_kinds() {
    let spec = two_kinds("type = 'string'\ncolumn = '_id'", "type = 'string'\ncolumn = 'id'");
    let layout = bind_with(&spec, "{\"_id\":1,\"id\":2}", &LayoutOptions::default()).unwrap();
    assert_eq!(layout.header, ["_id", "id"]);
}

#[test]
fn a_key_that_two_kinds_read_in_one_notation_is_given_once() {
    let spec = two_kinds("type = 'string'", "type = 'int32'");
    let layout = bind_with(&spec, "{\"f\":1}", &LayoutOptions::default()).unwrap();
    let cells = |row: &str| rows(&spec, &layout, row.as_bytes()).pop().unwrap();
    assert_eq!(cells("{\"f\":1}"), (Ok(()), vec!["1".to_owned()]));
    assert!(cells("{\"f\":1,\"F\":2}").0.is_err(), "an object with the key twice must be refused");
}

/// Fields whose paths lead through arrays.
const PATHS: &str = r#"
name = "paths"
[[field]]
name = "id"
type = "string"
privacy = "none"
[[field]]
name = "family"
column = "name[0].family"
type = "string"
presence = "nullable"
privacy = "none"
[[field]]
name = "second"
column = "name[1].given[1]"
type = "string"
presence = "optional"
privacy = "none"
[[field]]
name = "families"
column = "name[*].family"
repeats = true
type = "string"
presence = "optional"
privacy = "none"
[[field]]
name = "given"
column = "name[*].given"
repeats = true
type = "string"
presence = "optional"
privacy = "none"
[[group]]
name = "codings"
repeats = "category[*].coding"
[[field]]
name = "codings.code"
column = "code"
type = "string"
presence = "nullable"
privacy = "none"
"#;

#[test]
fn a_path_leads_through_arrays() {
    let spec = Spec::from_toml(PATHS, "a test").unwrap();
    let sample = r#"{"id":1,"name":[{"family":"A","given":["B","C"],"use":"x"},{"given":["D","E"]}],"category":[{"coding":[]}]}"#;
    let layout = bind_with(&spec, sample, &LayoutOptions::default()).unwrap();
    let check = |line: &str, expected: &[&str]| {
        let rows = rows(&spec, &layout, line.as_bytes());
        assert_eq!(rows, [(Ok(()), expected.iter().map(|&cell| cell.to_owned()).collect())], "{line}");
    };
    check(sample, &["1", "A", "E", r#"["A"]"#, r#"["B","C","D","E"]"#, "[]"]);
    check(r#"{"id":2,"name":[]}"#, &["2", "", "", "", "", ""]);
    check(r#"{"id":3,"name":[{"FAMILY":"Zoë"},{"family":"B"}]}"#, &["3", "Zoë", "", r#"["Zoë","B"]"#, "", ""]);
    check(
        r#"{"id":4,"category":[{"coding":[{"code":"a"}, {"code":"b"}]},{},{"coding": [ ]},{"coding":[{"code":"c"}]}]}"#,
        &["4", "", "", "", "", r#"[{"code":"a"}, {"code":"b"},{"code":"c"}]"#],
    );
    // A value that is not an array has no items.
    check(r#"{"id":5,"name":{"family":"A"}}"#, &["5", "", "", "", "", ""]);
    assert!(layout.unknown.iter().any(|key| key == "name[0].use"), "{:?}", layout.unknown);
}

#[test]
fn a_required_path_through_an_array_must_occur_in_the_source() {
    let spec = Spec::from_toml(PATHS, "a test").unwrap();
    let found = bind_with(&spec, r#"{"id":1,"name":[]}"#, &LayoutOptions::default());
    assert!(matches!(found, Err(LayoutError::MissingColumns { missing, .. }) if missing == ["name[0].family"]));
}

#[test]
fn a_path_to_all_items_needs_a_field_for_several_values() {
    let refused = |toml: &str| {
        let spec = Spec::from_toml(toml, "a test").unwrap();
        bind_with(&spec, r#"{"id":1,"a":[{"b":1}]}"#, &LayoutOptions::default())
    };
    let field = "name = 'x'\n[[field]]\nname = 'id'\ncolumn = 'a[*].b'\ntype = 'string'\nprivacy = 'none'\n";
    assert_eq!(refused(field).err(), Some(LayoutError::SeveralValues { column: "a[*].b".to_owned() }));
    let group = "name = 'x'\n[[group]]\nname = 'g'\nrepeats = 'a'\n[[field]]\nname = 'g.b'\ncolumn = 'c[*].d'\nrepeats = true\n\
                 type = 'string'\npresence = 'optional'\nprivacy = 'none'\n";
    assert_eq!(refused(group).err(), Some(LayoutError::SeveralValues { column: "c[*].d".to_owned() }));
}
