//! The writer's decisions as a state machine without I/O: it receives events and returns actions.
//!
//! The machine decides about batches, acknowledgements, duplicates and retries, and when a chunk is settled. It has no
//! access to documents, clocks or servers: a record is a position in its chunk, and a delay is an action whose end is an
//! event. The writer only executes the [`Action`]s. A simulation can therefore test the machine with every kind of
//! failure.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::batch::{Batch, BatchId, Member, Step};
use super::outcome::{Outcome, Policy, Refusal};
pub use super::planned::{Earlier, Limits, Planned};
use super::sweep::{self, Cut};
use crate::server::pause;

/// An input of the machine.
#[derive(Debug)]
pub enum Event {
    /// A chunk is ready. Its records are unique and sorted by `_id`. Chunks arrive in the order of their numbers.
    Chunk(Vec<Planned>),
    /// A chunk was skipped because an earlier, interrupted process had settled it. The outcomes of its records are not
    /// known here.
    Passed,
    /// No more chunks will arrive.
    Ended,
    /// The server answered an insert, a replacement or a merge.
    Replied(BatchId, Reply),
    /// The result of a read with read concern majority: one verdict for each member of the batch.
    Compared(BatchId, Vec<Verdict>),
    /// No answer arrived, or the server refused the whole command.
    Failed {
        /// The batch whose command failed.
        batch: BatchId,
        /// Whether sending it again may help.
        transient: bool,
    },
    /// A requested delay is over.
    Elapsed(BatchId),
}

/// A server's answer to one bulk command.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The documents that the server did not accept: position in the batch, and the reason.
    pub errors: Vec<(u32, Complaint)>,
    /// Whether the other documents are on disk at a majority. False if the answer contains a `writeConcernError`, with
    /// or without other errors.
    pub durable: bool,
}

/// Why the server did not accept a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Its `_id` is taken.
    Taken,
    /// A reason that passes: the document is sent again.
    Passing,
    /// A lasting reason: the document is refused.
    Refused(Refusal),
}

/// What is stored under a record's `_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same content.
    Equal,
    /// Other content.
    Different,
    /// Nothing.
    Absent,
}

/// An instruction to the writer.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these records as one command of this kind.
    Send {
        /// Identifies the batch in the event that answers.
        batch: BatchId,
        /// What to do with the records.
        step: Step,
        /// In the order in which they are sent.
        members: Vec<Member>,
    },
    /// Send [`Event::Elapsed`] after this many milliseconds.
    Delay(BatchId, u64),
    /// Every record of this chunk and of all chunks before it has its outcome. The checkpoint may move.
    Settle {
        /// Number of the chunk.
        chunk: u64,
        /// One outcome for each record of the chunk.
        outcomes: Vec<Outcome>,
        /// How many of the outcomes are not certain.
        doubts: Doubts,
    },
    /// Stop the load: this batch failed for good. Settled chunks stay settled.
    Stop(BatchId),
}

/// Outcomes that a lost reply or a killed process makes uncertain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Records that are stored, and it is not known whether this load or someone else stored them.
    pub stored: u64,
    /// Records whose `_id` occurred earlier in the load, and it is not known whether they are duplicates or replaced
    /// other content.
    pub repeats: u64,
}

/// When no more chunks arrive, the remaining records are divided among the concurrent commands, so that the load does not
/// wait long for one last command. Each command gets at least this many documents, if so many are left.
const LAST_BATCH_DOCS_MIN: usize = 500;

/// If more than one record in this many is already stored, reading before inserting is cheaper.
const LOOK_SHARE: usize = 20;

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
    /// Whether new records are looked up before they are inserted. For the server, an insert that fails because the
    /// `_id` is taken costs several times as much as a lookup.
    looks_first: bool,
    /// Current position of the sweep through the `_id`s, as leading bytes (see [`sweep`](super::sweep)).
    sweep: u32,
    /// New records that are not in a batch yet.
    uncut: usize,
    has_ended: bool,
    /// Whether the collection is known to contain every earlier record of this load, with the content of the most
    /// recent chunk. False after a record was refused or kept out by other content, or a chunk was skipped.
    holds_all: bool,
    stopped: bool,
}

/// A chunk that is not settled yet.
#[derive(Debug)]
struct Chunk {
    records: Vec<Planned>,
    outcomes: Vec<Outcome>,
    doubts: Doubts,
    /// Positions of records that occurred earlier in the load with the same content, and are compared nevertheless.
    equal_and_asked: BTreeSet<usize>,
    /// Number of records without an outcome, indexed by [`Earlier`].
    unsettled: [usize; 3],
    new: Cut,
    /// The records that are compared with the stored documents.
    asked: Cut,
}

