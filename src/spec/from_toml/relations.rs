//! Reads the parts of a spec that refer to fields by name: identity, plausibility and indexes.

use super::source::{Table, suggest};
use crate::spec::{Field, FieldType, Identity, Index, OnConflict, Plausibility, Severity, Shape, SpecError};

/// The values of `on_conflict`. The index in `Newest` is a placeholder.
const CONFLICTS: &[(&str, OnConflict)] = &[
    ("keep-first", OnConflict::KeepFirst),
    ("keep-last", OnConflict::KeepLast),
    ("reject", OnConflict::Reject),
    ("newest", OnConflict::Newest { order_by: 0 }),
];

/// Limits of MongoDB: secondary indexes per collection, and keys per index.
/// <https://www.mongodb.com/docs/manual/reference/limits/#indexes>
const INDEXES_MAX: usize = 63;
const INDEX_KEYS_MAX: usize = 32;

/// Maximum length of an index's name, in bytes. MongoDB has no limit; a longer name is certainly a mistake.
const INDEX_NAME_BYTES_MAX: usize = 1024;

const SEVERITIES: &[(&str, Severity)] = &[("reject", Severity::Reject), ("warn", Severity::Warn)];

/// Reads `[identity]` and notes its errors. By default the identity consists of all fields. `untyped` are the fields
/// whose types could not be read.
pub(super) fn identity(root: &Table<'_>, fields: &[Field], untyped: &[String], shape: &Shape) -> Identity {
    let all = || (0..fields.len()).collect();
    let Some(table) = root.noted(root.table("identity")) else {
        return Identity { fields: all(), on_conflict: OnConflict::KeepFirst };
    };
    table.only(&["fields", "except", "on_conflict", "order_by"]);
    let identity = indices(&table, fields, shape);
    let newest = || order_field(&table, identity.as_deref().unwrap_or_default(), fields, untyped, shape);
    let on_conflict = match table.note(table.choice("on_conflict", CONFLICTS)) {
        Some(Some(OnConflict::Newest { .. })) => {
            table.note(newest()).map_or(OnConflict::KeepFirst, |order_by| OnConflict::Newest { order_by })
        }
        rule => {
            if rule.is_some() && table.has("order_by") {
                let problem = "only the rule \"newest\" compares records by a field";
                table.add(table.wrong("order_by", problem, "add on_conflict = \"newest\", or remove the key"));
            }
            rule.flatten().unwrap_or(OnConflict::KeepFirst)
        }
    };
    Identity { fields: identity.unwrap_or_else(all), on_conflict }
}

/// Reads `order_by` and returns the index of the field. `identity` are the indices of the identity's fields.
fn order_field(
    table: &Table<'_>,
    identity: &[usize],
    fields: &[Field],
    untyped: &[String],
    shape: &Shape,
) -> Result<usize, SpecError> {
    let missing = "name the field whose greatest value makes a record the newest, e.g. order_by = \"updated_at\"";
    let name = table.needed_text("order_by", missing)?;
    let order_by = find(table, "order_by", name, fields)?;
    let field = &fields[order_by];
    let remedy = "name a field of type date, datetime, int32, int64 or decimal128";
    if !shape.arrays_of(field).is_empty() {
        return Err(table.wrong("order_by", format!("`{name}` can have several values in a document"), remedy));
    }
    if identity.contains(&order_by) {
        let problem = format!("`{name}` belongs to the identity, so it does not order records with the same identity");
        return Err(table.wrong("order_by", problem, "leave it out of the identity, or name another field"));
    }
    let orders = matches!(
        field.kind,
        FieldType::Date | FieldType::Datetime | FieldType::Int32(_) | FieldType::Int64(_) | FieldType::Decimal128(_)
    );
    if !orders && !untyped.iter().any(|untyped| untyped == name) {
        return Err(table.wrong("order_by", format!("`{name}` has the type {}", field.kind.name()), remedy));
    }
    Ok(order_by)
}

