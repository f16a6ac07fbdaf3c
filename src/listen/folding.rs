//! Folds messages after they were acknowledged, in the background.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::{Intake, Shared};
use crate::encode::{Id, IdentityKey};
use crate::fold::shell::{FoldError, Job, Turn};
use crate::server::Target;
use crate::spec::Spec;

/// After this time, a turn of a listener ends with the messages that it is folding.
const TURN: Duration = Duration::from_secs(5);
/// How long a listener waits for more messages before it ends its turn. To take the lease again costs two calls.
const LINGER: Duration = Duration::from_millis(200);
/// Messages that are folded together. With more of them, the commands of the fold would delay the commits.
const TOGETHER_MAX: usize = 1_000;
/// How long a listener waits before it tries again to take its turn.
const RETRY: Duration = Duration::from_millis(250);
/// After a turn of the full length, a listener leaves the lease to other listeners for this time. They try to take it
/// several times meanwhile.
const LEFT_TO_OTHERS: Duration = Duration::from_millis(700);
/// If commits wait longer than this for the fold, the user is told.
const WAIT_SAID: Duration = Duration::from_secs(2);
/// If messages arrived that were stored before, all messages are compared again, at most this often.
const COMPARED_EVERY: Duration = Duration::from_mins(10);

/// Takes messages that are to be folded.
#[derive(Debug, Clone)]
pub(super) struct FoldQueue {
    shared: Arc<Shared>,
    ids: mpsc::UnboundedSender<Vec<Id>>,
    room: Arc<Notify>,
    lag_max: u64,
}

impl FoldQueue {
    /// Adds messages that are stored.
    pub(super) fn add(&self, ids: Vec<Id>) {
        self.shared.metrics.fold_lag.add(ids.len() as u64);
        if ids.is_empty() || self.shared.metrics.fold_stopped.get() > 0 {
            return;
        }
        // Fails only if the task that folds has ended. The next listener then folds the messages.
        let _ = self.ids.send(ids);
    }

    /// Waits until few enough messages wait to be folded. Does not wait if folding has stopped.
    pub(super) async fn wait_for_room(&self) {
        let mut has_waited = false;
        loop {
            let folded = self.room.notified();
            let metrics = &self.shared.metrics;
            if metrics.fold_lag.get() <= self.lag_max || metrics.fold_stopped.get() > 0 {
                break;
            }
            // Only long waits are reported: under a steady load, short waits are normal.
            if tokio::time::timeout(WAIT_SAID, folded).await.is_err() {
                has_waited = true;
                self.shared.note_intake(Intake::WaitsForFold, "");
            }
        }
        if has_waited {
            self.shared.note_intake(Intake::Open, "");
        }
    }
}

/// Folds messages.
pub(super) struct FoldTask {
    shared: Arc<Shared>,
    target: Target,
    spec: Spec,
    identity: IdentityKey,
    ids: mpsc::UnboundedReceiver<Vec<Id>>,
    room: Arc<Notify>,
    lag_max: u64,
    /// Messages that were received and are not folded yet.
    left: VecDeque<Id>,
}

/// Makes the task that folds messages, and the queue for them. If more than `lag_max` messages wait, commits wait.
pub(super) fn folding(
    shared: &Arc<Shared>,
    target: &Target,
    spec: &Spec,
    identity: &IdentityKey,
    lag_max: u64,
) -> (FoldQueue, FoldTask) {
    let ((sender, ids), room) = (mpsc::unbounded_channel(), Arc::<Notify>::default());
    let queue = FoldQueue { shared: Arc::clone(shared), ids: sender, room: Arc::clone(&room), lag_max };
    let (target, spec, identity) = (target.clone(), spec.clone(), identity.clone());
    (queue, FoldTask { shared: Arc::clone(shared), target, spec, identity, ids, room, lag_max, left: VecDeque::new() })
}

impl FoldTask {
    /// Folds messages until the queue is closed and empty. First folds the messages that earlier listeners stored but
    /// did not fold.
    pub(super) async fn run(mut self) {
        let (mut is_first, mut compared) = (true, Instant::now());
        loop {
            if !is_first && !self.receive(COMPARED_EVERY).await {
                if self.ids.is_closed() {
                    return;
                }
                // If messages arrived that were stored before, another listener perhaps stored them and was killed
                // before it folded them. All messages are then compared.
                is_first = self.shared.has_foreign.swap(false, Ordering::Relaxed);
                continue;
            }
            if !is_first && compared.elapsed() > COMPARED_EVERY {
                is_first = self.shared.has_foreign.swap(false, Ordering::Relaxed);
            }
            match self.turn(is_first).await {
                Ok(()) => {
                    if is_first {
                        compared = Instant::now();
                    }
                    is_first = false;
                }
                Err(error) if error.is_temporary() => {
                    is_first |= matches!(error, FoldError::Changed(_));
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return self.stop(&error),
            }
        }
    }

    /// Takes a turn: folds until no more messages arrive, or until another listener may want to fold.
    async fn turn(&mut self, is_first: bool) -> Result<(), FoldError> {
        let read = Arc::<AtomicU64>::default();
        let job = Job { target: &self.target, spec: &self.spec, identity: &self.identity, rebuild: false, read };
        let mut turn = Turn::take(&job, is_first).await?;
        let begun = Instant::now();
        let mut result = Ok(());
        let is_whole = loop {
            while !self.left.is_empty() && result.is_ok() && begun.elapsed() <= TURN {
                let started = Instant::now();
                result = self.fold_some(&mut turn).await;
                if self.shared.metrics.fold_lag.get() < self.lag_max / 2 {
                    // As long as few messages wait for the fold, it pauses for commits, because their senders wait.
                    tokio::time::sleep(started.elapsed()).await;
                }
            }
            let is_whole = begun.elapsed() > TURN;
            if result.is_err() || is_whole || !self.receive(LINGER).await {
                break is_whole;
            }
        };
        turn.end().await;
        if is_whole {
            tokio::time::sleep(LEFT_TO_OTHERS).await;
        }
        result
    }

    async fn fold_some(&mut self, turn: &mut Turn) -> Result<(), FoldError> {
        let count = self.left.len().min(TOGETHER_MAX);
        // The earliest messages first: a message that is later than the state is faster to fold than an earlier one.
        turn.fold(self.left.iter().take(count).copied().collect()).await?;
        self.left.drain(..count);
        let count = count as u64;
        self.shared.metrics.fold_lag.subtract(count);
        self.shared.metrics.folded.add(count);
        self.room.notify_waiters();
        Ok(())
    }

    /// Receives messages until some are there. Returns false if none arrive in this time.
    async fn receive(&mut self, within: Duration) -> bool {
        if self.left.is_empty() {
            let first = tokio::time::timeout(within, self.ids.recv()).await.ok().flatten();
            self.left.extend(first.into_iter().flatten());
        }
        while let Ok(more) = self.ids.try_recv() {
            self.left.extend(more);
        }
        !self.left.is_empty()
    }

    /// Stops folding, because of an error that does not pass.
    fn stop(&self, error: &FoldError) {
        self.shared.metrics.fold_stopped.set(1);
        self.room.notify_waiters();
        self.shared.tell(&format!(
            "messages are stored but no longer folded: {error}; when the cause is removed, run `medlift fold` with the \
             same spec, or start this command again"
        ));
    }
}
