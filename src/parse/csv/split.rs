//! Splits one row of delimited text (RFC 4180) into cells.
//!
//! A cell is quoted if its first character is a quote. Blanks (spaces and tabs) may precede the quote. Inside the
//! quotes, delimiters and line ends are text, and two quotes mean one. If blanks precede the opening quote, a line end
//! is not text, because the reader ends the row there. After the closing quote, only blanks may follow before the next
//! delimiter.
//!
//! A quote inside an unquoted cell is an ordinary character. The character after an escape character is always text.
//!
//! `read/frame/quoted.rs` finds the ends of rows by the same rules.

use memchr::{memchr, memchr2};

use crate::parse::{Cells, Dialect};
use crate::reject::Reason;

const GROUP_BYTES: usize = 64;
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// The reason why a row cannot be split into cells, and the cell that caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadCell {
    pub cell: usize,
    /// Position in the row where the cell begins.
    pub start: usize,
    pub reason: Reason,
}

/// Which special characters a row has besides its delimiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signs {
    /// The row has no quotes and no escape characters. Therefore no cell contains a line break.
    None,
    /// The row has quotes or escape characters.
    Some {
        /// Number of cells that contain a quote but are not enclosed in quotes. Cells with escape characters are not
        /// counted.
        loose_quotes: u64,
    },
}

/// Splits a row into cells. `row` does not include the line end.
pub(super) fn split_row(row: &[u8], dialect: Dialect, cells: &mut Cells) -> Result<Signs, BadCell> {
    cells.clear();
    if find_sign(row, dialect.quote, dialect.escape).is_some() {
        return split_signs(row, dialect, cells);
    }
    split_plain(row, dialect.delimiter, cells);
    Ok(Signs::None)
}

/// Returns the position of the first quote or escape character.
#[inline]
fn find_sign(text: &[u8], quote: Option<u8>, escape: Option<u8>) -> Option<usize> {
    match (quote, escape) {
        (Some(quote), Some(escape)) => memchr2(quote, escape, text),
        (Some(sign), None) | (None, Some(sign)) => memchr(sign, text),
        (None, None) => None,
    }
}

/// Adds a cell. In its text, two quotes become one, and escape characters are removed.
fn push_plain(cells: &mut Cells, text: &[u8], quote: Option<u8>, escape: Option<u8>) {
    cells.push_written(|plain| {
        let mut rest = text;
        while let Some(place) = find_sign(rest, quote, escape) {
            let next = rest.get(place + 1).copied();
            plain.extend_from_slice(&rest[..place]);
            // An escape character at the end of the text escapes nothing, so it is text.
            plain.push(next.unwrap_or(rest[place]));
            rest = rest.get(place + 2..).unwrap_or_default();
        }
        plain.extend_from_slice(rest);
    });
}

/// Splits a row without quotes and escape characters, 64 bytes at a time. For each group of 64 bytes, `places` returns
/// one bit per byte: 1 for a delimiter, 0 for another byte. The inner loop runs once per delimiter. This is fast,
/// because the processor can predict it well.
fn split_plain(row: &[u8], delimiter: u8, cells: &mut Cells) {
    let pattern = EVERY_BYTE * u64::from(delimiter);
    let (mut start, mut base) = (0, 0);
    let mut push_found = |mut found: u64, base: usize| {
        while found != 0 {
            let place = base + found.trailing_zeros() as usize;
            cells.push_borrowed(start..place);
            start = place + 1;
            found &= found - 1;
        }
    };
    let (groups, rest) = row.as_chunks();
    for group in groups {
        push_found(places(group, pattern), base);
        base += GROUP_BYTES;
    }
    if !rest.is_empty() {
        // The rest of the row is shorter than a group. The group is filled with a byte that is not the delimiter.
        let mut group = [!delimiter; GROUP_BYTES];
        group[..rest.len()].copy_from_slice(rest);
        push_found(places(&group, pattern), base);
    }
    cells.push_borrowed(start..row.len());
}

