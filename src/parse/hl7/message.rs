//! Splits a message into segments, fields, repetitions, components and subcomponents. Every part is a piece of the
//! message's bytes, so nothing is copied.

use memchr::{memchr, memchr2, memchr3};

use super::{Problem, SegmentId, Separators};

/// The positions of a message's segments. The buffer is used again for the next message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    segments: Vec<SegmentSpan>,
}

#[derive(Debug, Clone, Copy)]
struct SegmentSpan {
    id: SegmentId,
    start: u32,
    end: u32,
}

/// A message that is divided into segments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'m> {
    text: &'m [u8],
    separators: Separators,
    segments: &'m [SegmentSpan],
}

/// A segment of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment<'m> {
    id: SegmentId,
    text: &'m [u8],
    separators: Separators,
}

/// A field, or a part of a field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Element<'m> {
    text: &'m [u8],
    separators: Separators,
    level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Field,
    Repetition,
    Component,
    Subcomponent,
    /// Not divided further: `MSH-1`, `MSH-2`, or a whole segment.
    AsWritten,
}

/// The content of a field or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'m> {
    /// Nothing is written there, or the message ends before it. In an update, the stored value stays.
    Empty,
    /// The delete marker `""`. In an update, the stored value is deleted.
    Delete,
    /// Text. It can contain escapes.
    Text(&'m [u8]),
    /// Text with separators inside. It is passed on as it is written, with its escapes. Also `MSH-1` and `MSH-2`.
    Composite(&'m [u8]),
}

impl<'m> Message<'m> {
    /// Divides a message into segments. A segment ends at CR, LF or CRLF. The last one can end with the message.
    pub(crate) fn split(text: &'m [u8], index: &'m mut Index) -> Result<Self, Problem> {
        index.segments.clear();
        let first = &text[..memchr2(b'\r', b'\n', text).unwrap_or(text.len())];
        let separators = Separators::read(first)?;
        let mut at = 0;
        while at < text.len() {
            let line = &text[at..];
            let length = memchr2(b'\r', b'\n', line).unwrap_or(line.len());
            let id = segment_id(&line[..length], separators.field, index.segments.len() + 1)?;
            index.segments.push(SegmentSpan { id, start: at as u32, end: (at + length) as u32 });
            at += length + if line[length..].starts_with(b"\r\n") { 2 } else { 1 };
        }
        Ok(Self { text, separators, segments: &index.segments })
    }

    /// Returns the bytes of the message.
    pub(crate) const fn text(self) -> &'m [u8] {
        self.text
    }

    /// Returns the separators of the message.
    pub(crate) const fn separators(self) -> Separators {
        self.separators
    }

    /// Returns the segments.
    pub(crate) fn segments(self) -> impl Iterator<Item = Segment<'m>> {
        self.segments.iter().map(move |span| self.segment(*span))
    }

    /// Returns the segments with this name.
    pub(crate) fn segments_of(self, id: SegmentId) -> impl Iterator<Item = Segment<'m>> {
        self.segments.iter().filter(move |span| span.id == id).map(move |span| self.segment(*span))
    }

    /// Returns the first segment with this name.
    pub(crate) fn first(self, id: SegmentId) -> Option<Segment<'m>> {
        self.segments_of(id).next()
    }

    /// Returns the number of the segment that contains this byte of the message.
    pub(super) fn segment_at(self, byte: usize) -> usize {
        self.segments.partition_point(|span| span.start as usize <= byte)
    }

    fn segment(self, SegmentSpan { id, start, end }: SegmentSpan) -> Segment<'m> {
        let text = &self.text[start as usize..end as usize];
        Segment { id, text, separators: self.separators }
    }
}

fn segment_id(segment: &[u8], field_separator: u8, number: usize) -> Result<SegmentId, Problem> {
    let is_name_alone = segment.get(3).is_none_or(|&byte| byte == field_separator);
    match segment.first_chunk().and_then(|id| SegmentId::from_bytes(*id)) {
        Some(id) if is_name_alone => Ok(id),
        _ if segment.is_empty() => Err(Problem::EmptySegment { number }),
        _ => Err(Problem::BadSegmentId { number }),
    }
}

impl<'m> Segment<'m> {
    /// Returns the name, for example `PID`.
    pub(crate) const fn id(self) -> SegmentId {
        self.id
    }

