//! Converts records to BSON: the stored document, its `_id`, its digest, and the check of its size.
//!
//! All functions depend only on the record, the spec and the identity key. `document` writes documents, and `stored`
//! reads documents that the server returns. Both use the same layout, so that two documents are equal if and only if
//! their bodies are equal byte for byte.

mod block;
mod document;
mod element;
pub mod extended_json;
mod fit;
mod hash_many;
mod identity;
mod steps;
mod stored;
pub mod text;

pub use block::{EncodedBlock, EncodedKind, Entry};
pub use document::{DOCUMENT_BYTES_MAX, Encoded, Encoder, Lineage};
pub use fit::{Misfit, fit};
pub use hash_many::HASHED_TOGETHER;
pub use identity::{Digest, Id, IdentityKey};
pub use stored::{
    Digester, ID_ELEMENT_BYTES, LINEAGE_FIELD, Stored, dotted_fields, fields_that_differ, same_fields, value_at,
};

#[cfg(test)]
mod tests;
