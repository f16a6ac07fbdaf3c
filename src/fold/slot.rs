//! The fields of the state documents, in the order of the documents.

use bson::raw::{CStr, cstr};

/// A field whose value comes from a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    // Visits and results: the patient key of the message. `patient` is the same key after merges.
    PatientAsSent,
    // Patients. The value of `MergedInto` is a document: the other patient, and the order of the message.
    MergedInto,
    Identifiers,
    Name,
    BirthDate,
    Sex,
    Address,
    Phone,
    Language,
    MaritalStatus,
    Account,
    DiedAt,
    IsDead,
    // Visits.
    Visit,
    Number,
    MovedTo,
    Status,
    StatusBeforeDischarge,
    Admission,
    AdmittedAt,
    DischargedAt,
    Disposition,
    Class,
    AdmissionType,
    Service,
    Attending,
    // Results. They have `Visit` and `Status`, too.
    PlacerOrder,
    FillerOrder,
    Panel,
    Code,
    SubId,
    ObservedAt,
    ValueType,
    Value,
    Unit,
    ReferenceRange,
    Flags,
}

impl Slot {
    /// The number of slots.
    pub(super) const COUNT: usize = 37;

    const ALL: [Self; Self::COUNT] = [
        Self::PatientAsSent,
        Self::MergedInto,
        Self::Identifiers,
        Self::Name,
        Self::BirthDate,
        Self::Sex,
        Self::Address,
        Self::Phone,
        Self::Language,
        Self::MaritalStatus,
        Self::Account,
        Self::DiedAt,
        Self::IsDead,
        Self::Visit,
        Self::Number,
        Self::MovedTo,
        Self::Status,
        Self::StatusBeforeDischarge,
        Self::Admission,
        Self::AdmittedAt,
        Self::DischargedAt,
        Self::Disposition,
        Self::Class,
        Self::AdmissionType,
        Self::Service,
        Self::Attending,
        Self::PlacerOrder,
        Self::FillerOrder,
        Self::Panel,
        Self::Code,
        Self::SubId,
        Self::ObservedAt,
        Self::ValueType,
        Self::Value,
        Self::Unit,
        Self::ReferenceRange,
        Self::Flags,
    ];

    /// Returns the name of the field.
    pub(super) const fn name(self) -> &'static CStr {
        match self {
            Self::PatientAsSent => cstr!("patientAsSent"),
            Self::MergedInto => cstr!("mergedInto"),
            Self::Identifiers => cstr!("identifiers"),
            Self::Name => cstr!("name"),
            Self::BirthDate => cstr!("birthDate"),
            Self::Sex => cstr!("sex"),
            Self::Address => cstr!("address"),
            Self::Phone => cstr!("phone"),
            Self::Language => cstr!("language"),
            Self::MaritalStatus => cstr!("maritalStatus"),
            Self::Account => cstr!("account"),
            Self::DiedAt => cstr!("diedAt"),
            Self::IsDead => cstr!("dead"),
            Self::Visit => cstr!("visit"),
            Self::Number => cstr!("number"),
            Self::MovedTo => cstr!("movedTo"),
            Self::Status => cstr!("status"),
            Self::StatusBeforeDischarge => cstr!("statusBeforeDischarge"),
            Self::Admission => cstr!("admission"),
            Self::AdmittedAt => cstr!("admittedAt"),
            Self::DischargedAt => cstr!("dischargedAt"),
            Self::Disposition => cstr!("disposition"),
            Self::Class => cstr!("class"),
            Self::AdmissionType => cstr!("admissionType"),
            Self::Service => cstr!("service"),
            Self::Attending => cstr!("attending"),
            Self::PlacerOrder => cstr!("placerOrder"),
            Self::FillerOrder => cstr!("fillerOrder"),
            Self::Panel => cstr!("panel"),
            Self::Code => cstr!("code"),
            Self::SubId => cstr!("subId"),
            Self::ObservedAt => cstr!("observedAt"),
            Self::ValueType => cstr!("valueType"),
            Self::Value => cstr!("value"),
            Self::Unit => cstr!("unit"),
            Self::ReferenceRange => cstr!("referenceRange"),
            Self::Flags => cstr!("flags"),
        }
    }

    /// Returns the name of the field with the precision, if the value is a time.
    pub(super) const fn precision_name(self) -> Option<&'static CStr> {
        Some(match self {
            Self::BirthDate => cstr!("birthDatePrecision"),
            Self::DiedAt => cstr!("diedAtPrecision"),
            Self::AdmittedAt => cstr!("admittedAtPrecision"),
            Self::DischargedAt => cstr!("dischargedAtPrecision"),
            Self::ObservedAt => cstr!("observedAtPrecision"),
            _ => return None,
        })
    }

    /// Returns the slot with this number.
    pub(super) fn at(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Returns the slot with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.name().as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_is_listed_once_and_found_by_its_name() {
        for (place, slot) in Slot::ALL.into_iter().enumerate() {
            assert_eq!((slot as usize, Slot::named(slot.name().as_str())), (place, Some(slot)));
            assert_eq!(Slot::at(place as u8), Some(slot));
        }
        assert_eq!(Slot::ALL.last().map(|slot| *slot as usize), Some(Slot::Flags as usize));
    }
}
