//! Calls a function with each key and value of a JSON object.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Calls `see` with each key and value of the object `text`, until `see` returns an error. `base` is the position of
/// `text` in its row.
///
/// # Errors
/// If `see` returned an error, returns that error. If the text is not a JSON object, returns the number of the wrong
/// byte of the row, counted from 1.
pub(super) fn walk<'t>(text: &'t str, base: usize, see: &mut See<'_, 't>) -> Result<(), usize> {
    let mut stopped = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let walked = json.deserialize_map(Walk { see, stopped: &mut stopped }).and_then(|()| json.end());
    walked.map_err(|error| stopped.unwrap_or_else(|| base + byte_of(text, &error)))
}

/// Returns the number of the byte of `text` at which the error is, counted from 1.
pub(in crate::parse) fn byte_of(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column()
}

pub(super) type See<'s, 't> = dyn FnMut(Cow<'t, str>, &'t RawValue) -> Result<(), usize> + 's;

struct Walk<'w, 's, 't> {
    see: &'w mut See<'s, 't>,
    stopped: &'w mut Option<usize>,
}

impl<'t> Visitor<'t> for Walk<'_, '_, 't> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value::<&'t RawValue>()?;
            if let Err(column) = (self.see)(key, value) {
                *self.stopped = Some(column);
                return Err(A::Error::custom("stopped"));
            }
        }
        Ok(())
    }
}

/// Reads a key. If the key contains no escapes, it is borrowed from the text.
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
