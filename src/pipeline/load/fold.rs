//! The fold at the end of a load of HL7 v2 messages. The load is complete before the fold begins, so a problem of the
//! fold is a part of the summary and not an error of the load.

use std::sync::Arc;
use std::time::Duration;

use super::{Load, LoadOptions, LoadTarget, wait, writing};
use crate::deployment::Privileges;
use crate::error::Error;
use crate::fold::shell::{self, FoldError, Folded, Job};
use crate::fold::{ACTIONS, collections, notes_of};
use crate::pipeline::plan::Plan;
use crate::pipeline::stages::Interrupt;
use crate::report::fold::FoldSummary;
use crate::report::{Phase, Progress};
use crate::server::{ServerError, Target, collection_uuid};
use crate::spec::{FormatName, Spec};

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
        Ok(missing_right_to_fold(target).await?.map_or(Self::Kind(kind), Self::Not))
    }
}

/// Returns the right that the user lacks to write the state of these messages, and what to do. Returns `None` if the
/// user has all rights.
pub(crate) async fn missing_right_to_fold(target: &Target) -> Result<Option<String>, ServerError> {
    let privileges = Privileges::of_user(target).await?;
    let notes = notes_of(&target.collection);
    for collection in collections().into_iter().chain([notes.as_str()]) {
        let forbids = |action: &&str| privileges.forbid(action, &target.database, collection);
        if let Some(action) = ACTIONS.into_iter().find(forbids) {
            return Ok(Some(format!(
                "this user has no permission to {action} in {}.{collection}; `medlift provision` gives it, and \
                 `medlift fold` then folds the messages",
                target.database
            )));
        }
    }
    Ok(None)
}

impl LoadTarget<'_> {
    /// Returns true if the load creates the collection. An existing collection is not new, even if it is empty: an
    /// earlier fold may have made a state from it, and the load must then follow the rule of that fold.
    async fn is_new(&self, options: &LoadOptions) -> Result<bool, Error> {
        let is_empty = self.bulk.is_empty().await.map_err(writing)?;
        Ok(options.drop || is_empty && collection_uuid(&self.target).await?.is_none())
    }
}

impl Load<'_> {
    /// Folds the messages that are stored and not folded yet. Returns `None` if the sources are not HL7 v2 messages.
    pub(super) async fn fold(&self, interrupt: &Interrupt, progress: &Progress) -> Option<FoldSummary> {
        let kind = match &self.folding {
            Folding::None => return None,
            Folding::Not(reason) => return Some(FoldSummary::not_folded(reason.clone(), 0)),
            Folding::Kind(kind) => *kind,
        };
        let (spec, target) = (self.targets[kind].spec, &self.targets[kind].target);
        Some(match self.fold_patiently(spec, target, interrupt, progress).await {
            Ok(Some(folded)) => folded.into(),
            Ok(None) => FoldSummary::not_folded(advice("interrupted"), 6),
            Err(error) => match error.exit_code_of_load() {
                6 => FoldSummary::not_folded(advice(&error.to_string()), 6),
                code => FoldSummary::not_folded(format!("{error}; all messages are stored"), code),
            },
        })
    }

    /// Folds the messages. If another process is folding, waits until that fold ends. Returns `None` if the user
    /// interrupts the program.
    async fn fold_patiently(
        &self,
        spec: &Spec,
        target: &Target,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<Option<Folded>, FoldError> {
        /// How often a waiting load looks whether the other fold has ended.
        const LOOK: Duration = Duration::from_secs(1);
        let mut told = None;
        loop {
            progress.enter(Phase::Fold);
            let read = Arc::clone(&progress.documents);
            let job = Job { target, spec, identity: &self.plan.key, rebuild: false, read };
            let held = match shell::fold(&job, interrupt.asked()).await {
                Err(FoldError::Held { held, .. }) => held,
                folded => return folded,
            };
            progress.enter(Phase::WaitingForOtherLoad);
            if told.replace(held.lease.fence) != Some(held.lease.fence) {
                progress.say(&format!("waiting, because another process folds messages in this database: {held}"));
            }
            if !wait(interrupt, held.left.min(LOOK)).await {
                return Ok(None);
            }
        }
    }
}

/// Adds what to do to the reason why messages are not folded.
fn advice(reason: &str) -> String {
    format!("{reason}; all messages are stored; to fold them, run `medlift fold` with the same spec")
}
