//! Reads one kind of document for FHIR resources. Besides the fields that the spec lists, each document has the source
//! system, the type and the id of its resource, its search parameters, and the whole resource.

use super::field::{self, plain};
use super::group;
use super::patient;
use super::search;
use super::source::Table;
use super::{DOCUMENT_KEYS, KEYS_OF_RESOURCES, Parts};
use crate::spec::json_path::{Path, Reading, Step};
use crate::spec::patient::{PATIENT_FIELD, PATIENT_REFERENCE_FIELD};
use crate::spec::shape::group_around;
use crate::spec::{Field, FieldType, Group, Identity, Index, OnConflict, Presence, Privacy, SpecError};

/// The fields from which the `_id` is computed, in their order.
const IDENTITY: [&str; 3] = ["source", "type", "id"];
/// The field with the time of the last change.
const LAST_UPDATED: &str = "lastUpdated";
/// The field with the whole resource.
const RESOURCE: &str = "resource";

/// Returns the name and the table of a kind. If the spec gives the kind no `name`, the type of its resources is its
/// name.
pub(super) fn opened<'t>(table: &Table<'t>) -> Option<(&'t str, Table<'t>)> {
    if table.has("name") {
        return table.opened(&[DOCUMENT_KEYS, KEYS_OF_RESOURCES].concat(), "");
    }
    table.only(&[DOCUMENT_KEYS, KEYS_OF_RESOURCES].concat());
    let name = table.note(resource(table))?;
    Some((name, table.named(name)))
}

fn resource<'t>(table: &Table<'t>) -> Result<&'t str, SpecError> {
    let remedy = "name the type of the resources, e.g. resource = \"Patient\"";
    let name = table.needed_text("resource", remedy)?;
    let is_type = name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_type { Ok(name) } else { Err(table.wrong("resource", "not a type of FHIR", remedy)) }
}

/// Reads the fields and groups of a kind, and notes all errors.
pub(super) fn parts<'t>(table: &Table<'t>, root: &Table<'t>) -> Option<Parts<'t>> {
    let resource = table.note(resource(table))?.to_owned();
    let (tables, group_tables) = (table.note(table.tables("field"))?, table.note(table.tables("group"))?);
    let groups = group::read_all(&group_tables)?;
    let listed = if tables.is_empty() { Vec::new() } else { field::read_all(table, &tables, &groups, root)? };
    let untyped = listed.iter().filter(|read| !read.is_typed).map(|read| read.field.name.clone()).collect();
    let mut parts = Parts { untyped, ..Parts::default() };
    for (name, column, kind, privacy) in [
        ("source", "@source", FieldType::String, Privacy::None),
        ("type", "@type", FieldType::String, Privacy::None),
        ("id", "@id", FieldType::String, Privacy::DirectIdentifier),
        (LAST_UPDATED, "meta.lastUpdated@date", FieldType::Datetime, Privacy::QuasiIdentifier),
    ] {
        let presence = if IDENTITY.contains(&name) { Presence::Required } else { Presence::Optional };
        parts.push(Field { presence, ..plain(name, &[column], kind, privacy) }, table);
    }
    if let Some(field) = patient::field(table) {
        if resource == "Patient" {
            parts.push(Field { name: PATIENT_REFERENCE_FIELD.to_owned(), ..field.clone() }, table);
        }
        parts.push(field, table);
    }
    let mut whole = Field {
        presence: Presence::Required,
        ..plain(RESOURCE, &[RESOURCE], FieldType::Resource, Privacy::DirectIdentifier)
    };
    for (read, table) in listed.into_iter().zip(&tables) {
        if read.field.is_whole() {
            whole = Field { kind: FieldType::Resource, ..read.field };
        } else {
            parts.push(read.field, table);
        }
    }
    groups.into_iter().zip(group_tables).for_each(|(group, table)| parts.push_group(group, &table));
    search::read(table, &mut parts);
    parts.push(whole, table);
    check(&parts);
    add_indexes(&mut parts);
    Some(Parts { resource: Some(resource), ..parts })
}

/// Returns the identity of resources: source, type and id. The resource that was changed last stays, in whatever order
/// the resources are loaded.
pub(super) fn identity(fields: &[Field]) -> Identity {
    let place = |name: &str| fields.iter().position(|field| field.name == name);
    let order_by = place(LAST_UPDATED).unwrap_or(0);
    Identity {
        fields: IDENTITY.iter().filter_map(|name| place(name)).collect(),
        on_conflict: OnConflict::Newest { order_by },
    }
}

