//! Reads and writes single elements of a document.

use bson::raw::CStr;
use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::encode::Id;

/// Makes an empty document with memory for this number of bytes, so that it need not grow step by step.
pub(super) fn document_of(bytes: usize) -> RawDocumentBuf {
    let mut empty = Vec::with_capacity(bytes);
    empty.extend_from_slice(&[5, 0, 0, 0, 0]);
    RawDocumentBuf::from_bytes(empty).unwrap_or_default()
}

/// Appends a UUID.
pub(super) fn put_id(document: &mut RawDocumentBuf, name: impl AsRef<CStr>, id: Id) {
    document.append(name, RawBinaryRef { subtype: BinarySubtype::Uuid, bytes: &id.0 });
}

/// Returns the value with this name.
pub(super) fn get<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    document.get(name).ok().flatten()
}

/// Returns the size of a text, a list or a document in bytes. Other values are small, and count as 0.
pub(super) fn size_of_value(value: &RawBson) -> usize {
    match value {
        RawBson::String(text) => text.len(),
        RawBson::Array(list) => list.as_bytes().len(),
        RawBson::Document(document) => document.as_bytes().len(),
        _ => 0,
    }
}
