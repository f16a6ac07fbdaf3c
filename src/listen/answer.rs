//! The answer to a message: an HL7 acknowledgement (HL7 v2.8, 2.9). Pure: the caller gives the time.
//!
//! `MSH-15` and `MSH-16` of a message choose the mode. If both are empty, the answer is AA, AE or AR (original mode).
//! Otherwise, `MSH-15` says when the sender wants CA, CE or CR (enhanced mode). If it does not want this answer, but
//! `MSH-16` wants one, the answer is AA, AE or AR. There is never more than one answer, because to store a message is
//! all that the receiver does with it.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::parse::hl7::{Index, Message, Problem, Segment, SegmentId, Separators};

/// `MSA-3` is not longer than this, as in HL7 2.3 to 2.6.
const REASON_CHARS_MAX: usize = 80;
/// `ERR-8` is not longer than this.
const LONG_REASON_CHARS_MAX: usize = 250;

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored durably.
    Stored,
    /// It was refused, because of its content. The sender must not send it again as it is.
    Refused(Reason),
    /// It has no header that can be read.
    Unreadable(Reason),
    /// It was not stored. The sender may send it again later.
    Later(Reason),
}

/// Why a message was not accepted. It has no value of the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A code of HL7 table 0357.
    pub code: &'static str,
    /// The place, for example `PID-7`. Empty if it is not known.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

impl Reason {
    /// Makes the reason for a problem of the receiver. The message is not its cause.
    pub fn internal(text: impl Into<String>) -> Self {
        Self { code: "207", place: String::new(), text: text.into() }
    }
}

/// The time and the number of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The time, as in `MSH-7`.
    pub at: String,
    /// The control id of the answer.
    pub control_id: String,
}

/// The mode in which an answer is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Original,
    Enhanced,
}

impl Verdict {
    const fn is_accepted(&self) -> bool {
        matches!(self, Self::Stored)
    }

    /// Returns the reason why the message was not accepted.
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Stored => None,
            Self::Refused(reason) | Self::Unreadable(reason) | Self::Later(reason) => Some(reason),
        }
    }

    const fn code(&self, mode: Mode) -> &'static str {
        match (self, mode) {
            (Self::Stored, Mode::Original) => "AA",
            (Self::Refused(_), Mode::Original) => "AE",
            (Self::Unreadable(_) | Self::Later(_), Mode::Original) => "AR",
            (Self::Stored, Mode::Enhanced) => "CA",
            (Self::Refused(_), Mode::Enhanced) => "CE",
            (Self::Unreadable(_) | Self::Later(_), Mode::Enhanced) => "CR",
        }
    }
}

/// Returns the first line of a message. The answer is made from this line.
pub fn header_of(message: &[u8]) -> &[u8] {
    /// Headers of real messages are shorter. The first line of a text that is not a message can be longer.
    const BYTES_MAX: usize = 2048;
    let message = &message[start_of(message)..];
    let end = memchr::memchr2(b'\r', b'\n', message).unwrap_or(message.len());
    &message[..end.min(BYTES_MAX)]
}

/// Returns the start of the message in a frame: after line ends, NULs, a byte order mark and the headers of a batch, which
/// a load passes over, too.
fn start_of(frame: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = &frame[at..];
        at += match rest {
            [b'\r' | b'\n' | 0 | 0x0b | 0x1c, ..] => 1,
            [0xef, 0xbb, 0xbf, ..] => 3,
            [b'F' | b'B', b'H', b'S', ..] => memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len()),
            _ => return at,
        };
    }
}

/// Returns true if the sender wants an answer with this verdict.
pub fn is_wanted(header: &[u8], verdict: &Verdict) -> bool {
    with_header(header, |_, msh| mode(msh, verdict).is_some()).unwrap_or(true)
}

