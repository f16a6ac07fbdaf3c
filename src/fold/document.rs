//! The documents of the state: written to BSON, and read again.
//!
//! Equal states have equal bytes: every field has its place, and nothing else is written.

use std::collections::BTreeMap;

use bson::raw::{CStr, cstr};
use bson::{DateTime, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::elements::{document_of, get, put_id, size_of_value};
use super::fields::{Change, Said};
use super::slot::Slot;
use super::{Key, Kind, Merge, Order};
use crate::encode::Id;
use crate::parse::hl7::Precision;

/// The state of a patient, a visit or a result: what the messages of its key add up to.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub(super) key: Key,
    /// The last message of the key.
    pub(super) as_of: Order,
    pub(super) held: BTreeMap<Slot, Held>,
    /// Visits: the places where the patient was, in order. At most [`MOVEMENTS_MAX`], the latest.
    pub(super) movements: Vec<Movement>,
    /// The number of earlier movements, which are not listed.
    earlier_movements: i64,
    /// The messages behind the values, in order. [`Held::source`] is a position in this list. Messages whose values
    /// were replaced are left out when the document is written.
    pub(super) messages: Vec<Id>,
}

/// A value, and the message that it comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub value: RawBson,
    /// How precisely the value is given, if it is a time.
    pub precision: Option<Precision>,
    pub source: usize,
}

/// A patient's arrival at a place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Movement {
    pub at_ms: Option<i64>,
    /// The event, for example `A02`.
    pub event: String,
    pub location: Option<RawDocumentBuf>,
    pub source: usize,
}

/// A visit lists at most this number of movements. A document of the state is therefore never too large for the server,
/// even if a system sends all its messages with the same visit number.
pub(super) const MOVEMENTS_MAX: usize = 1_000;

/// A larger value is not in the state, because the document could become too large for the server. Null is in its
/// place, and `messages` names the message that has the value.
pub(super) const VALUE_BYTES_MAX: usize = 256 * 1024;

/// Most documents of the state are not larger than this.
const DOCUMENT_BYTES: usize = 1_024;

/// The name of the field with the number of movements that are not listed.
const EARLIER_MOVEMENTS: &CStr = cstr!("earlierMovements");

/// The name under which `messages` lists a message that a movement comes from.
const MOVEMENTS: &CStr = cstr!("movements");

impl State {
    /// Returns the document's key.
    pub const fn key(&self) -> Key {
        self.key
    }

    /// Returns the last message that determines this document.
    pub const fn as_of(&self) -> &Order {
        &self.as_of
    }

    /// Returns the merge of this patient into another one.
    pub fn merge(&self) -> Option<Merge> {
        self.held.get(&Slot::MergedInto).and_then(|held| Merge::read(held.value.as_raw_bson_ref()))
    }

    /// Returns the patient to whom the document belongs, as the messages name the patient. Merges are not followed.
    pub fn patient(&self) -> Option<Id> {
        match self.key.kind {
            Kind::Patient => Some(self.key.id),
            Kind::Visit | Kind::Result => {
                self.held.get(&Slot::PatientAsSent).and_then(|held| Id::from_binary(held.value.as_raw_bson_ref()))
            }
        }
    }

    /// Returns the document. `patient` is the patient to whom it belongs after merges.
    pub fn document(&self, patient: Option<Id>) -> RawDocumentBuf {
        let mut document = document_of(DOCUMENT_BYTES);
        put_id(&mut document, cstr!("_id"), self.key.id);
        if let Some(patient) = patient {
            put_id(&mut document, cstr!("patient"), patient);
        }
        document.append(cstr!("asOf"), self.as_of.document());
        if self.is_provisional() {
            document.append(cstr!("provisional"), true);
        }
        for (slot, held) in &self.held {
            document.append(slot.name(), held.value.as_raw_bson_ref());
            if let (Some(name), Some(precision)) = (slot.precision_name(), held.precision) {
                document.append(name, precision.name());
            }
        }
        self.write_movements(&mut document);
        if self.earlier_movements > 0 {
            document.append(EARLIER_MOVEMENTS, self.earlier_movements);
        }
        document.append(cstr!("messages"), self.sources());
        document
    }

    /// Returns true for a visit without a message that admits, registers or pre-admits the patient.
    fn is_provisional(&self) -> bool {
        self.key.kind == Kind::Visit && !self.held.contains_key(&Slot::Admission)
    }

    /// Returns the present location of a visit.
    pub(super) fn location(&self) -> Option<&RawDocumentBuf> {
        self.movements.last()?.location.as_ref()
    }

    fn write_movements(&self, document: &mut RawDocumentBuf) {
        if let Some(location) = self.location() {
            document.append(cstr!("location"), &**location);
        }
        if self.movements.is_empty() {
            return;
        }
        let mut list = RawArrayBuf::new();
        for movement in &self.movements {
            let mut item = RawDocumentBuf::new();
            if let Some(at_ms) = movement.at_ms {
                item.append(cstr!("at"), DateTime::from_millis(at_ms));
            }
            item.append(cstr!("event"), movement.event.as_str());
            if let Some(location) = &movement.location {
                item.append(cstr!("location"), &**location);
            }
            put_id(&mut item, cstr!("message"), self.messages[movement.source]);
            list.push(item);
        }
        document.append(MOVEMENTS, list);
    }

