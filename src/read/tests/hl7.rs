//! Tests of the framing of HL7 v2 messages.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Returns a header to put before `source` if the reader would refuse the source alone. A short source with NULs looks
/// like a binary file, and a byte order mark alone looks like an empty file. For other sources, the header is empty.
fn header_of(source: &[u8]) -> Vec<u8> {
    let is_refused = source.contains(&0) || source == "\u{feff}".as_bytes();
    if is_refused { [b"FHS|", &b"x".repeat(100 * source.len())[..], b"\n"].concat() } else { Vec::new() }
}

/// Returns the rows of `source`, with the positions in it.
fn read_hl7(source: &[u8], options: &ReadOptions, drip_bytes: usize) -> Vec<Row> {
    let header = header_of(source);
    // The sample must contain the header.
    let options = ReadOptions { sample_bytes: header.len() + options.sample_bytes, ..options.clone() };
    let mut rows = read(&[&header, source].concat(), Framing::Hl7, &options, drip_bytes).unwrap();
    for row in &mut rows {
        row.offset -= header.len() as u64;
        row.line -= u64::from(!header.is_empty());
        let is_there = source[row.offset as usize..].starts_with(&row.text);
        assert!(is_there, "the offset of a row is its place in the source");
    }
    rows
}

/// Returns the rows of `source`: text, line and ending.
fn rows(source: &[u8], options: &ReadOptions, drip_bytes: usize) -> Vec<(String, u64, Ending)> {
    let rows = read_hl7(source, options, drip_bytes).into_iter();
    rows.map(|row| (row.text.escape_ascii().to_string(), row.line, row.ending)).collect()
}

fn check(text: &str, expected: &[(&str, u64)]) {
    check_endings(text, &expected.iter().map(|&(row, line)| (row, line, Ending::Whole)).collect::<Vec<_>>());
}

fn check_endings(text: &str, expected: &[(&str, u64, Ending)]) {
    let expected: Vec<(String, u64, Ending)> =
        expected.iter().map(|&(row, line, ending)| (row.as_bytes().escape_ascii().to_string(), line, ending)).collect();
    for drip_bytes in [1, 2, 100] {
        let small = ReadOptions { block_bytes: drip_bytes, ..options() };
        assert_eq!(rows(text.as_bytes(), &small, drip_bytes), expected, "{text:?}");
    }
}

#[test]
fn a_message_ends_before_the_next_one() {
    for end in ["\r", "\n", "\r\n"] {
        let one = format!("MSH|^~\\&|1{end}PID|1");
        let two = format!("MSH|^~\\&|2{end}PID|2");
        check(&one, &[(&one, 1)]);
        check(&format!("{one}{end}"), &[(&one, 1)]);
        check(&format!("{end}{one}{end}{end}{two}{end}{end}"), &[(&one, 2), (&two, 5)]);
        check(&format!("{one}{end}{two}"), &[(&one, 1), (&two, 3)]);
    }
    check("MSH|1\rMSH|2\rMSH|3", &[("MSH|1", 1), ("MSH|2", 2), ("MSH|3", 3)]);
    check("MSH|1\r\rPID|\n\nMSH|2", &[("MSH|1\r\rPID|", 1), ("MSH|2", 5)]);
}

#[test]
fn a_message_begins_with_msh_and_a_separator() {
    for separator in ['|', '#', '^', ' ', '\t', '"', '-', '\u{7f}'] {
        let text = format!("MSH{separator}1\rMSH{separator}2");
        check(&text, &[(&text[..5], 1), (&text[6..], 2)]);
    }
    for other in ["MSHA", "MSH1", "MSH\rx", "MSH\nx", "MS", "MSH", "XMSH|", "msh|", "MSH\0", " MSH|"] {
        let text = format!("MSH|1\r{other}");
        check(&text, &[(&text, 1)]);
    }
    check("MSH|1\rPID|MSH|\rMSH|2", &[("MSH|1\rPID|MSH|", 1), ("MSH|2", 3)]);
    check("MSH", &[("MSH", 1)]);
}

