//! Stores the original texts of the cells that several kinds of documents read by different rules.

use std::sync::Arc;

/// The original texts of some cells of each row of a block. If several kinds of documents read a column by different
/// rules, their documents can contain different texts: `AB` and `ab` for the cell `Ab`. The reject file needs the text
/// of the cell.
#[derive(Debug, Default)]
pub struct Originals {
    /// The indices of the stored cells in each row.
    cells: Arc<[usize]>,
    text: Vec<u8>,
    /// For each stored cell, row by row, the position in `text` at which its text ends.
    ends: Vec<u32>,
}

impl Originals {
    /// Creates an empty store for the cells with these indices, which are the same in each row.
    pub(crate) fn new(cells: Arc<[usize]>) -> Self {
        Self { cells, ..Self::default() }
    }

    /// Adds the next row. `text_of` returns the text of a cell. For a rejected row, add empty texts, so that every row
    /// of the block has an entry.
    pub(crate) fn push<'c>(&mut self, text_of: impl Fn(usize) -> &'c [u8]) {
        for &cell in &*self.cells {
            self.text.extend_from_slice(text_of(cell));
            self.ends.push(self.text.len() as u32);
        }
    }

    /// Returns the stored cells of a row, each with its text.
    pub(crate) fn of_row(&self, row: u32) -> impl Iterator<Item = (usize, &[u8])> {
        let first = row as usize * self.cells.len();
        let text = move |(index, &cell): (usize, &usize)| {
            let start = (first + index).checked_sub(1).map_or(0, |before| self.ends[before]);
            (cell, &self.text[start as usize..self.ends[first + index] as usize])
        };
        self.cells.iter().enumerate().map(text)
    }

    /// Returns the size of all texts and all end positions in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_its_own_texts() {
        let mut originals = Originals::new(Arc::new([2, 5]));
        let rows = [["a", "bc"], ["", ""], ["d", ""]];
        for row in &rows {
            originals.push(|cell| row[usize::from(cell == 5)].as_bytes());
        }
        for (number, row) in (0..).zip(rows) {
            let found: Vec<_> = originals.of_row(number).collect();
            assert_eq!(found, [(2, row[0].as_bytes()), (5, row[1].as_bytes())], "row {number}");
        }
        assert_eq!(originals.bytes(), 4 + 6 * size_of::<u32>());
        assert_eq!(Originals::default().of_row(7).count(), 0);
    }
}
