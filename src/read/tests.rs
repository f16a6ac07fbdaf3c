//! Tests of the whole reader. Its output must not depend on the sizes of the pieces in which a source is read.

mod documents;
mod hl7;

use std::io::{self, Cursor, Read};

use proptest::prelude::*;

use super::frame::TOO_LONG_KEPT_BYTES;
use super::*;

const COMMA: Dialect = Dialect { delimiter: b',', line_end: b'\n', quote: Some(b'"'), escape: None };

/// A source that returns at most this many bytes per call.
struct Dripping(Cursor<Vec<u8>>, usize);

impl Read for Dripping {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = into.len().min(self.1);
        self.0.read(&mut into[..length])
    }
}

/// One row from the reader, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    text: Vec<u8>,
    line: u64,
    offset: u64,
    ending: Ending,
    undecodable: Option<u64>,
}

fn options() -> ReadOptions {
    ReadOptions { encoding: Some(Encoding::Utf8), ..ReadOptions::default() }
}

fn read(raw: &[u8], framing: Framing, options: &ReadOptions, drip_bytes: usize) -> Result<Vec<Row>, ReadError> {
    let from = Box::new(Dripping(Cursor::new(raw.to_vec()), drip_bytes));
    let mut reader = Reader::from_read("x.csv", from, 0, options)?;
    reader.start(framing);
    let (mut rows, mut block, mut blocks) = (Vec::new(), Block::default(), 0);
    while let Some(next) = reader.next_block(block)? {
        assert_eq!(
            (next.first_row, next.sequence),
            (rows.len() as u64 + 1, blocks),
            "rows and blocks must be numbered without gaps"
        );
        assert!(next.bytes.len() <= options.block_bytes + options.row_bytes_max + TOO_LONG_KEPT_BYTES.min(64));
        rows.extend(next.rows.iter().map(|&span| row(&next, span)));
        blocks += 1;
        block = next;
    }
    Ok(rows)
}

fn row(block: &Block, span: RowSpan) -> Row {
    let undecodable = block.undecodable_offset(span);
    Row { text: block.row(span).to_vec(), line: span.line, offset: span.offset, ending: span.ending, undecodable }
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    CellStart,
    /// After blanks at the start of a cell.
    Blanks,
    Plain,
    /// Inside quotes. The value is true if line ends are text.
    Quoted(bool),
    QuoteInQuoted(bool),
}

/// A slow reference implementation, which reads one byte at a time. Returns the header and all rows of `text` that are
/// not blank.
fn read_slowly(text: &[u8], dialect: Dialect, row_bytes_max: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut state, mut start, mut line, mut start_line) = (State::CellStart, 0, 1, 1);
    let mut literals = 0;
    for (at, &byte) in text.iter().enumerate() {
        let is_line_end = byte == dialect.line_end;
        line += u64::from(is_line_end);
        let (is_quote, is_delimiter) = (Some(byte) == dialect.quote, byte == dialect.delimiter);
        let is_escape = Some(byte) == dialect.escape && literals == 0;
        if literals > 0 {
            literals -= 1;
            continue;
        }
        state = match state {
            _ if is_escape => {
                let is_pair = dialect.line_end == b'\n' && text[at + 1..].starts_with(b"\r\n");
                literals = if is_pair { 2 } else { 1 };
                if let State::Quoted(_) = state { state } else { State::Plain }
            }
            State::Quoted(across) if is_quote => State::QuoteInQuoted(across),
            State::QuoteInQuoted(across) if is_quote => State::Quoted(across),
            State::Quoted(true) => state,
            State::Quoted(false) if !is_line_end => state,
            State::CellStart if is_quote => State::Quoted(true),
            State::Blanks if is_quote => State::Quoted(false),
            _ if is_line_end => {
                rows.extend(slow_row(&text[start..at], start, start_line, Ending::Whole, row_bytes_max));
                (start, start_line) = (at + 1, line);
                State::CellStart
            }
            _ if is_delimiter => State::CellStart,
            State::CellStart | State::Blanks if matches!(byte, b' ' | b'\t') => State::Blanks,
            _ => State::Plain,
        };
    }
    let ending = if state == State::Quoted(true) { Ending::OpenQuote } else { Ending::Whole };
    rows.extend(slow_row(&text[start..], start, start_line, ending, row_bytes_max));
    let mut is_header = true;
    rows.retain(|row| std::mem::take(&mut is_header) || row.ending != Ending::Whole || !dialect.is_blank(&row.text));
    rows
}

