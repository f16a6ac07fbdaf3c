use super::*;
use crate::spec::Dataset;

/// A spec with a list, and with a repeating group that contains a list and another repeating group.
const SPEC: &str = r#"
name = "patients"
[[group]]
name = "names"
repeats = "name"
[[group]]
name = "names.periods"
repeats = "period"
[[field]]
name = "id"
type = "string"
privacy = "none"
[[field]]
name = "names.family"
type = "string"
privacy = "none"
[[field]]
name = "names.given"
type = "string"
repeats = true
presence = "optional"
privacy = "none"
[[field]]
name = "names.periods.start"
type = "date"
presence = "optional"
privacy = "none"
[[field]]
name = "names.flags.old"
column = "flags.is old"
type = "bool"
truthy = ["ja"]
falsy = ["nein"]
presence = "optional"
privacy = "none"
[[field]]
name = "doses"
type = "double"
decimal = ","
repeats = true
presence = "optional"
privacy = "none"
"#;

fn spec() -> Spec {
    Spec::from_toml(SPEC, "test").expect("a valid spec")
}

/// Parses a row with the cells `id`, `name` and `doses`. If `is_in_row` is true, the cells are parts of the row,
/// otherwise of the scratch buffer.
fn parse(row: &[&str; 3], is_in_row: bool) -> Result<Vec<(usize, String)>, Reject> {
    let text = row.concat();
    let mut cells = Cells::default();
    let mut start = 0;
    for cell in row {
        if is_in_row {
            cells.push_borrowed(start..start + cell.len());
        } else {
            cells.push_owned(cell.as_bytes());
        }
        start += cell.len();
    }
    let mut arrays = Arrays::new(&spec(), &[Some(0), Some(1), None, None, None, Some(2)]);
    arrays.parse(text.as_bytes(), &mut cells)?;
    let mut seen = Vec::new();
    arrays.each_value(&text, &cells, &mut |field, text| seen.push((field, text.to_owned())));
    Ok(seen)
}

#[track_caller]
fn check(name: &str, doses: &str, expected: &[(usize, &str)]) {
    let expected: Vec<(usize, String)> = expected.iter().map(|&(field, text)| (field, text.to_owned())).collect();
    for is_in_row in [true, false] {
        assert_eq!(parse(&["7", name, doses], is_in_row), Ok(expected.clone()), "{name} {doses}");
    }
}

#[track_caller]
fn check_refused(name: &str, doses: &str, field: usize, message: &str) {
    for is_in_row in [true, false] {
        let refused = parse(&["7", name, doses], is_in_row).expect_err("refused");
        assert_eq!((refused.field, refused.reason), (Some(field), Reason::NotJson), "{}", refused.message);
        assert_eq!(refused.message, message);
    }
}

#[test]
fn items_become_cells_of_their_fields() {
    check("", "", &[]);
    check("null", " [ ] ", &[]);
    check("[]", "[1.50, -2, null, \"3,5\"]", &[(5, "1,50"), (5, "-2"), (5, ""), (5, "3,5")]);
    let name = r#"[{"family":"Lee","given":["Ann","B\u00e9a"],"use":"x","period":[{"start":"2024-01-31"},{}]},
        {"Family":"Kim","flags":{"is old":true}}]"#;
    let first = [(1, "Lee"), (2, "Ann"), (2, "Béa"), (3, "2024-01-31"), (3, ""), (4, "")];
    check(name, "", &[&first[..], &[(1, "Kim"), (4, "ja")]].concat());
    check(
        r#"[{"given":null,"flags.old":false,"period":[{"start":{"$date":0}}]}]"#,
        "",
        &[(1, ""), (3, "1970-01-01T00:00:00.000Z"), (4, "nein")],
    );
}

#[test]
fn a_wrong_array_is_refused_with_a_message_without_its_values() {
    check_refused("{\"family\":\"canary\"}", "", 1, "expected a JSON array, e.g. [{…}, {…}]");
    check_refused("", "5", 5, "expected a JSON array, e.g. [\"a\", \"b\"]");
    check_refused("[{\"family\":\"canary\"}, \"canary\"]", "", 1, "item 2: expected an object");
    check_refused("[{\"$oid\":\"canary\"}]", "", 1, "item 1: expected an object");
    let unfit = "where a string, number, boolean, date or null is expected";
    check_refused("", "[1, [2]]", 5, &format!("item 2: the value is an object or an array {unfit}"));
    check_refused("", "[1, {\"x\": 2}]", 5, &format!("item 2: the value is an object or an array {unfit}"));
    check_refused("[{\"family\":{}}]", "", 1, &format!("item 1, `family`: the value is an object or an array {unfit}"));
    check_refused("[{\"family\":1,\"FAMILY\":2}]", "", 1, "item 1, `family`: the object gives this field twice");
    check_refused("[{},{\"given\":\"canary\"}]", "", 2, "item 2, `given`: expected a JSON array, e.g. [\"a\", \"b\"]");
    check_refused("[{\"period\":[{},7]}]", "", 3, "item 1, `period`, item 2: expected an object");
    check_refused("", "[1,", 5, "expected a JSON array: see byte 3 of the cell");
    check_refused("", "[1] canary", 5, "expected a JSON array: see byte 5 of the cell");
    check_refused("", "  [1] canary", 5, "expected a JSON array: see byte 7 of the cell");
    let deep = format!("[{}1{}]", "{\"x\":".repeat(120), "}".repeat(120));
    check_refused(&deep, "", 1, "item 1: expected at most 100 levels of objects and arrays");
}

