//! Finds for each column of a source the columns of the spec with the same name. Letter case, spaces, underscores and
//! hyphens are ignored.

use std::collections::{BTreeSet, HashMap};

use serde_json::value::RawValue;

use super::LayoutError;
use crate::spec::{Column, ID_COLUMN, Presence, closest, column_key};

/// The columns that a reject file has before the columns of the source. They are ignored when a corrected reject file
/// is loaded.
pub(crate) const REJECT_COLUMNS: [&str; 5] =
    ["reject_line", "reject_byte_offset", "reject_column", "reject_rule", "reject_message"];

/// Finds columns of the spec by name. They are the columns of a row, or of the items of a repeating group.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Finds columns of the spec by their name or alias in the source, in the form that [`column_key`] returns. The
    /// values are indices of the spec's columns.
    by_column: HashMap<String, Vec<usize>>,
    /// Finds columns of the spec by their name in the document. It is used if a name is not in `by_column`.
    by_name: HashMap<String, Vec<usize>>,
    /// The arrays of whose items the spec reads values, by their paths in JSON, in the form of [`column_key`].
    items: HashMap<String, Items>,
    /// Indices of the columns whose name or alias is exactly `_id`.
    with_id: Vec<usize>,
    ignored: Vec<String>,
}

/// The items of an array that the spec reads: `name[0].family` is a value of the first item, `name[*].family` one of each.
#[derive(Debug, Clone, Default)]
struct Items {
    /// Numbers of single items, from 0.
    numbers: BTreeSet<usize>,
    are_all_read: bool,
}

/// How a path names all items of an array.
pub(super) const ALL_ITEMS: &str = "[*]";

