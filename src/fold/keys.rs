//! The keys of patients, visits and results: UUIDs that are derived from the identifiers that messages carry.

use crate::encode::{Id, IdentityKey};

/// What a document of the state describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A person. The key is made from an identifier.
    Patient,
    /// A stay or an outpatient contact. The key is made from its number.
    Visit,
    /// An observation. The key is made from the order and the code.
    Result,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Patient, Self::Visit, Self::Result];

    /// Returns the name of the collection.
    pub const fn collection(self) -> &'static str {
        match self {
            Self::Patient => "patients",
            Self::Visit => "visits",
            Self::Result => "results",
        }
    }
}

/// Returns the names of the collections with the documents of the state: `patients`, `visits` and `results`. They are
/// in the database of the messages.
pub fn collections() -> [&'static str; 3] {
    Kind::ALL.map(Kind::collection)
}

/// Returns the name of the collection that notes which messages are folded. `messages` is the name of the collection
/// with the messages.
pub fn notes_of(messages: &str) -> String {
    format!("{messages}.folded")
}

/// The key of a document of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The kind of the document.
    pub kind: Kind,
    /// The document's `_id`.
    pub id: Id,
}

/// An identifier, and the authority that assigned it. The authority is empty if the message does not name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identifier {
    /// The identifier.
    pub value: String,
    /// The authority.
    pub authority: String,
}

impl Identifier {
    /// Returns the key of the visit with this number. `field` is the field of the message, because a visit number and
    /// an account number can be equal.
    pub(super) fn visit(&self, field: &str, identity: &IdentityKey) -> Id {
        identity.derive("visit", &[field, &self.value, &self.authority])
    }
}

/// What identifies the order of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OrderNumber<'a> {
    /// The number that the laboratory gave (OBR-3 or ORC-3).
    Filler(&'a Identifier),
    /// The number that the ward gave (OBR-2 or ORC-2).
    Placer(&'a Identifier),
    /// There is no number. The patient, the panel (OBR-4) and the time of the observation (OBR-7) stand for it.
    None { patient: Id, panel: &'a str, observed: &'a str },
}

impl OrderNumber<'_> {
    /// Returns the key of the result with this code (OBX-3: code and coding system) and this sub-id (OBX-4).
    pub(super) fn result(&self, code: &str, system: &str, sub_id: &str, identity: &IdentityKey) -> Id {
        let patient_text;
        let [kind, value, authority, more] = match self {
            Self::Filler(Identifier { value, authority }) => ["filler", value, authority, ""],
            Self::Placer(Identifier { value, authority }) => ["placer", value, authority, ""],
            Self::None { patient, panel, observed } => {
                patient_text = patient.to_string();
                ["none", &patient_text, panel, observed]
            }
        };
        identity.derive("result", &[kind, value, authority, more, code, system, sub_id])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_part_of_an_identifier_is_part_of_the_key() {
        let none = IdentityKey::default();
        let secret = IdentityKey::from_secret("a secret of thirty-two characters");
        let identifier = |value: &str, authority: &str| Identifier { value: value.into(), authority: authority.into() };
        let (one, other) = (identifier("1", "A"), identifier("1", "B"));
        let patient = none.patient("1", "A");
        let by_time = |observed| OrderNumber::None { patient, panel: "CBC", observed };
        let keys = [
            patient,
            secret.patient("1", "A"),
            none.patient("1", "B"),
            none.patient("1A", ""),
            one.visit("PV1-19", &none),
            one.visit("PID-18", &none),
            OrderNumber::Filler(&one).result("c", "s", "", &none),
            OrderNumber::Placer(&one).result("c", "s", "", &none),
            OrderNumber::Filler(&other).result("c", "s", "", &none),
            OrderNumber::Filler(&one).result("c", "s", "1", &none),
            OrderNumber::Filler(&one).result("c", "", "s", &none),
            by_time("2026").result("c", "s", "", &none),
            by_time("2027").result("c", "s", "", &none),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert!(keys.iter().all(|id| id.0[6] >> 4 == 8), "UUIDs of version 8");
    }
}
