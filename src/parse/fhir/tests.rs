//! Tests of the conversion of resources.

use bson::RawDocument;
use proptest::prelude::*;

use super::*;
use crate::encode::json_of;
use crate::parse::{Cells, FhirForm, Format, Layout, LayoutOptions, Parser};
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject, RowKinds};
use crate::spec::Spec;

const SPEC: &str = r#"
name = "test"
resource = "Patient"
patient = { identifier = "identifier", prefer = ["MR"] }
[source]
type = "fhir"
system = "north"
base = "http://a.example/fhir/"
[search]
active = { code = "active", privacy = "none" }
born = { date = ["birthDate", "period.start"], privacy = "none" }
code = { token = "code[*].coding", privacy = "none" }
family = { string = "name[*].family", privacy = "none" }
first = { string = "name[0].family", privacy = "none" }
identifier = { identifier = "identifier", privacy = "none" }
other = { reference = "link[*].other", privacy = "none" }
practitioner = { reference = "generalPractitioner[0]", privacy = "none" }
"#;

fn reader() -> Fhir {
    let spec = Spec::from_toml(SPEC, "test").expect("a valid spec");
    Fhir::new(&spec)
}

fn read(row: &str) -> Result<String, Reject> {
    let (mut fhir, mut cells) = (reader(), Cells::default());
    fhir.parse(row.as_bytes(), 1, &mut cells)?;
    Ok(json_of(RawDocument::from_bytes(fhir.resource()).expect("valid BSON")))
}

/// Returns the cells that are not arrays, and the texts of the items of arrays, in the order of the spec.
fn cells(row: &str) -> (Vec<String>, Vec<Vec<String>>) {
    let spec = Spec::from_toml(SPEC, "test").expect("a valid spec");
    let (mut fhir, mut cells) = (Fhir::new(&spec), Cells::default());
    fhir.parse(row.as_bytes(), 1, &mut cells).expect("a resource");
    let columns = spec.columns();
    let is_array = |cell: &usize| columns[*cell].node.is_array();
    let values = (0..columns.len()).filter(|cell| !is_array(cell) && !spec.is_derived(&columns[*cell]));
    let values = values.map(|cell| String::from_utf8(cells.get(&[], cell).to_vec()).unwrap()).collect();
    let arrays = columns.iter().filter(|column| column.node.is_array()).count();
    let items = |array| cells.array(array).map(|cell| cells.item_text("", cell).unwrap().0.to_owned()).collect();
    (values, (0..arrays).map(items).collect())
}

#[test]
fn values_are_found_by_their_paths() {
    let row = r##"{"resourceType":"Patient","id":"p1","meta":{"lastUpdated":"2024-01-02T03:04:05.678+01:00"},
        "active":true,"birthDate":"1980-01","period":{"start":"1980-01-05"},
        "identifier":[{"value":"1"},{"system":"s","type":{"coding":[{"code":"MR"},{"code":"X"}]},"value":"2"}],
        "name":[{"family":"a\u00e9"},{"given":["x"]},{"family":"b"}],
        "code":[{"coding":[{"system":"u","code":"1"},{"code":"2"}]},{"coding":{"code":"3"}}],
        "generalPractitioner":[{"reference":"http://a.example/fhir/Practitioner/9/_history/2"}],
        "link":[{"other":{"reference":"Patient/2"}},{"other":{"reference":"#c"}},{"other":{"reference":"Patient/3"}}]}"##;
    let (values, arrays) = cells(row);
    let expected =
        ["north", "Patient", "p1", "2024-01-02T03:04:05.678+01:00", "true", "1980-01-05", "aé", "Practitioner/9"];
    assert_eq!(values, expected);
    let expected: [&[&str]; 4] =
        [&["1", "u", "2", "", "3", ""], &["aé", "b"], &["1", "", "", "2", "s", "MR"], &["Patient/2", "Patient/3"]];
    assert_eq!(arrays, expected);
    let (values, arrays) = cells(r#"{"id":" p ","name":{"family":"c"},"active":"a\u0007b","resourceType":"Patient"}"#);
    assert_eq!(values, ["north", "Patient", "p", "", "", "", "", ""]);
    assert_eq!(arrays[1], ["c"]);
}

