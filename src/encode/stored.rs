//! Reads stored documents: finds `_id`, body and lineage, and compares two documents.

use std::borrow::Cow;

use bson::raw::{CString, cstr};
use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::hash_many::Hasher;
use super::identity::{Digest, Id, IdentityKey};
use super::resource::write_resource;

/// The name of the field for the lineage. A spec cannot use it.
pub(crate) const LINEAGE_FIELD: &str = "_medlift";

/// Length of the `_id` element that Medlift writes, in bytes: type, name, length, subtype, and a UUID of 16 bytes.
pub(crate) const ID_ELEMENT_BYTES: usize = 1 + 4 + 4 + 1 + 16;

const ID_ELEMENT_HEAD: &[u8] = b"\x05_id\0\x10\0\0\0\x04";

/// The parts of a document that Medlift has written and the server has returned.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// The document's `_id`.
    pub id: Id,
    /// The elements after `_id`, without the lineage.
    pub body: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Finds the parts of a document. Returns `None` if the document does not begin with an `_id` that is a UUID. Such
    /// a document was written by another program.
    pub fn parse(document: &'a [u8]) -> Option<Self> {
        let elements = document.get(4..document.len().checked_sub(1)?)?;
        let id = elements.strip_prefix(ID_ELEMENT_HEAD)?.first_chunk::<16>()?;
        Some(Self { id: Id(*id), body: without_lineage(&elements[ID_ELEMENT_BYTES..]) })
    }

    /// Returns the digest of the body. The encoder computes the same digest.
    pub fn digest(&self, key: &IdentityKey) -> Digest {
        Digest::from_hash(&key.hash(self.body))
    }
}

/// Computes the digests of many stored documents in parallel.
#[derive(Debug)]
pub(crate) struct Digester {
    hasher: Hasher,
    hashes: Vec<blake3::Hash>,
}

impl Digester {
    /// Creates a digester with this key.
    pub(crate) fn new(key: IdentityKey) -> Self {
        Self { hasher: Hasher::new(key), hashes: Vec::new() }
    }

    /// Returns each document with its digest, in the given order. Returns `None` for a document that [`Stored::parse`]
    /// cannot read.
    pub(crate) fn digest_all<'a>(
        &mut self,
        documents: &[&'a [u8]],
    ) -> impl Iterator<Item = Option<(Stored<'a>, Digest)>> {
        let stored: Vec<Option<Stored<'a>>> = documents.iter().map(|document| Stored::parse(document)).collect();
        let body = |index: usize| stored[index].as_ref().map_or(&[][..], |stored| stored.body);
        self.hasher.hash_all(stored.len(), body, &mut self.hashes);
        let digests = self.hashes.iter().map(Digest::from_hash);
        stored.into_iter().zip(digests).map(|(stored, digest)| stored.map(|stored| (stored, digest)))
    }
}

/// The beginning of the lineage, up to the id of the load.
const LINEAGE_HEAD: &[u8] = b"\x03_medlift\0\x2c\0\0\0\x05run\0\x10\0\0\0\x04";

/// Length of the lineage in bytes. The lineage is the last element and always has the same length, so one comparison is
/// enough to find it.
const LINEAGE_BYTES: usize = 1 + 9 + 44;

fn without_lineage(elements: &[u8]) -> &[u8] {
    let Some(at) = elements.len().checked_sub(LINEAGE_BYTES) else { return elements };
    if elements[at..].starts_with(LINEAGE_HEAD) { &elements[..at] } else { elements }
}

/// Returns the id of the load that wrote a document, if the document has a lineage.
pub(crate) fn load_of(document: &[u8]) -> Option<[u8; 16]> {
    let elements = &document[..document.len().checked_sub(1)?];
    let lineage = &elements[elements.len().checked_sub(LINEAGE_BYTES)?..];
    lineage.strip_prefix(LINEAGE_HEAD)?.first_chunk().copied()
}

