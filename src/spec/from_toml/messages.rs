//! Checks what depends on the format of the sources: the paths into HL7 messages, and the fields that contain a whole
//! record.

use super::source::Table;
use crate::spec::hl7_path::Path;
use crate::spec::shape::group_around;
use crate::spec::{Field, FormatName, Group, SourceFormat, SpecError};

/// Checks the fields and groups of one kind of document, and notes all errors. Each document of an HL7 message must
/// contain the whole message. Reason: if the server refuses the document, the message is copied from it to the reject
/// file.
pub(super) fn check(
    document: &Table<'_>,
    format: SourceFormat,
    (fields, tables): (&[Field], &[Table<'_>]),
    (groups, group_tables): (&[Group], &[Table<'_>]),
) {
    let is_for_messages = format.format == Some(FormatName::Hl7);
    let mut wholes = 0;
    for (field, table) in fields.iter().zip(tables) {
        let table = table.named(&field.name);
        if field.is_whole() {
            wholes += 1;
            table.note(check_whole(&table, field, groups, wholes, is_for_messages));
        } else if is_for_messages && !field.is_derived() {
            table.note(check_path(&table, field, groups));
        }
    }
    if is_for_messages {
        if wholes == 0 {
            let remedy = "add a [[field]] with whole = true, e.g. name = \"message\"";
            document.add(document.wrong("field", "no field contains the whole message", remedy));
        }
        for (group, table) in groups.iter().zip(group_tables) {
            let table = table.named(&group.name);
            table.note(check_group(&table, group, groups));
        }
    }
}

/// Checks a field with `whole = true`. `number` is 1 for the first such field of the document.
fn check_whole(
    table: &Table<'_>,
    field: &Field,
    groups: &[Group],
    number: usize,
    is_for_messages: bool,
) -> Result<(), SpecError> {
    if !is_for_messages {
        let remedy = "remove it, or add type = \"hl7\" to the table [source]";
        return Err(table.wrong("whole", "only HL7 messages can be stored as a whole", remedy));
    }
    if number > 1 {
        return Err(table.wrong("whole", "another field contains the whole record", "keep one of them"));
    }
    if group_around(&field.name, groups).is_some() {
        return Err(table.wrong(
            "whole",
            "a repeating group cannot contain the whole record",
            "move it out of the group",
        ));
    }
    Ok(())
}

fn check_path(table: &Table<'_>, field: &Field, groups: &[Group]) -> Result<(), SpecError> {
    let key = if table.has("column") { "column" } else { "name" };
    let path = parse(table, key, &field.column)?;
    if path.field.is_none() {
        let remedy = format!("name a field of the segment, e.g. \"{path}-3\"");
        return Err(table.wrong(key, format!("`{path}` is a whole segment"), remedy));
    }
    match group_around(&field.name, groups).and_then(|group| Some((group, Path::parse(&group.column).ok()?))) {
        Some((group, over)) if !path.is_inside(&over) => {
            let problem = format!("`{path}` is not inside `{over}`, over which the group `{}` repeats", group.name);
            Err(table.wrong(key, problem, "name a part of it, or move the field out of the group"))
        }
        _ => Ok(()),
    }
}

fn check_group(table: &Table<'_>, group: &Group, groups: &[Group]) -> Result<(), SpecError> {
    let path = parse(table, "repeats", &group.column)?;
    if path.component.is_some() || path.is_precision {
        let remedy = "name a segment or a field, e.g. \"OBX\" or \"PID-3\"";
        return Err(table.wrong("repeats", format!("`{path}` does not repeat"), remedy));
    }
    match group_around(&group.name, groups) {
        None => Ok(()),
        Some(outer) => {
            let problem =
                format!("it is inside the group `{}`, and groups of HL7 messages cannot be nested", outer.name);
            Err(table.wrong("name", problem, "move it out of the other group"))
        }
    }
}

fn parse(table: &Table<'_>, key: &str, text: &str) -> Result<Path, SpecError> {
    Path::parse(text).map_err(|error| {
        table.wrong(key, error, "a path looks like PID-5.1, PID-3[*].1, PID-3[2].4.2, OBX-5, MSH-7@precision or OBX")
    })
}
