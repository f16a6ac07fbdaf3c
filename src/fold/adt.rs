//! ADT messages: admissions, transfers, discharges, updates, cancellations and merges.

use bson::RawDocumentBuf;
use bson::raw::cstr;

use super::fields::{Change, Part};
use super::keys::{Identifier, Key, Kind};
use super::patient::PatientStep;
use super::slot::Slot;
use super::step::{Context, Row, Step, note};
use super::visit::{Arrival, VisitEvent, VisitStep};
use crate::encode::Id;
use crate::parse::hl7::{Element, Segment};

/// The parts of an identifier of type CX.
const IDENTIFIER: [Part; 3] = [(cstr!("value"), 1, 1), (cstr!("authority"), 4, 1), (cstr!("type"), 5, 1)];
const NAME: [Part; 5] = [
    (cstr!("family"), 1, 1),
    (cstr!("given"), 2, 1),
    (cstr!("middle"), 3, 1),
    (cstr!("suffix"), 4, 1),
    (cstr!("prefix"), 5, 1),
];
const ADDRESS: [Part; 6] = [
    (cstr!("street"), 1, 1),
    (cstr!("other"), 2, 1),
    (cstr!("city"), 3, 1),
    (cstr!("state"), 4, 1),
    (cstr!("postalCode"), 5, 1),
    (cstr!("country"), 6, 1),
];
const LOCATION: [Part; 4] =
    [(cstr!("unit"), 1, 1), (cstr!("room"), 2, 1), (cstr!("bed"), 3, 1), (cstr!("facility"), 4, 1)];
/// Maximum size of a location as a document. It is small, because a visit can have many locations.
const LOCATION_BYTES_MAX: usize = 4 * 1024;
const DOCTOR: [Part; 3] = [(cstr!("id"), 1, 1), (cstr!("family"), 2, 1), (cstr!("given"), 3, 1)];

/// Returns the steps of an ADT message. An event that is not listed here changes no state.
pub(super) fn steps(context: &Context<'_>, event: &str) -> Vec<(Key, Step)> {
    let visit = match event {
        "A01" => VisitEvent::Arrive(Arrival::Admitted),
        "A04" => VisitEvent::Arrive(Arrival::Registered),
        "A05" => VisitEvent::Arrive(Arrival::PreAdmitted),
        "A02" => VisitEvent::Transfer,
        "A03" => VisitEvent::Discharge,
        "A06" => VisitEvent::ChangeClass(Arrival::Admitted),
        "A07" => VisitEvent::ChangeClass(Arrival::Registered),
        "A08" => VisitEvent::Update,
        "A11" => VisitEvent::CancelArrival,
        "A12" => VisitEvent::CancelTransfer,
        "A13" => VisitEvent::CancelDischarge,
        "A28" | "A31" => return patient_steps(context),
        "A40" => return merge_steps(context),
        "A45" => return move_steps(context),
        _ => return Vec::new(),
    };
    let mut steps = patient_steps(context);
    let (pid, pv1) = (context.first("PID"), context.first("PV1"));
    if let Some((number, key)) = pv1.and_then(|pv1| context.visit(pid, pv1)) {
        steps.push((visit_key(key), context.visit_step(visit, event, pid, pv1, &number)));
    }
    steps
}

/// Returns the steps for the patients of all PID segments.
fn patient_steps(context: &Context<'_>) -> Vec<(Key, Step)> {
    let pids = context.message.segments().filter(|segment| segment.id().as_str() == "PID");
    let updates = pids.filter_map(|pid| {
        let key = context.patient(pid)?;
        Some((patient_key(key), Step::Patient(PatientStep::Update(context.demographics(pid)))))
    });
    updates.collect()
}

/// A40: each MRG segment belongs to the PID segment before it.
fn merge_steps(context: &Context<'_>) -> Vec<(Key, Step)> {
    let mut steps = patient_steps(context);
    let mut into = None;
    for segment in context.message.segments() {
        if segment.id().as_str() == "PID" {
            into = context.patient(segment);
        } else if segment.id().as_str() == "MRG"
            && let (Some(into), Some(prior)) = (into, context.prior_patient(segment))
            && into != prior
        {
            steps.push((patient_key(prior), Step::Patient(PatientStep::MergeInto(into))));
        }
    }
    steps
}

/// A45: each PV1 segment belongs to the MRG segment before it. The visit moves to the patient in PID. If MRG-5 and
/// PV1-19 have different numbers, the visit with the number in PV1-19 gets the patient, and the visit with the number
/// in MRG-5 gets `movedTo`. If both are empty, the same holds for the account numbers PID-18 and MRG-3.
fn move_steps(context: &Context<'_>) -> Vec<(Key, Step)> {
    let mut steps = patient_steps(context);
    let pid = context.first("PID");
    let mut mrg = None;
    for segment in context.message.segments() {
        if segment.id().as_str() == "MRG" {
            mrg = Some(segment);
        } else if segment.id().as_str() == "PV1"
            && let (old, Some((number, key))) = context.moved_visit(pid, mrg.take(), segment)
        {
            let step = context.visit_step(VisitEvent::Move, "A45", pid, Some(segment), &number);
            steps.push((visit_key(key), step));
            let to = |old| (visit_key(old), context.visit_step(VisitEvent::MoveTo(key), "A45", None, None, &number));
            steps.extend(old.filter(|&old| old != key).map(to));
        }
    }
    steps
}

const PV1_19: &str = "PV1-19";
const PID_18: &str = "PID-18";

const fn patient_key(id: Id) -> Key {
    Key { kind: Kind::Patient, id }
}

const fn visit_key(id: Id) -> Key {
    Key { kind: Kind::Visit, id }
}

