//! The decisions of the writer, as a state machine without I/O. The machine receives events and returns actions.
//!
//! The machine decides which records form a batch (the records of one command), what the server's answer means for each
//! record, when a batch is sent again, and when a chunk is complete. A chunk is a group of records that are committed
//! together. It is *complete* when all its records have their final outcomes and all earlier chunks are complete.
//!
//! The machine has no access to documents, clocks or servers. It identifies a record by its chunk and its position in
//! the chunk. A delay is an action, and the end of the delay is an event. The writer only executes the [`Action`]s. A
//! simulation can therefore test the machine with many kinds of failures.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::batch::{Batch, BatchId, Member, Step};
use super::outcome::{Outcome, Policy, Refusal};
pub use super::planned::{Earlier, Limits, Planned};
use super::sweep::{self, Cut, Sweeps};
use crate::server::pause;

/// An input of the state machine, for example the answer to a command.
#[derive(Debug)]
pub enum Event {
    /// A chunk is ready. Its records have unique `_id`s and are sorted by `_id`. Chunks arrive in the order of their
    /// numbers.
    Chunk(Vec<Planned>),
    /// A chunk was skipped, because an earlier, interrupted process of this load had committed it. The machine does not
    /// learn the outcomes of its records.
    Passed,
    /// No more chunks will arrive.
    Ended,
    /// The server answered an insert, a replacement or a merge.
    Replied(BatchId, Reply),
    /// The documents with the `_id`s of a batch were read, with read concern majority. Contains one verdict for each
    /// record, in the order of the batch.
    Compared(BatchId, Vec<Verdict>),
    /// The whole command failed, for example because no answer arrived.
    Failed {
        /// The batch whose command failed.
        batch: BatchId,
        /// Whether the command may succeed if it is sent again.
        transient: bool,
    },
    /// The delay that [`Action::Delay`] requested is over.
    Elapsed(BatchId),
}

/// A server's answer to one bulk command.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The documents that the server did not accept. Each has its position in the batch and the cause.
    pub errors: Vec<(u32, Complaint)>,
    /// True if the documents that are not in `errors` are on disk at a majority. False if the answer contains a
    /// `writeConcernError`.
    pub durable: bool,
}

/// Why the server did not accept a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// A document with the same `_id` is already stored.
    Taken,
    /// A temporary cause. The document is sent again.
    Passing,
    /// A permanent cause. The document is refused.
    Refused(Refusal),
}

/// The result of comparing a record with the document that is stored under the record's `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The stored content is equal to the record.
    Equal,
    /// Other content is stored. In a load in which the newest record wins, the stored content is older than the record.
    Different,
    /// Other content is stored, and it is newer than the record. Occurs only in a load in which the newest record wins.
    Newer,
    /// Nothing is stored.
    Absent,
}

/// An instruction that the writer executes.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the records as one command.
    Send {
        /// The event with the answer must have this id.
        batch: BatchId,
        /// The kind of command.
        step: Step,
        /// The records, in the order in which they are sent.
        members: Vec<Member>,
    },
    /// Wait this many milliseconds, then send [`Event::Elapsed`].
    Delay(BatchId, u64),
    /// The chunk is complete: its records and those of all earlier chunks have their final outcomes.
    Settle {
        /// Number of the chunk, counted from 0. Skipped chunks ([`Event::Passed`]) are not counted.
        chunk: u64,
        /// One outcome for each record of the chunk.
        outcomes: Vec<Outcome>,
        /// How many of the outcomes are uncertain.
        doubts: Doubts,
    },
    /// Stop the load: this batch could not be written. Chunks that are already complete stay complete.
    Stop(BatchId),
}

/// The numbers of uncertain outcomes. An outcome can be uncertain after a lost reply or a rollback, or in a resumed
/// load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Records that are stored. It is not known whether this load or another program stored them.
    pub stored: u64,
    /// Records whose `_id` occurred earlier in the load. It is not known whether they are duplicates or replaced other
    /// content.
    pub repeats: u64,
}

