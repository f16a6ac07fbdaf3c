//! Events as bytes, for temporary files: the part of an event that is about one document.

use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, RawArrayBuf, RawBson, RawDocumentBuf};

use super::event::Event;
use super::fields::{Change, Said};
use super::patient::PatientStep;
use super::result::ResultStep;
use super::slot::Slot;
use super::step::Step;
use super::visit::{Arrival, VisitEvent, VisitStep};
use super::{Key, Order};
use crate::encode::Id;
use crate::parse::hl7::Precision;

const ARRIVALS: [Arrival; 3] = [Arrival::Admitted, Arrival::Registered, Arrival::PreAdmitted];

impl Event {
    /// Appends what the event says about the document with this key.
    pub(super) fn pack(&self, key: Key, out: &mut Vec<u8>) {
        let mut out = Packer(out);
        out.order(self.order());
        for step in self.steps(key) {
            match step {
                Step::Patient(PatientStep::Update(changes)) => {
                    out.byte(0);
                    out.changes(changes);
                }
                Step::Patient(PatientStep::MergeInto(into)) => {
                    out.byte(1);
                    out.id(*into);
                }
                Step::Visit(step) => {
                    out.byte(2);
                    out.visit(step);
                }
                Step::Result(step) => {
                    out.byte(3);
                    out.option(step.patient, Packer::id);
                    out.bytes(step.status.as_bytes());
                    out.number(step.values.len());
                    step.values.iter().for_each(|value| out.bytes(value.as_bytes()));
                    out.number(step.changes().count());
                    step.changes().for_each(|change| out.change(change));
                }
            }
        }
    }

    /// Reads what [`pack`](Self::pack) wrote. Returns `None` if the bytes are damaged.
    pub(super) fn unpack(key: Key, bytes: &[u8]) -> Option<Self> {
        let mut bytes = Unpacker(bytes);
        let order = bytes.order()?;
        let mut steps = Vec::with_capacity(1);
        while !bytes.0.is_empty() {
            steps.push((key, bytes.step()?));
        }
        Some(Self::new(order, steps))
    }
}

struct Packer<'b>(&'b mut Vec<u8>);

impl Packer<'_> {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: usize) {
        self.0.extend_from_slice(&(number as u32).to_le_bytes());
    }

    fn long(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn id(&mut self, id: Id) {
        self.0.extend_from_slice(&id.0);
    }

    fn option<T>(&mut self, value: Option<T>, write: impl Fn(&mut Self, T)) {
        self.byte(value.is_some().into());
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn order(&mut self, order: &Order) {
        self.option(order.at_ms, Self::long);
        self.bytes(order.control_id.as_bytes());
        self.id(order.message);
    }

    fn visit(&mut self, step: &VisitStep) {
        let arrival = |arrival: Arrival| ARRIVALS.iter().position(|known| *known == arrival).unwrap_or_default() as u8;
        match step.event {
            VisitEvent::Arrive(how) => self.byte(arrival(how)),
            VisitEvent::ChangeClass(how) => self.byte(3 + arrival(how)),
            VisitEvent::Transfer => self.byte(6),
            VisitEvent::Discharge => self.byte(7),
            VisitEvent::Update => self.byte(8),
            VisitEvent::CancelArrival => self.byte(9),
            VisitEvent::CancelTransfer => self.byte(10),
            VisitEvent::CancelDischarge => self.byte(11),
            VisitEvent::Move => self.byte(12),
            VisitEvent::MoveTo(id) => {
                self.byte(13);
                self.id(id);
            }
        }
        self.bytes(step.name.as_bytes());
        self.option(step.patient, Self::id);
        self.option(step.at_ms, Self::long);
        self.option(step.location.as_ref(), |out, location| out.bytes(location.as_bytes()));
        self.changes(&step.changes);
    }

    fn changes(&mut self, changes: &[Change]) {
        self.number(changes.len());
        for change in changes {
            self.change(change);
        }
    }

    fn change(&mut self, Change { slot, to, precision }: &Change) {
        self.byte(*slot as u8);
        self.byte(precision.map_or(u8::MAX, |precision| precision as u8));
        match to {
            Said::Is(RawBson::String(text)) => self.value(2, text.as_bytes()),
            Said::Is(RawBson::Array(list)) => self.value(3, list.as_bytes()),
            Said::Is(RawBson::Document(document)) => self.value(4, document.as_bytes()),
            Said::Is(RawBson::DateTime(time)) => self.value(5, &time.timestamp_millis().to_le_bytes()),
            Said::Is(RawBson::Binary(id)) => self.value(6, &id.bytes),
            Said::Is(RawBson::Null) => self.value(7, &[]),
            Said::Delete => self.value(1, &[]),
            // `Said::Nothing`. Changes contain no values of other types.
            Said::Nothing | Said::Is(_) => self.value(0, &[]),
        }
    }

    fn value(&mut self, kind: u8, bytes: &[u8]) {
        self.byte(kind);
        self.bytes(bytes);
    }
}

struct Unpacker<'b>(&'b [u8]);

