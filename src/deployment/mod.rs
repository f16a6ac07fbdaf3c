//! Creates and checks everything in a deployment except the documents: the collection with its validator and indexes,
//! the view, the roles and the users. Compares the state that the spec requires with the state on the server.
//!
//! This module never writes or receives patient data. If documents that violate the validator must be counted, the
//! server counts them and returns only the number.

mod anew;
mod builds;
pub mod doctor;
mod error;
mod indexes;
mod pattern;
mod privileges;
pub mod provision;
pub mod schema;

pub use anew::Surroundings;
pub use builds::build_indexes;
pub use error::DeploymentError;
pub use indexes::unique_index_without_id;
pub use privileges::Privileges;