/// Returns the answer to the message with this first line. Returns `None` if the sender wants none.
pub fn answer(header: &[u8], verdict: &Verdict, stamp: &Stamp) -> Option<Vec<u8>> {
    with_header(header, |separators, msh| {
        let mode = mode(msh, verdict)?;
        Some(Fields { separators, msh }.answer(verdict.code(mode), verdict.reason(), stamp))
    })
    .unwrap_or_else(|_| Some(answer_to_unreadable(header, verdict, stamp)))
}

/// Returns a hash of what identifies a message for its sender: application, facility and control id. Returns `None` if
/// the message has no control id, or no header that can be read.
pub fn sender_and_id(header: &[u8]) -> Option<u64> {
    let hash = |_, msh: Segment<'_>| {
        let [application, facility, control_id] = [3, 4, 10].map(|number| msh.field(number).text());
        (!control_id.is_empty()).then(|| {
            let mut hasher = DefaultHasher::new();
            (application, facility, control_id).hash(&mut hasher);
            hasher.finish()
        })
    };
    with_header(header, hash).ok().flatten()
}

/// Returns true if the header can be read.
pub fn is_readable(header: &[u8]) -> bool {
    with_header(header, |_, _| ()).is_ok()
}

/// Returns the application that sent a message, as it is written in `MSH-3`. Empty if it cannot be read.
pub fn sending_application(header: &[u8]) -> Vec<u8> {
    with_header(header, |_, msh| msh.field(3).text().to_vec()).unwrap_or_default()
}

fn with_header<T>(header: &[u8], read: impl FnOnce(Separators, Segment<'_>) -> T) -> Result<T, Problem> {
    let mut index = Index::default();
    let message = Message::split(header, &mut index)?;
    let msh = message.first(SegmentId::MSH).ok_or(Problem::NotAMessage)?;
    Ok(read(message.separators(), msh))
}

/// Returns the mode of the answer. Returns `None` if the sender wants no answer.
fn mode(msh: Segment<'_>, verdict: &Verdict) -> Option<Mode> {
    let [accept, application] = [15, 16].map(|number| match msh.field(number).text() {
        b"\"\"" => b"",
        condition => condition,
    });
    let wants = |condition: &[u8]| match condition {
        b"AL" => true,
        b"ER" => !verdict.is_accepted(),
        b"SU" => verdict.is_accepted(),
        _ => false,
    };
    match (accept, application) {
        (b"", b"") => Some(Mode::Original),
        (accept, _) if wants(accept) => Some(Mode::Enhanced),
        (_, application) if wants(application) => Some(Mode::Original),
        // A condition that HL7 does not have. The sender probably waits for an answer.
        (accept, application) if !is_condition(accept) || !is_condition(application) => Some(Mode::Original),
        _ => None,
    }
}

fn is_condition(text: &[u8]) -> bool {
    matches!(text, b"" | b"AL" | b"NE" | b"ER" | b"SU")
}

/// The header of a message that is answered.
struct Fields<'m> {
    separators: Separators,
    msh: Segment<'m>,
}

