//! Why a row was refused. Reasons have stable names, the same in the enum, the reject file, the report and the docs.

/// A refusal of one row. Its message never carries a value of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The field whose cell is to blame, as an index into the spec's fields; `None` where it is the whole row.
    pub field: Option<usize>,
    /// What is wrong.
    pub reason: Reason,
    /// What was expected, for the person who corrects the row; lowercase, without a value of the row.
    pub message: String,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)+) => {
        /// Why a row was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            /// All reasons, in the order in which a row meets them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }
        }
    };
}

reasons! {
    /// The row is longer than a row may be.
    RowTooLong = "row_too_long",
    /// The source ends inside a quoted cell.
    UnterminatedQuote = "unterminated_quote",
    /// Bytes that the source's encoding does not allow.
    Undecodable = "undecodable",
    /// Text stands between a closing quote and the next delimiter.
    StrayQuote = "stray_quote",
    /// The row has fewer cells than the header.
    TooFewCells = "too_few_cells",
    /// The row has more cells than the header.
    TooManyCells = "too_many_cells",
    /// A quoted cell holds lines that look like rows.
    SwallowedRows = "swallowed_rows",
    /// The row is the header once more.
    RepeatedHeader = "repeated_header",
    /// The line is not one JSON object.
    NotJson = "not_json",
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
    /// The text is not a date in the column's format.
    NotADate = "not_a_date",
    /// The value is not in the field's list.
    NotAllowed = "not_allowed",
    /// The number is outside the field's range.
    OutOfRange = "out_of_range",
    /// The text is too short or too long.
    WrongLength = "wrong_length",
    /// The text does not match the field's pattern.
    PatternMismatch = "pattern_mismatch",
    /// The text holds a NUL or another control character that a document's reader would trip over.
    ControlCharacter = "control_character",
    /// The cleaning rules change the text again each time they run.
    UnstableText = "unstable_text",
    /// A rule between fields is broken.
    Implausible = "implausible",
    /// The document would exceed MongoDB's 16 MiB.
    DocumentTooLarge = "document_too_large",
    /// The identity is taken by a different record, and the spec says to reject.
    Conflict = "conflict",
    /// The server's validator refused the document.
    FailedValidation = "failed_validation",
    /// The server refused the document for another reason.
    RefusedByServer = "refused_by_server",
}

/// A refused row on its way to the reject file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Index of the source.
    pub source: usize,
    /// Physical line on which the row starts, from 1.
    pub line: u64,
    /// Byte offset of the row in its source, after decompression.
    pub offset: u64,
    /// Why it was refused.
    pub reject: Reject,
    /// The row's own cells as far as they could be told apart; they stand in the reject file and nowhere else.
    pub cells: Vec<Vec<u8>>,
}