    /// Returns the bytes of the segment without its line end.
    #[cfg(test)]
    pub(super) const fn text(self) -> &'m [u8] {
        self.text
    }

    /// Returns the field with this number, from 1. The field is empty if the segment ends before it.
    ///
    /// `MSH-1` is the field separator itself, and `MSH-2` declares the other separators. Neither is divided further.
    pub(crate) fn field(self, number: usize) -> Element<'m> {
        match number.checked_sub(1).and_then(|place| self.fields().nth(place)) {
            Some(field) => field,
            None => self.element(&[], Level::Field),
        }
    }

    /// Returns the fields.
    pub(crate) fn fields(self) -> impl Iterator<Item = Element<'m>> {
        let is_header = self.id == SegmentId::MSH;
        let first = self.text.get(3..4).filter(|_| is_header).map(|text| self.element(text, Level::AsWritten));
        let rest = Pieces { rest: self.text.get(4..), separator: Some(self.separators.field) };
        let level = move |place| if is_header && place == 0 { Level::AsWritten } else { Level::Field };
        first.into_iter().chain(rest.enumerate().map(move |(place, text)| self.element(text, level(place))))
    }

    /// Returns the whole segment as one text.
    pub(super) fn as_written(self) -> Element<'m> {
        self.element(self.text, Level::AsWritten)
    }

    const fn element(self, text: &'m [u8], level: Level) -> Element<'m> {
        Element { text, separators: self.separators, level }
    }
}

impl<'m> Element<'m> {
    /// Returns the bytes as they are written.
    pub(crate) const fn text(self) -> &'m [u8] {
        self.text
    }

    /// Returns the parts of the next lower level: the repetitions of a field, the components of a repetition, or the
    /// subcomponents of a component. There is at least one part.
    pub(crate) fn children(self) -> impl Iterator<Item = Self> {
        let (separator, level) = self.lower();
        let pieces = Pieces { rest: Some(self.text), separator };
        pieces.map(move |text| Self { text, level, ..self })
    }

    /// Returns the part of the next lower level with this number, from 1. The part is empty if it is not written.
    pub(crate) fn child(self, number: usize) -> Self {
        let child = number.checked_sub(1).and_then(|place| self.children().nth(place));
        child.unwrap_or(Self { text: &[], level: self.lower().1, ..self })
    }

    /// Returns the content.
    pub(crate) fn value(self) -> Value<'m> {
        match self.text {
            b"" => Value::Empty,
            b"\"\"" => Value::Delete,
            text if self.is_composite() => Value::Composite(text),
            text => Value::Text(text),
        }
    }

    /// Returns the separator between the parts of the next lower level, and that level.
    const fn lower(self) -> (Option<u8>, Level) {
        match self.level {
            Level::Field => (self.separators.repetition, Level::Repetition),
            Level::Repetition => (self.separators.component, Level::Component),
            Level::Component => (self.separators.subcomponent, Level::Subcomponent),
            Level::Subcomponent => (None, Level::Subcomponent),
            Level::AsWritten => (None, Level::AsWritten),
        }
    }

    fn is_composite(self) -> bool {
        let Separators { field, component, repetition, subcomponent, .. } = self.separators;
        // The field separator is used in place of a separator that is not declared. A field never contains it, so it
        // is not found.
        let or_none = |separator: Option<u8>| separator.unwrap_or(field);
        let (component, repetition, subcomponent) = (or_none(component), or_none(repetition), or_none(subcomponent));
        match self.level {
            Level::Field => memchr3(repetition, component, subcomponent, self.text).is_some(),
            Level::Repetition => memchr2(component, subcomponent, self.text).is_some(),
            Level::Component => memchr(subcomponent, self.text).is_some(),
            Level::Subcomponent => false,
            Level::AsWritten => true,
        }
    }
}

/// Returns the line end after the first segment of an HL7 message. If there is only one segment, returns a carriage
/// return, as HL7 requires.
pub(crate) fn segment_end(message: &[u8]) -> &'static [u8] {
    match memchr2(b'\r', b'\n', message).map(|place| &message[place..]) {
        Some([b'\r', b'\n', ..]) => b"\r\n",
        Some([b'\n', ..]) => b"\n",
        _ => b"\r",
    }
}

/// Divides a text at a separator. An empty text is one empty piece.
#[derive(Debug, Clone)]
struct Pieces<'m> {
    /// `None` after the last piece.
    rest: Option<&'m [u8]>,
    separator: Option<u8>,
}

impl<'m> Iterator for Pieces<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        let rest = self.rest.take()?;
        let Some(end) = self.separator.and_then(|separator| memchr(separator, rest)) else { return Some(rest) };
        self.rest = Some(&rest[end + 1..]);
        Some(&rest[..end])
    }
}
