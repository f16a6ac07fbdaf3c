use std::slice::from_ref;

use super::*;
use crate::parse::{DateFormat, Format, Layout, Notices, RowRules};
use crate::report::progress::{Phase, PhaseTime};
use crate::verify::{Difference, Kind};

fn spec() -> Spec {
    let field =
        |name: &str, kind: &str| format!("[[field]]\nname = \"{name}\"\ntype = \"{kind}\"\nprivacy = \"none\"\n");
    let rule = |name: &str, left: &str, severity: &str| {
        format!("[[plausibility]]\nname = \"{name}\"\nleft = \"{left}\"\nright = \"c\"\nseverity = \"{severity}\"\n")
    };
    let text = [
        "name = \"t\"\n".to_owned(),
        field("a", "int32"),
        field("b", "int32"),
        field("c", "int32"),
        rule("strict", "a", "reject"),
        rule("mild", "b", "warn"),
        rule("milder", "a", "warn"),
    ];
    Spec::from_toml(&text.concat(), "test").expect("a spec")
}

fn count(what: &str, field: &str, count: u64) -> Count {
    Count { what: what.to_owned(), field: field.to_owned(), count }
}

#[test]
fn rejects_are_counted_by_reason_then_field() {
    let (mut first, mut second) = (RejectCounts::default(), RejectCounts::default());
    first.add(Reason::OutOfRange, Some(1));
    first.add(Reason::OutOfRange, Some(0));
    first.add(Reason::Missing, None);
    second.add(Reason::OutOfRange, Some(1));
    second.add(Reason::OutOfRange, Some(1));
    second.add(Reason::Missing, Some(2));
    first.add_all(&second);
    let expected = [
        count("missing", "", 1),
        count("missing", "c", 1),
        count("out_of_range", "a", 1),
        count("out_of_range", "b", 3),
    ];
    assert_eq!(first.list(&spec()), expected);
}

#[test]
fn changes_and_warnings_are_listed_only_if_they_happened() {
    let tally = Tally { changed: vec![vec![0, 2], vec![3, 0], vec![0, 0]], warned: vec![5, 6] };
    assert_eq!(changes(from_ref(&tally), &[spec()]), [count("null_marker", "a", 2), count("trim", "b", 3)]);
    // `warned` has a count for each plausibility rule with severity `warn`, in the order of the spec.
    assert_eq!(warnings(from_ref(&tally), &[spec()]), [count("mild", "b", 5), count("milder", "a", 6)]);
    let tally = Tally { warned: vec![0, 1], ..Tally::default() };
    assert_eq!(warnings(from_ref(&tally), &[spec()]), [count("milder", "a", 1)]);
}

