//! Reads the table `search` of a kind of document for FHIR resources: one line for each search parameter. Each becomes
//! one or more fields with the prefix `_search`.

use super::Parts;
use super::field::{plain, privacy};
use super::source::Table;
use crate::spec::{Field, FieldType, Group, Index, Presence, SpecError};

/// The nested document that contains the search parameters.
pub(super) const PREFIX: &str = "_search.";

/// The kinds of search parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The codings of an element, each with system and code.
    Token,
    /// Identifiers, each with system, value and type.
    Identifier,
    /// A single word, for example a status.
    Code,
    Text,
    /// A full date or an instant.
    Date,
    /// The type and the id of another resource.
    Reference,
}

const KINDS: [(&str, Kind); 6] = [
    ("token", Kind::Token),
    ("identifier", Kind::Identifier),
    ("code", Kind::Code),
    ("string", Kind::Text),
    ("date", Kind::Date),
    ("reference", Kind::Reference),
];
const KEYS: [&str; 8] = ["token", "identifier", "code", "string", "date", "reference", "privacy", "index"];

/// Reads all search parameters, adds their fields, groups and indexes to `parts`, and notes all errors.
pub(super) fn read<'t>(document: &Table<'t>, parts: &mut Parts<'t>) {
    let Some(table) = document.noted(document.table("search")) else { return };
    for name in table.keys_as_written() {
        if let Some(inner) = table.noted(table.table(name)) {
            inner.only(&KEYS);
            table.note(parameter(name, &inner, parts));
        }
    }
}

fn parameter<'t>(name: &str, table: &Table<'t>, parts: &mut Parts<'t>) -> Result<(), SpecError> {
    let mut given = KINDS.iter().filter(|(key, _)| table.has(key));
    let (Some((key, kind)), None) = (given.next(), given.next()) else {
        let remedy = "give its kind with a path, e.g. { token = \"code.coding\", privacy = \"clinical\" }";
        return Err(table.wrong("token", "a search parameter has one kind", remedy));
    };
    let paths: Vec<&str> = match table.text(key) {
        Ok(text) => text.into_iter().collect(),
        // Not a text, so it must be a list of texts.
        Err(_) => table.texts(key)?.unwrap_or_default(),
    };
    let (privacy, index) = (privacy(table)?, table.flag("index")?.unwrap_or(false));
    let full = format!("{PREFIX}{name}");
    let inner: &[(&str, &str)] = match kind {
        Kind::Token => &[("code", "code"), ("system", "system")],
        Kind::Identifier => &[("value", "value"), ("system", "system"), ("type", "type.coding[0].code")],
        _ => &[],
    };
    let keys = if inner.is_empty() {
        parts.push(value(&full, *kind, &paths, privacy), table);
        vec![full.clone()]
    } else {
        parts.push_group(group(&full, &paths), table);
        for (key, path) in inner {
            parts.push(plain(&format!("{full}.{key}"), &[path], FieldType::String, privacy), table);
        }
        inner[..2].iter().map(|(key, _)| format!("{full}.{key}")).collect()
    };
    if index {
        let keys = keys.into_iter().map(|key| (key, 1)).collect();
        parts.indexes.push(Index { name: format!("by_{name}"), keys, unique: false });
    }
    Ok(())
}

/// Returns the field of a parameter that has one value, or a list of values if its path has `[*]`.
fn value(name: &str, kind: Kind, paths: &[&str], privacy: crate::spec::Privacy) -> Field {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| match kind {
            Kind::Date => format!("{path}@date"),
            Kind::Reference => format!("{path}.reference@reference"),
            _ => (*path).to_owned(),
        })
        .collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let field = if kind == Kind::Date { FieldType::Datetime } else { FieldType::String };
    let repeats = paths.iter().any(|path| path.contains("[*]"));
    Field { repeats, ..plain(name, &paths, field, privacy) }
}

fn group(name: &str, paths: &[&str]) -> Group {
    Group {
        name: name.to_owned(),
        column: paths.first().copied().unwrap_or_default().to_owned(),
        aliases: paths.iter().skip(1).map(|path| (*path).to_owned()).collect(),
        presence: Presence::Optional,
    }
}
