//! The dataset spec: one description of fields, rules and identity, from which everything else is derived.
//!
//! A [`Spec`] is immutable and always valid. [`Spec::from_toml`] refuses a wrong file and reports the line, the key
//! and the remedy. This module never reads data, never connects to a server, and does not know the command line.

mod dataset;
mod error;
mod field;
mod from_toml;
mod markdown;
mod range;
mod shape;
mod source;
mod spelling;

use std::path::Path;

pub use dataset::Dataset;
pub(crate) use error::SpecError;
pub(crate) use field::{Casing, Rule};
pub use field::{Constraints, Field, FieldType, NumberFormat, Presence, Privacy};
pub(crate) use range::Decimal;
pub use range::Range;
pub use shape::{Column, Shape};
pub(crate) use shape::{Group, Node};
pub use source::{Sign, SourceFormat};
pub use spelling::trim;
pub(crate) use spelling::{column_key, is_blank, same_spelling};

/// The TOML of the built-in spec, which is used if the user gives no other.
pub const ADMISSIONS: &str = include_str!("../../specs/admissions.toml");

/// A dataset: its fields in document order, and the rules between them.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The dataset's name, as used in the ledger and in messages.
    pub name: String,
    /// The collection for the documents, unless the user names another.
    pub collection: String,
    /// The origin of the spec, for messages: a path or `built-in:admissions`.
    pub origin: String,
    /// The TOML text, as `medlift spec show` prints it.
    pub text: String,
    /// The fields that contain values, in document order. Fields with the same dotted prefix follow each other.
    pub fields: Vec<Field>,
    /// The tree of the document.
    pub shape: Shape,
    /// The fields that identify a record.
    pub identity: Identity,
    /// Rules between fields.
    pub plausibility: Vec<Plausibility>,
    /// Secondary indexes. They are built after the first load.
    pub indexes: Vec<Index>,
    /// The format of the sources, as far as the spec gives it.
    pub source: SourceFormat,
    /// BLAKE3 hash of the TOML text, in hexadecimal. The ledger uses it to detect a changed spec.
    pub hash: String,
}

/// The fields from which a record's `_id` is calculated, and the rule for records that have the same `_id` and differ
/// in other fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Indices into [`Spec::fields`], ascending. By default all fields. A repeating group is listed with all its fields.
    pub fields: Vec<usize>,
    /// The rule for a conflict.
    pub on_conflict: OnConflict,
}

/// The rule for a record whose identity is taken by a different record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The first record is kept. The later one is counted as a conflict.
    KeepFirst,
    /// The later record replaces the earlier one.
    KeepLast,
    /// The first record is kept. The later one is written to the reject file.
    Reject,
}

/// A rule between two fields of one record: `left` must not be later or greater than `right`. The rule is satisfied
/// if either value is null.
#[derive(Debug, Clone)]
pub struct Plausibility {
    /// The rule's name, as used in the reject file and the summary.
    pub name: String,
    /// Index of the field that must be less than or equal to the other.
    pub left: usize,
    /// Index of the field that must be greater than or equal to the other.
    pub right: usize,
    /// Whether a violation rejects the row or is only counted.
    pub severity: Severity,
}

/// The effect of a broken plausibility rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The row is rejected.
    Reject,
    /// The row is loaded, and the violation is counted.
    Warn,
}

/// A secondary index of the collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The index's name on the server.
    pub name: String,
    /// Dotted names of the key fields, each with 1 (ascending) or -1 (descending).
    pub keys: Vec<(String, i32)>,
    /// If true, no two documents may have the same key.
    pub unique: bool,
}

impl Spec {
    /// Returns the built-in spec of hospital admissions.
    ///
    /// # Panics
    ///
    /// Never: a test checks that the built-in text is valid.
    pub fn built_in() -> Self {
        Self::from_toml(ADMISSIONS, "built-in:admissions").expect("specs/admissions.toml is tested to be right")
    }

    /// Reads the spec of a single kind of document from its TOML text. Messages use `origin` as the name of the text.
    ///
    /// # Errors
    /// If the text is wrong, or describes several kinds of documents.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, SpecError> {
        Dataset::from_toml(text, origin)?.into_only()
    }

    /// Reads the spec of a single kind of document from a file.
    ///
    /// # Errors
    /// The same as for [`from_toml`](Self::from_toml), and if the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        Dataset::from_file(path)?.into_only()
    }

    /// Returns the columns of the source. If no group repeats, each field has one, in the order of the fields.
    pub fn columns(&self) -> Vec<Column<'_>> {
        self.shape.columns(&self.shape.roots, &self.fields)
    }

    /// Returns the columns of the items of a repeating group with these elements.
    pub fn columns_of<'s>(&'s self, children: &'s [Node]) -> Vec<Column<'s>> {
        self.shape.columns(children, &self.fields)
    }
}

#[cfg(test)]
mod tests;