/// Returns the dotted names of the fields in which two documents differ. `_id` and lineage are not compared. A field
/// differs if only one document has it, or if its type or its value differs.
///
/// If an array has the same length in both documents, the differing fields of its items are named, for example
/// `names[1].family`. The first item has the number 0. If the documents differ only in the order of their fields, the
/// result is `order of fields`.
pub(crate) fn fields_that_differ(left: &[u8], right: &[u8]) -> Vec<String> {
    let (left, right) = (leaves(left), leaves(right));
    let mut names = Vec::new();
    add_differences(&left, &right, &mut names);
    if names.is_empty() && left != right {
        names.push("order of fields".into());
    }
    names
}

fn add_differences(left: &[Leaf], right: &[Leaf], names: &mut Vec<String>) {
    for (name, value) in left {
        match right.iter().find(|(other, _)| other == name) {
            Some((_, other)) if other == value => {}
            Some((_, other)) => match items_of(name, value).zip(items_of(name, other)) {
                Some((left, right)) if left.len() == right.len() => {
                    add_differences_of_items(&left, &right, name, names);
                }
                _ => names.push(name.clone()),
            },
            None => names.push(name.clone()),
        }
    }
    let is_new = |name: &&String| !left.iter().any(|(other, _)| other == *name);
    names.extend(right.iter().map(|(name, _)| name).filter(is_new).cloned());
}

fn add_differences_of_items(left: &[Vec<Leaf>], right: &[Vec<Leaf>], array: &str, names: &mut Vec<String>) {
    let before = names.len();
    left.iter().zip(right).for_each(|(left, right)| add_differences(left, right, names));
    // The arrays differ, but no field of an item differs. Therefore the fields of an item are in another order.
    if names.len() == before {
        names.push(array.to_owned());
    }
}

/// Returns the leaves of each item, if the leaf `name` is an array. `value` is the result of [`value_bytes`].
fn items_of(name: &str, value: &[u8]) -> Option<Vec<Vec<Leaf>>> {
    let wrapped = RawDocument::from_bytes(value).ok()?;
    let items = wrapped.get("v").ok()??.as_array()?;
    let leaves = |(index, item): (usize, RawBsonRef<'_>)| {
        let mut found = Vec::new();
        collect_leaf(format!("{name}[{index}]"), item, &mut found);
        found
    };
    Some(items.into_iter().flatten().enumerate().map(leaves).collect())
}

/// Returns the whole record that the field `name` of a document contains. A message has the bytes that it had in the
/// source. A FHIR resource becomes JSON in one line. If the resource itself has no id, the result is an entry of a
/// Bundle: `{"fullUrl":"urn:uuid:ID","resource":{…}}`. Returns `None` if the document has no such field.
pub(crate) fn whole_of<'a>(document: &'a [u8], name: &str) -> Option<Cow<'a, [u8]>> {
    let document = RawDocument::from_bytes(document).ok()?;
    match value_at(document, name)? {
        RawBsonRef::Binary(whole) => Some(Cow::Borrowed(whole.bytes)),
        RawBsonRef::Document(resource) if has_id(resource) => {
            let mut json = Vec::new();
            write_resource(resource, &mut json).ok()?;
            Some(Cow::Owned(json))
        }
        RawBsonRef::Document(resource) => Some(Cow::Owned(write_entry(resource, Some(document.get_str("id").ok()?))?)),
        _ => None,
    }
}

/// Returns the FHIR resource in the field `name` of a document as an entry of a Bundle. The URL of the entry has the id
/// if this is a UUID, because other resources can then refer to it by `urn:uuid:`. Returns `None` if the document has
/// no resource.
pub(crate) fn entry_of(document: &[u8], name: &str) -> Option<Vec<u8>> {
    let document = RawDocument::from_bytes(document).ok()?;
    let RawBsonRef::Document(resource) = value_at(document, name)? else { return None };
    let id = document.get_str("id").ok().filter(|id| !has_id(resource) || bson::Uuid::parse_str(id).is_ok());
    write_entry(resource, id)
}

/// Returns true if a resource has an id of its own.
fn has_id(resource: &RawDocument) -> bool {
    let id = resource.get("id").ok().flatten().and_then(RawBsonRef::as_str);
    id.is_some_and(|id| !id.trim().is_empty())
}

