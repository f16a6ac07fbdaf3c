//! Checks the names of fields, groups and columns. MongoDB must allow a field's name in a document. Two fields of one
//! kind of document must not have the same column, except for FHIR resources.

use std::collections::HashMap;

use super::source::Table;
use crate::spec::shape::{parts, prefixes};
use crate::spec::{Column, Field, Group, Node, Shape, SpecError, column_key};

/// Largest number of parts in a dotted name. An array counts as one more part. MongoDB allows 100 levels of nested
/// documents. The limit is lower here because the validator of a collection is a document too, and has more levels
/// than the documents that it describes.
const DEPTH_MAX: usize = 61;

/// The fields and groups of a spec, with their TOML tables.
pub(super) struct Names<'t> {
    pub(super) fields: &'t [Field],
    pub(super) tables: Vec<Table<'t>>,
    pub(super) groups: Vec<Group>,
    pub(super) group_tables: Vec<Table<'t>>,
    pub(super) may_share_columns: bool,
}

impl Names<'_> {
    /// Checks each name and column alone, and then against all others. Notes all errors. Returns the tree of the
    /// document, or `None` if the names give no tree.
    pub(super) fn check(mut self) -> Option<Shape> {
        let mut are_right = true;
        for (field, table) in self.fields.iter().zip(&mut self.tables) {
            *table = table.named(&field.name);
            let arrays = usize::from(field.repeats);
            are_right &= table.note(check_name(&field.name, arrays, &self.groups, table)).is_some();
        }
        for (group, table) in self.groups.iter().zip(&mut self.group_tables) {
            *table = table.named(&group.name);
            are_right &= table.note(check_name(&group.name, 1, &self.groups, table)).is_some();
        }
        if !are_right {
            return None;
        }
        let documents = check_paths(self.fields, &self.tables)?;
        if !self.check_groups(&documents) {
            return None;
        }
        let shape = Shape::new(self.fields, std::mem::take(&mut self.groups));
        // In a spec for FHIR resources, two fields may read the same value.
        if !self.may_share_columns {
            self.check_columns(&shape, &shape.roots);
        }
        Some(shape)
    }

    /// Checks that each group has at least one field, and that no other group or field has the group's name. Notes all
    /// errors. Returns true if there are none.
    fn check_groups(&self, documents: &HashMap<&str, usize>) -> bool {
        let mut are_right = true;
        for (index, table) in self.group_tables.iter().enumerate() {
            are_right &= table.note(self.check_group(index, table, documents)).is_some();
        }
        are_right
    }

    fn check_group(&self, index: usize, table: &Table<'_>, documents: &HashMap<&str, usize>) -> Result<(), SpecError> {
        let Group { name, .. } = &self.groups[index];
        if self.groups[..index].iter().any(|earlier| earlier.name == *name) {
            return Err(table.wrong("name", "another group has this name", "describe each group once"));
        }
        if self.fields.iter().any(|field| field.name == *name) {
            let remedy = "a field is a value or a document, not both";
            return Err(table.wrong("name", "a field has this name", remedy));
        }
        if !documents.contains_key(name.as_str()) {
            let remedy = format!("add fields with names such as `{name}.value`, or remove the group");
            return Err(table.wrong("name", "the group has no fields", remedy));
        }
        Ok(())
    }

    /// Checks that no two fields have the same column, and notes all errors. Names that differ only in letter case,
    /// spaces, underscores and hyphens are the same.
    ///
    /// In JSON, a field's own dotted name is also a column of the field. For example, the field `a.b` is also found in
    /// `{"a": {"b": 1}}`. Therefore no other field may have the column `a.b` or `a`.
    ///
    /// The items of a repeating group are checked separately, because they have columns of their own.
    fn check_columns(&self, shape: &Shape, nodes: &[Node]) {
        let columns = shape.columns(nodes, self.fields);
        let mut owners: HashMap<String, &Column<'_>> = HashMap::new();
        for column in &columns {
            let aliases = column.aliases.iter().map(|alias| ("aliases", alias.as_str()));
            for (key, name) in std::iter::once((self.key_of(column), column.column)).chain(aliases) {
                let table = self.table_of(column);
                let key_of_name = column_key(name);
                if key_of_name.is_empty() {
                    let remedy = "write the name that the header has";
                    table.add(table.wrong(key, "a column needs letters or digits", remedy));
                } else if let Some(owner) = owners.get(&key_of_name) {
                    table.add(self.collision(shape, column, key, name, owner));
                } else {
                    owners.insert(key_of_name, column);
                }
            }
        }
        let mut names: HashMap<String, &Column<'_>> = HashMap::new();
        for column in &columns {
            let key = column_key(&column.name);
            let owner = prefixes(&column.name).map(column_key).chain([key.clone()]).find_map(|key| owners.get(&key));
            let owner = owner.filter(|owner| owner.field != column.field).copied();
            if let Some(owner) = owner.or_else(|| names.insert(key, column)) {
                self.table_of(column).add(self.collision(shape, column, "name", &column.name, owner));
            }
        }
        for column in &columns {
            if let Node::Group { children, .. } = column.node {
                self.check_columns(shape, children);
            }
        }
    }

    fn table_of(&self, column: &Column<'_>) -> &Table<'_> {
        match column.node {
            Node::Group { repeats: Some(group), .. } => &self.group_tables[*group],
            _ => &self.tables[column.field],
        }
    }

    /// Returns the TOML key that contains the column's name.
    fn key_of(&self, column: &Column<'_>) -> &'static str {
        match column.node {
            Node::Group { .. } => "repeats",
            _ if self.tables[column.field].has("column") => "column",
            _ => "name",
        }
    }

    fn collision(&self, shape: &Shape, column: &Column<'_>, key: &str, name: &str, owner: &Column<'_>) -> SpecError {
        let table = self.table_of(column);
        let ignored = "letter case, spaces, underscores and hyphens are ignored";
        if owner.field == column.field {
            return table.wrong(key, format!("`{name}` is listed already"), format!("remove it: {ignored}"));
        }
        let owner = match owner.node {
            Node::Group { repeats: Some(group), .. } => format!("the group `{}`", shape.groups[*group].name),
            _ => format!("the field `{}`", self.fields[owner.field].name),
        };
        let problem = format!("`{name}` is a column of {owner} too");
        table.wrong(key, problem, format!("use each column for one field only ({ignored})"))
    }
}

/// Checks the name of a field or group. `arrays` is 1 if the field or group is an array, otherwise 0.
fn check_name(name: &str, arrays: usize, groups: &[Group], table: &Table<'_>) -> Result<(), SpecError> {
    let is_array = |prefix: &&str| groups.iter().any(|group| group.name == **prefix);
    let problem = match name {
        "" => "the name is empty",
        _ if name.contains('\0') => "a field's name cannot contain NUL",
        _ if name.starts_with("_medlift") => "names that begin with `_medlift` are reserved for Medlift",
        _ if parts(name).next() == Some("_id") => "`_id` is computed from the identity fields",
        _ if parts(name).count() > DEPTH_MAX => "the name has more than 60 nested documents",
        _ if parts(name).any(str::is_empty) => "a part of the dotted name is empty",
        _ if parts(name).any(|part| part.starts_with('$')) => "a name cannot begin with `$`",
        _ if parts(name).count() + prefixes(name).filter(is_array).count() + arrays > DEPTH_MAX => {
            "the name has more than 60 nested documents and arrays"
        }
        _ => return Ok(()),
    };
    Err(table.wrong("name", problem, "give the field's name in the documents, e.g. \"Blood Type\" or \"result.value\""))
}

/// Checks that no name is used twice, and that no name is both a value and a document. Checks that the fields of a
/// nested document follow each other. Notes all errors. If there are none, returns the dotted names of the nested
/// documents, each with the index of the last field inside it.
fn check_paths<'f>(fields: &'f [Field], tables: &[Table<'_>]) -> Option<HashMap<&'f str, usize>> {
    let mut leaves: HashMap<&str, usize> = HashMap::new();
    let mut documents: HashMap<&str, usize> = HashMap::new();
    let mut are_right = true;
    for (index, (Field { name, .. }, table)) in fields.iter().zip(tables).enumerate() {
        are_right &= table.note(check_path(index, name, table, &mut leaves, &mut documents)).is_some();
    }
    are_right.then_some(documents)
}

fn check_path<'f>(
    index: usize,
    name: &'f str,
    table: &Table<'_>,
    leaves: &mut HashMap<&'f str, usize>,
    documents: &mut HashMap<&'f str, usize>,
) -> Result<(), SpecError> {
    let wrong = |problem: &str, remedy: &str| Err(table.wrong("name", problem, remedy));
    if leaves.insert(name, index).is_some() {
        return wrong("another field has this name", "give each field a name of its own");
    }
    if documents.contains_key(name) {
        return wrong("other fields are inside this one", "a field is a value or a document, not both");
    }
    for prefix in prefixes(name) {
        if leaves.contains_key(prefix) {
            let problem = format!("the field `{prefix}` is a value, and no field can be inside it");
            return wrong(&problem, "a field is a value or a document, not both");
        }
        if documents.insert(prefix, index).is_some_and(|last| last + 1 != index) {
            let problem = format!("the fields inside `{prefix}` do not follow each other");
            return wrong(&problem, "put all fields inside it together");
        }
    }
    Ok(())
}
