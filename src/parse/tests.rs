//! Tests of layouts and rows with small specs.

mod golden;
mod json;

use super::*;
use crate::read::{Ending, RowSpan};
use crate::reject::{Reason, Reject};
use crate::spec::{
    Constraints, Field, FieldType, Identity, OnConflict, Presence, Privacy, Shape, Sign, SourceFormat, Spec, Zone,
};

fn field(name: &str, kind: FieldType, presence: Presence) -> Field {
    Field {
        name: name.to_owned(),
        column: name.to_owned(),
        aliases: Vec::new(),
        kind,
        presence,
        repeats: false,
        clean: Vec::new(),
        null_markers: vec!["N/A".to_owned()],
        constraints: Constraints::default(),
        privacy: Privacy::None,
    }
}

fn spec_of(fields: Vec<Field>) -> Spec {
    Spec {
        text: String::new(),
        name: "test".to_owned(),
        collection: "test".to_owned(),
        origin: "test".to_owned(),
        identity: Identity { fields: (0..fields.len()).collect(), on_conflict: OnConflict::KeepFirst },
        shape: Shape::new(&fields, Vec::new()),
        fields,
        plausibility: Vec::new(),
        indexes: Vec::new(),
        patient: None,
        resources: Vec::new(),
        system: None,
        base: None,
        source: SourceFormat::default(),
        hash: String::new(),
    }
}

/// Creates a spec with the columns `Full Name` (alias `Patient`), `Age`, `Admitted` (a date), and the optional `Note`.
fn spec() -> Spec {
    let mut name = field("name", FieldType::String, Presence::Required);
    name.column = "Full Name".to_owned();
    name.aliases = vec!["Patient".to_owned()];
    spec_of(vec![
        name,
        field("Age", FieldType::String, Presence::Nullable),
        field("Admitted", FieldType::Date, Presence::Required),
        field("Note", FieldType::String, Presence::Optional),
    ])
}

fn bind_with(spec: &Spec, sample: &str, options: &LayoutOptions) -> Result<Layout, LayoutError> {
    let format = Format::detect(sample.as_bytes(), options)?;
    Layout::bind(spec, format, sample.as_bytes(), options)
}

fn bind(sample: &str) -> Result<Layout, LayoutError> {
    bind_with(&spec(), sample, &LayoutOptions::default())
}

/// Parses the rows after the header. Returns the result and the cells of each row.
fn rows(spec: &Spec, layout: &Layout, text: &[u8]) -> Vec<(Result<(), Reject>, Vec<String>)> {
    let mut parser = Parser::new(layout, spec);
    let mut cells = Cells::default();
    let parse = |span: RowSpan| {
        let row = &text[span.start as usize..span.end as usize];
        let parsed = parser.parse(row, span, &mut cells);
        let texts = (0..cells.len()).map(|index| String::from_utf8_lossy(cells.get(row, index)).into_owned());
        (parsed, texts.collect())
    };
    layout.format.rows(text).map(parse).collect()
}

#[test]
fn columns_are_matched_by_name_whatever_their_spelling_and_order() {
    let check = |header: &str, cells: [Option<usize>; 4], unknown: &[&str]| {
        let layout = bind(header).unwrap();
        assert_eq!(layout.cell_of_field, cells, "{header}");
        assert_eq!(layout.unknown, unknown, "{header}");
    };
    check("Full Name,Age,Admitted,Note\n", [Some(0), Some(1), Some(2), Some(3)], &[]);
    check("ADMITTED,full_name,Ward,age", [Some(1), Some(3), Some(0), None], &["Ward"]);
    check("\"fullName\";Age;\" admitted \"\n", [Some(0), Some(1), Some(2), None], &[]);
    check("patient,age,admitted\n", [Some(0), Some(1), Some(2), None], &[]);
    check("name,age,admitted\n", [Some(0), Some(1), Some(2), None], &[]);
    check(",Full-Name,Age,Admitted,\n", [Some(1), Some(2), Some(3), None], &["", ""]);
    check("_id,Patient,Age,Admitted\n", [Some(1), Some(2), Some(3), None], &[]);
}

