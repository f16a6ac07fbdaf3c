//! The cells of one row. The buffers are reused for the next row, without allocation.

use std::ops::Range;

/// The cells of one row. A cell is usually a range of the row's bytes. If its text differs from these bytes, for
/// example after `""` became `"`, it is a range of a scratch buffer.
///
/// The cell of an array contains the JSON text of the array. The items of the array have cells of their own.
#[derive(Debug, Default)]
pub struct Cells {
    spans: Vec<Span>,
    scratch: Vec<u8>,
    items: Items,
}

/// The cells of the items of all arrays in a row. The items of one array follow each other, and all have the same
/// number of cells. An array inside an item is one cell of this item. This cell contains a range of `cells`: the cells
/// of the inner items.
#[derive(Debug, Default)]
pub(super) struct Items {
    /// For each column that is an array, the range of its items in `cells`.
    arrays: Vec<Range<u32>>,
    cells: Vec<Span>,
    /// The texts that are not part of the array's text, for example strings whose escapes were replaced.
    text: Vec<u8>,
    /// Lower bound of the size of the document whose arrays are being parsed, in bytes. It is computed from the items
    /// parsed so far.
    document_bytes_min: usize,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    place: Place,
}

/// Where the text of a cell is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Row,
    Scratch,
    /// In [`Items::text`].
    Items,
    /// The cell is an array inside an item. `start` and `end` are indices into [`Items::cells`].
    Array,
    /// The cell has not been set. Its text is empty.
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
        self.spans.resize(count, ABSENT);
    }

    /// Does the same as [`clear_for`](Self::clear_for) for rows that set few of many cells. `set` contains all cells
    /// that the previous row has set.
    pub(super) fn clear_few(&mut self, count: usize, set: Range<usize>) {
        if self.spans.len() != count {
            return self.clear_for(count);
        }
        self.scratch.clear();
        self.spans[set].fill(ABSENT);
        debug_assert!(self.spans.iter().all(|span| span.place == Place::Absent));
    }

    /// Adds a cell whose text is a range of the row.
    #[inline]
    pub fn push_borrowed(&mut self, range: Range<usize>) {
        self.spans.push(borrowed(&range));
    }

    /// Adds a cell whose text differs from the row's bytes.
    #[cfg(test)]
    pub(crate) fn push_owned(&mut self, text: &[u8]) {
        let span = self.write(text);
        self.spans.push(span);
    }

    /// Adds a cell. `write` appends its text to the scratch buffer.
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

    /// Returns the text of cell `index`, and true if the text is a range of `row`. Returns `None` if the cell is not
    /// valid UTF-8, or if it begins or ends inside a character.
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

    /// Returns the number of cells.
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

const ABSENT: Span = Span { start: 0, end: 0, place: Place::Absent };

fn borrowed(range: &Range<usize>) -> Span {
    span(range, Place::Row)
}

fn span(range: &Range<usize>, place: Place) -> Span {
    Span { start: range.start as u32, end: range.end as u32, place }
}

impl Cells {
    /// Returns the range of the cells that belong to the items of one array. `index` is the number of the array, from
    /// 0. Only the columns of the spec that are arrays are numbered.
    pub fn array(&self, index: usize) -> Range<u32> {
        self.items.arrays[index].clone()
    }

    /// Returns the range of the cells that belong to the items of an inner array. The inner array itself is also a cell
    /// of an item, and `index` is the position of this cell among the cells of all items. The range is empty if the
    /// cell does not contain an array.
    pub fn array_in_item(&self, index: u32) -> Range<u32> {
        self.items.array(index as usize)
    }

