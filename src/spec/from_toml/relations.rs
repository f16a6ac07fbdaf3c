//! Reads the parts of a spec that refer to fields by name: identity, plausibility and indexes.

use super::source::{Table, suggest};
use crate::spec::{Field, FieldType, Identity, Index, OnConflict, Plausibility, Severity, Shape, SpecError};

const CONFLICTS: &[(&str, OnConflict)] =
    &[("keep-first", OnConflict::KeepFirst), ("keep-last", OnConflict::KeepLast), ("reject", OnConflict::Reject)];

/// Limits of MongoDB: secondary indexes per collection, keys per index, and bytes in the name of an index.
/// <https://www.mongodb.com/docs/manual/reference/limits/#indexes>
const INDEXES_MAX: usize = 63;
const INDEX_KEYS_MAX: usize = 32;
const INDEX_NAME_BYTES_MAX: usize = 1024;

const SEVERITIES: &[(&str, Severity)] = &[("reject", Severity::Reject), ("warn", Severity::Warn)];

/// Reads `[identity]`. By default the identity consists of all fields.
pub(super) fn identity(root: &Table<'_>, fields: &[Field], shape: &Shape) -> Result<Identity, SpecError> {
    let Some(table) = root.table("identity")? else {
        return Ok(Identity { fields: (0..fields.len()).collect(), on_conflict: OnConflict::KeepFirst });
    };
    table.only(&["fields", "except", "on_conflict"])?;
    if table.has("fields") && table.has("except") {
        return Err(table.wrong("except", "`fields` already says what the identity is", "keep one of the two"));
    }
    let indices = if table.has("except") {
        let left_out = listed(&table, "except", fields, shape)?;
        (0..fields.len()).filter(|index| !left_out.contains(index)).collect()
    } else {
        identity_fields(&table, fields, shape)?
    };
    if indices.is_empty() {
        let key = if table.has("except") { "except" } else { "fields" };
        return Err(table.wrong(key, "the identity has no field", "keep at least one field"));
    }
    let on_conflict = table.choice("on_conflict", CONFLICTS)?.unwrap_or(OnConflict::KeepFirst);
    Ok(Identity { fields: indices, on_conflict })
}

fn identity_fields(table: &Table<'_>, fields: &[Field], shape: &Shape) -> Result<Vec<usize>, SpecError> {
    match table.text("fields") {
        Ok(None | Some("all")) => Ok((0..fields.len()).collect()),
        Ok(Some(word)) => {
            let problem = format!("`{word}` is not known here");
            Err(table.wrong("fields", problem, "write \"all\" or a list of fields"))
        }
        Err(_) => listed(table, "fields", fields, shape),
    }
}

/// Returns the indices of the listed fields in ascending order. The name of a repeating group means all of its fields,
/// because an array belongs to the identity either completely or not at all.
fn listed(table: &Table<'_>, key: &str, fields: &[Field], shape: &Shape) -> Result<Vec<usize>, SpecError> {
    let mut indices = Vec::new();
    for name in table.texts(key)?.unwrap_or_default() {
        let group = fields_of_group(name, fields, shape);
        let named = if group.is_empty() { vec![find(table, key, name, fields)?] } else { group };
        if indices.contains(&named[0]) {
            return Err(table.wrong(key, format!("`{name}` is listed twice"), "list it once"));
        }
        let arrays = shape.arrays_of(&fields[named[0]]);
        if let Some(outer) = arrays.first().filter(|outer| **outer != name) {
            let problem = format!("`{name}` is inside the array `{outer}`");
            return Err(table.wrong(key, problem, format!("list the whole array: `{outer}`")));
        }
        indices.extend(named);
    }
    indices.sort_unstable();
    Ok(indices)
}

/// Returns the indices of all fields of a repeating group. Returns an empty list if `name` is not such a group.
fn fields_of_group(name: &str, fields: &[Field], shape: &Shape) -> Vec<usize> {
    if !shape.groups.iter().any(|group| group.name == name) {
        return Vec::new();
    }
    (0..fields.len()).filter(|&field| shape.arrays_of(&fields[field]).contains(&name)).collect()
}

fn find(table: &Table<'_>, key: &str, name: &str, fields: &[Field]) -> Result<usize, SpecError> {
    fields.iter().position(|field| field.name == name).ok_or_else(|| {
        let known: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        table.wrong(key, format!("there is no field `{name}`"), suggest(name, &known))
    })
}

