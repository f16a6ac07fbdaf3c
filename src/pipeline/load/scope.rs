//! One process can execute a load alone. Or several workers execute it: the load is then divided into parts.

use super::OtherParts;
use crate::error::Error;
use crate::ledger::{LoadDocument, OfManifest, PartOf, SourceIdentity, TargetState};
use crate::pipeline::manifest::changed;
use crate::pipeline::plan::Plan;

/// The piece of a load that this process executes.
#[derive(Debug, Clone)]
pub(in crate::pipeline) enum Scope {
    /// The whole load, from its beginning to its end. The load is not divided into parts.
    Alone,
    /// One part of a load.
    Part(PartScope),
    /// The beginning or the end of a load that is divided into parts.
    Whole(WholeScope),
}

/// One part of a load.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct PartScope {
    pub(in crate::pipeline) of: PartOf,
    /// The sources of the part, with the versions in the manifest.
    pub(in crate::pipeline) sources: Vec<SourceIdentity>,
    /// The states of the collections in the ledger document of the whole load.
    pub(in crate::pipeline) whole: Vec<TargetState>,
    /// Whether the load has only this part.
    pub(in crate::pipeline) is_only: bool,
    /// The counts of the other parts.
    pub(in crate::pipeline) others: OtherParts,
}

/// A load that is divided into parts.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct WholeScope {
    pub(in crate::pipeline) of: OfManifest,
    /// All sources of the table, with the versions in the manifest.
    pub(in crate::pipeline) sources: Vec<SourceIdentity>,
}

impl Scope {
    /// Returns the sources with the versions in the manifest. Returns an empty list if the load has no manifest. For a
    /// part, first compares these versions with the present ones.
    ///
    /// # Errors
    /// A source of the part cannot be read, or was changed after the manifest was made.
    pub(super) fn sources(&self, plan: &Plan) -> Result<Vec<SourceIdentity>, Error> {
        match self {
            Self::Alone => Ok(Vec::new()),
            Self::Whole(whole) => Ok(whole.sources.clone()),
            Self::Part(part) => {
                let found = tokio::task::block_in_place(|| plan.identities())?;
                let same = |(found, pinned): (&SourceIdentity, &SourceIdentity)| found.version == pinned.version;
                match found.iter().zip(&part.sources).find(|pair| !same(*pair)) {
                    None => Ok(part.sources.clone()),
                    Some((other, _)) => Err(changed(&other.name)),
                }
            }
        }
    }

    /// Corrects `first_load` in the states of a part. A part is a first load only if it is the only part of its load.
    /// If the load has several parts, other workers may write into the same collection, even if it is empty now.
    pub(super) fn adapt(&self, states: &mut [TargetState]) {
        if let Self::Part(part) = self {
            for (state, whole) in states.iter_mut().zip(&part.whole) {
                state.first_load = state.first_load && part.is_only && whole.first_load;
            }
        }
    }

    /// Writes into the ledger document which part or which manifest it describes. A part also gets its own `_id` and
    /// key.
    pub(super) fn mark(&self, document: &mut LoadDocument) {
        match self {
            Self::Alone => {}
            Self::Part(part) => {
                document.id = part.of.document_id();
                document.key = part.of.key();
                document.part = Some(part.of.clone());
            }
            Self::Whole(whole) => document.manifest = Some(whole.of.clone()),
        }
    }

    /// Returns the counts of the other parts. They are empty if this is not a part.
    pub(super) fn others(&self) -> OtherParts {
        match self {
            Self::Part(part) => part.others.clone(),
            Self::Alone | Self::Whole(_) => OtherParts::default(),
        }
    }

    pub(super) const fn is_part(&self) -> bool {
        matches!(self, Self::Part(_))
    }
}

impl PartScope {
    /// Describes part `number` of the load `whole`.
    pub(in crate::pipeline) fn new(whole: &LoadDocument, number: u32, sources: Vec<SourceIdentity>) -> Self {
        let is_only = whole.manifest.as_ref().is_some_and(|manifest| manifest.parts.len() == 1);
        let (of, others) = (PartOf { load: whole.id, number }, OtherParts::default());
        Self { of, sources, whole: whole.targets(), is_only, others }
    }
}
