//! Parses JSON objects: plain JSON, and MongoDB Extended JSON v2, relaxed or canonical (MongoDB specification
//! `source/extended-json`). Each value becomes the text that a CSV cell would contain. Numbers keep their digits, for
//! example `1.50`.

mod value;
mod walk;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use self::walk::walk;
use super::columns::{ALL_ITEMS, Columns, spellings};
use crate::parse::parser::LOST_CHARACTER;
use crate::parse::{Cells, Format};
use crate::reject::{Reason, Reject};
use crate::spec::{Column, Field, ID_COLUMN, Node, Spec, column_key};

pub(super) use self::value::{Spelling, Text, is_nested, reject, scalar};
pub(super) use self::walk::byte_of;

/// Largest nesting depth of objects and arrays. MongoDB allows the same depth in a document.
pub(super) const DEPTH_MAX: usize = 100;
/// Largest number of keys that are remembered. A source with more keys probably uses data as keys.
const KEYS_MAX: usize = 10_000;

/// Assigns the keys of an object to cells. The object is a row, or an item of a repeating group. The first 10,000 keys
/// are remembered, so that each of them is looked up in `columns` only once.
#[derive(Debug, Clone)]
pub(super) struct Json {
    columns: Columns,
    /// For each key that is remembered, the indices of the cells that get its value.
    known: HashMap<String, Vec<usize>>,
    slots: Slots,
    /// True if each row is a line. If false, a row can have several lines.
    is_line: bool,
}

/// The cells of an object: one for each column. If two kinds of documents read the same column, their fields share its
/// cell. `Blood Type` and `blood_type` are the same column.
#[derive(Debug, Clone)]
pub(super) struct Slots {
    /// For each column of the spec, the index of its cell.
    pub(super) of_column: Vec<usize>,
    /// For each cell, the first field that reads it.
    pub(super) first_field: Vec<usize>,
    /// For each cell, the name of its column.
    pub(super) names: Vec<String>,
    spellings: Vec<Spelling>,
}

impl Slots {
    pub(super) fn new(columns: &[Column<'_>], fields: &[Field]) -> Self {
        let (of_column, first_field) = (Vec::new(), Vec::new());
        let mut slots = Self { of_column, first_field, names: Vec::new(), spellings: Vec::new() };
        let mut known: HashMap<String, usize> = HashMap::new();
        for column in columns {
            let spelling = Spelling::of_column(column, fields);
            // `_id` and `id` are different columns.
            let key = if column.column == ID_COLUMN { ID_COLUMN.to_owned() } else { column_key(column.column) };
            let slot = *known.entry(key).or_insert(slots.spellings.len());
            if let Some(shared) = slots.spellings.get_mut(slot) {
                shared.join(spelling);
            } else {
                slots.spellings.push(spelling);
                slots.first_field.push(column.field);
                slots.names.push(column.column.to_owned());
            }
            slots.of_column.push(slot);
        }
        slots
    }

    /// Returns the name of the first column whose fields need different notations, for example `1.5` and `1,5`. Returns
    /// `None` if there is no such column.
    pub(super) fn contradictory(&self) -> Option<&str> {
        let slot = self.spellings.iter().position(|spelling| spelling.is_contradictory)?;
        Some(&self.names[slot])
    }
}

impl Json {
    pub(super) fn new(columns: &[Column<'_>], fields: &[Field]) -> Self {
        let (columns, slots) = (Columns::new(columns), Slots::new(columns, fields));
        Self { columns, known: HashMap::new(), slots, is_line: true }
    }

    /// Allows a row to have several lines. Messages then say "object" instead of "line", and "byte" instead of
    /// "column".
    pub(super) fn of_documents(self) -> Self {
        Self { is_line: false, ..self }
    }

    pub(super) fn width(&self) -> usize {
        self.slots.spellings.len()
    }

    /// Returns the first field that reads a cell.
    pub(super) fn field_of(&self, slot: usize) -> usize {
        self.slots.first_field[slot]
    }

    /// Returns the name of the column of a cell.
    pub(super) fn name_of(&self, slot: usize) -> &str {
        &self.slots.names[slot]
    }

    /// Returns the keys that no column uses, in alphabetical order. Only the first 10,000 keys are examined. Ignored
    /// names such as `_id` are left out.
    pub(super) fn unknown(&self) -> Vec<&str> {
        let mut unknown: Vec<&str> =
            self.known.iter().filter(|(_, slots)| slots.is_empty()).map(|(path, _)| path.as_str()).collect();
        unknown.retain(|path| {
            let is_inside = |other: &String| other.strip_prefix(path).is_some_and(|rest| rest.starts_with(['.', '[']));
            !self.columns.is_ignored(path) && !self.known.keys().any(is_inside)
        });
        unknown.sort_unstable();
        unknown
    }

    /// Parses the values of `row` into `cells`, one per column. If `row` is not UTF-8 or not a JSON object, its whole
    /// text becomes the only cell.
    pub(super) fn parse(&mut self, row: &[u8], cells: &mut Cells) -> Result<(), Reject> {
        cells.clear_for(self.width());
        match self.parse_text(row, cells) {
            Err(reject) => {
                cells.end_with(0, &(0..row.len()));
                Err(reject)
            }
            // The refused value gets a U+FFFD in front. Without this mark, the row could be accepted when the reject
            // file is loaded, although nobody has corrected it.
            Ok(Some((slot, reject))) => {
                let marked = [LOST_CHARACTER, cells.get(row, slot)].concat();
                cells.set_owned(slot, &marked);
                Err(reject)
            }
            Ok(None) => Ok(()),
        }
    }

    fn parse_text(&mut self, row: &[u8], cells: &mut Cells) -> Result<Option<(usize, Reject)>, Reject> {
        let row = std::str::from_utf8(row).map_err(|error| {
            let row = if self.is_line { "line" } else { "object" };
            let message = format!("byte {} of the {row} is not valid UTF-8", error.valid_up_to() + 1);
            reject(None, Reason::Undecodable, message)
        })?;
        self.fill(row, 0, 1, cells).map_err(|byte| self.not_an_object(byte))
    }

    /// Returns the end of the message for a row that is too long. If each row is a line, the cause of its length is
    /// unknown.
    pub(super) const fn cause_of_length(&self) -> &'static str {
        if self.is_line {
            ""
        } else {
            "; perhaps a bracket in it is never closed, so that the objects after it became part of the row"
        }
    }

