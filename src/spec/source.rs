//! The `[source]` settings: the format of a dataset's files, as far as it is not detected.

/// The format of a dataset's sources. Options on the command line take precedence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SourceFormat {
    /// The delimiter. It is detected if this is `None`.
    pub delimiter: Option<u8>,
    /// The quote. It is determined from the first rows if this is `None`.
    pub quote: Option<Sign>,
    /// The escape character. There is none if this is `None`.
    pub escape: Option<Sign>,
    /// True if a cell that looks like complete rows is text.
    pub multiline_cells: bool,
}

/// A setting for a special character in delimited text, which can also be "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// No character has this function.
    None,
    /// This character has the function.
    Byte(u8),
}

impl Sign {
    /// Parses a sign from the command line or a spec: `none`, or one ASCII punctuation character.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.as_bytes() {
            b"none" => Some(Self::None),
            [byte] if byte.is_ascii_punctuation() => Some(Self::Byte(*byte)),
            _ => None,
        }
    }

    /// Returns the character, if there is one.
    pub const fn byte(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Byte(byte) => Some(byte),
        }
    }
}