impl Context<'_> {
    /// Returns the key of the patient in PID.
    pub(super) fn patient(&self, pid: Segment<'_>) -> Option<Id> {
        self.chosen(pid.field(self.rule.field()))
    }

    fn prior_patient(&self, mrg: Segment<'_>) -> Option<Id> {
        self.chosen(mrg.field(self.rule.prior()))
    }

    /// Returns the key from the identifier that stands for the patient.
    fn chosen(&self, field: Element<'_>) -> Option<Id> {
        let chosen = self.rule.choose(field, |element| self.fields.text(element).value())?;
        Some(self.identity.patient(&chosen.value, chosen.authority()))
    }

    /// Returns the number and the key of the visit: PV1-19, or the account number PID-18.
    pub(super) fn visit(&self, pid: Option<Segment<'_>>, pv1: Segment<'_>) -> Option<(RawDocumentBuf, Id)> {
        let account = || Some(self.number(&self.fields.identifier(pid?.field(18).child(1))?, PID_18));
        self.visit_number(pv1).or_else(account)
    }

    /// Returns the old key of the visit that A45 moves, and its new number and key.
    fn moved_visit(
        &self,
        pid: Option<Segment<'_>>,
        mrg: Option<Segment<'_>>,
        pv1: Segment<'_>,
    ) -> (Option<Id>, Option<(RawDocumentBuf, Id)>) {
        let prior = |field, of| Some(self.number(&self.fields.identifier(mrg?.field(field).child(1))?, of));
        let (old, new) = (prior(5, PV1_19), self.visit_number(pv1));
        let (old, new) = match (old, new) {
            (None, None) => (prior(3, PID_18), self.visit(pid, pv1)),
            numbers => numbers,
        };
        (old.as_ref().map(|(_, key)| *key), new.or(old))
    }

    fn visit_number(&self, pv1: Segment<'_>) -> Option<(RawDocumentBuf, Id)> {
        Some(self.number(&self.fields.identifier(pv1.field(19).child(1))?, PV1_19))
    }

    fn number(&self, identifier: &Identifier, field: &'static str) -> (RawDocumentBuf, Id) {
        (identifier_document(identifier, Some(field)), identifier.visit(field, self.identity))
    }

    fn demographics(&self, pid: Segment<'_>) -> Vec<Change> {
        let (fields, pid) = (&self.fields, Row::of(pid));
        let mut changes = Vec::with_capacity(12);
        note(&mut changes, fields.list_change(Slot::Identifiers, pid.field(3), &IDENTIFIER));
        note(&mut changes, fields.parts_change(Slot::Name, pid.field(5), &NAME));
        note(&mut changes, fields.day_change(Slot::BirthDate, pid.field(7)));
        note(&mut changes, fields.text_change(Slot::Sex, pid.field(8)));
        note(&mut changes, fields.parts_change(Slot::Address, pid.field(11), &ADDRESS));
        note(&mut changes, fields.text_change(Slot::Phone, pid.field(13)));
        note(&mut changes, fields.text_change(Slot::Language, pid.field(15)));
        note(&mut changes, fields.text_change(Slot::MaritalStatus, pid.field(16)));
        note(&mut changes, fields.parts_change(Slot::Account, pid.field(18), &IDENTIFIER));
        note(&mut changes, fields.time_change(Slot::DiedAt, pid.field(29)));
        note(&mut changes, fields.text_change(Slot::IsDead, pid.field(30)));
        changes
    }

    fn visit_step(
        &self,
        event: VisitEvent,
        name: &str,
        pid: Option<Segment<'_>>,
        pv1: Option<Segment<'_>>,
        number: &RawDocumentBuf,
    ) -> Step {
        let occurred = self.first("EVN").and_then(|evn| Some(self.fields.time(evn.field(6)).value()?.ms));
        let mut changes = Vec::with_capacity(8);
        if let Some(pv1) = pv1 {
            note(&mut changes, Change::to(Slot::Number, number.clone()).copied());
            self.note_visit(&mut changes, pv1);
        }
        Step::Visit(Box::new(VisitStep {
            event,
            name: name.to_owned(),
            patient: pid.and_then(|pid| self.patient(pid)),
            at_ms: occurred.or(self.order.at_ms),
            changes,
            location: pv1.and_then(|pv1| self.location(pv1)),
        }))
    }

    /// Returns PV1-3. Returns `None` if it is empty, or too large for a location.
    fn location(&self, pv1: Segment<'_>) -> Option<RawDocumentBuf> {
        let location = self.fields.parts(pv1.field(3).child(1), &LOCATION)?;
        (location.as_bytes().len() <= LOCATION_BYTES_MAX).then_some(location)
    }

    fn note_visit(&self, changes: &mut Vec<Change>, pv1: Segment<'_>) {
        let (fields, pv1) = (&self.fields, Row::of(pv1));
        note(changes, fields.time_change(Slot::AdmittedAt, pv1.field(44)));
        note(changes, fields.time_change(Slot::DischargedAt, pv1.field(45)));
        note(changes, fields.text_change(Slot::Disposition, pv1.field(36)));
        note(changes, fields.text_change(Slot::Class, pv1.field(2)));
        note(changes, fields.text_change(Slot::AdmissionType, pv1.field(4)));
        note(changes, fields.text_change(Slot::Service, pv1.field(10)));
        note(changes, fields.parts_change(Slot::Attending, pv1.field(7), &DOCTOR));
    }
}

/// Returns an identifier as a document. `field` is the field of the message from which it was taken.
pub(super) fn identifier_document(identifier: &Identifier, field: Option<&str>) -> RawDocumentBuf {
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("value"), identifier.value.as_str());
    if !identifier.authority.is_empty() {
        document.append(cstr!("authority"), identifier.authority.as_str());
    }
    if let Some(field) = field {
        document.append(cstr!("field"), field);
    }
    document
}
