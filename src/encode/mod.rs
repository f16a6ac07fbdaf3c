//! Records to BSON bytes: the document as MongoDB will hold it, its `_id`, its digest and the size limit.
//!
//! Pure functions of a record and a spec. `document` writes, `stored` reads what the server gives back, and both
//! agree on one layout, so that two documents are equal exactly when their bodies are equal byte for byte.

mod block;
mod document;
mod element;
pub mod extended_json;
mod hash_many;
mod identity;
mod stored;
pub mod text;

pub use block::{EncodedBlock, Entry};
pub use document::{DOCUMENT_BYTES_MAX, Encoded, Encoder, Lineage};
pub use hash_many::HASHED_TOGETHER;
pub use identity::{Digest, Id, IdentityKey};
pub use stored::{Digester, ID_ELEMENT_BYTES, LINEAGE_FIELD, Stored, dotted_fields, fields_that_differ, same_fields};

#[cfg(test)]
mod tests;
