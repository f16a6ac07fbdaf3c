//! Parses arrays. The cell of a list or of a repeating group contains a JSON array as text. Each item of the array
//! becomes cells: one cell for an item of a list, and one cell per column for an item of a repeating group. FHIR is an
//! exception: the module `fhir` makes these cells itself, without JSON text.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Cells;
use super::cells::ItemsOf;
use super::json::{DEPTH_MAX, Json, SetCells, Spelling, Text, is_nested, place_in, reject, scalar};
use crate::reject::{Reason, Reject};
use crate::spec::{Column, Node, Spec, trim};

/// MongoDB's limit for one document, in bytes. If the items of one document need more, the row is refused before its
/// remaining items use memory.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Smallest size of a BSON element without its name: one byte for the type and one for the end of the name.
const ELEMENT_BYTES_MIN: usize = 2;

/// Parses the arrays in the rows of a source.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrays {
    /// The arrays among the spec's columns. The arrays of one kind of document follow each other.
    arrays: Vec<RowArray>,
}

/// An array that is a column of the source.
#[derive(Debug, Clone)]
struct RowArray {
    /// Index of the cell that contains the array. `None` if the source lacks the column.
    cell: Option<usize>,
    /// The number of the kind of document that contains the array, from 0.
    document: usize,
    array: Array,
}

/// One array of the spec, and how its items are parsed.
#[derive(Debug, Clone)]
struct Array {
    /// Index of the field. For a repeating group, the index of its first field.
    field: usize,
    /// The name of the array's column, in the source or in the items of the group around it.
    column: String,
    item: Item,
    /// Smallest size of an item in the document, in bytes.
    item_bytes_min: usize,
}

#[derive(Debug, Clone)]
enum Item {
    Value(Spelling),
    /// An item of a repeating group, and the arrays inside it. Each array has the index of its cell in the item.
    Object(Box<Json>, Vec<(usize, Array)>),
}