fn lines(summary: &LoadSummary) -> Vec<String> {
    summary.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_dry_run_says_what_would_be_written() {
    let counts = Counts { read: 3, written: 2, duplicates: 1, already_present: 9, ..Counts::default() };
    let summary = LoadSummary {
        outcome: "dry run".to_owned(),
        document: DocumentSummary { counts, ..DocumentSummary::default() },
        ..LoadSummary::default()
    };
    let expected = [
        "dry run",
        "  read                           3",
        "  would be written               2",
        "  duplicates                     1",
        "  rejected                       0",
    ];
    assert_eq!(lines(&summary), expected);
}

fn rejects_in((path, source): (&str, Option<&str>)) -> FileOfRejects {
    FileOfRejects { path: path.to_owned(), source: source.map(str::to_owned) }
}

fn loaded() -> LoadSummary {
    let time = |phase, seconds| PhaseTime { phase, seconds };
    let times = [
        time(Phase::Preparation, 0.25),
        time(Phase::ReadingAndWriting, 4.0),
        time(Phase::Indexes, 2.3),
        time(Phase::Validator, 0.004),
        time(Phase::Verification, 1.5),
    ];
    let counts = Counts {
        read: 100,
        written: 50,
        replaced: 5,
        already_present: 20,
        duplicates: 10,
        conflicts: 8,
        rejected: 12,
        in_doubt: 3,
        repeats_in_doubt: 4,
        ..Counts::default()
    };
    let mut summary = LoadSummary {
        outcome: "loaded".to_owned(),
        document: DocumentSummary {
            target: Some("ward.stays".to_owned()),
            counts,
            collection_notes: vec!["another".to_owned()],
            digest: "d1".to_owned(),
            ..DocumentSummary::default()
        },
        run: Some("r1".to_owned()),
        counts_are_estimates: true,
        rejects: vec![count("missing", "a", 12)],
        changes: vec![count("trim", "b", 7)],
        warnings: vec![count("mild", "b", 6)],
        reject_files: [("a.rejects.csv", None), ("b.rejects.csv", Some("x/b"))].map(rejects_in).to_vec(),
        continued_after: Some(40),
        notes: vec!["a note".to_owned()],
        ..LoadSummary::default()
    };
    summary.times = Some(Times::new(&times, 100));
    summary
}

#[test]
fn a_load_shows_counts_rejects_changes_warnings_and_notes() {
    let expected = [
        "loaded: ward.stays",
        "  continued after 40 committed rows of an interrupted process",
        "  read                         100",
        "  written                       50",
        "    of which replaced            5",
        "  already present               20",
        "  duplicates                    10",
        "  conflicts, not kept            8",
        "  rejected                      12",
        "  the counts are estimates, because a reply was lost or a process was killed: 3 records were either written or already \
         present, 4 are either duplicates or conflicts",
        "  rejected, by reason",
        "    missing               a                             12",
        "  rejects are in    a.rejects.csv",
        "  rejects of x/b are in b.rejects.csv",
        "  cells changed, by rule",
        "    trim                  b                              7",
        "  rows that break a plausibility rule but are loaded",
        "    mild                  b                              6",
        "  a note",
        "  another",
        "  content digest    d1",
        "  run               r1",
        "  time                        8.05 s",
        "    preparation               0.25 s",
        "    reading and writing       4.00 s, 25 rows/s",
        "    indexes                   2.30 s",
        "    verification              1.50 s",
    ];
    assert_eq!(lines(&loaded()), expected);
}

#[test]
fn the_rate_counts_the_rows_of_this_process_and_the_total_is_the_sum_of_the_phases() {
    let mut summary = LoadSummary::default();
    assert!(!summary.to_string().contains("time"), "{summary}");
    let time = |phase, seconds| PhaseTime { phase, seconds };
    let check = |phases: &[PhaseTime], rows, expected: [f64; 3]| {
        let times = Times::new(phases, rows);
        let found = [times.seconds, times.rows_per_second.unwrap_or_default(), times.total_seconds];
        assert_eq!(found.map(f64::to_bits), expected.map(f64::to_bits));
        times
    };
    check(
        &[time(Phase::Preparation, 0.5), time(Phase::Reading, 2.0), time(Phase::Duplicates, 0.125)],
        30,
        [2.0, 15.0, 2.625],
    );
    let times = check(&[time(Phase::Preparation, 0.5), time(Phase::Verification, 2.0)], 0, [0.0, 0.0, 2.5]);
    summary.times = Some(times);
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["phases"][1], serde_json::json!({ "phase": "verification", "seconds": 2.0 }), "{json}");
    summary.times = Some(check(&[time(Phase::ReadingAndWriting, 2.0)], 0, [2.0, 0.0, 2.0]));
    assert!(!summary.to_string().contains("rows/s"), "a load without new rows has no rate: {summary}");
}

fn proven(verification: Verification) -> DocumentSummary {
    DocumentSummary { verification: Some(verification), verification_seconds: 1.5, ..DocumentSummary::default() }
}

#[test]
fn several_kinds_of_documents_have_separate_counts() {
    let kind = |name: &str, written: u64| DocumentSummary {
        kind: name.to_owned(),
        target: Some(format!("ward.{name}s")),
        counts: Counts { read: 3, written, duplicates: 3 - written, ..Counts::default() },
        digest: format!("digest of {name}"),
        collection_notes: vec!["a note".to_owned()],
        ..proven(Verification::default())
    };
    let both = LoadSummary {
        outcome: "loaded".to_owned(),
        document: kind("stay", 3),
        further: vec![kind("doctor", 1)],
        ..LoadSummary::default()
    };
    let text = both.to_string();
    assert!(text.starts_with("loaded: ward.stays, ward.doctors\n"), "{text}");
    let doctors = "  documents `doctor`\n  read                           3\n  written                        1\n";
    assert!(text.contains(doctors), "{text}");
    assert!(
        text.contains("  doctor: a note\n") && text.contains("  content digest    doctor: digest of doctor\n"),
        "{text}"
    );
    assert_eq!(text.matches("documents expected").count(), 2, "{text}");
}

#[test]
fn a_proof_says_what_to_do_about_missing_or_different_documents() {
    let ending = |verification: Verification| {
        lines(&LoadSummary { document: proven(verification), ..LoadSummary::default() })
            .into_iter()
            .filter(|line| line.contains("load with"))
            .collect::<Vec<_>>()
    };
    let reload = "  to write the missing documents, load with --reload";
    let upsert = "  to replace the different documents by the source's records, load with --mode upsert";
    let none = Verification::default;
    assert!(ending(none()).is_empty());
    assert!(ending(Verification { extra: 1, ..none() }).is_empty());
    assert_eq!(ending(Verification { missing: 1, ..none() }), [reload]);
    assert_eq!(ending(Verification { different: 1, ..none() }), [upsert]);
    assert_eq!(ending(Verification { missing: 2, different: 2, ..none() }), [reload, upsert]);
    let unverified = LoadSummary { unverified: Some("not asked for".to_owned()), ..LoadSummary::default() };
    assert_eq!(lines(&unverified).last().map(String::as_str), Some("  not verified: not asked for"));
    let listed = vec![Difference::example(Kind::Missing, "id")];
    let both = LoadSummary { document: proven(Verification { missing: 1, listed, ..none() }), ..unverified };
    let text = both.to_string();
    assert!(text.contains("  missing   id\n") && !text.contains("not verified"), "{text}");
}

