//! A load can be executed by one process, or it can be divided into parts for several workers.

use crate::error::Error;
use crate::ledger::{LoadDocument, OfManifest, PartOf, SourceIdentity, TargetState};
use crate::pipeline::plan::Plan;

/// What this process executes.
#[derive(Debug, Clone)]
pub(in crate::pipeline) enum Scope {
    /// A load, from its beginning to its end.
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
    /// The sources according to the manifest.
    pub(in crate::pipeline) sources: Vec<SourceIdentity>,
    /// The states of the whole load's collections.
    pub(in crate::pipeline) whole: Vec<TargetState>,
    /// Whether the load has only this part.
    pub(in crate::pipeline) is_only: bool,
}

/// A load that is divided into parts.
#[derive(Debug, Clone)]
pub(in crate::pipeline) struct WholeScope {
    pub(in crate::pipeline) of: OfManifest,
    /// The sources according to the manifest.
    pub(in crate::pipeline) sources: Vec<SourceIdentity>,
}

impl Scope {
    /// Returns the sources of the load if the manifest names them.
    ///
    /// # Errors
    /// The sources of a part cannot be read, or were changed after the manifest was made.
    pub(super) fn sources(&self, plan: &Plan) -> Result<Vec<SourceIdentity>, Error> {
        match self {
            Self::Alone => Ok(Vec::new()),
            Self::Whole(whole) => Ok(whole.sources.clone()),
            Self::Part(part) => {
                let found = tokio::task::block_in_place(|| plan.identities())?;
                let same = |(found, pinned): (&SourceIdentity, &SourceIdentity)| found.version == pinned.version;
                match found.iter().zip(&part.sources).find(|pair| !same(*pair)) {
                    None => Ok(part.sources.clone()),
                    Some((changed, _)) => Err(Error::Stopped(format!(
                        "{} was changed after the manifest was made; nothing of this part was written; make the \
                         manifest again with `medlift plan`",
                        changed.name
                    ))),
                }
            }
        }
    }

    /// Corrects what was found in the collections. Another worker may already have written into a collection that was
    /// empty when the load began. If there is only one part, the part can count like a load.
    pub(super) fn adapt(&self, states: &mut [TargetState]) {
        if let Self::Part(part) = self {
            for (state, whole) in states.iter_mut().zip(&part.whole) {
                state.first_load = state.first_load && part.is_only && whole.first_load;
            }
        }
    }

    /// Writes into the load's document which part or which manifest it belongs to.
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

    pub(super) const fn is_part(&self) -> bool {
        matches!(self, Self::Part(_))
    }
}

impl PartScope {
    /// Describes part `number` of the load `whole`.
    pub(in crate::pipeline) fn new(whole: &LoadDocument, number: u32, sources: Vec<SourceIdentity>) -> Self {
        let is_only = whole.manifest.as_ref().is_some_and(|manifest| manifest.parts.len() == 1);
        Self { of: PartOf { load: whole.id, number }, sources, whole: whole.targets(), is_only }
    }
}
