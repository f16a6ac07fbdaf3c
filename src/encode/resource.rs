//! The `_id`s of FHIR resources to which other resources refer, and the JSON text of stored resources.

use bson::spec::BinarySubtype;
use bson::{RawBsonRef, RawDocument};

use super::extended_json::{write_json, write_name};
use super::identity::{Id, IdentityKey};
use crate::parse::fhir::{NUMBER_SUBTYPE, number_text};
use crate::spec::{Decimal, Spec};

/// A reference of a resource to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    /// Number of the row in the block, from 0.
    pub row: u32,
    /// Index of the kind of document for the other resource. `None` if the spec does not describe its type. The
    /// collections then do not contain it.
    pub kind: Option<u16>,
    /// The `_id` of the other resource. Zero if its kind is `None`.
    pub target: Id,
}

/// Computes the `_id`s of resources from their ids.
#[derive(Debug)]
pub(crate) struct ResourceIds {
    key: IdentityKey,
    /// For each kind of document, the bytes of the identity elements before the text of the id. `None` if the identity
    /// does not consist of the source, the type and the id.
    elements: Vec<Option<Vec<u8>>>,
    bytes: Vec<u8>,
}

impl ResourceIds {
    /// `kinds` are the kinds of documents. `key` is the key of the hashes.
    pub(crate) fn new(kinds: &[Spec], key: &IdentityKey) -> Self {
        Self { key: key.clone(), elements: kinds.iter().map(elements).collect(), bytes: Vec::new() }
    }

    /// Returns the `_id` of the resource of this kind with this id. Returns `None` if the spec has another identity.
    pub(crate) fn id(&mut self, kind: usize, id: &str) -> Option<Id> {
        self.bytes.clear();
        self.bytes.extend_from_slice(self.elements[kind].as_ref()?);
        push_text(id, &mut self.bytes);
        Some(Id::from_hash(&self.key.hash(&self.bytes)))
    }
}

/// Returns the bytes of the identity elements before the text of the id. The id is the last element.
fn elements(spec: &Spec) -> Option<Vec<u8>> {
    let fields: Vec<_> = spec.identity.fields.iter().map(|field| &spec.fields[*field]).collect();
    let columns: Vec<&str> = fields.iter().map(|field| field.column.as_str()).collect();
    if columns != ["@source", "@type", "@id"] {
        return None;
    }
    let mut bytes = Vec::new();
    for (field, text) in fields.iter().zip([Some(spec.system()), spec.resources.first().map(String::as_str), None]) {
        bytes.push(0x02);
        bytes.extend_from_slice(field.name.as_bytes());
        bytes.push(0);
        if let Some(text) = text {
            push_text(text, &mut bytes);
        }
    }
    Some(bytes)
}

fn push_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
}

/// Appends a stored resource as JSON in one line. Each number has the text that it had in the source.
///
/// # Errors
/// The document is not valid BSON.
pub(crate) fn write_resource(resource: &RawDocument, out: &mut Vec<u8>) -> bson::error::Result<()> {
    out.push(b'{');
    for (position, element) in resource.iter().enumerate() {
        let (name, value) = element?;
        write_name(name.as_str(), position, out);
        write_value(value, out)?;
    }
    out.push(b'}');
    Ok(())
}

/// Returns a stored resource as JSON.
#[cfg(test)]
pub(crate) fn json_of(resource: &RawDocument) -> String {
    let mut out = Vec::new();
    write_resource(resource, &mut out).expect("valid BSON");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn write_value(value: RawBsonRef<'_>, out: &mut Vec<u8>) -> bson::error::Result<()> {
    match value {
        RawBsonRef::Document(document) => write_resource(document, out)?,
        RawBsonRef::Array(items) => {
            out.push(b'[');
            for (position, item) in items.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_value(item?, out)?;
            }
            out.push(b']');
        }
        RawBsonRef::Decimal128(number) => {
            let text = Decimal::from_bson(number.bytes()).map_or_else(|| number.to_string(), number_text);
            out.extend_from_slice(text.as_bytes());
        }
        RawBsonRef::Binary(number) if number.subtype == BinarySubtype::from(NUMBER_SUBTYPE) => {
            out.extend_from_slice(number.bytes);
        }
        RawBsonRef::String(text) => write_json(text, out),
        RawBsonRef::Int32(number) => write_json(&number, out),
        RawBsonRef::Int64(number) => write_json(&number, out),
        RawBsonRef::Boolean(flag) => write_json(&flag, out),
        RawBsonRef::Null => out.extend_from_slice(b"null"),
        // Medlift writes no other types of values into resources. But another program may have changed the document.
        other => super::extended_json::write_relaxed(other, out)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::{Record, Value};
    use crate::encode::Encoder;
    use crate::spec::Dataset;

    #[test]
    fn the_target_of_a_reference_is_the_id_of_the_document() {
        let kinds = Dataset::built_in("fhir-r4").expect("a built-in spec").kinds;
        let key = IdentityKey::from_secret("a deployment's secret");
        let mut ids = ResourceIds::new(&kinds, &key);
        for (index, spec) in kinds.iter().enumerate() {
            let mut record = Record::default();
            for text in [spec.system(), &spec.resources[0], "x1"] {
                record.push_text(text);
            }
            for column in spec.columns().iter().skip(3) {
                record.values.push(if column.node.is_array() { Value::Items(0..0) } else { Value::Null });
                record.values.resize(column.node.fields().end, Value::Null);
            }
            let encoded = Encoder::new(spec, key.clone()).encode(&record, None, &mut Vec::new()).expect("it fits");
            assert_eq!(ids.id(index, "x1"), Some(encoded.id), "{}", spec.name);
        }
        assert_ne!(ids.id(0, "x1"), ids.id(0, "x2"));
    }
}
