//! Reads the `[[group]]` tables of a spec. Each describes an array of nested documents.

use super::field::{PRESENCES, owned};
use super::source::Table;
use crate::spec::{Group, Presence, SpecError};

pub(super) fn read_all(tables: &[Table<'_>]) -> Result<Vec<Group>, SpecError> {
    tables.iter().map(read).collect()
}

fn read(table: &Table<'_>) -> Result<Group, SpecError> {
    let name = table.needed_text("name", "give the group's name in the documents, e.g. name = \"identifiers\"")?;
    let table = &table.named(name);
    table.only(&["name", "repeats", "aliases", "presence"])?;
    let remedy = "give the column that contains the array, e.g. repeats = \"identifier\"; a group that does not repeat needs no \
                  [[group]]";
    Ok(Group {
        name: name.to_owned(),
        column: table.needed_text("repeats", remedy)?.to_owned(),
        aliases: owned(table.texts("aliases")?.unwrap_or_default()),
        presence: table.choice("presence", PRESENCES)?.unwrap_or(Presence::Optional),
    })
}
