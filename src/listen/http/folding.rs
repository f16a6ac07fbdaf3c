//! Folds messages that arrived by HTTP, after they were acknowledged.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::encode::IdentityKey;
use crate::fold::shell::{Job, fold};
use crate::ledger::require_collection;
use crate::pipeline::Interrupt;
use crate::report::Progress;
use crate::server::Target;
use crate::spec::Spec;

/// The pause before a fold is tried again, if another process folds or the server is away.
const RETRY: Duration = Duration::from_secs(2);

/// Requests folds. One fold runs at a time. It folds all messages of its collection that are stored when it begins, so one
/// request is enough for all bodies that arrived meanwhile.
pub(super) struct Folder {
    requests: mpsc::UnboundedSender<(Spec, Target)>,
    waiting: Waiting,
}

/// The names of the collections for which a request waits.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashSet<String>>>);

impl Waiting {
    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Folder {
    pub(super) fn new(key: IdentityKey, interrupt: Interrupt) -> Self {
        let (requests, mut wanted) = mpsc::unbounded_channel::<(Spec, Target)>();
        let waiting = Waiting::default();
        let of_thread = waiting.clone();
        // A fold is not bound to the requests, so it has a thread of its own.
        tokio::task::spawn_blocking(move || {
            while let Some((spec, target)) = wanted.blocking_recv() {
                of_thread.names().remove(&target.full_name());
                Handle::current().block_on(fold_patiently(&spec, &target, &key, &interrupt));
            }
        });
        Self { requests, waiting }
    }

    /// Says that messages may have been stored. `kinds` are the kinds of documents of a body. Does nothing if the body
    /// does not contain messages.
    pub(super) fn note(&self, kinds: &[Spec], target: &Target) {
        let Some(spec) = kinds.first().filter(|spec| spec.is_of_messages()) else { return };
        if self.waiting.names().insert(target.full_name()) {
            let _ = self.requests.send((spec.clone(), target.clone()));
        }
    }
}

/// Folds the stored messages. After a temporary failure, tries again. Then lets other processes fold for as long as the fold
/// took, because a fold compares all messages.
async fn fold_patiently(spec: &Spec, target: &Target, identity: &IdentityKey, interrupt: &Interrupt) {
    if require_collection(target).await.is_err() {
        return;
    }
    while !interrupt.is_asked() {
        let (job, begun) = (Job { target, spec, identity, rebuild: false, read: Arc::default() }, Instant::now());
        let pause = match fold(&job, interrupt.asked()).await {
            Err(error) if error.is_temporary() => RETRY,
            Err(error) => {
                let text = format!("messages are stored but not folded: {error}; `medlift fold` folds them");
                return Progress::default().say(&text);
            }
            Ok(_) => begun.elapsed(),
        };
        let is_done = pause != RETRY;
        let _ = tokio::time::timeout(pause, interrupt.asked()).await;
        if is_done {
            return;
        }
    }
}
