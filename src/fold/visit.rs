//! Visits: what a step does to the document.

use bson::{DateTime, RawBson, RawDocumentBuf};

use super::document::{Movement, State};
use super::fields::Change;
use super::slot::Slot;
use crate::encode::Id;

/// What a message says about a visit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct VisitStep {
    pub event: VisitEvent,
    /// The name of the event, for example `A02`.
    pub name: String,
    pub patient: Option<Id>,
    /// The time of the event: EVN-6, or the time of the order.
    pub at_ms: Option<i64>,
    /// The values of PV1.
    pub changes: Vec<Change>,
    /// PV1-3.
    pub location: Option<RawDocumentBuf>,
}

/// What happens to a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum VisitEvent {
    /// A01, A04, A05.
    Arrive(Arrival),
    /// A02.
    Transfer,
    /// A03.
    Discharge,
    /// A06, A07.
    ChangeClass(Arrival),
    /// A08.
    Update,
    /// A11.
    CancelArrival,
    /// A12.
    CancelTransfer,
    /// A13.
    CancelDischarge,
    /// A45, for the visit that now belongs to the patient in the message.
    Move,
    /// A45 that also changes the visit number, for the visit with the old number. Contains the key of the visit with
    /// the new number.
    MoveTo(Id),
}

/// How a patient came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    Admitted,
    Registered,
    PreAdmitted,
}

const ADMITTED: &str = "admitted";
const DISCHARGED: &str = "discharged";
const CANCELLED: &str = "cancelled";
/// The event of a movement that A12 takes back.
const TRANSFER: &str = "A02";

impl Arrival {
    const fn status(self) -> &'static str {
        match self {
            Self::Admitted => ADMITTED,
            Self::Registered => "registered",
            Self::PreAdmitted => "pre-admitted",
        }
    }

    /// Returns the patient class (HL7 table 0004) of a change to an inpatient or an outpatient.
    const fn class(self) -> &'static str {
        match self {
            Self::Admitted => "I",
            Self::Registered => "O",
            Self::PreAdmitted => "P",
        }
    }
}

impl VisitStep {
    pub(super) fn apply(&self, state: &mut State) {
        if let VisitEvent::MoveTo(visit) = self.event {
            state.set(Slot::MovedTo, visit.to_binary());
            return;
        }
        if matches!(self.event, VisitEvent::Arrive(_)) {
            state.clear(Slot::DischargedAt);
            state.clear(Slot::Disposition);
            state.clear(Slot::StatusBeforeDischarge);
        }
        state.change(self.changes.iter().cloned());
        self.set_patient(state);
        self.set_location(state);
        self.set_status(state);
    }

    /// Sets the patient. Only an arrival and A45 give a visit to another patient. Otherwise a system that still uses
    /// the old number would take a moved visit back.
    fn set_patient(&self, state: &mut State) {
        let decides = matches!(self.event, VisitEvent::Arrive(_) | VisitEvent::Move);
        if let Some(patient) = self.patient.filter(|_| decides || state.patient().is_none()) {
            state.set(Slot::PatientAsSent, patient.to_binary());
        }
    }

    fn set_status(&self, state: &mut State) {
        match self.event {
            VisitEvent::Arrive(arrival) => {
                state.set(Slot::Status, arrival.status());
                state.set(Slot::Admission, arrival.status());
                if arrival != Arrival::PreAdmitted {
                    self.set_time(state, Slot::AdmittedAt);
                }
            }
            VisitEvent::ChangeClass(arrival) => {
                state.set(Slot::Status, arrival.status());
                if !self.says(Slot::Class) {
                    state.set(Slot::Class, arrival.class());
                }
            }
            VisitEvent::Discharge => {
                let before = state.text(Slot::Status).unwrap_or(ADMITTED).to_owned();
                if before != DISCHARGED {
                    state.set(Slot::StatusBeforeDischarge, before);
                }
                state.set(Slot::Status, DISCHARGED);
                self.set_time(state, Slot::DischargedAt);
            }
            VisitEvent::CancelDischarge => cancel_discharge(state),
            VisitEvent::CancelArrival => state.set(Slot::Status, CANCELLED),
            VisitEvent::Transfer if state.text(Slot::Status).is_none() => state.set(Slot::Status, ADMITTED),
            _ => {}
        }
    }

    /// Sets a time to the time of the event, if PV1 does not say it.
    fn set_time(&self, state: &mut State, slot: Slot) {
        if let Some(at_ms) = self.at_ms.filter(|_| !self.says(slot)) {
            state.set(slot, DateTime::from_millis(at_ms));
        }
    }

    fn says(&self, slot: Slot) -> bool {
        self.changes.iter().any(|change| change.slot == slot)
    }

    fn set_location(&self, state: &mut State) {
        let is_news = |state: &State| self.location.is_some() && self.location.as_ref() != state.location();
        match self.event {
            VisitEvent::Transfer => self.move_on(state),
            VisitEvent::Arrive(_) | VisitEvent::ChangeClass(_) if is_news(state) => self.move_on(state),
            VisitEvent::CancelTransfer => {
                if state.movements.last().is_some_and(|last| last.event == TRANSFER) {
                    state.movements.pop();
                }
                // PV1-3 of A12 is the location before the transfer. If it is not the location of the movement that is
                // now the last one, it is a new movement.
                if is_news(state) {
                    self.move_on(state);
                }
            }
            VisitEvent::Update | VisitEvent::Discharge | VisitEvent::CancelDischarge | VisitEvent::Move
                if is_news(state) =>
            {
                self.correct_location(state);
            }
            _ => {}
        }
    }

    /// Adds a movement. If the message has no location, the location stays the same.
    fn move_on(&self, state: &mut State) {
        let location = self.location.clone().or_else(|| state.location().cloned());
        let source = state.messages.len() - 1;
        state.push_movement(Movement { at_ms: self.at_ms, event: self.name.clone(), location, source });
    }

    /// Replaces the location of the last movement, because the message corrects it.
    fn correct_location(&self, state: &mut State) {
        let source = state.messages.len() - 1;
        match state.movements.last_mut() {
            Some(last) => {
                last.location.clone_from(&self.location);
                last.source = source;
            }
            None => self.move_on(state),
        }
    }
}

/// The patient is here again, with the status from before the discharge.
fn cancel_discharge(state: &mut State) {
    let before = state.text(Slot::StatusBeforeDischarge).unwrap_or(ADMITTED).to_owned();
    if state.text(Slot::Status).is_none_or(|status| status == DISCHARGED) {
        state.set(Slot::Status, RawBson::from(before));
    }
    state.clear(Slot::StatusBeforeDischarge);
    state.clear(Slot::DischargedAt);
    state.clear(Slot::Disposition);
}
