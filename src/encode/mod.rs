//! Converts records to BSON documents, with their `_id`s and digests, and reads stored documents.
//!
//! The result depends only on the record, the spec, the identity key, and the lineage if the user wants it. The
//! lineage says from which load and which row a document comes. `document` writes documents, and `stored` reads those
//! that the server returns.
//!
//! The same content is always written as the same bytes. Therefore two documents have the same content exactly if
//! their bodies have the same bytes.

mod block;
mod dates;
mod document;
mod element;
pub mod extended_json;
mod fit;
mod hash_many;
mod identity;
mod originals;
mod patient;
mod resource;
mod steps;
mod stored;
pub mod text;
mod version;

pub use block::EncodedBlock;
pub(crate) use block::{EncodedKind, Entry};
pub use document::{Encoded, Encoder, Lineage};
pub(crate) use fit::Misfit;
pub use fit::fit;
pub(crate) use hash_many::HASHED_TOGETHER;
pub(crate) use identity::Digest;
pub use identity::{Id, IdentityKey};
pub use originals::Originals;
pub(crate) use patient::PatientKey;
pub use resource::Reference;
pub(crate) use resource::ResourceIds;
#[cfg(test)]
pub(crate) use resource::json_of;
pub use stored::Stored;
pub(crate) use stored::{
    Digester, LINEAGE_FIELD, dotted_fields, entry_of, fields_that_differ, load_of, same_fields, value_at, whole_of,
};
pub(crate) use version::{OrderField, Rank, Version};

#[cfg(test)]
mod tests;