    /// Adds a movement.
    pub(super) fn push_movement(&mut self, movement: Movement) {
        if self.movements.len() == MOVEMENTS_MAX {
            self.movements.remove(0);
            self.earlier_movements += 1;
        }
        self.movements.push(movement);
    }

    /// Returns the messages behind the values, each with the names of the fields that it says.
    fn sources(&self) -> RawArrayBuf {
        let mut said: Vec<(usize, &CStr)> = self.held.iter().map(|(slot, held)| (held.source, slot.name())).collect();
        let mut moved: Vec<usize> = self.movements.iter().map(|movement| movement.source).collect();
        moved.dedup();
        said.extend(moved.into_iter().map(|source| (source, MOVEMENTS)));
        // The sort is stable: the fields that a message says stay in the order of the slots.
        said.sort_by_key(|(source, _)| *source);
        let mut sources = RawArrayBuf::new();
        for of_source in said.chunk_by(|one, other| one.0 == other.0) {
            let mut names = RawArrayBuf::new();
            for (_, name) in of_source {
                names.push(name.as_str());
            }
            let mut item = document_of(256);
            put_id(&mut item, cstr!("message"), self.messages[of_source[0].0]);
            item.append(cstr!("says"), names);
            sources.push(item);
        }
        sources
    }

    /// Reads a document that [`State::document`] wrote. Returns `None` if another program changed its form.
    pub fn read(kind: Kind, document: &RawDocument) -> Option<Self> {
        let id = get(document, "_id").and_then(Id::from_binary)?;
        let as_of = get(document, "asOf").and_then(RawBsonRef::as_document).and_then(Order::read);
        let mut state = Self::empty(Key { kind, id }, as_of?);
        let sources = state.read_sources(document)?;
        for element in document.iter().flatten() {
            let (name, value) = element;
            if let Some(slot) = Slot::named(name.as_str()) {
                let source = *sources.get(name.as_str())?;
                let precision = match slot.precision_name().and_then(|name| get(document, name.as_str())) {
                    Some(name) => Some(Precision::named(name.as_str()?)?),
                    None => None,
                };
                let held = Held { value: value.into(), precision, source };
                state.held.insert(slot, held);
            }
        }
        state.movements = state.read_movements(document)?;
        let earlier = get(document, EARLIER_MOVEMENTS.as_str()).and_then(RawBsonRef::as_i64);
        state.earlier_movements = earlier.unwrap_or_default();
        Some(state)
    }

    pub(super) fn empty(key: Key, as_of: Order) -> Self {
        let (held, movements, messages) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { key, as_of, held, movements, earlier_movements: 0, messages }
    }

    /// Reads the messages behind the values. Returns the position of the message for each name of a field.
    fn read_sources<'d>(&mut self, document: &'d RawDocument) -> Option<BTreeMap<&'d str, usize>> {
        let mut sources = BTreeMap::new();
        for item in get(document, "messages")?.as_array()? {
            let item = item.ok()?.as_document()?;
            for name in get(item, "says")?.as_array()? {
                sources.insert(name.ok()?.as_str()?, self.messages.len());
            }
            self.messages.push(Id::from_binary(get(item, "message")?)?);
        }
        Some(sources)
    }

    fn read_movements(&self, document: &RawDocument) -> Option<Vec<Movement>> {
        let Some(list) = get(document, "movements") else { return Some(Vec::new()) };
        let places: BTreeMap<Id, usize> = self.messages.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let mut movements = Vec::new();
        for item in list.as_array()? {
            let item = item.ok()?.as_document()?;
            let message = Id::from_binary(get(item, "message")?)?;
            movements.push(Movement {
                at_ms: get(item, "at").and_then(RawBsonRef::as_datetime).map(DateTime::timestamp_millis),
                event: get(item, "event")?.as_str()?.to_owned(),
                location: get(item, "location").and_then(RawBsonRef::as_document).map(ToOwned::to_owned),
                source: *places.get(&message)?,
            });
        }
        Some(movements)
    }
}

impl State {
    /// Applies the changes that a message states.
    pub(super) fn change(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change.to {
                Said::Nothing => {}
                Said::Delete => self.clear(change.slot),
                Said::Is(value) => self.hold(change.slot, value, change.precision),
            }
        }
    }

    /// Sets a value. It comes from the message that is being applied.
    pub(super) fn set(&mut self, slot: Slot, value: impl Into<RawBson>) {
        self.hold(slot, value.into(), None);
    }

    fn hold(&mut self, slot: Slot, value: RawBson, precision: Option<Precision>) {
        let source = self.messages.len() - 1;
        let value = if size_of_value(&value) > VALUE_BYTES_MAX { RawBson::Null } else { value };
        self.held.insert(slot, Held { value, precision, source });
    }

    pub(super) fn clear(&mut self, slot: Slot) {
        self.held.remove(&slot);
    }

    pub(super) fn text(&self, slot: Slot) -> Option<&str> {
        self.held.get(&slot)?.value.as_str()
    }
}
