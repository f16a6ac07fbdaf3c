//! The dataset spec: one TOML file that describes the fields, the rules and the identity of records. Cleaning and
//! encoding follow the spec. The validator, the indexes and a part of the docs are generated from it.
//!
//! A [`Spec`] is immutable and always valid. [`Spec::from_toml`] refuses an invalid file and reports the line, the key
//! and the remedy. This module never reads data, never connects to a server, and does not know the command line.

mod dataset;
mod error;
mod field;
mod from_toml;
pub(crate) mod hl7_path;
pub(crate) mod json_path;
mod markdown;
pub mod patient;
mod range;
mod shape;
mod source;
mod spelling;
mod zone;

use std::path::Path;

pub use dataset::Dataset;
pub(crate) use error::SpecError;
pub(crate) use field::{Casing, Rule};
pub use field::{Constraints, Field, FieldType, NumberFormat, Presence, Privacy};
pub(crate) use range::Decimal;
pub use range::Range;
pub use shape::{Column, Shape};
pub(crate) use shape::{Group, Node};
pub use source::{FormatName, Sign, SourceFormat};
pub use spelling::trim;
pub(crate) use spelling::{ID_COLUMN, closest, column_key, is_blank, same_spelling};
pub use zone::Zone;

/// The TOML text of the default spec. Medlift uses it if the user gives no spec, except for HL7 messages and FHIR
/// resources.
pub const ADMISSIONS: &str = include_str!("../../specs/admissions.toml");

/// The names and the TOML texts of all built-in specs.
pub const BUILT_IN: [(&str, &str); 3] = [
    ("admissions", ADMISSIONS),
    ("hl7v2", include_str!("../../specs/hl7v2.toml")),
    ("fhir-r4", include_str!("../../specs/fhir-r4.toml")),
];

/// The spec of one kind of document: its fields in document order, and the rules for them.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The name, which the ledger and messages show.
    pub name: String,
    /// The collection for the documents. If the dataset has only one kind of document, the user can choose another
    /// collection for a command.
    pub collection: String,
    /// The name of the spec's text in messages: a path, or `built-in:admissions`.
    pub origin: String,
    /// The TOML text, as `medlift spec show` prints it.
    pub text: String,
    /// The fields that contain values, in document order. Fields with the same dotted prefix follow each other.
    pub fields: Vec<Field>,
    /// The tree of the document, built from the dotted names of the fields.
    pub shape: Shape,
    /// The fields that identify a record, and the rule for conflicts.
    pub identity: Identity,
    /// Rules that compare two fields.
    pub plausibility: Vec<Plausibility>,
    /// Secondary indexes. `medlift provision` builds them. If they are missing, the first load into the collection
    /// builds them after it has written the data.
    pub indexes: Vec<Index>,
    /// The fields that identify the patient, if the spec names them.
    pub patient: Option<patient::PatientSource>,
    /// For FHIR resources: the type of the resources of each kind of document in this spec. Empty for other sources.
    pub resources: Vec<String>,
    /// For FHIR resources: the name of the system that the sources are from. It is part of the identity of a resource.
    pub system: Option<String>,
    /// For FHIR resources: the URL of the server that the sources are from. References that begin with this URL lead to
    /// resources of the system.
    pub base: Option<String>,
    /// The settings for the sources. Medlift detects some of them if the spec does not set them.
    pub source: SourceFormat,
    /// BLAKE3 hash of the TOML text, in hexadecimal. The key of a load in the ledger is computed from it. With a
    /// changed spec, loading the same sources is therefore a new load.
    pub hash: String,
}

/// The fields from which a record's `_id` is computed. Two records with equal values in these fields have the same
/// `_id`. If they differ in another field, they are in conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Indices into [`Spec::fields`], ascending. By default, all fields. A repeating group is included with all of its
    /// fields or not at all.
    pub fields: Vec<usize>,
    /// The rule for records in conflict.
    pub on_conflict: OnConflict,
}

/// What happens to a record if a different record has the same identity. The rule is for the mode `insert`. In the
/// modes `upsert` and `merge`, the later record always wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The first record stays. The later one is counted as a conflict.
    KeepFirst,
    /// The later record replaces the earlier one.
    KeepLast,
    /// The first record stays. The later one is written to the reject file.
    Reject,
    /// The record with the greatest value in the field `order_by` stays, in whatever order the records are loaded. If
    /// the values are equal, the record with the greatest digest stays.
    Newest {
        /// Index into [`Spec::fields`].
        order_by: usize,
    },
}

