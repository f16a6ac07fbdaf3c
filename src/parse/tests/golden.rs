//! Tests with files. Each directory of `tests/data/csv` contains a source (`input`) and the expected result
//! (`expected.txt`). The result has the encoding, the dialect and the columns. For each row it has the line, the
//! offset, the cells, and the reason if the row is refused. If the source cannot be read, the result is the error.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::read::{Block, ReadOptions, Reader, expand};

/// The name of an environment variable. If it is set, the test overwrites the expected results with the actual results.
const WRITE_VARIABLE: &str = "MEDLIFT_WRITE_GOLDEN";

/// Creates a spec with one string field per column. The parser then returns every cell, and the test compares all of
/// them.
fn spec_of_header(dialect: Dialect, sample: &[u8]) -> Spec {
    let header = csv::read_header(dialect, sample).unwrap();
    spec_of(header.iter().map(|name| field(name, FieldType::String, Presence::Required)).collect())
}

fn outcome(input: &Path) -> String {
    let mut text = String::new();
    let report = describe(input, &mut text);
    report
        .map_or_else(|error| format!("error: {}\n", error.replace(&format!("{}", input.display()), "input")), |()| text)
}

fn describe(input: &Path, out: &mut String) -> Result<(), String> {
    let source = expand(&[input.display().to_string()]).map_err(|error| error.to_string())?.remove(0);
    let mut reader = Reader::open(&source, 0, &ReadOptions::default()).map_err(|error| error.to_string())?;
    let options = LayoutOptions::default();
    let format = Format::detect(reader.sample(), &options).map_err(|error| error.to_string())?;
    let Format::Csv(dialect) = format else { panic!("a CSV is expected") };
    let spec = spec_of_header(dialect, reader.sample());
    let layout = Layout::bind(&spec, format, reader.sample(), &options).map_err(|error| error.to_string())?;
    let delimiter = char::from(dialect.delimiter);
    writeln!(out, "{} delimiter {delimiter:?} line end {:?}", reader.encoding().name(), char::from(dialect.line_end))
        .unwrap();
    if dialect.quote != Some(b'"') {
        writeln!(out, "quote {:?}", dialect.quote.map(char::from)).unwrap();
    }
    writeln!(out, "columns {:?}", layout.header).unwrap();
    reader.start(format.framing());
    let mut parser = Parser::new(&layout, &spec);
    while let Some(block) = reader.next_block(Block::default()).map_err(|error| error.to_string())? {
        block.rows.iter().for_each(|&span| describe_row(&block, span, &mut parser, out));
    }
    Ok(())
}

fn describe_row(block: &Block, span: RowSpan, parser: &mut Parser, out: &mut String) {
    let mut cells = Cells::default();
    let row = block.row(span);
    write!(out, "line {} offset {}: ", span.line, span.offset).unwrap();
    if let Err(reject) = parser.parse(row, span, &mut cells) {
        write!(out, "{} ", reject.reason.code()).unwrap();
    }
    if let Some(offset) = block.undecodable_offset(span) {
        write!(out, "{} at {offset} ", Reason::Undecodable.code()).unwrap();
    }
    let texts: Vec<_> =
        (0..cells.len()).map(|index| String::from_utf8_lossy(cells.get(row, index)).into_owned()).collect();
    writeln!(out, "{texts:?}").unwrap();
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/csv");
    let mut cases: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn each_golden_source_is_read_as_expected() {
    let cases = cases();
    assert!(cases.len() >= 15, "only {} cases were found", cases.len());
    for case in cases {
        let (seen, expected) = (outcome(&case.join("input")), case.join("expected.txt"));
        if std::env::var_os(WRITE_VARIABLE).is_some() {
            fs::write(&expected, &seen).unwrap();
        }
        assert_eq!(seen, fs::read_to_string(&expected).unwrap_or_default(), "{}", case.display());
    }
}
