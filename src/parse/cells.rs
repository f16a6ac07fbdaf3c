//! The cells of one row, reused from row to row without allocation.

use std::ops::Range;

use super::csv::find_sign;

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
    place: Place,
}

/// Where a cell's text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Row,
    Scratch,
    /// Nowhere: no cell was given, which reads as an empty one.
    Absent,
}

impl Cells {
    /// Forgets the previous row.
    pub fn clear(&mut self) {
        self.spans.clear();
        self.scratch.clear();
    }

    /// Forgets the previous row, and makes room for `count` cells that come in any order. Those that never come are empty.
    pub fn clear_for(&mut self, count: usize) {
        self.clear();
        self.spans.resize(count, Span { start: 0, end: 0, place: Place::Absent });
    }

    /// Adds a cell that stands in the row as it is.
    #[inline]
    pub fn push_borrowed(&mut self, range: Range<usize>) {
        self.spans.push(borrowed(&range));
    }

    /// Adds a cell whose text differs from the row's bytes.
    pub fn push_owned(&mut self, text: &[u8]) {
        let span = self.write(text);
        self.spans.push(span);
    }

    /// Adds a cell that is `text` with every doubled `quote` made a single one, and without the escape characters.
    pub(super) fn push_plain(&mut self, text: &[u8], quote: Option<u8>, escape: Option<u8>) {
        let start = self.scratch.len();
        let mut rest = text;
        while let Some(place) = find_sign(rest, quote, escape) {
            let next = rest.get(place + 1).copied();
            self.scratch.extend_from_slice(&rest[..place]);
            // An escape character at the end makes nothing plain: it is text.
            self.scratch.push(next.unwrap_or(rest[place]));
            rest = rest.get(place + 2..).unwrap_or_default();
        }
        self.scratch.extend_from_slice(rest);
        self.spans.push(Span { start: start as u32, end: self.scratch.len() as u32, place: Place::Scratch });
    }

    /// Gives cell `index`, made room for by [`clear_for`](Self::clear_for), a text that stands in the row.
    pub(super) fn set_borrowed(&mut self, index: usize, range: &Range<usize>) {
        self.spans[index] = borrowed(range);
    }

    /// Gives cell `index`, made room for by [`clear_for`](Self::clear_for), a text that does not stand in the row.
    pub(super) fn set_owned(&mut self, index: usize, text: &[u8]) {
        self.spans[index] = self.write(text);
    }

    /// Whether cell `index` has been given.
    pub(super) fn is_set(&self, index: usize) -> bool {
        self.spans[index].place != Place::Absent
    }

    /// The text of cell `index` of the row `row`, and whether it stands in the row as it is. `None` where the cell is not
    /// whole characters.
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

    /// Forgets the cells from `index` on, and takes all of `rest` as the last one.
    pub(super) fn end_with(&mut self, index: usize, rest: &Range<usize>) {
        self.spans.truncate(index);
        self.push_borrowed(rest.clone());
    }

    /// Forgets the cells from `count` on.
    pub(super) fn truncate(&mut self, count: usize) {
        self.spans.truncate(count);
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
        let from = if span.place == Place::Row { row } else { &self.scratch };
        &from[span.start as usize..span.end as usize]
    }
}

fn borrowed(range: &Range<usize>) -> Span {
    Span { start: range.start as u32, end: range.end as u32, place: Place::Row }
}
