//! Finds the items of the array `entry` of a JSON object, such as a FHIR Bundle. Each item is a row. The rest of the
//! object is skipped, so that an object of any size needs little memory. Several objects can follow one another, in an
//! array or not.
//!
//! An object that is not a Bundle gives one damaged row, its last byte, because its content is not read.

use std::ops::ControlFlow::{Break, Continue};

use super::documents::{Documents, is_blank};
use super::{Place, Step};
use crate::read::block::Ending;

/// The key of the array whose items are the rows.
const ARRAY: &[u8] = b"entry";
/// The key and the value that an object of this form must have.
const KIND: (&[u8], &[u8]) = (b"resourceType", b"Bundle");
/// Keys and values are compared up to this length.
const TEXT_BYTES_MAX: usize = 16;

/// Finds the ends of the items.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    /// Finds the ends of the items of the array.
    items: Documents,
    state: State,
    /// Number of open brackets, including that of the object.
    depth: usize,
    /// True inside a string.
    in_text: bool,
    /// True after a backslash in a string.
    is_escaped: bool,
    /// The beginning of the last string on the first level of the object.
    text: Vec<u8>,
    /// The last key on the first level of the object. Empty while a key is expected.
    key: Vec<u8>,
    is_bundle: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two objects.
    Between,
    /// Inside an object, but not inside its array.
    Around,
    /// Inside the array.
    Items,
}

impl Entries {
    pub(super) fn new(row_bytes_max: usize) -> Self {
        Self {
            items: Documents::new(row_bytes_max),
            state: State::Between,
            depth: 0,
            in_text: false,
            is_escaped: false,
            text: Vec::new(),
            key: Vec::new(),
            is_bundle: false,
        }
    }

    /// Returns the end of the current item, if it is in `bytes`. Moves the start of the row to the item's first byte.
    pub(super) fn find_end(&mut self, bytes: &[u8], place: &mut Place) -> Option<usize> {
        while place.at < bytes.len() {
            let step = match self.state {
                State::Items => {
                    let end = self.items.find_end(bytes, place);
                    if end.is_some() {
                        return end;
                    }
                    if self.items.is_in_array() {
                        return None;
                    }
                    (self.state, self.depth) = (State::Around, self.depth - 1);
                    Continue(())
                }
                State::Between | State::Around => self.pass(bytes[place.at], place),
            };
            if let Break(end) = step {
                return end;
            }
        }
        None
    }

    /// Returns how the source ended. Call it at the end of the source. A second call returns `None`.
    pub(super) fn end(&mut self) -> Option<Ending> {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => None,
            State::Around => Some(Ending::OpenArray),
            State::Items => self.items.end(),
        }
    }

    /// Passes one byte that does not belong to an item. All bytes up to it are no longer needed.
    fn pass(&mut self, byte: u8, place: &mut Place) -> Step {
        place.at += 1;
        place.line += u64::from(byte == b'\n');
        let before = std::mem::replace(&mut place.start, place.at);
        if self.in_text {
            self.pass_text(byte);
            return Continue(());
        }
        match (self.state, byte) {
            (State::Between, b'{') => {
                (self.state, self.depth, self.is_bundle) = (State::Around, 1, false);
                self.key.clear();
            }
            (State::Between, b'[' | b']' | b',') => {}
            (State::Between, byte) if is_blank(byte) => {}
            (State::Between, _) => return strange(before, place),
            (_, b'"') => {
                self.in_text = true;
                self.text.clear();
            }
            (_, b':') if self.depth == 1 => self.key = std::mem::take(&mut self.text),
            (_, b',') if self.depth == 1 => self.end_value(),
            (_, b'[') if self.depth == 1 && self.key == ARRAY => {
                self.depth += 1;
                self.state = State::Items;
                self.items.begin_array();
            }
            (_, b'{' | b'[') => self.depth += 1,
            (_, b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.end_value();
                    self.state = State::Between;
                    if !self.is_bundle {
                        return strange(before, place);
                    }
                }
            }
            _ => {}
        }
        Continue(())
    }

    fn pass_text(&mut self, byte: u8) {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' => self.is_escaped = true,
            b'"' => self.in_text = false,
            _ if self.depth == 1 && self.text.len() < TEXT_BYTES_MAX => self.text.push(byte),
            _ => {}
        }
    }

    /// Ends a value on the first level of the object.
    fn end_value(&mut self) {
        self.is_bundle |= self.key == KIND.0 && self.text == KIND.1;
        self.key.clear();
        self.text.clear();
    }
}

