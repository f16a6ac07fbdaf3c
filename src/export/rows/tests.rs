use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::string::string_regex;

use super::*;
use crate::clean::{Cleaner, Record, Tally};
use crate::encode::{Encoder, IdentityKey};
use crate::parse::{Cells, DateFormat, Format, FormatName, Layout, LayoutOptions, Parser};
use crate::reject::Reject;

#[test]
fn cells_are_quoted_only_if_necessary() {
    let check = |cells: &[&str], delimiter: u8, expected: &str| {
        let cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
        let mut out = Vec::new();
        write_row(&cells, delimiter, &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    };
    check(&["a", "", "b c"], b',', "a,,b c\n");
    check(&["a,b", "x;y", "é"], b',', "\"a,b\",x;y,é\n");
    check(&["a,b", "x;y"], b';', "a,b;\"x;y\"\n");
    check(&["say \"hi\"", "two\nlines", "a\rb", "\""], b',', "\"say \"\"hi\"\"\",\"two\nlines\",\"a\rb\",\"\"\"\"\n");
    check(&[""], b',', "\"\"\n");
    check(&["", ""], b',', "\"\",\n");
    check(&["", "a"], b',', ",a\n");
    check(&["a;b"], b',', "\"a;b\"\n");
}

/// Creates a spec with two fields, and a document that fits it.
fn small() -> (Spec, Vec<u8>) {
    let field = |name: &str, kind: &str| {
        format!("[[field]]\nname = \"{name}\"\ntype = \"{kind}\"\npresence = \"nullable\"\nprivacy = \"none\"\n")
    };
    let text = format!("name = \"x\"\n{}{}", field("Name", "string"), field("born", "date"));
    let id = bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![0x88; 16] };
    let fits = bson::doc! { "_id": id, "Name": "Ann", "born": bson::DateTime::from_millis(0), LINEAGE_FIELD: { "row": 1_i64 } };
    (Spec::from_toml(&text, "test").expect("a valid spec"), bson::serialize_to_vec(&fits).expect("BSON"))
}

fn foreign(document: &bson::Document) -> Vec<u8> {
    bson::serialize_to_vec(document).expect("BSON")
}

/// Exports these documents. Returns the text, whether the limit was reached, and the result.
fn written(spec: &Spec, documents: &[Vec<u8>], options: &ExportOptions) -> (String, bool, Result<Exported, Foreign>) {
    let mut rows = Rows::new(spec, options);
    for document in documents {
        rows.push(document);
    }
    let (text, is_full) = (String::from_utf8(rows.ready().to_vec()).expect("UTF-8"), rows.is_full());
    (text, is_full, rows.finish())
}

fn options(format: ExportFormat, limit: Option<u64>, skip_foreign: bool) -> ExportOptions {
    ExportOptions { format, dates: Vec::new(), limit, skip_foreign }
}

const CSV: ExportFormat = ExportFormat::Csv { delimiter: b',' };

#[test]
fn the_limit_bounds_the_number_of_documents() {
    let (spec, fits) = small();
    let documents = vec![fits; 3];
    for (limit, expected) in [(Some(0), 0), (Some(1), 1), (Some(2), 2), (Some(3), 3), (Some(4), 3), (None, 3)] {
        for (format, header) in [(CSV, 1), (ExportFormat::Ndjson, 0)] {
            let (text, is_full, exported) = written(&spec, &documents, &options(format, limit, false));
            assert_eq!(text.lines().count() as u64, expected + header);
            assert_eq!(is_full, limit.is_some_and(|limit| limit <= 3));
            assert_eq!(exported.expect("exported").written, expected);
        }
    }
}

#[test]
fn dates_without_a_format_are_written_as_iso_8601() {
    let (spec, fits) = small();
    let check = |dates: Vec<Option<DateFormat>>, expected: &str| {
        let options = ExportOptions { dates, ..options(CSV, None, false) };
        assert_eq!(written(&spec, std::slice::from_ref(&fits), &options).0, format!("Name,born\nAnn,{expected}\n"));
    };
    check(vec![], "1970-01-01");
    check(vec![None, None], "1970-01-01");
    check(vec![None, Some(DateFormat::DayMonthYear(b'.'))], "01.01.1970");
}

