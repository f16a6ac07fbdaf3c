//! Reads a [`Dataset`] from TOML. If the text has several errors, only the first is reported.

mod field;
mod format;
mod group;
mod names;
mod relations;
mod source;

use self::names::Names;
use self::source::{Source, Table};
use super::spelling::same_column;
use super::{Column, Dataset, Node, Spec, SpecError};

/// Keys of a dataset with one kind of document.
const KEYS: &[&str] =
    &["name", "collection", "null_markers", "identity", "field", "group", "plausibility", "index", "source"];

/// Keys of a dataset with several kinds of documents. Each kind is described in a `[[document]]` table.
const DATASET_KEYS: &[&str] = &["name", "null_markers", "source", "document"];

/// Keys of a `[[document]]` table.
const DOCUMENT_KEYS: &[&str] =
    &["name", "collection", "null_markers", "identity", "field", "group", "plausibility", "index"];

/// Reads a dataset. Error messages name the text `origin`.
pub(super) fn read(text: &str, origin: &str) -> Result<Dataset, SpecError> {
    let source = Source { origin, text };
    let entries = source.parse()?;
    let root = Table::root(&source, &entries);
    let documents = root.tables("document")?;
    if documents.is_empty() {
        root.only(KEYS)?;
        let name = root.needed_text("name", "give the dataset's name, e.g. name = \"admissions\"")?;
        return Ok(document(&root, &root, name, &source)?.into());
    }
    check_dataset(&root)?;
    let name = root.needed_text("name", "give the dataset's name, e.g. name = \"admissions\"")?;
    let mut kinds: Vec<Spec> = Vec::new();
    for table in &documents {
        table.only(DOCUMENT_KEYS)?;
        let name = table.needed_text("name", "give the document's name, e.g. name = \"doctor\"")?;
        let table = &table.named(name);
        let kind = document(&root, table, name, &source)?;
        check_kind(table, &kind, &kinds)?;
        kinds.push(kind);
    }
    Ok(Dataset::of(name, kinds))
}

/// Reports a key beside the `[[document]]` tables that belongs inside one of them, and unknown keys.
fn check_dataset(root: &Table<'_>) -> Result<(), SpecError> {
    match root.keys().find(|key| DOCUMENT_KEYS.contains(key) && !DATASET_KEYS.contains(key)) {
        Some(key) => Err(root.wrong(
            key,
            "the spec has several documents, and the key does not say to which of them it belongs",
            "move it into a [[document]]",
        )),
        None => root.only(DATASET_KEYS),
    }
}

/// Checks one kind of document against the earlier kinds. Two kinds must not have the same name or the same collection.
/// They must not read the same column if it contains an array. A column of one kind must not be an alias in another.
fn check_kind(table: &Table<'_>, kind: &Spec, earlier: &[Spec]) -> Result<(), SpecError> {
    if earlier.iter().any(|other| other.name == kind.name) {
        return Err(table.wrong("name", "another document has this name", "give each a different name"));
    }
    if let Some(other) = earlier.iter().find(|other| other.collection == kind.collection) {
        let problem = format!("the document `{}` is stored in this collection too", other.name);
        return Err(table.wrong("collection", problem, "give each document a collection of its own"));
    }
    check_arrays(table, kind, earlier)?;
    check_aliases(table, kind, earlier)
}

/// Checks that no two kinds read the same column if it contains an array. The cells of a refused row are rebuilt from
/// the documents of the row. If an array were divided between two documents, the cell with the array could not be
/// rebuilt.
fn check_arrays(table: &Table<'_>, kind: &Spec, earlier: &[Spec]) -> Result<(), SpecError> {
    for column in kind.columns() {
        for other in earlier {
            let is_shared = |theirs: &Column<'_>| {
                (column.node.is_array() || theirs.node.is_array())
                    && column.keys().any(|key| theirs.keys().any(|other| other == key))
            };
            if let Some(theirs) = other.columns().iter().find(|theirs| is_shared(theirs)) {
                let key = if matches!(column.node, Node::Group { .. }) { "group" } else { "field" };
                let problem = format!("the document `{}` reads the column `{}` too", other.name, theirs.column);
                return Err(table.wrong(key, problem, "only one document may read a column that contains an array"));
            }
        }
    }
    Ok(())
}

/// Checks that the column of one kind is not an alias in another kind. A reject file of a JSON source has one column
/// for each different `column`. If a name were a column of one kind and an alias in another, the reject file would have
/// two columns for the field with the alias.
fn check_aliases(table: &Table<'_>, kind: &Spec, earlier: &[Spec]) -> Result<(), SpecError> {
    for (first, second) in earlier.iter().flat_map(|other| [(kind, other), (other, kind)]) {
        for column in first.columns() {
            if let Some(own) = second.columns().iter().find(|own| is_alias(own.column, &column)) {
                let problem = format!(
                    "`{}` is an alias of the column `{}` in the document `{}`, and a column of its own in the document `{}`",
                    own.column, column.column, first.name, second.name
                );
                return Err(table.wrong("field", problem, "give both fields the same `column` and the same `aliases`"));
            }
        }
    }
    Ok(())
}

/// Returns true if `name` is an alias of the column, but not its name.
fn is_alias(name: &str, column: &Column<'_>) -> bool {
    !same_column(name, column.column) && column.aliases.iter().any(|alias| same_column(name, alias))
}

/// Reads one kind of document. `root` is the table with the settings of the whole dataset.
fn document(root: &Table<'_>, table: &Table<'_>, name: &str, source: &Source<'_>) -> Result<Spec, SpecError> {
    let tables = table.tables("field")?;
    let markers = if table.has("null_markers") { table } else { root };
    let group_tables = table.tables("group")?;
    let groups = group::read_all(&group_tables)?;
    let fields = field::read_all(table, &tables, &groups, markers)?;
    let shape = Names { fields: &fields, tables, groups, group_tables }.check()?;
    Ok(Spec {
        text: source.text.to_owned(),
        name: name.to_owned(),
        collection: collection(table, name)?,
        origin: source.origin.to_owned(),
        identity: relations::identity(table, &fields, &shape)?,
        plausibility: relations::plausibility(table, &fields, &shape)?,
        indexes: relations::indexes(table, &fields, &shape)?,
        source: format::read(root)?,
        fields,
        shape,
        hash: blake3::hash(source.text.as_bytes()).to_hex().to_string(),
    })
}

/// Returns the name of the collection. Refuses names that MongoDB does not allow or that Medlift uses itself.
fn collection(root: &Table<'_>, dataset: &str) -> Result<String, SpecError> {
    let key = if root.has("collection") { "collection" } else { "name" };
    let name = root.text("collection")?.unwrap_or(dataset);
    let problem = match name {
        "" => "empty",
        _ if name.contains(['$', '\0']) => "a collection's name cannot contain `$` or NUL",
        _ if name.starts_with("system.") => "names that begin with `system.` are reserved for the server",
        _ if name.starts_with("_medlift") => "names that begin with `_medlift` are reserved for Medlift",
        _ if name.starts_with('.') || name.ends_with('.') => "a collection's name cannot begin or end with a dot",
        _ => return Ok(name.to_owned()),
    };
    Err(root.wrong(key, problem, "choose another name, e.g. \"admissions\""))
}
