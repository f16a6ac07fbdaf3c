//! Tests of JSON values as rows.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{Row, options, read};
use crate::read::frame::TOO_LONG_KEPT_BYTES;
use crate::read::{Ending, Framing, ReadOptions};

/// Checks the text, the line and the ending of each row of `text`.
fn check(text: &str, expected: &[(&str, u64, Ending)]) {
    for (block_bytes, drip_bytes) in [(1 << 20, 1 << 20), (1, 1), (3, 2)] {
        let options = ReadOptions { block_bytes, ..options() };
        let rows = read(text.as_bytes(), Framing::Documents, &options, drip_bytes).unwrap();
        let seen: Vec<(&str, u64, Ending)> =
            rows.iter().map(|row| (std::str::from_utf8(&row.text).unwrap(), row.line, row.ending)).collect();
        assert_eq!(seen, expected, "{text:?} in blocks of {block_bytes}");
    }
}

#[test]
fn each_json_value_is_a_row_on_its_line() {
    use Ending::{OpenArray, Truncated, Whole};
    check("[]", &[]);
    check(" [ \r\n ] \n", &[]);
    check("[{\"a\":1},{\"a\":2}]", &[("{\"a\":1}", 1, Whole), ("{\"a\":2}", 1, Whole)]);
    check("[\n {\n\"a\": [1]\n },\r\n{}\n]\n", &[("{\n\"a\": [1]\n }", 2, Whole), ("{}", 5, Whole)]);
    check("{\"a\":\n1}\n{}{\"b\":2}", &[("{\"a\":\n1}", 1, Whole), ("{}", 3, Whole), ("{\"b\":2}", 3, Whole)]);
    check("[{}] [{\"a\":1}]", &[("{}", 1, Whole), ("{\"a\":1}", 1, Whole)]);
    check(
        "[[{}],\"x,]\",12 ,null]",
        &[
            ("[", 1, Whole),
            ("{}", 1, Whole),
            ("\"x,]\"", 1, Whole),
            ("12", 1, Whole),
            ("null", 1, Whole),
            ("]", 1, Whole),
        ],
    );
    let signs = r#"{"}\"]\\":"{[\\"}"#;
    check(&format!("[{signs},{signs}]"), &[(signs, 1, Whole), (signs, 1, Whole)]);
    // The source ends inside a value or an array.
    check("[{\"a\":1},", &[("{\"a\":1}", 1, Whole), ("", 1, OpenArray)]);
    check("[\n", &[("", 2, OpenArray)]);
    check("[{\"a\":1},{\"a\":", &[("{\"a\":1}", 1, Whole), ("{\"a\":", 1, Truncated)]);
    check("[{\"a", &[("{\"a", 1, Truncated)]);
    check("[\"\\", &[("\"\\", 1, Truncated)]);
    check("[12", &[("12", 1, Truncated)]);
    check("12", &[("12", 1, Whole)]);
    // The value after a damaged value is still found.
    check("[{\"a\":[1},{}]", &[("{\"a\":[1}", 1, Whole), ("{}", 1, Whole)]);
    check("[{\"a\":\"x},\n{}]", &[("{\"a\":\"x}", 1, Whole), ("{}", 2, Whole)]);
    check("[{\"a\":\"x\n},{}]", &[("{\"a\":\"x\n}", 1, Whole), ("{}", 2, Whole)]);
    check(
        "[{\"a\":{\"b\":1},{\"a\":2}]{}",
        &[("{\"a\":{\"b\":1}", 1, Whole), ("{\"a\":2}", 1, Whole), ("{}", 1, Whole)],
    );
    check("[{\"a\":{\"b\":1},\"c\":2]{}", &[("{\"a\":{\"b\":1},\"c\":2", 1, Whole), ("{}", 1, Whole)]);
    check("}{}]x", &[("}", 1, Whole), ("{}", 1, Whole), ("]", 1, Whole), ("x", 1, Whole)]);
}