    /// Creates the reject for a row that is not one JSON object. `byte` is the wrong byte of the row, counted from 1.
    fn not_an_object(&self, byte: usize) -> Reject {
        let message = if self.is_line {
            format!("the line is not one JSON object: see its column {byte}")
        } else {
            format!("not one JSON object: see its byte {byte}")
        };
        reject(None, Reason::NotJson, message)
    }

    /// Parses the values of the object `text[start..]` into `cells`. `depth` is the number of objects and arrays around
    /// these values, including this object. If a value cannot become a cell, the other values are still parsed. Returns
    /// the cell and the reject of the first such value.
    ///
    /// # Errors
    /// The text is not a JSON object, or has too many levels. The error is the number of the wrong byte of `text`,
    /// counted from 1.
    pub(super) fn fill(
        &mut self,
        text: &str,
        start: usize,
        depth: usize,
        cells: &mut impl SetCells,
    ) -> Result<Option<(usize, Reject)>, usize> {
        let mut filling = Filling { json: self, row: text, cells, collected: BTreeMap::new(), refusal: None };
        walk(&text[start..], start, &mut |key, value| filling.take(&key, value.get(), depth))?;
        for (slot, items) in std::mem::take(&mut filling.collected) {
            filling.set(slot, &Text::Owned(format!("[{items}]")));
        }
        Ok(filling.refusal)
    }

    /// Returns the indices of the cells that get the value at `path`.
    fn slots_of(&mut self, path: &str) -> Cow<'_, [usize]> {
        if self.known.contains_key(path) {
            return Cow::Borrowed(&self.known[path]);
        }
        let mut slots: Vec<usize> = self.columns.of(path).iter().map(|&column| self.slots.of_column[column]).collect();
        slots.sort_unstable();
        slots.dedup();
        if self.known.len() < KEYS_MAX {
            self.known.insert(path.to_owned(), slots.clone());
        }
        Cow::Owned(slots)
    }
}

/// Returns the position of `part` in `text`. `part` must be a slice of `text`.
pub(super) fn place_in(text: &str, part: &str) -> usize {
    part.as_ptr() as usize - text.as_ptr() as usize
}

/// Cells that can be set in any order: those of a row, or those of an item.
pub(super) trait SetCells {
    fn is_set(&self, slot: usize) -> bool;
    /// Sets a cell to a range of the text that is parsed.
    fn set_borrowed(&mut self, slot: usize, range: &Range<usize>);
    fn set_owned(&mut self, slot: usize, text: &[u8]);
}

impl SetCells for Cells {
    fn is_set(&self, slot: usize) -> bool {
        Self::is_set(self, slot)
    }

    fn set_borrowed(&mut self, slot: usize, range: &Range<usize>) {
        Self::set_borrowed(self, slot, range);
    }

    fn set_owned(&mut self, slot: usize, text: &[u8]) {
        Self::set_owned(self, slot, text);
    }
}

/// The object that is being parsed, and its cells.
struct Filling<'f, C> {
    json: &'f mut Json,
    row: &'f str,
    cells: &'f mut C,
    /// The cells of columns such as `name[*].family`, each with the JSON texts of the values found so far.
    collected: BTreeMap<usize, String>,
    /// The cell and the reject of the first value that cannot become a cell.
    refusal: Option<(usize, Reject)>,
}

