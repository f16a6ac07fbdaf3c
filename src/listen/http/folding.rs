//! Folds messages that arrived by HTTP, after they were acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::encode::IdentityKey;
use crate::fold::shell::{FoldError, Job, fold};
use crate::pipeline::{Interrupt, Plan};
use crate::report::Progress;
use crate::server::{Failure, Target};
use crate::spec::{FormatName, Spec};

/// The pause before a fold is tried again, if another process folds or the server is away.
const RETRY: Duration = Duration::from_secs(2);

/// Requests folds. One fold runs at a time. It folds all messages that are stored when it begins, so one request is
/// enough for all bodies that arrived meanwhile.
pub(super) struct Folder {
    requests: mpsc::Sender<(Spec, Target)>,
}

impl Folder {
    pub(super) fn new(key: IdentityKey, interrupt: Interrupt) -> Self {
        let (requests, mut wanted) = mpsc::channel::<(Spec, Target)>(1);
        // A fold is not bound to the requests, so it has a thread of its own.
        tokio::task::spawn_blocking(move || {
            while let Some((spec, target)) = wanted.blocking_recv() {
                Handle::current().block_on(fold_patiently(&spec, &target, &key, &interrupt));
            }
        });
        Self { requests }
    }

    /// Says that messages may have been stored. Does nothing for other formats.
    pub(super) fn note(&self, plan: &Plan, target: &Target) {
        if plan.spec.source.format != Some(FormatName::Hl7) {
            return;
        }
        if let Some((spec, target)) = plan.targets(target).next() {
            // If a request waits already, it is for these messages too.
            let _ = self.requests.try_send((spec.clone(), target));
        }
    }
}

/// Folds the stored messages. After a temporary failure, tries again.
async fn fold_patiently(spec: &Spec, target: &Target, identity: &IdentityKey, interrupt: &Interrupt) {
    while !interrupt.is_asked() {
        let job = Job { target, spec, identity, rebuild: false, read: Arc::default() };
        match fold(&job, interrupt.asked()).await {
            Err(error) if is_temporary(&error) => {
                let _ = tokio::time::timeout(RETRY, interrupt.asked()).await;
            }
            Err(error) => {
                let text = format!("messages are stored but not folded: {error}; `medlift fold` folds them");
                return Progress::default().say(&text);
            }
            Ok(_) => return,
        }
    }
}

fn is_temporary(error: &FoldError) -> bool {
    error.is_passing() || error.failure().is_some_and(Failure::is_retryable)
}
