//! Delimited text after RFC 4180: one row to its cells.
//!
//! A cell is quoted if its first byte, blanks left out, is a quote. Inside quotes everything is text and a doubled quote is
//! one quote; after the closing quote and blanks the cell must end. A quote further inside an unquoted cell is a character
//! like any other. A line break within quotes that stand behind blanks ends the row: only a quote at the very start of a
//! cell opens it for the reader.

use memchr::memchr;

use super::Cells;
use crate::reject::Reason;

const QUOTE: u8 = b'"';
const GROUP_BYTES: usize = 64;
const EVERY_BYTE: u64 = 0x0101_0101_0101_0101;
const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A row that does not divide into cells: what is wrong, and with which cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadCell {
    pub cell: usize,
    /// Where in the row it begins.
    pub start: usize,
    pub reason: Reason,
}

/// Divides a row, without its line end, into cells.
pub(super) fn split_row(row: &[u8], delimiter: u8, cells: &mut Cells) -> Result<(), BadCell> {
    cells.clear();
    if memchr(QUOTE, row).is_some() {
        return split_quoted(row, delimiter, cells);
    }
    split_plain(row, delimiter, cells);
    Ok(())
}

/// A row without quotes, 64 bytes at a time: a loop over the delimiters of so many bytes ends often enough as foreseen.
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
        // What fills the last group up must not be a delimiter: its complement is none.
        let mut group = [!delimiter; GROUP_BYTES];
        group[..rest.len()].copy_from_slice(rest);
        push_found(places(&group, pattern), base);
    }
    cells.push_borrowed(start..row.len());
}

/// One bit a byte of `group`, the lowest for the first: whether it is the byte that `pattern` repeats.
fn places(group: &[u8; GROUP_BYTES], pattern: u64) -> u64 {
    let words = group.as_chunks().0.iter().rev();
    words.fold(0, |found, word| found << 8 | high_bits(zero_bytes(u64::from_le_bytes(*word) ^ pattern)))
}

/// The high bit of every byte of `word` that is zero, and no other bit (Hacker's Delight, 6-1, the form without carries
/// between bytes).
fn zero_bytes(word: u64) -> u64 {
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS)
}

/// The high bits of the eight bytes, which have no other, as one byte: the product brings bit 8n + 7 to place 56 + n.
fn high_bits(word: u64) -> u64 {
    (word >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

/// A row with quotes, cell by cell.
fn split_quoted(row: &[u8], delimiter: u8, cells: &mut Cells) -> Result<(), BadCell> {
    let mut start = 0;
    loop {
        let open = start + blanks(&row[start..], delimiter);
        let end = if row.get(open) == Some(&QUOTE) {
            push_quoted(row, start, open, delimiter, cells)?
        } else {
            let end = memchr(delimiter, &row[start..]).map_or(row.len(), |length| start + length);
            cells.push_borrowed(start..end);
            end
        };
        if end == row.len() {
            return Ok(());
        }
        start = end + 1;
    }
}

/// How many blanks, spaces or tabs, `text` begins with.
fn blanks(text: &[u8], delimiter: u8) -> usize {
    text.iter().take_while(|&&byte| matches!(byte, b' ' | b'\t') && byte != delimiter).count()
}

/// Adds the cell that begins at `start` and whose quote opens at `open`, and returns where it ends: at a delimiter or at
/// the row's end.
fn push_quoted(row: &[u8], start: usize, open: usize, delimiter: u8, cells: &mut Cells) -> Result<usize, BadCell> {
    let bad = |reason, cells: &Cells| BadCell { cell: cells.len(), start, reason };
    let (close, has_doubled) = find_close(row, open + 1).ok_or(bad(Reason::UnterminatedQuote, cells))?;
    let end = close + 1 + blanks(&row[close + 1..], delimiter);
    if row.get(end).is_some_and(|&next| next != delimiter) {
        return Err(bad(Reason::StrayQuote, cells));
    }
    if has_doubled {
        cells.push_undoubled(&row[open + 1..close], QUOTE);
    } else {
        cells.push_borrowed(open + 1..close);
    }
    Ok(end)
}

/// Where the quoted text that begins at `at` is closed, and whether it holds doubled quotes.
fn find_close(row: &[u8], mut at: usize) -> Option<(usize, bool)> {
    let mut has_doubled = false;
    loop {
        let quote = at + memchr(QUOTE, &row[at..])?;
        if row.get(quote + 1) != Some(&QUOTE) {
            return Some((quote, has_doubled));
        }
        has_doubled = true;
        at = quote + 2;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(row: &[u8], delimiter: u8) -> Result<Vec<Vec<u8>>, BadCell> {
        let mut cells = Cells::default();
        split_row(row, delimiter, &mut cells)?;
        Ok((0..cells.len()).map(|index| cells.get(row, index).to_vec()).collect())
    }

    /// The slow twin: one byte at a time.
    fn split_slowly(row: &[u8], delimiter: u8) -> Result<Vec<Vec<u8>>, BadCell> {
        let mut cells = vec![Vec::new()];
        let (mut is_quoted, mut is_closed) = (false, false);
        let (mut at, mut start) = (0, 0);
        while at < row.len() {
            let (byte, next) = (row[at], row.get(at + 1).copied());
            let cell = cells.len() - 1;
            if is_quoted && byte == QUOTE && next == Some(QUOTE) {
                cells[cell].push(QUOTE);
                at += 1;
            } else if is_quoted && byte == QUOTE {
                (is_quoted, is_closed) = (false, true);
            } else if is_quoted {
                cells[cell].push(byte);
            } else if byte == delimiter {
                (is_closed, start) = (false, at + 1);
                cells.push(Vec::new());
            } else if is_closed && matches!(byte, b' ' | b'\t') {
                // Blanks behind the closing quote say nothing.
            } else if is_closed {
                return Err(BadCell { cell, start, reason: Reason::StrayQuote });
            } else if byte == QUOTE && cells[cell].iter().all(|byte| matches!(byte, b' ' | b'\t')) {
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
            assert_eq!(split(row.as_bytes(), b',').unwrap(), expected, "{row}");
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
    fn a_row_that_does_not_divide_names_its_cell() {
        let check = |row: &str, cell, start, reason| {
            assert_eq!(split(row.as_bytes(), b','), Err(BadCell { cell, start, reason }), "{row}");
        };
        check("a,\"b\"c,d", 1, 2, Reason::StrayQuote);
        check("a, \"b\" c", 1, 2, Reason::StrayQuote);
        check("a,b,\"c", 2, 4, Reason::UnterminatedQuote);
        check("\"", 0, 0, Reason::UnterminatedQuote);
        check("\"a\"\"", 0, 0, Reason::UnterminatedQuote);
    }

    proptest! {
        #[test]
        fn the_fast_way_agrees_with_the_slow_one(
            row in proptest::collection::vec(prop_oneof![3 => Just(b','), 2 => Just(QUOTE), 1 => Just(0xac), 1 => Just(b' '), 3 => any::<u8>()], 0..150),
        ) {
            prop_assert_eq!(split(&row, b','), split_slowly(&row, b','));
            prop_assert_eq!(split(&row, b'|'), split_slowly(&row, b'|'));
        }
    }
}