/// When no more chunks follow, the batches become smaller, so that the load does not wait for one last, large command.
/// A batch then has at most `remaining new records / concurrent commands` records, or 500 if this quotient is less than
/// 500.
const LAST_BATCH_DOCS_MIN: usize = 500;

/// If more than one record in 250 of a batch was already stored, the machine looks up the `_id`s of the next batches
/// before it inserts their records. Reason: the server inserts up to 500 records of a command in one transaction. If
/// one of these records is already stored, the transaction fails. The server then inserts the records again, each in a
/// transaction of its own. If 1 % of the records are already stored, a lookup of all records saves a fifth of the
/// server's processor time.
const LOOK_SHARE: usize = 250;

/// The writer's state machine. See the [module](self).
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    policy: Policy,
    chunks: VecDeque<Chunk>,
    settled: u64,
    batches: HashMap<BatchId, Batch>,
    ready: VecDeque<Batch>,
    next_batch: u64,
    in_flight: usize,
    /// Whether new records are looked up before they are inserted. This is faster if many records are already stored.
    /// Reason: an insert that fails because its `_id` is taken costs the server several times as much as a lookup.
    looks_first: bool,
    /// New records are sent in `_id` order, for each shard (see [`sweep`]).
    sweeps: Sweeps,
    has_ended: bool,
    /// True if each record so far is certainly stored, or was replaced by a later record of this load. Becomes false
    /// when a record is refused, when a stored document is kept in place of a record, or when a chunk is skipped.
    holds_all: bool,
    stopped: bool,
}

/// A chunk that is not complete.
#[derive(Debug)]
struct Chunk {
    records: Vec<Planned>,
    outcomes: Vec<Outcome>,
    doubts: Doubts,
    /// Positions of the records with [`Earlier::Equal`] that must be compared with the stored documents. `settle_equal`
    /// chooses them.
    equal_and_asked: BTreeSet<usize>,
    /// Number of records without an outcome, for each value of [`Earlier`].
    unsettled: [usize; 3],
    /// Progress of the new records, for each shard.
    new: Vec<Cut>,
    /// Progress of the records that are compared with the stored documents because an earlier chunk had their `_id`,
    /// for each shard.
    asked: Vec<Cut>,
}

impl Machine {
    /// Makes a machine without chunks. `shards` is the number of shards of the collection, 1 if it is not sharded.
    pub fn new(limits: Limits, policy: Policy, shards: usize) -> Self {
        Self {
            limits,
            policy,
            chunks: VecDeque::new(),
            settled: 0,
            batches: HashMap::new(),
            ready: VecDeque::new(),
            next_batch: 0,
            in_flight: 0,
            looks_first: false,
            sweeps: Sweeps::new(shards),
            has_ended: false,
            holds_all: true,
            stopped: false,
        }
    }

