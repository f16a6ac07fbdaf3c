//! Writes BSON values as MongoDB Extended JSON v2, without an intermediate representation.
//! <https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md>

use bson::RawBsonRef;
use bson::error::Result;

use super::dates::iso_datetime;
use crate::parse::dates::YEARS_MS;

/// Appends a value in relaxed form. Integers and finite doubles are JSON numbers, and dates from 1970 to 9999 are text.
/// A double has the fewest digits that give the same double when they are read.
pub fn write_relaxed(value: RawBsonRef<'_>, out: &mut Vec<u8>) -> Result<()> {
    write(value, true, out)
}

/// Returns a value in canonical form, which shows the type of every value. If the bytes are not valid BSON, the text
/// ends with a remark.
pub fn canonical(value: RawBsonRef<'_>) -> String {
    let mut out = Vec::new();
    if write(value, false, &mut out).is_err() {
        out.extend_from_slice(" (not valid BSON from here on)".as_bytes());
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn write(value: RawBsonRef<'_>, relaxed: bool, out: &mut Vec<u8>) -> Result<()> {
    match value {
        RawBsonRef::Document(document) => {
            out.push(b'{');
            for (position, element) in document.iter().enumerate() {
                let (name, value) = element?;
                write_name(name.as_str(), position, out);
                write(value, relaxed, out)?;
            }
            out.push(b'}');
        }
        RawBsonRef::Array(array) => {
            out.push(b'[');
            for (position, value) in array.into_iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(value?, relaxed, out)?;
            }
            out.push(b']');
        }
        RawBsonRef::Double(number) => write_double(number, relaxed, out),
        RawBsonRef::Int32(number) if relaxed => write_json(&number, out),
        RawBsonRef::Int64(number) if relaxed => write_json(&number, out),
        RawBsonRef::Int32(number) => write_wrapped("$numberInt", &number.to_string(), out),
        RawBsonRef::Int64(number) => write_wrapped("$numberLong", &number.to_string(), out),
        RawBsonRef::DateTime(date) => write_date(date.timestamp_millis(), relaxed, out),
        // `bson` writes the other types correctly. Their relaxed and canonical forms are the same.
        other => write_json(&other, out),
    }
    Ok(())
}

/// Appends a comma if the element is not the first, then the name and a colon.
pub(crate) fn write_name(name: &str, position: usize, out: &mut Vec<u8>) {
    if position > 0 {
        out.push(b',');
    }
    write_json(name, out);
    out.push(b':');
}

fn write_double(number: f64, relaxed: bool, out: &mut Vec<u8>) {
    if relaxed && number.is_finite() {
        return write_json(&number, out);
    }
    let text = if number.is_infinite() {
        if number > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else {
        format!("{number:?}")
    };
    write_wrapped("$numberDouble", &text, out);
}

/// Appends a date. In relaxed form, a date from 1970 to 9999 is a text. Every other date is a number of milliseconds.
fn write_date(ms: i64, relaxed: bool, out: &mut Vec<u8>) {
    if relaxed && (0..YEARS_MS.end).contains(&ms) {
        return write_wrapped("$date", &iso_datetime(ms), out);
    }
    out.extend_from_slice(b"{\"$date\":");
    write_wrapped("$numberLong", &ms.to_string(), out);
    out.push(b'}');
}

fn write_wrapped(name: &str, text: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    write_name(name, 0, out);
    write_json(text, out);
    out.push(b'}');
}

pub(super) fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value)
        .expect("writing to memory does not fail, and the keys of these values are strings");
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{Bson, DateTime, RawBson, doc};

    use super::*;

    #[track_caller]
    fn check(value: impl Into<Bson>, relaxed: &str, canonical_text: &str) {
        let raw = RawBson::try_from(value.into()).expect("valid");
        let mut out = Vec::new();
        write_relaxed(raw.as_raw_bson_ref(), &mut out).expect("valid");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), relaxed);
        assert_eq!(canonical(raw.as_raw_bson_ref()), canonical_text);
    }

    #[test]
    fn canonical_numbers_show_type_sign_and_last_bit() {
        check(1, "1", r#"{"$numberInt":"1"}"#);
        check(1_i64, "1", r#"{"$numberLong":"1"}"#);
        check(i64::MAX, "9223372036854775807", r#"{"$numberLong":"9223372036854775807"}"#);
        check(i32::MIN, "-2147483648", r#"{"$numberInt":"-2147483648"}"#);
        check(1.0, "1.0", r#"{"$numberDouble":"1.0"}"#);
        check(-0.0, "-0.0", r#"{"$numberDouble":"-0.0"}"#);
        check(0.1 + 0.2, "0.30000000000000004", r#"{"$numberDouble":"0.30000000000000004"}"#);
        check(f64::NAN, r#"{"$numberDouble":"NaN"}"#, r#"{"$numberDouble":"NaN"}"#);
        check(f64::INFINITY, r#"{"$numberDouble":"Infinity"}"#, r#"{"$numberDouble":"Infinity"}"#);
        check(f64::NEG_INFINITY, r#"{"$numberDouble":"-Infinity"}"#, r#"{"$numberDouble":"-Infinity"}"#);
        let decimal: bson::Decimal128 = "1.50".parse().expect("valid");
        check(decimal, r#"{"$numberDecimal":"1.50"}"#, r#"{"$numberDecimal":"1.50"}"#);
    }

    #[test]
    fn dates_are_text_between_1970_and_9999() {
        let date = DateTime::from_millis;
        check(date(0), r#"{"$date":"1970-01-01T00:00:00Z"}"#, r#"{"$date":{"$numberLong":"0"}}"#);
        let last = r#"{"$date":"9999-12-31T23:59:59.999Z"}"#;
        check(date(YEARS_MS.end - 1), last, r#"{"$date":{"$numberLong":"253402300799999"}}"#);
        for (ms, text) in [
            (-1, r#"{"$date":{"$numberLong":"-1"}}"#),
            (i64::MIN, r#"{"$date":{"$numberLong":"-9223372036854775808"}}"#),
            (YEARS_MS.end, r#"{"$date":{"$numberLong":"253402300800000"}}"#),
        ] {
            check(date(ms), text, text);
        }
    }

    #[test]
    fn documents_and_arrays_are_written_as_json() {
        let id = ObjectId::from_bytes([1; 12]);
        check(
            doc! { "_id": id, "a\"b": ["x\n", null, true], "l": [1, 2.5], "n": { "i": 5 }, "e": {} },
            r#"{"_id":{"$oid":"010101010101010101010101"},"a\"b":["x\n",null,true],"l":[1,2.5],"n":{"i":5},"e":{}}"#,
            concat!(
                r#"{"_id":{"$oid":"010101010101010101010101"},"a\"b":["x\n",null,true],"#,
                r#""l":[{"$numberInt":"1"},{"$numberDouble":"2.5"}],"n":{"i":{"$numberInt":"5"}},"e":{}}"#
            ),
        );
    }

    #[test]
    fn invalid_bson_ends_with_a_remark() {
        let broken = bson::RawDocument::from_bytes(b"\x0a\0\0\0\x10a\0\x01\0\0").expect("a length that is right");
        assert_eq!(canonical(bson::RawBsonRef::Document(broken)), "{ (not valid BSON from here on)");
    }
}
