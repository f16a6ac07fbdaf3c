//! ORU^R01: results.

use std::sync::Arc;

use bson::raw::cstr;

use super::adt::identifier_document;
use super::fields::{Change, Part, Said, copied, first};
use super::keys::{Identifier, Key, Kind, OrderNumber};
use super::result::{ResultStep, list};
use super::slot::Slot;
use super::step::{Context, Row, Step, note};
use crate::encode::Id;
use crate::parse::hl7::{Element, Segment};

/// The parts of a code: type CE or CWE.
const CODE: [Part; 3] = [(cstr!("code"), 1, 1), (cstr!("text"), 2, 1), (cstr!("system"), 3, 1)];

/// What the segments before an OBX say about it.
#[derive(Default)]
struct Before<'m> {
    pid: Option<Segment<'m>>,
    patient: Option<Id>,
    visit: Option<Id>,
    orc: Option<Segment<'m>>,
    obr: Option<Obr>,
}

/// An order: OBR, and the numbers in OBR or ORC.
struct Obr {
    placer: Option<Identifier>,
    filler: Option<Identifier>,
    panel: String,
    /// OBR-7.
    observed: String,
    /// OBR-25: the status of results that have none.
    status: String,
    /// What OBR says about each result.
    changes: Arc<[Change]>,
}

/// Returns the steps of an ORU^R01 message: one per OBX.
pub(super) fn steps(context: &Context<'_>) -> Vec<(Key, Step)> {
    let mut before = Before::default();
    let mut steps = Vec::new();
    for segment in context.message.segments() {
        match segment.id().as_str() {
            "PID" => before = Before { pid: Some(segment), patient: context.patient(segment), ..Before::default() },
            "PV1" => before.visit = context.visit(before.pid, segment).map(|(_, key)| key),
            "ORC" => before.orc = Some(segment),
            "OBR" => before.obr = Some(context.order_of(segment, before.orc.take())),
            "OBX" => steps.extend(context.result_step(&before, segment)),
            _ => {}
        }
    }
    steps
}

impl<'m> Context<'m> {
    /// Reads OBR. `orc` is the ORC segment before it. An order number that is not in OBR is read from ORC.
    fn order_of(&self, obr: Segment<'m>, orc: Option<Segment<'m>>) -> Obr {
        let number = |field| {
            let of = |segment: Segment<'_>| self.fields.entity(segment.field(field));
            of(obr).or_else(|| of(orc?))
        };
        let plain = |field| self.fields.plain(first(obr.field(field)));
        let (panel, observed, status) = (plain(4), plain(7), copied(plain(25)));
        let (placer, filler) = (number(2), number(3));
        let mut changes = Vec::with_capacity(4);
        let numbers = [(Slot::PlacerOrder, &placer), (Slot::FillerOrder, &filler)];
        for (slot, number) in numbers.into_iter().filter_map(|(slot, number)| Some((slot, number.as_ref()?))) {
            note(&mut changes, Change::to(slot, identifier_document(number, None)).copied());
        }
        note(&mut changes, self.fields.parts_change(Slot::Panel, obr.field(4), &CODE).copied());
        note(&mut changes, self.fields.time_change(Slot::ObservedAt, obr.field(7)));
        Obr { placer, filler, panel, observed, status, changes: changes.into() }
    }

    /// Returns the step of an OBX. Returns `None` if the result has no key: it has no code, or neither an order
    /// number nor a patient.
    fn result_step(&self, before: &Before<'_>, obx: Segment<'_>) -> Option<(Key, Step)> {
        let (fields, obx) = (&self.fields, &Row::of(obx));
        let code = fields.text(first(obx.field(3))).value()?;
        let system = fields.plain(obx.field(3).child(1).child(3));
        let sub_id = fields.plain(first(obx.field(4)));
        let obr = before.obr.as_ref();
        let number = match (obr.and_then(|obr| obr.filler.as_ref()), obr.and_then(|obr| obr.placer.as_ref())) {
            (Some(filler), _) => OrderNumber::Filler(filler),
            (None, Some(placer)) => OrderNumber::Placer(placer),
            (None, None) => {
                let (panel, observed) = obr.map_or(("", ""), |obr| (&obr.panel, &obr.observed));
                OrderNumber::None { patient: before.patient?, panel, observed }
            }
        };
        let id = number.result(&code, &system, &sub_id, self.identity);
        let of_order = || obr.map(|obr| obr.status.clone()).unwrap_or_default();
        let status = fields.text(first(obx.field(11))).value().unwrap_or_else(of_order);
        let (values, changes) = (self.values(obx.field(5)), self.changes(before, obx));
        let of_order = obr.map(|obr| Arc::clone(&obr.changes));
        let step = ResultStep { patient: before.patient, status, values, of_order, changes };
        Some((Key { kind: Kind::Result, id }, Step::Result(Box::new(step))))
    }

    fn changes(&self, before: &Before<'_>, obx: &Row<'_>) -> Vec<Change> {
        let fields = &self.fields;
        let mut changes = Vec::with_capacity(12);
        if let Some(visit) = before.visit {
            note(&mut changes, Change::to(Slot::Visit, visit.to_binary()));
        }
        note(&mut changes, fields.time_change(Slot::ObservedAt, obx.field(14)));
        note(&mut changes, fields.parts_change(Slot::Code, obx.field(3), &CODE));
        note(&mut changes, fields.text_change(Slot::SubId, obx.field(4)));
        note(&mut changes, fields.text_change(Slot::ValueType, obx.field(2)));
        note(&mut changes, fields.parts_change(Slot::Unit, obx.field(6), &CODE));
        note(&mut changes, fields.text_change(Slot::ReferenceRange, obx.field(7)));
        note(&mut changes, self.flags(obx.field(8)));
        changes
    }

    /// Returns the texts of OBX-5: one for each repetition that is not empty.
    fn values(&self, field: Element<'_>) -> Vec<String> {
        field.children().filter_map(|repetition| self.fields.text(repetition).value()).collect()
    }

    fn flags(&self, field: Element<'_>) -> Change {
        let texts = field.children().filter_map(|repetition| self.fields.text(repetition.child(1)).value());
        let flags = list(texts);
        Change::new(Slot::Flags, if flags.is_empty() { Said::Nothing } else { Said::Is(flags.into()) })
    }
}