    /// Returns true if all received chunks are complete.
    pub fn is_idle(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Processes an event and returns the actions that follow from it. Ignores the answer to an unknown batch.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Chunk(records) => {
                let chunk = Chunk::new(records, &mut self.sweeps);
                self.chunks.push_back(chunk);
            }
            Event::Passed => self.holds_all = false,
            Event::Ended => self.has_ended = true,
            Event::Replied(id, reply) => self.replied(id, &reply, &mut actions),
            Event::Compared(id, verdicts) => self.compared(id, &verdicts, &mut actions),
            Event::Failed { batch, transient } => self.failed(batch, transient, &mut actions),
            Event::Elapsed(id) => self.ready.extend(self.batches.remove(&id)),
        }
        self.dispatch(&mut actions);
        actions
    }

    fn replied(&mut self, id: BatchId, reply: &Reply, actions: &mut Vec<Action>) {
        let Some(batch) = self.take(id) else { return };
        let mut complaints: HashMap<u32, Complaint> = reply.errors.iter().copied().collect();
        let mut applied = Vec::new();
        let mut taken = Vec::new();
        let mut again = Vec::new();
        for (position, &member) in batch.members.iter().enumerate() {
            match complaints.remove(&(position as u32)) {
                None if reply.durable => {
                    let is_in_doubt = self.policy.is_resumed && batch.step != Step::Insert;
                    self.settle_stored(member, batch.when_applied(), is_in_doubt);
                }
                None => applied.push(member),
                Some(Complaint::Taken) => taken.push(member),
                Some(Complaint::Passing) => again.push(member),
                Some(Complaint::Refused(refusal)) => self.settle_one(member, Outcome::Refused(refusal)),
            }
        }
        self.looks_first |= batch.step == Step::Insert && taken.len() * LOOK_SHARE > batch.members.len();
        // After a write concern error, it is not known whether the documents would survive a change of the primary.
        // They are read again with read concern majority.
        let when_applied = batch.when_applied();
        self.follow(batch.follow(Step::Compare, applied, when_applied), !reply.durable, actions);
        // A document that changed after the comparison may change again, so its record is compared after a pause.
        let pauses = !reply.durable || batch.step == Step::ReplaceOlder;
        self.follow(batch.follow(Step::Compare, taken, batch.when_taken()), pauses, actions);
        self.follow(batch.follow(batch.step, again, batch.when_equal), true, actions);
    }

    /// Sets the final outcome of a record under whose `_id` a document is stored.
    ///
    /// `is_in_doubt` is true if an earlier command of this load may have stored that document, for example a command
    /// whose reply was lost. The outcome of a new record is then uncertain. If the collection was empty when the load
    /// began, the document is probably from this load, and the record counts as written.
    fn settle_stored(&mut self, member: Member, outcome: Outcome, is_in_doubt: bool) {
        let chunk = &mut self.chunks[(member.chunk - self.settled) as usize];
        let is_new = chunk.records[member.at as usize].earlier == Earlier::Nothing;
        let is_others = matches!(outcome, Outcome::Present | Outcome::Replaced | Outcome::Conflict);
        if is_in_doubt && is_new && is_others {
            chunk.doubts.stored += 1;
            let is_own = self.policy.empty_at_start;
            return self.settle_one(member, if is_own { Outcome::Written } else { outcome });
        }
        let is_replaced = outcome == Outcome::Duplicate && self.doubt_repeat(member, Verdict::Equal);
        self.settle_one(member, if is_replaced { Outcome::ReplacedOwn } else { outcome });
    }

    /// In a resumed load, the interrupted process may have stored this record already, or a later record with the same
    /// `_id`. If this is likely, counts the outcome as uncertain and returns true. Otherwise returns false. Also
    /// returns false if the rules of the load do not permit that a record replaces an earlier record of the load.
    ///
    /// `verdict` is the result of comparing the record with the stored document. Example: two records with the same
    /// `_id` have the contents A and B. When B is compared, the collection should still contain A. If it contains B,
    /// the interrupted process has probably stored B.
    fn doubt_repeat(&mut self, member: Member, verdict: Verdict) -> bool {
        let replaces_own = self.policy.is_resumed && self.policy.replaces_own();
        let chunk = &mut self.chunks[(member.chunk - self.settled) as usize];
        let at = member.at as usize;
        let is_repeat = chunk.records[at].earlier != Earlier::Nothing;
        let was_equal = chunk.equal_and_asked.contains(&at);
        let is_likely = match verdict {
            Verdict::Equal => !was_equal,
            Verdict::Newer => true,
            Verdict::Different | Verdict::Absent => was_equal,
        };
        let is_doubted = replaces_own && is_repeat && is_likely;
        chunk.doubts.repeats += u64::from(is_doubted);
        is_doubted
    }

    fn compared(&mut self, id: BatchId, verdicts: &[Verdict], actions: &mut Vec<Action>) {
        let Some(batch) = self.take(id) else { return };
        let mut absent = Vec::new();
        let mut different = Vec::new();
        for (&member, verdict) in batch.members.iter().zip(verdicts) {
            match verdict {
                Verdict::Equal => {
                    self.settle_stored(member, batch.when_equal, batch.in_doubt || self.policy.is_resumed);
                }
                Verdict::Absent => absent.push(member),
                Verdict::Newer => {
                    // The content of this record is not stored, even if the record counts as written.
                    self.holds_all = false;
                    self.doubt_repeat(member, *verdict);
                    self.settle_stored(member, Outcome::Conflict, batch.in_doubt || self.policy.is_resumed);
                }
                Verdict::Different => {
                    self.doubt_repeat(member, *verdict);
                    different.push(member);
                }
            }
        }
        if batch.is_first_look && batch.when_equal == Outcome::Present {
            self.looks_first = (batch.members.len() - absent.len()) * LOOK_SHARE > batch.members.len();
        }
        // Insert the records that are not stored. If no command of this process has tried to write them before (a first
        // look), insert them at once. Otherwise an earlier command wrote these records or found their `_id`s taken.
        // Their documents were rolled back since then, or are not at a majority yet, so insert them after a pause.
        let mut again = batch.follow(Step::Insert, absent, Outcome::Present);
        again.in_doubt |= !batch.is_first_look;
        self.follow(again, !batch.is_first_look, actions);
        match self.policy.on_different() {
            Ok(step) => {
                let when_applied = if batch.is_own() { Outcome::ReplacedOwn } else { Outcome::Replaced };
                self.follow(batch.follow(step, different, when_applied), false, actions);
            }
            Err(outcome) => different.into_iter().for_each(|member| self.settle_one(member, outcome)),
        }
    }

    fn failed(&mut self, id: BatchId, transient: bool, actions: &mut Vec<Action>) {
        let Some(mut batch) = self.take(id) else { return };
        if !transient {
            batch.attempts = self.limits.attempts_max;
        }
        batch.in_doubt |= batch.step != Step::Compare;
        self.follow(batch, true, actions);
    }

    /// Queues a batch. If `pauses` is true, the batch is sent after a delay and counts as another attempt. After the
    /// last attempt, the load stops.
    fn follow(&mut self, mut batch: Batch, pauses: bool, actions: &mut Vec<Action>) {
        if batch.members.is_empty() {
            return;
        }
        if !pauses {
            self.ready.push_back(batch);
            return;
        }
        let id = self.new_id();
        if batch.attempts >= self.limits.attempts_max {
            self.stopped = true;
            actions.push(Action::Stop(batch.sent_as.unwrap_or(id)));
            return;
        }
        let delay_ms = pause(batch.attempts).as_millis() as u64;
        batch.attempts += 1;
        self.batches.insert(id, batch);
        actions.push(Action::Delay(id, delay_ms));
    }

    /// Returns the first record of this batch, and how many times the batch was sent again after a failure. `None` if
    /// the batch is not known.
    pub fn repetition(&self, batch: BatchId) -> Option<(Member, u32)> {
        self.batches.get(&batch).and_then(|batch| Some((*batch.members.first()?, batch.attempts)))
    }

    fn take(&mut self, id: BatchId) -> Option<Batch> {
        let batch = self.batches.remove(&id)?;
        self.in_flight -= 1;
        self.sweeps.answered(batch.shard);
        Some(batch)
    }

    fn new_id(&mut self) -> BatchId {
        self.next_batch += 1;
        BatchId(self.next_batch)
    }

    fn settle_one(&mut self, member: Member, outcome: Outcome) {
        self.holds_all &= !matches!(outcome, Outcome::Conflict | Outcome::Refused(_));
        self.chunks[(member.chunk - self.settled) as usize].settle(member.at as usize, outcome);
    }

    fn dispatch(&mut self, actions: &mut Vec<Action>) {
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.unsettled(Earlier::Nothing) == 0 && chunk.unsettled(Earlier::Equal) > 0 {
                chunk.settle_equal(self.holds_all);
            }
            if chunk.unsettled != [0; 3] {
                break;
            }
            let chunk = self.chunks.pop_front().expect("the queue has a first chunk");
            actions.push(Action::Settle { chunk: self.settled, outcomes: chunk.outcomes, doubts: chunk.doubts });
            self.settled += 1;
        }
        while !self.stopped && self.in_flight < self.limits.in_flight_max {
            let Some(mut batch) = self.ready.pop_front().or_else(|| self.cut()) else { break };
            let id = self.new_id();
            batch.sent_as = Some(id);
            let (step, members) = (batch.step, batch.members.clone());
            self.sweeps.sent(batch.shard);
            self.batches.insert(id, batch);
            self.in_flight += 1;
            actions.push(Action::Send { batch: id, step, members });
        }
    }

    fn limits_for_new(&self) -> Limits {
        let share = self.sweeps.uncut().div_ceil(self.limits.in_flight_max).max(LAST_BATCH_DOCS_MIN);
        let docs_max = self.limits.batch_docs_max;
        Limits { batch_docs_max: if self.has_ended { docs_max.min(share) } else { docs_max }, ..self.limits }
    }

    /// Makes the next batch. Returns `None` if no record can be sent now.
    ///
    /// A batch contains one of these two sorts of records:
    ///
    /// - If all new records of the first unfinished chunk have their outcomes: records of this chunk whose `_id`s
    ///   occurred in an earlier chunk. They are compared with the stored documents.
    /// - Otherwise, or if no such records are left: the next new records of all unfinished chunks, in `_id` order (see
    ///   [`sweep`]).
    ///
    /// If the collection is sharded, all records of the batch belong to one shard.
    fn cut(&mut self) -> Option<Batch> {
        let front = self.chunks.front_mut()?;
        if front.unsettled(Earlier::Nothing) == 0 {
            // This batch has records whose `_id`s occurred in an earlier chunk. The sweep is only for new records, so
            // the records of this batch do not move its position.
            for (shard, asked) in (0..).zip(&mut front.asked) {
                let members = sweep::cut(&mut [(self.settled, &front.records, asked)], &mut 0, self.limits);
                if !members.is_empty() {
                    return Some(Batch::new(Step::Compare, shard, members, Outcome::Duplicate));
                }
            }
        }
        let shard = self.sweeps.next()?;
        let limits = self.limits_for_new();
        let chunks = (self.settled..).zip(&mut self.chunks);
        let mut chunks: Vec<_> =
            chunks.map(|(number, chunk)| (number, &chunk.records[..], &mut chunk.new[usize::from(shard)])).collect();
        let members = self.sweeps.cut(shard, &mut chunks, limits);
        let step = if self.looks_first { Step::Compare } else { Step::Insert };
        Some(Batch::new(step, shard, members, Outcome::Present))
    }
}