fn slow_row(text: &[u8], start: usize, line: u64, ending: Ending, row_bytes_max: usize) -> Option<Row> {
    let row = |text: &[u8], ending| Row { text: text.to_vec(), line, offset: start as u64, ending, undecodable: None };
    if text.len() > row_bytes_max {
        let mut kept = TOO_LONG_KEPT_BYTES.min(row_bytes_max);
        while kept > 0 && text[kept] & 0xc0 == 0x80 {
            kept -= 1;
        }
        return Some(row(&text[..kept], Ending::TooLong));
    }
    let carriage_returns = text.iter().rev().take_while(|&&byte| byte == b'\r').count();
    let end = if ending == Ending::Whole { text.len() - carriage_returns } else { text.len() };
    (end > 0).then(|| row(&text[..end], ending))
}

#[test]
fn records_end_at_line_ends_outside_quotes() {
    let check = |text: &str, expected: &[(&str, u64, u64)]| {
        let rows = read(text.as_bytes(), Framing::Delimited(COMMA), &options(), 1 << 20).unwrap();
        let seen: Vec<(&str, u64, u64)> =
            rows.iter().map(|row| (std::str::from_utf8(&row.text).unwrap(), row.line, row.offset)).collect();
        assert_eq!(seen, expected, "{text:?}");
    };
    check("h\na\nb\n", &[("a", 2, 2), ("b", 3, 4)]);
    check("h\r\na\r\n\r\n\nb", &[("a", 2, 3), ("b", 5, 9)]);
    check("\n\nh\n\na", &[("a", 5, 5)]);
    check("h\n\"x\ny\"\nb\n", &[("\"x\ny\"", 2, 2), ("b", 4, 8)]);
    check("\"h\ni\"\na\n", &[("a", 3, 6)]);
    check("h\n5\" pipe\nb\n", &[("5\" pipe", 2, 2), ("b", 3, 10)]);
    check("h\n\"a\"\"\nb\"\n", &[("\"a\"\"\nb\"", 2, 2)]);
    check("h\n  \n", &[("  ", 2, 2)]);
    check("h\na\r\r\nb\r", &[("a", 2, 2), ("b", 3, 6)]);
    check("h", &[]);
    check("h\n", &[]);
}

#[test]
fn a_quoted_cell_after_blanks_ends_with_its_line() {
    let check = |text: &str, expected: &[&str]| {
        let rows = read(text.as_bytes(), Framing::Delimited(COMMA), &options(), 1).unwrap();
        let seen: Vec<&str> = rows.iter().map(|row| std::str::from_utf8(&row.text).unwrap()).collect();
        assert_eq!(seen, expected, "{text:?}");
    };
    check("h\n \"a,\"b\nc\"\n", &[" \"a,\"b", "c\""]);
    check("h\nx, \"open\ny,z\n", &["x, \"open", "y,z"]);
    check("h\nx, \"a\",\"b\nc\"\n", &["x, \"a\",\"b\nc\""]);
}