#[test]
fn the_references_of_a_resource_are_listed_with_their_kinds() {
    let (mut fhir, mut cells) = (reader(), Cells::default());
    let row = r##"{"resourceType":"Patient","id":"a","x":[{"reference":"Patient/1"},{"y":{"reference":"Media/2"}}],
        "reference":"#z","z":{"reference":{"reference":"Patient/3"}},"u":{"reference":"http://b.example/Patient/4"}}"##;
    fhir.parse(row.as_bytes(), 1, &mut cells).expect("a resource");
    assert_eq!(
        fhir.references().collect::<Vec<_>>(),
        [(Some(0), "1"), (None, "2"), (Some(0), "3"), (None, "/b.example/Patient/4")]
    );
}

#[test]
fn references_by_uuid_are_resolved_inside_the_bundle() {
    let uuid = "0123abcd-4567-89ef-0123-456789abcdef";
    let mut ids = BundleIds::default();
    ids.add_entry(
        1,
        format!(r#"{{"fullUrl":"urn:uuid:{uuid}","resource":{{"resourceType":"Patient","id":"p7"}}}}"#).as_bytes(),
    );
    ids.add_entry(
        1,
        b"{\"fullUrl\":\"urn:uuid:00000000-0000-0000-0000-000000000001\",\"resource\":{\"resourceType\":\"Patient\"}}",
    );
    ids.add_entry(1, b"{\"resource\":{\"resourceType\":\"Patient\"}}");
    let spec = Spec::from_toml(SPEC, "test").expect("a valid spec");
    let (mut fhir, mut cells) = (Fhir::new(&spec), Cells::default());
    fhir.set_ids(Some(ids.into()));
    let row = format!(
        r#"{{"fullUrl":"urn:uuid:00000000-0000-0000-0000-000000000001","request":{{"method":"POST"}},"resource":
        {{"resourceType":"Patient","generalPractitioner":[{{"reference":"urn:uuid:{uuid}"}}],"a":{{"reference":"urn:uuid:b"}}}}}}"#
    );
    fhir.parse(row.as_bytes(), 1, &mut cells).expect("an entry");
    assert_eq!(fhir.references().collect::<Vec<_>>(), [(Some(0), "p7")]);
    assert_eq!(cells.get(&[], 2), b"00000000-0000-0000-0000-000000000001");
    let stored = json_of(RawDocument::from_bytes(fhir.resource()).expect("valid BSON"));
    assert!(stored.starts_with(r#"{"resourceType":"Patient","generalPr"#) && stored.contains(uuid), "{stored}");
}

#[test]
fn a_row_that_is_not_parsed_has_no_kind() {
    let spec = Spec::from_toml(SPEC, "test").expect("a valid spec");
    let row = b"{\"resourceType\":\"Patient\",\"id\":\"a\",\"b\":{\"reference\":\"Patient/1\"}}";
    let layout = Layout::bind(&spec, Format::Fhir(FhirForm::Ndjson), row, &LayoutOptions::default()).unwrap();
    let (mut parser, mut cells) = (Parser::new(&layout, &spec), Cells::default());
    for ending in [Ending::TooLong, Ending::Truncated, Ending::OpenArray] {
        let span = RowSpan { start: 0, end: row.len() as u32, line: 1, offset: 0, ending: Ending::Whole, object: 0 };
        parser.parse(row, span, &mut cells).expect("a resource");
        assert_eq!((parser.kinds(), parser.references().count()), (RowKinds::One(0), 1));
        parser.parse(row, RowSpan { ending, ..span }, &mut cells).expect_err("the row is not whole");
        assert_eq!((parser.kinds(), parser.references().count()), (RowKinds::None, 0), "{ending:?}");
    }
}

#[test]
fn a_row_that_is_not_a_resource_is_refused_with_the_reason() {
    let check = |row: &str, reason, part: &str| {
        let reject = read(row).expect_err(row);
        assert!(reject.reason == reason && reject.message.contains(part), "{row}: {reject:?}");
    };
    check("{\"id\":\"a\"}", Reason::NotFhir, "no `resourceType`");
    check("{}", Reason::NotFhir, "no `resourceType`");
    check("}", Reason::NotFhir, "not part of a resource");
    check("[1]", Reason::NotFhir, "not part of a resource");
    check("{\"resourceType\":\"Other\",\"id\":\"a\"}", Reason::NotFhir, "does not describe");
    check("{\"resourceType\":\"Patient\"}", Reason::NotFhir, "no `id`");
    check("{\"resourceType\":\"Patient\",\"id\":\" \"}", Reason::NotFhir, "no `id`");
    check("{\"resourceType\":\"Patient\",\"id\":null}", Reason::NotFhir, "no `id`");
    check("{\"fullUrl\":\"a\",\"request\":{}}", Reason::NotFhir, "no resource");
    check("{\"fullUrl\":\"http://a/b\",\"resource\":{\"resourceType\":\"Patient\"}}", Reason::NotFhir, "no `id`");
    let rest = |rest: &str| format!("{{\"resourceType\":\"Patient\",\"id\":\"a\"{rest}");
    check(&rest(""), Reason::NotJson, "see byte 35");
    check(&rest("} x"), Reason::NotJson, "see byte 37");
    for (wrong, byte) in [
        (",", 36),
        (",}", 36),
        (",\"b\"}", 39),
        (",\"b\":}", 40),
        (",\"b\":[1,]}", 43),
        (",\"b\":tru}", 40),
        (",\"b\":01}", 41),
        (",\"b\":1.}", 42),
        (",\"b\":-}", 41),
        (",\"b\":1e}", 42),
        (",\"b\":\"\n\"}", 41),
        (",\"b\":\"\\x\"}", 41),
        (",\"b\":\"\\u12\"}", 41),
        (",\"b\":'c'}", 40),
        (",b:1}", 36),
    ] {
        check(&rest(wrong), Reason::NotJson, &format!("see byte {byte} "));
    }
    check(&rest(",\"id\":\"b\"}"), Reason::NotJson, "in its object twice");
    check(&rest(",\"\\u0069d\":\"b\"}"), Reason::NotJson, "in its object twice");
    check(&rest(",\"b\":[{\"c\":{\"d\":1,\"d\":2}}]}"), Reason::NotJson, "byte 53 of the row is in its object twice");
    check(&rest(",\"b\\u0000\":1}"), Reason::NotJson, "U+0000");
    for escape in ["\\ud800", "\\ud800\\u0041", "\\udc00", "\\ud800x"] {
        check(&rest(&format!(",\"b\":\"{escape}\"}}")), Reason::NotJson, "half of a surrogate pair");
    }
    let many: Vec<String> = (0..200).map(|number| format!(",\"k{}\":1", number % 199)).collect();
    check(&rest(&format!("{}}}", many.concat())), Reason::NotJson, "twice");
    let nested = |levels: usize| rest(&format!(",\"b\":{}{}}}", "[".repeat(levels), "]".repeat(levels)));
    check(&nested(98), Reason::NotJson, "more than 98 levels");
    assert!(read(&nested(97)).is_ok());
    let (mut fhir, mut cells) = (reader(), Cells::default());
    let reject = Reject::from(fhir.parse(b"{\"resourceType\":\"\xff\"}", 1, &mut cells).unwrap_err());
    assert!(reject.reason == Reason::Undecodable && reject.message.contains("byte 18"), "{reject:?}");
}

#[test]
fn each_value_comes_back_as_it_was() {
    for value in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "1.0",
        "1e2",
        "1E+2",
        "0.10",
        "-12.50",
        "123456789012345678901234567890123456789012",
        "2147483648",
        "[]",
        "{}",
        "[1,[2,{\"a\":[]}],null]",
        "\"\"",
        "\"a\\\"b\\\\c\\n\\t\\u0000\"",
        "\"é😀\"",
        "{\"\":1,\"a.b\":2,\"$c\":3}",
        "[0,1,2,3,4,5,6,7,8,9,10,11]",
        "{\"z\":1,\"a\":2}",
    ] {
        let row = format!("{{\"resourceType\":\"Patient\",\"id\":\"a\",\"value\":{value}}}");
        assert_eq!(read(&row).expect(&row), row);
    }
    let row = r#" { "resourceType" : "Patient" , "id" : "a" , "v" : "\u0041\/\ud83d\ude00\b\f" , "w" : [ 1 , 2 ] } "#;
    assert_eq!(read(row).unwrap(), r#"{"resourceType":"Patient","id":"a","v":"A/😀\b\f","w":[1,2]}"#);
    let long = "abcdefghij\\nklmnopqrstuvwxyz".repeat(50);
    let row = format!("{{\"resourceType\":\"Patient\",\"id\":\"a\",\"value\":\"{long}\"}}");
    assert_eq!(read(&row).unwrap(), row);
}

/// Makes JSON values without white space.
fn json() -> impl Strategy<Value = String> {
    let text = proptest::string::string_regex("[ -~é\u{1f600}]{0,20}").expect("a valid pattern");
    let text = text.prop_map(|text| serde_json::to_string(&text).expect("a text"));
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), text, number];
    leaf.prop_recursive(4, 40, 8, |inner| {
        let items = proptest::collection::vec(inner.clone(), 0..8).prop_map(|items| format!("[{}]", items.join(",")));
        let keys = proptest::collection::btree_map("[a-z]{1,6}", inner, 0..8);
        let object = keys.prop_map(|keys| {
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", keys.join(","))
        });
        prop_oneof![items, object]
    })
}

