//! Converts records to BSON: the stored document, its `_id`, its digest, and the check of its size.
//!
//! All functions depend only on the record, the spec and the identity key. `document` writes documents, and `stored`
//! reads documents that the server returns. Both use the same layout, so that two documents are equal if and only if
//! their bodies are equal byte for byte.

mod block;
mod dates;
mod document;
mod element;
pub mod extended_json;
mod fit;
mod hash_many;
mod identity;
mod originals;
mod steps;
mod stored;
pub mod text;

pub use block::EncodedBlock;
pub(crate) use block::{EncodedKind, Entry};
pub use document::{Encoded, Encoder, Lineage};
pub(crate) use fit::Misfit;
pub use fit::fit;
pub(crate) use hash_many::HASHED_TOGETHER;
pub(crate) use identity::Digest;
pub use identity::{Id, IdentityKey};
pub use originals::Originals;
pub use stored::Stored;
pub(crate) use stored::{Digester, LINEAGE_FIELD, dotted_fields, fields_that_differ, same_fields, value_at};

#[cfg(test)]
mod tests;
