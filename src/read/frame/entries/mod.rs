//! Finds the items of the array `entry` of a JSON object, such as a FHIR Bundle. Each item is a row. The rest of the
//! object is skipped, so that an object of any size needs little memory. Several objects can follow one another, in an
//! array or not.
//!
//! An object that is not a Bundle is one row. Text that is not an object is one row per line. If a Bundle has an error
//! outside its array `entry`, the last byte of the Bundle is one more row, which the parser refuses. Errors below the
//! first level of the Bundle are not all found.

mod object;

use std::ops::ControlFlow::{Break, Continue};

use self::object::{Found, Object};
use super::documents::{Documents, is_blank};
use super::{Place, Step};
use crate::read::block::Ending;

/// Finds the ends of the items.
#[derive(Debug, Clone)]
pub(super) struct Entries {
    /// Finds the ends of the items of the array.
    items: Documents,
    state: State,
    /// True inside an array of objects.
    in_array: bool,
    object: Object,
    /// Number of the objects that have begun.
    objects: u32,
    /// True if the bytes from the start of the row are needed: they may become a row.
    is_kept: bool,
    row_bytes_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two objects.
    Between,
    /// Inside text that is not an object.
    Stray,
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
            in_array: false,
            object: Object::default(),
            objects: 0,
            is_kept: false,
            row_bytes_max,
        }
    }

    /// Returns the number of the current object, from 1.
    pub(super) const fn object(&self) -> u32 {
        self.objects
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
                    self.state = State::Around;
                    Continue(())
                }
                _ => self.pass(bytes[place.at], place),
            };
            if let Break(end) = step {
                return end;
            }
        }
        None
    }

    /// Returns how the source ended. Call it at the end of the source. A second call returns `None`.
    pub(super) fn end(&mut self) -> Option<Ending> {
        let in_array = std::mem::take(&mut self.in_array);
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => in_array.then_some(Ending::OpenArray),
            State::Stray => Some(Ending::Whole),
            State::Around if self.is_kept => Some(Ending::Truncated),
            State::Around => Some(Ending::OpenArray),
            State::Items => self.items.end(),
        }
    }

    /// Passes one byte that does not belong to an item.
    fn pass(&mut self, byte: u8, place: &mut Place) -> Step {
        place.at += 1;
        place.lines_inside += u64::from(byte == b'\n');
        let step = match self.state {
            State::Between => self.begin(byte),
            State::Stray => self.pass_stray(byte, place),
            _ => self.pass_object(byte, place),
        };
        // An object whose type is still unknown is taken for a Bundle if it is longer than a row can be.
        if self.is_kept && self.object.may_be_bundle() && place.row_bytes() >= self.row_bytes_max {
            self.is_kept = false;
        }
        if !self.is_kept && step.is_continue() {
            forget(place);
        }
        step
    }

    fn begin(&mut self, byte: u8) -> Step {
        match byte {
            b'{' => {
                self.state = State::Around;
                self.object.begin();
                self.objects += 1;
                self.is_kept = true;
            }
            b'[' | b']' if self.in_array == (byte == b']') => self.in_array = byte == b'[',
            b',' => {}
            byte if is_blank(byte) => {}
            _ => (self.state, self.is_kept) = (State::Stray, true),
        }
        Continue(())
    }

    /// Passes a byte of text that is not an object. Such text ends with its line, or before the next object.
    fn pass_stray(&mut self, byte: u8, place: &Place) -> Step {
        match byte {
            b'{' => self.end_row(place.at - 1),
            b'\n' => self.end_row(place.at),
            _ => Continue(()),
        }
    }

    fn pass_object(&mut self, byte: u8, place: &mut Place) -> Step {
        match self.object.pass(byte) {
            Found::Nothing => Continue(()),
            Found::NotAnObject => {
                self.state = State::Stray;
                self.pass_stray(byte, place)
            }
            Found::Bundle => {
                self.is_kept = false;
                Continue(())
            }
            Found::Items => {
                (self.state, self.is_kept) = (State::Items, false);
                self.items.begin_array();
                Continue(())
            }
            Found::Value => {
                place.at -= 1;
                forget(place);
                place.at += 1;
                self.is_kept = true;
                Continue(())
            }
            Found::NoValue => {
                self.is_kept = false;
                // The byte after the value is passed again.
                place.at -= 1;
                place.lines_inside -= u64::from(byte == b'\n');
                Continue(())
            }
            Found::EndOfValue { is_before } => {
                self.is_kept = false;
                // The byte after the value is passed again.
                place.lines_inside -= u64::from(is_before && byte == b'\n');
                Break(Some(place.at - usize::from(is_before)))
            }
            Found::End { is_right } => {
                self.state = State::Between;
                if !self.is_kept {
                    if is_right {
                        return Continue(());
                    }
                    // The content of the object was not kept, so only its last byte becomes a row.
                    place.at -= 1;
                    forget(place);
                    place.at += 1;
                }
                self.end_row(place.at)
            }
        }
    }

    fn end_row(&mut self, end: usize) -> Step {
        (self.state, self.is_kept) = (State::Between, false);
        Break(Some(end))
    }
}

