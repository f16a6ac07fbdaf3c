//! Patients: what a step does to the document.

use super::document::State;
use super::fields::Change;
use super::slot::Slot;
use super::{Merge, Order};
use crate::encode::Id;

/// What a message says about a patient.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PatientStep {
    /// The values of PID.
    Update(Vec<Change>),
    /// A40: this record was merged into another one.
    MergeInto(Id),
}

impl PatientStep {
    pub(super) fn apply(self, state: &mut State, order: &Order) {
        match self {
            Self::Update(changes) => state.change(changes),
            Self::MergeInto(into) => {
                let merge = Merge { into, order: order.clone() };
                state.set(Slot::MergedInto, merge.document());
            }
        }
    }
}
