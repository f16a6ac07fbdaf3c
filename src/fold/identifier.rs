//! Chooses the identifier that stands for a patient.

use super::keys::Identifier;
use crate::parse::hl7::{Element, Path};
use crate::spec::{self, Spec};

/// Which identifier of a message stands for the patient. It is the `[patient]` table of the spec, so messages and state
/// have the same keys.
#[derive(Debug, Clone)]
pub(crate) struct PatientRule {
    /// The number of the field of PID.
    field: usize,
    /// The parts of a repetition of this field. The same parts are read in MRG-1.
    value: Path,
    authority: Authority,
    kind: Option<Path>,
    /// The preferred types of identifiers, the best first. The first identifier of another type is chosen only if there
    /// is none of these.
    prefer: Vec<String>,
}

#[derive(Debug, Clone)]
enum Authority {
    Part(Path),
    Text(String),
}

impl PatientRule {
    /// Returns the rule of a spec. Returns `None` if the spec does not say who the patient is, or does not take the
    /// identifier from PID.
    pub(crate) fn of(spec: &Spec) -> Option<Self> {
        let source = spec.patient.as_ref()?;
        let path = |field: usize| Path::parse(&spec.fields[field].column).ok();
        let value = path(source.identifier)?;
        let authority = match &source.authority {
            spec::patient::Authority::Field(field) => Authority::Part(path(*field)?),
            spec::patient::Authority::Text(name) => Authority::Text(name.clone()),
            // Only FHIR resources have references.
            spec::patient::Authority::Reference => return None,
        };
        let field = value.field.filter(|_| value.segment.as_str() == "PID")?.into();
        let kind = source.kind.and_then(path);
        Some(Self { field, value, authority, kind, prefer: source.prefer.clone() })
    }

    /// Returns the field of PID that contains the identifiers.
    pub(super) const fn field(&self) -> usize {
        self.field
    }

    /// Returns the identifier that stands for the patient. `field` is the field with all identifiers, and `text` decodes
    /// a part.
    pub(super) fn choose(
        &self,
        field: Element<'_>,
        text: impl Fn(Element<'_>) -> Option<String>,
    ) -> Option<Identifier> {
        let rank = |(repetition, _): &(Element<'_>, String)| {
            let kind = self.kind.and_then(|kind| text(repetition.find(&kind))).unwrap_or_default();
            self.prefer.iter().position(|wanted| *wanted == kind).unwrap_or(usize::MAX)
        };
        let with_value = |repetition: Element<'_>| text(repetition.find(&self.value));
        let identifiers = field.children().filter_map(|one| Some((one, with_value(one)?)));
        // Of several identifiers with the same rank, `min_by_key` returns the first.
        let (repetition, value) = identifiers.min_by_key(rank)?;
        let authority = match &self.authority {
            Authority::Part(part) => text(repetition.find(part)).unwrap_or_default(),
            Authority::Text(name) => name.clone(),
        };
        Some(Identifier { value, authority })
    }
}