#[test]
fn documents_that_do_not_fit_are_refused_left_out_or_written_with_id() {
    let (spec, fits) = small();
    let other = foreign(&bson::doc! { "_id": "Bea", "Name": 5 });
    let documents = [fits, other];
    let example = "an _id of another program: Name: its BSON type is not that of the spec".to_owned();
    let one = Foreign { count: 1, examples: vec![example] };
    let json = "{\"Name\":\"Ann\",\"born\":{\"$date\":\"1970-01-01T00:00:00Z\"}}\n";
    let whole = "{\"_id\":\"Bea\",\"Name\":5}\n";
    let exported = |written| Ok(Exported { written, foreign: one.clone() });
    let check = |format: ExportFormat, skip: bool, text: &str, expected: Result<Exported, Foreign>| {
        let (found, _, exported) = written(&spec, &documents, &options(format, None, skip));
        assert_eq!((found.as_str(), exported), (text, expected));
    };
    check(CSV, false, "Name,born\nAnn,1970-01-01\n", Err(one.clone()));
    check(CSV, true, "Name,born\nAnn,1970-01-01\n", exported(1));
    check(ExportFormat::Ndjson, false, &format!("{json}{whole}"), exported(2));
    check(ExportFormat::Ndjson, true, json, exported(1));
    let broken = [vec![5, 0, 0, 0, 1]];
    let (text, _, refused) = written(&spec, &broken, &options(ExportFormat::Ndjson, None, false));
    assert!(text.is_empty() && refused.is_err(), "{text}{refused:?}");
}

#[test]
fn a_field_whose_name_begins_with_an_underscore_is_written() {
    let text = "name = 'x'\n[[field]]\nname = '_idle'\ntype = 'int32'\nprivacy = 'none'\n";
    let spec = Spec::from_toml(text, "test").expect("a valid spec");
    let document = foreign(&bson::doc! { "_id": 1, "_idle": 5 });
    let (text, _, exported) = written(&spec, &[document], &options(ExportFormat::Ndjson, None, false));
    assert_eq!(text, "{\"_idle\":5}\n");
    assert_eq!(exported.expect("exported").foreign, Foreign::default());
}

#[test]
fn the_first_five_documents_that_do_not_fit_are_named() {
    let (spec, fits) = small();
    for number in [4, 5, 6] {
        let documents = vec![foreign(&bson::doc! { "_id": "Bea" }); number];
        let refused = written(&spec, &documents, &options(CSV, None, false)).2.expect_err("refused");
        assert_eq!((refused.count, refused.examples.len()), (number as u64, number.min(5)));
    }
    let mut ours = bson::deserialize_from_slice::<bson::Document>(&fits).expect("BSON");
    ours.insert("more", 1);
    let refused = written(&spec, &[foreign(&ours)], &options(CSV, None, false)).2.expect_err("refused");
    let expected = "88888888-8888-8888-8888-888888888888: the document has fields that are not in the spec";
    assert_eq!(refused.examples, [expected]);
}