#[test]
fn frames_of_mllp_divide_messages() {
    let frame = |text: &str| format!("\u{b}{text}\u{1c}\r");
    check(&frame("MSH|1\rPID|1\r"), &[("MSH|1\rPID|1", 1)]);
    check(&(frame("MSH|1\rPID|1") + &frame("MSH|2\r")), &[("MSH|1\rPID|1", 1), ("MSH|2", 3)]);
    check("\u{b}MSH|1\n\u{1c}\n\u{b}MSH|2\n\u{1c}\n", &[("MSH|1", 1), ("MSH|2", 3)]);
    check("\u{b}MSH|1\r\n\u{1c}\r\n\u{b}MSH|2\r\n\u{1c}\r\n", &[("MSH|1", 1), ("MSH|2", 3)]);
    check("\u{b}MSH|1\u{1c}", &[("MSH|1", 1)]);
    check("\u{b}MSH|1\u{1c}\u{b}MSH|2\u{1c}\u{1c}", &[("MSH|1", 1), ("MSH|2", 1)]);
    check("\u{b}MSH|1\rPI\u{b}MSH|2\u{1c}\r", &[("MSH|1\rPI", 1), ("MSH|2", 2)]);
    check("MSH|1\r\u{b}what\u{1c}\rMSH|2", &[("MSH|1", 1), ("what", 2), ("MSH|2", 3)]);
    check("MSH|1\u{1c}\rwhat\rMSH|2", &[("MSH|1", 1), ("what", 2), ("MSH|2", 3)]);
    check("MSH|a\u{b}b\rOBX|a\u{1c}b\u{b}\rMSH|2", &[("MSH|a\u{b}b\rOBX|a\u{1c}b\u{b}", 1), ("MSH|2", 3)]);
    check("MSH|1\u{1c}\r\0\0\0\u{b}MSH|2\u{1c}\r\0", &[("MSH|1", 1), ("MSH|2", 2)]);
    check("MSH|1\r\0\0\rMSH|2\r\0", &[("MSH|1", 1), ("MSH|2", 3)]);
}

#[test]
fn byte_order_marks_between_messages_are_ignored() {
    check("MSH|1\r\u{feff}MSH|2\r\u{feff}\u{feff}", &[("MSH|1", 1), ("MSH|2\r\u{feff}\u{feff}", 2)]);
    check(
        "\u{1c}\u{feff}\u{feff}MSH|1\r\u{feff}PID|\r\u{feff}BTS\r\u{feff}\u{feff}MSH|2",
        &[("MSH|1\r\u{feff}PID|", 1), ("MSH|2", 4)],
    );
    check("MSH|1\u{1c}\r\u{feff}\u{b}\u{feff}MSH|2", &[("MSH|1", 1), ("MSH|2", 2)]);
    check("MSH|1\r\u{feff}", &[("MSH|1\r\u{feff}", 1)]);
}

#[test]
fn text_that_is_not_a_message_is_a_row() {
    check("hello\nworld\nMSH|1\n", &[("hello\nworld", 1), ("MSH|1", 3)]);
    check("PID|1\rFHS|\rPID|2\rBTS|\rPID|3", &[("PID|1", 1), ("PID|2", 3), ("PID|3", 5)]);
    check(" \r\n", &[(" ", 1)]);
    check("\r\n\0\n\u{b}\u{1c}\r", &[]);
}