impl Fields<'_> {
    fn answer(&self, code: &str, reason: Option<&Reason>, stamp: &Stamp) -> Vec<u8> {
        let separator = self.separators.field;
        let field = |number| self.msh.field(number).text();
        let component = self.separators.component.unwrap_or(b'^');
        let event = self.msh.field(9).child(1).child(2).text();
        let kind = [b"ACK", &[component][..], event, &[component], b"ACK"].concat();
        let kind = if event.is_empty() { b"ACK".to_vec() } else { kind };
        let mut out = b"MSH".to_vec();
        let mut put = |text: &[u8]| {
            out.push(separator);
            out.extend_from_slice(text);
        };
        // The receiver of the message is the sender of the answer. MSH-8 (security) and MSH-13 to 17 stay empty.
        for text in [field(2), field(5), field(6), field(3), field(4), stamp.at.as_bytes(), b"", &kind] {
            put(text);
        }
        for text in [stamp.control_id.as_bytes(), field(11), field(12), b"", b"", b"", b"", b"", field(18)] {
            put(text);
        }
        trim(&mut out, separator);
        out.extend_from_slice(b"\rMSA");
        for text in [code.as_bytes(), field(10)] {
            out.push(separator);
            out.extend_from_slice(text);
        }
        if let Some(reason) = reason {
            out.push(separator);
            put_text(&reason.text, REASON_CHARS_MAX, self.separators, &mut out);
            self.put_error(reason, &mut out);
        }
        out.push(b'\r');
        out
    }

    /// Appends the segment `ERR` if the message has version 2.5 or later. Before 2.5, `ERR` had another form.
    fn put_error(&self, reason: &Reason, out: &mut Vec<u8>) {
        if !is_since_2_5(self.msh.field(12).child(1).child(1).text()) {
            return;
        }
        let (field, component) = (self.separators.field, self.separators.component.unwrap_or(b'^'));
        let place: Vec<&str> = reason.place.split('-').collect();
        out.extend_from_slice(b"\rERR");
        out.extend_from_slice(&[field, field]);
        if let [segment, number] = place[..] {
            out.extend_from_slice(&[segment.as_bytes(), &[component], b"1", &[component], number.as_bytes()].concat());
        }
        out.push(field);
        let (code, table) = (reason.code.as_bytes(), b"HL70357");
        out.extend_from_slice(&[code, &[component], name_of(reason.code), &[component], table].concat());
        out.extend_from_slice(&[field, b'E', field, field, field, field]);
        put_text(&reason.text, LONG_REASON_CHARS_MAX, self.separators, out);
    }
}

/// Returns the name of a code of HL7 table 0357.
const fn name_of(code: &str) -> &'static [u8] {
    match code.as_bytes() {
        b"100" => b"Segment sequence error",
        b"101" => b"Required field missing",
        b"102" => b"Data type error",
        b"103" => b"Table value not found",
        _ => b"Application internal error",
    }
}

fn is_since_2_5(version: &[u8]) -> bool {
    let minor = version.strip_prefix(b"2.").and_then(|rest| rest.first());
    minor.is_some_and(|minor| (b'5'..=b'9').contains(minor))
}

/// Removes separators from the end of the header.
fn trim(out: &mut Vec<u8>, separator: u8) {
    while out.last() == Some(&separator) {
        out.pop();
    }
}

/// Appends a text, with escapes in place of separators, and `?` in place of characters that are not ASCII.
fn put_text(text: &str, chars_max: usize, separators: Separators, out: &mut Vec<u8>) {
    let names = [
        (Some(separators.field), b'F'),
        (separators.component, b'S'),
        (separators.repetition, b'R'),
        (separators.escape, b'E'),
        (separators.subcomponent, b'T'),
    ];
    for character in text.chars().take(chars_max) {
        let byte = if character.is_ascii() && !character.is_ascii_control() { character as u8 } else { b'?' };
        match (names.iter().find(|(separator, _)| *separator == Some(byte)), separators.escape) {
            (Some((_, name)), Some(escape)) => out.extend_from_slice(&[escape, *name, escape]),
            (Some(_), None) => out.push(b' '),
            (None, _) => out.push(byte),
        }
    }
}

