//! Which fields of a record identify the patient.

/// The name of the field with the patient's key. It is the same in all collections, so all documents of a patient can be
/// found by it.
pub(crate) const PATIENT_FIELD: &str = "patient";

/// The name of the field with the key that references to a FHIR Patient give. The document of the Patient has it, so
/// that the documents that refer to the Patient are found.
pub(crate) const PATIENT_REFERENCE_FIELD: &str = "patientReference";

/// The fields from which the patient's key is derived: an identifier, and the authority that assigned it. If they are in
/// a repeating group, the record has several identifiers, and one of them is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientSource {
    /// Index of the field with the identifier.
    pub identifier: usize,
    /// The authority that assigned the identifier.
    pub authority: Authority,
    /// Index of the field with the type of the identifier, for example `MR`.
    pub kind: Option<usize>,
    /// The types that are preferred, the best first. An identifier of another type is chosen only if there is none of
    /// these.
    pub prefer: Vec<String>,
}

/// The authority that assigned an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The field with this index names the authority.
    Field(usize),
    /// All identifiers of the dataset are from this authority.
    Text(String),
    /// The identifier is a reference such as `Patient/17`. The authority of its id is the source system.
    Reference,
}

/// Returns the authority of the ids that a source system gives to its Patient resources.
pub(crate) fn authority_of_references(system: &str) -> String {
    format!("{system}/Patient")
}