#[test]
fn an_escape_makes_the_next_character_plain() {
    let dialect = Dialect { escape: Some(b'\\'), ..COMMA };
    let check = |dialect, text: &str, expected: &[(&str, u64)]| {
        for drip_bytes in [1, 100] {
            let small = ReadOptions { block_bytes: drip_bytes, sample_bytes: 1, ..options() };
            let rows = read(text.as_bytes(), Framing::Delimited(dialect), &small, drip_bytes).unwrap();
            let seen: Vec<(&str, u64)> =
                rows.iter().map(|row| (std::str::from_utf8(&row.text).unwrap(), row.line)).collect();
            assert_eq!(seen, expected, "{text:?}");
        }
    };
    check(dialect, "h\na\\\nb\nc\n", &[("a\\\nb", 2), ("c", 4)]);
    check(dialect, "h\na\\\r\nb\r\nc\n", &[("a\\\r\nb", 2), ("c", 4)]);
    check(dialect, "h\n\"a\\\"\nb\"\nc\n", &[("\"a\\\"\nb\"", 2), ("c", 4)]);
    check(dialect, "h\na\\,\"b\nc\"\n", &[("a\\,\"b", 2), ("c\"", 3)]);
    check(dialect, "h\n\\\\\nb\n", &[("\\\\", 2), ("b", 3)]);
    check(dialect, "h\nb\\", &[("b\\", 2)]);
    let without_quotes = Dialect { quote: None, ..COMMA };
    check(without_quotes, "h\n\"a\nb\"\n", &[("\"a", 2), ("b\"", 3)]);
    check(Dialect { escape: Some(b'\\'), ..without_quotes }, "h\n\"a\\\nb\"\nc", &[("\"a\\\nb\"", 2), ("c", 4)]);
    check(Dialect { quote: Some(b'\''), ..COMMA }, "h\n'a\n\"b'\n\"c\n", &[("'a\n\"b'", 2), ("\"c", 4)]);
}

#[test]
fn blank_rows_are_skipped_and_counted() {
    let text = b"a,b\n,\n1,2\n , \n\"\",\"\"\n3,4\n,\n,,\n";
    for block_bytes in [1, 3, 5, 8, 100] {
        let small = ReadOptions { block_bytes, sample_bytes: 4, ..options() };
        let mut reader = Reader::from_read("x", Box::new(Cursor::new(text.to_vec())), 0, &small).unwrap();
        reader.start(Framing::Delimited(COMMA));
        let (mut rows, mut blank_rows, mut block) = (Vec::new(), 0, Block::default());
        while let Some(next) = reader.next_block(block).unwrap() {
            rows.extend(next.rows.iter().zip(next.first_row..).map(|(span, row)| (row, span.line)));
            blank_rows += next.blank_rows;
            block = next;
        }
        assert_eq!((rows, blank_rows), (vec![(1, 3), (2, 6)], 5), "blocks of {block_bytes} bytes");
    }
}

#[test]
fn a_lone_carriage_return_may_end_lines() {
    let format = Framing::Delimited(Dialect { line_end: b'\r', ..COMMA });
    let rows = read(b"h\ra\r\r\"x\ry\"\rb", format, &options(), 1 << 20).unwrap();
    let seen: Vec<(&[u8], u64)> = rows.iter().map(|row| (row.text.as_slice(), row.line)).collect();
    assert_eq!(seen, [(b"a".as_slice(), 2), (b"\"x\ry\"", 4), (b"b", 6)]);
}

#[test]
fn quotes_mean_nothing_in_ndjson_and_there_is_no_header() {
    let rows = read(b"{\"a\":\"x\"}\n\n{\"b\":\"\\\"\"}", Framing::Lines, &options(), 7).unwrap();
    let seen: Vec<(u64, u64)> = rows.iter().map(|row| (row.line, row.offset)).collect();
    assert_eq!(seen, [(1, 0), (3, 11)]);
}