/// Adds the indexes by which the documents of a patient are found, the newest first.
fn add_indexes(parts: &mut Parts<'_>) {
    let is_date =
        |field: &&Field| field.kind == FieldType::Datetime && field.name.starts_with(search::PREFIX) && !field.repeats;
    let date = parts.fields.iter().find(is_date).map(|field| (field.name.clone(), -1));
    let is_of_patient = parts.fields.iter().any(|field| field.name == PATIENT_REFERENCE_FIELD);
    for name in [PATIENT_FIELD, PATIENT_REFERENCE_FIELD] {
        if parts.fields.iter().any(|field| field.name == name) {
            // The indexes of Patients do not contain the date. They need no order, because few Patients have the same
            // key.
            let date = date.clone().filter(|_| !is_of_patient);
            let keys = std::iter::once((name.to_owned(), 1)).chain(date).collect();
            parts.indexes.push(Index { name: format!("by_{name}"), keys, unique: false });
        }
    }
}

/// Checks the paths of all fields and groups, and notes all errors.
fn check(parts: &Parts<'_>) {
    for (field, table) in parts.fields.iter().zip(&parts.tables).filter(|(field, _)| !field.is_derived()) {
        let table = table.named(&field.name);
        for (key, text) in paths("column", &field.column, &field.aliases) {
            table.note(check_path(&table, key, text, field, &parts.groups));
        }
    }
    for (group, table) in parts.groups.iter().zip(&parts.group_tables) {
        let table = table.named(&group.name);
        for (key, text) in paths("repeats", &group.column, &group.aliases) {
            table.note(check_group(&table, key, text, group, &parts.groups));
        }
    }
}

fn paths<'f>(key: &'static str, first: &'f str, others: &'f [String]) -> impl Iterator<Item = (&'static str, &'f str)> {
    std::iter::once((key, first)).chain(others.iter().map(|other| ("aliases", other.as_str())))
}

fn check_path(table: &Table<'_>, key: &str, text: &str, field: &Field, groups: &[Group]) -> Result<(), SpecError> {
    let path = parse(table, key, text)?;
    let group = group_around(&field.name, groups);
    let problem = match path.reading {
        Reading::Date if field.kind != FieldType::Datetime => "`@date` is for the type datetime",
        Reading::Reference if field.kind != FieldType::String => "`@reference` is for the type string",
        Reading::Source | Reading::Type | Reading::Id if group.is_some() || field.repeats => {
            "it has one value for the whole resource"
        }
        _ if group.is_some() && field.repeats => "a field of a group cannot repeat",
        _ if group.is_some() && path.is_repeated() => "a field of a group has one value, and `[*]` names several",
        _ if group.is_none() && field.repeats && !path.is_repeated() => {
            "a field with `repeats = true` needs `[*]`, which names all items"
        }
        _ if !field.repeats && path.is_repeated() => "`[*]` names several values, but the field has one",
        _ => return Ok(()),
    };
    Err(table.wrong(key, problem, "correct the path, or the field"))
}

fn check_group(table: &Table<'_>, key: &str, text: &str, group: &Group, groups: &[Group]) -> Result<(), SpecError> {
    let path = parse(table, key, text)?;
    if path.reading != Reading::Value || !matches!(path.steps.last(), Some(Step::Key(_))) {
        return Err(table.wrong(
            key,
            format!("`{path}` is not an array"),
            "name an array without `[*]`, e.g. \"code.coding\"",
        ));
    }
    match group_around(&group.name, groups) {
        None => Ok(()),
        Some(outer) => {
            let problem = format!("it is inside the group `{}`, and groups of resources cannot be nested", outer.name);
            Err(table.wrong("name", problem, "move it out of the other group"))
        }
    }
}

fn parse(table: &Table<'_>, key: &str, text: &str) -> Result<Path, SpecError> {
    let remedy = "a path looks like status, name[0].family, code.coding[*].code, onsetDateTime@date or subject.reference@reference";
    Path::parse(text).map_err(|error| table.wrong(key, format!("`{text}`: {error}"), remedy))
}

#[cfg(test)]
mod tests {
    use crate::spec::{Dataset, FieldType};

    fn read(rest: &str) -> Result<Dataset, String> {
        let text = format!("name = 'x'\n[source]\ntype = 'fhir'\n{rest}");
        Dataset::from_toml(&text, "test").map_err(|error| error.to_string())
    }

    const CONDITION: &str = "[[document]]\nresource = 'Condition'\npatient = { reference = 'subject' }\n[document.search]\n\
        code = { token = 'code.coding', privacy = 'clinical', index = true }\n\
        onset = { date = ['onsetDateTime', 'onsetPeriod.start'], privacy = 'quasi-identifier' }\n\
        abatement = { date = 'abatementDateTime', privacy = 'quasi-identifier' }\n\
        subject = { reference = 'subject', privacy = 'direct-identifier' }\n";

