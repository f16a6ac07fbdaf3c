//! The reasons why a message cannot be read. No text of the message is in these errors, because it can be a patient's.

use super::Charset;
use crate::read::TrailerCount;

/// The reason why a message cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    /// The row is not a message.
    #[error(
        "the row does not begin with `MSH` and a field separator, so it is not an HL7 v2 message; correct or remove it"
    )]
    NotAMessage,
    /// A byte cannot be a separator.
    #[error(
        "MSH-1 and MSH-2: {name} is a letter, a digit, a control character or not ASCII; declare another character, usual is `MSH|^~\\&`"
    )]
    BadSeparator {
        /// The name of the separator, for example `the component separator`.
        name: &'static str,
    },
    /// Two separators are the same byte.
    #[error(
        "MSH-1 and MSH-2: {one} and {other} are the same character; declare different characters, usual is `MSH|^~\\&`"
    )]
    SameSeparators {
        /// The name of the first of the two separators.
        one: &'static str,
        /// The name of the second.
        other: &'static str,
    },
    /// `MSH-2` declares more separators than HL7 has.
    #[error("MSH-2 has more than five characters; declare at most five, usual is `MSH|^~\\&`")]
    TooManySeparators,
    /// Two line ends follow each other.
    #[error("segment {number} is empty; remove the blank line")]
    EmptySegment {
        /// Number of the segment, from 1.
        number: usize,
    },
    /// A segment does not begin with a segment name.
    #[error(
        "segment {number} does not begin with three characters from A to Z and 0 to 9 and a field separator; does a text contain a line break? Write line breaks as `\\.br\\`"
    )]
    BadSegmentId {
        /// Number of the segment, from 1.
        number: usize,
    },
    /// `MSH-18` names a character set that Medlift does not know.
    #[error(
        "MSH-18 names a character set that medlift does not read; it reads ASCII, 8859/1 to 8859/11, 8859/13 to 8859/15 and UNICODE UTF-8; convert the message"
    )]
    UnknownCharset,
    /// Bytes of the message are not characters of its character set.
    #[error(
        "segment {number} has bytes that are not {charset}; write the right character set into MSH-18, for example 8859/1"
    )]
    Undecodable {
        /// Number of the segment, from 1.
        number: usize,
        /// The character set in which the message was read.
        charset: Charset,
    },
}

/// Returns the message for a trailer (`BTS` or `FTS`) whose count is wrong. `counted` is the right count.
pub(crate) fn wrong_count(trailer: &[u8], counted: u32) -> String {
    let (field, what) = if trailer.starts_with(b"FTS") { ("FTS-1", "batches") } else { ("BTS-1", "messages") };
    let claim = match TrailerCount::read(trailer) {
        TrailerCount::Number(number) => format!("says {number}"),
        TrailerCount::NotANumber | TrailerCount::Absent => "is not a number".to_owned(),
    };
    let place = if field == "FTS-1" { "file" } else { "batch" };
    format!("{field} {claim}, but the number of {what} in this {place} is {counted}; is the {place} complete?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_count_names_both_numbers() {
        let check = |trailer: &[u8], expected: &str| assert_eq!(wrong_count(trailer, 2), expected);
        check(b"BTS|3", "BTS-1 says 3, but the number of messages in this batch is 2; is the batch complete?");
        check(b"FTS|3|x", "FTS-1 says 3, but the number of batches in this file is 2; is the file complete?");
        check(
            b"BTS|Ann",
            "BTS-1 is not a number, but the number of messages in this batch is 2; is the batch complete?",
        );
    }
}
