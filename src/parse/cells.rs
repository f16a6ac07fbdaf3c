//! The cells of one row, reused from row to row without allocation.

use std::ops::Range;

/// The cells of one row: ranges into the row's bytes, or into a scratch buffer where quotes had to be undone.
#[derive(Debug, Default)]
pub struct Cells {
    spans: Vec<Span>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    in_scratch: bool,
}

impl Cells {
    /// Forgets the previous row.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.scratch.clear();
    }

    /// Adds a cell that stands in the row as it is.
    pub fn push_borrowed(&mut self, range: Range<usize>) {
        self.spans.push(Span { start: range.start as u32, end: range.end as u32, in_scratch: false });
    }

    /// Adds a cell whose text differs from the row's bytes.
    pub fn push_owned(&mut self, text: &[u8]) {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(text);
        self.spans.push(Span { start: start as u32, end: self.scratch.len() as u32, in_scratch: true });
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the row has no cell.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The bytes of cell `index` of the row `row`, which must be the row the cells were parsed from.
    pub fn get<'a>(&'a self, row: &'a [u8], index: usize) -> &'a [u8] {
        let span = self.spans[index];
        let from = if span.in_scratch { &self.scratch } else { row };
        &from[span.start as usize..span.end as usize]
    }

    /// The text of cell `index` of the row `row`, and whether it stands in the row as it is. `None` where the cell is not
    /// whole characters.
    pub fn text<'a>(&'a self, row: &'a str, index: usize) -> Option<(&'a str, bool)> {
        let span = self.spans[index];
        let range = span.start as usize..span.end as usize;
        let text = if span.in_scratch { std::str::from_utf8(&self.scratch[range]).ok() } else { row.get(range) };
        text.map(|text| (text, !span.in_scratch))
    }
}