impl Chunk {
    /// Makes a chunk. The new records from the current position of `sweeps` on are sent first, then those before it,
    /// both in `_id` order.
    fn new(records: Vec<Planned>, sweeps: &mut Sweeps) -> Self {
        let mut unsettled = [0; 3];
        for record in &records {
            unsettled[record.earlier as usize] += 1;
        }
        let (new, asked) = sweeps.add(&records);
        Self {
            outcomes: vec![Outcome::Pending; records.len()],
            doubts: Doubts::default(),
            equal_and_asked: BTreeSet::new(),
            unsettled,
            new,
            asked,
            records,
        }
    }

    fn unsettled(&self, kind: Earlier) -> usize {
        self.unsettled[kind as usize]
    }

    fn settle(&mut self, at: usize, outcome: Outcome) {
        debug_assert_eq!(self.outcomes[at], Outcome::Pending);
        self.outcomes[at] = outcome;
        self.unsettled[self.records[at].earlier as usize] -= 1;
    }

    /// Decides about the records with [`Earlier::Equal`]: the previous record with the same `_id` had the same content.
    /// Call it when all records of earlier chunks, and all new records of this chunk, have their outcomes. If
    /// `holds_all` is true, the records are duplicates. Otherwise they are compared with the stored documents, like
    /// records with other content.
    fn settle_equal(&mut self, holds_all: bool) {
        for at in 0..self.records.len() {
            if self.records[at].earlier != Earlier::Equal {
                continue;
            }
            if holds_all {
                self.settle(at, Outcome::Duplicate);
            } else {
                self.records[at].earlier = Earlier::Other;
                self.equal_and_asked.insert(at);
            }
        }
        self.unsettled[Earlier::Other as usize] += std::mem::take(&mut self.unsettled[Earlier::Equal as usize]);
    }
}

#[cfg(test)]
mod tests;
