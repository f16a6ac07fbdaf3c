//! Reads a [`Dataset`] from TOML. If the text has several errors, all are reported. To do so, a reader notes an error
//! and goes on with a placeholder. If an error may only be the consequence of another error, it is not reported.

mod fhir;
mod field;
mod format;
mod group;
mod messages;
mod names;
mod patient;
mod relations;
mod search;
mod source;

use self::names::Names;
use self::source::{Source, Table};
use super::json_path::has_wrong_item;
use super::spelling::same_column;
use super::{Column, Dataset, Field, FormatName, Group, Index, Node, SourceFormat, Spec, SpecError};
use crate::namespace::{collection_fault, is_of_ledger};

/// Keys of a dataset with one kind of document.
const KEYS: &[&str] =
    &["name", "collection", "null_markers", "identity", "patient", "field", "group", "plausibility", "index", "source"];

/// Keys of a dataset with several kinds of documents. Each kind is described in a `[[document]]` table.
const DATASET_KEYS: &[&str] = &["name", "null_markers", "source", "document"];

/// Further keys of a dataset or a `[[document]]` table for FHIR resources.
const KEYS_OF_RESOURCES: &[&str] = &["resource", "search"];

/// Keys of a `[[document]]` table.
const DOCUMENT_KEYS: &[&str] =
    &["name", "collection", "null_markers", "identity", "patient", "field", "group", "plausibility", "index"];

/// Reads a dataset. Error messages name the text `origin`.
pub(super) fn read(text: &str, origin: &str) -> Result<Dataset, SpecError> {
    let source = Source::new(text, origin);
    let entries = source.parse();
    // After a syntax error, do not read the tables, because parts of them may be missing.
    let dataset = if source.has_errors() { None } else { dataset(&Table::root(&source, &entries), &source) };
    match (source.take_errors(), dataset) {
        (None, Some(dataset)) => Ok(dataset),
        (error, _) => Err(error.expect("a part of a spec is missing only after an error was noted")),
    }
}

fn dataset(root: &Table<'_>, source: &Source<'_>) -> Option<Dataset> {
    let documents = root.note(root.tables("document"))?;
    let format = format::read(root);
    let is_fhir = format.format == Some(FormatName::Fhir);
    if documents.is_empty() {
        root.only(&[KEYS, if is_fhir { KEYS_OF_RESOURCES } else { &[] }].concat());
    } else {
        check_dataset(root);
    }
    let name = root.note(root.needed_text("name", "give the dataset's name, e.g. name = \"admissions\""));
    if documents.is_empty() {
        return Some(document(root, root, name, format, source)?.into());
    }
    let mut kinds: Vec<Spec> = Vec::new();
    for table in &documents {
        let remedy = "give the document's name, e.g. name = \"doctor\"";
        let opened = if is_fhir { fhir::opened(table) } else { table.opened(DOCUMENT_KEYS, remedy) };
        let Some((name, table)) = opened else { continue };
        if let Some(kind) = document(root, &table, Some(name), format, source) {
            table.note(check_kind(&table, &kind, &kinds));
            kinds.push(kind);
        }
    }
    (!source.has_errors()).then(|| Dataset::of(name.unwrap_or_default(), kinds))
}