#[test]
fn a_column_of_one_field_is_not_found_by_the_name_of_another() {
    let mut spec = spec();
    spec.fields[3].column = "name".to_owned();
    let layout = bind_with(&spec, "name,Full Name,Age,Admitted\n", &LayoutOptions::default()).unwrap();
    assert_eq!(layout.cell_of_field, [Some(1), Some(2), Some(3), Some(0)]);
}

#[test]
fn a_corrected_reject_file_is_read_like_its_source() {
    let header = format!("{},Full Name,Age,Admitted\n", REJECT_COLUMNS.join(","));
    let layout = bind(&header).unwrap();
    assert_eq!(layout.cell_of_field, [Some(5), Some(6), Some(7), None]);
    assert_eq!(layout.unknown, Vec::<String>::new());
    let twice = format!("{},{header}", REJECT_COLUMNS.join(","));
    assert!(bind(&twice).is_ok(), "the rejects of a reject file must be accepted");
}

#[test]
fn errors_about_columns_name_them() {
    let check = |header: &str, expected: &str| {
        let error = bind(header).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(
        "Full Name,Ward\n",
        "no column for `Age`, `Admitted`; its columns are `Full Name`, `Ward`; the spec is test (",
    );
    check("Full Name,Agee,Admited\n", "did you mean `Agee` for `Age`, `Admited` for `Admitted`?");
    check("Patiant,Age,Admitted\n", "did you mean `Patiant` for `Full Name`?");
    check("Full Name,Foge\n", "its columns are `Full Name`, `Foge`; the spec is test (");
    check("Ward\n", "it is the wrong one, give another with --spec FILE");
    check("Full Name,Patient,Age,Admitted\n", "`Full Name`, `Patient` are the same column");
    check("Full Name,Age,AGE,Admitted\n", "`Age`, `AGE` are the same column");
    check("Full Name,Age,Admitted,Ward,ward\n", "`Ward`, `ward` are the same column");
    check("\n\n", "there is no header");
    check("\"Full Name,Age\n", "a quoted name is not closed");
    check("\"Full Name\"x,Age\n", "between a closing quote and the next delimiter");
}

#[test]
fn an_error_about_columns_names_the_built_in_spec() {
    let spec = Spec { origin: "built-in:admissions".to_owned(), ..spec() };
    for header in ["Full Name,Ward\n", "Ward\n"] {
        let error = bind_with(&spec, header, &LayoutOptions::default()).unwrap_err().to_string();
        let expected = "the spec is the built-in `admissions` (`medlift spec show` prints it); if the source is another dataset, \
                        give its spec with --spec FILE";
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn the_error_for_a_missing_header_shows_nothing_of_the_first_row() {
    let error = bind("Zzyzx Canary,Zzyzx Canary,2020-01-01\n").unwrap_err().to_string();
    assert!(error.contains("knows none of the 3 columns"), "{error}");
    assert!(!error.contains("Canary"), "{error}");
}

fn dates_of(rows: &[&str], options: &LayoutOptions) -> Result<Option<DateFormat>, LayoutError> {
    let rows: String = rows.iter().map(|date| format!("x;1;{date}\n")).collect::<Vec<_>>().concat();
    bind_with(&spec(), &format!("Patient;Age;admitted\n{rows}"), options).map(|layout| layout.dates[2])
}

#[test]
fn a_date_format_belongs_to_a_column_and_is_decided_from_all_its_values() {
    let check = |rows: &[&str], expected| assert_eq!(dates_of(rows, &LayoutOptions::default()), Ok(Some(expected)));
    check(&[], DateFormat::Iso);
    check(&["", "n/a", " 2020-01-02 "], DateFormat::Iso);
    check(&["01/02/2020", "", "13/02/2020"], DateFormat::DayMonthYear(b'/'));
    check(&["01/02/2020", "02/13/2020", "x\"y"], DateFormat::MonthDayYear(b'/'));
    assert_eq!(bind("Patient,Age,Admitted\n").unwrap().dates, [None, None, Some(DateFormat::Iso), None]);
}

#[test]
fn the_error_for_ambiguous_dates_names_the_option_to_use() {
    let open = LayoutOptions::default();
    let message = dates_of(&["01/02/2020"], &open).unwrap_err().to_string();
    for part in ["`admitted`", "--date-format 'admitted=DD/MM/YYYY'", "--date-format 'admitted=MM/DD/YYYY'"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("01/02/2020"), "{message}");
    let message = dates_of(&["13/02/2020", "02/13/2020"], &open).unwrap_err().to_string();
    assert!(message.contains("DD/MM/YYYY fits 1 values") && message.contains("MM/DD/YYYY fits 1 values"), "{message}");
}

#[test]
fn a_given_date_format_is_used_for_its_column() {
    let given = |formats: &[(Option<&str>, DateFormat)]| LayoutOptions {
        date_formats: formats.iter().map(|(column, format)| (column.map(str::to_owned), *format)).collect(),
        ..LayoutOptions::default()
    };
    let (day_first, month_first) = (DateFormat::DayMonthYear(b'/'), DateFormat::MonthDayYear(b'/'));
    let ambiguous = ["01/02/2020"];
    assert_eq!(dates_of(&ambiguous, &given(&[(None, day_first)])), Ok(Some(day_first)));
    assert_eq!(dates_of(&ambiguous, &given(&[(Some("ADMITTED"), month_first)])), Ok(Some(month_first)));
    let both = given(&[(Some("Admitted"), month_first), (None, day_first)]);
    assert_eq!(dates_of(&ambiguous, &both), Ok(Some(month_first)));
    for column in ["Age", "Born"] {
        let error = dates_of(&ambiguous, &given(&[(Some(column), day_first)])).unwrap_err();
        let known = vec!["Admitted".to_owned()];
        assert_eq!(error, LayoutError::UnknownDateColumn { column: column.to_owned(), known });
    }
}

#[test]
fn a_refused_row_has_the_cells_before_the_error() {
    let text = b"Full Name,Age,Admitted\na,1,2020-01-01\nb,2\nc,3,x,y\n\"d\"e,4,f\ng,\"h,\ni";
    let spec = spec();
    let layout = bind_with(&spec, std::str::from_utf8(text).unwrap(), &LayoutOptions::default()).unwrap();
    let seen: Vec<_> = rows(&spec, &layout, text)
        .into_iter()
        .map(|(parsed, cells)| (parsed.map_err(|reject| (reject.reason, reject.field)), cells.join("|")))
        .collect();
    let expected = [
        (Ok(()), "a|1|2020-01-01"),
        (Err((Reason::TooFewCells, None)), "b|2"),
        (Err((Reason::TooManyCells, None)), "c|3|x|y"),
        (Err((Reason::StrayQuote, Some(0))), "\"d\"e,4,f"),
        (Err((Reason::UnterminatedQuote, Some(1))), "g|\"h,\ni"),
    ];
    assert_eq!(seen, expected.map(|(parsed, cells)| (parsed, cells.to_owned())));
}

#[test]
fn an_overlong_row_is_refused_for_its_length() {
    let spec = spec();
    let mut parser = Parser::new(&bind("Full Name,Age,Admitted\n").unwrap(), &spec);
    let span = RowSpan { start: 0, end: 3, line: 2, offset: 0, ending: Ending::TooLong, object: 0 };
    let mut cells = Cells::default();
    assert_eq!(parser.parse(b"a,b", span, &mut cells).unwrap_err().reason, Reason::RowTooLong);
    assert_eq!(cells.len(), 2);
}

#[test]
fn the_message_for_an_overlong_row_names_the_cause_that_its_format_allows() {
    // `sample` only decides the format. The refused row is always `{}`, marked as too long.
    let check = |sample: &str, quote: Option<Sign>, cause: Option<&str>| {
        let spec = spec();
        let layout = bind_with(&spec, sample, &LayoutOptions { quote, ..LayoutOptions::default() }).unwrap();
        let span = RowSpan { start: 0, end: 2, line: 2, offset: 0, ending: Ending::TooLong, object: 0 };
        let refused = Parser::new(&layout, &spec).parse(b"{}", span, &mut Cells::default()).unwrap_err();
        let found = refused.message.split_once("; perhaps ").map(|(_, cause)| cause);
        assert!(found.is_some() == cause.is_some(), "{sample}: {}", refused.message);
        assert!(found.unwrap_or_default().starts_with(cause.unwrap_or_default()), "{sample}: {}", refused.message);
    };
    check("Full Name,Age,Admitted\n", None, Some("a quote in it is never closed"));
    check("Full Name,Age,Admitted\n", Some(Sign::None), None);
    let object = r#"{"Full Name":"a","Age":"1","Admitted":"2020-01-01"}"#;
    check(&format!("{object}\n"), None, None);
    check(&format!("[{object}]"), None, Some("a bracket in it is never closed"));
}

/// Parses the rows after the header. Returns the layout and one text per row. The text contains the cells, separated by
/// `|`. If the row is refused, the text begins with the reason.
fn outcomes(sample: &str, options: &LayoutOptions) -> (Layout, Vec<String>) {
    let spec = spec();
    let layout = bind_with(&spec, sample, options).unwrap();
    let outcome = |(parsed, cells): (Result<(), Reject>, Vec<String>)| match parsed {
        Ok(()) => cells.join("|"),
        Err(reject) => format!("{} {}", reject.reason.code(), cells.join("|")),
    };
    let seen = rows(&spec, &layout, sample.as_bytes()).into_iter().map(outcome).collect();
    (layout, seen)
}

#[test]
fn one_more_cell_in_every_row_is_ignored_if_it_is_blank() {
    let open = LayoutOptions::default();
    let head = "Patient,Age,Admitted\n";
    let (layout, seen) = outcomes(&format!("{head}a,1,2020-01-01,\nb,2,2020-01-01, \n"), &open);
    assert!(layout.rules.extra_cell);
    assert_eq!(seen, ["a|1|2020-01-01", "b|2|2020-01-01"]);
    let spec = spec();
    let later = format!("{head}a,1,2020-01-01,x\nb,2,2020-01-01,,\nc,3,2020-01-01\n");
    let reasons: Vec<_> = rows(&spec, &layout, later.as_bytes()).into_iter().map(|(parsed, _)| parsed.err()).collect();
    assert_eq!(reasons.iter().flatten().filter(|reject| reject.reason == Reason::TooManyCells).count(), 2);
    assert_eq!(reasons[2], None);
    let (layout, seen) = outcomes(&format!("{head}a,1,2020-01-01,\nb,2,2020-01-01\n"), &open);
    assert!(!layout.rules.extra_cell);
    assert_eq!(seen, ["too_many_cells a|1|2020-01-01|", "b|2|2020-01-01"]);
}

#[test]
fn a_header_may_end_with_a_delimiter_even_if_the_rows_do_not() {
    let open = LayoutOptions::default();
    let (layout, seen) = outcomes("Patient,Age,Admitted,\na,1,2020-01-01\n", &open);
    assert_eq!((layout.header.len(), layout.rules.shortened_header, layout.unknown.len()), (3, true, 0));
    assert_eq!(seen, ["a|1|2020-01-01"]);
    let (layout, seen) = outcomes("Patient,Age,Admitted,\na,1,2020-01-01,\n", &open);
    assert_eq!((layout.header.len(), layout.rules.shortened_header), (4, false));
    assert_eq!(seen, ["a|1|2020-01-01|"]);
    let (_, seen) = outcomes("Patient,Age,Admitted,\na,1,2020-01-01,\nb,2,2020-01-01\n", &open);
    assert_eq!(seen, ["a|1|2020-01-01|", "too_few_cells b|2|2020-01-01"]);
}

#[test]
fn a_row_that_repeats_the_header_is_refused() {
    let head = " Patient ,Age,Admitted";
    let text = format!("{head}\na,1,2020-01-01\n{head}\n\u{feff}Patient,\"Age\",Admitted\nPatient,1,2020-01-01\n");
    let (_, seen) = outcomes(&text, &LayoutOptions::default());
    let expected = ["a|1|2020-01-01", "repeated_header", "repeated_header", "Patient|1|2020-01-01"];
    assert_eq!(seen.len(), expected.len());
    assert!(seen.iter().zip(expected).all(|(seen, expected)| seen.starts_with(expected)), "{seen:?}");
}

#[test]
fn rows_inside_a_quoted_cell_are_refused_unless_they_are_text() {
    let head = "Patient,Age,Admitted,Note\n";
    let text = format!("{head}a,1,2020-01-01,\"x, y\"\nb,\"2,2020-01-01,x\nc,3,2020-01-01,y\nd,4\",2020-01-01,z\n");
    let (layout, seen) = outcomes(&text, &LayoutOptions::default());
    assert_eq!(seen[0], "a|1|2020-01-01|x, y");
    assert_eq!(seen[1], "swallowed_rows b|2,2020-01-01,x\nc,3,2020-01-01,y\nd,4|2020-01-01|z");
    let spec = spec();
    let (parsed, _) = rows(&spec, &layout, text.as_bytes()).pop().unwrap();
    let reject = parsed.unwrap_err();
    assert_eq!(reject.field, Some(1));
    for part in ["cell 2", "lines 3 to 5", "--quote none", "--multiline-cells"] {
        assert!(reject.message.contains(part), "{}", reject.message);
    }
    let (_, seen) = outcomes(&text, &LayoutOptions { multiline_cells: true, ..LayoutOptions::default() });
    assert!(seen[1].starts_with("b|2,2020-01-01,x"), "{seen:?}");
}

#[test]
fn the_message_for_a_row_of_several_lines_names_the_lines() {
    let spec = spec();
    let quoted = LayoutOptions { quote: Some(Sign::Byte(b'"')), ..LayoutOptions::default() };
    let text = "Patient,Age,Admitted\na,1,2020-01-01\nb,\"open,2020-01-01\nc,3,\"x\"\nd,\"4,2020-01-01\n";
    let layout = bind_with(&spec, text, &quoted).unwrap();
    let messages: Vec<_> = rows(&spec, &layout, text.as_bytes())
        .into_iter()
        .filter_map(|(parsed, _)| parsed.err())
        .map(|reject| (reject.reason, reject.message))
        .collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].0 == Reason::StrayQuote && messages[0].1.contains("lines 3 to 4"), "{messages:?}");
    assert!(messages[1].0 == Reason::UnterminatedQuote && !messages[1].1.contains("lines"), "{messages:?}");
}

#[test]
fn notices_count_loose_quotes_and_multiline_cells() {
    let spec = spec();
    let text = "Patient,Age,Admitted,Note\na,5\" pipe,2020-01-01,\"x\ny\"\n\"p, q\",1,2020-01-01,\"1\n\n2\"\nr,s,2020-01-01,t\n";
    let layout = bind_with(&spec, text, &LayoutOptions::default()).unwrap();
    let mut parser = Parser::new(&layout, &spec);
    let mut cells = Cells::default();
    for span in layout.format.rows(text.as_bytes()) {
        parser.parse(&text.as_bytes()[span.start as usize..span.end as usize], span, &mut cells).unwrap();
    }
    let notices = parser.take_notices();
    let expected =
        Notices { loose_quotes: 1, multiline_cells: 2, multiline: vec![(2, 3), (4, 6)], ..Notices::default() };
    assert_eq!(notices, expected);
    assert_eq!(parser.take_notices(), Notices::default());
}

#[test]
fn a_swallowed_row_in_a_reject_file_is_refused_until_it_is_corrected() {
    let head = format!("{},Patient,Age,Admitted,Note\n", REJECT_COLUMNS.join(","));
    let text = format!("{head}3,40,Age,swallowed_rows,cell,b,\"2,2020-01-01,x\nd,4\",2020-01-01,z\n");
    let (_, seen) = outcomes(&text, &LayoutOptions { quote: Some(Sign::None), ..LayoutOptions::default() });
    assert!(seen[0].starts_with("swallowed_rows 3|40|Age"), "{seen:?}");
}

#[test]
fn the_error_for_unknown_dates_describes_how_they_are_written() {
    let open = LayoutOptions::default();
    let message = dates_of(&["16-07-68", "23-10-64", "2024-01-31"], &open).unwrap_err().to_string();
    for part in ["`admitted`", "2 of the first 3 values", "DD-MM-YY (2 values)", "--date-format 'admitted=YYYY-MM-DD'"]
    {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("68"), "{message}");
    let given = LayoutOptions { date_formats: vec![(None, DateFormat::Iso)], ..LayoutOptions::default() };
    assert_eq!(dates_of(&["16-07-68"], &given), Ok(Some(DateFormat::Iso)));
    let head = format!("{},Patient,Age,Admitted\n", REJECT_COLUMNS.join(","));
    let rejects = format!("{head}3,40,Admitted,not_a_date,message,b,2,16-07-68\n");
    assert_eq!(bind(&rejects).unwrap().dates[2], Some(DateFormat::Iso));
}

#[test]
fn the_command_line_takes_precedence_over_the_spec() {
    let source = SourceFormat {
        format: Some(FormatName::Json),
        zone: Zone::UTC,
        delimiter: Some(b';'),
        quote: Some(Sign::None),
        escape: Some(Sign::Byte(b'\\')),
        multiline_cells: true,
    };
    let from_spec = LayoutOptions::default().or(&source);
    assert_eq!(from_spec.format, Some(FormatName::Json));
    assert_eq!((from_spec.delimiter, from_spec.quote), (Some(b';'), Some(Sign::None)));
    assert!(from_spec.escape == source.escape && from_spec.multiline_cells);
    let typed = LayoutOptions {
        delimiter: Some(b','),
        quote: Some(Sign::Byte(b'\'')),
        escape: Some(Sign::None),
        ..LayoutOptions::default()
    };
    let both = typed.or(&source);
    assert_eq!((both.delimiter, both.quote, both.escape), (typed.delimiter, typed.quote, typed.escape));
}

#[test]
fn a_header_may_have_ten_thousand_columns_and_no_more() {
    let header = |columns: usize| (0..columns).map(|n| format!("c{n}")).collect::<Vec<_>>().join(",") + "\n";
    assert!(matches!(bind(&header(10_000)), Err(LayoutError::NoKnownColumn { columns: 10_000, .. })));
    assert_eq!(bind(&header(10_001)).unwrap_err(), LayoutError::TooManyColumns { columns: 10_001, max: 10_000 });
}

#[test]
fn a_header_without_rows_sets_no_row_rules() {
    assert_eq!(bind("Patient,Age,Admitted\n").unwrap().rules, RowRules::default());
}

#[test]
fn the_key_of_mongodb_and_a_column_id_are_two_columns() {
    let layout = bind("_id,id,Full Name,Age,Admitted\n").unwrap();
    assert_eq!((layout.cell_of_field[0], layout.unknown), (Some(2), vec!["id".to_owned()]));
    let layout = bind("_ID,Full Name,Age,Admitted\n").unwrap();
    assert_eq!(layout.unknown, ["_ID"], "a name other than exactly `_id` must not be ignored");
}

#[test]
fn either_the_command_line_or_the_spec_allows_cells_of_several_lines() {
    for (typed, in_spec, expected) in [(false, false, false), (true, false, true), (false, true, true)] {
        let options = LayoutOptions { multiline_cells: typed, ..LayoutOptions::default() };
        let source = SourceFormat { multiline_cells: in_spec, ..SourceFormat::default() };
        assert_eq!(options.or(&source).multiline_cells, expected);
    }
}

#[test]
fn a_delimiter_is_chosen_if_another_fits_half_as_many_rows() {
    let delimiter = |sample: &str| {
        csv::detect_dialect(sample.as_bytes(), &LayoutOptions::default()).map(|dialect| dialect.delimiter)
    };
    assert_eq!(delimiter("a,b;c\n1,2;3\n1,2\n"), Ok(b','));
    let ambiguous = LayoutError::AmbiguousDelimiter { first: b',', second: b';' };
    assert_eq!(delimiter("a,b;c\n1,2;3\n1,2;3\n1,2\n"), Err(ambiguous));
}

#[test]
fn a_delimiter_is_one_ascii_character_without_another_meaning() {
    let given = |delimiter| LayoutOptions { delimiter: Some(delimiter), ..LayoutOptions::default() };
    for delimiter in [b'"', b'\r', b'\n', 0, 0x80, 0xff] {
        assert_eq!(csv::detect_dialect(b"a\n", &given(delimiter)), Err(LayoutError::BadDelimiter { delimiter }));
    }
    for delimiter in [1, b'~', 0x7f] {
        assert_eq!(csv::detect_dialect(b"a\n", &given(delimiter)).map(|dialect| dialect.delimiter), Ok(delimiter));
    }
}

#[test]
fn a_date_format_is_chosen_if_half_of_the_values_fit() {
    let open = LayoutOptions::default();
    assert_eq!(dates_of(&["2024-01-31", "soon"], &open), Ok(Some(DateFormat::Iso)));
    assert!(matches!(dates_of(&["2024-01-31", "soon", "later"], &open), Err(LayoutError::UnknownDates { .. })));
}

#[test]
fn a_name_of_two_quotes_is_empty() {
    let plain = LayoutOptions { quote: Some(Sign::None), ..LayoutOptions::default() };
    let layout = bind_with(&spec(), "\"Full Name\",Age,Admitted,\"\"\n", &plain).unwrap();
    assert_eq!(layout.header, ["Full Name", "Age", "Admitted", ""]);
}

#[test]
fn u_fffd_in_a_reject_file_is_found_in_every_cell() {
    for cell in ["\u{fffd}", "\u{fffd}a", "a\u{fffd}", "a\u{fffd}b"] {
        let text =
            format!("{},Patient,Age,Admitted\n3,40,,undecodable,m,{cell},2,2020-01-01\n", REJECT_COLUMNS.join(","));
        let (_, seen) = outcomes(&text, &LayoutOptions::default());
        assert!(seen[0].starts_with("undecodable"), "{cell}");
        let text = text.replace(&format!("{cell},2,"), &format!("m,{cell},"));
        let (_, seen) = outcomes(&text, &LayoutOptions::default());
        assert!(seen[0].starts_with("undecodable"), "{cell} in the second column");
    }
}

#[test]
fn one_row_is_enough_to_see_that_rows_end_with_a_delimiter() {
    let (layout, seen) = outcomes("Patient,Age,Admitted\na,1,2020-01-01,\n", &LayoutOptions::default());
    assert!(layout.rules.extra_cell);
    assert_eq!(seen, ["a|1|2020-01-01"]);
}

#[test]
fn null_markers_in_any_letter_case_do_not_count_as_dates() {
    let found = dates_of(&["n/a", "N/A", "n/A", "31/01/2020"], &LayoutOptions::default());
    assert_eq!(found, Ok(Some(DateFormat::DayMonthYear(b'/'))));
}

#[test]
fn a_refused_cell_is_numbered_from_one() {
    let quoted = LayoutOptions { quote: Some(Sign::Byte(b'"')), ..LayoutOptions::default() };
    let text = "Patient,Age,Admitted\na,\"1\"x,2020-01-01\nb,1,\"2020-01-01\n";
    let layout = bind_with(&spec(), text, &quoted).unwrap();
    let refused = rows(&spec(), &layout, text.as_bytes()).into_iter().filter_map(|(parsed, _)| parsed.err());
    let refused: Vec<_> = refused.map(|reject| (reject.field, reject.message)).collect();
    assert_eq!(
        refused,
        [
            (Some(1), "cell 2 has text after its closing quote; write a quote inside a cell twice".to_owned()),
            (Some(2), "the quote that opens cell 3 is never closed".to_owned()),
        ]
    );
}

#[test]
fn an_overlong_line_of_json_is_refused_for_its_length() {
    let spec = spec_of(vec![field("a", FieldType::String, Presence::Required)]);
    let layout = bind_with(&spec, "{\"a\":\"x\"}\n", &LayoutOptions::default()).unwrap();
    let (mut parser, mut cells) = (Parser::new(&layout, &spec), Cells::default());
    let mut parse = |row: &str, ending| {
        let span = RowSpan { start: 0, end: row.len() as u32, line: 2, offset: 0, ending, object: 0 };
        parser.parse(row.as_bytes(), span, &mut cells).map_err(|reject| reject.reason)
    };
    assert_eq!(parse("{\"a\":\"x\"}", Ending::Whole), Ok(()));
    assert_eq!(parse("{\"a\":\"x\"}", Ending::TooLong), Err(Reason::RowTooLong));
    assert_eq!(parse("{\"a\":\"x", Ending::TooLong), Err(Reason::RowTooLong));
    assert_eq!(parse("{\"a\":\"x", Ending::Whole), Err(Reason::NotJson));
}

#[test]
fn rows_that_end_with_a_delimiter_are_recognised_inside_a_quote() {
    let text = "Patient,Age,Admitted\na,1,2020-01-01,\nb,2,2020-01-01,\nc,3,\"2020-01-01,\nd,4,2020-01-01\",\n";
    let (layout, seen) = outcomes(text, &LayoutOptions { quote: Some(Sign::Byte(b'"')), ..LayoutOptions::default() });
    assert!(layout.rules.extra_cell);
    assert!(seen[2].starts_with("swallowed_rows c|3|"), "{seen:?}");
}

#[test]
fn a_table_whose_first_column_resembles_a_header_segment_is_a_table() {
    let is_hl7 = |sample: &str, options: &LayoutOptions| Format::detect(sample.as_bytes(), options) == Ok(Format::Hl7);
    let none = LayoutOptions::default();
    for sample in
        ["MSH|^~\\&|A\r", "MSH:~|\\&:A", "\u{b}MSH|^~\\&#|", "BHS|^~\\&\rMSH|^~\\&|", "BHS\rMSH|^~\\&|", "FHS|"]
    {
        assert!(is_hl7(sample, &none), "{sample}");
    }
    for sample in ["MSH_ID,Name,Age\n", "MSH|Name|Age\n", "BHS-Name;x\n", "FHS.1\n", "MSH,^~\\&\n", "MSH| ^|\n"] {
        assert!(!is_hl7(sample, &none), "{sample}");
    }
    let delimiter = LayoutOptions { delimiter: Some(b'|'), ..LayoutOptions::default() };
    assert!(!is_hl7("MSH|^~\\&|A\r", &delimiter), "only tables have a delimiter");
}
