//! Checks the names of fields and columns: the server must allow the names in a document, and a header must identify
//! each column.

use std::collections::HashMap;

use super::source::Table;
use crate::spec::{Field, SpecError, column_key};

/// Largest number of parts in a dotted name. The server allows 100 levels in a document, and a validator needs two
/// levels for each level of the document.
const DEPTH_MAX: usize = 61;

/// Checks every field's name and columns, alone and against the other fields. `tables` are the TOML tables of the
/// fields.
pub(super) fn check(fields: &[Field], tables: &[Table<'_>]) -> Result<(), SpecError> {
    let tables: Vec<Table<'_>> = fields.iter().zip(tables).map(|(field, table)| table.named(&field.name)).collect();
    for (field, table) in fields.iter().zip(&tables) {
        check_name(&field.name, table)?;
    }
    check_paths(fields, &tables)?;
    check_columns(fields, &tables)
}

fn check_name(name: &str, table: &Table<'_>) -> Result<(), SpecError> {
    let mut segments = name.split('.');
    let problem = match name {
        "" => "the name is empty",
        _ if name.contains('\0') => "a field's name cannot hold NUL",
        _ if name.starts_with("_medlift") => "names that begin with `_medlift` are kept for lineage",
        _ if segments.clone().next() == Some("_id") => "`_id` is made from the identity fields",
        _ if segments.clone().count() > DEPTH_MAX => "the name leads through more than 60 documents",
        _ if segments.clone().any(str::is_empty) => "a part of the dotted name is empty",
        _ if segments.any(|segment| segment.starts_with('$')) => "a name cannot begin with `$`",
        _ => return Ok(()),
    };
    Err(table.wrong("name", problem, "name the field as documents will, e.g. \"Blood Type\" or \"result.value\""))
}

/// Returns the dotted prefixes of a name, shortest first: `a` and `a.b` for `a.b.c`.
fn prefixes(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(dot, _)| &name[..dot])
}

/// Checks that no name is given twice, that no name is both a value and a document, and that the fields of one
/// document follow each other.
fn check_paths(fields: &[Field], tables: &[Table<'_>]) -> Result<(), SpecError> {
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
    Ok(())
}

/// Checks that no two columns or aliases have the same key, which ignores letter case and separators.
/// In JSON, a field can also be found by its own name. Therefore its name, and the documents that enclose it, must
/// not be the column of another field either.
fn check_columns(fields: &[Field], tables: &[Table<'_>]) -> Result<(), SpecError> {
    let mut owners: HashMap<String, &str> = HashMap::new();
    for (field, table) in fields.iter().zip(tables) {
        let column_from = if table.has("column") { "column" } else { "name" };
        let aliases = field.aliases.iter().map(|alias| ("aliases", alias));
        for (key, column) in std::iter::once((column_from, &field.column)).chain(aliases) {
            let column_key = column_key(column);
            if column_key.is_empty() {
                return Err(table.wrong(key, "a column needs letters or digits", "write it as the header does"));
            }
            if let Some(owner) = owners.insert(column_key, &field.name) {
                return Err(collision(table, key, column, owner, &field.name));
            }
        }
    }
    let mut names: HashMap<String, &str> = HashMap::new();
    for (field, table) in fields.iter().zip(tables) {
        let key = column_key(&field.name);
        let owner = prefixes(&field.name).map(column_key).chain([key.clone()]).find_map(|key| owners.get(&key));
        let owner = owner.filter(|owner| **owner != field.name).copied().or_else(|| names.insert(key, &field.name));
        if let Some(owner) = owner {
            return Err(collision(table, "name", &field.name, owner, &field.name));
        }
    }
    Ok(())
}

fn collision(table: &Table<'_>, key: &str, column: &str, owner: &str, name: &str) -> SpecError {
    let ignored = "case, spaces, underscores and hyphens never matter";
    if owner == name {
        return table.wrong(key, format!("`{column}` is listed already"), format!("remove it: {ignored}"));
    }
    let problem = format!("`{column}` is a column of the field `{owner}` too");
    table.wrong(key, problem, format!("let each column feed one field ({ignored})"))
}
