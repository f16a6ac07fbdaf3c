//! Reads the `[patient]` table of a spec: the fields that identify the patient.

use super::search;
use super::source::{Table, suggest};
use crate::spec::patient::{Authority, PATIENT_FIELD, PatientSource};
use crate::spec::shape::group_around;
use crate::spec::{Constraints, Field, FieldType, Group, Presence, Privacy, SpecError};

const KEYS: &[&str] = &["reference", "identifier", "authority", "authority_field", "type_field", "prefer"];

/// Returns the field with the patient's key, if the spec has a `[patient]` table.
pub(super) fn field(table: &Table<'_>) -> Option<Field> {
    table.has(PATIENT_FIELD).then(|| Field {
        name: PATIENT_FIELD.to_owned(),
        column: PATIENT_FIELD.to_owned(),
        aliases: Vec::new(),
        kind: FieldType::PatientKey,
        presence: Presence::Optional,
        repeats: false,
        clean: Vec::new(),
        null_markers: Vec::new(),
        constraints: Constraints::default(),
        privacy: Privacy::DirectIdentifier,
    })
}

/// Reads the `[patient]` table and notes all errors.
pub(super) fn read(document: &Table<'_>, fields: &[Field], groups: &[Group]) -> Option<PatientSource> {
    let table = document.noted(document.table(PATIENT_FIELD))?;
    table.only(KEYS);
    if let Some(name) = table.noted(table.text("reference")) {
        let identifier = table.note(field_named(&table, "reference", &in_search(name, "", fields), fields))?;
        return Some(PatientSource { identifier, authority: Authority::Reference, kind: None, prefer: Vec::new() });
    }
    let remedy = "name the field with the identifier, e.g. identifier = \"Medical Record Number\"";
    let name = table.note(table.needed_text("identifier", remedy))?;
    let value = in_search(name, ".value", fields);
    let identifier = table.note(field_named(&table, "identifier", &value, fields))?;
    // If the identifier is a search parameter of FHIR resources, its fields `.system` and `.type` are the defaults for
    // the authority and the type.
    let default =
        |end: &str| fields.iter().position(|field| value != name && field.name == in_search(name, end, fields));
    let beside = |key: &str, name: &str| field_beside(&table, key, name, identifier, fields, groups);
    let kind = table.noted(table.text("type_field")).map(|name| beside("type_field", name)).transpose();
    let authority = authority_fields(&table).into_iter().map(|name| beside("authority_field", name)).collect();
    let (mut authority, kind): (Vec<usize>, _) = (table.note(authority)?, table.note(kind)?);
    if authority.is_empty() {
        authority.extend(default(".system"));
    }
    let kind = kind.or_else(|| default(".type"));
    let prefer = table.noted(table.texts("prefer")).unwrap_or_default().into_iter().map(str::to_owned).collect();
    let authority = match (authority.is_empty(), table.noted(table.text("authority"))) {
        (false, None) => Authority::Fields(authority),
        (true, Some(text)) => Authority::Text(text.to_owned()),
        (is_missing, _) => {
            let problem = if is_missing { "missing" } else { "there is an `authority_field` too" };
            let remedy = "give either the field with the authority (authority_field) or its name (authority); the same \
                          number from two hospitals is two patients";
            table.add(table.wrong("authority", problem, remedy));
            return None;
        }
    };
    Some(PatientSource { identifier, authority, kind, prefer })
}

/// Returns the names of the fields with the authority. In a record, the first of them that has a value counts.
fn authority_fields<'t>(table: &Table<'t>) -> Vec<&'t str> {
    const KEY: &str = "authority_field";
    match table.texts(KEY) {
        Ok(names) => names.unwrap_or_default(),
        Err(_) => table.noted(table.text(KEY)).into_iter().collect(),
    }
}

/// If `name` is a search parameter, returns the name of its field with this end. For `identifier` and the end `.value`,
/// that is `_search.identifier.value`. Otherwise returns `name`.
fn in_search(name: &str, end: &str, fields: &[Field]) -> String {
    let full = format!("{}{name}{end}", search::PREFIX);
    if fields.iter().any(|field| field.name == full) { full } else { name.to_owned() }
}

fn field_named(table: &Table<'_>, key: &str, name: &str, fields: &[Field]) -> Result<usize, SpecError> {
    let is_text = |field: &Field| field.kind == FieldType::String && !field.repeats;
    match fields.iter().position(|field| field.name == name) {
        Some(index) if is_text(&fields[index]) => Ok(index),
        Some(_) => Err(table.wrong(key, format!("`{name}` is not a single text"), "name a field of the type string")),
        None => {
            let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            Err(table.wrong(key, format!("there is no field `{name}`"), suggest(name, &known)))
        }
    }
}

/// Returns the index of a field that must be in the same repeating group as the identifier, or outside all groups.
fn field_beside(
    table: &Table<'_>,
    key: &str,
    name: &str,
    identifier: usize,
    fields: &[Field],
    groups: &[Group],
) -> Result<usize, SpecError> {
    let index = field_named(table, key, name, fields)?;
    let group = |field: usize| group_around(&fields[field].name, groups).map(|group| &group.name);
    if group(index) == group(identifier) {
        return Ok(index);
    }
    let problem = format!("`{name}` is not in the same repeating group as `{}`", fields[identifier].name);
    Err(table.wrong(key, problem, "name a field beside the identifier"))
}
