//! Commits messages in groups, and determines what becomes of each.
//!
//! A committer takes all messages that wait, makes their documents, and writes them with the writer of a load: the same
//! commands and the same state machine (`write/`). A message is acknowledged only when a journaled majority has it.
//! Several committers may work at the same time, so that one prepares a group while another waits for the server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::answer::{self, Verdict, header_of, is_readable, sender_and_id};
use super::decode::{Decoded, Decoder, Rejected};
use super::folding::FoldQueue;
use super::queue::Waiting;
use super::rejected::RejectedStore;
use super::repeats::ControlIds;
use super::{Intake, Shared};
use crate::encode::{Id, IdentityKey};
use crate::reject::Reason;
use crate::server::Failure;
use crate::spec::Spec;
use crate::write::{Bulk, Chunk, Limits, Mode, Outcome, Policy, Settled, ShardMap, WriteError, Writer, write_all};

/// The limits of the commands. If the server is away, the writer gives up soon, and the committer begins anew: messages
/// wait for their answers, so the pauses must stay short.
const LIMITS: Limits = Limits {
    batch_docs_max: super::queue::COMMIT_MESSAGES_MAX,
    batch_bytes_max: 12 << 20,
    in_flight_max: 2,
    attempts_max: 4,
};
/// The longest pause before a commit is repeated.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The reuse of a control id is reported for so many messages. Further ones are only counted.
const REPORTED_MAX: u64 = 100;

/// Where messages are stored.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub bulk: Bulk,
    pub shards: ShardMap,
    pub rejected: RejectedStore,
    pub key: IdentityKey,
    pub policy: Policy,
}

impl Destination {
    /// Returns the policy for the messages of a spec.
    pub(super) fn policy_of(spec: &Spec) -> Policy {
        Policy { mode: Mode::Insert, on_conflict: spec.identity.on_conflict, empty_at_start: false, is_resumed: false }
    }
}

/// Commits messages until the queue is closed and empty.
pub(super) struct Committer {
    pub shared: Arc<Shared>,
    pub decoder: Decoder,
    pub destination: Destination,
    pub control_ids: Arc<Mutex<ControlIds>>,
    /// `None` if messages are not folded.
    pub folding: Option<FoldQueue>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is stored.
    Stored {
        id: Id,
        /// Whether this commit may have stored it.
        is_new: bool,
    },
    Rejected(Rejected),
}

impl Committer {
    /// Commits messages until no more can arrive.
    pub(super) async fn run(mut self) {
        loop {
            if let Some(folding) = &self.folding {
                folding.wait_for_room().await;
            }
            let Some(group) = self.shared.queue.take().await else { return };
            self.commit(group).await;
        }
    }

    /// Commits a group. If the server is away, tries again until it is back.
    async fn commit(&mut self, group: Vec<Waiting>) {
        let metrics = &self.shared.metrics;
        metrics.commits.add(group.len() as u64);
        let mut failures = 0;
        let fates = loop {
            let decoded = self.decoder.decode(group.iter().map(|waiting| &waiting.message[..]));
            match write(decoded, group.len(), &self.destination, failures > 0).await {
                Ok(fates) => break fates,
                Err(WriteError::Server(failure)) if failure.is_retryable() => {
                    failures += 1;
                    self.shared.metrics.commits_repeated.add(1);
                    self.shared.note_intake(Intake::Away, "");
                    tokio::time::sleep(PAUSE_MAX.min(Duration::from_millis(50 << failures.min(5)))).await;
                }
                Err(error) => return self.give_up(group, &error.to_string()),
            }
        };
        self.shared.note_intake(Intake::Open, "");
        self.settle(group, fates).await;
    }

    /// Answers a group that cannot be stored.
    fn give_up(&self, group: Vec<Waiting>, problem: &str) {
        self.shared.note_intake(Intake::Refused, problem);
        // Some messages of the group are perhaps stored. This flag makes the fold look for them.
        self.shared.has_foreign.store(true, Ordering::Relaxed);
        let reason = answer::Reason::internal("the database refuses the message; its administrator must look");
        for waiting in group {
            let _ = waiting.outcome.send(Verdict::Later(reason.clone()));
        }
    }

    async fn settle(&self, group: Vec<Waiting>, fates: Vec<Fate>) {
        let (mut to_fold, mut refused) = (Vec::new(), Vec::new());
        for (waiting, fate) in group.into_iter().zip(fates) {
            match fate {
                Fate::Stored { id, is_new } => {
                    let metrics = &self.shared.metrics;
                    if is_new { &metrics.stored } else { &metrics.repeated }.add(1);
                    if is_new {
                        to_fold.push(id);
                        self.note_control_id(&waiting.message, id);
                    } else {
                        self.shared.has_foreign.store(true, Ordering::Relaxed);
                    }
                    let _ = waiting.outcome.send(Verdict::Stored);
                }
                Fate::Rejected(rejected) => refused.push((waiting, rejected)),
            }
        }
        if let Some(folding) = &self.folding {
            folding.add(to_fold);
        }
        self.refuse(refused).await;
    }