impl Arrays {
    /// Creates the parser for the arrays of a spec. `cell_of_field` has the index of each field's cell.
    pub(super) fn new(spec: &Spec, cell_of_field: &[Option<usize>]) -> Self {
        let row_array = |(_, array): (usize, Array)| RowArray {
            cell: cell_of_field[array.field],
            document: spec.shape.document_of(array.field),
            array,
        };
        Self { arrays: arrays_of(spec, &spec.columns()).into_iter().map(row_array).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.arrays.is_empty()
    }

    /// Parses the arrays of a row. An array without a column in the source has no items.
    pub(super) fn parse(&mut self, row: &[u8], cells: &mut Cells) -> Result<(), Reject> {
        cells.clear_items();
        let mut present = 0;
        for RowArray { cell, document, array } in &mut self.arrays {
            if *document != present {
                present = *document;
                cells.begin_document();
            }
            let range = match *cell {
                None => 0..0,
                Some(cell) => {
                    let (text, mut items) = cells.for_array(row, cell);
                    let undecodable = |_| reject(Some(array.field), Reason::Undecodable, "expected valid text");
                    let text = std::str::from_utf8(text).map_err(undecodable)?;
                    array.parse(text, 0..text.len(), 1, &mut items)?
                }
            };
            cells.push_array(range);
        }
        Ok(())
    }

    /// Calls `see` with the field and the text of each value inside the arrays of a parsed row.
    pub(super) fn each_value(&self, row: &str, cells: &Cells, see: &mut impl FnMut(usize, &str)) {
        for (index, RowArray { array, .. }) in self.arrays.iter().enumerate() {
            array.each_value(row, cells, cells.array(index), see);
        }
    }

    /// Returns the unused keys in the items parsed so far, for example `identifier[].use`.
    pub(super) fn unknown_keys(&self) -> Vec<String> {
        let mut unknown = Vec::new();
        for RowArray { array, .. } in &self.arrays {
            array.add_unknown("", &mut unknown);
        }
        unknown
    }
}

/// Returns the arrays among the columns, each with the index of its column.
fn arrays_of(spec: &Spec, columns: &[Column<'_>]) -> Vec<(usize, Array)> {
    let array = |column: &Column<'_>| {
        // In BSON, the name of an item is its number in the array. It has at least one digit.
        let mut item_bytes_min = ELEMENT_BYTES_MIN + 1;
        let item = match column.node {
            Node::Leaf { .. } => return None,
            Node::List { field, .. } => Item::Value(Spelling::of(&spec.fields[*field])),
            Node::Group { children, .. } => {
                let columns = spec.columns_of(children);
                let element = |column: &Column<'_>| ELEMENT_BYTES_MIN + column.node.name().len();
                item_bytes_min += columns.iter().map(element).sum::<usize>();
                Item::Object(Box::new(Json::new(&columns, &spec.fields)), arrays_of(spec, &columns))
            }
        };
        Some(Array { field: column.field, column: column.column.to_owned(), item, item_bytes_min })
    };
    columns.iter().enumerate().filter_map(|(index, column)| Some((index, array(column)?))).collect()
}

impl Item {
    /// Returns the number of cells of one item.
    fn width(&self) -> usize {
        match self {
            Self::Value(_) => 1,
            Self::Object(json, _) => json.width(),
        }
    }
}

impl Array {
    /// Parses the JSON array in `text[range]` and returns the range of its items' cells. `depth` is the number of
    /// objects and arrays around the array.
    fn parse(
        &mut self,
        text: &str,
        range: Range<usize>,
        depth: usize,
        items: &mut ItemsOf<'_>,
    ) -> Result<Range<usize>, Reject> {
        let first = items.len();
        let cell = &text[range];
        let array = trim(cell);
        if array.is_empty() || array == "null" {
            return Ok(first..first);
        }
        if !array.starts_with('[') {
            let item = if matches!(self.item, Item::Value(_)) { "[\"a\", \"b\"]" } else { "[{…}, {…}]" };
            return Err(self.refuse(format!("expected a JSON array, e.g. {item}")));
        }
        let mut refusal = None;
        let mut number = 0;
        let walked = walk(array, &mut |value| {
            number += 1;
            let added = self.add(text, value, depth, items);
            added.map_err(|reject| refusal = Some(reject.in_item(number)))
        });
        if let Err(byte) = walked {
            let byte = place_in(cell, array) + byte;
            let not_json = || self.refuse(format!("expected a JSON array: see byte {byte} of the cell"));
            return Err(refusal.unwrap_or_else(not_json));
        }
        let cells = first..items.len();
        self.parse_inner(text, cells.clone(), depth, items)?;
        Ok(cells)
    }

    /// Adds the cells of one item. If the item contains an array, the text of this array becomes a cell. `parse_inner`
    /// parses this text later.
    fn add(&mut self, text: &str, value: &str, depth: usize, items: &mut ItemsOf<'_>) -> Result<(), Reject> {
        let field = self.field;
        let at = items.len();
        if items.push_empty(self.item.width(), self.item_bytes_min) > DOCUMENT_BYTES_MAX {
            let message = "expected fewer items: the document would be larger than 16 MiB, MongoDB's limit";
            return Err(reject(Some(field), Reason::DocumentTooLarge, message));
        }
        match &mut self.item {
            Item::Value(spelling) => {
                let scalar = scalar(value).map_err(|refusal| Reject { field: Some(field), ..refusal })?;
                match spelling.spell(value, scalar) {
                    Text::Borrowed("") => items.set_borrowed(at, &(0..0)),
                    Text::Borrowed(part) => {
                        let start = place_in(text, part);
                        items.set_borrowed(at, &(start..start + part.len()));
                    }
                    Text::Owned(owned) => items.set_owned(at, owned.as_bytes()),
                }
                Ok(())
            }
            Item::Object(json, _) => {
                if !is_nested(value) {
                    return Err(self.refuse("expected an object".to_owned()));
                }
                let start = place_in(text, value);
                let end = start + value.len();
                match json.fill(&text[..end], start, depth + 2, &mut Row { items, at }) {
                    Ok(None) => Ok(()),
                    Ok(Some((slot, refusal))) => Err(refusal.in_key(json.name_of(slot))),
                    Err(_) => Err(self.refuse(format!("expected at most {DEPTH_MAX} levels of objects and arrays"))),
                }
            }
        }
    }

