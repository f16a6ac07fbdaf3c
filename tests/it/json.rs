//! Tests of JSON sources other than NDJSON: arrays, and objects on several lines.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::load::{Place, counts, text};

const SPEC: &str = "name = 'visits'\ncollection = 'visits'\n\
    [[field]]\nname = 'visit.number'\ntype = 'int64'\nprivacy = 'none'\n\
    [[field]]\nname = 'visit.ward'\ntype = 'string'\npresence = 'nullable'\nprivacy = 'none'\n";

fn visits(count: usize) -> Vec<Value> {
    let ward =
        |number: usize| if number.is_multiple_of(7) { Value::Null } else { json!(format!("ward [{number}] \"{{\"")) };
    (0..count).map(|number| json!({ "visit": { "number": number, "ward": ward(number) } })).collect()
}

fn spec(place: &Place) -> PathBuf {
    place.write("visits.toml", SPEC)
}

#[test]
fn an_array_lines_and_pretty_objects_are_the_same_documents() {
    let place = Place::new("json_documents");
    let spec = spec(&place);
    let spec = ["--spec", text(&spec)];
    let visits = visits(3000);
    let pretty = visits.iter().map(|visit| serde_json::to_string_pretty(visit).unwrap()).collect::<Vec<_>>().join("\n");
    let lines = visits.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
    let array = place.write("array.json", Value::from(visits).to_string());
    let summary = place.load(&array, &spec, 0);
    assert_eq!(counts(&summary, &["read", "written", "rejected"]), [3000, 3000, 0]);
    assert_eq!(summary["sources"][0]["format"], "json");
    place.run(&[&["verify", text(&array)], &spec[..]].concat()).expect_code(0);
    for (name, content) in [("pretty.json", pretty), ("lines.json", lines)] {
        let source = place.write(name, content);
        let summary = place.load(&source, &spec, 0);
        assert_eq!(counts(&summary, &["read", "written", "already_present"]), [3000, 0, 3000], "{name}");
    }
}

#[test]
fn damage_in_an_array_is_rejected_corrected_and_loaded() {
    let place = Place::new("json_damage");
    let spec = spec(&place);
    let spec = ["--spec", text(&spec)];
    let array = "[{\"visit\": {\"number\": 1, \"ward\": \"a\"}},\n {\"visit\": {\"number\": [2]}},\n {\"visit\": {\"number\": 3";
    let source = place.write("visits.json", array);
    let summary = place.load(&source, &spec, 4);
    assert_eq!(counts(&summary, &["read", "written", "rejected"]), [3, 1, 2]);
    let path = source.with_file_name("visits.json.rejects.csv");
    let rejects = std::fs::read_to_string(&path).unwrap();
    assert!(rejects.contains("\n2,41,visit.number,not_json"), "{rejects}");
    assert!(rejects.contains("the source ends inside this object; is the export complete?"), "{rejects}");
    assert!(
        rejects.contains("{\"\"visit\"\": {\"\"number\"\": 3"),
        "the reject file must contain the incomplete object: {rejects}"
    );
    let corrected: Vec<&str> = rejects.lines().take(2).collect();
    let corrected = place.write("corrected.csv", corrected.join("\n").replace("\u{fffd}[2]", "2"));
    let summary = place.load(&corrected, &spec, 0);
    assert_eq!(counts(&summary, &["read", "written"]), [1, 1]);
}

#[test]
fn the_objects_after_a_damaged_object_are_loaded() {
    let place = Place::new("json_after_damage");
    let spec = spec(&place);
    let spec = ["--spec", text(&spec)];
    for (name, separator) in [("lines.json", ",\n"), ("one_line.json", ",")] {
        let object = |number: usize| format!("{{\"visit\":{{\"number\":{number},\"ward\":\"a\"}}}}");
        let mut objects: Vec<String> = (0..3000).map(object).collect();
        // The closing quote is missing in one object, and both `}` are missing in another.
        objects[1000] = objects[1000].replace("\"a\"", "\"a");
        objects[2000] = objects[2000].replace('}', "");
        let source = place.write(name, format!("[{}]\n", objects.join(separator)));
        let summary = place.load(&source, &spec, 4);
        assert_eq!(counts(&summary, &["read", "rejected"]), [3000, 2], "{name}");
        let rejects = std::fs::read_to_string(source.with_file_name(format!("{name}.rejects.csv"))).unwrap();
        let lines: Vec<&str> = rejects.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        let expected = if separator == "," { ["1", "1"] } else { ["1001", "2001"] };
        assert_eq!(lines, expected, "{rejects}");
    }
}