    /// Reports a message that has the control id of another one.
    fn note_control_id(&self, message: &[u8], id: Id) {
        let Some(sender_and_id) = sender_and_id(header_of(message)) else { return };
        let mut control_ids = self.control_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if !control_ids.note(sender_and_id, id) {
            return;
        }
        let reused = &self.shared.metrics.reused_ids;
        reused.add(1);
        if reused.get() <= REPORTED_MAX {
            let more = if reused.get() == REPORTED_MAX { "; further ones are only counted" } else { "" };
            self.shared.tell(&format!(
                "message {id} has the control id of another message of the same sender; both are stored{more}"
            ));
        }
    }

    /// Stores refused messages and answers them.
    async fn refuse(&self, refused: Vec<(Waiting, Rejected)>) {
        if refused.is_empty() {
            return;
        }
        let messages: Vec<_> = refused.iter().map(|(waiting, rejected)| (&waiting.message[..], rejected)).collect();
        let stored = loop {
            match self.destination.rejected.put(&messages).await {
                Err(failure) if failure.is_retryable() => self.shared.metrics.commits_repeated.add(1),
                stored => break stored,
            }
        };
        if let Err(failure) = stored {
            let group = refused.into_iter().map(|(waiting, _)| waiting).collect();
            return self.give_up(group, &problem_of_rejects(&failure));
        }
        for (waiting, rejected) in refused {
            self.shared.metrics.rejected.add(1);
            let reason = rejected.for_sender();
            let is_readable = rejected.reason != Reason::NotHl7 || is_readable(header_of(&waiting.message));
            let verdict = if is_readable { Verdict::Refused(reason) } else { Verdict::Unreadable(reason) };
            let _ = waiting.outcome.send(verdict);
        }
    }
}

fn problem_of_rejects(failure: &Failure) -> String {
    format!("refused messages cannot be stored: {failure}")
}

/// Writes documents. Returns what became of each of the `count` messages. `is_repeated` is true if an earlier attempt
/// may have stored some.
async fn write(
    decoded: Decoded,
    count: usize,
    destination: &Destination,
    is_repeated: bool,
) -> Result<Vec<Fate>, WriteError> {
    let Decoded { block, message_of_row, rejects } = decoded;
    let mut fates: Vec<Option<Fate>> = vec![None; count];
    for (message, rejected) in rejects {
        fates[message] = Some(Fate::Rejected(rejected));
    }
    if block.kinds.iter().any(|kind| !kind.entries.is_empty()) {
        let chunk = Chunk::new(vec![block], &[destination.policy], false);
        for settled in write_chunk(chunk, destination).await? {
            for (row, fate) in fates_of(&settled, is_repeated) {
                fates[message_of_row[row]] = Some(fate);
            }
        }
    }
    Ok(fates.into_iter().map(|fate| fate.expect("every message has an outcome")).collect())
}

async fn write_chunk(chunk: Chunk, to: &Destination) -> Result<Vec<Settled>, WriteError> {
    let mut writer = Writer::new(to.bulk.clone(), LIMITS, to.policy, to.shards.clone(), to.key.clone(), 0);
    let (to_writer, chunks) = mpsc::channel(1);
    // The channel has room for one chunk.
    let _ = to_writer.try_send(chunk);
    drop(to_writer);
    let mut all = Vec::new();
    let settle = async |settled: Vec<Settled>| {
        all.extend(settled);
        Ok(())
    };
    write_all::<WriteError>(std::slice::from_mut(&mut writer), chunks, settle).await?;
    Ok(all)
}

/// Returns the rows of a chunk, and what became of them. Rows with the same `_id` have the same bytes, because the `_id`
/// is made from them. So they are stored if one is.
fn fates_of(settled: &Settled, is_repeated: bool) -> Vec<(usize, Fate)> {
    // After a lost reply, it is not known which process stored a message. The message then counts as new.
    let is_in_doubt = is_repeated || settled.doubts.stored > 0;
    let mut fates = Vec::new();
    for (at, (entry, outcome)) in (0..).zip(settled.chunk.entries.iter().zip(&settled.outcomes)) {
        let fate = match outcome {
            Outcome::Written => Fate::Stored { id: entry.id, is_new: true },
            Outcome::Refused(refusal) => {
                let (reason, text) = refusal.explain();
                Fate::Rejected(Rejected { reason, place: String::new(), text })
            }
            _ => Fate::Stored { id: entry.id, is_new: is_in_doubt },
        };
        let repeat = match &fate {
            Fate::Stored { id, .. } => Fate::Stored { id: *id, is_new: false },
            rejected @ Fate::Rejected(_) => rejected.clone(),
        };
        let others = settled.chunk.groups.get(&at).into_iter().flatten();
        let others = others.filter(|other| other.row != entry.row).map(|other| (other.row as usize, repeat.clone()));
        fates.extend(others);
        fates.push((entry.row as usize, fate));
    }
    fates
}
