//! Finds *places* at which a large file can be cut. A place is a byte position at which a row begins.
//!
//! If every line is a row, each line end is followed by a place. In delimited text with quotes, a line end can be
//! inside a quoted cell. `cut` then parses the text after the line end twice, and accepts the place only if
//! both of these statements are true:
//! - If the text begins outside quotes, its rows are well formed.
//! - If the text begins inside quotes, its rows are not well formed.
//!
//! In HL7 messages, a message begins at each line that begins with `MSH` and a field separator, whatever is before this
//! line. So such a place cannot be wrong. The trailer of a batch has the number of its messages, so a file with batches
//! is not cut.
//!
//! In text with quotes, the place can still be wrong. So it is checked when the parts are loaded: each part must end outside quotes. The
//! first part begins at the beginning of the file, so it begins outside quotes. If it also ends outside quotes, the
//! second part begins outside quotes, and so on. So if all parts pass this check, all places are right. Otherwise the
//! load of a part fails with `ReadError::WrongSeam`.

use std::ops::Range;

use crate::error::Error;
use crate::parse::{Cells, Format, Parser};
use crate::pipeline::plan::SourcePlan;
use crate::read::{Dialect, Encoding, Ending, Framing, RowSpan, begins_batch_segment, begins_message, records};
use crate::spec::Spec;

/// Maximum number of bytes that are searched for one place at which the file can be cut.
const WINDOW_BYTES: usize = 4 << 20;

/// The first byte of an MLLP frame. The header of a batch can follow it.
const FRAME_START: u8 = 0x0b;

/// Maximum number of rows after a line end that are examined.
const ROWS_EXAMINED: usize = 100;

/// A text counts as well formed if at most one in this number of examined rows is damaged, and the first row is not.
const DAMAGED_SHARE: usize = 5;

/// Maximum number of line ends that are tried to find one place for a cut.
const TRIES_MAX: usize = 200;

/// Divides a source into ranges of about `part_bytes` bytes that begin and end between rows.
///
/// Returns no range if the source has at most `part_bytes` bytes, or if it cannot be cut. A source cannot be cut if it
/// is compressed, if its encoding is UTF-16, if it is CSV with an escape character, if it is JSON but not NDJSON, or if
/// it contains batches of HL7 messages. A source in which no place for a cut is found cannot be cut either.
///
/// # Errors
/// The source cannot be read.
pub(super) fn cut(source: &SourcePlan, spec: &Spec, part_bytes: u64) -> Result<Vec<Range<u64>>, Error> {
    let Some(size) = source.origin.size_bytes() else { return Ok(Vec::new()) };
    let has_line_ends = matches!(source.encoding, Encoding::Utf8 | Encoding::Windows1252);
    let is_of_messages = source.layout.format == Format::Hl7;
    let has_places = has_line_ends && (is_of_messages || is_divided_by_lines(source.layout.format));
    if size <= part_bytes || !has_places || source.origin.is_archive()? {
        return Ok(Vec::new());
    }
    if is_of_messages && has_batches(source, size)? {
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

/// Returns true if every row ends at a line end, and this line end can be recognised without reading the file from its
/// beginning.
fn is_divided_by_lines(format: Format) -> bool {
    match format.framing() {
        Framing::Lines => true,
        Framing::Delimited(dialect) => dialect.escape.is_none(),
        Framing::Documents | Framing::Entries | Framing::Hl7 => false,
    }
}

/// Returns true if a batch of HL7 messages begins or ends in the source. Reads the whole source.
fn has_batches(source: &SourcePlan, size: u64) -> Result<bool, Error> {
    /// A segment that is divided by the end of a window is whole in the next one.
    const OVERLAP: u64 = 16;
    let mut start = 0;
    while let Some(window) = source.origin.part(start..size).filter(|_| start < size) {
        let window = window.first_bytes(WINDOW_BYTES)?;
        let ends = memchr::memchr2_iter(b'\r', b'\n', &window).map(|at| at + 1);
        let frames = memchr::memchr_iter(FRAME_START, &window);
        if std::iter::once(0).chain(ends).chain(frames).any(|at| begins_batch_segment(&window[at..])) {
            return Ok(true);
        }
        let end = start + window.len() as u64;
        start = if end < size { end.saturating_sub(OVERLAP).max(start + 1) } else { end };
    }
    Ok(false)
}

/// Returns the first place after the byte `wanted` at which the source can be cut. Returns `None` if there is none in
/// the bytes that are searched.
fn place_after(source: &SourcePlan, spec: &Spec, wanted: u64, size: u64) -> Result<Option<u64>, Error> {
    let Some(window) = source.origin.part(wanted..size) else { return Ok(None) };
    let window = window.first_bytes(WINDOW_BYTES)?;
    let format = source.layout.format;
    if format == Format::Hl7 {
        let ends = memchr::memchr2_iter(b'\r', b'\n', &window).map(|at| at + 1);
        let place = ends.take_while(|at| *at < window.len()).find(|at| begins_message(&window[*at..]));
        return Ok(place.map(|at| wanted + at as u64));
    }
    let line_end = format.framing().dialect().map_or(b'\n', |dialect| dialect.line_end);
    // Cells with several lines are well formed here, even if the load rejects them.
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

/// Parses the first rows of `text`, except the last of them, because the text may end inside that row. Returns two
/// values: the number of parsed rows, and whether the text counts as well formed (see [`DAMAGED_SHARE`]).
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

/// Assumes that `text` begins inside a quoted cell, and returns the text after this cell. Returns `None` if the first
/// quote, apart from doubled quotes, cannot close a cell, or if there is no such quote.
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
