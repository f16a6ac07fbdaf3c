//! Which fields of a record identify the patient.

/// The name of the field with the patient's key. It is the same in all collections, so all documents of a patient can
/// be found by it.
pub(crate) const PATIENT_FIELD: &str = "patient";

/// The name of a field in the documents of FHIR Patients. The field contains a key that is made from the Patient's id.
/// Documents that refer to the Patient, for example by `Patient/17`, have the same key in their field `patient`. They
/// can be found by this key.
pub(crate) const PATIENT_REFERENCE_FIELD: &str = "patientReference";

/// The fields from which the patient's key is derived: an identifier, and the authority that assigned it. If they are
/// in a repeating group, the record has several identifiers, and one of them is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientSource {
    /// Index of the field with the identifier.
    pub identifier: usize,
    /// The authority that assigned the identifier.
    pub authority: Authority,
    /// Index of the field with the type of the identifier, for example `MR`.
    pub kind: Option<usize>,
    /// The types that are preferred, the best first. An identifier of another type is chosen only if there is no
    /// identifier of a preferred type.
    pub prefer: Vec<String>,
}

/// The authority that assigned an identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authority {
    /// The fields with these indices name the authority. The first one with a value counts.
    Fields(Vec<usize>),
    /// All identifiers of the dataset are from this authority.
    Text(String),
    /// The identifier is a reference such as `Patient/17`. The authority of its id is the source system.
    Reference,
}

/// Returns the authority of the ids that a source system gives to its Patient resources.
pub(crate) fn authority_of_references(system: &str) -> String {
    format!("{system}/Patient")
}

/// An identifier that stands for a patient.
pub(crate) struct Chosen<'s, T> {
    pub value: T,
    /// The authority in the record.
    stated: Option<T>,
    /// The authority in the spec, or an empty text.
    fixed: &'s str,
}

impl<T: AsRef<str>> Chosen<'_, T> {
    /// Returns the authority. It is empty if nothing names it.
    pub(crate) fn authority(&self) -> &str {
        self.stated.as_ref().map_or(self.fixed, AsRef::as_ref)
    }
}

impl PatientSource {
    /// Chooses the identifier that stands for the patient. Identifiers without a value are ignored. Of the others, the
    /// first one of the most preferred type is chosen. `items` are the places that can have an identifier, and `text`
    /// returns the value of a field at such a place.
    ///
    /// A load and `fold` must choose the same identifier for a patient, so both use this function.
    pub(crate) fn choose<I: Copy, T: AsRef<str>>(
        &self,
        items: impl Iterator<Item = I>,
        text: impl Fn(I, usize) -> Option<T>,
    ) -> Option<Chosen<'_, T>> {
        let rank = |(item, _): &(I, T)| {
            let kind = self.kind.and_then(|kind| text(*item, kind));
            let kind = kind.as_ref().map_or("", AsRef::as_ref);
            self.prefer.iter().position(|wanted| wanted == kind).unwrap_or(usize::MAX)
        };
        let with_value = items.filter_map(|item| Some((item, text(item, self.identifier)?)));
        // Of several identifiers with the same rank, `min_by_key` returns the first.
        let (item, value) = with_value.min_by_key(rank)?;
        Some(match &self.authority {
            Authority::Fields(fields) => {
                Chosen { value, stated: fields.iter().find_map(|&field| text(item, field)), fixed: "" }
            }
            Authority::Text(name) => Chosen { value, stated: None, fixed: name },
            Authority::Reference => Chosen { value, stated: None, fixed: "" },
        })
    }

    /// Returns the indices of all fields that are read to choose an identifier.
    pub(crate) fn fields(&self) -> impl Iterator<Item = usize> {
        let of_authority: &[usize] = match &self.authority {
            Authority::Fields(fields) => fields,
            Authority::Text(_) | Authority::Reference => &[],
        };
        std::iter::once(self.identifier).chain(self.kind).chain(of_authority.iter().copied())
    }

    /// Returns a copy in which each field index is replaced by the result of `place`. Returns `None` if `place` returns
    /// `None` for one of the fields.
    pub(crate) fn placed(&self, place: impl Fn(usize) -> Option<usize>) -> Option<Self> {
        let authority = match &self.authority {
            Authority::Fields(fields) => {
                Authority::Fields(fields.iter().map(|&field| place(field)).collect::<Option<_>>()?)
            }
            other => other.clone(),
        };
        let kind = match self.kind {
            Some(kind) => Some(place(kind)?),
            None => None,
        };
        Some(Self { identifier: place(self.identifier)?, authority, kind, prefer: self.prefer.clone() })
    }
}