/// Returns an entry of a Bundle as JSON. If `id` is given, the URL of the entry is made from it.
fn write_entry(resource: &RawDocument, id: Option<&str>) -> Option<Vec<u8>> {
    let url = id.map_or_else(String::new, |id| format!("\"fullUrl\":\"urn:uuid:{id}\","));
    let mut json = format!("{{{url}\"resource\":").into_bytes();
    write_resource(resource, &mut json).ok()?;
    json.push(b'}');
    Some(json)
}

/// Returns the value with this name, for example `names[1].family`. Names are written as in the result of
/// [`fields_that_differ`].
pub(crate) fn value_at<'a>(document: &'a RawDocument, name: &str) -> Option<RawBsonRef<'a>> {
    document.iter().flatten().find_map(|(key, value)| value_in(value, key.as_str(), name))
}

/// Returns the value with the name `wanted` inside `value`. `path` is the name of `value` itself.
fn value_in<'a>(value: RawBsonRef<'a>, path: &str, wanted: &str) -> Option<RawBsonRef<'a>> {
    let rest = wanted.strip_prefix(path)?;
    match value {
        value if rest.is_empty() => Some(value),
        RawBsonRef::Document(inner) if rest.starts_with('.') => {
            inner.iter().flatten().find_map(|(key, value)| value_in(value, &format!("{path}.{}", key.as_str()), wanted))
        }
        RawBsonRef::Array(items) if rest.starts_with('[') => {
            let mut items = items.into_iter().flatten().enumerate();
            items.find_map(|(index, item)| value_in(item, &format!("{path}[{index}]"), wanted))
        }
        _ => None,
    }
}

/// Returns true if `stored` has all fields of `ours` with the same types and values. `stored` may have more fields.
pub(crate) fn same_fields(ours: &[u8], stored: &[u8]) -> bool {
    let stored = leaves(stored);
    leaves(ours).iter().all(|leaf| stored.contains(leaf))
}

/// Returns the fields of a document that Medlift has written, under their dotted paths: `{a: {b: 1}}` becomes
/// `{"a.b": 1}`. `_id` is left out, and the lineage stays one field.
pub(crate) fn dotted_fields(document: &[u8]) -> RawDocumentBuf {
    let mut fields = RawDocumentBuf::new();
    if let Ok(document) = RawDocument::from_bytes(document) {
        append_dotted(document, "", &mut fields);
    }
    fields
}

fn append_dotted(document: &RawDocument, prefix: &str, fields: &mut RawDocumentBuf) {
    for (name, value) in document.iter().flatten() {
        let path = format!("{prefix}{}", name.as_str());
        match value {
            _ if path == "_id" => {}
            RawBsonRef::Document(inner) if path != LINEAGE_FIELD => append_dotted(inner, &format!("{path}."), fields),
            value => fields.append(CString::try_from(path).expect("names in BSON contain no NUL"), value),
        }
    }
}

/// The dotted name of a leaf, and the bytes of its type and value. A leaf is a single value, an array, or an empty
/// document.
type Leaf = (String, Vec<u8>);

/// Returns the leaves of a document, without `_id` and lineage. Leaves are compared by their bytes. Therefore -0.0
/// differs from 0.0, and an int32 differs from an int64.
fn leaves(document: &[u8]) -> Vec<Leaf> {
    let mut found = Vec::new();
    if let Ok(document) = RawDocument::from_bytes(document) {
        for (name, value) in document.iter().flatten() {
            collect_leaf(name.as_str().to_owned(), value, &mut found);
        }
    }
    found.retain(|(name, _)| name != "_id" && !name.starts_with("_medlift."));
    found
}

fn collect_leaf(path: String, value: RawBsonRef<'_>, found: &mut Vec<Leaf>) {
    match value {
        RawBsonRef::Document(inner) if !inner.is_empty() => {
            for (name, value) in inner.iter().flatten() {
                collect_leaf(format!("{path}.{}", name.as_str()), value, found);
            }
        }
        value => found.push((path, value_bytes(value))),
    }
}

fn value_bytes(value: RawBsonRef<'_>) -> Vec<u8> {
    let mut wrapped = bson::RawDocumentBuf::new();
    wrapped.append(cstr!("v"), value);
    wrapped.into_bytes()
}
