//! Layouts and rows, bound to small specs made here.

mod golden;
mod json;

use super::*;
use crate::read::{Ending, RowSpan, records};
use crate::reject::{Reason, Reject};
use crate::spec::{Constraints, Field, FieldType, Identity, OnConflict, Presence, Privacy, Spec};

fn field(name: &str, kind: FieldType, presence: Presence) -> Field {
    Field {
        name: name.to_owned(),
        column: name.to_owned(),
        aliases: Vec::new(),
        kind,
        presence,
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
        fields,
        plausibility: Vec::new(),
        indexes: Vec::new(),
        hash: String::new(),
    }
}

/// `Full Name` (also `Patient`), `Age`, `Admitted` (a date), and `Note`, which may be absent.
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
    let format = detect_format(sample.as_bytes(), options)?;
    Layout::bind(spec, format, sample.as_bytes(), options)
}

fn bind(sample: &str) -> Result<Layout, LayoutError> {
    bind_with(&spec(), sample, &LayoutOptions::default())
}

/// The cells of each row of a text after its header, or why the row is refused, and the cells it left.
fn rows(spec: &Spec, layout: &Layout, text: &[u8]) -> Vec<(Result<(), Reject>, Vec<String>)> {
    let mut parser = Parser::new(layout, spec);
    let mut cells = Cells::default();
    let header_rows = usize::from(layout.columns > 0);
    let parse = |span: RowSpan| {
        let row = &text[span.start as usize..span.end as usize];
        let parsed = parser.parse(row, span, &mut cells);
        let texts = (0..cells.len()).map(|index| String::from_utf8_lossy(cells.get(row, index)).into_owned());
        (parsed, texts.collect())
    };
    records(text, &layout.format).skip(header_rows).map(parse).collect()
}

#[test]
fn columns_are_matched_by_name_whatever_their_spelling_and_order() {
    let check = |header: &str, cells: [Option<usize>; 4], unknown: &[&str]| {
        let layout = bind(header).unwrap();
        assert_eq!(layout.cell_of_field, cells, "{header}");
        assert_eq!(layout.unknown, unknown, "{header}");
        assert_eq!(layout.columns, layout.header.len());
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
fn a_column_that_one_field_asks_for_is_not_another_fields_by_name() {
    let mut spec = spec();
    spec.fields[3].column = "name".to_owned();
    let layout = bind_with(&spec, "name,Full Name,Age,Admitted\n", &LayoutOptions::default()).unwrap();
    assert_eq!(layout.cell_of_field, [Some(1), Some(2), Some(3), Some(0)]);
}

#[test]
fn a_corrected_reject_file_binds_as_it_is() {
    let header = format!("{},Full Name,Age,Admitted\n", REJECT_COLUMNS.join(","));
    let layout = bind(&header).unwrap();
    assert_eq!(layout.cell_of_field, [Some(5), Some(6), Some(7), None]);
    assert_eq!(layout.unknown, Vec::<String>::new());
    let twice = format!("{},{header}", REJECT_COLUMNS.join(","));
    assert!(bind(&twice).is_ok(), "rejected again");
}

#[test]
fn columns_that_do_not_fit_are_named() {
    let check = |header: &str, expected: &str| {
        let error = bind(header).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("Full Name,Ward\n", "no column for `Age`, `Admitted`; its columns are `Full Name`, `Ward`");
    check("Full Name,Patient,Age,Admitted\n", "`Full Name`, `Patient` mean the same one");
    check("Full Name,Age,AGE,Admitted\n", "`Age`, `AGE` mean the same one");
    check("Full Name,Age,Admitted,Ward,ward\n", "`Ward`, `ward` mean the same one");
    check("\n\n", "there is no header");
    check("\"Full Name,Age\n", "a quoted name is not closed");
    check("\"Full Name\"x,Age\n", "between a closing quote and the next delimiter");
}

#[test]
fn a_source_without_a_header_does_not_give_its_first_row_away() {
    let error = bind("Zzyzx Canary,Zzyzx Canary,2020-01-01\n").unwrap_err().to_string();
    assert!(error.contains("none of the 3 columns is known"), "{error}");
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
fn dates_that_read_in_two_ways_stop_with_the_option_that_settles_it() {
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
fn a_given_date_format_is_the_columns_own() {
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
fn a_refused_row_leaves_what_could_be_told_apart() {
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
        (Err((Reason::UnterminatedQuote, None)), "g|\"h,\ni"),
    ];
    assert_eq!(seen, expected.map(|(parsed, cells)| (parsed, cells.to_owned())));
}

#[test]
fn an_overlong_row_is_refused_for_its_length() {
    let spec = spec();
    let mut parser = Parser::new(&bind("Full Name,Age,Admitted\n").unwrap(), &spec);
    let span = RowSpan { start: 0, end: 3, line: 2, offset: 0, ending: Ending::TooLong };
    let mut cells = Cells::default();
    assert_eq!(parser.parse(b"a,b", span, &mut cells).unwrap_err().reason, Reason::RowTooLong);
    assert_eq!(cells.len(), 2);
}
