//! Reads one `[[field]]` of a spec.

use regex::Regex;

use super::source::{Table, suggest};
use crate::spec::range::Bound;
use crate::spec::shape::name_in_item;
use crate::spec::{
    Casing, Constraints, Field, FieldType, Group, NumberFormat, Presence, Privacy, Range, Rule, SpecError,
    same_spelling, trim,
};

/// Keys that are allowed for every type of field.
const SHARED_KEYS: &[&str] =
    &["name", "column", "aliases", "type", "presence", "repeats", "clean", "null_markers", "privacy", "whole"];

/// Keys that a field with `whole = true` may have.
const KEYS_OF_WHOLE: &[&str] = &["name", "whole", "privacy"];

/// Keys that are allowed only for some types.
const TYPED_KEYS: &[(&str, &[&str])] = &[
    ("length", &["string"]),
    ("pattern", &["string"]),
    ("range", &["int32", "int64", "double", "decimal128"]),
    ("thousands", &["int32", "int64", "double", "decimal128"]),
    ("currency", &["int32", "int64", "double", "decimal128"]),
    ("decimal", &["double", "decimal128"]),
    ("truthy", &["bool"]),
    ("falsy", &["bool"]),
    ("values", &["enum"]),
    ("synonyms", &["enum"]),
];

const TYPES: &[&str] = &["string", "int32", "int64", "double", "decimal128", "bool", "date", "datetime", "enum"];

pub(super) const PRESENCES: &[(&str, Presence)] =
    &[("required", Presence::Required), ("nullable", Presence::Nullable), ("optional", Presence::Optional)];

const PRIVACIES: &[(&str, Privacy)] = &[
    ("direct-identifier", Privacy::DirectIdentifier),
    ("quasi-identifier", Privacy::QuasiIdentifier),
    ("clinical", Privacy::Clinical),
    ("none", Privacy::None),
];

const RULES: &[Rule] = &[
    Rule::CollapseWhitespace,
    Rule::Nfc,
    Rule::PersonName,
    Rule::OrganisationName,
    Rule::Case(Casing::Upper),
    Rule::Case(Casing::Lower),
    Rule::NullIfNegative,
];

/// A field, and whether its type could be read. If not, the type is a placeholder, and other parts of the spec must not
/// be compared with it.
pub(super) struct ReadField {
    pub(super) field: Field,
    pub(super) is_typed: bool,
}