impl<'f, C: SetCells> Filling<'f, C> {
    /// Sets the cells that get the value at `path`. If the value is an object and no cell gets it, does the same with
    /// the values inside the object, and also with the items of an array if a column names them. `depth` is the number of objects and arrays around the value.
    fn take(&mut self, path: &str, value: &'f str, depth: usize) -> Result<(), usize> {
        let slots = self.json.slots_of(path).len();
        let items = self.json.columns.items_in(path, value);
        if slots == 0 && items.is_empty() {
            return if is_nested(value) { self.descend(path, value, depth) } else { Ok(()) };
        }
        for place in 0..slots {
            let slot = self.json.slots_of(path)[place];
            if path.contains(ALL_ITEMS) {
                self.collect(slot, value);
            } else {
                let text = self.text_of(value, slot);
                self.set(slot, &text);
            }
        }
        items.into_iter().try_for_each(|(path, item)| self.take(&path, item, depth + 1))
    }

    /// Adds a value to the array of a cell. If the value is an array, adds its items.
    fn collect(&mut self, slot: usize, value: &str) {
        let inside = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let items = inside.unwrap_or(value).trim();
        let collected = self.collected.entry(slot).or_default();
        if !collected.is_empty() && !items.is_empty() {
            collected.push(',');
        }
        collected.push_str(items);
    }

    /// Returns the text of a value in the notation of a cell.
    fn text_of(&mut self, value: &'f str, slot: usize) -> Text<'f> {
        if self.json.slots.spellings[slot].is_array {
            return Text::Borrowed(value);
        }
        let text = scalar(value).unwrap_or_else(|refusal| {
            self.refuse(slot, refusal);
            Text::Borrowed(value)
        });
        self.json.slots.spellings[slot].spell(value, text)
    }

    fn descend(&mut self, path: &str, value: &'f str, depth: usize) -> Result<(), usize> {
        let base = place_in(self.row, value);
        if depth >= DEPTH_MAX {
            return Err(base + 1);
        }
        walk(value, base, &mut |key, inner| self.take(&format!("{path}.{key}"), inner.get(), depth + 1))
    }

    fn set(&mut self, slot: usize, text: &Text<'f>) {
        if self.cells.is_set(slot) {
            self.refuse(slot, reject(None, Reason::NotJson, "the object gives this field twice"));
            return;
        }
        match text {
            Text::Borrowed("") => self.cells.set_borrowed(slot, &(0..0)),
            Text::Borrowed(text) => {
                let start = place_in(self.row, text);
                self.cells.set_borrowed(slot, &(start..start + text.len()));
            }
            Text::Owned(text) => self.cells.set_owned(slot, text.as_bytes()),
        }
    }

    fn refuse(&mut self, slot: usize, refusal: Reject) {
        let field = Some(self.json.slots.first_field[slot]);
        self.refusal.get_or_insert((slot, Reject { field, ..refusal }));
    }
}

/// Returns a column whose path names several values, as in `name[*].family`, but that cannot have them: only a list or a
/// repeating group outside other groups can.
pub(super) fn without_place_for_all(spec: &Spec, columns: &[Column<'_>]) -> Option<String> {
    let is_for_all = |column: &Column<'_>| spellings(column).any(|path| path.contains(ALL_ITEMS));
    let inner = columns.iter().filter_map(|column| match column.node {
        Node::Group { children, .. } => spec.columns_of(children).into_iter().find(is_for_all),
        _ => None,
    });
    let outer = columns.iter().find(|column| is_for_all(column) && !column.node.is_array());
    outer.map(|column| column.column.to_owned()).or_else(|| inner.map(|column| column.column.to_owned()).next())
}

/// Returns the paths of the values in the sample's rows, in the order of their first occurrence. At most 10,000 paths
/// are returned. If a row is not valid JSON, its paths before the error are included.
pub(super) fn keys(columns: &Columns, format: Format, sample: &[u8]) -> Vec<String> {
    let mut keys = Keys { columns, seen: HashMap::new() };
    for span in format.rows(sample) {
        if let Ok(row) = std::str::from_utf8(&sample[span.start as usize..span.end as usize]) {
            // An error in a damaged row is ignored, because the keys before it are useful.
            let _ = walk(row, 0, &mut |key, value| keys.see(&key, value.get(), 1));
        }
    }
    let mut keys: Vec<(String, usize)> = keys.seen.into_iter().collect();
    keys.sort_by_key(|&(_, order)| order);
    keys.into_iter().map(|(key, _)| key).collect()
}

struct Keys<'k> {
    columns: &'k Columns,
    seen: HashMap<String, usize>,
}

impl Keys<'_> {
    fn see(&mut self, path: &str, value: &str, depth: usize) -> Result<(), usize> {
        let items = self.columns.items_in(path, value);
        if !items.is_empty() {
            items.into_iter().try_for_each(|(path, item)| self.see(&path, item, depth + 1))?;
            if self.columns.of(path).is_empty() {
                return Ok(());
            }
        }
        if is_nested(value) && depth < DEPTH_MAX && self.columns.of(path).is_empty() {
            return walk(value, 0, &mut |key, inner| self.see(&format!("{path}.{key}"), inner.get(), depth + 1));
        }
        if self.seen.len() < KEYS_MAX && !self.seen.contains_key(path) {
            self.seen.insert(path.to_owned(), self.seen.len());
        }
        Ok(())
    }
}
