//! Chooses the identifier that stands for a patient.

use super::keys::Identifier;
use crate::parse::hl7::{Element, Path};

/// Which identifier of a message stands for the patient. It is the rule from which the spec's field `patient` is made,
/// so that messages and state have the same keys.
#[derive(Debug, Clone)]
pub(crate) struct PatientRule {
    /// The number of the field of PID.
    pub field: usize,
    /// The parts of a repetition of this field. The same parts are read in MRG-1.
    pub value: Path,
    pub authority: Path,
    pub kind: Path,
    /// The preferred types of identifiers, the best first. The first identifier of another type is chosen only if there
    /// is none of these.
    pub prefer: Vec<String>,
}

impl Default for PatientRule {
    fn default() -> Self {
        let path = |text| Path::parse(text).expect("the path is well-formed");
        let (value, authority, kind) = (path("PID-3.1"), path("PID-3.4.1"), path("PID-3.5"));
        Self { field: 3, value, authority, kind, prefer: vec!["MR".to_owned()] }
    }
}

impl PatientRule {
    /// Returns the identifier that stands for the patient. `field` is the field with all identifiers, and `text` decodes
    /// a part.
    pub(super) fn choose(
        &self,
        field: Element<'_>,
        text: impl Fn(Element<'_>) -> Option<String>,
    ) -> Option<Identifier> {
        let rank = |(repetition, _): &(Element<'_>, String)| {
            let kind = text(repetition.find(&self.kind)).unwrap_or_default();
            self.prefer.iter().position(|wanted| *wanted == kind).unwrap_or(usize::MAX)
        };
        let with_value = |repetition: Element<'_>| text(repetition.find(&self.value));
        let identifiers = field.children().filter_map(|one| Some((one, with_value(one)?)));
        // Of several identifiers with the same rank, `min_by_key` returns the first.
        let (repetition, value) = identifiers.min_by_key(rank)?;
        let authority = text(repetition.find(&self.authority)).unwrap_or_default();
        Some(Identifier { value, authority })
    }
}