#[test]
fn a_trailer_is_a_row_only_if_its_count_is_wrong() {
    use Ending::{Whole, WrongCount};
    let check = check_endings;
    check("FHS|^~\\&\rBHS|^~\\&\rMSH|1\rMSH|2\rBTS|2\rFTS|1\r", &[("MSH|1", 3, Whole), ("MSH|2", 4, Whole)]);
    check("BHS|\rMSH|1\rBTS|2|x\rBHS|\rBTS|0\rFTS|2", &[("MSH|1", 2, Whole), ("BTS|2|x", 3, WrongCount(1))]);
    check(
        "BHS|\rMSH|1\rMSH|2\rBTS|1\r\nMSH|3\rFTS|3",
        &[
            ("MSH|1", 2, Whole),
            ("MSH|2", 3, Whole),
            ("BTS|1", 4, WrongCount(2)),
            ("MSH|3", 5, Whole),
            ("FTS|3", 6, WrongCount(2)),
        ],
    );
    for absent in
        ["BTS", "BTS|", "BTS||2", "BTS|\"\"", "BTS| ", "BTS|1", "BTS| 01 ", "BTS#1#2", "FTS", "FTS|1", "FTS|01||"]
    {
        check(&format!("MSH|1\r{absent}"), &[("MSH|1", 1, Whole)]);
        check(&format!("\u{b}MSH|1\r{absent}\u{1c}\r"), &[("MSH|1", 1, Whole)]);
    }
    for wrong in ["BTS|x", "BTS|1^2", "BTS|-1", "BTS|99999999999999999999", "BTS|+1", "FTS|0", "FTS|2"] {
        check(&format!("MSH|1\r{wrong}\r"), &[("MSH|1", 1, Whole), (wrong, 2, WrongCount(1))]);
        check(&format!("MSH|1\r{wrong}\u{b}"), &[("MSH|1", 1, Whole), (wrong, 2, WrongCount(1))]);
    }
    check("FTS|0", &[]);
    check("BTS|1", &[("BTS|1", 1, WrongCount(0))]);
    check(
        "FHS|\rMSH|1\rFTS|1\rFHS|\rMSH|2\rMSH|3\rBTS|2\rBHS|\rFTS|2\r",
        &[("MSH|1", 2, Whole), ("MSH|2", 5, Whole), ("MSH|3", 6, Whole)],
    );
    check("MSH|1\rBTSX\rFHSX\rBHS1\rFTS", &[("MSH|1\rBTSX\rFHSX\rBHS1", 1, Whole)]);
}

#[test]
fn a_message_that_is_too_long_is_cut() {
    let cut = |text: &[u8], row_bytes_max| {
        let all: Vec<_> = [1, 3, 100]
            .map(|bytes| rows(text, &ReadOptions { row_bytes_max, block_bytes: bytes, ..options() }, bytes))
            .into();
        assert_eq!(all[0], all[1]);
        assert_eq!(all[1], all[2]);
        all[0].clone()
    };
    let whole = |text: &str, line| (text.to_owned(), line, Ending::Whole);
    let long = |text: &str, line| (text.to_owned(), line, Ending::TooLong);
    let source =
        b"MSH|1\rPID|1234\rMSH|2\rBTS|2222222222222\rMSH|3\rBTS|1\rBTS|5\rxxxxxxxxxxx\rFHS|xxxxxxxxxxxxxxx\rMSH|4";
    assert_eq!(
        cut(source, 10),
        [
            long("MSH|1\\rPID|", 1),
            whole("MSH|2", 3),
            long("BTS|222222", 4),
            whole("MSH|3", 5),
            ("BTS|5".to_owned(), 7, Ending::WrongCount(0)),
            long("xxxxxxxxxx", 8),
            whole("MSH|4", 10),
        ]
    );
}

