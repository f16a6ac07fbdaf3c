//! One document of a patient, as it is shown: its time, what it is, and its most important values.

use bson::{Bson, Document};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

/// A text with more characters is left out of the facts.
const TEXT_MAX: usize = 200;
/// The fields of documents are looked at up to this depth.
const DEPTH_MAX: usize = 3;

/// The time of a document is the first of these fields that it has.
const TIMES: &[&str] = &[
    "eventAt",
    "sentAt",
    "observedAt",
    "admittedAt",
    "dischargedAt",
    "asOf.at",
    "_search.date",
    "_search.effective",
    "_search.onset",
    "_search.authored",
    "_search.recorded",
    "_search.issued",
    "_search.created",
    "_search.period.start",
    "_search.lastUpdated",
    "lastUpdated",
];

/// The fields that say what a document is, in the order in which they are shown. Of fields in one group, the first is
/// shown.
const KINDS: &[&[&str]] = &[
    &["type"],
    &["event"],
    &["status", "_search.status"],
    &["class", "_search.class.code"],
    &["panel.text", "panel.code"],
    &["code.text", "code.code", "_search.code.display", "_search.code.code", "_search.type.code"],
    &["value"],
    &["unit.code", "unit.text"],
    &["flags"],
    &["birthDate", "_search.birthdate"],
];

/// Fields that are not facts: the keys, the lists of the fold, and the lineage.
const LEFT_OUT: &[&str] = &["_id", "patient", "patientAsSent", "messages", "movements", "_medlift"];

/// A document of the patient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// The time in UTC, as RFC 3339. `None` if the document has no date.
    pub time: Option<String>,
    /// The field that has the time.
    pub time_field: Option<String>,
    /// The collection.
    pub collection: String,
    /// The `_id`. A UUID is its text, and any other value is Extended JSON.
    pub id: String,
    /// What the document is, for example `ADT A01`.
    pub what: String,
    /// The values of the document that are single texts, numbers, dates or truth values, with their dotted names, in
    /// the order of the document. In JSON, this is an object.
    #[serde(serialize_with = "as_object")]
    pub facts: Vec<(String, Json)>,
    #[serde(skip)]
    pub(super) time_ms: Option<i64>,
}

impl Entry {
    pub(super) fn new(collection: &str, document: &Document) -> Self {
        let time = time_of(document);
        let mut facts = Vec::new();
        add_facts(document, "", 1, &mut facts);
        let what = what(document).unwrap_or_else(|| first_facts(&facts));
        Self {
            time: time.as_ref().map(|(_, date)| date_text(*date)),
            time_ms: time.as_ref().map(|(_, date)| date.timestamp_millis()),
            time_field: time.map(|(name, _)| name),
            collection: collection.to_owned(),
            id: document.get("_id").map(id_text).unwrap_or_default(),
            what,
            facts,
        }
    }

    /// Returns the line for people. The name of the collection takes `width` characters.
    pub fn line(&self, width: usize) -> String {
        let time = self.time.as_deref().unwrap_or("-");
        let line = format!("{time:<20}  {:<width$}  {}  {}", self.collection, self.what, self.id);
        line.replace(char::is_control, " ")
    }
}

fn as_object<S: Serializer>(facts: &[(String, Json)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(facts.iter().map(|(name, value)| (name, value)))
}

/// Returns the field with the time of the document, and the time. It is the first field of [`TIMES`], otherwise the
/// first date that is not a date of birth.
fn time_of(document: &Document) -> Option<(String, bson::DateTime)> {
    let date = |name: &&str| match first_at(document, name)? {
        Bson::DateTime(date) => Some(((*name).to_owned(), *date)),
        _ => None,
    };
    TIMES.iter().find_map(date).or_else(|| first_date(document, "", 1))
}

fn first_date(document: &Document, prefix: &str, depth: usize) -> Option<(String, bson::DateTime)> {
    let is_time = |name: &str| !name.to_lowercase().contains("birth");
    document.iter().filter(|(name, _)| is_time(name)).find_map(|(name, value)| match value {
        Bson::DateTime(date) => Some((format!("{prefix}{name}"), *date)),
        Bson::Document(inner) if depth < DEPTH_MAX => first_date(inner, &format!("{prefix}{name}."), depth + 1),
        _ => None,
    })
}

/// Returns the value at a dotted name. Of an array, the first item counts.
fn first_at<'d>(document: &'d Document, name: &str) -> Option<&'d Bson> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let mut value = document.get(first)?;
    if let Bson::Array(items) = value {
        value = items.first()?;
    }
    match (rest, value) {
        (None, value) => Some(value),
        (Some(rest), Bson::Document(inner)) => first_at(inner, rest),
        _ => None,
    }
}

