//! One JSON object a line: plain JSON, or MongoDB Extended JSON v2, relaxed or canonical (MongoDB specification
//! `source/extended-json`). Values become the text that a CSV's cell would have; numbers keep their digits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Cells;
use super::columns::Columns;
use super::dates::iso_text;
use super::layout::Format;
use crate::read::records;
use crate::reject::{Reason, Reject};
use crate::spec::Spec;

/// Objects inside objects, as deep as `MongoDB` lets a document be.
const DEPTH_MAX: usize = 100;
/// Keys told of in a sample; what has more than this has keys made of data.
const KEYS_MAX: usize = 10_000;

/// How the keys of a row's object lead to fields.
#[derive(Debug, Clone)]
pub(super) struct Ndjson {
    columns: Columns,
    /// The fields of the keys that the sample had, as it spells them.
    known: HashMap<String, Vec<usize>>,
    fields: usize,
}

impl Ndjson {
    pub(super) fn new(spec: &Spec, header: &[String]) -> Self {
        let columns = Columns::new(spec);
        let known = header.iter().map(|key| (key.clone(), columns.fields_of(key).to_vec())).collect();
        Self { columns, known, fields: spec.fields.len() }
    }

    pub(super) fn parse(&self, row: &[u8], cells: &mut Cells) -> Result<(), Reject> {
        let text = std::str::from_utf8(row).map_err(|error| {
            reject(
                None,
                Reason::Undecodable,
                format!("byte {} of the line is not valid UTF-8", error.valid_up_to() + 1),
            )
        })?;
        cells.clear_for(self.fields);
        let mut filling = Filling { ndjson: self, row: text, cells };
        walk(text, 0, &mut |key, value| filling.take(&key, value.get(), 1)).map_err(Stop::into_reject)
    }

    fn fields_of(&self, path: &str) -> &[usize] {
        self.known.get(path).map_or_else(|| self.columns.fields_of(path), Vec::as_slice)
    }
}

/// Why a walk through an object ended early.
enum Stop {
    /// It is not JSON, from that column of the line on.
    NotJson(usize),
    Refused(Reject),
}

impl Stop {
    fn into_reject(self) -> Reject {
        match self {
            Self::NotJson(column) => {
                reject(None, Reason::NotJson, format!("the line is not one JSON object: see its column {column}"))
            }
            Self::Refused(refusal) => refusal,
        }
    }
}

fn reject(field: Option<usize>, reason: Reason, message: impl Into<String>) -> Reject {
    Reject { field, reason, message: message.into() }
}

/// Calls `see` with each key and value of the object `text`, which begins at byte `base` of its line.
fn walk<'t>(
    text: &'t str,
    base: usize,
    see: &mut dyn FnMut(Cow<'t, str>, &'t RawValue) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut stopped = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let walked = json.deserialize_map(Walk { see, stopped: &mut stopped }).and_then(|()| json.end());
    match (stopped, walked) {
        (Some(stop), _) => Err(stop),
        (None, Err(error)) => Err(Stop::NotJson(base + error.column())),
        (None, Ok(())) => Ok(()),
    }
}

struct Walk<'s, 't> {
    see: &'s mut dyn FnMut(Cow<'t, str>, &'t RawValue) -> Result<(), Stop>,
    stopped: &'s mut Option<Stop>,
}

impl<'t> Visitor<'t> for Walk<'_, 't> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value::<&'t RawValue>()?;
            if let Err(stop) = (self.see)(key, value) {
                *self.stopped = Some(stop);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
struct Key;

impl<'t> DeserializeSeed<'t> for Key {
    type Value = Cow<'t, str>;

    fn deserialize<D: Deserializer<'t>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'t> Visitor<'t> for Key {
    type Value = Cow<'t, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'t str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// The cells of one row under way.
struct Filling<'f> {
    ndjson: &'f Ndjson,
    row: &'f str,
    cells: &'f mut Cells,
}

/// The text of a value, as a cell has it.
enum Text<'t> {
    Borrowed(&'t str),
    Owned(String),
}

impl<'f> Filling<'f> {
    /// Takes the value at `path`, `depth` objects deep.
    fn take(&mut self, path: &str, value: &'f str, depth: usize) -> Result<(), Stop> {
        let fields = self.ndjson.fields_of(path);
        if let Some(&field) = fields.first() {
            let text = scalar(value).map_err(|refusal| Stop::Refused(Reject { field: Some(field), ..refusal }))?;
            return fields.iter().try_for_each(|&field| self.set(field, &text));
        }
        if value.starts_with('{') && !is_extended(value) { self.descend(path, value, depth) } else { Ok(()) }
    }

    fn descend(&mut self, path: &str, value: &'f str, depth: usize) -> Result<(), Stop> {
        if depth >= DEPTH_MAX {
            let message = format!("objects are nested more than {DEPTH_MAX} deep");
            return Err(Stop::Refused(reject(None, Reason::NotJson, message)));
        }
        let base = self.place(value);
        walk(value, base, &mut |key, inner| self.take(&format!("{path}.{key}"), inner.get(), depth + 1))
    }

    fn set(&mut self, field: usize, text: &Text<'f>) -> Result<(), Stop> {
        if self.cells.is_set(field) {
            let message = "the object gives this field twice";
            return Err(Stop::Refused(reject(Some(field), Reason::NotJson, message)));
        }
        match text {
            Text::Borrowed("") => self.cells.set_borrowed(field, &(0..0)),
            Text::Borrowed(text) => {
                let start = self.place(text);
                self.cells.set_borrowed(field, &(start..start + text.len()));
            }
            Text::Owned(text) => self.cells.set_owned(field, text.as_bytes()),
        }
        Ok(())
    }

    /// Where `part`, which is a part of the row, begins in it.
    fn place(&self, part: &str) -> usize {
        part.as_ptr() as usize - self.row.as_ptr() as usize
    }
}

/// The text of a value that is no plain object or array. `value` is valid JSON.
fn scalar(value: &str) -> Result<Text<'_>, Reject> {
    match value.as_bytes() {
        [b'"', ..] => string(value),
        [b'n', ..] => Ok(Text::Borrowed("")),
        [b'{', ..] if is_extended(value) => extended(value),
        [b'{' | b'[', ..] => Err(unfit("is an object or an array")),
        _ => Ok(Text::Borrowed(value)),
    }
}