fn source(unknown_columns: Vec<String>) -> SourceNote {
    SourceNote {
        name: "a.csv".to_owned(),
        encoding: "utf-8".to_owned(),
        format: "csv, `,`".to_owned(),
        unknown_columns,
        dates: vec![("born".to_owned(), "DD/MM/YYYY".to_owned())],
        blank_rows: 0,
        loose_quotes: 0,
        multiline_cells: 0,
        notices: vec!["a notice".to_owned()],
    }
}

#[test]
fn a_source_note_shows_format_dates_and_unused_columns() {
    let head = "  from a.csv (csv, `,`, utf-8)\n    born: DD/MM/YYYY\n";
    let ignored = "    notice: columns not in the spec, ignored: ";
    let tail = "    notice: a notice\n";
    assert_eq!(source(Vec::new()).to_string(), format!("{head}{tail}"));
    let two = vec!["x".to_owned(), String::new()];
    assert_eq!(source(two).to_string(), format!("{head}{ignored}`x`, a column without a name\n{tail}"));
    let columns = |number: usize| vec!["x".to_owned(); number];
    let fifty = ["`x`"; 50].join(", ");
    assert_eq!(source(columns(50)).to_string(), format!("{head}{ignored}{fifty}\n{tail}"));
    assert_eq!(source(columns(51)).to_string(), format!("{head}{ignored}{fifty} and 1 more\n{tail}"));
    assert_eq!(source(columns(60)).to_string(), format!("{head}{ignored}{fifty} and 10 more\n{tail}"));
}

#[test]
fn a_source_note_contains_layout_and_notices() {
    let layout = Layout {
        format: Format::Ndjson,
        cell_of_field: Vec::new(),
        array_of_field: Vec::new(),
        dates: vec![Some(DateFormat::Iso), None, Some(DateFormat::DayMonthYear(b'/'))],
        header: Vec::new(),
        unknown: vec!["x".to_owned()],
        charset: crate::parse::Charset::default(),
        is_of_resource_rejects: false,
        rules: RowRules { extra_cell: true, ..RowRules::default() },
        doubtful_numbers: vec!["column `a`".to_owned()],
    };
    let noticed = Notices {
        blank_rows: 1,
        loose_quotes: 2,
        kept_escapes: 4,
        multiline_cells: 3,
        multiline: vec![(1, 2)],
        ..Notices::default()
    };
    let note = SourceNote::new("a.json", "utf-8", &layout, &spec(), &noticed);
    assert_eq!([&note.name, &note.encoding, &note.format], ["a.json", "utf-8", "ndjson"]);
    assert_eq!((note.blank_rows, note.loose_quotes, note.multiline_cells), (1, 2, 3));
    assert_eq!(note.unknown_columns, ["x"]);
    let date = |field: &str, format: &str| (field.to_owned(), format.to_owned());
    assert_eq!(note.dates, [date("a", "YYYY-MM-DD"), date("c", "DD/MM/YYYY")]);
    // Notices about decisions are listed before notices about counts.
    let parts =
        ["one more delimiter", "column `a`", "skipped: 1", "quote inside: 2", "as they are: 4", "line breaks: 3"];
    assert_eq!(note.notices.len(), parts.len(), "{:?}", note.notices);
    for (notice, part) in note.notices.iter().zip(parts) {
        assert!(notice.contains(part), "{notice}");
    }
}

#[test]
fn rejects_and_differences_of_any_kind_of_document_count() {
    let outcome = |found: [DocumentSummary; 2]| {
        let [document, second] = found;
        let summary = LoadSummary { document, further: vec![second], ..LoadSummary::default() };
        (summary.has_rejects(), summary.has_differences())
    };
    let clean = || proven(Verification { extra: 0, ..Verification::default() });
    let rejected = || DocumentSummary { counts: Counts { rejected: 1, ..Counts::default() }, ..clean() };
    let different = || proven(Verification { missing: 1, ..Verification::default() });
    let violating = || DocumentSummary { nonconforming: 1, ..clean() };
    assert_eq!(outcome([clean(), clean()]), (false, false));
    assert_eq!((outcome([rejected(), clean()]), outcome([clean(), rejected()])), ((true, false), (true, false)));
    assert_eq!((outcome([different(), clean()]), outcome([clean(), different()])), ((false, true), (false, true)));
    assert_eq!((outcome([violating(), clean()]), outcome([clean(), violating()])), ((false, true), (false, true)));
    assert_eq!(outcome([DocumentSummary::default(), DocumentSummary::default()]), (false, false), "not verified");
}