#[test]
fn an_open_quote_and_an_overlong_row_are_reported() {
    let small = ReadOptions { row_bytes_max: 10, block_bytes: 4, ..options() };
    let rows =
        read(b"h\n0123456789\n0123456789a\nxy\n\"0123\n4567\n89\"\nz\n\"open\n", Framing::Delimited(COMMA), &small, 3);
    let seen: Vec<(Vec<u8>, u64, u64, Ending)> =
        rows.unwrap().into_iter().map(|row| (row.text, row.line, row.offset, row.ending)).collect();
    let expected = [
        (b"0123456789".to_vec(), 2, 2, Ending::Whole),
        (b"0123456789".to_vec(), 3, 13, Ending::TooLong),
        (b"xy".to_vec(), 4, 25, Ending::Whole),
        (b"\"0123\n4567".to_vec(), 5, 28, Ending::TooLong),
        (b"z".to_vec(), 8, 43, Ending::Whole),
        (b"\"open\n".to_vec(), 9, 45, Ending::OpenQuote),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_row_of_a_hundred_megabytes_is_skipped_in_little_memory() {
    let endless = io::repeat(b'a').take(100_000_000);
    let text = Cursor::new(b"h\nfirst\n").chain(endless).chain(Cursor::new(b"\nlast\n"));
    let small = ReadOptions { row_bytes_max: 1 << 20, sample_bytes: 1 << 16, ..options() };
    let mut reader = Reader::from_read("x", Box::new(text), 0, &small).unwrap();
    reader.start(Framing::Delimited(COMMA));
    let (mut rows, mut block) = (Vec::new(), Block::default());
    while let Some(next) = reader.next_block(block).unwrap() {
        assert!(next.bytes.capacity() < 5 << 20, "{}", next.bytes.capacity());
        rows.extend(next.rows.iter().map(|span| (span.end - span.start, span.line, span.offset, span.ending)));
        block = next;
    }
    let expected = [(5, 2, 2, Ending::Whole), (4096, 3, 8, Ending::TooLong), (4, 4, 100_000_009, Ending::Whole)];
    assert_eq!(rows, expected);
}

#[test]
fn many_blank_lines_are_skipped_in_little_memory() {
    let text = Cursor::new(b"h\n").chain(io::repeat(b'\n').take(1_000_000)).chain(Cursor::new(b"a"));
    let small = ReadOptions { block_bytes: 1 << 16, sample_bytes: 1 << 10, ..options() };
    let mut reader = Reader::from_read("x", Box::new(text), 0, &small).unwrap();
    reader.start(Framing::Delimited(COMMA));
    let block = reader.next_block(Block::default()).unwrap().unwrap();
    assert_eq!((block.rows.len(), block.rows[0].line, block.rows[0].offset), (1, 1_000_002, 1_000_002));
    assert!(block.bytes.capacity() < 1 << 20, "{}", block.bytes.capacity());
}

#[test]
fn offsets_are_those_of_the_sources_own_encoding() {
    let check = |raw: &[u8], encoding, expected: &[(&str, u64, Option<u64>)]| {
        for (drip_bytes, block_bytes) in [(1, 1), (5, 7), (1 << 20, 1 << 20)] {
            let options = ReadOptions { encoding: None, block_bytes, sample_bytes: 40, ..options() };
            let reader = Reader::from_read("x", Box::new(Cursor::new(raw.to_vec())), 0, &options).unwrap();
            assert_eq!(reader.encoding(), encoding);
            let rows = read(raw, Framing::Delimited(COMMA), &options, drip_bytes).unwrap();
            let seen: Vec<(&str, u64, Option<u64>)> =
                rows.iter().map(|row| (std::str::from_utf8(&row.text).unwrap(), row.offset, row.undecodable)).collect();
            assert_eq!(seen, expected, "{encoding:?}");
        }
    };
    check("\u{feff}h\nZoë\nb\n".as_bytes(), Encoding::Utf8, &[("Zoë", 5, None), ("b", 10, None)]);
    check(
        b"h\nZo\xeb\nx\x81y\nb\n",
        Encoding::Windows1252,
        &[("Zoë", 2, None), ("x\u{fffd}y", 6, Some(7)), ("b", 10, None)],
    );
    let text = "\u{feff}h\nZoë😀€\nb\nabcdefghijklmnopq\nc".encode_utf16();
    let mut units: Vec<u16> = text.collect();
    units[10] = 0xd800;
    let expected = [("Zoë😀€", 6, None), ("\u{fffd}", 20, Some(20)), ("abcdefghijklmnopq", 24, None), ("c", 60, None)];
    let bytes = |bytes_of: fn(u16) -> [u8; 2]| units.iter().copied().flat_map(bytes_of).collect::<Vec<u8>>();
    check(&bytes(u16::to_le_bytes), Encoding::Utf16Le, &expected);
    check(&bytes(u16::to_be_bytes), Encoding::Utf16Be, &expected);
}

#[test]
fn the_sample_ends_with_a_whole_line_or_is_the_whole_source() {
    let check = |text: &str, sample_bytes, expected: &str| {
        let options = ReadOptions { sample_bytes, ..options() };
        let reader = Reader::from_read("x", Box::new(Cursor::new(text.as_bytes().to_vec())), 0, &options).unwrap();
        assert_eq!(std::str::from_utf8(reader.sample()).unwrap(), expected);
    };
    check("h\na\nbcd", 100, "h\na\nbcd");
    check("h\na\nbcd", 6, "h\na\n");
    check("h\ra\rbcd", 6, "h\ra\r");
    check("hahaha", 3, "hah");
    let long = "{\n\"entry\":[{\"resource\":{\"resourceType\":\"Patient\"}}]}";
    check(long, 40, &long[..40]);
}

#[test]
fn a_source_without_text_is_refused() {
    let check = |raw: &[u8], expected: &str| {
        let error = read(raw, Framing::Lines, &ReadOptions::default(), 100).unwrap_err().to_string();
        assert!(error.contains("`x.csv`") && error.contains(expected), "{error}");
    };
    check(b"", "it is empty");
    check(b"\xef\xbb\xbf", "it is empty");
    check(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0", "it is empty");
    check(b"\x1f\x8b\x08\0\0\0", "truncated");
    check(b"PK\x03\x04", "a ZIP archive");
}

proptest! {
    #[test]
    fn splitting_agrees_with_the_slow_reference_for_all_piece_sizes(
        text in proptest::collection::vec(
            prop_oneof![
                2 => Just(b'"'), 2 => Just(b','), 2 => Just(b'\n'), 1 => Just(b'\r'), 2 => Just(b' '), 1 => Just(b'\\'),
                1 => Just(0xc3), 1 => Just(0xa9), 1 => Just(b'a')
            ], 1..90),
        quote in proptest::option::weighted(0.8, Just(b'"')),
        escape in proptest::option::of(Just(b'\\')),
        line_end in prop_oneof![4 => Just(b'\n'), 1 => Just(b'\r')],
        block_bytes in 1_usize..20,
        drip_bytes in 1_usize..20,
        sample_bytes in 1_usize..40,
        row_bytes_max in prop_oneof![Just(1 << 20), 1_usize..30],
    ) {
        let dialect = Dialect { delimiter: b',', line_end, quote, escape };
        let options = ReadOptions { row_bytes_max, block_bytes, sample_bytes, ..options() };
        let expected = read_slowly(&text, dialect, row_bytes_max);
        let rows = read(&text, Framing::Delimited(dialect), &options, drip_bytes).unwrap();
        prop_assert_eq!(&rows, &expected[1.min(expected.len())..]);
    }

    #[test]
    fn decoded_sources_have_the_same_rows_as_utf8(
        text in "[,\"\n aé€😀]{1,60}",
        damage in proptest::option::of(0_usize..60),
        block_bytes in 1_usize..20,
        sample_bytes in 1_usize..40,
    ) {
        for encoding in [Encoding::Utf16Le, Encoding::Windows1252] {
            let mut raw: Vec<u8> = match encoding {
                Encoding::Windows1252 => text.chars().map(|c| u8::try_from(c).unwrap_or(0x80)).collect(),
                _ => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            };
            if let Some(place) = damage.filter(|&place| 2 * place + 1 < raw.len()) {
                raw[2 * place + 1] = 0xd8;
            }
            let whole = ReadOptions { encoding: Some(encoding), ..ReadOptions::default() };
            let cut = ReadOptions { block_bytes, sample_bytes, ..whole.clone() };
            let format = Framing::Delimited(COMMA);
            prop_assert_eq!(read(&raw, format, &cut, 3).unwrap(), read(&raw, format, &whole, 1 << 20).unwrap());
        }
    }

    #[test]
    fn records_returns_the_same_rows_as_the_reader(text in "[,\"\n\ra]{1,60}") {
        let format = Framing::Delimited(COMMA);
        let expected = read_slowly(text.as_bytes(), COMMA, usize::MAX);
        let seen: Vec<(u64, u64, Ending)> = records(text.as_bytes(), format)
            .map(|span| (span.line, span.offset, span.ending)).collect();
        let expected: Vec<(u64, u64, Ending)> = expected.into_iter().map(|row| (row.line, row.offset, row.ending)).collect();
        prop_assert_eq!(seen, expected);
    }
}

#[test]
fn a_file_that_is_written_to_while_it_is_read_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.csv");
    std::fs::write(&path, "Name\nAnn\n").expect("written");
    let source = origin::FileOrigin::new(&path).map(Origin::File).expect("a source");
    source.check_unchanged().expect("the file is unchanged");
    std::fs::write(&path, "Name\nAnn\nBea\n").expect("written");
    assert!(matches!(source.check_unchanged(), Err(ReadError::Changed { .. })));
}

#[test]
fn a_full_sample_may_not_be_the_whole_source() {
    for (sample_bytes, is_whole) in [(7, false), (8, false), (9, true)] {
        let options = ReadOptions { sample_bytes, ..options() };
        let reader = Reader::from_read("x", Box::new(Cursor::new(b"h\nabcde\n".to_vec())), 0, &options).unwrap();
        assert_eq!(reader.sample_is_whole(), is_whole, "{sample_bytes}");
        let rows = read(b"h\nabcde\nf", Framing::Delimited(COMMA), &options, 100).unwrap();
        assert_eq!(rows.len(), 2, "{sample_bytes}");
    }
}

#[test]
fn a_row_may_be_as_long_as_the_limit() {
    let options = ReadOptions { row_bytes_max: 5, ..options() };
    let rows = read(b"h\n12345\n123456\n12345", Framing::Delimited(COMMA), &options, 100).unwrap();
    let endings: Vec<Ending> = rows.iter().map(|row| row.ending).collect();
    assert_eq!(endings, [Ending::Whole, Ending::TooLong, Ending::Whole]);
}

#[test]
fn a_row_may_be_longer_than_the_largest_document() {
    const MIB: usize = 1 << 20;
    let ReadOptions { encoding, row_bytes_max, block_bytes, sample_bytes } = ReadOptions::default();
    assert_eq!((encoding, row_bytes_max, block_bytes, sample_bytes), (None, 36 * MIB, MIB, 8 * MIB));
}

/// Writes a file, and reads its bytes from `start` to `end` as a part.
fn read_part(text: &str, start: usize, end: usize) -> Result<Vec<Row>, ReadError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    std::fs::write(&path, text).unwrap();
    let whole = expand(&[path.display().to_string()]).unwrap().remove(0);
    let part = whole.part(start as u64..end as u64).expect("a regular file");
    let mut reader = Reader::open(&part, 0, &options())?;
    reader.start(Framing::Delimited(COMMA));
    let mut rows = Vec::new();
    while let Some(block) = reader.next_block(Block::default())? {
        rows.extend(block.rows.iter().map(|&span| row(&block, span)));
    }
    Ok(rows)
}

#[test]
fn the_parts_of_a_source_have_the_rows_of_the_source() {
    let text = "a,b\n1,x\n2,\"y\nz\"\n\u{feff}3,w\n";
    let whole: Vec<(Vec<u8>, u64)> =
        read_part(text, 0, text.len()).unwrap().into_iter().map(|row| (row.text, row.offset)).collect();
    assert_eq!(whole.len(), 3);
    for seam in [8, 16] {
        let (first, second) = (read_part(text, 0, seam).unwrap(), read_part(text, seam, text.len()).unwrap());
        let rows: Vec<(Vec<u8>, u64)> = first.into_iter().chain(second).map(|row| (row.text, row.offset)).collect();
        assert_eq!(rows, whole, "cut at {seam}");
    }
}

#[test]
fn a_part_that_ends_inside_quotes_is_an_error() {
    let text = "a,b\n1,x\n2,\"y\nz\"\n3,w\n";
    let seam = text.find("z\"").unwrap();
    assert!(matches!(read_part(text, 0, seam), Err(ReadError::WrongSeam { .. })));
    assert!(matches!(read_part(text, 8, seam), Err(ReadError::WrongSeam { .. })));
    // At the end of the source, an open quote is a damaged row, and not the error `WrongSeam`.
    let open = "a,b\n1,\"x\n";
    assert_eq!(read_part(open, 0, open.len()).unwrap()[0].ending, Ending::OpenQuote);
}