/// Reads every `[[plausibility]]`.
pub(super) fn plausibility(root: &Table<'_>, fields: &[Field], shape: &Shape) -> Result<Vec<Plausibility>, SpecError> {
    let mut rules: Vec<Plausibility> = Vec::new();
    for table in root.tables("plausibility")? {
        let rule = plausibility_rule(&table, fields, shape)?;
        if rules.iter().any(|earlier| earlier.name == rule.name) {
            return Err(table.named(&rule.name).wrong(
                "name",
                "another rule has this name",
                "give each a different name",
            ));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn plausibility_rule(table: &Table<'_>, fields: &[Field], shape: &Shape) -> Result<Plausibility, SpecError> {
    let name = table.needed_text("name", "give the rule's name, which reports show")?;
    let table = table.named(name);
    table.only(&["name", "left", "right", "severity"])?;
    let left =
        find(&table, "left", table.needed_text("left", "name the field with the earlier or smaller value")?, fields)?;
    let right =
        find(&table, "right", table.needed_text("right", "name the field with the later or larger value")?, fields)?;
    if left == right {
        return Err(table.wrong("right", "a field is compared with itself", "name two different fields"));
    }
    for (key, field) in [("left", &fields[left]), ("right", &fields[right])] {
        if let Some(array) = shape.arrays_of(field).first() {
            let problem = format!("`{}` can have several values, because `{array}` is an array", field.name);
            return Err(table.wrong(key, problem, "name a field that has one value in each document"));
        }
    }
    check_comparable(&table, &fields[left], &fields[right])?;
    let severity = table.choice("severity", SEVERITIES)?.unwrap_or(Severity::Reject);
    Ok(Plausibility { name: name.to_owned(), left, right, severity })
}

/// Checks that the two fields can be compared exactly: two dates or datetimes, two integers, or two doubles.
fn check_comparable(table: &Table<'_>, left: &Field, right: &Field) -> Result<(), SpecError> {
    let comparable = match (order(&left.kind), order(&right.kind)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    };
    if comparable {
        return Ok(());
    }
    let problem = format!("{} and {} cannot be compared", left.kind.name(), right.kind.name());
    Err(table.wrong("right", problem, "name two dates or datetimes, two integers, or two doubles"))
}

const fn order(kind: &FieldType) -> Option<u8> {
    match kind {
        FieldType::Date | FieldType::Datetime => Some(0),
        FieldType::Int32(_) | FieldType::Int64(_) => Some(1),
        FieldType::Double(_) => Some(2),
        _ => None,
    }
}

/// Reads every `[[index]]`.
pub(super) fn indexes(root: &Table<'_>, fields: &[Field], shape: &Shape) -> Result<Vec<Index>, SpecError> {
    let mut indexes: Vec<Index> = Vec::new();
    for table in root.tables("index")? {
        let index = index(&table, fields, shape)?;
        let table = table.named(&index.name);
        if indexes.iter().any(|earlier| earlier.name == index.name) {
            return Err(table.wrong("name", "another index has this name", "give each a different name"));
        }
        if let Some(same) = indexes.iter().find(|earlier| earlier.keys == index.keys) {
            return Err(table.wrong("keys", format!("the index `{}` has these keys", same.name), "remove one of them"));
        }
        if indexes.len() == INDEXES_MAX {
            let problem = format!("there are more than {INDEXES_MAX} indexes, which a collection cannot have");
            return Err(table.wrong("name", problem, "remove indexes that no query needs"));
        }
        indexes.push(index);
    }
    Ok(indexes)
}

fn index(table: &Table<'_>, fields: &[Field], shape: &Shape) -> Result<Index, SpecError> {
    let name = table.needed_text("name", "give the index's name on the server")?;
    let table = table.named(name);
    table.only(&["name", "keys", "unique"])?;
    if matches!(name, "" | "_id_" | "*") || name.contains('\0') || name.len() > INDEX_NAME_BYTES_MAX {
        return Err(table.wrong("name", "the server does not allow this name", "choose another, e.g. \"by_name\""));
    }
    let mut keys: Vec<(String, i32)> = Vec::new();
    for text in table.texts("keys")?.unwrap_or_default() {
        let key = index_key(&table, text, fields)?;
        if keys.iter().any(|(earlier, _)| *earlier == key.0) {
            return Err(table.wrong("keys", format!("`{}` is listed twice", key.0), "list it once"));
        }
        keys.push(key);
    }
    if keys.len() > INDEX_KEYS_MAX {
        let problem = format!("an index cannot have more than {INDEX_KEYS_MAX} keys");
        return Err(table.wrong("keys", problem, "keep the keys that most queries use"));
    }
    if keys.is_empty() {
        return Err(table.wrong("keys", "the index has no key", "list fields, e.g. [\"Name\", \"-Age\"]"));
    }
    check_arrays(&table, &keys, fields, shape)?;
    Ok(Index { name: name.to_owned(), keys, unique: table.flag("unique")?.unwrap_or(false) })
}

/// Checks that an index does not have keys in two parallel arrays, such as `phones.number` and `names.family`. MongoDB
/// does not allow that. Keys in an array and in an array inside that array are allowed.
/// <https://www.mongodb.com/docs/manual/core/indexes/index-types/index-multikey/#compound-multikey-indexes>
fn check_arrays(table: &Table<'_>, keys: &[(String, i32)], fields: &[Field], shape: &Shape) -> Result<(), SpecError> {
    let mut deepest: Vec<&str> = Vec::new();
    for field in keys.iter().filter_map(|(name, _)| fields.iter().find(|field| field.name == *name)) {
        let arrays = shape.arrays_of(field);
        if let Some((one, other)) = deepest.iter().zip(&arrays).find(|(one, other)| one != other) {
            let problem = format!("`{one}` and `{other}` are two arrays, and an index can have keys of only one");
            return Err(table.wrong("keys", problem, "build an index for each array"));
        }
        if arrays.len() > deepest.len() {
            deepest = arrays;
        }
    }
    Ok(())
}

/// Reads one key of an index, e.g. `Age`, or `-Age` for descending order. If a field is named `-Age`, the key `-Age`
/// means this field in ascending order.
fn index_key(table: &Table<'_>, text: &str, fields: &[Field]) -> Result<(String, i32), SpecError> {
    let is_field = fields.iter().any(|field| field.name == text);
    let (name, direction) = match text.strip_prefix('-') {
        Some(name) if !is_field => (name, -1),
        _ => (text, 1),
    };
    find(table, "keys", name, fields)?;
    Ok((name.to_owned(), direction))
}