    /// Returns the text of a cell of an item, and true if the text is a range of `row`. `index` is the index of the
    /// cell among the cells of all items. Returns `None` if the text is not valid UTF-8.
    pub fn item_text<'a>(&'a self, row: &'a str, index: u32) -> Option<(&'a str, bool)> {
        let Span { start, end, place } = self.items.cells[index as usize];
        let range = start as usize..end as usize;
        let text = match place {
            Place::Row => return row.get(range).map(|text| (text, true)),
            Place::Scratch => &self.scratch[range],
            Place::Items => &self.items.text[range],
            Place::Array | Place::Absent => &[],
        };
        std::str::from_utf8(text).ok().map(|text| (text, false))
    }

    /// Cell `index` must be an array. Returns its bytes, and a buffer for the cells of its items.
    pub(super) fn for_array<'a>(&'a mut self, row: &'a [u8], index: usize) -> (&'a [u8], ItemsOf<'a>) {
        let Span { start, end, place } = self.spans[index];
        let from = if place == Place::Row { row } else { &self.scratch };
        let items = ItemsOf { items: &mut self.items, place, start: start as usize };
        (&from[start as usize..end as usize], items)
    }

    /// Removes the items of the previous row.
    pub(super) fn clear_items(&mut self) {
        self.items.arrays.clear();
        self.items.cells.clear();
        self.items.text.clear();
        self.begin_document();
    }

    /// Sets the size of the document to zero. The arrays that are parsed next belong to a new document.
    pub(super) fn begin_document(&mut self) {
        self.items.document_bytes_min = 0;
    }

    /// Adds the next column that is an array. `cells` is the range of the cells that belong to its items.
    pub(super) fn push_array(&mut self, cells: Range<usize>) {
        self.items.arrays.push(cells.start as u32..cells.end as u32);
    }
}

impl Cells {
    /// Adds the next column that is an array. `texts` are the texts of the cells of its items. `None` is an empty cell.
    pub(super) fn push_texts<'t>(&mut self, texts: impl Iterator<Item = Option<&'t [u8]>>) {
        let Items { cells, text, .. } = &mut self.items;
        let first = cells.len();
        cells.extend(texts.map(|cell| {
            let start = text.len();
            cell.map_or(ABSENT, |cell| {
                text.extend_from_slice(cell);
                span(&(start..text.len()), Place::Items)
            })
        }));
        let end = cells.len();
        self.push_array(first..end);
    }
}

impl Items {
    fn array(&self, index: usize) -> Range<u32> {
        match self.cells[index] {
            Span { start, end, place: Place::Array } => start..end,
            _ => 0..0,
        }
    }
}

/// Adds the items of one array to the items of the row. The array's text begins at byte `start` of `place`.
pub(super) struct ItemsOf<'a> {
    items: &'a mut Items,
    place: Place,
    start: usize,
}

impl ItemsOf<'_> {
    /// Returns the number of cells of all items in the row.
    pub(super) fn len(&self) -> usize {
        self.items.cells.len()
    }

    /// Adds an item of `count` empty cells. The item needs at least `bytes_min` bytes in the document. Returns the sum
    /// of these minimum sizes for all items of the document so far.
    pub(super) fn push_empty(&mut self, count: usize, bytes_min: usize) -> usize {
        let len = self.items.cells.len() + count;
        self.items.cells.resize(len, ABSENT);
        self.items.document_bytes_min += bytes_min;
        self.items.document_bytes_min
    }

    pub(super) fn is_set(&self, index: usize) -> bool {
        self.items.cells[index].place != Place::Absent
    }

    /// Sets a cell to a range of the array's text.
    pub(super) fn set_borrowed(&mut self, index: usize, range: &Range<usize>) {
        self.items.cells[index] = span(&(range.start + self.start..range.end + self.start), self.place);
    }

    pub(super) fn set_owned(&mut self, index: usize, text: &[u8]) {
        let start = self.items.text.len();
        self.items.text.extend_from_slice(text);
        self.items.cells[index] = span(&(start..self.items.text.len()), Place::Items);
    }

    /// Sets a cell to an array.
    pub(super) fn set_array(&mut self, index: usize, cells: &Range<usize>) {
        self.items.cells[index] = span(cells, Place::Array);
    }

    /// Returns the range of a cell's text in the array's text. Returns `None` if the cell's text is stored elsewhere.
    pub(super) fn range_of(&self, index: usize) -> Option<Range<usize>> {
        let Span { start, end, place } = self.items.cells[index];
        (place == self.place).then(|| start as usize - self.start..end as usize - self.start)
    }
}