fn unfit(what: &str) -> Reject {
    reject(None, Reason::NotJson, format!("the value {what} where a string, number, boolean, date or null is expected"))
}

/// The text inside a JSON string's quotes, its escapes undone.
fn string(value: &str) -> Result<Text<'_>, Reject> {
    let inside = value.get(1..value.len() - 1).unwrap_or_default();
    if !inside.contains('\\') {
        return Ok(Text::Borrowed(inside));
    }
    serde_json::from_str(value).map(Text::Owned).map_err(|_| unfit("has an escape that stands for no character"))
}

/// Whether an object is a value of Extended JSON: its first key begins with `$`.
fn is_extended(object: &str) -> bool {
    let inside = object.get(1..).unwrap_or_default();
    inside.trim_start().starts_with("\"$")
}

fn extended(object: &str) -> Result<Text<'_>, Reject> {
    match only_entry(object) {
        Some(("$numberInt" | "$numberLong" | "$numberDouble" | "$numberDecimal", value)) => scalar(value),
        Some(("$date", value)) if value.starts_with('"') => string(value),
        Some(("$date", value)) => date(value),
        _ => Err(unfit("is of another type")),
    }
}

/// Key and value of an object that has one entry.
fn only_entry(object: &str) -> Option<(&str, &str)> {
    let (mut entry, mut count) = (None, 0);
    let walked = walk(object, 0, &mut |key, value| {
        count += 1;
        if let Cow::Borrowed(key) = key {
            entry = Some((key, value.get()));
        }
        Ok(())
    });
    entry.filter(|_| count == 1 && walked.is_ok())
}

/// A date as milliseconds since the epoch, plain or as `$numberLong`.
fn date(value: &str) -> Result<Text<'_>, Reject> {
    let digits = match only_entry(value) {
        Some(("$numberLong", digits)) => digits.trim_matches('"'),
        _ => value,
    };
    let text = digits.parse().ok().and_then(iso_text).and_then(|text| String::from_utf8(text.to_vec()).ok());
    text.map(Text::Owned).ok_or_else(|| reject(None, Reason::NotADate, "not a date in the years 0001 to 9999"))
}

/// The paths of all leaves in the sample's rows, in the order in which they first come. Rows that are not JSON have none.
pub(super) fn keys(columns: &Columns, sample: &[u8]) -> Vec<String> {
    let mut keys = Keys { columns, seen: HashMap::new() };
    for span in records(sample, &Format::Ndjson) {
        if let Ok(row) = std::str::from_utf8(&sample[span.start as usize..span.end as usize]) {
            // What a damaged row has before its damage does no harm.
            let _ = walk(row, 0, &mut |key, value| keys.see(&key, value.get(), 1));
        }
    }
    let mut keys: Vec<(String, usize)> = keys.seen.into_iter().collect();
    keys.sort_by_key(|&(_, order)| order);
    keys.into_iter().map(|(key, _)| key).collect()
}

struct Keys<'k> {
    columns: &'k Columns,
    seen: HashMap<String, usize>,
}

impl Keys<'_> {
    fn see(&mut self, path: &str, value: &str, depth: usize) -> Result<(), Stop> {
        let is_nested = value.starts_with('{') && !is_extended(value);
        if is_nested && depth < DEPTH_MAX && self.columns.fields_of(path).is_empty() {
            return walk(value, 0, &mut |key, inner| self.see(&format!("{path}.{key}"), inner.get(), depth + 1));
        }
        if self.seen.len() < KEYS_MAX && !self.seen.contains_key(path) {
            self.seen.insert(path.to_owned(), self.seen.len());
        }
        Ok(())
    }
}