#[test]
fn a_name_that_could_mislead_detection_is_quoted() {
    let check = |names: &[&str], delimiter: u8, expected: &str| {
        let field = |name: &&str| {
            format!("[[field]]\nname = \"f{}\"\ncolumn = '{name}'\ntype = \"string\"\nprivacy = \"none\"\n", name.len())
        };
        let text = format!("name = \"x\"\n{}", names.iter().map(field).collect::<String>());
        let spec = Spec::from_toml(&text, "test").expect("a valid spec");
        let mut out = Vec::new();
        write_header(spec.columns().iter().map(|column| column.column), delimiter, &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    };
    check(&["Name", "{ab"], b',', "Name,{ab\n");
    check(&["{a}", "Name"], b',', "\"{a}\",Name\n");
    check(&["ORC", "PAR1"], b',', "\"ORC\",PAR1\n");
    check(&["ORc", "x"], b';', "ORc;x\n");
    check(&["ABCd"], b',', "\"ABCd\"\n");
    check(&["1st"], b',', "\"1st\"\n");
    check(&["éab", "a|b12"], b',', "éab,\"a|b12\"\n");
    check(&["a;b", "a\tb12"], b',', "\"a;b\",\"a\tb12\"\n");
}

/// A spec with fields of every type, all cleaning rules, currencies and separators, and null markers that look like
/// values.
const SPEC: &str = r#"
name = "everything"
null_markers = ["N/A", "-", "9,999", "01/01/1900", "1900-01-01"]
[[field]]
name = "{text"
type = "string"
presence = "nullable"
privacy = "none"
[[field]]
name = "in.name"
column = "Name, with; all| delimiters"
type = "string"
presence = "nullable"
clean = ["nfc", "collapse_whitespace", "person_name"]
privacy = "none"
[[field]]
name = "in.firm"
type = "string"
presence = "nullable"
clean = ["person_name", "organisation_name", "upper_case"]
length = [1, 500]
privacy = "none"
[[field]]
name = "code"
type = "enum"
presence = "nullable"
values = ["straße", "STRASSE", "A+", "ΑΣ"]
synonyms = { "sharp" = "straße", "İ" = "ΑΣ" }
clean = ["lower_case", "collapse_whitespace"]
privacy = "none"
[[field]]
name = "small"
type = "int32"
presence = "nullable"
clean = ["null_if_negative"]
privacy = "none"
[[field]]
name = "big"
type = "int64"
presence = "nullable"
thousands = "."
currency = ["€", "EUR"]
range = [-9007199254740993, 9007199254740993]
privacy = "none"
[[field]]
name = "real"
type = "double"
presence = "nullable"
decimal = ","
thousands = "."
privacy = "none"
[[field]]
name = "money"
type = "decimal128"
presence = "nullable"
thousands = ","
currency = ["$"]
privacy = "none"
[[field]]
name = "exact"
type = "decimal128"
presence = "nullable"
decimal = ","
privacy = "none"
[[field]]
name = "flag"
type = "bool"
presence = "nullable"
truthy = ["ja", "1"]
falsy = ["nein", "0"]
privacy = "none"
[[field]]
name = "day"
type = "date"
presence = "nullable"
privacy = "none"
[[field]]
name = "moment"
type = "datetime"
presence = "nullable"
privacy = "none"
"#;

/// Cleans the cells of a row, one per field, and encodes the record as a document.
fn document(spec: &Spec, cells: &Cells, row: &[u8], layout: &Layout) -> Result<Vec<u8>, Reject> {
    let (mut record, mut out) = (Record::default(), Vec::new());
    Cleaner::new(spec, layout).clean(row, cells, &mut record, &mut Tally::default())?;
    Encoder::new(spec, IdentityKey::from_secret("a secret")).encode(&record, None, &mut out)?;
    Ok(out)
}

/// Returns the documents that a load would make from an exported file.
fn read_back(spec: &Spec, file: &[u8], delimiter: Option<u8>, dates: &[DateFormat]) -> Vec<Vec<u8>> {
    let given = dates.iter().map(|format| (None, *format)).collect();
    let options = LayoutOptions { delimiter, date_formats: given, ..LayoutOptions::default() };
    let format = Format::detect(file, &options).expect("the format is detected");
    let layout = Layout::bind(spec, format, file, &options).expect("the columns are found");
    let (mut parser, mut cells) = (Parser::new(&layout, spec), Cells::default());
    let read = format.rows(file).map(|span| {
        let row = &file[span.start as usize..span.end as usize];
        parser.parse(row, span, &mut cells).expect("the row is read");
        document(spec, &cells, row, &layout).expect("the row is accepted again")
    });
    read.collect()
}

fn exported(spec: &Spec, document: &[u8], format: ExportFormat, dates: &[DateFormat]) -> Vec<u8> {
    let dates = dates.iter().flat_map(|format| vec![Some(*format); spec.fields.len()]).collect();
    let options = ExportOptions { format, dates, limit: None, skip_foreign: false };
    let mut rows = Rows::new(spec, &options);
    rows.push(document);
    let file = rows.ready().to_vec();
    let found = rows.finish().expect("an accepted record is written");
    assert_eq!((found.written, found.foreign.count), (1, 0), "{:?}", found.foreign);
    file
}

/// Generates a delimiter and a flag. If the flag is true, dates are written in the format of their source, otherwise as
/// ISO 8601.
fn way() -> impl Strategy<Value = (u8, bool)> {
    (proptest::sample::select(&DELIMITERS[..]), any::<bool>())
}

/// Makes a document from the texts, exports it as CSV and as NDJSON, and loads each file. Each must give the same
/// document, byte for byte.
fn check_round_trip(
    spec: &Spec,
    texts: &[String],
    format: DateFormat,
    (delimiter, is_dated): (u8, bool),
) -> Result<(), TestCaseError> {
    let mut cells = Cells::default();
    for text in texts {
        cells.push_owned(text.as_bytes());
    }
    let layout = Layout {
        format: Format::detect(b"a", &LayoutOptions { format: Some(FormatName::Csv), ..LayoutOptions::default() })
            .expect("delimited text"),
        cell_of_field: (0..texts.len()).map(Some).collect(),
        array_of_field: Vec::new(),
        dates: vec![Some(format); texts.len()],
        header: Vec::new(),
        unknown: Vec::new(),
        charset: crate::parse::Charset::default(),
        is_of_resource_rejects: false,
        rules: crate::parse::RowRules::default(),
        doubtful_numbers: Vec::new(),
    };
    let Ok(document) = document(spec, &cells, b"", &layout) else { return Ok(()) };
    let dates = Vec::from_iter(is_dated.then_some(format));
    let file = exported(spec, &document, ExportFormat::Csv { delimiter }, &dates);
    prop_assert_eq!(&read_back(spec, &file, None, &dates), std::slice::from_ref(&document));
    let file = exported(spec, &document, ExportFormat::Ndjson, &[]);
    prop_assert_eq!(read_back(spec, &file, None, &[]), [document]);
    Ok(())
}

/// Generates texts that are difficult for rules, encodings and formats.
fn text() -> impl Strategy<Value = String> {
    let sign = prop_oneof![
        "[ -~]",
        "[İıſßẞŉΐǰǅǆǲﬁﬃςΣσᾳᾼԵև]",
        "[\u{300}-\u{36f}]",
        "[\u{200b}\u{feff}\u{2060}\u{85}\u{a0}\u{2028}\u{3000}\u{200c}\u{fffd}]",
        "[\u{1100}-\u{1112}\u{1161}-\u{1175}\u{11a8}-\u{11c2}]",
        "(and | AND|,|\"|\t|\r\n|N/A|-|md | DO| Jr|o'|mc|'')",
        "\\PC",
    ];
    prop_oneof![
        4 => proptest::collection::vec(sign, 0..10).prop_map(|signs| signs.concat()),
        1 => "[ -~]{0,40}",
        1 => "(N/A|n/a|-)[ ,]{0,2}",
    ]
}

fn code() -> impl Strategy<Value = String> {
    "(straße|STRASSE|a\\+|A\\+|ας|ασ|ΑΣ|sharp|Sharp|İ|i\u{307}|N/A|) ?"
}

fn whole() -> impl Strategy<Value = String> {
    prop_oneof!["[-+]?[0-9]{0,19}", "(€ ?)?-?[0-9]{1,3}(\\.[0-9]{3}){0,4}( ?EUR)?", "0*9[,.]?999", "-0"]
}

fn number(mark: char) -> impl Strategy<Value = String> {
    let text = prop_oneof![
        any::<f64>().prop_map(|number| number.to_string()),
        "[-+]?[0-9]{0,3}(\\.[0-9]{0,36})?([eE][-+]?[0-9]{1,4})?",
        "-?0(\\.0{1,4})?(e-?[0-9]{1,4})?",
        "[0-9]{1,40}",
        "0*9999(\\.0*)?",
    ];
    text.prop_map(move |text| text.replace('.', &mark.to_string()))
}

fn date() -> impl Strategy<Value = String> {
    let time = "([T ](0?0|23):(00|59)(:(00|59)([.,][0-9]{1,9})?)?(Z|[-+](00|14|23):?(00|59))?)?";
    prop_oneof![
        string_regex(&format!("(0001|1900|1969|2024|9999)[-/](01|12|02)[-/](01|29|31){time}")).expect("a pattern"),
        string_regex(&format!("(0?1|12|31)/(0?1|12)/(0001|1900|2024|9999){time}")).expect("a pattern"),
    ]
}

fn row() -> impl Strategy<Value = Vec<String>> {
    (
        [text(), text(), text()],
        code(),
        [whole(), whole()],
        (number(','), number('.'), number(',')),
        "(ja|JA|1|nein|0|)",
        [date(), date()],
    )
        .prop_map(|(texts, code, wholes, (real, money, exact), flag, dates)| {
            let texts = texts.into_iter().chain([code]).chain(wholes);
            texts.chain([real, money, exact, flag]).chain(dates).collect()
        })
}

static EVERYTHING: LazyLock<Spec> = LazyLock::new(|| Spec::from_toml(SPEC, "test").expect("a valid spec"));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn an_exported_record_is_loaded_as_the_same_document(
        mut texts in row(), blank in proptest::collection::vec(any::<bool>(), 12), iso in any::<bool>(), way in way()
    ) {
        // One bad cell is enough to reject a row. About half of the cells are emptied, so that enough rows are
        // accepted.
        texts.iter_mut().zip(blank).filter(|(_, blank)| *blank).for_each(|(text, _)| text.clear());
        let format = if iso { DateFormat::Iso } else { DateFormat::DayMonthYear(b'/') };
        check_round_trip(&EVERYTHING, &texts, format, way)?;
    }

    #[test]
    fn an_exported_value_is_loaded_as_the_same_value(
        texts in row(), place in 0_usize..12, format in 0_usize..7, way in way()
    ) {
        let texts: Vec<String> =
            texts.into_iter().enumerate().map(|(at, text)| if at == place { text } else { String::new() }).collect();
        check_round_trip(&EVERYTHING, &texts, DateFormat::ALL[format], way)?;
    }

    #[test]
    fn a_single_exported_column_is_loaded_again(
        text in text(), name in "[{\\[\"#,;|a-z]{1,3}[a-z]|ORC|GIF8|PAR1", way in way()
    ) {
        let quoted = name.replace('"', "\\\"");
        let toml = format!("name = \"x\"\n[[field]]\nname = \"{quoted}\"\ntype = \"string\"\npresence = \"nullable\"\nprivacy = \"none\"");
        let spec = Spec::from_toml(&toml, "test").expect("a valid spec");
        check_round_trip(&spec, &[text], DateFormat::Iso, way)?;
    }
}

