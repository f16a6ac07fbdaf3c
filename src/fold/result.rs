//! Results: what a step does to the document.

use std::sync::Arc;

use bson::{RawArrayBuf, RawBson};

use super::document::{State, VALUE_BYTES_MAX};
use super::fields::{Change, Said};
use super::slot::Slot;
use crate::encode::Id;

/// What a message says about a result: one OBX.
#[derive(Debug, Clone)]
pub(super) struct ResultStep {
    pub patient: Option<Id>,
    /// OBX-11 (HL7 table 0085).
    pub status: String,
    /// OBX-5: one text per repetition.
    pub values: Vec<String>,
    /// The values of OBR, which the results of an order share. `None` after the step was packed: `changes` then has all.
    pub of_order: Option<Arc<[Change]>>,
    /// The other values of OBX.
    pub changes: Vec<Change>,
}

/// A step is the same after it was packed, although it then shares no values.
impl PartialEq for ResultStep {
    fn eq(&self, other: &Self) -> bool {
        let values = |step: &Self| (step.patient, step.status.clone(), step.values.clone());
        values(self) == values(other) && self.changes().eq(other.changes())
    }
}

/// The values of a result. They are deleted if the result is cancelled.
const VALUES: [Slot; 3] = [Slot::ValueType, Slot::Value, Slot::Flags];

/// How much a status weighs. A result is not replaced by one that weighs less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Not final, for example `P`.
    Preliminary,
    /// `X`, `D` and `W`: the result is cancelled, deleted or wrong.
    Cancelled,
    /// `F`, `U`, or no status.
    Final,
    /// `C`.
    Correction,
}

fn weight(status: &str) -> Weight {
    match status {
        "C" => Weight::Correction,
        "X" | "D" | "W" => Weight::Cancelled,
        "F" | "U" | "" => Weight::Final,
        _ => Weight::Preliminary,
    }
}

impl ResultStep {
    /// Adds another OBX about the same result in the same message, for example the next line of a report. Its values
    /// are appended. Returns false if it has another status or cancels the result. The OBX then counts as if it were
    /// in a later message.
    pub(super) fn join(&mut self, next: &mut Self) -> bool {
        if self.status != next.status || weight(&self.status) == Weight::Cancelled {
            return false;
        }
        self.values.append(&mut next.values);
        let says = |step: &Self, slot| step.changes().any(|known| known.slot == slot);
        let of_order: Vec<Change> = next.order_changes().filter(|change| !says(self, change.slot)).cloned().collect();
        self.changes.extend(of_order);
        for change in next.changes.drain(..) {
            if !says(self, change.slot) {
                self.changes.push(change);
            }
        }
        true
    }

    fn order_changes(&self) -> impl Iterator<Item = &Change> {
        self.of_order.iter().flat_map(|changes| changes.iter())
    }

    /// Returns the values of OBR, and then those of OBX.
    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.order_changes().chain(&self.changes)
    }

    /// Replaces the value by null if it is too large for the document. So events stay small, and many of them fit in
    /// memory.
    pub(super) fn leave_out_large_values(&mut self) {
        let is_large = match &self.values[..] {
            [] => false,
            [only] => only.len() > VALUE_BYTES_MAX,
            texts => list(texts).as_bytes().len() > VALUE_BYTES_MAX,
        };
        if is_large {
            self.values.clear();
            self.changes.push(Change::to(Slot::Value, RawBson::Null));
        }
    }

    /// A later message replaces the result, with two exceptions: a preliminary result replaces only preliminary ones,
    /// and a final result does not replace a correction. A cancellation always counts.
    pub(super) fn apply(self, state: &mut State) {
        let (new, old) = (weight(&self.status), state.text(Slot::Status).map(weight));
        if new != Weight::Cancelled && old.is_some_and(|old| new < old) {
            return;
        }
        if let Some(patient) = self.patient {
            state.set(Slot::PatientAsSent, patient.to_binary());
        }
        let of_order = self.of_order.iter().flat_map(|changes| changes.iter()).cloned();
        let changes = of_order.chain(self.changes);
        let status = if self.status.is_empty() { "F".to_owned() } else { self.status };
        if new == Weight::Cancelled {
            cancel(state, changes);
        } else {
            // An OBX describes the result completely. So a value that it does not have is deleted.
            for slot in VALUES.into_iter().chain([Slot::Unit, Slot::ReferenceRange]) {
                state.clear(slot);
            }
            state.change(changes);
            match <[String; 1]>::try_from(self.values) {
                Ok([only]) => state.set(Slot::Value, only),
                Err(texts) if texts.is_empty() => {}
                Err(texts) => state.set(Slot::Value, list(texts)),
            }
        }
        state.set(Slot::Status, status);
    }
}

/// Keeps what was ordered, and deletes what was found.
fn cancel(state: &mut State, changes: impl Iterator<Item = Change>) {
    let is_order = |change: &Change| !VALUES.contains(&change.slot) && matches!(change.to, Said::Is(_));
    state.change(changes.filter(is_order));
    for slot in VALUES {
        state.clear(slot);
    }
}

/// Returns a list of texts.
pub(super) fn list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> RawArrayBuf {
    let mut list = RawArrayBuf::new();
    texts.into_iter().for_each(|text| list.push(text.as_ref()));
    list
}