/// Reads all fields of a document and notes all errors. A field without its own `null_markers` uses those of `shared`.
/// A field without `column` is read from the column with the field's name. For a field of a repeating group, that is
/// its name inside an item: the field `names.family` of the group `names` is read from `family`.
///
/// Returns `None` if the name or column of a field could not be read. The other parts of the document cannot be checked
/// then.
pub(super) fn read_all(
    document: &Table<'_>,
    tables: &[Table<'_>],
    groups: &[Group],
    shared: &Table<'_>,
) -> Option<Vec<ReadField>> {
    if tables.is_empty() {
        let remedy = "describe each field under a [[field]]";
        document.add(document.wrong("field", "the dataset has no field", remedy));
        return None;
    }
    let markers = document.noted(null_markers(shared)).unwrap_or_default();
    let fields: Vec<Option<ReadField>> = tables.iter().map(|table| read(table, &markers, groups)).collect();
    fields.into_iter().collect()
}

fn read(table: &Table<'_>, dataset_markers: &[String], groups: &[Group]) -> Option<ReadField> {
    let known: Vec<&str> = SHARED_KEYS.iter().chain(TYPED_KEYS.iter().map(|(key, _)| key)).copied().collect();
    let remedy = "give the field's name in the documents, e.g. name = \"Blood Type\"";
    let (name, table) = &table.opened(&known, remedy)?;
    if table.noted(table.flag("whole")) == Some(true) {
        return Some(whole(name, table));
    }
    let type_name = table.note(type_name(table));
    if let Some(type_name) = type_name {
        check_keys(table, type_name);
    }
    let presence = table.choice("presence", PRESENCES).map(|presence| presence.unwrap_or(Presence::Required));
    let presence = table.note(presence);
    let kind = type_name.and_then(|type_name| table.note(kind(table, type_name)));
    let is_typed = kind.is_some();
    let (column, aliases) = (table.note(table.text("column")), table.note(table.texts("aliases")));
    let repeats = table.note(table.flag("repeats"));
    let field = Field {
        name: (*name).to_owned(),
        clean: type_name.map(|type_name| rules(table, type_name, presence)).unwrap_or_default(),
        null_markers: table.noted(null_markers(table)).unwrap_or_else(|| dataset_markers.to_vec()),
        constraints: type_name.map(|type_name| constraints(table, type_name)).unwrap_or_default(),
        privacy: table.note(privacy(table)).unwrap_or(Privacy::None),
        column: column?.unwrap_or_else(|| name_in_item(name, groups)).to_owned(),
        aliases: owned(aliases?.unwrap_or_default()),
        repeats: repeats?.unwrap_or(false),
        kind: kind.unwrap_or(FieldType::String),
        presence: presence.unwrap_or(Presence::Required),
    };
    table.note(check_markers(table, &field));
    Some(ReadField { field, is_typed })
}

/// Reads a field that contains the whole record. The record is stored unchanged, so no rule applies to it.
fn whole(name: &str, table: &Table<'_>) -> ReadField {
    for key in table.keys().filter(|key| !KEYS_OF_WHOLE.contains(key)) {
        let problem = "a field with `whole` has no column, type or rules of its own";
        table.add(table.wrong(key, problem, "remove it, or remove `whole`"));
    }
    let field = Field {
        name: name.to_owned(),
        column: name.to_owned(),
        aliases: Vec::new(),
        kind: FieldType::Whole,
        presence: Presence::Required,
        repeats: false,
        clean: Vec::new(),
        null_markers: Vec::new(),
        constraints: Constraints::default(),
        privacy: table.note(privacy(table)).unwrap_or(Privacy::DirectIdentifier),
    };
    ReadField { field, is_typed: true }
}

/// Returns a field that is read from the first of `paths` that has a value.
pub(super) fn plain(name: &str, paths: &[&str], kind: FieldType, privacy: Privacy) -> Field {
    Field {
        name: name.to_owned(),
        column: paths.first().copied().unwrap_or_default().to_owned(),
        aliases: paths.iter().skip(1).map(|path| (*path).to_owned()).collect(),
        kind,
        presence: Presence::Optional,
        repeats: false,
        clean: Vec::new(),
        null_markers: Vec::new(),
        constraints: Constraints::default(),
        privacy,
    }
}

fn type_name(table: &Table<'_>) -> Result<&'static str, SpecError> {
    let types: Vec<(&str, &'static str)> = TYPES.iter().map(|&name| (name, name)).collect();
    let remedy = || format!("give the field's type: {}", TYPES.join(", "));
    table.choice("type", &types)?.ok_or_else(|| table.wrong("type", "missing", remedy()))
}

pub(super) fn privacy(table: &Table<'_>) -> Result<Privacy, SpecError> {
    let remedy = "say how the field identifies a person: direct-identifier, quasi-identifier, clinical or none";
    table.choice("privacy", PRIVACIES)?.ok_or_else(|| table.wrong("privacy", "missing", remedy))
}

/// Notes keys that are not allowed for the field's type.
fn check_keys(table: &Table<'_>, type_name: &str) {
    for (key, types) in TYPED_KEYS {
        if table.has(key) && !types.contains(&type_name) {
            let problem = format!("does not fit the type {type_name}");
            let remedy = format!("remove it; it is for {}", types.join(", "));
            table.add(table.wrong(key, problem, remedy));
        }
    }
}

fn kind(table: &Table<'_>, type_name: &str) -> Result<FieldType, SpecError> {
    Ok(match type_name {
        "int32" => FieldType::Int32(number_format(table)),
        "int64" => FieldType::Int64(number_format(table)),
        "double" => FieldType::Double(number_format(table)),
        "decimal128" => FieldType::Decimal128(number_format(table)),
        "bool" => boolean(table)?,
        "date" => FieldType::Date,
        "datetime" => FieldType::Datetime,
        "enum" => enumeration(table)?,
        _ => FieldType::String,
    })
}

fn number_format(table: &Table<'_>) -> NumberFormat {
    let separators = [(",", ','), (".", '.'), ("'", '\''), (" ", ' ')];
    let decimal_comma = table.noted(table.choice("decimal", &[(".", false), (",", true)])).unwrap_or(false);
    let format = NumberFormat {
        thousands: table.noted(table.choice("thousands", &separators)),
        decimal_comma,
        currency: table.note(currency(table)).unwrap_or_default(),
    };
    table.note(check_thousands(table, &format));
    format
}

fn check_thousands(table: &Table<'_>, format: &NumberFormat) -> Result<(), SpecError> {
    let mark = if format.decimal_comma { ',' } else { '.' };
    let is_whole = matches!(table.text("type"), Ok(Some("int32" | "int64")));
    let remedy = match table.has("decimal") {
        true => "use two different characters",
        false if is_whole => return Ok(()),
        false => "add decimal = \",\"",
    };
    if format.thousands != Some(mark) {
        return Ok(());
    }
    Err(table.wrong("thousands", "the same sign as the decimal mark", remedy))
}

fn currency(table: &Table<'_>) -> Result<Vec<String>, SpecError> {
    let signs = table.texts("currency")?.unwrap_or_default();
    let part_of_number = |c: char| c.is_ascii_digit() || c.is_whitespace() || "+-.,'".contains(c);
    match signs.iter().find(|sign| sign.is_empty() || sign.contains(part_of_number)) {
        None => Ok(owned(signs)),
        Some(sign) => {
            let problem = format!("`{sign}` cannot be distinguished from the number beside it");
            Err(table.wrong("currency", problem, "write signs or codes, e.g. [\"$\", \"EUR\"]"))
        }
    }
}

fn boolean(table: &Table<'_>) -> Result<FieldType, SpecError> {
    let truthy = table.texts("truthy")?.unwrap_or_else(|| vec!["true", "yes", "y", "1"]);
    let falsy = table.texts("falsy")?.unwrap_or_else(|| vec!["false", "no", "n", "0"]);
    check_list(table, "truthy", &truthy, "write the texts that mean true, e.g. [\"yes\"]")?;
    check_list(table, "falsy", &falsy, "write the texts that mean false, e.g. [\"no\"]")?;
    if let Some(both) = truthy.iter().find(|text| falsy.iter().any(|other| same_spelling(text, other))) {
        return Err(table.wrong("falsy", format!("`{both}` means true already"), "list it once"));
    }
    Ok(FieldType::Bool { truthy: owned(truthy), falsy: owned(falsy) })
}

fn enumeration(table: &Table<'_>) -> Result<FieldType, SpecError> {
    let remedy = "list the allowed values, e.g. values = [\"Female\", \"Male\"]";
    let values = table.texts("values")?.ok_or_else(|| table.wrong("values", "missing", remedy))?;
    check_list(table, "values", &values, remedy)?;
    let synonyms = match table.table("synonyms")? {
        Some(inner) => synonyms(&inner, &values),
        None => Vec::new(),
    };
    Ok(FieldType::Enum { values: owned(values), synonyms })
}

/// Returns the synonyms, each with the index of its value. Notes all errors.
fn synonyms(table: &Table<'_>, values: &[&str]) -> Vec<(String, usize)> {
    let mut synonyms: Vec<(String, usize)> = Vec::new();
    for key in table.keys() {
        if let Some(index) = table.note(synonym(table, key, values, &synonyms)) {
            synonyms.push((key.to_owned(), index));
        }
    }
    synonyms
}

/// Returns the index of the value that the synonym `key` means.
fn synonym(table: &Table<'_>, key: &str, values: &[&str], earlier: &[(String, usize)]) -> Result<usize, SpecError> {
    let value = table.needed_text(key, "give the value that it means")?;
    let index = values
        .iter()
        .position(|known| *known == value)
        .ok_or_else(|| table.wrong(key, format!("`{value}` is not among the values"), suggest(value, values)))?;
    if trim(key) != key || key.is_empty() {
        let remedy = "cells are trimmed: remove the white space";
        return Err(table.wrong(key, "empty, or with white space around it", remedy));
    }
    let earlier = earlier.iter().map(|(text, _)| text.as_str());
    if values.iter().copied().chain(earlier).any(|known| same_spelling(known, key)) {
        let problem = "differs from another spelling only in letter case";
        return Err(table.wrong(key, problem, "remove it: letter case is always ignored"));
    }
    Ok(index)
}

/// Checks a list of cell texts. The list must not be empty, and no text may be listed twice. No text may have white
/// space around it: cells are trimmed, so such a text would never be found.
fn check_list(table: &Table<'_>, key: &str, texts: &[&str], remedy: &str) -> Result<(), SpecError> {
    if texts.is_empty() {
        return Err(table.wrong(key, "the list is empty", remedy));
    }
    for (index, text) in texts.iter().enumerate() {
        if text.is_empty() || trim(text) != *text {
            return Err(table.wrong(key, format!("`{text}` is empty or has white space around it"), remedy));
        }
        if texts[..index].iter().any(|earlier| same_spelling(earlier, text)) {
            return Err(table.wrong(key, format!("`{text}` is listed twice (letter case is ignored)"), "list it once"));
        }
    }
    Ok(())
}

/// Returns the null markers of a table. The empty text is left out, because it always means "no value".
fn null_markers(table: &Table<'_>) -> Result<Option<Vec<String>>, SpecError> {
    let Some(markers) = table.texts("null_markers")? else { return Ok(None) };
    match markers.iter().find(|marker| trim(marker) != **marker) {
        Some(marker) => {
            let problem = format!("`{marker}` has white space around it");
            Err(table.wrong("null_markers", problem, "cells are trimmed: remove the white space"))
        }
        None => Ok(Some(owned(markers.into_iter().filter(|marker| !marker.is_empty()).collect()))),
    }
}

/// Checks that no text is both a null marker and a value of the field.
fn check_markers(table: &Table<'_>, field: &Field) -> Result<(), SpecError> {
    let meanings: Vec<&String> = match &field.kind {
        FieldType::Enum { values, synonyms } => values.iter().chain(synonyms.iter().map(|(text, _)| text)).collect(),
        FieldType::Bool { truthy, falsy } => truthy.iter().chain(falsy).collect(),
        _ => return Ok(()),
    };
    let is_value = |marker: &&String| meanings.iter().any(|value| same_spelling(value, marker));
    match field.null_markers.iter().find(is_value) {
        None => Ok(()),
        Some(marker) => {
            let problem = format!("`{marker}` is a value of this field");
            Err(table.wrong("null_markers", problem, "give this field its own list of null_markers without it"))
        }
    }
}

/// Returns the cleaning rules and notes all errors. `presence` is `None` if it could not be read.
fn rules(table: &Table<'_>, type_name: &str, presence: Option<Presence>) -> Vec<Rule> {
    let mut rules = Vec::new();
    for name in table.noted(table.texts("clean")).unwrap_or_default() {
        rules.extend(table.note(rule(table, name, type_name, presence, &rules)));
    }
    rules
}

fn rule(
    table: &Table<'_>,
    name: &str,
    type_name: &str,
    presence: Option<Presence>,
    earlier: &[Rule],
) -> Result<Rule, SpecError> {
    let choices: Vec<(&str, Rule)> = RULES.iter().map(|&rule| (rule.name(), rule)).collect();
    let rule = table.chosen("clean", name, &choices)?;
    let types = types_of(rule);
    if !types.contains(&type_name) {
        let problem = format!("the rule {name} does not fit the type {type_name}");
        return Err(table.wrong("clean", problem, format!("remove it; it is for {}", types.join(", "))));
    }
    if earlier.contains(&rule) {
        return Err(table.wrong("clean", format!("the rule {name} is listed twice"), "list it once"));
    }
    if rule == Rule::NullIfNegative && presence == Some(Presence::Required) {
        let problem = "null_if_negative sets the value to null, but this field must have a value";
        return Err(table.wrong("clean", problem, "add presence = \"nullable\""));
    }
    Ok(rule)
}

const fn types_of(rule: Rule) -> &'static [&'static str] {
    match rule {
        Rule::CollapseWhitespace | Rule::Nfc | Rule::Case(_) => &["string", "enum"],
        Rule::PersonName | Rule::OrganisationName => &["string"],
        Rule::NullIfNegative => &["int32", "int64", "double", "decimal128"],
    }
}

/// Reads the constraints that the type allows, and notes all errors. Ignores other constraints, because [`check_keys`]
/// reports them.
fn constraints(table: &Table<'_>, type_name: &str) -> Constraints {
    let is_text = type_name == "string";
    Constraints {
        range: table.noted(range(table, type_name)),
        length: if is_text { table.noted(length(table)) } else { None },
        pattern: if is_text { table.noted(pattern(table)) } else { None },
    }
}

/// Returns the range as numbers of the field's type, so that values can be compared exactly.
fn range(table: &Table<'_>, type_name: &str) -> Result<Option<Range>, SpecError> {
    if !matches!(type_name, "int32" | "int64" | "double" | "decimal128") {
        return Ok(None);
    }
    let Some((least, most)) = table.bounds("range")? else { return Ok(None) };
    match type_name {
        "double" => Ok(Some(Range::double(least, most))),
        "decimal128" => Ok(Some(Range::decimal(least, most))),
        _ => {
            let none = || {
                table.wrong(
                    "range",
                    "the range contains no whole number of 64 bits",
                    "widen it, or choose the type double",
                )
            };
            Range::whole(least, most).map(Some).ok_or_else(none)
        }
    }
}

fn length(table: &Table<'_>) -> Result<Option<(u32, u32)>, SpecError> {
    let Some((least, most)) = table.bounds("length")? else { return Ok(None) };
    let count = |bound: Bound| bound.whole().and_then(|number| u32::try_from(number).ok());
    match (count(least), count(most)) {
        (Some(least), Some(most)) => Ok(Some((least, most))),
        _ => Err(table.wrong("length", "not a number of characters", "write two whole numbers, e.g. [1, 80]")),
    }
}

/// Compiles the pattern. It must match the whole text, so `\A` and `\z` are added. Rust's regex and the server's PCRE
/// both support them.
fn pattern(table: &Table<'_>) -> Result<Option<Regex>, SpecError> {
    let Some(pattern) = table.text("pattern")? else { return Ok(None) };
    let refuse = |error: regex::Error| {
        let told = error.to_string();
        let problem = told.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        table.wrong("pattern", problem, "write a regular expression that the whole text matches")
    };
    // The pattern is first compiled alone, because a stray parenthesis in it could pair with an added one: `a)(b` would
    // become `(?:a)(b)`.
    Regex::new(pattern).map_err(refuse)?;
    Regex::new(&format!(r"\A(?:{pattern})\z")).map(Some).map_err(refuse)
}

pub(super) fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(str::to_owned).collect()
}
