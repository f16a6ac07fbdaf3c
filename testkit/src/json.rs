//! A normal form of JSON, in which two texts can be compared. In this form, 1.50 and 1.5 are different, and the order
//! of keys matters. A comparison of parsed values would miss both differences.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Returns JSON without white space. Equal strings are always written in the same way. Numbers and the order of keys do
/// not change.
///
/// # Panics
/// The text is not JSON.
pub fn normal(json: &str) -> String {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(json).expect("an object");
            let pair = |(key, value): &(String, Box<RawValue>)| format!("{key:?}:{}", normal(value.get()));
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(json).expect("an array");
            format!("[{}]", items.iter().map(|item| normal(item.get())).collect::<Vec<_>>().join(","))
        }
        Some(b'"') => format!("{:?}", serde_json::from_str::<String>(json).expect("a string")),
        _ => json.to_owned(),
    }
}

/// The keys and values of an object, in their order.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Pairs;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::normal;

    #[test]
    fn only_white_space_and_escapes_are_ignored() {
        assert_eq!(normal(" { \"a\" : [ 1.50, \"\\u0041\" ] }"), normal("{\"a\":[1.50,\"A\"]}"));
        assert_ne!(normal("[1.50]"), normal("[1.5]"));
        assert_ne!(normal("{\"a\":1,\"b\":2}"), normal("{\"b\":2,\"a\":1}"));
    }
}
