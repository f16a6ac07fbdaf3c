//! The `[source]` settings of a spec: how the dataset's files are written. Medlift detects some of the settings if they
//! are missing.

use super::Zone;

/// The format of a source as the user gives it, with `--type` or as `type` in the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatName {
    /// Delimited text.
    Csv,
    /// JSON objects: one per line, one after another, or in an array.
    Json,
    /// HL7 v2 messages, one after another or in batches.
    Hl7,
    /// FHIR resources: one per line, one after another, in an array or in a Bundle.
    Fhir,
}

impl FormatName {
    /// Returns the format's name in a spec, in the ledger and in a manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Hl7 => "hl7",
            Self::Fhir => "fhir",
        }
    }

    /// Returns the format with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Csv, Self::Json, Self::Hl7, Self::Fhir].into_iter().find(|format| format.name() == name)
    }
}

/// How the dataset's sources are written. Options on the command line take precedence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceFormat {
    /// The format. If it is `None`, Medlift detects the format. A spec for HL7 messages or FHIR resources must name its
    /// format.
    pub format: Option<FormatName>,
    /// The time zone of times in HL7 messages that have no offset from UTC.
    pub zone: Zone,
    /// The delimiter. If it is `None`, Medlift detects it.
    pub delimiter: Option<u8>,
    /// The quote character. If it is `None`, Medlift decides from the first rows whether `"` encloses cells.
    pub quote: Option<Sign>,
    /// The escape character. `None` means that there is no escape character.
    pub escape: Option<Sign>,
    /// A stray quote can join several rows to one cell. Therefore a row is rejected if the lines of a quoted cell look
    /// like rows. If true, such a cell is accepted as text.
    pub multiline_cells: bool,
}

/// The setting for a character with a special function in delimited text, such as the quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// No character has this function. For example, no character is the quote.
    None,
    /// The character, for example `"` as the quote.
    Byte(u8),
}

impl Sign {
    /// Parses a setting from the command line or a spec: `none`, or one ASCII punctuation character.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.as_bytes() {
            b"none" => Some(Self::None),
            [byte] if byte.is_ascii_punctuation() => Some(Self::Byte(*byte)),
            _ => None,
        }
    }

    /// Returns the character. Returns `None` for [`Sign::None`].
    pub const fn byte(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Byte(byte) => Some(byte),
        }
    }
}
