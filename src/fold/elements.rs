//! Reads and writes single elements of a document.

use bson::raw::CStr;
use bson::spec::BinarySubtype;
use bson::{RawBinaryRef, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::encode::Id;

/// Appends a UUID.
pub(super) fn put_id(document: &mut RawDocumentBuf, name: impl AsRef<CStr>, id: Id) {
    document.append(name, RawBinaryRef { subtype: BinarySubtype::Uuid, bytes: &id.0 });
}

/// Returns the value with this name.
pub(super) fn get<'d>(document: &'d RawDocument, name: &str) -> Option<RawBsonRef<'d>> {
    document.get(name).ok().flatten()
}
