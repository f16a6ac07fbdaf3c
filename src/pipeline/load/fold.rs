//! The fold at the end of a load of HL7 v2 messages. The load is complete before the fold begins, so a problem of the fold
//! is a part of the summary and not an error of the load.

use std::sync::Arc;

use super::{Load, LoadOptions, LoadTarget, wait, writing};
use crate::deployment::Privileges;
use crate::error::Error;
use crate::fold::shell::{self, FoldError, Folded, Job};
use crate::fold::{collections, notes_of};
use crate::pipeline::plan::Plan;
use crate::pipeline::stages::Interrupt;
use crate::report::fold::FoldSummary;
use crate::report::{Phase, Progress};
use crate::server::{ServerError, Target};
use crate::spec::{FormatName, Spec};

/// What a user must be permitted to do in the collections of the fold.
const ACTIONS: [&str; 4] = ["find", "insert", "update", "remove"];

/// What a load folds at its end.
#[derive(Debug, Clone)]
pub(super) enum Folding {
    /// The sources are not HL7 v2 messages.
    None,
    /// The messages are not folded, for this reason.
    Not(String),
    /// The messages of the kind with this index are folded.
    Kind(usize),
}

impl Folding {
    /// Decides what the load folds, before it writes anything.
    ///
    /// # Errors
    /// The messages cannot be folded in this database.
    pub(super) async fn plan(plan: &Plan, targets: &[LoadTarget<'_>], options: &LoadOptions) -> Result<Self, Error> {
        if plan.spec.source.format != Some(FormatName::Hl7) {
            return Ok(Self::None);
        }
        if !options.fold {
            return Ok(Self::Not("--no-fold was given; `medlift fold` does it".into()));
        }
        let mut unfit = None;
        for (kind, lane) in targets.iter().enumerate() {
            match shell::refuse_unfit(&lane.target, lane.spec, &plan.key, lane.is_new(options).await?).await {
                Ok(()) => return Self::if_permitted(kind, &lane.target).await,
                Err(error) if error.is_of_spec() => unfit = unfit.or(Some(error.to_string())),
                Err(error) => return Err(Error::from(error)),
            }
        }
        Ok(Self::Not(unfit.unwrap_or_default()))
    }

    /// If the user may not write the state, the messages are loaded but not folded.
    async fn if_permitted(kind: usize, target: &Target) -> Result<Self, Error> {
        let privileges = Privileges::read(target).await.map_err(|failure| {
            let doing = "read the privileges of the user".to_owned();
            ServerError::Command { doing, failure }
        })?;
        let notes = notes_of(&target.collection);
        for collection in collections().into_iter().chain([notes.as_str()]) {
            let forbids = |action: &&str| privileges.forbid(action, &target.database, collection);
            if let Some(action) = ACTIONS.into_iter().find(forbids) {
                return Ok(Self::Not(format!(
                    "this user has no permission to {action} in {}.{collection}; `medlift provision` gives it, and \
                     `medlift fold` then folds the messages",
                    target.database
                )));
            }
        }
        Ok(Self::Kind(kind))
    }
}

impl LoadTarget<'_> {
    /// Returns true if all documents of the collection will be from this load.
    async fn is_new(&self, options: &LoadOptions) -> Result<bool, Error> {
        Ok(options.drop || self.bulk.is_empty().await.map_err(writing)?)
    }
}

impl Load<'_> {
    /// Folds the messages that are stored and not folded yet. Returns `None` if the sources are not HL7 v2 messages.
    pub(super) async fn fold(&self, interrupt: &Interrupt, progress: &Progress) -> Option<FoldSummary> {
        let kind = match &self.folding {
            Folding::None => return None,
            Folding::Not(reason) => return Some(FoldSummary::not_folded(reason.clone(), false)),
            Folding::Kind(kind) => *kind,
        };
        let (spec, target) = (self.targets[kind].spec, &self.targets[kind].target);
        Some(match self.fold_patiently(spec, target, interrupt, progress).await {
            Ok(Some(folded)) => folded.into(),
            Ok(None) => FoldSummary::not_folded(advice("interrupted"), true),
            Err(error) => FoldSummary::not_folded(advice(&error.to_string()), true),
        })
    }

    /// Folds the messages. If another process is folding, waits until its lease ends, and fails only if that process has
    /// renewed it. Returns `None` if the user interrupts the program.
    async fn fold_patiently(
        &self,
        spec: &Spec,
        target: &Target,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Option<Folded>, FoldError> {
        let mut waited_for = None;
        loop {
            progress.enter(Phase::Fold);
            let read = Arc::clone(&progress.documents);
            let job = Job { target, spec, identity: &self.plan.key, rebuild: false, read };
            let held = match shell::fold(&job, interrupt.asked()).await {
                Err(FoldError::Held { held, collection }) => (held, collection),
                folded => return folded,
            };
            let lease = Some((held.0.lease.owner.id, held.0.lease.fence));
            if waited_for == lease {
                return Err(FoldError::Held { held: held.0, collection: held.1 });
            }
            progress.enter(Phase::WaitingForOtherLoad);
            progress.say(&format!("waiting, because another process folds messages in this database: {}", held.0));
            if !wait(interrupt, held.0.left).await {
                return Ok(None);
            }
            waited_for = lease;
        }
    }
}

/// Adds what to do to the reason why messages are not folded.
fn advice(reason: &str) -> String {
    format!("{reason}; all messages are stored; to fold them, run `medlift fold` with the same spec")
}
