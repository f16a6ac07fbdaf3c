//! Finds the documents of one patient in all collections of a database.
//!
//! A document that a load or a fold made from data of a patient has the patient's key in its field `patient`. This
//! module derives the key from an identifier as they do, follows merges, and reads the documents. No error and no
//! notice contains the identifier or a value of a document.

mod collections;
mod entry;
mod name;
mod search;

pub use entry::Entry;
pub use name::{Name, NameError};
pub use search::{Found, Question, SearchError, search};
