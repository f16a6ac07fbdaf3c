//! Writes cells of delimited text (RFC 4180). If the cells are read again, their texts are the same.

/// Appends one line, which ends with `\n`. Each cell is a text and a flag. A cell is quoted if its text requires quotes
/// (RFC 4180), or if its flag is true.
pub(crate) fn write_line<'c>(cells: impl IntoIterator<Item = (&'c [u8], bool)>, delimiter: u8, out: &mut Vec<u8>) {
    for (position, (cell, is_quoted)) in cells.into_iter().enumerate() {
        if position > 0 {
            out.push(delimiter);
        }
        write_cell(cell, delimiter, is_quoted, out);
    }
    out.push(b'\n');
}

/// Appends a cell. It is quoted if its text requires quotes, or if `is_quoted` is true.
fn write_cell(cell: &[u8], delimiter: u8, is_quoted: bool, out: &mut Vec<u8>) {
    let requires_quotes = |&byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || byte == delimiter;
    if !is_quoted && !cell.iter().any(requires_quotes) {
        return out.extend_from_slice(cell);
    }
    out.push(b'"');
    for (position, part) in cell.split(|&byte| byte == b'"').enumerate() {
        out.extend_from_slice(if position > 0 { b"\"\"" } else { b"" });
        out.extend_from_slice(part);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_if_its_text_or_the_caller_requires_it() {
        let check = |cell: &str, is_quoted, expected: &str| {
            let mut out = b"x;".to_vec();
            write_cell(cell.as_bytes(), b';', is_quoted, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("x;{expected}"), "{cell:?}");
        };
        for cell in ["", "a", " a,b\t'c' "] {
            check(cell, false, cell);
            check(cell, true, &format!("\"{cell}\""));
        }
        check("a;b", false, "\"a;b\"");
        check("a\nb", false, "\"a\nb\"");
        check("a\r", false, "\"a\r\"");
        check("\"a\"b\"\"", false, "\"\"\"a\"\"b\"\"\"\"\"");
        check("\"", true, "\"\"\"\"");
    }
}