#[test]
fn a_json_value_that_is_too_long_is_cut_and_the_next_one_is_whole() {
    let options = ReadOptions { row_bytes_max: 8, block_bytes: 3, ..options() };
    let rows = read(b"[{\"a\":1},{\"a\":\"]},{\"},\n{\"b\":2}]", Framing::Documents, &options, 100).unwrap();
    let seen: Vec<(&[u8], u64, Ending)> = rows.iter().map(|row| (row.text.as_slice(), row.line, row.ending)).collect();
    let expected: [(&[u8], u64, Ending); 3] =
        [(b"{\"a\":1}", 1, Ending::Whole), (b"{\"a\":\"]}", 1, Ending::TooLong), (b"{\"b\":2}", 2, Ending::Whole)];
    assert_eq!(seen, expected);
}

/// Checks that the rows of `text` have these texts, and that all of them are whole.
fn check_rows(text: &str, expected: &[&str]) {
    let mut end = 0;
    let mut place = |row: &'_ str| {
        let start = end + text[end..].find(row).expect("the row is in the text");
        end = start + row.len();
        1 + text[..start].matches('\n').count() as u64
    };
    let rows: Vec<(&str, u64, Ending)> = expected.iter().map(|row| (*row, place(row), Ending::Whole)).collect();
    check(text, &rows);
}

