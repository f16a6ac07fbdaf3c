//! One field of a dataset, as the spec describes it.

use regex::Regex;

use super::Range;

/// A leaf field of the document.
#[derive(Debug, Clone)]
pub struct Field {
    /// Dotted path in the document, e.g. `Blood Type` or `result.value`.
    pub name: String,
    /// The source column. It is the field's name unless the spec gives another. Inside a repeating group, it is the
    /// path in the group's item.
    pub column: String,
    /// Other names of the source column. Letter case, spaces, underscores and hyphens are ignored, so camelCase
    /// matches too.
    pub aliases: Vec<String>,
    /// The BSON type, and how texts are converted to it.
    pub kind: FieldType,
    /// Whether a value is required. A list needs at least one item.
    pub presence: Presence,
    /// Whether the field is a list: an array of values.
    pub repeats: bool,
    /// Cleaning rules, in the order in which they are applied.
    pub clean: Vec<Rule>,
    /// Cell texts that mean "no value". They are compared after trimming, without regard to ASCII case. The empty
    /// text always means "no value".
    pub null_markers: Vec<String>,
    /// Conditions that a value must satisfy.
    pub constraints: Constraints,
    /// How much the field reveals about a person.
    pub privacy: Privacy,
}

impl Field {
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
    /// BSON double: the nearest one to the decimal text.
    Double(NumberFormat),
    /// BSON decimal128. A text that needs more than 34 digits is rejected.
    Decimal128(NumberFormat),
    /// BSON boolean, with the texts that mean true and false. Letter case is ignored.
    Bool {
        /// Texts for true.
        truthy: Vec<String>,
        /// Texts for false.
        falsy: Vec<String>,
    },
    /// BSON datetime at midnight UTC. A text with a time of day other than 00:00 is rejected.
    Date,
    /// BSON datetime with milliseconds. It is UTC unless the text contains an offset.
    Datetime,
    /// BSON string from a closed list. Every other spelling of a listed value is replaced by the listed spelling.
    Enum {
        /// Canonical spellings.
        values: Vec<String>,
        /// Other spellings, each with the index of its value.
        synonyms: Vec<(String, usize)>,
    },
}

/// The notation of a number in the source, besides its digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberFormat {
    /// Separator between groups of three digits, if the spec allows one: comma, point, apostrophe or space.
    pub thousands: Option<char>,
    /// True if the decimal mark is a comma. Otherwise it is a point.
    pub decimal_comma: bool,
    /// Currency signs or codes allowed before or after the number, e.g. `$` or `EUR`.
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

/// A cleaning rule. Trimming is not a rule, because it is always done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Replaces consecutive white space inside the text by one space.
    CollapseWhitespace,
    /// Unicode normalization form C.
    Nfc,
    /// Sets the letter case of a person's name, and of the credentials and suffixes after it.
    PersonName,
    /// Removes stray commas and "and" from an organisation's name.
    OrganisationName,
    /// Changes a code to upper or lower case.
    Case(Casing),
    /// Replaces a negative number by null, after conversion.
    NullIfNegative,
}

/// Letter case of a code.
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

/// Conditions that a value must satisfy after cleaning. Null satisfies all of them.
#[derive(Debug, Clone, Default)]
pub struct Constraints {
    /// Smallest and largest allowed value, for numbers.
    pub range: Option<Range>,
    /// Smallest and largest number of characters (Unicode scalar values), for strings.
    pub length: Option<(u32, u32)>,
    /// A pattern that the whole text must match, for strings.
    pub pattern: Option<Regex>,
}

/// How much a field reveals about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Names a person or identifies one directly (45 CFR 164.514(b)(2)(i)).
    DirectIdentifier,
    /// Helps to identify a person in combination with other fields: dates, ages, places.
    QuasiIdentifier,
    /// Health data that does not identify a person.
    Clinical,
    /// None of these.
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
    /// Returns true if only digits, sign, decimal point and exponent are allowed.
    pub fn is_plain(&self) -> bool {
        self.thousands.is_none() && !self.decimal_comma && self.currency.is_empty()
    }
}
