//! Derives the key of the patient from a record.

use super::identity::{Id, IdentityKey};
use crate::clean::{Record, Value};
use crate::spec::patient::PatientSource;
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
        let source = spec.patient.clone()?;
        let field = spec.fields.iter().position(Field::is_patient_key)?;
        let columns = spec.columns();
        let around = columns.iter().find(|column| column.node.fields().contains(&source.identifier))?;
        let Node::Group { children, .. } = around.node else {
            return Some(Self { source, field, identity, group: None });
        };
        let columns = spec.columns_of(children);
        let source = source.placed(|field| columns.iter().position(|column| column.field == field))?;
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
        let chosen = self.source.choose(items, text)?;
        Some(self.identity.patient(chosen.value, chosen.authority()))
    }
}