impl Columns {
    pub(super) fn new(columns: &[Column<'_>]) -> Self {
        let mut known = Self {
            by_column: HashMap::new(),
            by_name: HashMap::new(),
            items: HashMap::new(),
            with_id: Vec::new(),
            ignored: REJECT_COLUMNS.map(column_key).to_vec(),
        };
        for (index, column) in columns.iter().enumerate() {
            spellings(column).for_each(|spelling| {
                known.add(spelling, index);
                known.add_items(spelling);
            });
            note(&mut known.by_name, column_key(&column.name), index);
        }
        known
    }

    fn add(&mut self, spelling: &str, column: usize) {
        if spelling == ID_COLUMN {
            self.with_id.push(column);
        } else {
            note(&mut self.by_column, column_key(spelling), column);
        }
    }

    /// Returns the indices of the spec's columns that have this name. There can be several, because several kinds of
    /// documents can read the same column of the source.
    pub(super) fn of(&self, name: &str) -> &[usize] {
        if name == ID_COLUMN {
            return &self.with_id;
        }
        let key = column_key(name);
        self.by_column.get(&key).or_else(|| self.by_name.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// Notes the items of arrays that a path names.
    fn add_items(&mut self, path: &str) {
        for (at, _) in path.match_indices('[') {
            let item = path[at + 1..].split(']').next().unwrap_or_default();
            if let Some(number) = item.parse().ok().filter(|_| item.bytes().all(|byte| byte.is_ascii_digit())) {
                self.items.entry(column_key(&path[..at])).or_default().numbers.insert(number);
            } else if item == "*" {
                self.items.entry(column_key(&path[..at])).or_default().are_all_read = true;
            }
        }
    }

    /// Returns the items that the spec reads of a value of JSON, each with its path. `path` is the path of the value.
    /// Returns nothing if the value is not an array, or if the spec does not read its items one by one.
    pub(super) fn items_in<'v>(&self, path: &str, value: &'v str) -> Vec<(String, &'v str)> {
        if self.items.is_empty() || !value.starts_with('[') {
            return Vec::new();
        }
        let Some(read) = self.items.get(&column_key(path)) else { return Vec::new() };
        let items: Vec<&RawValue> = serde_json::from_str(value).unwrap_or_default();
        let single =
            read.numbers.iter().filter_map(|&number| Some((format!("{path}[{number}]"), items.get(number)?.get())));
        let all = items.iter().filter(|_| read.are_all_read).map(|item| (format!("{path}{ALL_ITEMS}"), item.get()));
        single.chain(all).collect()
    }

    /// Returns true if the load does not warn about this unused column. That is the case for `_id` and for the extra
    /// columns of a reject file.
    pub(super) fn is_ignored(&self, column: &str) -> bool {
        column == ID_COLUMN || self.ignored.contains(&column_key(column))
    }
}

/// Returns the names of a column: the name in the spec, then the aliases.
pub(super) fn spellings<'c>(column: &'c Column<'_>) -> impl Iterator<Item = &'c str> {
    std::iter::once(column.column).chain(column.aliases.iter().map(String::as_str))
}

fn note(columns: &mut HashMap<String, Vec<usize>>, key: String, column: usize) {
    let columns = columns.entry(key).or_default();
    if !columns.contains(&column) {
        columns.push(column);
    }
}

/// Returns true if `name`, which a user wrote, means this column.
pub(super) fn is_named(column: &Column<'_>, name: &str) -> bool {
    let key = column_key(name);
    spellings(column).chain([column.name.as_str()]).any(|spelling| column_key(spelling) == key)
}

/// Returns for each column of the spec the columns of the source that have its name.
pub(super) fn sources_of(columns: &[Column<'_>], names: &Columns, header: &[String]) -> Vec<Vec<usize>> {
    let mut sources = vec![Vec::new(); columns.len()];
    for (cell, name) in header.iter().enumerate() {
        names.of(name).iter().for_each(|&column| sources[column].push(cell));
    }
    sources
}

/// Checks that the source has every column that is not optional. `spec` is the name of the spec's text, for messages.
pub(super) fn check_columns(
    spec: &str,
    columns: &[Column<'_>],
    names: &Columns,
    header: &[String],
    sources: &[Vec<usize>],
) -> Result<(), LayoutError> {
    let spec = spec.to_owned();
    if sources.iter().all(Vec::is_empty) {
        let expected = columns.iter().map(|column| column.column.to_owned()).collect();
        return Err(LayoutError::NoKnownColumn { spec, columns: header.len(), expected });
    }
    let is_missing =
        |(column, sources): &(&Column<'_>, &Vec<usize>)| column.presence != Presence::Optional && sources.is_empty();
    let missing: Vec<&Column<'_>> = columns.iter().zip(sources).filter(is_missing).map(|(column, _)| column).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let unused = unknown(names, header);
    let similar = |column: &&Column<'_>| {
        let found = spellings(column).find_map(|spelling| similar_column(spelling, &unused))?;
        Some((column.column.to_owned(), found.to_owned()))
    };
    Err(LayoutError::MissingColumns {
        spec,
        similar: missing.iter().filter_map(similar).collect(),
        missing: missing.iter().map(|column| column.column.to_owned()).collect(),
        seen: header.to_vec(),
    })
}

/// Returns the column whose name is most similar. Short names such as `Foo` and `Room` differ in few letters, so the
/// first letter must be the same.
fn similar_column<'c>(name: &str, columns: &'c [String]) -> Option<&'c str> {
    let first = |name: &str| column_key(name).chars().next();
    closest(name, columns.iter().map(String::as_str).filter(|column| first(column) == first(name)))
}

/// Checks that no field has two columns, and that no two columns have the same name. Columns that no field uses are
/// checked too. Columns without a name and ignored columns, such as `_id`, may occur twice.
pub(super) fn check_twice(columns: &Columns, header: &[String], sources: &[Vec<usize>]) -> Result<(), LayoutError> {
    let twice = |cells: &[usize]| {
        Err(LayoutError::ColumnTwice { columns: cells.iter().map(|&cell| header[cell].clone()).collect() })
    };
    if let Some(cells) = sources.iter().find(|cells| cells.len() > 1) {
        return twice(cells);
    }
    let keys: Vec<String> = header.iter().map(|name| column_key(name)).collect();
    for (cell, key) in keys
        .iter()
        .enumerate()
        .filter(|(_, key)| !key.is_empty())
        .filter(|&(cell, _)| !columns.is_ignored(&header[cell]))
    {
        // `_id` and `id` have the same key but are different columns.
        let is_same =
            |&other: &usize| keys[other] == *key && header[other].starts_with("_id") == header[cell].starts_with("_id");
        if let Some(first) = (0..cell).find(is_same) {
            return twice(&[first, cell]);
        }
    }
    Ok(())
}

/// Returns the names that no column of the spec has. `_id` and the extra columns of a reject file are left out.
pub(super) fn unknown(names: &Columns, header: &[String]) -> Vec<String> {
    header.iter().filter(|name| names.of(name).is_empty() && !names.is_ignored(name)).cloned().collect()
}