/// Returns the indices of the identity's fields, ascending. Returns `None` after it has noted an error.
fn indices(table: &Table<'_>, fields: &[Field], shape: &Shape) -> Option<Vec<usize>> {
    let indices = match (table.has("fields"), table.has("except")) {
        (true, true) => {
            table.add(table.wrong("except", "`fields` already says what the identity is", "keep one of the two"));
            return None;
        }
        (_, true) => {
            let left_out = listed(table, "except", fields, shape)?;
            (0..fields.len()).filter(|index| !left_out.contains(index)).collect()
        }
        _ => identity_fields(table, fields, shape)?,
    };
    if indices.is_empty() {
        let key = if table.has("except") { "except" } else { "fields" };
        table.add(table.wrong(key, "the identity has no field", "keep at least one field"));
        return None;
    }
    Some(indices)
}

fn identity_fields(table: &Table<'_>, fields: &[Field], shape: &Shape) -> Option<Vec<usize>> {
    match table.text("fields") {
        Ok(None | Some("all")) => Some((0..fields.len()).collect()),
        Ok(Some(word)) => {
            let problem = format!("`{word}` is not known here");
            table.add(table.wrong("fields", problem, "write \"all\" or a list of fields"));
            None
        }
        Err(_) => listed(table, "fields", fields, shape),
    }
}

/// Returns the indices of the listed fields in ascending order. Returns `None` after it has noted all errors.
fn listed(table: &Table<'_>, key: &str, fields: &[Field], shape: &Shape) -> Option<Vec<usize>> {
    let names = table.note(table.texts(key))?.unwrap_or_default();
    let mut indices = Vec::new();
    let mut are_right = true;
    for name in names {
        let found = table.note(listed_fields(table, key, name, fields, shape, &indices));
        are_right &= found.is_some();
        indices.extend(found.unwrap_or_default());
    }
    indices.sort_unstable();
    are_right.then_some(indices)
}

