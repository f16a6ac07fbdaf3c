//! FHIR R4: reads a row, which is a resource or an entry of a Bundle. Converts the resource to BSON, because it is
//! stored as a whole, and notes the values that the spec reads. Both happen in one pass over the text.
//!
//! A row belongs to one kind of document: the kind of its resource type. The cells of a row are copies of the values,
//! not slices of the row.

mod bundle;
mod convert;
mod found;
mod head;
mod links;
mod number;
mod problem;
mod reference;
mod rows;
mod tree;

#[cfg(test)]
mod tests;

pub use bundle::BundleIds;
pub(crate) use convert::NUMBER_SUBTYPE;
pub(crate) use number::text_of as number_text;
pub(super) use rows::Fhir;
pub(crate) use rows::{is_bundle, type_of};
