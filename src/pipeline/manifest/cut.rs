//! Finds the places at which a large file can be cut: the beginnings of rows.
//!
//! If a row is a line, the next line end is the place. In delimited text with quotes, a line end can be inside a quoted
//! cell. A line end is then a place only if two things are true:
//! - The rows after it are well formed if the place is outside quotes.
//! - The rows after it are not well formed if the place is inside quotes.
//!
//! This is a strong sign, but no proof. The proof is made when the parts are loaded: each part must end outside quotes.
//! The first part begins at the beginning of the file, so it knows the state of the quotes at its end. If that end is
//! right, the next part begins right, and so on to the end of the file. A wrong place is an error
//! (`ReadError::WrongSeam`).

use std::ops::Range;

use crate::error::Error;
use crate::parse::{Cells, Format, Parser};
use crate::pipeline::plan::SourcePlan;
use crate::read::{Dialect, Encoding, Ending, Framing, RowSpan, records};
use crate::spec::Spec;

/// Number of bytes that are examined at each place.
const WINDOW_BYTES: usize = 4 << 20;

/// Number of rows after a line end that are examined.
const ROWS_EXAMINED: usize = 100;

/// The share of damaged rows that is accepted: one in this number. The first row must not be damaged.
const DAMAGED_SHARE: usize = 5;

/// Number of line ends that are tried in a window.
const TRIES_MAX: usize = 200;

/// Divides a source into ranges of about `part_bytes` bytes that begin and end between rows. Returns no range if the
/// source is not large enough, or cannot be cut: because it is compressed, in UTF-16 or JSON text with several lines
/// per object, or because no place is certain.
///
/// # Errors
/// The source cannot be read.
pub(super) fn cut(source: &SourcePlan, spec: &Spec, part_bytes: u64) -> Result<Vec<Range<u64>>, Error> {
    let Some(size) = source.origin.size_bytes() else { return Ok(Vec::new()) };
    let has_line_ends = matches!(source.encoding, Encoding::Utf8 | Encoding::Windows1252);
    let is_cuttable = size > part_bytes && has_line_ends && is_divided_by_lines(source.layout.format);
    if !is_cuttable || source.origin.is_archive()? {
        return Ok(Vec::new());
    }
    let parts = size.div_ceil(part_bytes);
    let mut places = vec![0];
    for part in 1..parts {
        let wanted = size / parts * part;
        if wanted <= places[places.len() - 1] {
            continue;
        }
        if let Some(place) = place_after(source, spec, wanted, size)? {
            places.push(place);
        }
    }
    places.push(size);
    let ranges = places.windows(2).map(|pair| pair[0]..pair[1]);
    Ok(if places.len() > 2 { ranges.collect() } else { Vec::new() })
}

/// Returns true if every row ends at a line end that can be found without reading from the beginning.
fn is_divided_by_lines(format: Format) -> bool {
    match format.framing() {
        Framing::Lines => true,
        Framing::Delimited(dialect) => dialect.escape.is_none(),
        Framing::Documents => false,
    }
}

/// Returns the first place after `wanted` at which a row begins. Returns `None` if no place is certain.
fn place_after(source: &SourcePlan, spec: &Spec, wanted: u64, size: u64) -> Result<Option<u64>, Error> {
    let Some(window) = source.origin.part(wanted..size) else { return Ok(None) };
    let window = window.first_bytes(WINDOW_BYTES)?;
    let format = source.layout.format;
    let line_end = format.framing().dialect().map_or(b'\n', |dialect| dialect.line_end);
    // Only the form of the rows matters here, not whether the load accepts them.
    let mut layout = source.layout.clone();
    layout.rules.multiline_cells = true;
    let mut parser = Parser::new(&layout, spec);
    for at in memchr::memchr_iter(line_end, &window).take(TRIES_MAX) {
        let rest = &window[at + 1..];
        let is_place = match format.framing().dialect() {
            Some(dialect @ Dialect { quote: Some(_), .. }) => is_outside_quotes(rest, dialect, &mut parser),
            _ => true,
        };
        let place = wanted + at as u64 + 1;
        if is_place && place < size {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Returns true if the rows of `text` are well formed when `text` begins outside quotes, and not well formed when it
/// begins inside quotes.
fn is_outside_quotes(text: &[u8], dialect: Dialect, parser: &mut Parser) -> bool {
    let (examined, is_well_formed) = examine(text, dialect, parser);
    let mut can_be_inside = || {
        let Some(rest) = after_quoted(text, dialect) else { return false };
        let line = memchr::memchr(dialect.line_end, rest).map_or(rest.len(), |at| at + 1);
        examine(&rest[line..], dialect, parser).1
    };
    examined > 0 && is_well_formed && !can_be_inside()
}

/// Parses the first rows of `text`. The last row is left out, because the text may end inside it. Returns the number of
/// rows, and whether the first and most of the others are well formed.
fn examine(text: &[u8], dialect: Dialect, parser: &mut Parser) -> (usize, bool) {
    let mut found: Vec<_> = records(text, Framing::Delimited(dialect)).take(ROWS_EXAMINED + 1).collect();
    found.pop();
    let mut cells = Cells::default();
    let mut is_damaged = |&span: &RowSpan| {
        let row = &text[span.start as usize..span.end as usize];
        span.ending != Ending::Whole || parser.parse(row, span, &mut cells).is_err()
    };
    let is_first_damaged = found.first().is_some_and(&mut is_damaged);
    let damaged = found.iter().filter(|span| is_damaged(span)).count();
    (found.len(), !is_first_damaged && damaged * DAMAGED_SHARE <= found.len())
}

/// Returns the text after the quoted cell if `text` begins inside one. Returns `None` if the first quote cannot close a
/// cell, or if there is no quote.
fn after_quoted(text: &[u8], dialect: Dialect) -> Option<&[u8]> {
    let quote = dialect.quote?;
    let mut at = 0;
    loop {
        at += memchr::memchr(quote, &text[at..])? + 1;
        match text.get(at) {
            Some(&next) if next == quote => at += 1,
            Some(&next) if next == dialect.delimiter || next == dialect.line_end || next == b'\r' => {
                return Some(&text[at..]);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
