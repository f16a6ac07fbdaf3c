//! Examines cells that contain line breaks. Such a cell is either text of several lines, or consists of complete rows.
//! In the second case, a stray quote has opened the cell, and the rows up to the next quote were read as its text.

use memchr::memchr_iter;

use crate::parse::{Cells, Dialect};

/// The dialect of the source, and the number of delimiters in its rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines {
    pub dialect: Dialect,
    /// Number of cells that a reject file has before the cells of the source. It is 0 for other sources.
    pub foreign: usize,
    /// Number of delimiters in a row of the source, without the columns that a reject file adds.
    pub delimiters: usize,
}

/// A cell that contains line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LongCell {
    pub index: usize,
    /// The line on which the cell begins, counted from 0 within the row.
    pub first: u64,
    /// The line on which the cell ends, counted from 0 within the row.
    pub last: u64,
    /// True if the cell looks like complete rows.
    pub is_rows: bool,
}

impl Lines {
    /// Returns the cells of a row that contain line breaks.
    pub(super) fn long_cells(&self, row: &[u8], cells: &Cells) -> Vec<LongCell> {
        let mut long = Vec::new();
        let mut first = 0;
        for index in 0..cells.len() {
            let text = cells.get(row, index);
            let last = first + breaks(text, self.dialect);
            if last > first {
                long.push(LongCell { index, first, last, is_rows: self.are_rows(text, index) });
            }
            first = last;
        }
        long
    }

    /// Returns true if the text of cell `index` looks like complete rows that a stray quote has made into one cell.
    /// All three conditions must be true:
    /// - The first line has as many delimiters as a row has after this cell.
    /// - The last line has as many delimiters as a row has before this cell.
    /// - At least half of the lines between them have as many delimiters as a row. Blank lines are not counted.
    ///
    /// Returns false for a source with one column. It has no delimiters, so its rows cannot be recognised.
    fn are_rows(&self, text: &[u8], index: usize) -> bool {
        let Some(before) = index.checked_sub(self.foreign) else { return false };
        if self.delimiters == 0 || before > self.delimiters {
            return false;
        }
        let mut lines = text.split(|&byte| byte == self.dialect.line_end);
        let (Some(first), Some(last)) = (lines.next(), lines.next_back()) else { return false };
        let count = |line: &[u8]| memchr_iter(self.dialect.delimiter, line).count();
        if count(first) != self.delimiters - before || count(last) != before {
            return false;
        }
        let between: Vec<usize> = lines.filter(|line| !line.trim_ascii().is_empty()).map(count).collect();
        2 * between.iter().filter(|&&count| count == self.delimiters).count() >= between.len()
    }
}

/// Returns the number of line breaks in a text.
pub(super) fn breaks(text: &[u8], dialect: Dialect) -> u64 {
    memchr_iter(dialect.line_end, text).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::csv::split_row;

    #[track_caller]
    fn check(own_columns: usize, foreign: usize, row: &str, expected: &[(usize, u64, u64, bool)]) {
        let dialect = Dialect { delimiter: b',', line_end: b'\n', quote: Some(b'"'), escape: None };
        let mut cells = Cells::default();
        split_row(row.as_bytes(), dialect, &mut cells).unwrap();
        let lines = Lines { dialect, foreign, delimiters: own_columns - 1 };
        let long = lines.long_cells(row.as_bytes(), &cells);
        let seen: Vec<_> = long.iter().map(|cell| (cell.index, cell.first, cell.last, cell.is_rows)).collect();
        assert_eq!(seen, expected, "{row:?}");
    }

    #[test]
    fn text_of_several_lines_does_not_look_like_rows() {
        check(3, 0, "1,x,\"a\nb\"", &[(2, 0, 1, false)]);
        check(3, 0, "1,\"dear,\nall well\n\nbye\",\"c\nd\"", &[(1, 0, 3, false), (2, 3, 4, false)]);
        check(3, 0, "1,x,\"a\nb,c\"", &[(2, 0, 1, false)]);
        check(3, 0, "1,x,\"a\nno commas\nb,c,\"", &[(2, 0, 2, false)]);
        check(1, 0, "\"a\nb\"", &[(0, 0, 1, false)]);
    }

    #[test]
    fn rows_inside_a_quote_are_recognised() {
        check(3, 0, "2,\"open,x\n3,close\",y", &[(1, 0, 1, true)]);
        check(3, 0, "2,\"open,x\n3,a,b\n4,c,d\n5,close\",y", &[(1, 0, 3, true)]);
        check(3, 0, "2,\"open,x\r\n\r\n3,short\r\n4,c,d\r\n5,close\",y", &[(1, 0, 4, true)]);
        check(3, 0, "\"2,x,y\n3\",x,y", &[(0, 0, 1, true)]);
        check(3, 0, "2,x,\"open\n3,x,close\"", &[(2, 0, 1, true)]);
        check(3, 5, "9,9,,swallowed_rows,message,2,\"open,x\n3,close\",y", &[(6, 0, 1, true)]);
    }
}