proptest! {
    #[test]
    fn any_resource_comes_back_as_it_was(value in json()) {
        let row = format!("{{\"resourceType\":\"Patient\",\"id\":\"a\",\"value\":{value}}}");
        prop_assert_eq!(read(&row).expect("a resource"), row);
    }

    #[test]
    fn damaged_text_is_refused_or_accepted_without_a_panic(value in json(), at in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
        let mut row = format!("{{\"resourceType\":\"Patient\",\"id\":\"a\",\"value\":{value}}}").into_bytes();
        let at = at.index(row.len());
        row[at] = byte;
        let (mut fhir, mut cells) = (reader(), Cells::default());
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(&row).is_ok();
        let read = fhir.parse(&row, 1, &mut cells);
        prop_assert!(is_json || read.is_err());
        row.truncate(at);
        prop_assert!(fhir.parse(&row, 1, &mut cells).is_err());
    }
}

#[test]
fn a_row_has_no_cells_of_a_row_of_another_kind() {
    let toml = "name = 'two'\n[source]\ntype = 'fhir'\n\
                [[document]]\nresource = 'Patient'\n[document.search]\ngender = { code = 'gender', privacy = 'none' }\n\
                [[document]]\nresource = 'Condition'\n[document.search]\nseverity = { code = 'severity', privacy = 'none' }\n";
    let dataset = crate::spec::Dataset::from_toml(toml, "test").expect("a valid spec");
    let (mut fhir, mut cells) = (Fhir::new(&dataset.columns), Cells::default());
    let mut texts = |row: &str| {
        let _ = fhir.parse(row.as_bytes(), 0, &mut cells);
        let texts = (0..cells.len()).map(|cell| String::from_utf8(cells.get(&[], cell).to_vec()).unwrap());
        texts.filter(|text| text.starts_with("value")).collect::<Vec<_>>()
    };
    assert_eq!(texts(r#"{"resourceType":"Patient","id":"a","gender":"value 1"}"#), ["value 1"]);
    assert_eq!(texts(r#"{"resourceType":"Condition","id":"a","severity":"value 2"}"#), ["value 2"]);
    assert_eq!(texts(r#"{"resourceType":"Patient","id":"b"}"#), Vec::<String>::new());
    assert_eq!(texts(r#"{"resourceType":"Condition","id":"b","severity":"value 3"}"#), ["value 3"]);
    assert_eq!(texts(r#"{"resourceType":"Condition","id":"c","severity":"value 4"#), Vec::<String>::new());
    assert_eq!(texts(r#"{"resourceType":"Other","id":"c"}"#), Vec::<String>::new());
    assert_eq!(texts(r#"{"resourceType":"Condition","id":"d"}"#), Vec::<String>::new());
}

#[test]
fn references_by_uuid_without_a_known_entry_are_counted() {
    let lost = |row: &str| {
        let mut fhir = reader();
        fhir.parse(row.as_bytes(), 0, &mut Cells::default()).expect("a resource");
        fhir.lost_references()
    };
    let link =
        r##"{"other":{"reference":"urn:uuid:1"}},{"other":{"reference":"Patient/2"}},{"other":{"reference":"#a"}}"##;
    let resource = format!(r#"{{"resourceType":"Patient","id":"a","link":[{link},{link}]}}"#);
    assert_eq!(lost(&resource), 2);
    assert_eq!(lost(r#"{"resourceType":"Patient","id":"a"}"#), 0);
    // Only the resource of an entry counts.
    assert_eq!(
        lost(&format!(r#"{{"request":{{"reference":"urn:uuid:1"}},"resource":{resource},"search":[{link}]}}"#)),
        2
    );
}
