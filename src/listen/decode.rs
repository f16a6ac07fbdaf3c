//! Makes documents of messages, as a load does: with the same parser, cleaner and encoder. Pure.

use crate::encode::{EncodedBlock, Id, IdentityKey};
use crate::parse::{Charset, Format, Layout, LayoutError, LayoutOptions};
use crate::pipeline::Bench;
use crate::read::{Block, Ending, Framing, RowSpan, records};
use crate::reject::{Reason, RejectedRow};
use crate::spec::Spec;

use super::answer;

/// What makes documents of messages. One worker uses it at a time.
pub(super) struct Decoder {
    bench: Bench,
    layout: Layout,
}

/// The documents of several messages.
pub(super) struct Decoded {
    /// The documents. Each row is the message of one frame. The offset of a row is its number: 0, 1, 2 and so on.
    pub block: EncodedBlock,
    /// For each row, the index of its message.
    pub message_of_row: Vec<usize>,
    /// The refused messages: the index of each, and why.
    pub rejects: Vec<(usize, Rejected)>,
}

/// Why a message was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    /// The reason.
    pub reason: Reason,
    /// The place in the message, for example `PID-7`. Empty if it is not known.
    pub place: String,
    /// The rule, and what was expected. It has no value of the message.
    pub text: String,
}

impl Rejected {
    fn not_hl7(text: String) -> Self {
        Self { reason: Reason::NotHl7, place: String::new(), text }
    }

    /// Returns the reason as the sender gets it.
    pub(super) fn for_sender(&self) -> answer::Reason {
        let code = match self.reason {
            Reason::NotHl7 | Reason::WrongCount => "100",
            Reason::Missing => "101",
            Reason::NotAllowed => "103",
            Reason::NotADate
            | Reason::NotAnInteger
            | Reason::NotANumber
            | Reason::NotABoolean
            | Reason::NumberTooLarge
            | Reason::OutOfRange
            | Reason::WrongLength
            | Reason::PatternMismatch
            | Reason::ControlCharacter
            | Reason::Undecodable => "102",
            _ => "207",
        };
        let text = if self.place.is_empty() { self.text.clone() } else { format!("{}: {}", self.place, self.text) };
        answer::Reason { code, place: field_of(&self.place).to_owned(), text }
    }
}

/// Returns the segment and the field of a place: `PID-7` of `PID-7.1`.
fn field_of(place: &str) -> &str {
    place.split(['.', '[', '@']).next().unwrap_or_default()
}

impl Decoder {
    /// Makes a decoder for the messages of a spec. `charset` is that of a message that names none and is not UTF-8;
    /// without it, such a message is refused.
    pub(super) fn new(spec: &Spec, key: &IdentityKey, charset: Option<Charset>) -> Result<Self, LayoutError> {
        // The layout of messages follows from the spec alone. The sample only shows that the source has messages.
        let mut layout = Layout::bind(spec, Format::Hl7, br"MSH|^~\&|", &LayoutOptions::default())?;
        if let Some(charset) = charset {
            layout.charset = charset;
        }
        let bench = Bench::of_layout(spec, std::slice::from_ref(spec), key, &layout);
        Ok(Self { bench, layout })
    }

    /// Makes the documents of these messages. Each is the content of a frame.
    pub(super) fn decode<'m>(&mut self, messages: impl Iterator<Item = &'m [u8]>) -> Decoded {
        let (mut block, mut message_of_row, mut rejects) = (Block::default(), Vec::new(), Vec::new());
        for (index, message) in messages.enumerate() {
            match only_row(message) {
                Ok(row) => {
                    let start = block.bytes.len() as u32;
                    block.bytes.extend_from_slice(row);
                    let number = message_of_row.len() as u64;
                    let (end, ending) = (block.bytes.len() as u32, Ending::Whole);
                    block.rows.push(RowSpan { start, end, line: 1 + number, offset: number, ending, object: 0 });
                    message_of_row.push(index);
                }
                Err(rejected) => rejects.push((index, rejected)),
            }
        }
        let mut encoded = self.bench.encode(&block, vec![Vec::with_capacity(block.bytes.len() * 2)]);
        for row in std::mem::take(&mut encoded.rejects) {
            rejects.push((message_of_row[row.offset as usize], self.rejected(row)));
        }
        for kind in &mut encoded.kinds {
            let _ = kind.sort(Vec::with_capacity(kind.documents.len()));
        }
        Decoded { block: encoded, message_of_row, rejects }
    }

    fn rejected(&self, row: RejectedRow) -> Rejected {
        let cell = row.reject.field.and_then(|field| self.layout.cell_of_field[field]);
        let place = cell.and_then(|cell| self.layout.header.get(cell)).cloned().unwrap_or_default();
        Rejected { reason: row.reject.reason, place, text: row.reject.message }
    }
}