    /// Parses the arrays inside items. `cells` is the range of the items' cells.
    fn parse_inner(
        &mut self,
        text: &str,
        cells: Range<usize>,
        depth: usize,
        items: &mut ItemsOf<'_>,
    ) -> Result<(), Reject> {
        let Item::Object(json, arrays) = &mut self.item else { return Ok(()) };
        for (column, array) in arrays {
            for (number, row) in cells.clone().step_by(json.width()).enumerate() {
                if let Some(range) = items.range_of(row + *column) {
                    let inner = array.parse(text, range, depth + 2, items);
                    let inner = inner.map_err(|reject| reject.in_key(&array.column).in_item(number + 1))?;
                    items.set_array(row + *column, &inner);
                }
            }
        }
        Ok(())
    }

    fn refuse(&self, message: String) -> Reject {
        reject(Some(self.field), Reason::NotJson, message)
    }

    fn each_value(&self, row: &str, cells: &Cells, range: Range<u32>, see: &mut impl FnMut(usize, &str)) {
        for (place, cell) in range.enumerate() {
            let (field, inner) = match &self.item {
                Item::Value(_) => (self.field, None),
                Item::Object(json, arrays) => {
                    let column = place % json.width();
                    (json.field_of(column), arrays.iter().find(|(index, _)| *index == column))
                }
            };
            match inner {
                Some((_, array)) => array.each_value(row, cells, cells.array_in_item(cell), see),
                None => cells.item_text(row, cell).into_iter().for_each(|(text, _)| see(field, text)),
            }
        }
    }

    fn add_unknown(&self, prefix: &str, unknown: &mut Vec<String>) {
        let Item::Object(json, arrays) = &self.item else { return };
        let prefix = format!("{prefix}{}[].", self.column);
        unknown.extend(json.unknown().into_iter().map(|path| format!("{prefix}{path}")));
        for (_, array) in arrays {
            array.add_unknown(&prefix, unknown);
        }
    }
}

/// The cells of one item. The first of them has the index `at`.
struct Row<'r, 'i> {
    items: &'r mut ItemsOf<'i>,
    at: usize,
}

impl SetCells for Row<'_, '_> {
    fn is_set(&self, column: usize) -> bool {
        self.items.is_set(self.at + column)
    }

    fn set_borrowed(&mut self, column: usize, range: &Range<usize>) {
        self.items.set_borrowed(self.at + column, range);
    }

    fn set_owned(&mut self, column: usize, text: &[u8]) {
        self.items.set_owned(self.at + column, text);
    }
}

/// Calls `see` with the text of each item of a JSON array, until `see` returns an error.
///
/// # Errors
/// `see` returned an error, or the text is not a JSON array. In the second case, the error is the number of the wrong
/// byte, counted from 1.
fn walk<'t>(text: &'t str, see: &mut See<'_, 't>) -> Result<(), usize> {
    let mut json = serde_json::Deserializer::from_str(text);
    let walked = json.deserialize_seq(Walk { see }).and_then(|()| json.end());
    walked.map_err(|error| super::json::byte_of(text, &error))
}

type See<'s, 't> = dyn FnMut(&'t str) -> Result<(), ()> + 's;

struct Walk<'w, 's, 't> {
    see: &'w mut See<'s, 't>,
}

impl<'t> Visitor<'t> for Walk<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'t>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(value) = items.next_element::<&'t RawValue>()? {
            (self.see)(value.get()).map_err(|()| A::Error::custom("stopped"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
