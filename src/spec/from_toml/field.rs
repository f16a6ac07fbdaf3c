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
    &["name", "column", "aliases", "type", "presence", "repeats", "clean", "null_markers", "privacy"];

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

/// Reads all fields of a document. A field without its own `null_markers` uses those of `shared`. A field without
/// `column` is read from the column with the field's name. For a field of a repeating group, that is its name inside an
/// item: the field `names.family` of the group `names` is read from `family`.
pub(super) fn read_all(
    document: &Table<'_>,
    tables: &[Table<'_>],
    groups: &[Group],
    shared: &Table<'_>,
) -> Result<Vec<Field>, SpecError> {
    if tables.is_empty() {
        return Err(document.wrong("field", "the dataset has no field", "describe each field under a [[field]]"));
    }
    let markers = null_markers(shared)?.unwrap_or_default();
    tables.iter().map(|table| read(table, &markers, groups)).collect()
}

fn read(table: &Table<'_>, dataset_markers: &[String], groups: &[Group]) -> Result<Field, SpecError> {
    let name = table.needed_text("name", "give the field's name in the documents, e.g. name = \"Blood Type\"")?;
    let table = &table.named(name);
    let type_name = type_name(table)?;
    check_keys(table, type_name)?;
    let kind = kind(table, type_name)?;
    let presence = table.choice("presence", PRESENCES)?.unwrap_or(Presence::Required);
    let field = Field {
        name: name.to_owned(),
        column: table.text("column")?.unwrap_or_else(|| name_in_item(name, groups)).to_owned(),
        aliases: owned(table.texts("aliases")?.unwrap_or_default()),
        clean: rules(table, type_name, presence)?,
        null_markers: null_markers(table)?.unwrap_or_else(|| dataset_markers.to_vec()),
        constraints: constraints(table, &kind)?,
        privacy: table.choice("privacy", PRIVACIES)?.ok_or_else(|| missing_privacy(table))?,
        repeats: table.flag("repeats")?.unwrap_or(false),
        kind,
        presence,
    };
    check_markers(table, &field)?;
    Ok(field)
}

fn type_name(table: &Table<'_>) -> Result<&'static str, SpecError> {
    let types: Vec<(&str, &'static str)> = TYPES.iter().map(|&name| (name, name)).collect();
    let remedy = || format!("give the field's type: {}", TYPES.join(", "));
    table.choice("type", &types)?.ok_or_else(|| table.wrong("type", "missing", remedy()))
}

fn missing_privacy(table: &Table<'_>) -> SpecError {
    let remedy = "say how the field identifies a person: direct-identifier, quasi-identifier, clinical or none";
    table.wrong("privacy", "missing", remedy)
}

/// Reports unknown keys, and known keys that are not allowed for the field's type.
fn check_keys(table: &Table<'_>, type_name: &str) -> Result<(), SpecError> {
    let known: Vec<&str> = SHARED_KEYS.iter().chain(TYPED_KEYS.iter().map(|(key, _)| key)).copied().collect();
    table.only(&known)?;
    for (key, types) in TYPED_KEYS {
        if table.has(key) && !types.contains(&type_name) {
            let problem = format!("does not fit the type {type_name}");
            return Err(table.wrong(key, problem, format!("remove it; it is for {}", types.join(", "))));
        }
    }
    Ok(())
}

fn kind(table: &Table<'_>, type_name: &str) -> Result<FieldType, SpecError> {
    Ok(match type_name {
        "int32" => FieldType::Int32(number_format(table)?),
        "int64" => FieldType::Int64(number_format(table)?),
        "double" => FieldType::Double(number_format(table)?),
        "decimal128" => FieldType::Decimal128(number_format(table)?),
        "bool" => boolean(table)?,
        "date" => FieldType::Date,
        "datetime" => FieldType::Datetime,
        "enum" => enumeration(table)?,
        _ => FieldType::String,
    })
}

fn number_format(table: &Table<'_>) -> Result<NumberFormat, SpecError> {
    let separators = [(",", ','), (".", '.'), ("'", '\''), (" ", ' ')];
    let thousands = table.choice("thousands", &separators)?;
    let decimal_comma = table.choice("decimal", &[(".", false), (",", true)])?.unwrap_or(false);
    let mark = if decimal_comma { ',' } else { '.' };
    if thousands == Some(mark) && table.has("decimal") {
        return Err(table.wrong("thousands", "the same sign as the decimal mark", "use two different characters"));
    }
    if thousands == Some(mark) && !matches!(table.text("type")?, Some("int32" | "int64")) {
        return Err(table.wrong("thousands", "the same sign as the decimal mark", "add decimal = \",\""));
    }
    Ok(NumberFormat { thousands, decimal_comma, currency: currency(table)? })
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
        Some(inner) => synonyms(&inner, &values)?,
        None => Vec::new(),
    };
    Ok(FieldType::Enum { values: owned(values), synonyms })
}

fn synonyms(table: &Table<'_>, values: &[&str]) -> Result<Vec<(String, usize)>, SpecError> {
    let mut synonyms: Vec<(String, usize)> = Vec::new();
    for key in table.keys() {
        let value = table.needed_text(key, "give the value that it means")?;
        let index = values
            .iter()
            .position(|known| *known == value)
            .ok_or_else(|| table.wrong(key, format!("`{value}` is not among the values"), suggest(value, values)))?;
        if trim(key) != key || key.is_empty() {
            return Err(table.wrong(
                key,
                "empty, or with white space around it",
                "cells are trimmed: remove the white space",
            ));
        }
        let earlier = synonyms.iter().map(|(text, _)| text.as_str());
        if values.iter().copied().chain(earlier).any(|known| same_spelling(known, key)) {
            return Err(table.wrong(
                key,
                "differs from another spelling only in letter case",
                "remove it: letter case is always ignored",
            ));
        }
        synonyms.push((key.to_owned(), index));
    }
    Ok(synonyms)
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

fn rules(table: &Table<'_>, type_name: &str, presence: Presence) -> Result<Vec<Rule>, SpecError> {
    let choices: Vec<(&str, Rule)> = RULES.iter().map(|&rule| (rule.name(), rule)).collect();
    let mut rules = Vec::new();
    for name in table.texts("clean")?.unwrap_or_default() {
        let rule = table.chosen("clean", name, &choices)?;
        let types = types_of(rule);
        if !types.contains(&type_name) {
            let problem = format!("the rule {name} does not fit the type {type_name}");
            return Err(table.wrong("clean", problem, format!("remove it; it is for {}", types.join(", "))));
        }
        if rules.contains(&rule) {
            return Err(table.wrong("clean", format!("the rule {name} is listed twice"), "list it once"));
        }
        if rule == Rule::NullIfNegative && presence == Presence::Required {
            let problem = "null_if_negative sets the value to null, but this field must have a value";
            return Err(table.wrong("clean", problem, "add presence = \"nullable\""));
        }
        rules.push(rule);
    }
    Ok(rules)
}

const fn types_of(rule: Rule) -> &'static [&'static str] {
    match rule {
        Rule::CollapseWhitespace | Rule::Nfc | Rule::Case(_) => &["string", "enum"],
        Rule::PersonName | Rule::OrganisationName => &["string"],
        Rule::NullIfNegative => &["int32", "int64", "double", "decimal128"],
    }
}

fn constraints(table: &Table<'_>, kind: &FieldType) -> Result<Constraints, SpecError> {
    Ok(Constraints { range: range(table, kind)?, length: length(table)?, pattern: pattern(table)? })
}

/// Returns the range as numbers of the field's type, so that values can be compared exactly.
fn range(table: &Table<'_>, kind: &FieldType) -> Result<Option<Range>, SpecError> {
    let Some((least, most)) = table.bounds("range")? else { return Ok(None) };
    match kind {
        FieldType::Double(_) => Ok(Some(Range::double(least, most))),
        FieldType::Decimal128(_) => Ok(Some(Range::decimal(least, most))),
        _ => {
            let none =
                || table.wrong("range", "the range contains no whole number", "widen it, or choose the type double");
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
