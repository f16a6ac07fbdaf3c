//! The files into which the rejects of a load are divided. The rejects of a table or of JSON are in one file. The
//! rejects of HL7 messages or FHIR resources are in two files: one has the rejected messages or resources, the other
//! has the position and the reason of each of them.

use std::ops::Range;

use crate::ledger::RejectsState;
use crate::parse::{Format, Layout, segment_end};
use crate::pipeline::plan::Plan;
use crate::read::RejectKind;
use crate::reject::RejectedRow;
use crate::report::rejects::{Line, header_line, reject_line};

/// The reject files of a load, in the order of their sources.
pub(super) struct Streams(Vec<Stream>);

/// One reject file. It has rejects of one source, or of all sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    /// Index of the source, or 0 if the file is for all sources.
    pub(super) source: usize,
    pub(super) kind: RejectKind,
}

impl Streams {
    /// Creates the files of a plan. `is_shared` is true if all sources share them.
    pub(super) fn new(plan: &Plan, is_shared: bool) -> Self {
        let sources = if is_shared { 1 } else { plan.sources.len() };
        let of_source = |source: usize| {
            let kinds = match plan.sources[source].layout.format {
                Format::Hl7 => &[RejectKind::Messages, RejectKind::Positions][..],
                Format::Fhir(_) => &[RejectKind::Resources, RejectKind::Positions],
                Format::Csv(_) | Format::Json | Format::Ndjson => &[RejectKind::Rows],
            };
            kinds.iter().map(move |&kind| Stream { source, kind })
        };
        Self((0..sources).flat_map(of_source).collect())
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, index: usize) -> Stream {
        self.0[index]
    }

    /// Returns the files for the rejects of a source.
    pub(super) fn of_source(&self, source: usize) -> Range<usize> {
        let source = source.min(self.0.last().map_or(0, |last| last.source));
        let first = self.0.iter().take_while(|stream| stream.source < source).count();
        first..first + self.0[first..].iter().take_while(|stream| stream.source == source).count()
    }

    /// Returns the index of the file that `state` describes.
    pub(super) fn of_state(&self, state: &RejectsState) -> usize {
        let mut files = self.of_source(state.source as usize);
        let first = files.start;
        files.find(|&file| (self.0[file].kind == RejectKind::Positions) == state.has_positions).unwrap_or(first)
    }

    /// Returns true if several sources have files of their own.
    pub(super) fn are_of_several_sources(&self) -> bool {
        self.0.last().is_some_and(|last| last.source > 0)
    }

    /// Returns the header line of a file. It is empty for messages and resources.
    pub(super) fn header(&self, index: usize, plan: &Plan) -> Vec<u8> {
        let Stream { source, kind } = self.0[index];
        let layout = &plan.sources[source].layout;
        match kind {
            RejectKind::Rows => header_line(&layout.header, layout.format.reject_delimiter()),
            RejectKind::Messages | RejectKind::Resources => Vec::new(),
            RejectKind::Positions => header_line(&[], layout.format.reject_delimiter()),
        }
    }
}

/// Returns the lines of a rejected row: one entry for each file of its source, in the order of the files.
pub(in crate::pipeline) fn lines_of(layout: &Layout, row: &RejectedRow) -> Vec<Vec<u8>> {
    let cell = row.reject.field.and_then(|field| layout.cell_of_field[field]);
    let column = cell.and_then(|cell| layout.header.get(cell)).map_or("", String::as_str);
    let line = |cells| {
        let line = Line { line: row.line, offset: row.offset, column, reject: &row.reject, cells };
        reject_line(&line, layout.format.reject_delimiter())
    };
    if !layout.format.keeps_whole() {
        return vec![line(&row.cells)];
    }
    let whole: &[u8] = row.cells.first().map_or(&[], Vec::as_slice);
    let whole = if layout.format == Format::Hl7 { [whole, segment_end(whole)].concat() } else { json_line(whole) };
    vec![whole, line(&[])]
}

/// Returns a refused resource as one line. Line ends between values become spaces. A line end in a string becomes a
/// tab, which JSON does not allow there either. So the resource stays a reject until somebody has corrected the string.
fn json_line(resource: &[u8]) -> Vec<u8> {
    let (mut in_text, mut is_escaped) = (false, false);
    let byte = |byte: &u8| {
        in_text ^= *byte == b'"' && !is_escaped;
        is_escaped = in_text && *byte == b'\\' && !is_escaped;
        match byte {
            b'\n' | b'\r' if in_text => b'\t',
            b'\n' | b'\r' => b' ',
            byte => *byte,
        }
    };
    resource.iter().map(byte).chain([b'\n']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_end_in_a_string_stays_an_error() {
        for (resource, line) in [
            ("{\n\"a\":\r\n\"b\"}", "{ \"a\":  \"b\"}\n"),
            ("{\"a\":\"x\ny\"}", "{\"a\":\"x\ty\"}\n"),
            ("{\"a\\\"\n\":\"\\\\\"\n}", "{\"a\\\"\t\":\"\\\\\" }\n"),
        ] {
            assert_eq!(String::from_utf8(json_line(resource.as_bytes())).unwrap(), line);
        }
    }
}