/// Returns the message of a frame, without the line ends after it. A load would read the same bytes from a file.
fn only_row(frame: &[u8]) -> Result<&[u8], Rejected> {
    let mut rows = records(frame, Framing::Hl7);
    let first = rows.next().filter(|row| row.ending == Ending::Whole);
    let Some(first) = first else { return Err(Rejected::not_hl7("the frame has no message".into())) };
    match rows.count() {
        0 => Ok(&frame[first.start as usize..first.end as usize]),
        more => Err(Rejected::not_hl7(format!("the frame has {} messages; send each in a frame of its own", more + 1))),
    }
}

/// Returns the `_id` of a refused message: a hash of its bytes.
pub(super) fn id_of_rejected(message: &[u8], key: &IdentityKey) -> Id {
    key.id_of("rejected message", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Dataset;

    fn decoder(charset: Option<Charset>) -> Decoder {
        let spec = Dataset::built_in("hl7v2").expect("built in").into_only().expect("one kind");
        Decoder::new(&spec, &IdentityKey::default(), charset).expect("a layout")
    }

    const MESSAGE: &str = "MSH|^~\\&|A|B|||20260301||ADT^A01|7|P|2.5\rPID|1||4711^^^H^MR";

    fn decode(messages: &[&[u8]], charset: Option<Charset>) -> Decoded {
        decoder(charset).decode(messages.iter().copied())
    }

    #[test]
    fn messages_and_rejects_keep_their_places() {
        let latin = [MESSAGE.as_bytes(), b"||M\xfcller"].concat();
        let two = format!("{MESSAGE}\r{MESSAGE}");
        let framed = format!("{MESSAGE}\r\r\n");
        let messages: [&[u8]; 6] =
            [b"", framed.as_bytes(), &latin, two.as_bytes(), b"PID|1", b"MSH|^~\\&|A|B|||x||ADT^A01|7|P|2.5"];
        let found = decode(&messages, None);
        assert_eq!(found.message_of_row, [1, 2, 4, 5]);
        let mut rejects: Vec<_> =
            found.rejects.iter().map(|(at, reject)| (*at, reject.reason, &*reject.place)).collect();
        rejects.sort_unstable_by_key(|reject| reject.0);
        assert_eq!(
            rejects,
            [
                (0, Reason::NotHl7, ""),
                (2, Reason::Undecodable, ""),
                (3, Reason::NotHl7, ""),
                (4, Reason::NotHl7, ""),
                (5, Reason::NotADate, "MSH-7.1"),
            ]
        );
        assert_eq!(found.block.kinds[0].entries.len(), 1);
        assert_eq!(found.block.kinds[0].entries[0].row, 0);
        let of_time = &found.rejects.iter().find(|(at, _)| *at == 5).expect("refused").1;
        assert_eq!((of_time.for_sender().code, &*of_time.for_sender().place), ("102", "MSH-7"));
        assert!(of_time.for_sender().text.starts_with("MSH-7.1: "));
        assert_eq!(decode(&messages, Some(Charset::Iso8859(1))).block.kinds[0].entries.len(), 2);
    }

    #[test]
    fn a_message_has_the_same_document_with_and_without_line_ends_after_it() {
        let id = |message: &str| decode(&[message.as_bytes()], None).block.kinds[0].entries[0].id;
        assert_eq!(id(MESSAGE), id(&format!("{MESSAGE}\r")));
        assert_eq!(id(MESSAGE), id(&format!("\r\n{MESSAGE}\r\n\0")));
        assert_ne!(id(MESSAGE), id(&format!("{MESSAGE}|")));
    }
}