/// Returns the index of the field with this name. If `name` is a repeating group, returns the indices of all its
/// fields, because an array belongs to the identity either completely or not at all. `earlier` are the indices that
/// were listed before.
fn listed_fields(
    table: &Table<'_>,
    key: &str,
    name: &str,
    fields: &[Field],
    shape: &Shape,
    earlier: &[usize],
) -> Result<Vec<usize>, SpecError> {
    let group = fields_of_group(name, fields, shape);
    let named = if group.is_empty() { vec![find(table, key, name, fields)?] } else { group };
    if earlier.contains(&named[0]) {
        return Err(table.wrong(key, format!("`{name}` is listed twice"), "list it once"));
    }
    let arrays = shape.arrays_of(&fields[named[0]]);
    if let Some(outer) = arrays.first().filter(|outer| **outer != name) {
        let problem = format!("`{name}` is inside the array `{outer}`");
        return Err(table.wrong(key, problem, format!("list the whole array: `{outer}`")));
    }
    Ok(named)
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

/// Reads every `[[plausibility]]` and notes all errors. `untyped` are the fields whose types could not be read.
pub(super) fn plausibility(root: &Table<'_>, fields: &[Field], untyped: &[String], shape: &Shape) -> Vec<Plausibility> {
    let mut rules: Vec<Plausibility> = Vec::new();
    for table in root.note(root.tables("plausibility")).unwrap_or_default() {
        let Some(rule) = plausibility_rule(&table, fields, untyped, shape) else { continue };
        if rules.iter().any(|earlier| earlier.name == rule.name) {
            let table = table.named(&rule.name);
            table.add(table.wrong("name", "another rule has this name", "give each a different name"));
        }
        rules.push(rule);
    }
    rules
}

fn plausibility_rule(table: &Table<'_>, fields: &[Field], untyped: &[String], shape: &Shape) -> Option<Plausibility> {
    let (name, table) =
        table.opened(&["name", "left", "right", "severity"], "give the rule's name, which reports show")?;
    let severity = table.noted(table.choice("severity", SEVERITIES)).unwrap_or(Severity::Reject);
    let side = |key: &str, remedy: &str| find(&table, key, table.needed_text(key, remedy)?, fields);
    let left = table.note(side("left", "name the field with the earlier or smaller value"));
    let right = table.note(side("right", "name the field with the later or larger value"));
    let (left, right) = (left?, right?);
    let are_typed = [left, right].iter().all(|&field| !untyped.contains(&fields[field].name));
    table.note(check_sides(&table, [left, right], fields, are_typed, shape))?;
    Some(Plausibility { name: name.to_owned(), left, right, severity })
}

/// Checks the fields of a plausibility rule. Their types are compared only if `are_typed` is true.
fn check_sides(
    table: &Table<'_>,
    [left, right]: [usize; 2],
    fields: &[Field],
    are_typed: bool,
    shape: &Shape,
) -> Result<(), SpecError> {
    if left == right {
        return Err(table.wrong("right", "a field is compared with itself", "name two different fields"));
    }
    for (key, field) in [("left", &fields[left]), ("right", &fields[right])] {
        if let Some(array) = shape.arrays_of(field).first() {
            let problem = format!("`{}` can have several values, because `{array}` is an array", field.name);
            return Err(table.wrong(key, problem, "name a field that has one value in each document"));
        }
    }
    if are_typed { check_comparable(table, &fields[left], &fields[right]) } else { Ok(()) }
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

/// Reads every `[[index]]` and notes all errors.
pub(super) fn indexes(root: &Table<'_>, fields: &[Field], shape: &Shape) -> Vec<Index> {
    let mut indexes: Vec<Index> = Vec::new();
    for table in root.note(root.tables("index")).unwrap_or_default() {
        if let Some(index) = index(&table, fields, shape) {
            let table = table.named(&index.name);
            table.note(check_index(&table, &index, &indexes));
            indexes.push(index);
        }
    }
    indexes
}

/// Checks an index against the earlier ones.
fn check_index(table: &Table<'_>, index: &Index, earlier: &[Index]) -> Result<(), SpecError> {
    if earlier.iter().any(|earlier| earlier.name == index.name) {
        return Err(table.wrong("name", "another index has this name", "give each a different name"));
    }
    if let Some(same) = earlier.iter().find(|earlier| earlier.keys == index.keys) {
        return Err(table.wrong("keys", format!("the index `{}` has these keys", same.name), "remove one of them"));
    }
    if earlier.len() == INDEXES_MAX {
        let problem = format!("there are more than {INDEXES_MAX} indexes, which a collection cannot have");
        return Err(table.wrong("name", problem, "remove indexes that no query needs"));
    }
    Ok(())
}

fn index(table: &Table<'_>, fields: &[Field], shape: &Shape) -> Option<Index> {
    let (name, table) = table.opened(&["name", "keys", "unique"], "give the index's name on the server")?;
    let problem = if matches!(name, "" | "_id_" | "*") || name.contains('\0') {
        Some("the server does not allow this name".to_owned())
    } else {
        (name.len() > INDEX_NAME_BYTES_MAX).then(|| format!("the name has more than {INDEX_NAME_BYTES_MAX} bytes"))
    };
    if let Some(problem) = problem {
        table.add(table.wrong("name", problem, "choose another, e.g. \"by_name\""));
    }
    let unique = table.noted(table.flag("unique")).unwrap_or(false);
    let keys = index_keys(&table, fields)?;
    table.note(check_keys(&table, &keys, fields, shape))?;
    Some(Index { name: name.to_owned(), keys, unique })
}

/// Returns the keys of an index. Returns `None` after it has noted all errors.
fn index_keys(table: &Table<'_>, fields: &[Field]) -> Option<Vec<(String, i32)>> {
    let texts = table.note(table.texts("keys"))?.unwrap_or_default();
    let mut keys: Vec<(String, i32)> = Vec::new();
    let mut are_right = true;
    for text in texts {
        let key = table.note(index_key(table, text, fields));
        are_right &= key.is_some();
        keys.extend(key);
    }
    are_right.then_some(keys)
}

/// Checks the number of keys, and that no field is listed twice.
fn check_keys(table: &Table<'_>, keys: &[(String, i32)], fields: &[Field], shape: &Shape) -> Result<(), SpecError> {
    for (position, (name, _)) in keys.iter().enumerate() {
        if keys[..position].iter().any(|(earlier, _)| earlier == name) {
            return Err(table.wrong("keys", format!("`{name}` is listed twice"), "list it once"));
        }
    }
    if keys.len() > INDEX_KEYS_MAX {
        let problem = format!("an index cannot have more than {INDEX_KEYS_MAX} keys");
        return Err(table.wrong("keys", problem, "keep the keys that most queries use"));
    }
    if keys.is_empty() {
        return Err(table.wrong("keys", "the index has no key", "list fields, e.g. [\"Name\", \"-Age\"]"));
    }
    check_arrays(table, keys, fields, shape)
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
