//! Determines from the first rows of a source what its quotes mean.
//!
//! There are two readings: quotes enclose cells, or quotes are ordinary characters. Some programs export text without
//! quoting it. In their files a cell can begin with a quote that belongs to the text. If this quote were taken for an
//! opening quote, all lines up to the next quote would become one cell. Both readings are tried.

use memchr::memchr;

use super::multiline::{Lines, breaks};
use super::split::split_row;
use crate::parse::{Cells, Dialect, LayoutError};
use crate::read::{Ending, Framing, records};

/// The default quote character. The user can choose another one.
pub(super) const QUOTE: u8 = b'"';

/// A reading fits the rows if it has at most one bad line per 100 rows.
const ODD_ONE_IN: u64 = 100;

/// The result of reading the sample with one meaning of quotes.
#[derive(Debug, Default)]
struct Reading {
    /// Number of cells in the header.
    columns: usize,
    rows: u64,
    /// Number of lines that belong to rows with a wrong number of cells, or to rows that cannot be split.
    bad_lines: u64,
    /// Number of cells that need their quotes, because they contain a delimiter or a line break. A cell with both
    /// counts twice. Rows in which a cell looks like complete rows are left out.
    useful_quotes: u64,
    /// The line on which a row with such a cell begins: the first of these rows.
    first_swallowing: Option<u64>,
    /// Number of cells that are enclosed in quotes. Counted only if quotes are read as ordinary characters.
    enclosed: u64,
    /// Number of cells that contain a quote but are not enclosed in quotes. Counted only if quotes are read as ordinary
    /// characters.
    loose: u64,
}

/// Determines what quotes mean in the source that begins with `sample`. Returns the quote if quotes enclose cells, or
/// `None` if they are ordinary characters. `dialect` must have the right delimiter, line end and escape character.
///
/// The sample is read twice: once with quotes that enclose cells, and once with quotes as ordinary characters. Quotes
/// are ordinary characters if all four conditions are true:
/// 1. The header has at least two cells, and the same number of cells in both readings.
/// 2. No cell needs its quotes: no quoted cell contains a delimiter or a line break. Two kinds of rows are not
///    examined: rows with a wrong number of cells, and rows in which a cell looks like complete rows.
/// 3. The reading with quotes as ordinary characters has fewer bad lines than the other reading, and at most one bad
///    line per 100 rows. A bad line belongs to a row with a wrong number of cells, or to a row that cannot be split.
/// 4. Of the cells that contain quotes, at most half are enclosed in quotes.
///
/// # Errors
/// A quoted cell looks like complete rows, and both readings are possible. Both are possible if three conditions are
/// true:
/// - The header has at least two cells, and the same number of cells in both readings.
/// - No cell needs its quotes.
/// - The reading with quotes as ordinary characters has no more bad lines than the other reading.
///
/// If `multiline_cells` is true, this is not an error.
pub(super) fn decide(sample: &[u8], dialect: Dialect, multiline_cells: bool) -> Result<Option<u8>, LayoutError> {
    if memchr(QUOTE, sample).is_none() {
        return Ok(Some(QUOTE));
    }
    let quoted = Reading::new(sample, Dialect { quote: Some(QUOTE), ..dialect });
    let plain = Reading::new(sample, Dialect { quote: None, ..dialect });
    if quoted.useful_quotes > 0 || plain.columns != quoted.columns || plain.columns < 2 {
        return Ok(Some(QUOTE));
    }
    match quoted.first_swallowing {
        Some(line) if plain.bad_lines <= quoted.bad_lines && !multiline_cells => Err(LayoutError::AmbiguousQuotes {
            columns: plain.columns,
            quoted_rows: quoted.rows,
            plain_rows: plain.rows,
            line,
        }),
        _ if plain.explains_more_than(&quoted) && plain.loose >= plain.enclosed => Ok(None),
        _ => Ok(Some(QUOTE)),
    }
}

impl Reading {
    fn new(sample: &[u8], dialect: Dialect) -> Self {
        let mut reading = Self::default();
        let mut cells = Cells::default();
        for (place, span) in records(sample, Framing::Delimited(dialect)).enumerate() {
            let row = &sample[span.start as usize..span.end as usize];
            let divides = split_row(row, dialect, &mut cells).is_ok() && span.ending == Ending::Whole;
            // The first row is the header even if it cannot be split. It then counts as a header without columns.
            if place == 0 {
                reading.columns = if divides { cells.len() } else { 0 };
                continue;
            }
            reading.rows += 1;
            let has_quote = memchr(QUOTE, row).is_some();
            if divides && has_columns(row, &cells, reading.columns) {
                if has_quote && dialect.quote.is_some() {
                    reading.weigh_quoted(row, span.line, dialect, &cells);
                }
            } else {
                // All lines of the row are bad. Exception: if the sample ends inside a quoted cell of the row, one line
                // fewer is counted.
                let is_open = span.ending == Ending::OpenQuote;
                let lines = row.strip_suffix(&[dialect.line_end]).unwrap_or(row);
                reading.bad_lines += breaks(lines, dialect) + u64::from(!is_open);
            }
            if has_quote && dialect.quote.is_none() {
                reading.weigh_plain(row, &cells);
            }
        }
        reading
    }

