//! Finds for each column of a source the columns of the spec with the same name. Letter case, spaces, underscores and
//! hyphens are ignored.

use std::collections::HashMap;

use crate::spec::{Column, ID_COLUMN, column_key};

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
    /// Indices of the columns whose name or alias is exactly `_id`.
    with_id: Vec<usize>,
    ignored: Vec<String>,
}

impl Columns {
    pub(super) fn new(columns: &[Column<'_>]) -> Self {
        let mut known = Self {
            by_column: HashMap::new(),
            by_name: HashMap::new(),
            with_id: Vec::new(),
            ignored: REJECT_COLUMNS.map(column_key).to_vec(),
        };
        for (index, column) in columns.iter().enumerate() {
            spellings(column).for_each(|spelling| known.add(spelling, index));
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

    /// Returns the indices of the spec's columns that have this name. Several kinds of documents can read the same
    /// column of the source.
    pub(super) fn of(&self, name: &str) -> &[usize] {
        if name == ID_COLUMN {
            return &self.with_id;
        }
        let key = column_key(name);
        self.by_column.get(&key).or_else(|| self.by_name.get(&key)).map_or(&[], Vec::as_slice)
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
