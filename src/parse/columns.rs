//! Which column feeds which field: by name, whatever its case, spaces, underscores and hyphens.

use std::collections::HashMap;

use crate::spec::{Field, Spec, column_key};

/// The columns that a reject file puts before a row's own: a corrected reject file is loaded as it is, without them.
pub const REJECT_COLUMNS: [&str; 5] =
    ["reject_line", "reject_byte_offset", "reject_column", "reject_rule", "reject_message"];

/// `MongoDB`'s own key: never a field's column unless the spec spells it exactly so, though `id` is a common column.
const ID_COLUMN: &str = "_id";

/// The columns that a spec's fields ask for.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    /// Fields by the key of their column and its aliases.
    by_column: HashMap<String, Vec<usize>>,
    /// Fields by the key of their own name, for columns that no field asks for by column.
    by_name: HashMap<String, Vec<usize>>,
    /// Fields whose column is literally `_id`.
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

    /// Indices of the fields that a column of that name feeds.
    pub(super) fn fields_of(&self, column: &str) -> &[usize] {
        if column == ID_COLUMN {
            return &self.id_fields;
        }
        let key = column_key(column);
        self.by_column.get(&key).or_else(|| self.by_name.get(&key)).map_or(&[], Vec::as_slice)
    }

    /// Whether a column that feeds no field needs no mention: it is a reject file's own, or `MongoDB`'s key.
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

/// Whether a name that a user gave means this field.
pub(super) fn is_named(field: &Field, name: &str) -> bool {
    let key = column_key(name);
    spellings(field).chain([field.name.as_str()]).any(|spelling| column_key(spelling) == key)
}