impl Machine {
    /// A machine without chunks.
    pub fn new(limits: Limits, policy: Policy) -> Self {
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
            sweep: 0,
            uncut: 0,
            has_ended: false,
            holds_all: true,
            stopped: false,
        }
    }

    /// Returns true if every chunk it received is settled.
    pub fn is_idle(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Processes an event and returns the actions that follow from it. An answer to an unknown batch is ignored.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Chunk(records) => {
                let chunk = Chunk::new(records, self.sweep);
                self.uncut += chunk.unsettled(Earlier::Nothing);
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
        // A missed write concern does not show whether the documents will be kept. They are read with read concern
        // majority.
        let when_applied = batch.when_applied();
        self.follow(batch.follow(Step::Compare, applied, when_applied), !reply.durable, actions);
        self.follow(batch.follow(Step::Compare, taken, Outcome::Present), !reply.durable, actions);
        self.follow(batch.follow(batch.step, again, batch.when_equal), true, actions);
    }

    /// Settles a record that was found stored, or that replaced a stored document. After a lost reply, or in a resumed
    /// load, this load may have stored the document itself. It did so if the collection was empty when the load began.
    fn settle_stored(&mut self, member: Member, outcome: Outcome, is_in_doubt: bool) {
        let chunk = &mut self.chunks[(member.chunk - self.settled) as usize];
        let is_new = chunk.records[member.at as usize].earlier == Earlier::Nothing;
        let is_others = matches!(outcome, Outcome::Present | Outcome::Replaced);
        if is_in_doubt && is_new && is_others {
            chunk.doubts.stored += 1;
            let is_own = self.policy.empty_at_start;
            return self.settle_one(member, if is_own { Outcome::Written } else { outcome });
        }
        let is_replaced = outcome == Outcome::Duplicate && self.doubt_repeat(member, true);
        self.settle_one(member, if is_replaced { Outcome::ReplacedOwn } else { outcome });
    }

    /// Counts a repeat as doubtful if the later record wins and a resumed load finds another stored content than an
    /// undisturbed load would. The cause: the earlier process has already stored this record or a later one. Returns
    /// true if the repeat is doubtful.
    fn doubt_repeat(&mut self, member: Member, is_equal: bool) -> bool {
        let later_wins = self.policy.is_resumed && self.policy.later_wins();
        let chunk = &mut self.chunks[(member.chunk - self.settled) as usize];
        let at = member.at as usize;
        let is_repeat = chunk.records[at].earlier != Earlier::Nothing;
        let is_doubted = later_wins && is_repeat && chunk.equal_and_asked.contains(&at) != is_equal;
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
                Verdict::Different => {
                    self.doubt_repeat(member, false);
                    different.push(member);
                }
            }
        }
        if batch.is_first_look && batch.when_equal == Outcome::Present {
            self.looks_first = (batch.members.len() - absent.len()) * LOOK_SHARE > batch.members.len();
        }
        // The record was acknowledged, or its `_id` was taken, but the document is not there. It was rolled back or is
        // not at a majority yet. It is inserted again after a pause.
        let mut again = batch.follow(Step::Insert, absent, Outcome::Present);
        again.in_doubt |= !batch.is_first_look;
        self.follow(again, !batch.is_first_look, actions);
        match self.policy.on_different() {
            Ok(step) => {
                let own = batch.when_equal == Outcome::Duplicate;
                let when_applied = if own { Outcome::ReplacedOwn } else { Outcome::Replaced };
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

    /// Queues a batch that results from another one. Delays it first if `pauses` is set, because the same step is tried
    /// again.
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

    fn take(&mut self, id: BatchId) -> Option<Batch> {
        let batch = self.batches.remove(&id)?;
        self.in_flight -= 1;
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
            let chunk = self.chunks.pop_front().expect("the front was just seen");
            actions.push(Action::Settle { chunk: self.settled, outcomes: chunk.outcomes, doubts: chunk.doubts });
            self.settled += 1;
        }
        while !self.stopped && self.in_flight < self.limits.in_flight_max {
            let Some(mut batch) = self.ready.pop_front().or_else(|| self.cut()) else { break };
            let id = self.new_id();
            batch.sent_as = Some(id);
            let (step, members) = (batch.step, batch.members.clone());
            self.batches.insert(id, batch);
            self.in_flight += 1;
            actions.push(Action::Send { batch: id, step, members });
        }
    }

    fn limits_for_new(&self) -> Limits {
        let share = self.uncut.div_ceil(self.limits.in_flight_max).max(LAST_BATCH_DOCS_MIN);
        let docs_max = self.limits.batch_docs_max;
        Limits { batch_docs_max: if self.has_ended { docs_max.min(share) } else { docs_max }, ..self.limits }
    }

    /// The next batch. If all new records of the first chunk are settled, its records that must be compared come first.
    /// Otherwise the batch takes the next records of the sweep.
    fn cut(&mut self) -> Option<Batch> {
        let front = self.chunks.front_mut()?;
        if front.unsettled(Earlier::Nothing) == 0 {
            // These records are few and are only read, so they are read in `_id` order and do not move the sweep.
            let members = sweep::cut(&mut [(self.settled, &front.records, &mut front.asked)], &mut 0, self.limits);
            if !members.is_empty() {
                return Some(Batch::new(Step::Compare, members, Outcome::Duplicate));
            }
        }
        let limits = self.limits_for_new();
        let chunks = (self.settled..).zip(&mut self.chunks);
        let mut chunks: Vec<_> = chunks.map(|(number, chunk)| (number, &chunk.records[..], &mut chunk.new)).collect();
        let members = sweep::cut(&mut chunks, &mut self.sweep, limits);
        self.uncut -= members.len();
        let step = if self.looks_first { Step::Compare } else { Step::Insert };
        (!members.is_empty()).then(|| Batch::new(step, members, Outcome::Present))
    }
}

impl Chunk {
    /// A chunk that joins the sweep at its current position.
    fn new(records: Vec<Planned>, sweep: u32) -> Self {
        let mut unsettled = [0; 3];
        for record in &records {
            unsettled[record.earlier as usize] += 1;
        }
        Self {
            outcomes: vec![Outcome::Pending; records.len()],
            doubts: Doubts::default(),
            equal_and_asked: BTreeSet::new(),
            unsettled,
            new: Cut::new(Earlier::Nothing, &records, sweep),
            asked: Cut::new(Earlier::Other, &records, 0),
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

    /// Settles the records whose content occurred before, once everything before them is settled. If `holds_all` is
    /// true they are duplicates. Otherwise they are compared with the stored documents, like records with other
    /// content.
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