/// Returns the values of [`KINDS`] that the document has. `None` if it has none.
fn what(document: &Document) -> Option<String> {
    let of_group = |names: &&[&str]| {
        names.iter().find_map(|name| {
            let text = text_of(first_at(document, name)?)?;
            let is_birth = name.ends_with("irthDate") || name.ends_with("birthdate");
            Some(if is_birth { format!("born {}", day_of_birth(document, &text)) } else { text })
        })
    };
    let mut parts: Vec<String> = KINDS.iter().filter_map(of_group).collect();
    if first_at(document, "mergedInto.patient").is_some() {
        parts.push("merged into another patient".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Returns as much of a date of birth as is known. `text` is the date as RFC 3339.
fn day_of_birth<'t>(document: &Document, text: &'t str) -> &'t str {
    let length = match document.get_str("birthDatePrecision") {
        Ok("year") => 4,
        Ok("month") => 7,
        Ok("day") => 10,
        Err(_) if text.ends_with("T00:00:00Z") => 10,
        _ => text.len(),
    };
    text.get(..length).unwrap_or(text)
}

/// Returns the first facts of a document that has none of the fields in [`KINDS`], for example of a row of a table.
fn first_facts(facts: &[(String, Json)]) -> String {
    let shown = facts.iter().take(4).map(|(name, value)| match value {
        Json::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn text_of(value: &Bson) -> Option<String> {
    match fact_of(value)? {
        Json::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

fn add_facts(document: &Document, prefix: &str, depth: usize, facts: &mut Vec<(String, Json)>) {
    for (name, value) in document.iter().filter(|(name, _)| depth > 1 || !LEFT_OUT.contains(&name.as_str())) {
        let name = format!("{prefix}{name}");
        match value {
            Bson::Document(inner) if depth < DEPTH_MAX => add_facts(inner, &format!("{name}."), depth + 1, facts),
            value => facts.extend(fact_of(value).map(|fact| (name, fact))),
        }
    }
}

/// Returns a single value as JSON. `None` for null, arrays, documents, binary values and long texts.
fn fact_of(value: &Bson) -> Option<Json> {
    match value {
        Bson::String(text) if text.chars().count() <= TEXT_MAX => Some(text.as_str().into()),
        Bson::Boolean(truth) => Some((*truth).into()),
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some((*number).into()),
        Bson::Double(number) => Some((*number).into()),
        Bson::Decimal128(number) => Some(number.to_string().into()),
        Bson::DateTime(date) => Some(date_text(*date).into()),
        Bson::Binary(binary) => binary.to_uuid().ok().map(|uuid| uuid.to_string().into()),
        _ => None,
    }
}

fn date_text(date: bson::DateTime) -> String {
    date.try_to_rfc3339_string().unwrap_or_else(|_| date.timestamp_millis().to_string())
}

fn id_text(id: &Bson) -> String {
    match id {
        Bson::Binary(binary) if let Ok(uuid) = binary.to_uuid() => uuid.to_string(),
        Bson::String(text) => text.clone(),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use bson::{DateTime, doc};

    use super::*;

    fn date(ms: i64) -> DateTime {
        DateTime::from_millis(ms)
    }

    #[track_caller]
    fn check(document: &Document, time: Option<(&str, &str)>, what: &str) {
        let entry = Entry::new("c", document);
        assert_eq!((entry.time_field.as_deref().zip(entry.time.as_deref()), entry.what.as_str()), (time, what));
    }

    #[test]
    fn a_document_has_a_time_and_says_what_it_is() {
        let day = "1970-01-02T00:00:00Z";
        let message = doc! { "type": "ADT", "event": "A01", "sentAt": date(5), "eventAt": date(86_400_000) };
        check(&message, Some(("eventAt", day)), "ADT A01");
        let visit =
            doc! { "asOf": { "at": date(86_400_000) }, "status": "admitted", "class": "I", "number": { "value": "V" } };
        check(&visit, Some(("asOf.at", day)), "admitted I");
        let result = doc! {
            "status": "final", "code": { "code": "K", "text": "Potassium" }, "value": "4", "unit": { "code": "mmol/L" },
            "flags": ["H"], "observedAt": date(86_400_000),
        };
        check(&result, Some(("observedAt", day)), "final Potassium 4 mmol/L H");
        let merged = doc! { "birthDate": date(0), "mergedInto": { "patient": 1 } };
        check(&merged, None, "born 1970-01-01 merged into another patient");
        for (precision, born) in [("year", "1970"), ("month", "1970-01"), ("day", "1970-01-01")] {
            check(&doc! { "birthDate": date(0), "birthDatePrecision": precision }, None, &format!("born {born}"));
        }
        let minute = doc! { "birthDate": date(60_000), "birthDatePrecision": "minute" };
        check(&minute, None, "born 1970-01-01T00:01:00Z");
        let resource = doc! { "_search": { "status": "final", "code": [{ "system": "s", "code": "1-8" }], "date": date(86_400_000) } };
        check(&resource, Some(("_search.date", day)), "final 1-8");
        let row =
            doc! { "Age": 44, "Born": date(0), "Birthday": date(5), "Name": "Ann", "Note": null, "x": { "y": true } };
        check(
            &row,
            Some(("Born", "1970-01-01T00:00:00Z")),
            "Age 44, Born 1970-01-01T00:00:00Z, Birthday 1970-01-01T00:00:00.005Z, Name Ann",
        );
        check(&doc! {}, None, "");
    }

    #[test]
    fn facts_are_single_values_without_keys_and_long_texts() {
        let uuid = bson::Uuid::from_bytes([7; 16]);
        let document = doc! {
            "_id": uuid, "patient": uuid, "visit": uuid, "long": "x".repeat(201), "n": 5_i64, "list": [1],
            "a": { "b": { "c": "deep", "d": { "e": 1 } } }, "messages": { "x": 1 },
        };
        let entry = Entry::new("c", &document);
        let expected = serde_json::json!({ "visit": uuid.to_string(), "n": 5, "a.b.c": "deep" });
        let json = serde_json::to_value(&entry).expect("JSON");
        assert_eq!((&json["facts"], entry.id), (&expected, uuid.to_string()));
        let of = |id: Bson| Entry::new("c", &doc! { "_id": id }).id;
        assert_eq!([of("x".into()), of(5.into())], ["x", "5"]);
    }

    #[test]
    fn a_line_has_no_control_characters() {
        let entry = Entry::new("vi\nits", &doc! { "_id": "\u{1b}[2J", "status": "a\u{1b}[2Jb" });
        assert_eq!(entry.line(8), format!("{:<20}  vi its    a [2Jb   [2J", "-"));
    }
}
