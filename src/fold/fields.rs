//! Reads the values of fields for the state: decoded text, times, identifiers, and parts of a field as a document.

use std::borrow::Cow;

use bson::raw::CStr;
use bson::{DateTime, RawArrayBuf, RawBson, RawDocumentBuf};

use super::elements::{document_of, size_of_value};
use super::keys::Identifier;
use super::slot::Slot;
use crate::parse::hl7::{Decoder, Element, Precision, Time, Value};
use crate::spec::{Zone, trim};

/// What a field says about a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said<T> {
    /// Nothing. The value stays.
    Nothing,
    /// `""`. The value is deleted.
    Delete,
    /// A new value.
    Is(T),
}

impl<T> Said<T> {
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Said<U> {
        match self {
            Self::Nothing => Said::Nothing,
            Self::Delete => Said::Delete,
            Self::Is(value) => Said::Is(convert(value)),
        }
    }

    /// Returns the new value, if there is one.
    pub(super) fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Nothing | Self::Delete => None,
        }
    }
}

/// What a message says about a field of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Change {
    pub slot: Slot,
    pub to: Said<RawBson>,
    /// How precisely the value is given, if it is a time.
    pub precision: Option<Precision>,
}

/// The usual size of a document with the parts of a repetition.
const PARTS_BYTES: usize = 160;

/// Values that are copied into many documents of a message are not larger than this, for example those of OBR, which are
/// in each of its results. Otherwise a message of some MiB could give many GiB of events.
pub(super) const COPIED_BYTES_MAX: usize = 4 * 1024;

/// A part of a repetition: its name in the document, component and subcomponent.
pub(super) type Part = (&'static CStr, usize, usize);

/// Reads the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields {
    pub decoder: Decoder,
    /// The time zone of times without offset.
    pub zone: Zone,
}

impl Fields {
    /// Returns the text of an element, trimmed as a load trims it. So messages and patients have the same keys.
    pub(super) fn text(&self, element: Element<'_>) -> Said<String> {
        self.borrowed(element).map(Cow::into_owned)
    }

