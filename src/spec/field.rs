//! One field of the document, as the spec describes it.

use regex::Regex;

use super::Range;

/// A field of the document. It contains a value or a list of values. A nested document is not a field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Dotted path in the document, e.g. `Blood Type` or, inside the document `result`, `result.value`.
    pub name: String,
    /// The name of the source's column. If the spec does not give a column, its name is the field's name. For a field
    /// of a repeating group, the column is the path inside one item of the array.
    pub column: String,
    /// Other names of the source's column. Names are compared without letter case, spaces, underscores and hyphens:
    /// `Blood Type`, `blood_type` and `bloodType` are the same name.
    pub aliases: Vec<String>,
    /// The BSON type, and how texts are converted to it.
    pub kind: FieldType,
    /// Whether a value is required. A required list must have at least one item.
    pub presence: Presence,
    /// True if the field is a list, that is, an array of values.
    pub repeats: bool,
    /// Cleaning rules, in the order in which they are applied.
    pub clean: Vec<Rule>,
    /// Cell texts that mean "no value", such as `N/A`. They are compared after trimming, and ASCII letter case is
    /// ignored. The empty text always means "no value", and is not listed here.
    pub null_markers: Vec<String>,
    /// Conditions that every value except null must satisfy.
    pub constraints: Constraints,
    /// How strongly the field identifies a person.
    pub privacy: Privacy,
}

impl Field {
    /// Returns true if the field contains the whole record.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.kind, FieldType::Whole | FieldType::Resource)
    }

    /// Returns true if the field contains the key of the patient.
    pub(crate) fn is_patient_key(&self) -> bool {
        self.kind == FieldType::PatientKey
    }

    /// Returns true if the field is not read from a column of the source.
    pub(crate) fn is_derived(&self) -> bool {
        self.is_whole() || self.is_patient_key()
    }

    /// Returns true if both fields get the same value from each cell that they accept.
    pub(crate) fn reads_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.clean == other.clean && self.null_markers == other.null_markers
    }
}

/// Type of a field in the document.
#[derive(Debug, Clone, PartialEq)]
pub enum FieldType {
    /// BSON string.
    String,
    /// BSON 32-bit integer.
    Int32(NumberFormat),
    /// BSON 64-bit integer.
    Int64(NumberFormat),
    /// BSON double. The double nearest to the decimal text is stored.
    Double(NumberFormat),
    /// BSON decimal128. A number that needs more than 34 digits is rejected.
    Decimal128(NumberFormat),
    /// BSON boolean. The spec lists the texts that mean true and false. Letter case is ignored.
    Bool {
        /// Texts for true.
        truthy: Vec<String>,
        /// Texts for false.
        falsy: Vec<String>,
    },
    /// BSON datetime at midnight UTC. If a text has a time, the time must be 00:00 in UTC. For example,
    /// `2024-01-01T01:00+01:00` is accepted, and `2024-01-01T01:00` is rejected.
    Date,
    /// BSON datetime with milliseconds. If a text has no offset such as `+01:00`, it is read as UTC.
    Datetime,
    /// BSON string from a list of allowed values. A value in another letter case, or a synonym, is stored in the
    /// spelling of the list.
    Enum {
        /// The allowed values, in the spelling in which they are stored.
        values: Vec<String>,
        /// Synonyms, each with the index of its value in `values`.
        synonyms: Vec<(String, usize)>,
    },
    /// BSON binary with the bytes of the whole record as they are in the source, for example an HL7 message.
    Whole,
    /// BSON document with the whole FHIR resource. Each number is stored so that the text that it had in the source can
    /// be restored.
    Resource,
    /// BSON UUID that is derived from the identifier of the patient.
    PatientKey,
}

/// How numbers are written in the source, in addition to digits, sign and exponent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberFormat {
    /// Separator between groups of three digits: comma, point, apostrophe or space. `None` if separators are not
    /// allowed.
    pub thousands: Option<char>,
    /// True if the decimal mark is a comma, false if it is a point.
    pub decimal_comma: bool,
    /// Currency signs or codes that may be written before or after the number, e.g. `$` or `EUR`.
    pub currency: Vec<String>,
}

/// Whether every row must have a value for a field, and whether the source must have its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The column must exist, and every row must have a value.
    Required,
    /// The column must exist. A missing value becomes null.
    Nullable,
    /// The column may be absent. A missing value becomes null.
    Optional,
}

/// A cleaning rule. Trimming is not a rule, because every cell is trimmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Replaces each sequence of white space inside the text by one space.
    CollapseWhitespace,
    /// Applies Unicode normalization form C. A source can contain `é` as one character or as `e` with a combining
    /// accent. The rule makes it one character.
    Nfc,
    /// Corrects the letter case of a person's name, and of degrees and suffixes such as `MD` and `Jr.`.
    PersonName,
    /// Removes superfluous commas and a superfluous "and" from an organisation's name.
    OrganisationName,
    /// Changes a code to upper or lower case.
    Case(Casing),
    /// Replaces a negative number by null.
    NullIfNegative,
}

/// Letter case of a code, such as `ICD` or `icd`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Casing {
    /// UPPER CASE.
    Upper,
    /// lower case.
    Lower,
}

impl Rule {
    /// Returns the rule's name in the spec, the summary and the docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CollapseWhitespace => "collapse_whitespace",
            Self::Nfc => "nfc",
            Self::PersonName => "person_name",
            Self::OrganisationName => "organisation_name",
            Self::Case(Casing::Upper) => "upper_case",
            Self::Case(Casing::Lower) => "lower_case",
            Self::NullIfNegative => "null_if_negative",
        }
    }
}

/// Conditions that a value must satisfy after cleaning. Null satisfies every condition.
#[derive(Debug, Clone, Default)]
pub struct Constraints {
    /// For numbers: the smallest and the largest allowed value.
    pub range: Option<Range>,
    /// For strings: the smallest and the largest number of characters (Unicode scalar values).
    pub length: Option<(u32, u32)>,
    /// For strings: a pattern that the whole text must match.
    pub pattern: Option<Regex>,
}

/// How strongly a field identifies a person. `medlift spec fields` and the docs show this class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// The field alone identifies a person, for example a name (45 CFR 164.514(b)(2)(i)).
    DirectIdentifier,
    /// The field helps to identify a person if it is combined with other fields: dates, ages, places.
    QuasiIdentifier,
    /// The field contains health data that does not identify a person.
    Clinical,
    /// The field belongs to no other class.
    None,
}

impl FieldType {
    /// Returns the type's name in the spec and the docs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Int32(_) => "int32",
            Self::Int64(_) => "int64",
            Self::Double(_) => "double",
            Self::Decimal128(_) => "decimal128",
            Self::Bool { .. } => "bool",
            Self::Date => "date",
            Self::Datetime => "datetime",
            Self::Enum { .. } => "enum",
            Self::Whole => "binary",
            Self::Resource => "document",
            Self::PatientKey => "uuid",
        }
    }
}

impl Presence {
    /// Returns the presence's name in the spec and the docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Nullable => "nullable",
            Self::Optional => "optional",
        }
    }
}

impl Privacy {
    /// Returns the class's name in the spec and the docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectIdentifier => "direct-identifier",
            Self::QuasiIdentifier => "quasi-identifier",
            Self::Clinical => "clinical",
            Self::None => "none",
        }
    }
}

impl NumberFormat {
    /// Returns true if the spec allows no thousands separator, no decimal comma and no currency.
    pub fn is_plain(&self) -> bool {
        self.thousands.is_none() && !self.decimal_comma && self.currency.is_empty()
    }
}
