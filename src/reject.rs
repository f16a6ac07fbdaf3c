//! The reasons why a row is refused. Each reason has a stable name, such as `too_few_cells`. The name is the same in
//! the enum, the reject file, the report and the docs.

use std::ops::Range;

/// Says why one row was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index of the field whose cell caused the refusal. `None` if the row as a whole is wrong, for example if it has
    /// too few cells.
    ///
    /// A spec can describe several kinds of documents per row. In a [`RejectedRow`], the index counts the fields of all
    /// kinds, one kind after another.
    pub field: Option<usize>,
    /// The kind of error, with a stable name.
    pub reason: Reason,
    /// An explanation for the person who corrects the row. It starts in lower case and contains no value of the row.
    pub message: String,
}

impl Reject {
    /// Adds to the message which item of an array caused the refusal. The first item has number 1.
    #[must_use]
    pub fn in_item(self, number: usize) -> Self {
        self.inside(&format!("item {number}"))
    }

    /// Adds to the message which key of an item caused the refusal.
    #[must_use]
    pub fn in_key(self, key: &str) -> Self {
        self.inside(&format!("`{key}`"))
    }

    /// Puts a place before the message. Three calls give, for example, ``item 2, `period`, item 1: expected …``.
    fn inside(mut self, place: &str) -> Self {
        let mark = if self.message.starts_with("item ") || self.message.starts_with('`') { "," } else { ":" };
        self.message = format!("{place}{mark} {}", self.message);
        self
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// The reason why a row was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// Returns the stable name.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

reasons! {
    /// The row is longer than the limit.
    RowTooLong = "row_too_long",
    /// The quote that opens a cell is never closed.
    UnterminatedQuote = "unterminated_quote",
    /// The row contains bytes that are not valid in the source's encoding. Or the row is from a reject file, and still
    /// contains the U+FFFD that was written in place of such bytes.
    Undecodable = "undecodable",
    /// Text follows a closing quote before the next delimiter, as in `"a"b,c`.
    StrayQuote = "stray_quote",
    /// The row has fewer cells than the header.
    TooFewCells = "too_few_cells",
    /// The row has more cells than the header.
    TooManyCells = "too_many_cells",
    /// A quoted cell contains lines that look like rows. Probably a quote is missing or superfluous.
    SwallowedRows = "swallowed_rows",
    /// The row is a copy of the header.
    RepeatedHeader = "repeated_header",
    /// The row is not one JSON object, or gives a field twice, or has a value whose JSON type is wrong for its field.
    NotJson = "not_json",
    /// The row is not a FHIR resource of a type that the spec describes, or the resource has no id.
    NotFhir = "not_fhir",
    /// The row is not an HL7 message, or the message is damaged.
    NotHl7 = "not_hl7",
    /// The count at the end of an HL7 batch or file differs from the number of messages or batches before it.
    WrongCount = "wrong_count",
    /// A required field has no value.
    Missing = "missing",
    /// The text is not a whole number.
    NotAnInteger = "not_an_integer",
    /// The text is not a number.
    NotANumber = "not_a_number",
    /// The number does not fit the field's type.
    NumberTooLarge = "number_too_large",
    /// The text is neither true nor false.
    NotABoolean = "not_a_boolean",
    /// The text is not a date in the column's format, or the year is not 1 to 9999.
    NotADate = "not_a_date",
    /// The value is not in the field's list of allowed values.
    NotAllowed = "not_allowed",
    /// The number is outside the field's range.
    OutOfRange = "out_of_range",
    /// The text is too short or too long.
    WrongLength = "wrong_length",
    /// The text does not match the field's pattern.
    PatternMismatch = "pattern_mismatch",
    /// The text contains a NUL or another control character, except tabs and line ends. Such characters can cause
    /// errors in programs that read the document.
    ControlCharacter = "control_character",
    /// The text has no stable form: each time the cleaning rules are applied, they change it again.
    UnstableText = "unstable_text",
    /// Two fields of the row contradict each other, for example a discharge before the admission.
    Implausible = "implausible",
    /// The document would be larger than 16 MiB, which is MongoDB's limit.
    DocumentTooLarge = "document_too_large",
    /// An earlier record has the same identity but other content, and the spec says to reject the later record.
    Conflict = "conflict",
    /// The server's validator refused the document.
    FailedValidation = "failed_validation",
    /// The server refused the document for another reason. Or the document was not sent, because the server had refused
    /// another document with the same `_id`.
    RefusedByServer = "refused_by_server",
}

/// The kinds of documents to which a row belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RowKinds {
    /// The row gives one document of each kind, as in a table.
    #[default]
    All,
    /// The row gives one document of the kind with this index.
    One(usize),
    /// The row was refused before its kind was known.
    None,
}

impl RowKinds {
    /// Returns the indices of the kinds that count the row. `kinds` is the number of all kinds. The first kind counts
    /// the rows whose kind is not known, so that each row is counted.
    pub(crate) fn counting(self, kinds: usize) -> Range<usize> {
        match self {
            Self::All => 0..kinds,
            Self::One(kind) => kind..kind + 1,
            Self::None => 0..1,
        }
    }
}

/// A refused row, with its position and its cells, for the reject file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Index of the source in the list of sources.
    pub source: usize,
    /// Line of the source on which the row starts, from 1.
    pub line: u64,
    /// Byte offset of the row in its source, after decompression.
    pub offset: u64,
    /// The reason for the refusal.
    pub reject: Reject,
    /// The kinds of documents that count the row.
    pub kinds: RowKinds,
    /// The cells of the row, as far as the row could be split. They may be written to the reject file only, never to a
    /// message.
    pub cells: Vec<Vec<u8>>,
}