    /// Returns the same as [`text`](Self::text), but borrows a text that needs no decoding. Most texts need none.
    fn borrowed<'m>(&self, element: Element<'m>) -> Said<Cow<'m, str>> {
        let value = element.value();
        if value == Value::Delete {
            return Said::Delete;
        }
        let text = if let Some(text) = self.decoder.unchanged(&value) {
            Cow::Borrowed(trim(text))
        } else {
            let mut bytes = Vec::with_capacity(element.text().len());
            self.decoder.decode(value, &mut bytes);
            Cow::Owned(trim(&String::from_utf8_lossy(&bytes)).to_owned())
        };
        if text.is_empty() { Said::Nothing } else { Said::Is(text) }
    }

    /// Returns the text of an element, or an empty text.
    pub(super) fn plain(&self, element: Element<'_>) -> String {
        self.text(element).value().unwrap_or_default()
    }

    /// Returns the time in the first component of the first repetition. A text that is not a time says nothing.
    pub(super) fn time(&self, field: Element<'_>) -> Said<Time> {
        self.time_by(field, Time::read)
    }

    fn time_by(&self, field: Element<'_>, read: fn(&[u8], Zone) -> Option<Time>) -> Said<Time> {
        match self.borrowed(first(field)) {
            Said::Is(text) => read(text.as_bytes(), self.zone).map_or(Said::Nothing, Said::Is),
            Said::Delete => Said::Delete,
            Said::Nothing => Said::Nothing,
        }
    }

    /// Returns the identifier in a repetition of type CX. The authority is the name of the assigning authority. If
    /// that is empty, it is the universal id, otherwise the assigning facility.
    pub(super) fn identifier(&self, repetition: Element<'_>) -> Option<Identifier> {
        let value = self.text(repetition.child(1)).value()?;
        let authority = repetition.child(4);
        let places = [authority.child(1), authority.child(2), repetition.child(6).child(1)];
        let authority = places.into_iter().find_map(|place| self.text(place).value());
        Some(Identifier { value, authority: authority.unwrap_or_default() })
    }

    /// Returns the entity identifier in a field of type EI. The authority is the second component, or the third if
    /// the second is empty.
    pub(super) fn entity(&self, field: Element<'_>) -> Option<Identifier> {
        let value = self.text(first(field)).value()?;
        let repetition = field.child(1);
        let places = [repetition.child(2), repetition.child(3)];
        let authority = places.into_iter().find_map(|place| self.text(place).value());
        Some(Identifier { value, authority: authority.unwrap_or_default() })
    }

    /// Returns what the field says about a text: its first component.
    pub(super) fn text_change(&self, slot: Slot, field: Element<'_>) -> Change {
        Change::new(slot, self.text(first(field)).map(RawBson::from))
    }

    /// Returns what the field says about a time.
    pub(super) fn time_change(&self, slot: Slot, field: Element<'_>) -> Change {
        Change::time(slot, self.time(field))
    }

    /// Returns what the field says about a day, such as a date of birth.
    pub(super) fn day_change(&self, slot: Slot, field: Element<'_>) -> Change {
        Change::time(slot, self.time_by(field, Time::read_day))
    }

    /// Returns what the first repetition of the field says about a document with these parts.
    pub(super) fn parts_change(&self, slot: Slot, field: Element<'_>, parts: &[Part]) -> Change {
        if field.text() == b"\"\"" {
            return Change::new(slot, Said::Delete);
        }
        let found = self.parts(field.child(1), parts);
        Change::new(slot, found.map_or(Said::Nothing, |found| Said::Is(found.into())))
    }

    /// Returns what the repetitions of the field say about a list of documents with these parts.
    pub(super) fn list_change(&self, slot: Slot, field: Element<'_>, parts: &[Part]) -> Change {
        if field.text() == b"\"\"" {
            return Change::new(slot, Said::Delete);
        }
        let mut list = RawArrayBuf::new();
        for found in field.children().filter_map(|repetition| self.parts(repetition, parts)) {
            list.push(found);
        }
        Change::new(slot, if list.is_empty() { Said::Nothing } else { Said::Is(list.into()) })
    }

    /// Returns the parts of a repetition that are not empty. Returns `None` if all are empty.
    pub(super) fn parts(&self, repetition: Element<'_>, parts: &[Part]) -> Option<RawDocumentBuf> {
        if repetition.text().is_empty() {
            return None;
        }
        let mut document = document_of(PARTS_BYTES);
        for &(name, component, subcomponent) in parts {
            if let Said::Is(text) = self.borrowed(repetition.child(component).child(subcomponent)) {
                document.append(name, &*text);
            }
        }
        (!document.is_empty()).then_some(document)
    }
}

impl Change {
    pub(super) const fn new(slot: Slot, to: Said<RawBson>) -> Self {
        Self { slot, to, precision: None }
    }

    /// Replaces the value by null if it is too large to be copied into many documents.
    pub(super) fn copied(self) -> Self {
        match &self.to {
            Said::Is(value) if size_of_value(value) > COPIED_BYTES_MAX => Self::to(self.slot, RawBson::Null),
            _ => self,
        }
    }

    /// A change to a value.
    pub(super) fn to(slot: Slot, value: impl Into<RawBson>) -> Self {
        Self::new(slot, Said::Is(value.into()))
    }

    pub(super) fn time(slot: Slot, said: Said<Time>) -> Self {
        let precision = if let Said::Is(time) = &said { Some(time.precision) } else { None };
        Self { slot, to: said.map(|time| DateTime::from_millis(time.ms).into()), precision }
    }
}

/// Cuts off a text that is too long to be copied into many documents.
pub(super) fn copied(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(COPIED_BYTES_MAX));
    text
}

/// Returns the first component of the first repetition.
pub(super) fn first(field: Element<'_>) -> Element<'_> {
    field.child(1).child(1)
}