/// Returns a spec with the fields of `SPEC` inside a repeating group, as lists, or as lists inside a repeating group.
fn spec_of_arrays(in_group: bool, are_lists: bool) -> Spec {
    let prefix = if in_group { "rows." } else { "" };
    let repeats = if are_lists { "repeats = true\n" } else { "" };
    let group = if in_group { "[[group]]\nname = \"rows\"\nrepeats = \"row\"\n" } else { "" };
    let fields = SPEC.replace("[[field]]\nname = \"", &format!("[[field]]\n{repeats}name = \"{prefix}"));
    Spec::from_toml(&(fields + group), "test").expect("a valid spec")
}

static IN_GROUP: LazyLock<Spec> = LazyLock::new(|| spec_of_arrays(true, false));
static LISTS: LazyLock<Spec> = LazyLock::new(|| spec_of_arrays(false, true));
static LISTS_IN_GROUP: LazyLock<Spec> = LazyLock::new(|| spec_of_arrays(true, true));

/// Makes a document from a JSON object. Parses the object twice with the same parser, and checks that both results are
/// equal. Then exports the document as CSV and as NDJSON. Each file must give the same document when it is loaded.
fn check_arrays(
    spec: &Spec,
    object: &serde_json::Value,
    format: DateFormat,
    (delimiter, is_dated): (u8, bool),
) -> Result<(), TestCaseError> {
    let file = format!("{object}\n{object}\n");
    let options = LayoutOptions { date_formats: vec![(None, format)], ..LayoutOptions::default() };
    let layout = Layout::bind(spec, Format::Ndjson, file.as_bytes(), &options).expect("the keys are known");
    let (mut parser, mut cells) = (Parser::new(&layout, spec), Cells::default());
    let mut made = Vec::new();
    for span in Format::Ndjson.rows(file.as_bytes()) {
        let row = &file.as_bytes()[span.start as usize..span.end as usize];
        prop_assert!(parser.parse(row, span, &mut cells).is_ok());
        made.push(self::document(spec, &cells, row, &layout));
    }
    prop_assert_eq!(&made[0], &made[1]);
    let Ok(document) = made.swap_remove(0) else { return Ok(()) };
    let dates = Vec::from_iter(is_dated.then_some(format));
    let file = exported(spec, &document, ExportFormat::Csv { delimiter }, &dates);
    prop_assert_eq!(&read_back(spec, &file, None, &dates), std::slice::from_ref(&document));
    let file = exported(spec, &document, ExportFormat::Ndjson, &[]);
    prop_assert_eq!(read_back(spec, &file, None, &[]), [document]);
    Ok(())
}