#[test]
fn a_damaged_object_does_not_hide_the_objects_after_it() {
    let (first, third) = (r#"{"a":1}"#, r#"{"a":3}"#);
    for damaged in [r#"{"a":"x"#, r#"{"a":"x}"#, r#"{"a":2"#, r#"{"a"#, r#"{"a":{"b":2}"#, r#"{"a":[{"b":2},{"b"#] {
        check_rows(&format!("[{first},\n{damaged},\n{third}\n]\n"), &[first, damaged, third]);
        check_rows(&format!("{first}\n{damaged}\r\n\n{third}\n"), &[first, damaged, third]);
        check_rows(&format!("[ {first}\n, {damaged}\n, {third}\n]\n"), &[first, damaged, third]);
    }
    check_rows(&format!("[{first}\n,{{\"a\":[\"x]}}\n,{third}\n]"), &[first, "{\"a\":[\"x]}", third]);
    for damaged in [r#"{"a":"x}"#, r#"{"a":x"}"#, r#"{a":2}"#, r#"{"a:2}"#, r#"{"a":2"#, r#"{"b":"x,"a":2}"#] {
        check_rows(&format!("[{first},{damaged},{third}]"), &[first, damaged, third]);
        check_rows(&format!("[{first}, {damaged}, {third}]"), &[first, damaged, third]);
    }
    let pretty =
        "[\n  {\n    \"a\": [\n      {\n        \"b\": 1\n      ,\n      {\n        \"b\": 2\n      }\n    ]\n  }";
    check_rows(&format!("{pretty},\n  {third}\n]\n"), &[&pretty[4..], third]);
    check_rows("[{\n \"a\": 1\n, {\n \"a\": 2\n}]", &["{\n \"a\": 1", "{\n \"a\": 2\n}"]);
}

#[test]
fn an_item_of_an_array_does_not_become_a_row() {
    for damaged in [r#"{"a":[{"b":1,{"b":2}]}"#, r#"{"a":[{"b":"1},{"b":2}]}"#, r#"{"a":{"b":1},"c"{"d":1}}"#] {
        check_rows(&format!("[{damaged},{{\"a\":3}}]"), &[damaged, "{\"a\":3}"]);
    }
}

#[test]
fn a_damaged_array_does_not_hide_the_objects_after_it_on_the_line() {
    for damaged in [
        r#"{"a":2,"t":["x]}"#,
        r#"{"a":2,"t":[x"]}"#,
        r#"{"a":2,"t":[{"b:1}]}"#,
        r#"{"a":2,"t":[{b":1},{"b":2}]}"#,
        r#"{"a":2,"t":[{"b":"x","c"1}],"u":[]}"#,
        r#"{ "a":["x] }"#,
    ] {
        let (first, third, fourth) = (r#"{"a":1}"#, r#"{ "a":3,"t":["y"]}"#, r#"{"a":4}"#);
        check_rows(&format!("[{first}, {damaged}, {third}, {fourth}]"), &[first, damaged, third, fourth]);
        check_rows(&format!("{first}{damaged}{third}{fourth}"), &[first, damaged, third, fourth]);
    }
    check_rows(r#"[{"a":2,"t":["x"[,{"a":3}]"#, &[r#"{"a":2,"t":["x"["#, r#"{"a":3}"#]);
    check_rows(r#"[{"a":2 [,{"a":3},{"a":4}]"#, &[r#"{"a":2 ["#, r#"{"a":3}"#, r#"{"a":4}"#]);
}

#[test]
fn a_string_between_objects_does_not_hide_the_objects_after_it() {
    check_rows("[{\"a\":1},\"x\":{\"a\":7}},{\"a\":2}]", &["{\"a\":1}", "\"x\":{\"a\":7}}", "{\"a\":2}"]);
    check_rows("{\"a\":1}}, \"x\" : 1}{\"a\":2}", &["{\"a\":1}", "}", "\"x\" : 1}", "{\"a\":2}"]);
    check_rows("[{\"a\":1},x\":1},{\"a\":2}]", &["{\"a\":1}", "x", "\":1}", "{\"a\":2}"]);
    check_rows("\"x\" \n\"y\"\t", &["\"x\"", "\"y\""]);
}

#[test]
fn a_stray_bracket_between_objects_does_not_hide_the_objects_after_it() {
    let (first, second) = ("{\"a\":1}", "{\"a\":2}");
    check_rows(&format!("[[\n{first},\n{second}]"), &["[", first, second]);
    check_rows(&format!("[{first},[{second}]"), &[first, "[", second]);
    let truncated = "  {\n    \"a\": 1\n  [";
    check_rows(&format!("[\n{truncated},\n  {second},\n  {first}\n]"), &[&truncated[2..], second, first]);
}

#[test]
fn an_object_inside_an_object_does_not_become_a_row() {
    let flat = "{\n\"a\": 1,\n\"b\": [\n{\n\"a\": 901,\n\"c\": \"x\n},\n{\n\"a\": 902\n}\n]\n}";
    check_rows(&format!("[\n{flat},\n{{\n\"a\": 2\n}}\n]"), &[flat, "{\n\"a\": 2\n}"]);
    let items = r#"{"a":1,"b":{"a":901},{"a":902}"#;
    check_rows(&format!("[{items}]}},\n{{\"a\":2}}]"), &[items, "}", "{\"a\":2}", "]"]);
    let late = r#"{"a":1,"b"2,"c":[{"a":901},{"a":902}]}"#;
    check_rows(&format!("[{late},{{\"a\":2}}]"), &[late, "{\"a\":2}"]);
}

#[test]
fn an_unescaped_quote_does_not_hide_the_end_of_its_object() {
    for damaged in [r#"{"a":"x"y","b":{"c":1}}"#, r#"{"a":"say "hi" now","b":1}"#, r#"{"a" "b"}"#] {
        check_rows(&format!("[{damaged},{{\"a\":3}}]"), &[damaged, "{\"a\":3}"]);
    }
}

#[test]
fn a_byte_that_is_not_json_between_values_is_a_row() {
    check_rows("[{},\u{c}\n{\"a\":1}\u{b},:]", &["{}", "\u{c}", "{\"a\":1}", "\u{b}", ":"]);
    check("\u{c}", &[("\u{c}", 1, Ending::Whole)]);
}

#[test]
fn the_rows_after_a_value_that_is_too_long_are_found() {
    let check = |text: &str, expected: &[(&str, u64, Ending)]| {
        for block_bytes in [1, 3, 100] {
            let options = ReadOptions { row_bytes_max: 12, block_bytes, ..options() };
            let rows = read(text.as_bytes(), Framing::Documents, &options, 100).unwrap();
            let seen: Vec<(&str, u64, Ending)> =
                rows.iter().map(|row| (std::str::from_utf8(&row.text).unwrap(), row.line, row.ending)).collect();
            assert_eq!(seen, expected, "{text:?} in blocks of {block_bytes}");
        }
    };
    let (cut, next) = (("{\"a\":[{\"b\":1", 1, Ending::TooLong), "{\"a\":2}");
    check(&format!("{{\"a\":[{{\"b\":1,\"c\":\n{next}"), &[cut, (next, 2, Ending::Whole)]);
    check(
        &format!("{{\"a\":[{{\"b\":1}},\n{next},\n{next}]"),
        &[cut, (next, 2, Ending::Whole), (next, 3, Ending::Whole), ("]", 3, Ending::Whole)],
    );
    check(&format!("{{\"a\":[{{\"b\":1}},\n {{\"b\":2}}\n]}}{next}"), &[cut, (next, 3, Ending::Whole)]);
}

/// A slow reference implementation. Unlike the reader, it has the complete text, and looks backwards and forwards in
/// it.
struct Slow<'t> {
    text: &'t [u8],
    row_bytes_max: usize,
    /// The positions of the brackets of the outer arrays. The items of an outer array are values.
    outer_brackets: Vec<usize>,
    /// The first key of the latest object that has one.
    first_key: &'t [u8],
}

/// The value that is being read.
struct SlowValue {
    start: usize,
    in_array: bool,
    open: Vec<u8>,
    before: u8,
    is_damaged: bool,
    has_flat_lines: bool,
    repeats_first_key: bool,
}

/// The position at which a value or a string ends. `None` if the source ends first.
type End = Option<usize>;

impl<'t> Slow<'t> {
    fn rows(mut self) -> Vec<Row> {
        let (mut rows, mut at, mut in_array) = (Vec::new(), 0, false);
        while let Some(&byte) = self.text.get(at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => at += 1,
                b'[' | b']' if in_array == (byte == b']') => {
                    in_array = !in_array;
                    self.outer_brackets.push(at);
                    at += 1;
                }
                _ => {
                    let end = self.value_end(at, in_array);
                    let is_whole = end.is_some() || !in_array && self.may_end_with_the_source(at);
                    rows.push(self.row(at, end, if is_whole { Ending::Whole } else { Ending::Truncated }));
                    in_array &= end.is_some();
                    at = end.unwrap_or(self.text.len());
                }
            }
        }
        if in_array {
            rows.push(self.row(at, None, Ending::OpenArray));
        }
        rows
    }

    /// Returns true if the value at `start` is complete, although the source ends before the value's end was found. A
    /// number or a word is complete, an object is not. A string needs its closing quote.
    fn may_end_with_the_source(&self, start: usize) -> bool {
        if self.text[start] != b'"' {
            return self.text[start] != b'{';
        }
        let Some((end, plain)) = self.string_end(start + 1) else { return false };
        self.next_object(plain, end).is_some() && self.text[end..].iter().all(|byte| b" \t".contains(byte))
    }

    fn row(&self, start: usize, end: End, ending: Ending) -> Row {
        let mut text = &self.text[start..end.unwrap_or(self.text.len())];
        let is_too_long = text.len() > self.row_bytes_max;
        if is_too_long {
            text = &text[..TOO_LONG_KEPT_BYTES.min(self.row_bytes_max)];
        }
        while let [rest @ .., b' ' | b'\t' | b'\r' | b'\n' | b','] = text
            && ending == Ending::Whole
            && !is_too_long
        {
            text = rest;
        }
        let line = self.text[..start].split(|&byte| byte == b'\n').count() as u64;
        let ending = if is_too_long { Ending::TooLong } else { ending };
        Row { text: text.to_vec(), line, offset: start as u64, ending, undecodable: None }
    }

    fn value_end(&mut self, start: usize, in_array: bool) -> End {
        let value = SlowValue {
            start,
            in_array,
            open: Vec::new(),
            before: b' ',
            is_damaged: false,
            has_flat_lines: false,
            repeats_first_key: false,
        };
        match self.text[start] {
            b'[' | b'}' | b']' => Some(start + 1),
            b'"' => self.string_value_end(value),
            b'{' => self.nested_end(value, start),
            _ => (start..self.text.len()).find(|&at| b" \t\r\n,[]{}\"".contains(&self.text[at])),
        }
    }

    /// Returns the end of a string that stands where an object should begin. If a colon follows, the string is a key of
    /// an object whose beginning is lost, for example `"b":2}`. Then returns the end of that object.
    fn string_value_end(&mut self, mut value: SlowValue) -> End {
        let (end, plain) = self.string_end(value.start + 1)?;
        if self.text[end - 1] == b'\n' {
            return Some(end);
        }
        if let Some(object) = self.next_object(plain, end)? {
            return Some(object);
        }
        let next = (end..self.text.len()).find(|&at| !b" \t".contains(&self.text[at]))?;
        if self.text[next] != b':' {
            return Some(next);
        }
        value.open.push(b'}');
        value.is_damaged = true;
        self.nested_end(value, next)
    }

    /// Returns the end of the string whose text begins at `from`, and the position after the string's last escape.
    fn string_end(&self, from: usize) -> Option<(usize, usize)> {
        let (mut at, mut plain) = (from, from);
        loop {
            match self.text.get(at..)? {
                [b'\\', b'\n', ..] => at += 1,
                [b'\\', _, ..] => (at, plain) = (at + 2, at + 2),
                [b'\\'] | [] => return None,
                [b'"' | b'\n', ..] => return Some((at + 1, plain)),
                _ => at += 1,
            }
        }
    }

    /// Returns the position at which an object begins inside the string that ends at `end`. Returns `Some(None)` if no
    /// object begins there. Returns `None` if the source ends before this is known.
    fn next_object(&self, plain: usize, end: usize) -> Option<End> {
        let text = &self.text[plain.max(end.saturating_sub(25))..end - 1];
        let found = text.iter().rposition(|&byte| byte == b'{').filter(|&object| {
            let (before, after) = (text[..object].trim_ascii_end(), text[object + 1..].trim_ascii_end());
            after.is_empty() && (before.ends_with(b",") || before.ends_with(b"}"))
        });
        let Some(object) = found else { return Some(None) };
        let is_key = !b":,}] \t\r\n".contains(self.text.get(end)?);
        Some(is_key.then_some(end - 1 - text.len() + object))
    }

    fn nested_end(&mut self, mut value: SlowValue, mut at: usize) -> End {
        loop {
            let byte = *self.text.get(at)?;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {
                    at += 1;
                    continue;
                }
                b'"' => {
                    let (line, indent) = self.indent(at);
                    let is_flat = line + indent == at && indent <= self.indent(value.start).1 && line > value.start;
                    value.has_flat_lines |= is_flat && !value.is_damaged;
                    at = self.after_string(at + 1, &mut value)?;
                    if value.open.is_empty() {
                        return Some(at);
                    }
                    continue;
                }
                b'{' if self.is_next_value(at, &mut value)? => return Some(at),
                b'{' | b'[' => {
                    value.is_damaged |= !value.expects_value();
                    if value.open.len() <= self.row_bytes_max {
                        value.open.push(byte + 2);
                    }
                }
                b'}' | b']' if value.open.last() == Some(&byte) => {
                    value.open.pop();
                    if value.open.is_empty() {
                        return Some(at + 1);
                    }
                }
                b']' if value.in_array && !value.open.contains(&b']') => return Some(at),
                b'}' | b']' => return Some(at + 1),
                _ => {}
            }
            value.before = byte;
            at += 1;
        }
    }

    /// Returns the position at which the value continues after the string whose text begins at `from`.
    fn after_string(&self, from: usize, value: &mut SlowValue) -> End {
        let (end, plain) = self.string_end(from)?;
        if self.text[end - 1] == b'\n' {
            (value.before, value.is_damaged) = (b'\n', true);
            return Some(end);
        }
        if let Some(object) = self.next_object(plain, end)? {
            let text = &self.text[plain.max(end.saturating_sub(25))..object];
            let other = text.iter().rposition(|byte| !b"}], \t\r\n".contains(byte)).map_or(0, |other| other + 1);
            for bracket in &text[other..] {
                value.open.pop_if(|last| last == bracket);
            }
            (value.before, value.is_damaged) = (b',', true);
            return Some(object);
        }
        let next = (end..self.text.len()).find(|&at| !b" \t".contains(&self.text[at]))?;
        let is_key = value.open.ends_with(b"}") && b"{,".contains(&value.before);
        let is_number_or_word = b"0123456789-tfn".contains(&self.text[next]);
        if b":,}] \t\r\n{[".contains(&self.text[next]) || is_key && is_number_or_word {
            value.is_damaged |= is_number_or_word;
            value.before = b'"';
            return Some(next);
        }
        value.is_damaged = true;
        self.after_string(next, value)
    }

    fn is_next_value(&mut self, at: usize, value: &mut SlowValue) -> Option<bool> {
        let key = self.key(at)?;
        if value.open.is_empty() {
            self.first_key = if key.is_empty() { self.first_key } else { key };
            return Some(false);
        }
        value.is_damaged |= !value.expects_value();
        let (line, indent) = self.indent(at);
        if line + indent == at && indent <= self.indent(value.start).1 && !value.has_flat_lines {
            return Some(value.is_damaged || at - value.start > self.row_bytes_max);
        }
        let is_first_key = !key.is_empty() && key == self.first_key;
        if b":[".contains(&value.before) || !value.is_damaged {
            value.repeats_first_key |= is_first_key;
            return Some(false);
        }
        if b"\"{".contains(&value.before) {
            return Some(false);
        }
        if is_first_key && !value.repeats_first_key {
            return Some(true);
        }
        if value.expects_value() {
            return Some(false);
        }
        while value.open.contains(&b']') && value.open.last() != Some(&b']') {
            value.open.pop();
        }
        Some(self.first_key.is_empty() && value.open.last() != Some(&b']'))
    }

    /// Returns the key after the `{` at `at`. Returns `None` if the source ends before the key is known.
    fn key(&self, at: usize) -> Option<&'t [u8]> {
        let rest = &self.text[at + 1..];
        let text = &rest[..rest.len().min(64)];
        let unknown = (text.len() == 64).then_some(&text[..0]);
        let blanks = |text: &[u8]| text.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
        let parts: Vec<&[u8]> = text.splitn(3, |&byte| byte == b'"').collect();
        if blanks(parts[0]) < parts[0].len() {
            return Some(&[]);
        }
        let [_, key, after] = parts[..] else { return unknown };
        match after.get(blanks(after)) {
            None => unknown,
            Some(b':') => Some(key),
            Some(_) => Some(&[]),
        }
    }

    /// Returns the start of the line that contains `at`, and the length of the line's indent.
    fn indent(&self, at: usize) -> (usize, usize) {
        let line = self.text[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let is_indent = |&at: &usize| b" \t\r,".contains(&self.text[at]) || self.outer_brackets.contains(&at);
        (line, (line..at).take_while(is_indent).count())
    }
}

impl SlowValue {
    fn expects_value(&self) -> bool {
        match self.open.last() {
            None => true,
            Some(b'}') => self.before == b':',
            _ => self.before == b',' || self.before == b'[',
        }
    }
}

/// Adds a blank before and after each of the characters `[]{}:,` that is outside strings. The blanks are taken from
/// `blanks` in turn.
fn spaced(json: &str, blanks: &[&str]) -> String {
    let (mut text, mut blanks, mut in_string, mut is_escaped) = (String::new(), blanks.iter().cycle(), false, false);
    for sign in json.chars() {
        let is_sign = !in_string && "[]{}:,".contains(sign);
        in_string ^= sign == '"' && !is_escaped;
        is_escaped = in_string && sign == '\\' && !is_escaped;
        let mut blank = || if is_sign { blanks.next().copied().unwrap_or_default() } else { "" };
        text.extend([blank(), &sign.to_string(), blank()]);
    }
    text
}

proptest! {
    #[test]
    fn the_rows_are_those_of_the_slow_machine_however_the_source_is_cut(
        text in vec(prop_oneof![
            4 => "[\\[\\]{}:\",\\\\ \n\r\u{c}a1]",
            1 => prop_oneof![
                Just(",{\"a\":"), Just("},\n{\"a\":"), Just(", {\""), Just("[{"), Just("\n{"), Just("{\"a\":"),
                Just("{\"b\":"), Just("]} , { \""), Just("}{\"a"), Just("{\"b\" t"), Just("\n\"a\":"),
            ].prop_map(str::to_owned),
        ], 0..50),
        block_bytes in 1_usize..9,
        drip_bytes in 1_usize..5,
        row_bytes_max in prop_oneof![Just(1 << 20), 1_usize..30],
    ) {
        let text = text.concat();
        prop_assume!(!text.is_empty());
        let cut = ReadOptions { row_bytes_max, block_bytes, ..options() };
        let rows = read(text.as_bytes(), Framing::Documents, &cut, drip_bytes).unwrap();
        let expected = Slow { text: text.as_bytes(), row_bytes_max, outer_brackets: Vec::new(), first_key: b"" }.rows();
        prop_assert_eq!(&rows, &expected);
    }

    #[test]
    fn between_json_values_is_nothing_but_commas_brackets_and_blanks(
        text in "[\\[\\]{}:\",\\\\ \n\r\u{c}a1]{0,40}", block_bytes in 1_usize..9, drip_bytes in 1_usize..5,
    ) {
        let text = format!("[{text}");
        let cut = ReadOptions { block_bytes, ..options() };
        let rows = read(text.as_bytes(), Framing::Documents, &cut, drip_bytes).unwrap();
        let mut end = 0;
        for row in &rows {
            let start = row.offset as usize;
            let lines = text[..start].matches('\n').count() as u64;
            prop_assert_eq!(row.line, lines + 1);
            prop_assert!(text[end..start].bytes().all(|byte| b"[], \r\n".contains(&byte)), "{:?}", &text[end..start]);
            end = start + row.text.len();
        }
        prop_assert!(text[end..].bytes().all(|byte| b"[], \r\n".contains(&byte)), "{:?}", &text[end..]);
    }

    #[test]
    fn the_values_of_a_json_array_are_the_rows(
        texts in vec("[\\[\\]{}:\",\\\\é \u{1}-]{0,9}", 0..6),
        blanks in vec(prop_oneof![Just(""), Just(" "), Just("\n"), Just("\r\n\t")], 1..20),
        is_array in any::<bool>(),
    ) {
        let values: Vec<Value> = texts.iter()
            .map(|text| json!({ text: [text, { "a": text, "b": { "c": [{}, { text: 1 }] } }, { "d": text }], "e": { "f": text } }))
            .collect();
        let lines = values.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let json = if is_array { Value::from(values.clone()).to_string() } else { format!("{lines}\n") };
        let rows = read(spaced(&json, &blanks).as_bytes(), Framing::Documents, &options(), 1 << 20).unwrap();
        let seen: Vec<Value> = rows.iter().map(|row| serde_json::from_slice(&row.text).unwrap()).collect();
        prop_assert_eq!(seen, values);
    }

    #[test]
    fn a_missing_punctuation_character_damages_only_its_own_object(
        texts in vec("[a-z ]{0,5}", 2..6), separator in prop_oneof![Just(",\n"), Just(","), Just(", "), Just("\n,")],
        damaged in any::<Index>(), removed in any::<Index>(),
    ) {
        let mut objects: Vec<String> = texts.iter().enumerate()
            .map(|(number, text)| {
                json!({ "number": number, "text": text, "words": [text, { "word": text }, {}] }).to_string()
            })
            .collect();
        let damaged = damaged.index(objects.len());
        let places: Vec<usize> = objects[damaged].match_indices(['{', '}', '"', ':', '[', ']', ',']).map(|(place, _)| place).collect();
        objects[damaged].remove(places[removed.index(places.len())]);
        let json = format!("[{}\n]\n", objects.join(separator));
        let rows = read(json.as_bytes(), Framing::Documents, &options(), 1 << 20).unwrap();
        let whole: Vec<&str> = rows.iter().map(|row| std::str::from_utf8(&row.text).unwrap()).collect();
        for (number, object) in objects.iter().enumerate().filter(|&(number, _)| number != damaged) {
            prop_assert!(whole.contains(&object.as_str()), "object {number} of {json}: {whole:?}");
        }
    }
}
