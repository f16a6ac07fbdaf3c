//! Derives the key of the patient from a record.

use super::identity::{Id, IdentityKey};
use crate::clean::{Record, Value};
use crate::spec::patient::{Authority, PATIENT_REFERENCE_FIELD, PatientSource, authority_of_references};
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
    /// The name of the authority for identifiers that are references to FHIR Patients, or ids of FHIR Patients.
    authority: String,
    /// Only for FHIR Patients: the index of the field `patientReference`, and of the field with the Patient's id. The
    /// key in `patientReference` is made from this id.
    own: Option<(usize, usize)>,
}

impl PatientKey {
    /// Returns `None` if the spec does not say who the patient is. `identity` is the key of the hash from which the
    /// patient's key is made.
    pub(crate) fn new(spec: &Spec, identity: &IdentityKey) -> Option<Self> {
        let identity = identity.clone();
        let source = spec.patient.clone()?;
        let is_reference_key = |field: &Field| field.name == PATIENT_REFERENCE_FIELD;
        let field = spec.fields.iter().position(|field| field.is_patient_key() && !is_reference_key(field))?;
        let reference_key = spec.fields.iter().position(|field| field.is_patient_key() && is_reference_key(field));
        let own = reference_key.zip(spec.fields.iter().position(|field| field.column == "@id"));
        let authority = authority_of_references(spec.system());
        let columns = spec.columns();
        let around = columns.iter().find(|column| column.node.fields().contains(&source.identifier))?;
        let Node::Group { children, .. } = around.node else {
            return Some(Self { source, field, identity, group: None, authority, own });
        };
        let columns = spec.columns_of(children);
        let source = source.placed(|field| columns.iter().position(|column| column.field == field))?;
        Some(Self { source, field, identity, group: Some((around.field, columns.len())), authority, own })
    }

    /// Sets the patient's key in a record. It stays null if the record has no identifier.
    pub(crate) fn set(&self, record: &mut Record) {
        let mut key = self.derive(record);
        if let Some((field, id)) = self.own
            && let Value::Text(id) = &record.values[id]
        {
            let own = self.identity.patient(record.text(id), &self.authority);
            record.values[field] = Value::Uuid(own.0);
            // If the Patient has no identifier, both fields get the same key.
            key = key.or(Some(own));
        }
        if let Some(key) = key {
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
        if self.source.authority == Authority::Reference {
            // A reference can also lead to a group or a device. The record then belongs to no patient.
            let id = chosen.value.strip_prefix("Patient/")?;
            return Some(self.identity.patient(id, &self.authority));
        }
        Some(self.identity.patient(chosen.value, chosen.authority()))
    }
}