#[test]
fn keys_of_items_that_no_field_uses_are_reported() {
    let mut cells = Cells::default();
    let row = r#"[{"use":1,"family":2,"x":{"y":1},"period":[{"end":3}],"_id":1}]"#;
    cells.push_borrowed(0..row.len());
    let mut arrays = Arrays::new(&spec(), &[None, Some(0), None, None, None, None]);
    arrays.parse(row.as_bytes(), &mut cells).expect("right items");
    assert_eq!(arrays.unknown_keys(), ["name[].use", "name[].x.y", "name[].period[].end"]);
}

#[test]
fn items_that_cannot_fit_a_document_are_refused_early() {
    let items = |count: usize| format!("[{}{{}}]", "{},".repeat(count - 1));
    // The divisor is the smallest size of an item in bytes: five BSON elements, each of two bytes plus its name. The
    // names are the number of the item (one digit), `family`, `given`, `periods` and `old`.
    let most = DOCUMENT_BYTES_MAX / (3 + 8 + 7 + 9 + 5);
    assert_eq!(parse(&["7", &items(most), ""], true).map(|cells| cells.len()), Ok(most * 2));
    let refused = parse(&["7", &items(most + 1), ""], true).expect_err("too many");
    assert_eq!((refused.field, refused.reason), (Some(1), Reason::DocumentTooLarge));
}

#[test]
fn each_document_of_a_row_has_a_size_of_its_own() {
    let name = "x".repeat(1_000);
    let group = |column: &str| {
        format!(
            "[[document.group]]\nname = 'g'\nrepeats = '{column}'\n[[document.field]]\nname = 'g.{name}'\n\
             type = 'string'\npresence = 'optional'\nprivacy = 'none'\n"
        )
    };
    let key = "[[document.field]]\nname = 'id'\ntype = 'string'\nprivacy = 'none'\n";
    let document = |kind: &str, groups: &str| format!("[[document]]\nname = '{kind}'\n{key}{groups}");
    let parse = |spec: &str| {
        let spec = Dataset::from_toml(&format!("name = 'x'\n{spec}"), "test").expect("a right spec").columns;
        let cell_of = |field: usize| (spec.fields[field].name != "id").then_some(0);
        let mut arrays = Arrays::new(&spec, &(0..spec.fields.len()).map(cell_of).collect::<Vec<_>>());
        let items = format!("[{}{{}}]", "{},".repeat(9_999));
        let mut cells = Cells::default();
        cells.push_borrowed(0..items.len());
        arrays.parse(items.as_bytes(), &mut cells).map_err(|reject| reject.reason)
    };
    // Each array has 10,000 items of at least 1,005 bytes. A document may have 16 MiB, so one array fits and two do
    // not.
    let two_arrays = group("one") + &group("two").replace("'g", "'h");
    assert_eq!(parse(&document("a", &two_arrays)), Err(Reason::DocumentTooLarge));
    assert_eq!(parse(&(document("a", &group("one")) + &document("b", &group("two")))), Ok(()));
}

#[test]
fn the_items_of_earlier_rows_do_not_count_for_the_size_of_a_document() {
    let mut arrays = Arrays::new(&spec(), &[None, Some(0), None, None, None, None]);
    let mut cells = Cells::default();
    // The items of one row need two thirds of the size limit of a document. If earlier rows counted too, the second row
    // would be refused.
    let items = format!("[{}{{}}]", "{},".repeat(DOCUMENT_BYTES_MAX / (3 + 8 + 7 + 9 + 5) * 2 / 3));
    for row in 1..=3 {
        cells.clear();
        cells.push_borrowed(0..items.len());
        assert_eq!(arrays.parse(items.as_bytes(), &mut cells), Ok(()), "row {row}");
    }
}
