//! What is known of a source before its rows are read: its dialect, its columns, its date formats.

use super::dates::DateFormat;

/// The shape of a source's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Delimited text after RFC 4180.
    Csv(Dialect),
    /// One JSON object a line.
    Ndjson,
}

/// How delimited text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// `,` `;` tab or `|`.
    pub delimiter: u8,
    /// `\n` (which also covers `\r\n`), or `\r` where the source uses it alone.
    pub line_end: u8,
}

/// Which cell feeds which field, and how its dates read.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The shape of the rows.
    pub format: Format,
    /// Cells each row must have (the header's count). 0 for NDJSON, whose cells come in field order.
    pub columns: usize,
    /// For each field of the spec, the cell that feeds it; `None` where an optional column is absent.
    pub cell_of_field: Vec<Option<usize>>,
    /// For each field of the spec, the format of its dates; `None` for fields that are no dates.
    pub dates: Vec<Option<DateFormat>>,
    /// The header as the source spells it, for the reject file.
    pub header: Vec<String>,
    /// Columns of the source that no field uses.
    pub unknown: Vec<String>,
}
