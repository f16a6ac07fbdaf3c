//! Reads the `[[group]]` tables of a spec. Each describes an array of nested documents.

use super::field::{PRESENCES, owned};
use super::source::Table;
use crate::spec::{Group, Presence};

/// Reads all groups and notes all errors. Returns `None` if a group could not be read, because its name and column
/// are needed to check the fields.
pub(super) fn read_all(tables: &[Table<'_>]) -> Option<Vec<Group>> {
    let groups: Vec<Option<Group>> = tables.iter().map(read).collect();
    groups.into_iter().collect()
}

fn read(table: &Table<'_>) -> Option<Group> {
    let remedy = "give the group's name in the documents, e.g. name = \"identifiers\"";
    let (name, table) = table.opened(&["name", "repeats", "aliases", "presence"], remedy)?;
    let remedy = "give the column that contains the array, e.g. repeats = \"identifier\"; a group that does not repeat needs no \
                  [[group]]";
    let column = table.note(table.needed_text("repeats", remedy));
    let aliases = table.note(table.texts("aliases"));
    let presence = table.noted(table.choice("presence", PRESENCES)).unwrap_or(Presence::Optional);
    Some(Group {
        name: name.to_owned(),
        column: column?.to_owned(),
        aliases: owned(aliases?.unwrap_or_default()),
        presence,
    })
}
