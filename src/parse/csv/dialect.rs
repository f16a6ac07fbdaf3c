//! Determines the dialect of delimited text from the beginning of the text.

use super::quotes;
use super::split::split_row;
use crate::parse::{Cells, Dialect, LayoutError, LayoutOptions, REJECT_COLUMNS};
use crate::read::{Ending, Framing, records};
use crate::spec::Sign;

/// The delimiters that Medlift can detect.
pub(crate) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Largest number of rows, without the header, that are split with each delimiter to find the right one.
const ROWS_CHECKED: usize = 200;

/// Returns true if the text begins with the first two columns of a reject file.
fn is_reject_file(sample: &[u8]) -> bool {
    let [first, second, ..] = REJECT_COLUMNS.map(str::as_bytes);
    let after = sample.strip_prefix(first).and_then(|rest| rest.get(1..));
    after.is_some_and(|rest| rest.starts_with(second))
}

/// Determines the dialect of delimited text. `sample` is the beginning of the text. If the options give a character, it
/// is not detected.
///
/// The delimiter is searched in the header, outside quotes:
/// - If no delimiter occurs there, the source has one column.
/// - If one delimiter occurs there, it is chosen. If it divides no row and another delimiter divides all rows, the
///   result is an error.
/// - If several occur there, the first rows are split with each of them. A row fits a delimiter if it has as many cells
///   as the header, or one more that is blank. The delimiter with the largest share of fitting rows is chosen. If the
///   share of another delimiter is more than half as large, the result is an error.
///
/// If the options give no quote character, `quotes::decide` finds out whether quotes enclose cells.
///
/// A reject file always has the quotes of RFC 4180, because Medlift wrote it. The quote and escape characters in the
/// options are ignored, because they describe the original source.
pub(crate) fn detect_dialect(sample: &[u8], options: &LayoutOptions) -> Result<Dialect, LayoutError> {
    let is_own = is_reject_file(sample);
    let quote = if is_own { Some(Sign::Byte(quotes::QUOTE)) } else { options.quote };
    let escape = options.escape.filter(|_| !is_own).and_then(Sign::byte);
    let assumed = quote.map_or(Some(quotes::QUOTE), Sign::byte);
    let mut dialect = Dialect { delimiter: 0, line_end: detect_line_end(sample, assumed), quote: assumed, escape };
    dialect.delimiter = match options.delimiter {
        Some(delimiter) if matches!(delimiter, b'"' | b'\r' | b'\n' | 0 | 0x80..) => {
            return Err(LayoutError::BadDelimiter { delimiter });
        }
        Some(delimiter) => delimiter,
        None => detect_delimiter(sample, dialect)?,
    };
    if quote.is_none() {
        dialect.quote = quotes::decide(sample, dialect, options.multiline_cells)?;
    }
    check_signs(dialect)?;
    Ok(dialect)
}

/// Checks that delimiter, quote and escape character are three different characters.
fn check_signs(Dialect { delimiter, quote, escape, .. }: Dialect) -> Result<(), LayoutError> {
    let twice =
        if [quote, escape].contains(&Some(delimiter)) { Some(delimiter) } else { escape.filter(|_| escape == quote) };
    twice.map_or(Ok(()), |sign| Err(LayoutError::SignTwice { sign }))
}

/// Returns `\r` if the first line ends with `\r` alone and more text follows, otherwise `\n`. Several `\r` before a
/// `\n` belong to the same line end.
fn detect_line_end(sample: &[u8], quote: Option<u8>) -> u8 {
    let mut is_quoted = false;
    for (place, &byte) in sample.iter().enumerate() {
        match byte {
            _ if Some(byte) == quote => is_quoted = !is_quoted,
            b'\n' if !is_quoted => return b'\n',
            b'\r' if !is_quoted => {
                let next = sample[place..].iter().find(|&&byte| byte != b'\r');
                return if next == Some(&b'\n') || next.is_none() { b'\n' } else { b'\r' };
            }
            _ => {}
        }
    }
    b'\n'
}