/// A rule between two fields of one record: the value of `left` must not be later or greater than the value of `right`.
/// If one of the two values is null, the rule is satisfied.
#[derive(Debug, Clone)]
pub struct Plausibility {
    /// The rule's name, which the reject file and the summary show.
    pub name: String,
    /// Index of the field with the smaller value.
    pub left: usize,
    /// Index of the field with the larger value.
    pub right: usize,
    /// Whether a row that breaks the rule is rejected or only counted.
    pub severity: Severity,
}

/// The effect of a broken plausibility rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The row is rejected.
    Reject,
    /// The row is loaded. The summary shows how many such rows there are.
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

/// The name of the source system, if neither the spec nor the user names it.
const SYSTEM_DEFAULT: &str = "default";

/// The beginning of the origin of each built-in spec. The name of the spec follows, as in `built-in:admissions`.
const BUILT_IN_ORIGIN: &str = "built-in:";

impl Spec {
    /// Returns the built-in spec of hospital admissions.
    ///
    /// # Panics
    ///
    /// Never, because a test checks that the built-in text is valid.
    pub fn built_in() -> Self {
        Self::from_toml(ADMISSIONS, &format!("{BUILT_IN_ORIGIN}admissions"))
            .expect("specs/admissions.toml is valid, which a test checks")
    }

    /// Returns the value of `--spec` for this spec: its path, or the name of a built-in spec. `None` for the built-in
    /// spec `admissions`, which is the default.
    pub fn option(&self) -> Option<&str> {
        match self.origin.strip_prefix(BUILT_IN_ORIGIN) {
            None => Some(&self.origin),
            Some("admissions") => None,
            Some(name) => Some(name),
        }
    }

    /// Returns true if the spec is built in, but is not the default one. For such a spec, the setting `COLLECTION_NAME`
    /// is ignored, because it names the collection of the default spec or of the user's own spec.
    pub fn has_own_collection(&self) -> bool {
        self.origin.starts_with(BUILT_IN_ORIGIN) && self.option().is_some()
    }

    /// Reads the spec of a dataset with one kind of document from its TOML text. Error messages name the text `origin`.
    ///
    /// # Errors
    /// The text is not a valid spec, or describes several kinds of documents.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, SpecError> {
        Dataset::from_toml(text, origin)?.into_only()
    }

    /// Reads the spec of a dataset with one kind of document from a file.
    ///
    /// # Errors
    /// The file cannot be read, or [`from_toml`](Self::from_toml) fails for its text.
    pub fn from_file(path: &Path) -> Result<Self, SpecError> {
        Dataset::from_file(path)?.into_only()
    }

    /// Returns the columns of the source. Each field has one column, and so has each repeating group as a whole. The
    /// order is that of the document.
    pub fn columns(&self) -> Vec<Column<'_>> {
        self.shape.columns(&self.shape.roots, &self.fields)
    }

    /// Returns the name of the system that the sources are from.
    pub fn system(&self) -> &str {
        self.system.as_deref().unwrap_or(SYSTEM_DEFAULT)
    }

    /// Returns true if a row gives a document of only one of several kinds, as FHIR resources do.
    pub fn is_divided(&self) -> bool {
        !self.resources.is_empty()
    }

    /// Returns the field that contains the whole record, if there is one.
    pub fn whole(&self) -> Option<&Field> {
        self.fields.iter().find(|field| field.is_whole())
    }

    /// Returns true if the spec describes HL7 v2 messages that are stored whole.
    pub fn is_of_messages(&self) -> bool {
        self.source.format == Some(FormatName::Hl7) && self.whole().is_some()
    }

    /// Returns true if the column is not read from the source, because its field is derived.
    pub(crate) fn is_derived(&self, column: &Column<'_>) -> bool {
        matches!(column.node, Node::Leaf { field, .. } if self.fields[*field].is_derived())
    }

    /// Returns the columns inside an item of a repeating group. `children` are the elements of the group.
    pub fn columns_of<'s>(&'s self, children: &'s [Node]) -> Vec<Column<'s>> {
        self.shape.columns(children, &self.fields)
    }
}

#[cfg(test)]
mod tests;