/// Random text with many segment names, line ends and frame bytes, which divide messages.
fn source() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop_oneof![
            Just("MSH|"), Just("\rMSH|"), Just("\nMSH|"), Just("\rBTS|1"), Just("\rFTS|1"), Just("\rBHS|"), Just("FHS|"),
            Just("\rPID|"), Just("\u{1c}\r"), Just("\u{b}"), Just("\u{feff}"), Just("\r\n"),
        ].prop_map(str::to_owned),
        3 => "[\r\n\u{b}\u{1c}\0MSHBTF|1]{1,3}",
    ];
    vec(piece, 1..25).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn rows_do_not_depend_on_how_the_source_is_cut(
        source in source(),
        block_bytes in prop_oneof![1_usize..9, 1_usize..60],
        drip_bytes in 1_usize..9,
        row_bytes_max in prop_oneof![Just(1 << 20), 4_usize..30],
    ) {
        let whole = ReadOptions { row_bytes_max, ..options() };
        let cut = ReadOptions { block_bytes, sample_bytes: block_bytes, ..whole.clone() };
        prop_assert_eq!(read_hl7(&source, &cut, drip_bytes), read_hl7(&source, &whole, 1 << 10));
    }

    #[test]
    fn between_rows_is_nothing_that_could_be_lost(source in source()) {
        let rows = read_hl7(&source, &options(), 1 << 10);
        let mut between = Vec::new();
        let mut end = 0;
        for row in &rows {
            let lines = line_ends(&source[..row.offset as usize]);
            prop_assert_eq!(row.line, lines + 1);
            between.extend_from_slice(&source[end..row.offset as usize]);
            between.push(b'\r');
            end = row.offset as usize + row.text.len();
        }
        between.extend_from_slice(&source[end..]);
        let between = String::from_utf8(between).unwrap();
        for line in between.split(['\r', '\n', '\u{b}', '\u{1c}']) {
            let line = line.trim_start_matches(['\u{feff}', '\0']);
            let is_known = ["", "FHS", "BHS", "BTS", "FTS"].contains(&line.get(..3).unwrap_or(line));
            prop_assert!(is_known, "{:?} is in no row of {:?}", line, source.escape_ascii().to_string());
        }
    }
}

fn line_ends(text: &[u8]) -> u64 {
    let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
    text.iter().filter(|byte| ends(byte)).count() as u64 - text.windows(2).filter(|pair| pair == b"\r\n").count() as u64
}

/// Returns the rows of `text`: offset, text and ending.
fn records_of(text: &[u8], offset: u64) -> Vec<(u64, Vec<u8>, Ending)> {
    let row = |span: RowSpan| {
        let row = text[span.start as usize..span.end as usize].to_vec();
        (offset + u64::from(span.start), row, span.ending)
    };
    records(text, Framing::Hl7).map(row).collect()
}

proptest! {
    /// A file of messages without batches can be cut before every message that begins a line.
    #[test]
    fn the_parts_of_a_file_of_messages_have_the_rows_of_the_file(
        pieces in vec(
            prop_oneof![
                3 => Just("MSH|1"), 2 => Just("\r"), 1 => Just("\n"), 1 => Just("\r\n"), 1 => Just("PID|"), 1 => Just("what"),
                1 => Just("\u{b}"), 1 => Just("\u{1c}"), 1 => Just("\0"), 1 => Just("\u{feff}"), 1 => Just("MSH"),
            ],
            0..20,
        )
    ) {
        let text = pieces.concat().into_bytes();
        let whole = records_of(&text, 0);
        for at in 1..text.len() {
            if matches!(text[at - 1], b'\r' | b'\n') && begins_message(&text[at..]) {
                let (first, second) = text.split_at(at);
                let parts = [records_of(first, 0), records_of(second, at as u64)].concat();
                prop_assert_eq!(&parts, &whole, "cut at {}", at);
            }
        }
    }
}

#[test]
fn the_segments_of_batches_are_recognised_at_the_beginning_of_a_line() {
    for line in ["BHS|^~\\&", "FHS|", "BTS|2", "FTS", "BTS\r", "\0\u{b}\u{feff}BTS|"] {
        assert!(begins_batch_segment(line.as_bytes()), "{line:?}");
    }
    for line in ["MSH|", "BTSA|", "PID|BTS|", "BT", "", "\u{b}MSH|"] {
        assert!(!begins_batch_segment(line.as_bytes()), "{line:?}");
    }
}
