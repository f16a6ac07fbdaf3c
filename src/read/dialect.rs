//! The special characters of delimited text (RFC 4180).

/// The special characters of delimited text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Comma, semicolon, tab or `|`.
    pub delimiter: u8,
    /// `\n` (which also covers `\r\n`), or `\r` if the source uses it alone.
    pub line_end: u8,
    /// The character around quoted cells, usually `"`. `None` if quotes are ordinary characters.
    pub quote: Option<u8>,
    /// The escape character, for example a backslash: the character after it is plain text. `None` if there is none.
    pub escape: Option<u8>,
}

impl Dialect {
    /// Returns true if every cell of `row` is blank.
    ///
    /// A row is blank if it contains only delimiters, spaces and tabs, or if each of its cells is a pair of empty
    /// quotes. A row in which only some cells are quoted is not blank, because some exports write a row without
    /// values in this way. A row of a single cell is never blank, because the cell could be a value.
    ///
    /// For most rows the first byte decides.
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

    /// Returns true if `byte` is a space or a tab, and is not the delimiter.
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
