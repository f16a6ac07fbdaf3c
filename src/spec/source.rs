//! `[source]`: how a dataset's files are written, as far as their content does not say so.

/// How a dataset's sources are written. The command line counts more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceFormat {
    /// The delimiter; detected if `None`.
    pub delimiter: Option<u8>,
    /// The quote; decided from the first rows if `None`.
    pub quote: Option<Sign>,
    /// The escape character; `None` says nothing, and then there is none.
    pub escape: Option<Sign>,
    /// Whether a cell that looks like whole rows is text.
    pub multiline_cells: bool,
}

/// A character with a meaning in delimited text, or the word that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// No character has this meaning.
    None,
    /// This one has.
    Byte(u8),
}

impl Sign {
    /// The sign as it is written on the command line or in a spec: `none`, or one punctuation character of ASCII.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.as_bytes() {
            b"none" => Some(Self::None),
            [byte] if byte.is_ascii_punctuation() => Some(Self::Byte(*byte)),
            _ => None,
        }
    }

    /// The character, if there is one.
    pub const fn byte(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Byte(byte) => Some(byte),
        }
    }
}
