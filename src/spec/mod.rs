//! The dataset spec: one description of fields, rules and identity from which everything else is derived.
//!
//! A [`Spec`] is immutable once made and valid by construction: [`Spec::from_toml`] refuses a wrong file with line, key
//! and what would be right. This room never reads data, never talks to a server and knows no command line.

mod error;
mod field;
mod from_toml;
mod markdown;
mod range;
mod source;
mod spelling;

use std::fs;
use std::path::Path;

pub use error::SpecError;
pub use field::{Casing, Constraints, Field, FieldType, NumberFormat, Presence, Privacy, Rule};
pub use range::{Decimal, Range};
pub use source::{Sign, SourceFormat};
pub use spelling::{column_key, is_blank, same_spelling, trim};

/// The TOML of the spec that is used where the user gives no other.
pub const ADMISSIONS: &str = include_str!("../../specs/admissions.toml");

/// A dataset: its fields in the order of the document, and what holds between them.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The dataset's name, as in the ledger and in messages.
    pub name: String,
    /// The collection the documents go to unless the user names another.
    pub collection: String,
    /// Where the spec came from, for messages: a path or `built-in:admissions`.
    pub origin: String,
    /// The TOML text, as `medlift spec show` prints it.
    pub text: String,
    /// Leaf fields in document order. Fields that share a dotted prefix stand next to each other.
    pub fields: Vec<Field>,
    /// What makes two rows the same record.
    pub identity: Identity,
    /// Rules between fields.
    pub plausibility: Vec<Plausibility>,
    /// Secondary indexes, built after a first load.
    pub indexes: Vec<Index>,
    /// How the sources are written.
    pub source: SourceFormat,
    /// BLAKE3 of the TOML text, hex: the ledger compares it to tell a changed spec.
    pub hash: String,
}

/// The fields whose values make a record's `_id`, and what happens when two records share them but differ elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Indices into [`Spec::fields`], ascending. All of them by default.
    pub fields: Vec<usize>,
    /// What settles a conflict.
    pub on_conflict: OnConflict,
}

/// What happens to a record whose identity is taken by a different record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The record that came first stays; the later one is counted as a conflict.
    KeepFirst,
    /// The later record replaces the earlier one.
    KeepLast,
    /// The record that came first stays; the later one goes to the reject file.
    Reject,
}

/// A rule between two fields of one record: `left` must not come after `right`. A null on either side satisfies it.
#[derive(Debug, Clone)]
pub struct Plausibility {
    /// The rule's name, as in the reject file and the summary.
    pub name: String,
    /// Index of the field that must be smaller or equal.
    pub left: usize,
    /// Index of the field that must be greater or equal.
    pub right: usize,
    /// Whether a violation rejects the row or is only counted.
    pub severity: Severity,
}

/// How much a broken plausibility rule weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The row is rejected.
    Reject,
    /// The row is loaded and the violation counted.
    Warn,
}

/// A secondary index of the collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The index's name on the server.
    pub name: String,
    /// Key fields by dotted name, with 1 or -1.
    pub keys: Vec<(String, i32)>,
    /// Whether two documents may share a key.
    pub unique: bool,
}

impl Spec {
    /// The spec of hospital admissions, built into the program.
    ///
    /// # Panics
    ///
    /// Never: that the built-in text is right is tested.
    pub fn built_in() -> Self {
        Self::from_toml(ADMISSIONS, "built-in:admissions").expect("specs/admissions.toml is tested to be right")
    }

    /// Reads a spec from its TOML text; `origin` is how messages name it.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, SpecError> {
        from_toml::read(text, origin)
    }

    /// Reads a spec from a file.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        let text =
            fs::read_to_string(path).map_err(|source| SpecError::Unreadable { path: path.to_owned(), source })?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// The index of the field with this dotted name.
    pub fn field_index(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

#[cfg(test)]
mod tests;
