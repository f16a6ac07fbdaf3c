//! Derives the key of the patient from a record.

use super::identity::{Id, IdentityKey};
use crate::clean::{Record, Value};
use crate::spec::patient::{Authority, PatientSource};
use crate::spec::{Field, Node, Spec};

/// Finds the patient's identifier in the records of a spec.
#[derive(Debug, Clone)]
pub(crate) struct PatientKey {
    /// The fields, as indices into the values of a record, or of an item of the group.
    source: PatientSource,
    /// Index of the field with the key.
    field: usize,
    identity: IdentityKey,
    /// The repeating group that contains the identifiers: its first field, and the number of its columns. `None` if a
    /// record has one identifier.
    group: Option<(usize, usize)>,
}

impl PatientKey {
    /// Returns `None` if the spec does not say who the patient is. `identity` is the key of the hash from which the
    /// patient's key is made.
    pub(crate) fn new(spec: &Spec, identity: &IdentityKey) -> Option<Self> {
        let identity = identity.clone();
        let mut source = spec.patient.clone()?;
        let field = spec.fields.iter().position(Field::is_patient_key)?;
        let columns = spec.columns();
        let around = columns.iter().find(|column| column.node.fields().contains(&source.identifier))?;
        let Node::Group { children, .. } = around.node else {
            return Some(Self { source, field, identity, group: None });
        };
        let columns = spec.columns_of(children);
        let place = |field: usize| columns.iter().position(|column| column.field == field);
        source.identifier = place(source.identifier)?;
        source.kind = source.kind.and_then(place);
        if let Authority::Field(field) = &mut source.authority {
            *field = place(*field)?;
        }
        Some(Self { source, field, identity, group: Some((around.field, columns.len())) })
    }

    /// Sets the patient's key in a record. It stays null if the record has no identifier.
    pub(crate) fn set(&self, record: &mut Record) {
        if let Some(key) = self.derive(record) {
            record.values[self.field] = Value::Uuid(key.0);
        }
    }

    fn derive(&self, record: &Record) -> Option<Id> {
        let text = |values: &[Value], field: usize| match values.get(field)? {
            Value::Text(range) => Some(record.text(range)),
            _ => None,
        };
        let items = match self.group {
            None => record.values.chunks(record.values.len().max(1)),
            Some((first, width)) => match &record.values[first] {
                Value::Items(range) => record.items(range).chunks(width),
                _ => return None,
            },
        };
        let rank = |item: &&[Value]| {
            let kind = self.source.kind.and_then(|kind| text(item, kind)).unwrap_or_default();
            self.source.prefer.iter().position(|wanted| wanted == kind).unwrap_or(usize::MAX)
        };
        // Of several identifiers with the same rank, `min_by_key` returns the first.
        let chosen = items.filter(|item| text(item, self.source.identifier).is_some()).min_by_key(rank)?;
        let authority = match &self.source.authority {
            Authority::Field(field) => text(chosen, *field).unwrap_or_default(),
            Authority::Text(name) => name,
        };
        Some(self.identity.derive("patient", &[text(chosen, self.source.identifier)?, authority]))
    }
}
