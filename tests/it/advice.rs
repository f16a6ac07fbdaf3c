//! Tests of the advice for a load whose rows are mostly rejected for one reason, and for a source whose columns are not
//! found. All but one run without a database.

use std::fs;
use std::path::Path;

use serde_json::Value as Json;

use crate::load::{HEADER, Place, row, text};
use crate::program::{Run, medlift};

/// A spec with a name, a number and a date. `number` has the keys of the number.
fn spec(number: &str) -> String {
    format!(
        "name = 'visits'\n\
         [[field]]\nname = 'Id'\ntype = 'string'\nprivacy = 'none'\n\
         [[field]]\nname = 'Cost'\n{number}\nprivacy = 'none'\n\
         [[field]]\nname = 'Day'\ntype = 'date'\nprivacy = 'none'\n"
    )
}

fn dry_run(dir: &Path, spec: &str, source: impl AsRef<[u8]>, options: &[&str]) -> Run {
    let (spec_path, source_path) = (dir.join("visits.toml"), dir.join("a.csv"));
    fs::write(&spec_path, spec).expect("the spec is written");
    fs::write(&source_path, source).expect("the source is written");
    let arguments = ["load", "--dry-run", text(&source_path), "--spec", text(&spec_path), "--quiet"];
    medlift(arguments.iter().chain(options)).run()
}

/// Returns a source with 20 rows. The costs and the days are repeated in their order: with two costs, the rows have
/// the first, the second, the first cost, and so on.
fn rows(costs: &[&str], days: &[&str]) -> String {
    let row = |number: usize| format!("p{number}\t{}\t{}\n", costs[number % costs.len()], days[number % days.len()]);
    format!("Id\tCost\tDay\n{}", (0..20).map(row).collect::<String>())
}

#[test]
fn the_advice_names_the_reason_and_a_setting_that_was_tried() {
    let dir = tempfile::tempdir().expect("a directory");
    let check = |number: &str, source: String, options: &[&str], expected: [&str; 2]| {
        let summary = dry_run(dir.path(), &spec(number), source, options).expect_code(4).stdout;
        let lines: Vec<&str> = summary.lines().collect();
        assert_eq!(lines[..2], expected, "{summary}");
        assert!(lines[2].starts_with("dry run"), "{summary}");
    };
    let (iso, double) = (["2024-01-31"], "type = 'double'");
    let numbers = "20 of 20 rows are rejected for one reason: `not_a_number` in the field `Cost`";
    let all = "under the field `Cost` of the spec, 20 of 20 refused cells that were tried are accepted";
    check(double, rows(&["1,50", "22,5"], &iso), &[], [numbers, &format!("with decimal = \",\" {all}")]);
    let german = format!("with decimal = \",\" and thousands = \".\" {all}");
    check(double, rows(&["1.234,50", "22,5"], &iso), &[], [numbers, &german]);
    check(double, rows(&["1,234.50", "1,234,567"], &iso), &[], [numbers, &format!("with thousands = \",\" {all}")]);
    check(double, rows(&["$ 5", "$7.5"], &iso), &[], [numbers, &format!("with currency = [\"$\"] {all}")]);
    // Here a comma can be a decimal comma or a separator of thousands. Both settings would accept all rows, but with
    // different values.
    let both = format!(
        "with thousands = \",\" or decimal = \",\" {all}; these settings read the same text as different values, so look at the \
         source first"
    );
    check(double, rows(&["1,234", "5,678"], &iso), &[], [numbers, &both]);
    let whole = "20 of 20 rows are rejected for one reason: `not_an_integer` in the field `Cost`";
    check("type = 'int32'", rows(&["1.234"], &iso), &[], [whole, &format!("with thousands = \".\" {all}")]);
    let days = "20 of 20 rows are rejected for one reason: `not_a_date` in the field `Day`";
    let day_first = "with --date-format 'Day=DD/MM/YYYY', 20 of 20 refused cells that were tried are accepted";
    check(double, rows(&["5"], &["31/01/2024"]), &["--date-format", "MM/DD/YYYY"], [days, day_first]);
    let datetime = "with type = \"datetime\" under the field `Day` of the spec, 20 of 20 refused cells that were tried are accepted";
    check(double, rows(&["5"], &["2024-01-31 09:30"]), &[], [days, datetime]);
}

