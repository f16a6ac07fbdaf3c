//! The database, the collection, its validator, its indexes, the view, the roles and the users. Compares the state
//! that the spec requires with the state on the server.
//!
//! This module never writes patient data. It never reads any either, except that it counts the documents that violate
//! the validator.

mod builds;
pub mod doctor;
mod indexes;
mod pattern;
pub mod provision;
pub mod schema;

pub use builds::build_indexes;