/// Generates rows with mostly empty cells. One bad cell rejects a row, so rows with few texts are accepted more often.
fn sparse_rows() -> impl Strategy<Value = Vec<Vec<String>>> {
    let sparse = (row(), proptest::collection::vec(0_u8..6, 12)).prop_map(|(mut texts, kept)| {
        texts.iter_mut().zip(kept).filter(|(_, kept)| *kept > 0).for_each(|(text, _)| text.clear());
        texts
    });
    proptest::collection::vec(sparse, 0..4)
}

/// Creates an item with the names of the columns as keys. An empty text becomes an absent value, null or `""`,
/// depending on its column and on `empty`.
fn item(columns: &[String], texts: &[String], empty: usize) -> serde_json::Value {
    let value = |(place, text): (usize, &String)| match (text.as_str(), (place + empty) % 3) {
        ("", 0) => None,
        ("", 1) => Some((columns[place].clone(), serde_json::Value::Null)),
        _ => Some((columns[place].clone(), serde_json::Value::from(text.as_str()))),
    };
    texts.iter().enumerate().filter_map(value).collect::<serde_json::Map<_, _>>().into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn exported_items_are_loaded_as_the_same_document(
        rows in sparse_rows(), empty in 0_usize..3, iso in any::<bool>(), way in way()
    ) {
        let format = if iso { DateFormat::Iso } else { DateFormat::DayMonthYear(b'/') };
        let columns: Vec<String> = IN_GROUP.fields.iter().map(|field| field.column.clone()).collect();
        let items: Vec<_> = rows.iter().map(|texts| item(&columns, texts, empty)).collect();
        check_arrays(&IN_GROUP, &serde_json::json!({ "row": items }), format, way)?;
        let lists = |rows: &[Vec<String>]| {
            let list = |place: usize| rows.iter().map(|texts| texts[place].as_str()).collect::<Vec<_>>();
            let lists = columns.iter().enumerate().map(|(place, column)| (column.clone(), list(place).into()));
            serde_json::Value::from(lists.collect::<serde_json::Map<String, serde_json::Value>>())
        };
        check_arrays(&LISTS, &lists(&rows), format, way)?;
        let half = rows.len() / 2;
        let nested = serde_json::json!({ "row": [lists(&rows[..half]), {}, lists(&rows[half..])] });
        check_arrays(&LISTS_IN_GROUP, &nested, format, way)?;
    }
}
