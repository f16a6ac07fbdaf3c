//! Assigns columns to fields by name. Letter case, spaces, underscores and hyphens are ignored.

use std::collections::HashMap;

use crate::spec::{Field, Spec, column_key};

/// The columns that a reject file has before the source's own columns. They are ignored when a corrected reject file
/// is loaded.
pub const REJECT_COLUMNS: [&str; 5] =
    ["reject_line", "reject_byte_offset", "reject_column", "reject_rule", "reject_message"];

/// MongoDB's own key. A column `_id` belongs to a field only if the spec spells it exactly so, because `id` is a
/// common column name and would otherwise match.
const ID_COLUMN: &str = "_id";

/// The columns that the fields of a spec use.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Fields by the key of their column and of their aliases.
    by_column: HashMap<String, Vec<usize>>,
    /// Fields by the key of their own name. Used for columns that no field names as its column or alias.
    by_name: HashMap<String, Vec<usize>>,
    /// Fields whose column or alias is exactly `_id`.
    id_fields: Vec<usize>,
    ignored: Vec<String>,
}

impl Columns {
    pub(super) fn new(spec: &Spec) -> Self {
        let mut columns = Self {
            by_column: HashMap::new(),
            by_name: HashMap::new(),
            id_fields: Vec::new(),
            ignored: REJECT_COLUMNS.map(column_key).to_vec(),
        };
        for (index, field) in spec.fields.iter().enumerate() {
            spellings(field).for_each(|spelling| columns.add(spelling, index));
            note(&mut columns.by_name, column_key(&field.name), index);
        }
        columns
    }

    fn add(&mut self, spelling: &str, field: usize) {
        if spelling == ID_COLUMN {
            self.id_fields.push(field);
        } else {
            note(&mut self.by_column, column_key(spelling), field);
        }
    }

    /// Returns the indices of the fields that read the column with this name.
    pub(super) fn fields_of(&self, column: &str) -> &[usize] {
        if column == ID_COLUMN {
            return &self.id_fields;
        }
        let key = column_key(column);
        self.by_column.get(&key).or_else(|| self.by_name.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// Returns true if an unused column needs no warning: it belongs to a reject file, or is MongoDB's key.
    pub(super) fn is_ignored(&self, column: &str) -> bool {
        column == ID_COLUMN || self.ignored.contains(&column_key(column))
    }
}

fn spellings(field: &Field) -> impl Iterator<Item = &str> {
    field.aliases.iter().map(String::as_str).chain([field.column.as_str()])
}

fn note(fields: &mut HashMap<String, Vec<usize>>, key: String, field: usize) {
    let fields = fields.entry(key).or_default();
    if !fields.contains(&field) {
        fields.push(field);
    }
}

/// Returns true if the name that a user gave refers to this field.
pub(super) fn is_named(field: &Field, name: &str) -> bool {
    let key = column_key(name);
    spellings(field).chain([field.name.as_str()]).any(|spelling| column_key(spelling) == key)
}