fn detect_delimiter(sample: &[u8], dialect: Dialect) -> Result<u8, LayoutError> {
    let fit = |delimiter| Fit::measure(sample, Dialect { delimiter, ..dialect });
    let (mut fits, others): (Vec<Fit>, Vec<Fit>) = DELIMITERS.into_iter().map(fit).partition(|fit| fit.columns > 1);
    fits.sort_by(|left, right| right.share().total_cmp(&left.share()));
    match fits.as_slice() {
        [] => Ok(DELIMITERS[0]),
        [only] => match others.iter().find(|other| only.divides_none() && other.divides_all()) {
            Some(other) => Err(LayoutError::OtherDelimiterInRows { header: only.delimiter, rows: other.delimiter }),
            None => Ok(only.delimiter),
        },
        [first, second, ..] if second.share() <= first.share() / 2.0 => Ok(first.delimiter),
        [first, second, ..] => {
            Err(LayoutError::AmbiguousDelimiter { first: first.delimiter, second: second.delimiter })
        }
    }
}

/// How well a delimiter fits the rows of a sample.
struct Fit {
    delimiter: u8,
    columns: usize,
    rows: usize,
    fitting_rows: usize,
    /// Number of rows with more than one cell.
    divided_rows: usize,
}

impl Fit {
    fn measure(sample: &[u8], dialect: Dialect) -> Self {
        let mut cells = Cells::default();
        let mut fit = Self { delimiter: dialect.delimiter, columns: 0, rows: 0, fitting_rows: 0, divided_rows: 0 };
        for (place, span) in records(sample, Framing::Delimited(dialect)).take(1 + ROWS_CHECKED).enumerate() {
            let row = &sample[span.start as usize..span.end as usize];
            let is_row = split_row(row, dialect, &mut cells).is_ok() && span.ending == Ending::Whole;
            // The first row is the header even if it cannot be split. Its cells before the error are then counted.
            if place == 0 {
                fit.columns = cells.len();
            } else {
                fit.rows += 1;
                fit.fitting_rows += usize::from(is_row && quotes::has_columns(row, &cells, fit.columns));
                fit.divided_rows += usize::from(is_row && cells.len() > 1);
            }
        }
        fit
    }

    const fn divides_none(&self) -> bool {
        self.divided_rows == 0
    }

    const fn divides_all(&self) -> bool {
        self.rows > 0 && self.divided_rows == self.rows
    }