/// Returns the answer to a message whose separators are not clear. The usual ones are used. If the first line begins
/// with `MSH`, its fields are found by the character after it.
fn answer_to_unreadable(header: &[u8], verdict: &Verdict, stamp: &Stamp) -> Vec<u8> {
    let fields: Vec<&[u8]> = match header.strip_prefix(b"MSH").and_then(<[u8]>::split_first) {
        Some((separator, rest)) if separator.is_ascii_punctuation() => rest.split(|byte| byte == separator).collect(),
        _ => Vec::new(),
    };
    // A field that contains a usual separator is left empty: it would be read as several fields.
    let is_plain = |text: &&&[u8]| text.iter().all(|byte| byte.is_ascii_graphic() && !b"|^~\\&".contains(byte));
    let field = |number: usize| fields.get(number - 2).filter(is_plain).copied().unwrap_or_default();
    let usual = [
        b"MSH|^~\\&|" as &[u8],
        &[field(5), field(6), field(3), field(4), stamp.at.as_bytes(), b"", b"ACK"].join(&b'|'),
        b"|",
        &[stamp.control_id.as_bytes(), if field(11).is_empty() { b"P" } else { field(11) }, version(field(12))]
            .join(&b'|'),
        b"\r",
    ]
    .concat();
    let mut out = usual;
    out.extend_from_slice(&[b"MSA|", verdict.code(Mode::Original).as_bytes(), b"|", field(10)].concat());
    if let Some(reason) = verdict.reason() {
        let separators = Separators {
            field: b'|',
            component: Some(b'^'),
            repetition: Some(b'~'),
            escape: Some(b'\\'),
            subcomponent: Some(b'&'),
            truncation: None,
        };
        out.push(b'|');
        put_text(&reason.text, REASON_CHARS_MAX, separators, &mut out);
    }
    out.push(b'\r');
    out
}

