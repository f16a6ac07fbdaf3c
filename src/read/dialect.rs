//! The special characters of delimited text (RFC 4180).

/// The special characters of delimited text, such as `,` and `"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Separates the cells of a row: comma, semicolon, tab or `|`, or another character that the user gave.
    pub delimiter: u8,
    /// Ends a row. This is `\n` for sources whose lines end with `\n` or `\r\n`, and `\r` if lines end with `\r` alone.
    pub line_end: u8,
    /// Encloses quoted cells, usually `"`. `None` if quotes are ordinary characters.
    pub quote: Option<u8>,
    /// Makes the next character plain text, for example a backslash. `None` if there is no escape character.
    pub escape: Option<u8>,
}

impl Dialect {
    /// Returns true if `row` is a blank row, which the reader skips.
    ///
    /// There are two forms of blank rows. In one, no cell is quoted, and the row contains only delimiters, spaces and
    /// tabs: `, ,`. In the other, every cell is a pair of quotes: `"",""`.
    ///
    /// A row such as `"",,` is not blank, because it has quoted and unquoted cells. Some programs write a row of empty
    /// and null values like this. A row with one cell is never blank, because the cell could be a value.
    ///
    /// For most rows, the first byte is enough to decide.
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

    /// Returns the number of spaces and tabs at the start of `text`.
    pub fn blanks(self, text: &[u8]) -> usize {
        text.iter().take_while(|&&byte| self.is_blank_byte(byte)).count()
    }

    /// Returns true if `byte` is a space or a tab and is not the delimiter.
    pub(super) fn is_blank_byte(self, byte: u8) -> bool {
        matches!(byte, b' ' | b'\t') && byte != self.delimiter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_delimiters_only_is_blank() {
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
