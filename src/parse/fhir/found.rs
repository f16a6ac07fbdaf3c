//! The values that were noted while a resource was converted.

use std::ops::Range;

use super::links::Links;
use super::reference::uuid;
use super::tree::{Node, To};
use crate::parse::Cells;
use crate::parse::DateFormat;
use crate::parse::dates::parse_date;
use crate::spec::json_path::Reading;

/// The noted values of one resource. The memory is used again for the next one.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// The texts of all noted values.
    text: String,
    /// For each cell, its text and the rank of the path that it is from.
    cells: Vec<Option<(Range<usize>, usize)>>,
    arrays: Vec<Array>,
    /// The references of the resource, each as `Type/id`, or as a URL of another server.
    references: Vec<Range<usize>>,
    /// Number of references by UUID for which no entry of a Bundle is known.
    lost_references: u64,
}

/// The numbers of references that were seen up to some place of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    noted: usize,
    lost: u64,
}

/// The items of a list or a repeating group.
#[derive(Debug, Clone, Default)]
struct Array {
    /// Number of cells of an item.
    width: usize,
    cells: Vec<Option<Range<usize>>>,
}

impl Found {
    /// Prepares for a resource with this number of cells, and with one array for each of `widths`.
    pub(super) fn clear(&mut self, cells: usize, widths: &[usize]) {
        self.text.clear();
        self.cells.clear();
        self.cells.resize(cells, None);
        self.arrays.resize_with(self.arrays.len().max(widths.len()), Array::default);
        for (array, &width) in self.arrays.iter_mut().zip(widths) {
            array.width = width;
            array.cells.clear();
        }
        self.forget_references(Seen::default());
    }

    /// Begins the next item of a repeating group.
    pub(super) fn begin_item(&mut self, group: usize) {
        let Array { width, cells } = &mut self.arrays[group];
        cells.resize(cells.len() + *width, None);
    }

    /// Notes the text of a value. `is_reference` is true if it is the value of a key `reference`.
    pub(super) fn see(&mut self, node: Option<&Node>, text: &str, is_reference: bool, links: &Links<'_>) {
        let mut target = None;
        if is_reference {
            target = self.add_reference(text, links);
            self.references.extend(target.clone());
            self.lost_references += u64::from(target.is_none() && uuid(text).is_some());
        }
        let Some(node) = node.map(Node::value).filter(|node| !node.sinks.is_empty()) else { return };
        if !is_storable(text) {
            return;
        }
        let mut plain = None;
        for sink in &node.sinks {
            let found = match sink.reading {
                Reading::Reference if is_reference => target.clone(),
                Reading::Reference => self.add_reference(text, links),
                Reading::Date if parse_date(DateFormat::Iso, text).is_none() => None,
                _ => Some(plain.get_or_insert_with(|| push(&mut self.text, text)).clone()),
            };
            if let Some(found) = found {
                self.put(sink.to, found, sink.rank);
            }
        }
    }

    fn put(&mut self, to: To, text: Range<usize>, rank: usize) {
        match to {
            To::Cell(cell) => self.set(cell, text, rank),
            To::List(list) => self.arrays[list].cells.push(Some(text)),
            To::Column { group, column } => {
                let Array { width, cells } = &mut self.arrays[group];
                if let Some(start) = cells.len().checked_sub(*width) {
                    cells[start + column].get_or_insert(text);
                }
            }
        }
    }

    fn set(&mut self, cell: usize, text: Range<usize>, rank: usize) {
        if self.cells[cell].as_ref().is_none_or(|(_, known)| rank < *known) {
            self.cells[cell] = Some((text, rank));
        }
    }

    /// Sets a cell to a text that is not a value of the resource.
    pub(super) fn set_text(&mut self, cell: usize, text: &str) {
        let text = push(&mut self.text, text);
        self.set(cell, text, 0);
    }

    /// Appends the target of a reference. Returns `None` if it has none.
    fn add_reference(&mut self, text: &str, links: &Links<'_>) -> Option<Range<usize>> {
        let start = self.text.len();
        links.write(text, &mut self.text)?;
        Some(start..self.text.len())
    }

    /// Returns the numbers of references so far.
    pub(super) fn seen(&self) -> Seen {
        Seen { noted: self.references.len(), lost: self.lost_references }
    }

    /// Forgets all references after `seen`.
    pub(super) fn forget_references(&mut self, seen: Seen) {
        self.references.truncate(seen.noted);
        self.lost_references = seen.lost;
    }

    /// Returns the number of references by UUID for which no entry of a Bundle is known.
    pub(super) fn lost_references(&self) -> u64 {
        self.lost_references
    }

    /// Returns the text that was noted for a cell.
    pub(super) fn text(&self, cell: usize) -> Option<&str> {
        self.cells[cell].as_ref().map(|(text, _)| &self.text[text.clone()])
    }

    /// Copies the values of the first `count` cells into the cells of a row, from cell `first` on, and the values of
    /// the first `arrays` arrays.
    pub(super) fn fill(&self, cells: &mut Cells, first: usize, count: usize, arrays: usize) {
        for (cell, found) in self.cells[..count].iter().enumerate() {
            if let Some((text, _)) = found {
                cells.set_owned(first + cell, self.text[text.clone()].as_bytes());
            }
        }
        cells.clear_items();
        for array in &self.arrays[..arrays] {
            cells.push_texts(array.cells.iter().map(|text| Some(self.text[text.clone()?].as_bytes())));
        }
    }

    /// Returns the types and ids of the resources to which the resource refers. A URL of another server gives its
    /// scheme as the type, for example `https:`. No resource has this type.
    pub(super) fn references(&self) -> impl Iterator<Item = (&str, &str)> {
        self.references.iter().filter_map(|text| self.text[text.clone()].split_once('/'))
    }
}

fn push(text: &mut String, value: &str) -> Range<usize> {
    let start = text.len();
    text.push_str(value);
    start..text.len()
}

/// Returns false for a text with control characters, which a field cannot contain. The resource keeps it.
fn is_storable(text: &str) -> bool {
    !text.bytes().any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n'))
}
