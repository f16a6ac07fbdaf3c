//! Reads a [`Spec`] from TOML. Reports the first error.

mod field;
mod format;
mod group;
mod names;
mod relations;
mod source;

use self::names::Names;
use self::source::{Source, Table};
use super::{Spec, SpecError};

const KEYS: &[&str] =
    &["name", "collection", "null_markers", "identity", "field", "group", "plausibility", "index", "source"];

/// Reads a spec. Messages use `origin` as the name of the text.
pub(super) fn read(text: &str, origin: &str) -> Result<Spec, SpecError> {
    let source = Source { origin, text };
    let entries = source.parse()?;
    let root = Table::root(&source, &entries);
    root.only(KEYS)?;
    let name = root.needed_text("name", "name the dataset, e.g. name = \"admissions\"")?;
    let tables = root.tables("field")?;
    let group_tables = root.tables("group")?;
    let groups = group::read_all(&group_tables)?;
    let fields = field::read_all(&root, &tables, &groups)?;
    let shape = Names { fields: &fields, tables, groups, group_tables }.check()?;
    Ok(Spec {
        text: text.to_owned(),
        name: name.to_owned(),
        collection: collection(&root, name)?,
        origin: origin.to_owned(),
        identity: relations::identity(&root, &fields, &shape)?,
        plausibility: relations::plausibility(&root, &fields, &shape)?,
        indexes: relations::indexes(&root, &fields, &shape)?,
        source: format::read(&root)?,
        fields,
        shape,
        hash: blake3::hash(text.as_bytes()).to_hex().to_string(),
    })
}

/// Returns the name of the collection, checked against the server's rules for names.
fn collection(root: &Table<'_>, dataset: &str) -> Result<String, SpecError> {
    let key = if root.has("collection") { "collection" } else { "name" };
    let name = root.text("collection")?.unwrap_or(dataset);
    let problem = match name {
        "" => "empty",
        _ if name.contains(['$', '\0']) => "a collection's name cannot hold `$` or NUL",
        _ if name.starts_with("system.") => "names that begin with `system.` belong to the server",
        _ if name.starts_with("_medlift") => "names that begin with `_medlift` are kept for the ledger",
        _ if name.starts_with('.') || name.ends_with('.') => "a collection's name cannot begin or end with a dot",
        _ => return Ok(name.to_owned()),
    };
    Err(root.wrong(key, problem, "choose another name, e.g. \"admissions\""))
}
