//! One field of a dataset, as the spec describes it.

use regex::Regex;

use super::Range;

/// A leaf field of the document.
#[derive(Debug, Clone)]
pub struct Field {
    /// Dotted path in the document, e.g. `Blood Type` or `result.value`.
    pub name: String,
    /// The source column; the field's name unless the spec says otherwise.
    pub column: String,
    /// Further spellings of the source column. Case, spaces, underscores and camelCase never matter.
    pub aliases: Vec<String>,
    /// The BSON type and how its text is read.
    pub kind: FieldType,
    /// Whether a value must be there.
    pub presence: Presence,
    /// Cleaning rules, in the order in which they run.
    pub clean: Vec<Rule>,
    /// Cell texts (after trimming, compared without regard to ASCII case) that mean "no value". The empty text always does.
    pub null_markers: Vec<String>,
    /// What a value must satisfy.
    pub constraints: Constraints,
    /// What the field tells about a person.
    pub privacy: Privacy,
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
    /// BSON decimal128; a text that needs more than 34 digits is rejected.
    Decimal128(NumberFormat),
    /// BSON boolean, with the texts that mean true and false (compared without regard to ASCII case).
    Bool {
        /// Texts for true.
        truthy: Vec<String>,
        /// Texts for false.
        falsy: Vec<String>,
    },
    /// BSON datetime at midnight UTC; a text with a time of day other than 00:00 is rejected.
    Date,
    /// BSON datetime with milliseconds, UTC unless the text carries an offset.
    Datetime,
    /// BSON string out of a closed list; any spelling of a listed value becomes the listed one.
    Enum {
        /// Canonical spellings.
        values: Vec<String>,
        /// Other spellings, each with the index of the value it stands for.
        synonyms: Vec<(String, usize)>,
    },
}

/// What decorates a number in the source besides its digits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberFormat {
    /// Separator between groups of three digits, if the spec allows one: `,` `.` `'` or a space.
    pub thousands: Option<char>,
    /// Decimal mark: `.` unless the spec says `,`.
    pub decimal_comma: bool,
    /// Currency signs or codes allowed before or after the number, e.g. `$` or `EUR`.
    pub currency: Vec<String>,
}

/// Whether a field must have a value, and its column must exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The column must exist and every row must have a value.
    Required,
    /// The column must exist; a missing value becomes null.
    Nullable,
    /// The column may be absent; a missing value becomes null.
    Optional,
}

/// A cleaning rule. Trimming surrounding white space is not a rule: it always happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Runs of white space inside the text become one space.
    CollapseWhitespace,
    /// Unicode normalization form C.
    Nfc,
    /// Casing of a person's name, credentials and suffixes kept right.
    PersonName,
    /// Repair of damaged joins in an organisation's name.
    OrganisationName,
    /// Upper or lower case, for codes.
    Case(Casing),
    /// A negative number becomes null.
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
    /// The rule's name in the spec, the summary and the docs.
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

/// What a value must satisfy after cleaning. Null satisfies everything.
#[derive(Debug, Clone, Default)]
pub struct Constraints {
    /// Smallest and largest value, for numbers.
    pub range: Option<Range>,
    /// Fewest and most characters (Unicode scalar values), for strings.
    pub length: Option<(u32, u32)>,
    /// A pattern the whole text must match, for strings.
    pub pattern: Option<Regex>,
}

/// What a field tells about a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privacy {
    /// Names a person or leads straight to one (45 CFR 164.514(b)(2)(i)).
    DirectIdentifier,
    /// Narrows down who it may be, together with others: dates, ages, places.
    QuasiIdentifier,
    /// About health, not about who it is.
    Clinical,
    /// Neither.
    None,
}

impl FieldType {
    /// The type's name in the spec and the docs.
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
    /// The presence's name in the spec and the docs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Nullable => "nullable",
            Self::Optional => "optional",
        }
    }
}

impl Privacy {
    /// The class's name in the spec and the docs.
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
    /// Whether nothing but digits, sign, decimal point and exponent is allowed.
    pub fn is_plain(&self) -> bool {
        self.thousands.is_none() && !self.decimal_comma && self.currency.is_empty()
    }
}
