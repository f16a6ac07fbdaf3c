//! A message becomes an event: what the message says about patients, visits and results.

use super::fields::{Fields, copied, first};
use super::identifier::PatientRule;
use super::patient::PatientStep;
use super::step::{Context, Step, named};
use super::{Key, Merge, Merges, Order, adt, oru};
use crate::encode::{Id, IdentityKey};
use crate::parse::hl7::{Charset, Decoder, Index, Message, Problem};
use crate::spec::Zone;

/// What a message says about the documents of the state. The event of a message that changes no state has no steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    order: Order,
    /// The documents that the message touches, in the order of their keys. If the message says several things about a
    /// document, they are in the order of the message.
    steps: Vec<(Key, Step)>,
}

/// Makes events from messages. Contains the settings, and a buffer that is used again.
#[derive(Debug, Clone)]
pub struct Reader {
    identity: IdentityKey,
    rule: PatientRule,
    zone: Zone,
    charset: Charset,
    index: Index,
}

/// A message that cannot be read. Loads refuse such messages, so no load stored it.
#[derive(Debug, thiserror::Error)]
#[error("the stored message cannot be read: {0}")]
pub struct BadMessage(#[from] Problem);

impl Reader {
    /// Makes a reader. `rule` says which identifier stands for a patient. `zone` is the time zone of times without
    /// offset. `charset` is the character set of messages that do not name theirs.
    pub(crate) fn new(identity: IdentityKey, rule: PatientRule, zone: Zone, charset: Charset) -> Self {
        Self { identity, rule, zone, charset, index: Index::default() }
    }

    /// Returns the event of a message. `id` is the message's `_id`.
    pub fn event(&mut self, id: Id, bytes: &[u8]) -> Result<Event, BadMessage> {
        let message = Message::split(bytes, &mut self.index)?;
        let fields = Fields { decoder: Decoder::new(message, self.charset)?, zone: self.zone };
        let order = order(message, &fields, id);
        let context = Context { message, fields, identity: &self.identity, rule: &self.rule, order: &order };
        let mut steps = match &type_and_event(message, &fields) {
            [kind, event] if kind == "ADT" => adt::steps(&context, event),
            [kind, event] if kind == "ORU" && matches!(&**event, "R01" | "") => oru::steps(&context),
            _ => Vec::new(),
        };
        // The sort is stable: the steps of a document stay in the order of the message.
        steps.sort_by_key(|(key, _)| *key);
        steps.dedup_by(|(next_key, next), (key, step)| next_key == key && step.join(next));
        for (_, step) in &mut steps {
            step.leave_out_large_values();
        }
        Ok(Event { order, steps })
    }
}

impl Event {
    /// Makes an event. The steps are in the order of their keys.
    pub(super) const fn new(order: Order, steps: Vec<(Key, Step)>) -> Self {
        Self { order, steps }
    }

    /// Returns the place of the message in the order.
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// Returns the keys of the documents that the message touches, each once.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.steps.chunk_by(|one, other| one.0 == other.0).map(|steps| steps[0].0)
    }

    /// Returns the keys of the patients whose record was merged into another one.
    pub(super) fn merged(&self) -> impl Iterator<Item = Id> {
        self.steps
            .iter()
            .filter_map(|(key, step)| matches!(step, Step::Patient(PatientStep::MergeInto(_))).then_some(key.id))
    }

    /// Adds the merges that the message states, unless a later message states others.
    pub(super) fn add_merges(&self, merges: &mut Merges) {
        for (key, step) in &self.steps {
            if let Step::Patient(PatientStep::MergeInto(into)) = step {
                merges.add_later(key.id, Merge { into: *into, order: self.order.clone() });
            }
        }
    }

    /// Returns the place of the message in the order, and what the message says about the document with this key.
    pub(super) fn into_steps(self, key: Key) -> (Order, impl Iterator<Item = Step>) {
        (self.order, self.steps.into_iter().filter(move |(other, _)| *other == key).map(|(_, step)| step))
    }

    /// Returns what the message says about the document with this key.
    pub(super) fn steps(&self, key: Key) -> impl Iterator<Item = &Step> {
        let start = self.steps.partition_point(|(other, _)| *other < key);
        self.steps[start..].iter().take_while(move |(other, _)| *other == key).map(|(_, step)| step)
    }
}

fn order(message: Message<'_>, fields: &Fields, id: Id) -> Order {
    let time = |name, field| Some(fields.time(named(message, name)?.field(field)).value()?.ms);
    let control_id = named(message, "MSH").map(|header| fields.plain(first(header.field(10))));
    Order {
        at_ms: time("EVN", 2).or_else(|| time("MSH", 7)),
        // It is in each document that the message touches last.
        control_id: copied(control_id.unwrap_or_default()).into(),
        message: id,
    }
}

/// Returns MSH-9.1 and MSH-9.2. If MSH-9.2 is empty, as in old versions of HL7, returns EVN-1 in its place.
fn type_and_event(message: Message<'_>, fields: &Fields) -> [String; 2] {
    let Some(kind) = named(message, "MSH").map(|header| header.field(9).child(1)) else {
        return Default::default();
    };
    let event = fields.text(kind.child(2)).value();
    let of_segment = || Some(fields.plain(first(named(message, "EVN")?.field(1))));
    [fields.plain(kind.child(1)), event.or_else(of_segment).unwrap_or_default()]
}