/// Notes two kinds of wrong keys: unknown keys, and keys that must be moved into a `[[document]]` table.
fn check_dataset(root: &Table<'_>) {
    let is_misplaced = |key: &&str| DOCUMENT_KEYS.contains(key) && !DATASET_KEYS.contains(key);
    for key in root.keys().filter(is_misplaced) {
        root.add(root.wrong(
            key,
            "the spec has [[document]] tables, and the key does not say to which of them it belongs",
            "move it into a [[document]]",
        ));
    }
    root.only(&[DATASET_KEYS, DOCUMENT_KEYS].concat());
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
    if kind.is_divided() {
        if earlier.iter().any(|other| other.resources == kind.resources) {
            return Err(table.wrong("resource", "another document has this type", "describe each type once"));
        }
        return Ok(());
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

/// Checks that the column of one kind is not an alias in another kind. Example: one kind has the column `Name` with the
/// alias `Doctor`, and another kind has the column `Doctor`. A reject file of a JSON source would have both columns,
/// and both would belong to the field with the alias.
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

/// Reads one kind of document and notes all errors. `root` is the table with the settings of the whole dataset. `name`
/// is `None` if it is missing, which was noted before.
fn document(
    root: &Table<'_>,
    table: &Table<'_>,
    name: Option<&str>,
    format: SourceFormat,
    source: &Source<'_>,
) -> Option<Spec> {
    let collection = if name.is_some() || table.has("collection") {
        table.note(collection(table, name.unwrap_or_default()))
    } else {
        None
    };
    let markers = if table.has("null_markers") { table } else { root };
    let is_fhir = format.format == Some(FormatName::Fhir);
    let parts = if is_fhir { fhir::parts(table, markers)? } else { parts(table, markers, format)? };
    let patient = patient::read(table, &parts.fields, &parts.groups);
    let Parts { resource, fields, tables, untyped, groups, group_tables, indexes: of_search } = parts;
    let shape = Names { fields: &fields, tables, groups, group_tables, may_share_columns: is_fhir }.check()?;
    let identity = if is_fhir && !table.has("identity") {
        fhir::identity(&fields)
    } else {
        relations::identity(table, &fields, &untyped, &shape)
    };
    let plausibility = relations::plausibility(table, &fields, &untyped, &shape);
    let mut indexes = relations::indexes(table, &fields, &shape);
    indexes.extend(of_search);
    Some(Spec {
        resources: resource.into_iter().collect(),
        system: format::system(root),
        base: format::base(root),
        text: source.text.to_owned(),
        name: name?.to_owned(),
        collection: collection?,
        origin: source.origin.to_owned(),
        identity,
        plausibility,
        indexes,
        patient,
        source: format,
        fields,
        shape,
        hash: blake3::hash(source.text.as_bytes()).to_hex().to_string(),
    })
}

/// The fields and groups of one kind of document, each with the table from which it was read.
#[derive(Default)]
struct Parts<'t> {
    /// The type of the FHIR resources.
    resource: Option<String>,
    fields: Vec<Field>,
    tables: Vec<Table<'t>>,
    /// The names of the fields whose type could not be read.
    untyped: Vec<String>,
    groups: Vec<Group>,
    group_tables: Vec<Table<'t>>,
    /// Indexes that the spec does not list.
    indexes: Vec<Index>,
}

impl<'t> Parts<'t> {
    fn push(&mut self, field: Field, table: &Table<'t>) {
        self.fields.push(field);
        self.tables.push(table.clone());
    }

    fn push_group(&mut self, group: Group, table: &Table<'t>) {
        self.groups.push(group);
        self.group_tables.push(table.clone());
    }
}

/// Notes an error if a column of a JSON source has a wrong item in brackets.
fn check_items(table: &Table<'_>, key: &str, column: &str, aliases: &[String]) {
    if let Some(wrong) =
        std::iter::once(column).chain(aliases.iter().map(String::as_str)).find(|path| has_wrong_item(path))
    {
        let problem = format!("`{wrong}` has a wrong item in brackets");
        table.add(table.wrong(key, problem, "write `[0]` for the first item, and `[*]` for all items"));
    }
}

/// Reads the fields and groups of one kind of document, and notes all errors. `markers` is the table with the null
/// markers.
fn parts<'t>(table: &Table<'t>, markers: &Table<'t>, format: SourceFormat) -> Option<Parts<'t>> {
    let tables = table.note(table.tables("field"));
    let group_tables = table.note(table.tables("group"))?;
    let groups = group::read_all(&group_tables);
    let tables = tables?;
    let read = field::read_all(table, &tables, groups.as_deref().unwrap_or_default(), markers)?;
    let mut parts = Parts { tables, ..Parts::default() };
    parts.untyped = read.iter().filter(|read| !read.is_typed).map(|read| read.field.name.clone()).collect();
    parts.fields = read.into_iter().map(|read| read.field).collect();
    if format.format == Some(FormatName::Json) {
        let fields = parts
            .fields
            .iter()
            .zip(&parts.tables)
            .map(|(field, table)| (table, "column", &field.column, &field.aliases));
        let groups = groups.iter().flatten().zip(&group_tables);
        let groups = groups.map(|(group, table)| (table, "repeats", &group.column, &group.aliases));
        fields.chain(groups).for_each(|(table, key, column, aliases)| check_items(table, key, column, aliases));
    }
    // The errors of `[patient]` are noted even if a group cannot be read.
    if groups.is_none() {
        patient::read(table, &parts.fields, &[]);
    }
    if let Some(field) = patient::field(table) {
        parts.push(field, table);
    }
    let groups = groups?;
    messages::check(table, format, (&parts.fields, &parts.tables), (&groups, &group_tables));
    Some(Parts { groups, group_tables, ..parts })
}

/// Returns the name of the collection. Refuses names that MongoDB does not allow or that Medlift uses itself.
fn collection(root: &Table<'_>, dataset: &str) -> Result<String, SpecError> {
    let key = if root.has("collection") { "collection" } else { "name" };
    let name = root.text("collection")?.unwrap_or(dataset);
    let problem = collection_fault(name).or(match name {
        _ if name.starts_with("_medlift") => Some("names that begin with `_medlift` are reserved for Medlift"),
        _ if is_of_ledger(name) => Some("Medlift records its loads in this collection"),
        _ if name.ends_with('.') => Some("a collection's name cannot end with a dot"),
        _ => None,
    });
    match problem {
        Some(problem) => Err(root.wrong(key, problem, "choose another name, e.g. \"admissions\"")),
        None => Ok(name.to_owned()),
    }
}
