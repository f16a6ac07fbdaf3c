//! Records: the result of cleaning a row.

use std::ops::Range;

/// A typed record: one value per field, in the order of the spec's fields. It is reused for the next row without
/// allocation.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Record {
    /// One value per field. The value of a repeating group is that of its first field; its other fields are null.
    pub values: Vec<Value>,
    /// The text of all string values, concatenated.
    pub text: String,
    /// The values in arrays. The items of one array follow each other. The item of a list is one value. The item of a
    /// repeating group has one value for each column of the group.
    pub items: Vec<Value>,
}

/// The value of a field. Strings are ranges of [`Record::text`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A string: a range of bytes in the record's text, on character boundaries.
    Text(Range<u32>),
    /// BSON 32-bit integer.
    Int32(i32),
    /// BSON 64-bit integer.
    Int64(i64),
    /// BSON double.
    Double(f64),
    /// BSON decimal128: its 16 bytes as BSON stores them.
    Decimal128([u8; 16]),
    /// BSON boolean.
    Bool(bool),
    /// BSON datetime: milliseconds since 1970-01-01T00:00:00Z.
    Datetime(i64),
    /// An array: a range of [`Record::items`].
    Items(Range<u32>),
}

impl Record {
    /// Removes the values of the previous row.
    pub fn clear(&mut self) {
        self.values.clear();
        self.text.clear();
        self.items.clear();
    }

    /// Adds a string value.
    pub fn push_text(&mut self, text: &str) {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        self.values.push(Value::Text(start..self.text.len() as u32));
    }

    /// Returns the values of a [`Value::Items`] of this record.
    pub fn items(&self, range: &Range<u32>) -> &[Value] {
        &self.items[range.start as usize..range.end as usize]
    }

    /// Returns the text of a [`Value::Text`] of this record.
    pub fn text(&self, range: &Range<u32>) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }
}
