//! How the rows of a source are set apart.

/// The shape of a source's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Delimited text after RFC 4180.
    Csv(Dialect),
    /// One JSON object per line.
    Ndjson,
}

/// How delimited text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// `,` `;` tab or `|`.
    pub delimiter: u8,
    /// `\n` (which also covers `\r\n`), or `\r` if the source uses it alone.
    pub line_end: u8,
    /// The character around quoted cells, usually `"`; `None` if quotes are ordinary characters.
    pub quote: Option<u8>,
    /// The character after which the next one has no meaning of its own, for example a backslash.
    pub escape: Option<u8>,
}

impl Dialect {
    /// Whether every cell of `row` is blank: nothing but delimiters, spaces and tabs, or the same with empty quotes in every
    /// cell. A row with some quoted cells is not blank: an export writes a record without values so. A row of a single cell is
    /// never blank: it could be a value.
    ///
    /// Most rows are answered by their first byte.
    pub fn is_blank(self, row: &[u8]) -> bool {
        let mut rest = row;
        let (mut has_delimiter, mut quoted, mut unquoted) = (false, false, false);
        loop {
            rest = &rest[self.blanks(rest)..];
            if let (Some(quote), [first, second, after @ ..]) = (self.quote, rest)
                && *first == quote
                && *second == quote
            {
                rest = &after[self.blanks(after)..];
                quoted = true;
            } else {
                unquoted = true;
            }
            match rest {
                [] => return has_delimiter && quoted != unquoted,
                [first, after @ ..] if *first == self.delimiter => (has_delimiter, rest) = (true, after),
                _ => return false,
            }
        }
    }

    /// How many blanks, spaces or tabs, `text` begins with.
    pub fn blanks(self, text: &[u8]) -> usize {
        text.iter().take_while(|&&byte| self.is_blank_byte(byte)).count()
    }

    /// Whether `byte` is a space or a tab, and not the delimiter.
    pub(super) fn is_blank_byte(self, byte: u8) -> bool {
        matches!(byte, b' ' | b'\t') && byte != self.delimiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_nothing_but_delimiters_is_blank() {
        let check = |row: &str, delimiter, expected| {
            let dialect = Dialect { delimiter, line_end: b'\n', quote: Some(b'"'), escape: None };
            assert_eq!(dialect.is_blank(row.as_bytes()), expected, "{row:?}");
        };
        for row in [",", ",,,", " , ,\t", "\"\",\"\"", " \"\" , \"\""] {
            check(row, b',', true);
        }
        for row in
            ["", " ", "\"\"", " \"\" ,", ",\"\"", "\"\",,", ",x", "x,", ",\"", "\"\"\"\",", "\",\"", "\"\"x,", ";"]
        {
            check(row, b',', false);
        }
        check("\t \t", b'\t', true);
        check(" \t", b'\t', true);
        check("\"\"", b'"', false);
    }
}