const fn version(stated: &[u8]) -> &[u8] {
    if stated.is_empty() { b"2.5" } else { stated }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp { at: "20260301120000+0000".into(), control_id: "ML7".into() }
    }

    fn refused() -> Verdict {
        Verdict::Refused(Reason { code: "102", place: "PID-7".into(), text: "PID-7: give a | date".into() })
    }

    fn text(header: &str, verdict: &Verdict) -> Option<String> {
        answer(header.as_bytes(), verdict, &stamp()).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    #[track_caller]
    fn check(header: &str, verdict: &Verdict, expected: &str) {
        assert_eq!(text(header, verdict).as_deref(), Some(expected));
    }

    #[test]
    fn the_answer_swaps_sender_and_receiver_and_echoes_the_control_id() {
        check(
            r"MSH|^~\&|ADT|NORTH|LIFT|HOSP|20260301||ADT^A01^ADT_A01|C-1 \T\ x|P|2.3||||||8859/1",
            &Verdict::Stored,
            "MSH|^~\\&|LIFT|HOSP|ADT|NORTH|20260301120000+0000||ACK^A01^ACK|ML7|P|2.3||||||8859/1\r\
             MSA|AA|C-1 \\T\\ x\r",
        );
        check("MSH|^~\\&", &Verdict::Stored, "MSH|^~\\&|||||20260301120000+0000||ACK|ML7\rMSA|AA|\r");
    }

    #[test]
    fn the_separators_of_the_message_are_kept() {
        check(
            "MSH#*:!%#A##B##1##ADT*A08#7#P#2.5",
            &refused(),
            "MSH#*:!%#B##A##20260301120000+0000##ACK*A08*ACK#ML7#P#2.5\r\
             MSA#AE#7#PID-7!R! give a | date\r\
             ERR##PID*1*7#102*Data type error*HL70357#E####PID-7!R! give a | date\r",
        );
    }

    #[test]
    fn a_reason_is_short_and_escaped() {
        check(
            r"MSH|^~\&|A||B||1||ADT^A01|7|P|2.3",
            &refused(),
            "MSH|^~\\&|B||A||20260301120000+0000||ACK^A01^ACK|ML7|P|2.3\rMSA|AE|7|PID-7: give a \\F\\ date\r",
        );
        let long = Verdict::Later(Reason::internal("é".repeat(300)));
        let found = text(r"MSH|^~\&|A||B||1||ADT^A01|7|P|2.5.1", &long).expect("an answer");
        assert!(found.contains(&format!("MSA|AR|7|{}\r", "?".repeat(80))), "{found}");
        assert!(found.contains(&format!("ERR|||207^Application internal error^HL70357|E||||{}\r", "?".repeat(250))));
    }

    #[test]
    fn msh_15_and_16_choose_the_answer() {
        let later = Verdict::Later(Reason::internal("x"));
        let code = |accept: &str, application: &str, verdict: &Verdict| {
            let header = format!(r"MSH|^~\&|A||B||1||ADT^A01|7|P|2.5|||{accept}|{application}");
            let found = text(&header, verdict)?;
            Some(found.split("MSA|").nth(1)?[..2].to_owned())
        };
        for (accept, application, expected) in [
            ("", "", ["AA", "AE", "AR"]),
            ("AL", "NE", ["CA", "CE", "CR"]),
            ("AL", "AL", ["CA", "CE", "CR"]),
            ("AL", "", ["CA", "CE", "CR"]),
            ("NE", "AL", ["AA", "AE", "AR"]),
            ("", "AL", ["AA", "AE", "AR"]),
            ("NE", "NE", ["", "", ""]),
            ("ER", "NE", ["", "CE", "CR"]),
            ("SU", "NE", ["CA", "", ""]),
            ("SU", "ER", ["CA", "AE", "AR"]),
            ("ER", "SU", ["AA", "CE", "CR"]),
            ("\"\"", "", ["AA", "AE", "AR"]),
            ("\"\"", "\"\"", ["AA", "AE", "AR"]),
            ("Y", "", ["AA", "AE", "AR"]),
        ] {
            let found = [&Verdict::Stored, &refused(), &later].map(|verdict| code(accept, application, verdict));
            assert_eq!(found.map(Option::unwrap_or_default), expected, "{accept} {application}");
        }
    }

    #[test]
    fn a_message_without_a_readable_header_is_answered_with_what_could_be_read() {
        let verdict = Verdict::Unreadable(Reason { code: "100", place: String::new(), text: "not a message".into() });
        check("PID|1", &verdict, "MSH|^~\\&|||||20260301120000+0000||ACK|ML7|P|2.5\rMSA|AR||not a message\r");
        // Two separators are the same.
        check(
            r"MSH|^^\&|A|F^1|B||1||ADT^A01|77|T|2.3",
            &verdict,
            "MSH|^~\\&|B||A||20260301120000+0000||ACK|ML7|T|2.3\rMSA|AR|77|not a message\r",
        );
        check("", &verdict, "MSH|^~\\&|||||20260301120000+0000||ACK|ML7|P|2.5\rMSA|AR||not a message\r");
    }

    #[test]
    fn the_header_is_found_after_what_a_load_passes_over() {
        for before in ["", "\r\n", "\0", "\u{feff}", "BHS|^~\\&|X\r", "FHS|^~\\&\r\nBHS|^~\\&\r\n\0"] {
            let frame = format!("{before}MSH|^~\\&|A\rPID|1");
            assert_eq!(header_of(frame.as_bytes()), b"MSH|^~\\&|A", "{before:?}");
        }
        assert_eq!(header_of(b"BHS|1"), b"");
        let none = r"MSH|^~\&|A||B||1||ADT^A01|7|P|2.5|||SU|NE";
        assert!(is_wanted(none.as_bytes(), &Verdict::Stored) && !is_wanted(none.as_bytes(), &refused()));
    }

    #[test]
    fn a_message_is_known_by_its_sender_and_control_id() {
        let found = |header: &str| sender_and_id(header.as_bytes());
        let one = found(r"MSH|^~\&|A|F|||1||ADT^A01|7|P|2.5");
        assert!(one.is_some());
        assert_eq!(one, found(r"MSH|^~\&|A|F|||2||ADT^A08|7|P|2.5"));
        for other in [r"MSH|^~\&|A|F|||1||ADT^A01|8|P|2.5", r"MSH|^~\&|A|G|||1||ADT^A01|7|P|2.5"] {
            assert_ne!(one, found(other));
        }
        assert_eq!(found(r"MSH|^~\&|A|F|||1||ADT^A01||P|2.5"), None);
        assert_eq!(found("PID|1"), None);
        assert_eq!(sending_application(br"MSH|^~\&|A^B|F"), b"A^B");
        assert_eq!(header_of(b"MSH|1\rPID"), b"MSH|1");
        assert_eq!(header_of(&[b'x'; 9999]).len(), 2048);
    }
}