/// Returns one bit per byte of `group`. The lowest bit belongs to the first byte. A bit is 1 if its byte is the
/// delimiter. `pattern` contains the delimiter eight times.
fn places(group: &[u8; GROUP_BYTES], pattern: u64) -> u64 {
    let words = group.as_chunks().0.iter().rev();
    words.fold(0, |found, word| found << 8 | high_bits(zero_bytes(u64::from_le_bytes(*word) ^ pattern)))
}

/// Finds the bytes of `word` that are 0. In the result, the highest bit of each of these bytes is 1, and all other bits
/// are 0. The formula is in Hacker's Delight, 6-1. This is its variant without carries between bytes.
fn zero_bytes(word: u64) -> u64 {
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS)
}

/// Collects the highest bits of the eight bytes into one byte. All other bits of `word` must be 0. The first shift
/// moves bit 8n + 7 to position 8n. The multiplication moves it to position 56 + n, and the last shift to position n.
fn high_bits(word: u64) -> u64 {
    (word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// Splits a row that has quotes or escape characters, cell by cell.
fn split_signs(row: &[u8], dialect: Dialect, cells: &mut Cells) -> Result<Signs, BadCell> {
    let mut loose_quotes = 0;
    let mut start = 0;
    loop {
        let open = start + dialect.blanks(&row[start..]);
        let end = match dialect.quote {
            Some(quote) if row.get(open) == Some(&quote) => push_quoted(row, start, open, quote, dialect, cells)?,
            _ => push_unquoted(row, start, dialect, cells, &mut loose_quotes),
        };
        if end == row.len() {
            return Ok(Signs::Some { loose_quotes });
        }
        start = end + 1;
    }
}

/// Adds the unquoted cell that begins at `start`. Returns the position of its end.
fn push_unquoted(row: &[u8], start: usize, dialect: Dialect, cells: &mut Cells, loose_quotes: &mut u64) -> usize {
    let (end, has_escapes) = find_delimiter(row, start, dialect);
    if has_escapes {
        push_plain(cells, &row[start..end], None, dialect.escape);
    } else {
        cells.push_borrowed(start..end);
        *loose_quotes += u64::from(dialect.quote.is_some_and(|quote| memchr(quote, &row[start..end]).is_some()));
    }
    end
}

/// Returns the position of the next delimiter that is not escaped, or the end of the row. The second value is true if
/// there are escape characters before that position.
fn find_delimiter(row: &[u8], start: usize, dialect: Dialect) -> (usize, bool) {
    let Some(escape) = dialect.escape else {
        return (memchr(dialect.delimiter, &row[start..]).map_or(row.len(), |length| start + length), false);
    };
    let mut at = start;
    let mut has_escapes = false;
    while let Some(found) = memchr2(dialect.delimiter, escape, &row[at..]) {
        if row[at + found] == dialect.delimiter {
            return (at + found, has_escapes);
        }
        has_escapes = true;
        at = row.len().min(at + found + 2);
    }
    (row.len(), has_escapes)
}

/// Adds the quoted cell that begins at `start` and whose opening quote is at `open`. Returns the position of the
/// delimiter after the cell, or the end of the row.
fn push_quoted(
    row: &[u8],
    start: usize,
    open: usize,
    quote: u8,
    dialect: Dialect,
    cells: &mut Cells,
) -> Result<usize, BadCell> {
    let bad = |reason, cells: &Cells| BadCell { cell: cells.len(), start, reason };
    let found = find_close(row, open + 1, quote, dialect.escape);
    let (close, has_signs) = found.ok_or(bad(Reason::UnterminatedQuote, cells))?;
    let end = close + 1 + dialect.blanks(&row[close + 1..]);
    if row.get(end).is_some_and(|&next| next != dialect.delimiter) {
        return Err(bad(Reason::StrayQuote, cells));
    }
    if has_signs {
        push_plain(cells, &row[open + 1..close], Some(quote), dialect.escape);
    } else {
        cells.push_borrowed(open + 1..close);
    }
    Ok(end)
}

/// Finds the end of quoted text that begins at `at`. Returns the position of the closing quote. The second value is
/// true if the text contains doubled quotes or escape characters. Returns `None` if no quote closes the text.
fn find_close(row: &[u8], mut at: usize, quote: u8, escape: Option<u8>) -> Option<(usize, bool)> {
    let mut has_signs = false;
    loop {
        let rest = row.get(at..)?;
        let found = at + escape.map_or_else(|| memchr(quote, rest), |escape| memchr2(quote, escape, rest))?;
        if row[found] == quote && row.get(found + 1) != Some(&quote) {
            return Some((found, has_signs));
        }
        has_signs = true;
        at = found + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::read::{Framing, records};

    const QUOTE: u8 = b'"';
    const COMMA: Dialect = Dialect { delimiter: b',', line_end: b'\n', quote: Some(QUOTE), escape: None };

    fn split(row: &[u8], dialect: Dialect) -> Result<Vec<Vec<u8>>, BadCell> {
        let mut cells = Cells::default();
        split_row(row, dialect, &mut cells)?;
        Ok((0..cells.len()).map(|index| cells.get(row, index).to_vec()).collect())
    }

    /// A slow reference implementation that reads one byte at a time.
    fn split_slowly(row: &[u8], dialect: Dialect) -> Result<Vec<Vec<u8>>, BadCell> {
        let mut cells = vec![Vec::new()];
        let (mut is_quoted, mut is_closed, mut is_plain) = (false, false, false);
        let (mut at, mut start) = (0, 0);
        while at < row.len() {
            let (byte, next) = (row[at], row.get(at + 1).copied());
            let cell = cells.len() - 1;
            let is_quote = Some(byte) == dialect.quote;
            if Some(byte) == dialect.escape && is_closed {
                return Err(BadCell { cell, start, reason: Reason::StrayQuote });
            } else if Some(byte) == dialect.escape {
                cells[cell].push(next.unwrap_or(byte));
                is_plain = true;
                at += 1;
            } else if is_quoted && is_quote && next == dialect.quote {
                cells[cell].push(QUOTE);
                at += 1;
            } else if is_quoted && is_quote {
                (is_quoted, is_closed) = (false, true);
            } else if is_quoted {
                cells[cell].push(byte);
            } else if byte == dialect.delimiter {
                (is_closed, is_plain, start) = (false, false, at + 1);
                cells.push(Vec::new());
            } else if is_closed && matches!(byte, b' ' | b'\t') {
                // Blanks after the closing quote are ignored.
            } else if is_closed {
                return Err(BadCell { cell, start, reason: Reason::StrayQuote });
            } else if is_quote && !is_plain && cells[cell].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                cells[cell].clear();
                is_quoted = true;
            } else {
                cells[cell].push(byte);
            }
            at += 1;
        }
        let cell = cells.len() - 1;
        if is_quoted { Err(BadCell { cell, start, reason: Reason::UnterminatedQuote }) } else { Ok(cells) }
    }

    #[test]
    fn a_row_becomes_cells() {
        let check = |row: &str, expected: &[&str]| {
            let expected: Vec<Vec<u8>> = expected.iter().map(|cell| cell.as_bytes().to_vec()).collect();
            assert_eq!(split(row.as_bytes(), COMMA).unwrap(), expected, "{row}");
        };
        check("", &[""]);
        check(",", &["", ""]);
        check("a,bb,ccc", &["a", "bb", "ccc"]);
        check("12345678,,9", &["12345678", "", "9"]);
        check("\"a,b\",c", &["a,b", "c"]);
        check("\"say \"\"hi\"\"\",\"\"", &["say \"hi\"", ""]);
        check("\"line\r\nbreak\"", &["line\r\nbreak"]);
        check("5\" pipe,\"x\"", &["5\" pipe", "x"]);
        check("Zoë, \"x\"", &["Zoë", "x"]);
        check("\"a\" , \"b,c\"\t", &["a", "b,c"]);
        check(" a \"b\"", &[" a \"b\""]);
        check("\"\"\"\"", &["\""]);
        check("\"a\",", &["a", ""]);
    }

    #[test]
    fn quotes_and_escapes_are_those_of_the_dialect() {
        let check = |quote, escape, row: &str, expected: &[&str]| {
            let expected: Vec<Vec<u8>> = expected.iter().map(|cell| cell.as_bytes().to_vec()).collect();
            assert_eq!(split(row.as_bytes(), Dialect { quote, escape, ..COMMA }).unwrap(), expected, "{row}");
        };
        check(None, None, "\"a,b\",c", &["\"a", "b\"", "c"]);
        check(Some(b'\''), None, "'a,''b',\"c", &["a,'b", "\"c"]);
        check(Some(QUOTE), Some(b'\\'), "\"a\\\"b\",c\\,d", &["a\"b", "c,d"]);
        check(Some(QUOTE), Some(b'\\'), "\"a\"\"b\\\\\",\\\\", &["a\"b\\", "\\"]);
        check(None, Some(b'\\'), "a\\,b,\\\nc\\", &["a,b", "\nc\\"]);
    }

    #[test]
    fn a_tab_is_not_a_blank_if_it_is_the_delimiter() {
        let tab = Dialect { delimiter: b'\t', ..COMMA };
        for (row, expected) in [
            ("a\t\t\"b\"", vec!["a", "", "b"]),
            ("\t\"b\"", vec!["", "b"]),
            ("\"a\"\t\t\"b\"\t", vec!["a", "", "b", ""]),
            ("a\t \"b\" \t", vec!["a", "b", ""]),
        ] {
            let expected: Vec<Vec<u8>> = expected.into_iter().map(|cell| cell.as_bytes().to_vec()).collect();
            assert_eq!(split(row.as_bytes(), tab), Ok(expected), "{row:?}");
        }
    }

    #[test]
    fn quotes_in_unquoted_cells_are_counted() {
        let check = |row: &str, expected| {
            assert_eq!(split_row(row.as_bytes(), COMMA, &mut Cells::default()), Ok(expected), "{row}");
        };
        check("a,b", Signs::None);
        check("5\" pipe,\"x\",6\"\"", Signs::Some { loose_quotes: 2 });
        check("\"x\",\"5\"\" pipe\"", Signs::Some { loose_quotes: 0 });
    }

    #[test]
    fn a_row_that_cannot_be_split_reports_the_cell() {
        let check = |row: &str, cell, start, reason| {
            assert_eq!(split(row.as_bytes(), COMMA), Err(BadCell { cell, start, reason }), "{row}");
        };
        check("a,\"b\"c,d", 1, 2, Reason::StrayQuote);
        check("a, \"b\" c", 1, 2, Reason::StrayQuote);
        check("a,b,\"c", 2, 4, Reason::UnterminatedQuote);
        check("\"", 0, 0, Reason::UnterminatedQuote);
        check("\"a\"\"", 0, 0, Reason::UnterminatedQuote);
    }

    proptest! {
        #[test]
        fn the_fast_implementation_agrees_with_the_slow_one(
            row in proptest::collection::vec(prop_oneof![3 => Just(b','), 2 => Just(QUOTE), 1 => Just(b'\\'), 1 => Just(0xac), 1 => Just(b' '), 3 => any::<u8>()], 0..150),
            quote in proptest::option::weighted(0.8, Just(QUOTE)),
            escape in proptest::option::of(Just(b'\\')),
        ) {
            for delimiter in [b',', b'|'] {
                let dialect = Dialect { delimiter, quote, escape, ..COMMA };
                prop_assert_eq!(split(&row, dialect), split_slowly(&row, dialect));
            }
        }

        #[test]
        fn reader_and_split_row_agree_with_one_slow_pass(
            text in proptest::collection::vec(
                prop_oneof![2 => Just(b'"'), 2 => Just(b','), 2 => Just(b'\n'), 1 => Just(b'\\'), 1 => Just(b' '), 1 => Just(b'a')], 0..60),
            quote in proptest::option::weighted(0.8, Just(QUOTE)),
            escape in proptest::option::of(Just(b'\\')),
        ) {
            let dialect = Dialect { quote, escape, ..COMMA };
            let rows = records(&text, Framing::Delimited(dialect)).map(|span| {
                split(&text[span.start as usize..span.end as usize], dialect).map_err(|bad| bad.reason)
            });
            prop_assert_eq!(rows.collect::<Vec<_>>(), divide_slowly(&text, dialect));
        }
    }

    /// A slow reference implementation of the reader and `split_row` together. It finds the rows and the cells of a
    /// text in one pass, one byte at a time.
    fn divide_slowly(text: &[u8], dialect: Dialect) -> Vec<Result<Vec<Vec<u8>>, Reason>> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            Blanks {
                are_none: bool,
            },
            Plain,
            Quoted {
                across_lines: bool,
            },
            Closed {
                across_lines: bool,
            },
            /// After a closing quote and at least one blank.
            Behind,
        }
        let (mut rows, mut cells, mut bad, mut start, mut at) = (Vec::new(), vec![Vec::new()], None, 0, 0);
        let mut state = State::Blanks { are_none: true };
        while at < text.len() {
            let byte = text[at];
            let (is_quote, is_blank) = (Some(byte) == dialect.quote, byte == b' ');
            let cell = cells.len() - 1;
            let is_line_end = byte == b'\n';
            state = match state {
                State::Closed { across_lines } if is_quote => {
                    cells[cell].push(byte);
                    State::Quoted { across_lines }
                }
                State::Closed { .. } | State::Behind if !is_blank && !is_line_end && byte != dialect.delimiter => {
                    bad = bad.or(Some(Reason::StrayQuote));
                    at += usize::from(Some(byte) == dialect.escape);
                    State::Plain
                }
                State::Quoted { across_lines: false } if is_line_end && Some(byte) != dialect.escape => {
                    rows.push((start..at, Err(bad.unwrap_or(Reason::UnterminatedQuote))));
                    (cells, bad, start) = (vec![Vec::new()], None, at + 1);
                    State::Blanks { are_none: true }
                }
                _ if Some(byte) == dialect.escape => {
                    cells[cell].push(text.get(at + 1).copied().unwrap_or(byte));
                    at += 1;
                    if let State::Quoted { .. } = state { state } else { State::Plain }
                }
                State::Quoted { across_lines } if is_quote => State::Closed { across_lines },
                State::Quoted { .. } => {
                    cells[cell].push(byte);
                    state
                }
                State::Blanks { are_none } if is_quote => {
                    cells[cell].clear();
                    State::Quoted { across_lines: are_none }
                }
                _ if is_line_end => {
                    rows.push((start..at, bad.map_or(Ok(std::mem::take(&mut cells)), Err)));
                    (cells, bad, start) = (vec![Vec::new()], None, at + 1);
                    State::Blanks { are_none: true }
                }
                _ if byte == dialect.delimiter => {
                    cells.push(Vec::new());
                    State::Blanks { are_none: true }
                }
                State::Closed { .. } | State::Behind => State::Behind,
                _ => {
                    cells[cell].push(byte);
                    let is_begin = matches!(state, State::Blanks { .. });
                    if is_begin && is_blank { State::Blanks { are_none: false } } else { State::Plain }
                }
            };
            at += 1;
        }
        let bad = bad.or(matches!(state, State::Quoted { .. }).then_some(Reason::UnterminatedQuote));
        rows.push((start..text.len(), bad.map_or(Ok(cells), Err)));
        rows.retain(|(range, _)| !range.is_empty());
        let is_kept = |(index, (range, _)): &(usize, (std::ops::Range<usize>, _))| {
            *index == 0 || !dialect.is_blank(&text[range.clone()])
        };
        rows.into_iter().enumerate().filter(is_kept).map(|(_, (_, row))| row).collect()
    }
}
