//! Checks the names of fields, groups and columns: the server must allow the names in a document, and a header must
//! identify each column.

use std::collections::HashMap;

use super::source::Table;
use crate::spec::shape::{parts, prefixes};
use crate::spec::{Column, Field, Group, Node, Shape, SpecError, column_key};

/// Largest number of parts in a dotted name. An array counts as one more part. The server allows 100 levels in a
/// document, and a validator needs two levels for each level of the document.
const DEPTH_MAX: usize = 61;

/// Fields and groups with their TOML tables.
pub(super) struct Names<'t> {
    pub(super) fields: &'t [Field],
    pub(super) tables: Vec<Table<'t>>,
    pub(super) groups: Vec<Group>,
    pub(super) group_tables: Vec<Table<'t>>,
}

impl Names<'_> {
    /// Checks every name and column, alone and against the others. Returns the tree of the document.
    pub(super) fn check(mut self) -> Result<Shape, SpecError> {
        for (field, table) in self.fields.iter().zip(&mut self.tables) {
            *table = table.named(&field.name);
            check_name(&field.name, usize::from(field.repeats), &self.groups, table)?;
        }
        for (group, table) in self.groups.iter().zip(&mut self.group_tables) {
            *table = table.named(&group.name);
            check_name(&group.name, 1, &self.groups, table)?;
        }
        let documents = check_paths(self.fields, &self.tables)?;
        self.check_groups(&documents)?;
        let shape = Shape::new(self.fields, std::mem::take(&mut self.groups));
        self.check_columns(&shape, &shape.roots)?;
        Ok(shape)
    }

    /// Checks that each group has a name of its own, and fields.
    fn check_groups(&self, documents: &HashMap<&str, usize>) -> Result<(), SpecError> {
        for (index, (Group { name, .. }, table)) in self.groups.iter().zip(&self.group_tables).enumerate() {
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
        }
        Ok(())
    }

    /// Checks that no two columns or aliases have the same key, which ignores letter case and separators. In JSON, a
    /// field can also be found by its own name. Therefore its name, and the documents that enclose it, must not be the
    /// column of another field either. The items of a repeating group have columns of their own.
    fn check_columns(&self, shape: &Shape, nodes: &[Node]) -> Result<(), SpecError> {
        let columns = shape.columns(nodes, self.fields);
        let mut owners: HashMap<String, &Column<'_>> = HashMap::new();
        for column in &columns {
            let aliases = column.aliases.iter().map(|alias| ("aliases", alias.as_str()));
            for (key, name) in std::iter::once((self.key_of(column), column.column)).chain(aliases) {
                let key_of_name = column_key(name);
                if key_of_name.is_empty() {
                    let remedy = "write it as the header does";
                    return Err(self.table_of(column).wrong(key, "a column needs letters or digits", remedy));
                }
                if let Some(owner) = owners.insert(key_of_name, column) {
                    return Err(self.collision(shape, column, key, name, owner));
                }
            }
        }
        let mut names: HashMap<String, &Column<'_>> = HashMap::new();
        for column in &columns {
            let key = column_key(&column.name);
            let owner = prefixes(&column.name).map(column_key).chain([key.clone()]).find_map(|key| owners.get(&key));
            let owner = owner.filter(|owner| owner.field != column.field).copied();
            if let Some(owner) = owner.or_else(|| names.insert(key, column)) {
                return Err(self.collision(shape, column, "name", &column.name, owner));
            }
        }
        let groups = columns.iter().filter_map(|column| match column.node {
            Node::Group { children, .. } => Some(children),
            _ => None,
        });
        groups.into_iter().try_for_each(|children| self.check_columns(shape, children))
    }

    fn table_of(&self, column: &Column<'_>) -> &Table<'_> {
        match column.node {
            Node::Group { repeats: Some(group), .. } => &self.group_tables[*group],
            _ => &self.tables[column.field],
        }
    }

    /// Returns the key in the TOML table that gives the column's name.
    fn key_of(&self, column: &Column<'_>) -> &'static str {
        match column.node {
            Node::Group { .. } => "repeats",
            _ if self.tables[column.field].has("column") => "column",
            _ => "name",
        }
    }

    fn collision(&self, shape: &Shape, column: &Column<'_>, key: &str, name: &str, owner: &Column<'_>) -> SpecError {
        let table = self.table_of(column);
        let ignored = "case, spaces, underscores and hyphens never matter";
        if owner.field == column.field {
            return table.wrong(key, format!("`{name}` is listed already"), format!("remove it: {ignored}"));
        }
        let owner = match owner.node {
            Node::Group { repeats: Some(group), .. } => format!("the group `{}`", shape.groups[*group].name),
            _ => format!("the field `{}`", self.fields[owner.field].name),
        };
        let problem = format!("`{name}` is a column of {owner} too");
        table.wrong(key, problem, format!("let each column feed one field ({ignored})"))
    }
}

/// Checks the name of a field or group. `arrays` is 1 if it is an array itself.
fn check_name(name: &str, arrays: usize, groups: &[Group], table: &Table<'_>) -> Result<(), SpecError> {
    let is_array = |prefix: &&str| groups.iter().any(|group| group.name == **prefix);
    let problem = match name {
        "" => "the name is empty",
        _ if name.contains('\0') => "a field's name cannot hold NUL",
        _ if name.starts_with("_medlift") => "names that begin with `_medlift` are kept for lineage",
        _ if parts(name).next() == Some("_id") => "`_id` is made from the identity fields",
        _ if parts(name).count() > DEPTH_MAX => "the name leads through more than 60 documents",
        _ if parts(name).any(str::is_empty) => "a part of the dotted name is empty",
        _ if parts(name).any(|part| part.starts_with('$')) => "a name cannot begin with `$`",
        _ if parts(name).count() + prefixes(name).filter(is_array).count() + arrays > DEPTH_MAX => {
            "the name leads through more than 60 documents and arrays"
        }
        _ => return Ok(()),
    };
    Err(table.wrong("name", problem, "name the field as documents will, e.g. \"Blood Type\" or \"result.value\""))
}

/// Checks that no name is given twice, that no name is both a value and a document, and that the fields of one
/// document follow each other. Returns the dotted names of the documents.
fn check_paths<'f>(fields: &'f [Field], tables: &[Table<'_>]) -> Result<HashMap<&'f str, usize>, SpecError> {
    let mut leaves: HashMap<&str, usize> = HashMap::new();
    let mut documents: HashMap<&str, usize> = HashMap::new();
    for (index, (Field { name, .. }, table)) in fields.iter().zip(tables).enumerate() {
        let wrong = |problem: &str, remedy: &str| Err(table.wrong("name", problem, remedy));
        if leaves.insert(name, index).is_some() {
            return wrong("another field has this name", "give each field a name of its own");
        }
        if documents.contains_key(name.as_str()) {
            return wrong("other fields lie inside this one", "a field is a value or a document, not both");
        }
        for prefix in prefixes(name) {
            if leaves.contains_key(prefix) {
                let problem = format!("the field `{prefix}` is a value, nothing can lie inside it");
                return wrong(&problem, "a field is a value or a document, not both");
            }
            if documents.insert(prefix, index).is_some_and(|last| last + 1 != index) {
                let problem = format!("fields inside `{prefix}` stand apart from each other");
                return wrong(&problem, "let the fields that share a prefix follow one another");
            }
        }
    }
    Ok(documents)
}