#[test]
fn a_reason_without_a_setting_that_helps_is_named_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let advice = |costs: &[&str]| {
        let run = dry_run(dir.path(), &spec("type = 'double'"), rows(costs, &["2024-01-31"]), &["--json"]);
        let summary: Json = serde_json::from_str(&run.stdout).expect("the summary is JSON");
        summary["advice"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(advice(&["Zzyzx"]), 1, "no setting helps");
    assert_eq!(advice(&["1,50", "Zzyzx"]), 1, "a setting that helps half of the rows is not proposed");
    assert_eq!(advice(&["1,50", "2"]), 0, "half of the rows are accepted");
    assert_eq!(advice(&["2"]), 0);
}

#[test]
fn an_encoding_is_proposed_if_the_refused_rows_can_be_decoded_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut source = b"Id\tCost\tDay\n".to_vec();
    for number in 0..10 {
        source.extend_from_slice(
            format!("Zo\u{eb}{number}\t1\t2024-01-31\n").chars().map(|c| c as u8).collect::<Vec<_>>().as_slice(),
        );
    }
    let run = dry_run(dir.path(), &spec("type = 'double'"), source, &["--encoding", "utf-8"]).expect_code(4);
    let expected = "10 of 10 rows are rejected for one reason: `undecodable`\n\
                    with --encoding windows-1252, 10 of 10 refused rows that were tried can be decoded; check names \
                    with accents in the result\n";
    assert!(run.stdout.starts_with(expected), "{}", run.stdout);
    // Apart from one damaged byte, this cell is valid UTF-8. So the file is not in windows-1252, and the option
    // `--encoding windows-1252` is not proposed.
    let row = ["Zo\u{eb} ".as_bytes(), b"\xe9\t1\t2024-01-31\n"].concat();
    let damaged = [b"Id\tCost\tDay\n".to_vec(), row.repeat(10)].concat();
    let run = dry_run(dir.path(), &spec("type = 'double'"), damaged, &["--encoding", "utf-8"]).expect_code(4);
    assert!(!run.stdout.contains("with --encoding"), "{}", run.stdout);
}

#[test]
fn a_wrong_delimiter_or_encoding_is_found_if_the_columns_are_not() {
    let dir = tempfile::tempdir().expect("a directory");
    for (options, expected) in [
        (["--delimiter", ","], "With --delimiter tab, all columns are found"),
        (["--encoding", "utf-16le"], "With --encoding utf-8, all columns are found"),
    ] {
        let run = dry_run(dir.path(), &spec("type = 'double'"), rows(&["1"], &["2024-01-31"]), &options).expect_code(1);
        assert!(run.stderr.trim_end().ends_with(expected), "{}", run.stderr);
        assert!(run.stderr.contains("the spec is ") && run.stderr.contains("visits.toml"), "{}", run.stderr);
    }
}

#[test]
fn a_load_that_stops_at_its_limit_says_why_most_rows_were_rejected() {
    let place = Place::new("advice");
    let rows: Vec<String> = (0..30)
        .map(|number| {
            row(&format!("Ann Lee{number}"), "30", "O+", "2024-01-31", "2024-02-02").replace(",10.5,", ",\"10,5\",")
        })
        .collect();
    let path = place.write("a.csv", format!("{HEADER}\n{}\n", rows.join("\n")));
    let stopped = place.run(&["load", text(&path), "--max-rejects", "10"]).expect_code(1).stderr;
    let expected = "30 rows rejected of 30 read, more than allowed; 30 of 30 rows are rejected for one reason: `not_a_number` in \
                    the field `Billing Amount`; with decimal = \",\" under the field `Billing Amount` of the spec (`medlift spec show \
                    > my.toml` writes the built-in spec to a file; load with --spec my.toml), 30 of 30 refused cells";
    assert!(stopped.contains(expected), "{stopped}");
    let summary = place.load(&path, &[], 4);
    assert_eq!(summary["advice"].as_array().map(Vec::len), Some(2), "{summary}");
}

#[test]
fn numbers_with_three_digits_after_the_point_get_a_notice() {
    let dir = tempfile::tempdir().expect("a directory");
    let check = |number: &str, costs: &[&str], notice: Option<&str>| {
        let code = if costs.iter().any(|cost| cost.contains(',')) { 4 } else { 0 };
        let run = dry_run(dir.path(), &spec(number), rows(costs, &["2024-01-31"]), &["--json"]).expect_code(code);
        let summary: Json = serde_json::from_str(&run.stdout).expect("JSON");
        let notices = summary["sources"][0]["notices"].to_string();
        assert!(notice.map_or(notices == "[]", |part| notices.contains(part)), "{notices}");
    };
    let all = "column `Cost`: 20 of the first 20 values have exactly three digits after a point; they are read as";
    check("type = 'double'", &["12.345", "1.234"], Some(all));
    check("type = 'decimal128'", &["12.345", "1.234"], Some(all));
    check("type = 'double'", &["12.345", "1.234,56"], Some("other values have a point between thousands"));
    check("type = 'double'", &["12.345", "0.5"], None);
    check("type = 'double'\ndecimal = ','\nthousands = '.'", &["12.345", "1.234"], None);
}