/// Begins a row at the current byte. The bytes before it are no longer needed.
const fn forget(place: &mut Place) {
    place.line += place.lines_inside;
    place.lines_inside = 0;
    place.start = place.at;
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
    fn a_damaged_bundle_gives_one_more_row() {
        use Ending::{OpenArray, Truncated, Whole};
        let damaged = |around: &str| {
            check(&format!("{{{TYPE},\"entry\":[{{}}]{around}}}\n"), &[("{}", 1, Whole), ("}", 1, Whole)]);
        };
        for around in [
            ",",
            ",,\"a\":1",
            " 7",
            ",\"a\" 7",
            ",\"a\":x",
            ",\"a\":",
            ",\"a\":]",
            ",7:1",
            ",\"a\":[{]}",
            ":1",
            "\"a\":1",
        ] {
            damaged(around);
        }
        check(&format!("{{,{TYPE}}}"), &[(&format!("{{,{TYPE}}}"), 1, Whole)]);
        check(&format!("{{{TYPE},\"resourceType\":\"List\"}}"), &[("}", 1, Whole)]);
        check("{\"entry\":[{}],\"resourceType\":\"List\"}", &[("{}", 1, Whole), ("}", 1, Whole)]);
        check(&format!("{{{TYPE},\"entry\":[{{}},{{\"a\""), &[("{}", 1, Whole), ("{\"a\"", 1, Truncated)]);
        check(&format!("{{{TYPE},\"entry\":[{{}},"), &[("{}", 1, Whole), ("", 1, OpenArray)]);
        check(&format!("{{{TYPE},\"entry\":[{{}}]"), &[("{}", 1, Whole), ("", 1, OpenArray)]);
    }

    #[test]
    fn an_object_that_is_not_a_bundle_is_a_row() {
        use Ending::{Truncated, Whole};
        let list = "{\"resourceType\":\"List\",\n\"entry\":[{\"item\":{}}]}";
        for object in
            ["{\"resourceType\":\"Patient\"}", "{\"a\":\"resourceType\",\"Bundle\":1}", "{\"a\":[{}],\"b\":{}}", list]
        {
            check(object, &[(object, 1, Whole)]);
            let bundle = format!("{{{TYPE},\"entry\":[{{}}]}}");
            let after = 2 + object.matches('\n').count() as u64;
            check(
                &format!("{bundle}\n{object}\n{bundle}"),
                &[("{}", 1, Whole), (object, 2, Whole), ("{}", after + 1, Whole)],
            );
        }
        check("{\"resourceType\":\"Patient\",\"a\":{", &[("{\"resourceType\":\"Patient\",\"a\":{", 1, Truncated)]);
    }

    #[test]
    fn other_text_is_one_row_per_line() {
        use Ending::{OpenArray, Whole};
        let bundle = format!("{{{TYPE},\"entry\":[{{}}]}}");
        check(&format!("x{{{TYPE}}}"), &[("x", 1, Whole)]);
        check(
            &format!("{bundle}\n<html>502\n a {{color: red}}</html>\n{bundle}"),
            &[
                ("{}", 1, Whole),
                ("<html>502", 2, Whole),
                ("a", 3, Whole),
                ("{color: red}</html>", 3, Whole),
                ("{}", 4, Whole),
            ],
        );
        check(&format!("[{bundle},{bundle},"), &[("{}", 1, Whole), ("{}", 1, Whole), ("", 1, OpenArray)]);
        check(&format!("[{bundle}]]"), &[("{}", 1, Whole), ("]", 1, Whole)]);
        check(&format!("{bundle} null"), &[("{}", 1, Whole), ("null", 1, Whole)]);
    }

    #[test]
    fn an_entry_that_is_not_an_array_is_a_row() {
        use Ending::Whole;
        let entry = |value: &str, rows: &[(&str, u64, Ending)]| {
            check(&format!("{{{TYPE},\"entry\":{value}}}"), rows);
            check(&format!("{{\"entry\": {value} ,{TYPE}}}"), rows);
        };
        entry("{\"resource\":{\"a\":[1]}}", &[("{\"resource\":{\"a\":[1]}}", 1, Whole)]);
        entry("\"x\\\"\"", &[("\"x\\\"\"", 1, Whole)]);
        entry("17", &[("17", 1, Whole)]);
        entry("null", &[]);
        check(&format!("{{{TYPE},\"\\u0065ntry\":[{{}}]}}"), &[("{}", 1, Whole)]);
        check("{\"resource\\u0054ype\":\"\\u0042undle\",\"entry\":[{}]}", &[("{}", 1, Whole)]);
    }

    #[test]
    fn a_long_object_of_unknown_type_is_a_bundle() {
        let options = ReadOptions { block_bytes: 7, sample_bytes: 7, row_bytes_max: 20, ..ReadOptions::default() };
        let text = format!("{{\"a\":\"{}\",\"entry\":[{{}}],{TYPE}}}", "x".repeat(50));
        let mut reader = Reader::from_read("a", Box::new(Cursor::new(text.into_bytes())), 0, &options).unwrap();
        reader.start(Framing::Entries);
        let block = reader.next_block(Block::default()).unwrap().unwrap();
        assert_eq!((block.rows.len(), block.row(block.rows[0])), (1, &b"{}"[..]));
        assert!(reader.next_block(Block::default()).unwrap().is_none());
    }

    #[test]
    fn each_row_has_the_number_of_its_object() {
        let bundle = format!("{{{TYPE},\"entry\":[{{}},{{}}]}}");
        let text = format!("[{bundle},{bundle}]");
        let found: Vec<u32> = crate::read::records(text.as_bytes(), Framing::Entries).map(|span| span.object).collect();
        assert_eq!(found, [1, 1, 2, 2]);
    }
}
