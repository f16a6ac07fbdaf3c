//! How the rows of a source are set apart.

/// The shape of a source's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