/// Returns a row of one byte for something that is not a Bundle.
const fn strange(before: usize, place: &mut Place) -> Step {
    place.start = before;
    Break(Some(place.at))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::read::{Block, Framing, ReadOptions, Reader};

    /// Returns the rows of a text that is read in pieces of `block_bytes`, each with its line and how it ended.
    fn rows(text: &str, block_bytes: usize) -> Vec<(String, u64, Ending)> {
        let options = ReadOptions { block_bytes, sample_bytes: block_bytes, ..ReadOptions::default() };
        let from = Box::new(Cursor::new(text.as_bytes().to_vec()));
        let mut reader = Reader::from_read("a", from, 0, &options).expect("it can be read");
        reader.start(Framing::Entries);
        let mut found = Vec::new();
        while let Some(block) = reader.next_block(Block::default()).expect("it can be read") {
            for span in &block.rows {
                let row = String::from_utf8(block.row(*span).to_vec()).expect("text");
                assert!(row.is_empty() || text[span.offset as usize..].starts_with(&row), "{row}: {}", span.offset);
                found.push((row, span.line, span.ending));
            }
        }
        found
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, u64, Ending)]) {
        for block_bytes in [1, 2, 3, 7, 16, 1000] {
            let found = rows(text, block_bytes);
            let found: Vec<_> = found.iter().map(|(row, line, ending)| (row.as_str(), *line, *ending)).collect();
            assert_eq!(found, expected, "{text} in pieces of {block_bytes}");
        }
    }

    const TYPE: &str = "\"resourceType\":\"Bundle\"";

    #[test]
    fn the_items_of_the_array_are_rows() {
        use Ending::Whole;
        check(
            &format!("{{{TYPE},\"entry\":[{{\"a\":1}},{{\"b\":[{{}}]}}]}}"),
            &[("{\"a\":1}", 1, Whole), ("{\"b\":[{}]}", 1, Whole)],
        );
        let around = "\"link\":[{\"entry\":[1]}],\"x\":\"entry\",\"y\":\"\\\"]\",\"z\":{\"entry\":[{}]}";
        check(
            &format!("\n{{ {around},\n \"entry\" : [\n  {{\"a\":\n1}} ]\n, {TYPE} ,{around}}}\n"),
            &[("{\"a\":\n1}", 4, Whole)],
        );
        check(&format!("{{{TYPE}}}"), &[]);
        check(&format!("{{{TYPE},\"entry\":[]}}"), &[]);
        check(&format!("{{{TYPE},\"entry\":null}}"), &[]);
        let one = format!("{{{TYPE},\"entry\":[{{}}]}}");
        for several in [format!("{one}\n{one}"), format!("[{one},{one}]"), format!("{one}{one}\n")] {
            let lines: Vec<u64> = rows(&several, 9).iter().map(|(_, line, _)| *line).collect();
            assert_eq!(lines.len(), 2, "{several}");
        }
    }

    #[test]
    fn what_is_not_a_bundle_is_one_damaged_row() {
        use Ending::{OpenArray, Truncated, Whole};
        check("{\"resourceType\":\"Patient\"}", &[("}", 1, Whole)]);
        check("{\"a\":\"resourceType\",\"Bundle\":1}", &[("}", 1, Whole)]);
        check(&format!("x{{{TYPE}}}"), &[("x", 1, Whole)]);
        check(&format!("{{{TYPE},\"entry\":[{{}},{{\"a\""), &[("{}", 1, Whole), ("{\"a\"", 1, Truncated)]);
        check(&format!("{{{TYPE},\"entry\":[{{}},"), &[("{}", 1, Whole), ("", 1, OpenArray)]);
        check(&format!("{{{TYPE},\"entry\":[{{}}]"), &[("{}", 1, Whole), ("", 1, OpenArray)]);
    }
}
