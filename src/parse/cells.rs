//! The cells of one row. The buffers are reused for the next row, without allocation.

use std::ops::Range;

/// The cells of one row. Each cell is a range of the row's bytes, or a range of a scratch buffer if its text differs
/// from the row's bytes.
#[derive(Debug, Default)]
pub struct Cells {
    spans: Vec<Span>,
    scratch: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    place: Place,
}

/// Where the text of a cell is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Row,
    Scratch,
    /// No cell was given. It reads as an empty cell.
    Absent,
}

impl Cells {
    /// Removes the cells of the previous row.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.scratch.clear();
    }

    /// Removes the cells of the previous row and adds `count` empty cells, which can then be set in any order.
    pub fn clear_for(&mut self, count: usize) {
        self.clear();
        self.spans.resize(count, Span { start: 0, end: 0, place: Place::Absent });
    }

    /// Adds a cell whose text is a range of the row.
    #[inline]
    pub fn push_borrowed(&mut self, range: Range<usize>) {
        self.spans.push(borrowed(&range));
    }

    /// Adds a cell whose text differs from the row's bytes.
    pub fn push_owned(&mut self, text: &[u8]) {
        let span = self.write(text);
        self.spans.push(span);
    }

    /// Adds a cell whose text is appended by `write`.
    pub(super) fn push_written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.scratch.len() as u32;
        write(&mut self.scratch);
        self.spans.push(Span { start, end: self.scratch.len() as u32, place: Place::Scratch });
    }

    /// Sets cell `index`, which [`clear_for`](Self::clear_for) created, to a range of the row.
    pub(super) fn set_borrowed(&mut self, index: usize, range: &Range<usize>) {
        self.spans[index] = borrowed(range);
    }

    /// Sets cell `index`, which [`clear_for`](Self::clear_for) created, to a text that is not a range of the row.
    pub(super) fn set_owned(&mut self, index: usize, text: &[u8]) {
        self.spans[index] = self.write(text);
    }

    /// Returns true if cell `index` has been set.
    pub(super) fn is_set(&self, index: usize) -> bool {
        self.spans[index].place != Place::Absent
    }

    /// Returns the text of cell `index` of the row `row`, and whether the text is a range of the row. Returns `None`
    /// if the cell is not valid UTF-8 or is cut inside a character.
    #[inline]
    pub fn text<'a>(&'a self, row: &'a str, index: usize) -> Option<(&'a str, bool)> {
        let span = self.spans[index];
        let range = span.start as usize..span.end as usize;
        let is_in_row = span.place == Place::Row;
        let text = if is_in_row { row.get(range) } else { std::str::from_utf8(&self.scratch[range]).ok() };
        text.map(|text| (text, is_in_row))
    }

    fn write(&mut self, text: &[u8]) -> Span {
        let start = self.scratch.len();
        self.scratch.extend_from_slice(text);
        Span { start: start as u32, end: self.scratch.len() as u32, place: Place::Scratch }
    }

    /// Removes the cells from `index` on, and adds `rest` as the last cell.
    pub(super) fn end_with(&mut self, index: usize, rest: &Range<usize>) {
        self.spans.truncate(index);
        self.push_borrowed(rest.clone());
    }

    /// Removes the cells from `count` on.
    pub(super) fn truncate(&mut self, count: usize) {
        self.spans.truncate(count);
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Returns true if the row has no cells.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Returns the bytes of cell `index`. `row` must be the row that the cells were parsed from.
    pub fn get<'a>(&'a self, row: &'a [u8], index: usize) -> &'a [u8] {
        let span = self.spans[index];
        let from = if span.place == Place::Row { row } else { &self.scratch };
        &from[span.start as usize..span.end as usize]
    }
}

fn borrowed(range: &Range<usize>) -> Span {
    Span { start: range.start as u32, end: range.end as u32, place: Place::Row }
}