    #[test]
    fn each_document_has_the_fields_of_its_resource_and_of_its_search_parameters() {
        let patient = "[[document]]\nresource = 'Patient'\nname = 'p'\ncollection = 'people'\npatient = { identifier = 'id' }\n\
            [document.search]\nid = { identifier = 'identifier', privacy = 'none' }\n";
        let dataset = read(&format!("system = 'north'\n{CONDITION}{patient}")).unwrap();
        let [condition, patient] = &dataset.kinds[..] else { panic!("two kinds") };
        let names: Vec<&str> = condition.fields.iter().map(|field| field.name.as_str()).collect();
        let expected = [
            "source",
            "type",
            "id",
            "lastUpdated",
            "patient",
            "_search.code.code",
            "_search.code.system",
            "_search.onset",
            "_search.abatement",
            "_search.subject",
            "resource",
        ];
        assert_eq!(names, expected);
        assert_eq!((condition.name.as_str(), condition.collection.as_str()), ("Condition", "Condition"));
        assert_eq!((patient.name.as_str(), patient.collection.as_str()), ("p", "people"));
        assert_eq!(dataset.columns.resources, ["Condition", "Patient"]);
        assert_eq!((condition.identity.fields.as_slice(), condition.system()), (&[0, 1, 2][..], "north"));
        let indexes: Vec<(&str, usize)> =
            condition.indexes.iter().map(|index| (index.name.as_str(), index.keys.len())).collect();
        assert_eq!(indexes, [("by_code", 2), ("by_patient", 2)]);
        let onset = &condition.fields[7];
        assert_eq!(
            (onset.column.as_str(), onset.aliases.as_slice()),
            ("onsetDateTime@date", &["onsetPeriod.start@date".to_owned()][..])
        );
        assert_eq!(condition.indexes[1].keys[1], ("_search.onset".to_owned(), -1));
        assert_eq!(condition.fields[10].kind, FieldType::Resource);
        assert!(patient.fields.iter().any(|field| field.name == "patientReference"));
        assert_eq!(patient.patient.as_ref().map(|source| source.kind.is_some()), Some(true));
    }

    #[test]
    fn a_wrong_spec_is_refused_with_the_reason() {
        let check = |text: &str, part: &str| {
            let error = read(text).map(drop).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        };
        let field = |more: &str| {
            format!("{CONDITION}[[document.field]]\nname = 'f'\ntype = 'string'\nprivacy = 'none'\n{more}\n")
        };
        check(&field("column = 'a b'"), "a key consists of letters");
        check(&field("column = 'a[*].b'"), "`[*]` names several values, but the field has one");
        check(&field("column = 'a.b'\nrepeats = true"), "needs `[*]`");
        check(&field("column = 'a@date'"), "`@date` is for the type datetime");
        check(&field("column = 'a@x'"), "only `date` and `reference` can follow `@`");
        let group = |repeats: &str, column: &str| {
            format!(
                "{CONDITION}[[document.group]]\nname = 'g'\nrepeats = '{repeats}'\n[[document.field]]\nname = 'g.a'\n\
                 column = '{column}'\ntype = 'string'\nprivacy = 'none'\n"
            )
        };
        assert!(read(&group("a[*].b", "c[0].d")).is_ok());
        check(&group("a[*]", "c"), "`a[*]` is not an array");
        check(&group("a", "c[*]"), "a field of a group has one value");
        check(&group("a", "@id"), "it has one value for the whole resource");
        check(&CONDITION.replace("token = 'code.coding', ", ""), "a search parameter has one kind");
        check(
            &CONDITION.replace("token = 'code.coding', ", "token = 'a', date = 'b', "),
            "a search parameter has one kind",
        );
        check(&CONDITION.replace("'code.coding', privacy = 'clinical'", "'code.coding'"), "privacy: missing");
        check(
            &CONDITION.replace("reference = 'subject' }\n[", "reference = 'patient' }\n["),
            "`patient` is not a single text",
        );
        check(&CONDITION.replace("'Condition'", "'condition'"), "not a type of FHIR");
        check(&CONDITION.replace("resource = 'Condition'", ""), "resource: missing");
        check(&format!("{CONDITION}{CONDITION}"), "another document has this name");
        check(
            &format!("{CONDITION}{}", CONDITION.replace("resource", "name = 'b'\nresource")),
            "another document has this type",
        );
        let table = "name = 'x'\nresource = 'Patient'\n[[field]]\nname = 'a'\ntype = 'string'\nprivacy = 'none'\n";
        let error = Dataset::from_toml(table, "test").map(drop).unwrap_err().to_string();
        assert!(error.contains("resource: unknown key"), "{error}");
    }
}
