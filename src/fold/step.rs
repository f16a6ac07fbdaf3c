//! A step: what a message says about one document. The readers of all types of messages use this module.

use super::Order;
use super::fields::{Change, Fields, Said};
use super::identifier::PatientRule;
use super::patient::PatientStep;
use super::result::ResultStep;
use super::visit::VisitStep;
use crate::encode::IdentityKey;
use crate::parse::hl7::{Element, Message, Segment, SegmentId};

/// What a message says about one document.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Patient(PatientStep),
    Visit(Box<VisitStep>),
    Result(Box<ResultStep>),
}

/// Most segments have no more fields.
const FIELDS: usize = 32;

/// The fields of a segment. It is faster than the segment if many fields are read.
pub(super) struct Row<'m> {
    fields: Vec<Element<'m>>,
    empty: Element<'m>,
}

impl<'m> Row<'m> {
    pub(super) fn of(segment: Segment<'m>) -> Self {
        let mut fields = Vec::with_capacity(FIELDS);
        fields.extend(segment.fields());
        Self { fields, empty: segment.field(usize::MAX) }
    }

    /// Returns the field with this number, from 1. The field is empty if the segment ends before it.
    pub(super) fn field(&self, number: usize) -> Element<'m> {
        self.fields.get(number - 1).copied().unwrap_or(self.empty)
    }
}

impl Step {
    /// Adds the next step of the same message about the same document. Returns false if it stays a step of its own.
    pub(super) fn join(&mut self, next: &mut Self) -> bool {
        match (self, next) {
            (Self::Result(step), Self::Result(next)) => step.join(next),
            _ => false,
        }
    }

    /// Leaves out a value that is too large for a document of the state, for example a PDF.
    pub(super) fn leave_out_large_values(&mut self) {
        if let Self::Result(step) = self {
            step.leave_out_large_values();
        }
    }
}

/// What the steps of a message have in common.
pub(super) struct Context<'m> {
    pub message: Message<'m>,
    pub fields: Fields,
    pub identity: &'m IdentityKey,
    pub rule: &'m PatientRule,
    pub order: &'m Order,
}

impl<'m> Context<'m> {
    /// Returns the first segment with this name.
    pub(super) fn first(&self, name: &str) -> Option<Segment<'m>> {
        named(self.message, name)
    }
}

/// Returns the first segment with this name.
pub(super) fn named<'m>(message: Message<'m>, name: &str) -> Option<Segment<'m>> {
    message.first(SegmentId::new(name)?)
}

/// Appends a change if it says something.
pub(super) fn note(changes: &mut Vec<Change>, change: Change) {
    if change.to != Said::Nothing {
        changes.push(change);
    }
}