impl<'b> Unpacker<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<usize> {
        self.array().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn long(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let count = self.number()?;
        self.take(count)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    fn id(&mut self) -> Option<Id> {
        self.array().map(Id)
    }

    #[expect(clippy::option_option, reason = "`None` means damaged bytes, as for all values")]
    fn option<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.byte()? == 0 { Some(None) } else { read(self).map(Some) }
    }

    fn order(&mut self) -> Option<Order> {
        Some(Order { at_ms: self.option(Self::long)?, control_id: self.text()?.into(), message: self.id()? })
    }

    fn step(&mut self) -> Option<Step> {
        Some(match self.byte()? {
            0 => Step::Patient(PatientStep::Update(self.changes()?)),
            1 => Step::Patient(PatientStep::MergeInto(self.id()?)),
            2 => Step::Visit(Box::new(self.visit()?)),
            _ => Step::Result(Box::new(ResultStep {
                patient: self.option(Self::id)?,
                status: self.text()?,
                values: (0..self.number()?).map(|_| self.text()).collect::<Option<_>>()?,
                of_order: None,
                changes: self.changes()?,
            })),
        })
    }

    fn visit(&mut self) -> Option<VisitStep> {
        let arrival = |place: u8| ARRIVALS.get(usize::from(place)).copied();
        let event = match self.byte()? {
            how @ 0..=2 => VisitEvent::Arrive(arrival(how)?),
            how @ 3..=5 => VisitEvent::ChangeClass(arrival(how - 3)?),
            6 => VisitEvent::Transfer,
            7 => VisitEvent::Discharge,
            8 => VisitEvent::Update,
            9 => VisitEvent::CancelArrival,
            10 => VisitEvent::CancelTransfer,
            11 => VisitEvent::CancelDischarge,
            12 => VisitEvent::Move,
            _ => VisitEvent::MoveTo(self.id()?),
        };
        Some(VisitStep {
            event,
            name: self.text()?,
            patient: self.option(Self::id)?,
            at_ms: self.option(Self::long)?,
            location: self.option(Self::document)?,
            changes: self.changes()?,
        })
    }

    fn document(&mut self) -> Option<RawDocumentBuf> {
        RawDocumentBuf::from_bytes(self.bytes()?.to_vec()).ok()
    }

    fn changes(&mut self) -> Option<Vec<Change>> {
        let count = self.number()?;
        // Collecting into an `Option` would reserve no memory.
        let mut changes = Vec::with_capacity(count.min(Slot::COUNT));
        for _ in 0..count {
            changes.push(self.change()?);
        }
        Some(changes)
    }

    fn change(&mut self) -> Option<Change> {
        let slot = Slot::at(self.byte()?)?;
        let precision = Precision::ALL.get(usize::from(self.byte()?)).copied();
        let to = match self.byte()? {
            0 => self.bytes().map(|_| Said::Nothing)?,
            1 => self.bytes().map(|_| Said::Delete)?,
            2 => Said::Is(self.text()?.into()),
            3 => Said::Is(list_of(&self.document()?)?.into()),
            4 => Said::Is(self.document()?.into()),
            5 => Said::Is(DateTime::from_millis(i64::from_le_bytes(self.bytes()?.try_into().ok()?)).into()),
            7 => self.bytes().map(|_| Said::Is(RawBson::Null))?,
            _ => Said::Is(Binary { subtype: BinarySubtype::Uuid, bytes: self.bytes()?.to_vec() }.into()),
        };
        Some(Change { slot, to, precision })
    }
}

/// Makes a list from its bytes, which are those of a document.
fn list_of(document: &RawDocumentBuf) -> Option<RawArrayBuf> {
    let mut list = RawArrayBuf::new();
    for element in document {
        list.push(element.ok()?.1);
    }
    Some(list)
}