    /// Returns the share of rows that have as many cells as the header, or one more that is blank. Returns 1 if there
    /// are no rows.
    fn share(&self) -> f64 {
        if self.rows == 0 { 1.0 } else { self.fitting_rows as f64 / self.rows as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sample: &str, expected: Result<(u8, u8), LayoutError>) {
        let expected =
            expected.map(|(delimiter, line_end)| Dialect { delimiter, line_end, quote: Some(b'"'), escape: None });
        assert_eq!(detect_dialect(sample.as_bytes(), &LayoutOptions::default()), expected, "{sample:?}");
    }

    #[test]
    fn the_delimiter_is_detected_from_header_and_rows() {
        check("a,b\n1,2\n", Ok((b',', b'\n')));
        check("a;b\n1,5;2,5\n", Ok((b';', b'\n')));
        check("a\tb\r\n1\t2\r\n", Ok((b'\t', b'\n')));
        check("a|b\n", Ok((b'|', b'\n')));
        check("a\n1\n", Ok((b',', b'\n')));
        check("name;amount, EUR;city\nx;5;y\nx;5;y, z\n", Ok((b';', b'\n')));
        check("\"last, first\";age\n\"x, y\";3\n", Ok((b';', b'\n')));
        check("\n\na,b\n1,2\n", Ok((b',', b'\n')));
        check("\"a;\",b\nx;y,\n", Ok((b',', b'\n')));
    }

    #[test]
    fn two_delimiters_that_fit_are_an_error() {
        let ambiguous = LayoutError::AmbiguousDelimiter { first: b',', second: b';' };
        check("a,b;c\n1,2;3\n", Err(ambiguous.clone()));
        check("a,b;c\n", Err(ambiguous.clone()));
        let message = ambiguous.to_string();
        assert!(message.contains("`,` and `;`") && message.contains("--delimiter"), "{message}");
        let given = |delimiter| LayoutOptions { delimiter: Some(delimiter), ..LayoutOptions::default() };
        assert_eq!(detect_dialect(b"a,b;c\n", &given(b';')).unwrap().delimiter, b';');
        assert_eq!(detect_dialect(b"a", &given(b'"')), Err(LayoutError::BadDelimiter { delimiter: b'"' }));
    }

    #[test]
    fn rows_with_another_delimiter_than_the_header_are_an_error() {
        let other = LayoutError::OtherDelimiterInRows { header: b';', rows: b',' };
        check("a;b\n1,2\n3,4\n", Err(other));
        check("a;b\n1,2\n3;4\n", Ok((b';', b'\n')));
        check("a;b\n1\n", Ok((b';', b'\n')));
    }

    #[test]
    fn the_line_end_is_detected_from_the_first_line() {
        check("a,b\r1,2\r3,4", Ok((b',', b'\r')));
        check("a,b\r\r\n1,2\r\r\n", Ok((b',', b'\n')));
        check("\"a\rx\",b\n1,2\n", Ok((b',', b'\n')));
        check("a,b\r", Ok((b',', b'\n')));
    }

    #[test]
    fn given_quotes_and_escapes_are_not_detected() {
        let of = |sample: &str, quote, escape| {
            let options = LayoutOptions { quote, escape, ..LayoutOptions::default() };
            detect_dialect(sample.as_bytes(), &options).map(|dialect| (dialect.quote, dialect.escape))
        };
        let spoiled = "a,b\n\"open,1\nx,2\ny,3\n";
        let backslash = Some(Sign::Byte(b'\\'));
        assert_eq!(of(spoiled, None, None), Ok((None, None)));
        assert_eq!(of(spoiled, Some(Sign::Byte(b'"')), None), Ok((Some(b'"'), None)));
        assert_eq!(of("a,b\n1,2\n", Some(Sign::None), backslash), Ok((None, Some(b'\\'))));
        assert_eq!(of("a,b\n1,2\n", None, Some(Sign::None)), Ok((Some(b'"'), None)));
        assert_eq!(of("a,b\n1,2\n", Some(Sign::Byte(b',')), None), Err(LayoutError::SignTwice { sign: b',' }));
        assert_eq!(of("a,b\n1,2\n", None, Some(Sign::Byte(b','))), Err(LayoutError::SignTwice { sign: b',' }));
        assert_eq!(of("a,b\n1,2\n", backslash, backslash), Err(LayoutError::SignTwice { sign: b'\\' }));
        let rejects = format!("{},a,b\n1,2,,x,y,\"p,\"\"q\",r\n", REJECT_COLUMNS.join(","));
        assert_eq!(of(&rejects, Some(Sign::None), backslash), Ok((Some(b'"'), None)));
    }

    #[test]
    fn two_hundred_rows_are_examined() {
        let sample = |fit_both: usize, fit_one: usize| {
            format!("a,b;c\n{}{}", "1,2;3\n".repeat(fit_both), "1;2\n".repeat(fit_one))
        };
        check(&sample(100, 100), Ok((b';', b'\n')));
        let ambiguous = LayoutError::AmbiguousDelimiter { first: b';', second: b',' };
        check(&sample(101, 99), Err(ambiguous.clone()));
        check(&sample(101, 300), Err(ambiguous));
    }
}
