//! Writes one element of a document: its type, name and value. <https://bsonspec.org/spec.html> defines the format.
//!
//! Names and most texts are short. Copying 32 bytes and then cutting off the superfluous ones takes two vector
//! instructions. Copying the exact length would take a function call.

use crate::clean::{Record, Value};

const PIECE_BYTES: usize = 32;

/// The subtype of a binary value that has no special meaning.
const GENERIC_SUBTYPE: u8 = 0;
const UUID_SUBTYPE: u8 = 4;

/// The name of an element in the form in which it is written.
#[derive(Debug)]
pub(super) struct Name {
    /// One byte for the type, the name, its NUL, and zeros up to 32 bytes. Used if the name is short enough.
    piece: [u8; PIECE_BYTES],
    /// The name with its NUL, as BSON stores it.
    whole: Vec<u8>,
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let mut whole = name.as_bytes().to_vec();
        whole.push(0);
        let mut piece = [0; PIECE_BYTES];
        piece[1..].iter_mut().zip(&whole).for_each(|(to, from)| *to = *from);
        Self { piece, whole }
    }

    /// Writes the type and the name of an element.
    #[inline]
    pub(super) fn write(&self, kind: u8, out: &mut Vec<u8>) {
        if self.whole.len() < PIECE_BYTES {
            let end = out.len() + 1 + self.whole.len();
            let mut piece = self.piece;
            piece[0] = kind;
            out.extend_from_slice(&piece);
            out.truncate(end);
        } else {
            out.push(kind);
            out.extend_from_slice(&self.whole);
        }
    }
}

/// Writes an element with a value of `record`.
pub(super) fn write_element(record: &Record, value: &Value, name: &Name, out: &mut Vec<u8>) {
    match value {
        Value::Double(number) => {
            name.write(0x01, out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Text(range) => {
            name.write(0x02, out);
            out.extend_from_slice(&(range.end - range.start + 1).to_le_bytes());
            write_text(record.text.as_bytes(), range.start as usize, range.end as usize, out);
            out.push(0);
        }
        Value::Bool(flag) => {
            name.write(0x08, out);
            out.push(u8::from(*flag));
        }
        Value::Datetime(ms) => {
            name.write(0x09, out);
            out.extend_from_slice(&ms.to_le_bytes());
        }
        Value::Null => name.write(0x0a, out),
        Value::Int32(number) => {
            name.write(0x10, out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Int64(number) => {
            name.write(0x12, out);
            out.extend_from_slice(&number.to_le_bytes());
        }
        Value::Decimal128(bytes) => {
            name.write(0x13, out);
            out.extend_from_slice(bytes);
        }
        Value::Resource => {
            name.write(0x03, out);
            out.extend_from_slice(&record.whole);
        }
        Value::Whole => write_binary(GENERIC_SUBTYPE, &record.whole, name, out),
        Value::Uuid(bytes) => write_binary(UUID_SUBTYPE, bytes, name, out),
        Value::Items(_) => unreachable!("arrays have a step of their own"),
    }
}

fn write_binary(subtype: u8, bytes: &[u8], name: &Name, out: &mut Vec<u8>) {
    name.write(0x05, out);
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.push(subtype);
    out.extend_from_slice(bytes);
}

/// Writes `bytes[start..end]`. If the text is short and `bytes` continues after it, copies 32 bytes and cuts off the
/// superfluous ones.
#[inline]
fn write_text(bytes: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    match bytes[start..].first_chunk::<PIECE_BYTES>() {
        Some(piece) if end - start <= PIECE_BYTES => {
            let end = out.len() + (end - start);
            out.extend_from_slice(piece);
            out.truncate(end);
        }
        _ => out.extend_from_slice(&bytes[start..end]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A slow reference implementation, which writes each part with its exact length.
    fn write_slowly(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
        [&[kind], name.as_bytes(), &[0], value].concat()
    }

    fn text_value(text: &str) -> Vec<u8> {
        [&(text.len() as u32 + 1).to_le_bytes(), text.as_bytes(), &[0]].concat()
    }

    proptest! {
        #[test]
        fn copying_pieces_gives_the_same_bytes(
            name in "[a-z ]{1,40}",
            texts in proptest::collection::vec("[a-zé]{0,40}", 0..5),
            (number, double, flag) in any::<(i64, f64, bool)>(),
        ) {
            let mut record = Record::default();
            for text in &texts {
                record.push_text(text);
            }
            let decimal = u128::from(number.unsigned_abs()).to_le_bytes();
            record.values.extend([Value::Int64(number), Value::Int32(7), Value::Null, Value::Datetime(number)]);
            record.values.extend([Value::Double(double), Value::Bool(flag), Value::Decimal128(decimal)]);
            let name_ready = Name::new(&name);
            let (mut fast, mut slow) = (b"before".to_vec(), b"before".to_vec());
            for value in &record.values {
                write_element(&record, value, &name_ready, &mut fast);
            }
            for text in &texts {
                slow.extend(write_slowly(0x02, &name, &text_value(text)));
            }
            slow.extend(write_slowly(0x12, &name, &number.to_le_bytes()));
            slow.extend(write_slowly(0x10, &name, &7_i32.to_le_bytes()));
            slow.extend(write_slowly(0x0a, &name, &[]));
            slow.extend(write_slowly(0x09, &name, &number.to_le_bytes()));
            slow.extend(write_slowly(0x01, &name, &double.to_le_bytes()));
            slow.extend(write_slowly(0x08, &name, &[u8::from(flag)]));
            slow.extend(write_slowly(0x13, &name, &decimal));
            prop_assert_eq!(fast, slow);
        }
    }
}
