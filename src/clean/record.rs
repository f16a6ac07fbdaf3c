//! Records. A record is the result of cleaning a row.

use std::ops::Range;

/// A typed record. It has one value per field, in the order of the spec. Its memory is used again for the next row.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Record {
    /// One value per field. A repeating group is an array of nested documents. Its value is stored for the first field
    /// of the group. The other fields of the group are null.
    pub values: Vec<Value>,
    /// The texts of all string values, one after another.
    pub text: String,
    /// The values inside arrays. The items of an array are adjacent. An item of a list is one value. An item of a
    /// repeating group has one value per column of the group.
    pub items: Vec<Value>,
    /// The bytes of the row as they are in the source, or the BSON of a FHIR resource. Empty if no field contains the
    /// whole record.
    pub whole: Vec<u8>,
}

/// The value of a field. A string is a range of [`Record::text`].
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A string, as a range of bytes in the record's text.
    Text(Range<u32>),
    /// BSON 32-bit integer.
    Int32(i32),
    /// BSON 64-bit integer.
    Int64(i64),
    /// BSON double.
    Double(f64),
    /// BSON decimal128, in the 16 bytes in which BSON stores it.
    Decimal128([u8; 16]),
    /// BSON boolean.
    Bool(bool),
    /// BSON datetime, in milliseconds since 1970-01-01T00:00:00Z.
    Datetime(i64),
    /// An array, as a range of [`Record::items`].
    Items(Range<u32>),
    /// BSON UUID.
    Uuid([u8; 16]),
    /// The whole record as it is in the source: the bytes in [`Record::whole`].
    Whole,
    /// The whole FHIR resource as a BSON document: the bytes in [`Record::whole`].
    Resource,
}

impl Record {
    /// Removes all values, so that the record can be used for another row.
    pub fn clear(&mut self) {
        self.values.clear();
        self.text.clear();
        self.items.clear();
        self.whole.clear();
    }

    /// Appends a string value.
    pub fn push_text(&mut self, text: &str) {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        self.values.push(Value::Text(start..self.text.len() as u32));
    }

    /// Returns the values of an array of this record.
    pub fn items(&self, range: &Range<u32>) -> &[Value] {
        &self.items[range.start as usize..range.end as usize]
    }

    /// Returns the text of a string value of this record.
    pub fn text(&self, range: &Range<u32>) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }
}