    /// Counts the cells of a row that need their quotes. A row in which a cell looks like complete rows is not counted.
    /// The line of the first such row is stored.
    fn weigh_quoted(&mut self, row: &[u8], line: u64, dialect: Dialect, cells: &Cells) {
        let lines = Lines { dialect, foreign: 0, delimiters: self.columns.saturating_sub(1) };
        let long = lines.long_cells(row, cells);
        if long.iter().any(|cell| cell.is_rows) {
            self.first_swallowing = self.first_swallowing.or(Some(line));
        } else {
            let is_useful = |&index: &usize| memchr(dialect.delimiter, cells.get(row, index)).is_some();
            self.useful_quotes += long.len() as u64 + (0..cells.len()).filter(is_useful).count() as u64;
        }
    }

    /// Counts the cells of a row that contain quotes. Quotes are read as ordinary characters.
    fn weigh_plain(&mut self, row: &[u8], cells: &Cells) {
        for cell in (0..cells.len()).map(|index| cells.get(row, index).trim_ascii()) {
            if memchr(QUOTE, cell).is_some() {
                if is_enclosed(cell) { self.enclosed += 1 } else { self.loose += 1 }
            }
        }
    }

    const fn explains_more_than(&self, other: &Self) -> bool {
        self.bad_lines < other.bad_lines && self.bad_lines * ODD_ONE_IN <= self.rows
    }
}

/// Returns true if a row has as many cells as the header, or one more that is blank.
pub(super) fn has_columns(row: &[u8], cells: &Cells, columns: usize) -> bool {
    cells.len() == columns || (cells.len() == columns + 1 && is_blank(cells.get(row, columns)))
}

pub(super) fn is_blank(cell: &[u8]) -> bool {
    cell.trim_ascii().is_empty()
}

/// Returns true if a cell begins and ends with a quote and all quotes between them are doubled.
pub(super) fn is_enclosed(cell: &[u8]) -> bool {
    let inside = cell.strip_prefix(&[QUOTE]).and_then(|cell| cell.strip_suffix(&[QUOTE]));
    inside.is_some_and(|mut inside| {
        while let Some(place) = memchr(QUOTE, inside) {
            if inside.get(place + 1) != Some(&QUOTE) {
                return false;
            }
            inside = &inside[place + 2..];
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide_csv(sample: &str) -> Result<Option<u8>, LayoutError> {
        decide(sample.as_bytes(), Dialect { delimiter: b',', line_end: b'\n', quote: None, escape: None }, false)
    }

    #[test]
    fn quotes_enclose_cells_if_cells_need_them_or_no_row_is_bad() {
        for sample in [
            "a,b,c\n1,x,y\n",
            "a,b,c\n1,\"x\",y\n",
            "a,b,c\n1,\"x, y\",z\n2,\"open,z\n",
            "a,b,c\n1,x,\"Dear all\nplease, note\nbye\"\n",
            "a,b,c\n1,5\" pipe,x\n2,\"say \"\"hi\"\"\",x\n",
            "a,b,c\n\"1\",\"x\",\"y\"\n\"2\",\"open,\"y\"\n\"3\",\"x\",\"y\"\n",
            "a,b,c\n1,\"cut off,\n",
            "a,b,c\n1,x\n2,\"open,z,z\n",
            "a\n\"x\ny\"\n",
            "\"a\"x,b\n1,\"open\n2,close\"\n",
            "\"a\"x,b\n \n\"\"\n",
        ] {
            assert_eq!(decide_csv(sample), Ok(Some(QUOTE)), "{sample:?}");
        }
    }

    #[test]
    fn quotes_that_only_make_rows_bad_are_ordinary_characters() {
        for sample in [
            "a,b,c\n1,x,y\n2,\"open,x\n3,x,y\n4,by \"Pharm\",y\n5,\"Cold\" abscess,y\n",
            "a,b,c\n1,x,\"open\n2,x,y\n3,\"quoted\",y\n4,x,y\n",
            "a,b,c\n1,\"open,x\n2,x,y\n3,x,y\n",
            "a,b,c\n1,\"Cold\" abscess,x,\n2,x,y,\n",
        ] {
            assert_eq!(decide_csv(sample), Ok(None), "{sample:?}");
        }
    }

    #[test]
    fn two_readings_of_the_quotes_that_fit_are_an_error() {
        let sample = "a,b,c\n1,x,y\n2,\"open,x\n3,x,y\n4,close\",y\n5,x,y\n";
        let expected = LayoutError::AmbiguousQuotes { columns: 3, quoted_rows: 3, plain_rows: 5, line: 3 };
        assert_eq!(decide_csv(sample), Err(expected.clone()));
        let message = expected.to_string();
        for part in ["3 rows", "5 rows", "3 cells", "line 3", "--quote none", "--quote '\"'", "--multiline-cells"] {
            assert!(message.contains(part), "{message}");
        }
        let dialect = Dialect { delimiter: b',', line_end: b'\n', quote: None, escape: None };
        assert_eq!(decide(sample.as_bytes(), dialect, true), Ok(Some(QUOTE)));
    }

    #[test]
    fn a_reading_fits_with_at_most_one_bad_line_per_hundred_rows() {
        let sample = |rows: usize| format!("a,b,c\n1,\"open,x\n2,short\n{}", "3,x,y\n".repeat(rows - 2));
        assert_eq!(decide_csv(&sample(100)), Ok(None));
        assert_eq!(decide_csv(&sample(99)), Ok(Some(QUOTE)));
    }
}
