//! What the writer decides, as a state machine without I/O: events in, actions out.
//!
//! It owns batches, acknowledgements, duplicates, retries and the moment at which a run is settled. It sees no document,
//! no clock and no server: a record is a position in its run, a delay is an action that comes back as an event. The
//! writer beside it only carries out [`Action`]s, and a simulator can drive it through every bad history.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::batch::{Batch, BatchId, Member, Step};
use super::outcome::{Outcome, Policy, Refusal};
use super::sweep::{self, Cut};
use crate::access::{codes, pause};

/// A record of a run, as far as batches depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Length of its document, bytes.
    pub bytes: u32,
    /// What an earlier run of this load held under the same identity.
    pub earlier: Earlier,
    /// The leading bytes of its `_id`: where in the server's `_id` index it goes.
    pub lead: u32,
}

/// What came earlier in the load under a record's identity; where several runs had it, the latest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// No run had it: the record is new.
    Nothing,
    /// The same content. Once everything before is settled the record is a duplicate, and the server is asked only if a record
    /// of this load was refused or kept out, or runs were passed over. What others change meanwhile is for the proof to find.
    Equal,
    /// Other content. The record is compared with what is stored once everything before it is settled, and inserted only if
    /// nothing is.
    Other,
}

/// What the machine is told.
#[derive(Debug)]
pub enum Event {
    /// A run is ready, its records unique and sorted by `_id`. Runs come in the order of their numbers.
    Run(Vec<Planned>),
    /// A run came that an earlier, interrupted load has settled; what became of its records is not known here.
    Passed,
    /// No run comes any more.
    Ended,
    /// The server answered an insert or a replacement.
    Replied(BatchId, Reply),
    /// What a read at majority found, one verdict a member of the batch.
    Compared(BatchId, Vec<Verdict>),
    /// No answer, or a refusal of the whole command.
    Failed {
        /// The batch whose command failed.
        batch: BatchId,
        /// Whether sending it again may help.
        transient: bool,
    },
    /// A delay asked for is over.
    Elapsed(BatchId),
}

/// A server's answer to one bulk command.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Documents it did not take: position in the batch, and why.
    pub errors: Vec<(u32, Complaint)>,
    /// Whether the rest is on disk at a majority: false when the answer carried a `writeConcernError`, alone or beside errors.
    pub durable: bool,
}

/// Why the server did not take a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint {
    /// Its `_id` is taken.
    Taken,
    /// Anything else, by its code; 11000 is another unique index.
    Code(i32),
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

/// What the writer shall do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Send these records as one command of this kind.
    Send {
        /// Comes back with the answer.
        batch: BatchId,
        /// What to do with the records.
        step: Step,
        /// In the order in which they shall be sent.
        members: Vec<Member>,
    },
    /// Come back with [`Event::Elapsed`] after this time.
    Delay(BatchId, u64),
    /// Every record of the run has its outcome, and so has every run before it. The checkpoint may move.
    Settle {
        /// Number of the run.
        run: u64,
        /// One outcome for each of its records.
        outcomes: Vec<Outcome>,
        /// How many of the outcomes are not certain.
        doubts: Doubts,
    },
    /// A batch cannot be brought to an end: stop. What was settled stays settled.
    Stop(BatchId),
}

/// Outcomes that a lost reply or a killed process makes uncertain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts {
    /// Records that this load wrote or found there.
    pub stored: u64,
    /// Records that came earlier in the load under their identity: they are duplicates, or took the place of other content.
    pub repeats: u64,
}

/// Bounds of what the machine does.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most documents in one command; the server allows 100,000.
    pub batch_docs_max: usize,
    /// Most bytes of documents in one command. A larger document goes alone.
    pub batch_bytes_max: usize,
    /// Most commands without an answer.
    pub in_flight_max: usize,
    /// How often one batch is sent before the load stops.
    pub attempts_max: u32,
}

/// What is left in the end is shared among the commands under way, so that none of them is the last for long, but not in
/// batches of fewer documents than this.
const LAST_BATCH_DOCS_MIN: usize = 500;

/// One in so many records that is stored already makes looking first the cheaper way.
const LOOK_SHARE: usize = 20;

/// The writer's decisions. See the module.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    policy: Policy,
    runs: VecDeque<Run>,
    settled: u64,
    batches: HashMap<BatchId, Batch>,
    ready: VecDeque<Batch>,
    next_batch: u64,
    in_flight: usize,
    /// Whether new records are looked up before they are inserted: the server pays several times for an insert that meets
    /// a taken `_id`.
    looks_first: bool,
    /// How far the sweep through the `_id`s has come: leading bytes (see [`sweep`](super::sweep)).
    sweep: u32,
    /// New records that are in no batch yet.
    uncut: usize,
    has_ended: bool,
    /// Whether every record before is known to be stored as the latest run that had it held it: none was refused, kept out by
    /// other content, or passed.
    holds_all: bool,
    stopped: bool,
}

/// A run that is not settled yet.
#[derive(Debug)]
struct Run {
    records: Vec<Planned>,
    outcomes: Vec<Outcome>,
    doubts: Doubts,
    /// Records that came earlier with the same content and are compared all the same.
    equal_and_asked: BTreeSet<usize>,
    /// Records without an outcome, by what came earlier.
    unsettled: [usize; 3],
    new: Cut,
    /// Those that are compared with what is stored.
    asked: Cut,
}

impl Machine {
    /// A machine with nothing to do.
    pub fn new(limits: Limits, policy: Policy) -> Self {
        Self {
            limits,
            policy,
            runs: VecDeque::new(),
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

    /// Whether every run it was given is settled.
    pub fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// Takes in what happened and says what to do next. An answer to a batch it does not know is ignored.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Run(records) => {
                let run = Run::new(records, self.sweep);
                self.uncut += run.unsettled(Earlier::Nothing);
                self.runs.push_back(run);
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
                Some(Complaint::Code(code)) if codes::meaning(code).is_passing() => again.push(member),
                Some(Complaint::Code(code)) => {
                    self.settle_one(member, Outcome::Refused(Refusal::from_code(code)));
                }
            }
        }
        self.looks_first |= batch.step == Step::Insert && taken.len() * LOOK_SHARE > batch.members.len();
        // A write concern that was not met says nothing of what happens to the documents: they are read at majority.
        let when_applied = batch.when_applied();
        self.follow(batch.follow(Step::Compare, applied, when_applied), !reply.durable, actions);
        self.follow(batch.follow(Step::Compare, taken, Outcome::Present), !reply.durable, actions);
        self.follow(batch.follow(batch.step, again, batch.when_equal), true, actions);
    }

    /// Settles a record that was found stored, or was put in place of what was. After a lost reply, or in a load that an
    /// earlier process began, this load may have stored it itself. It did if the collection was empty when it began.
    fn settle_stored(&mut self, member: Member, outcome: Outcome, is_in_doubt: bool) {
        let run = &mut self.runs[(member.run - self.settled) as usize];
        let is_new = run.records[member.at as usize].earlier == Earlier::Nothing;
        let is_others = matches!(outcome, Outcome::Present | Outcome::Replaced);
        if is_in_doubt && is_new && is_others {
            run.doubts.stored += 1;
            let is_own = self.policy.empty_at_start;
            return self.settle_one(member, if is_own { Outcome::Written } else { outcome });
        }
        let is_replaced = outcome == Outcome::Duplicate && self.doubt_repeat(member, true);
        self.settle_one(member, if is_replaced { Outcome::ReplacedOwn } else { outcome });
    }

    /// Counts a repeat that a resumed load finds otherwise than an undisturbed one would, if the later record wins: the process
    /// before has stored this record or a later one already.
    fn doubt_repeat(&mut self, member: Member, is_equal: bool) -> bool {
        let later_wins = self.policy.is_resumed && self.policy.later_wins();
        let run = &mut self.runs[(member.run - self.settled) as usize];
        let at = member.at as usize;
        let is_repeat = run.records[at].earlier != Earlier::Nothing;
        let is_doubted = later_wins && is_repeat && run.equal_and_asked.contains(&at) != is_equal;
        run.doubts.repeats += u64::from(is_doubted);
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
        // A record that was acknowledged or taken and is not there was rolled back, or is not yet at a majority: it is inserted
        // again, after a pause.
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

    /// Sends a batch that came out of another one, after a pause where the same thing is tried again.
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
        self.runs[(member.run - self.settled) as usize].settle(member.at as usize, outcome);
    }

    fn dispatch(&mut self, actions: &mut Vec<Action>) {
        while let Some(run) = self.runs.front_mut() {
            if run.unsettled(Earlier::Nothing) == 0 && run.unsettled(Earlier::Equal) > 0 {
                run.settle_equal(self.holds_all);
            }
            if run.unsettled != [0; 3] {
                break;
            }
            let run = self.runs.pop_front().expect("the front was just seen");
            actions.push(Action::Settle { run: self.settled, outcomes: run.outcomes, doubts: run.doubts });
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

    /// The next batch: what is to be asked of the first run once all else in it is settled, else what the sweep meets next.
    fn cut(&mut self) -> Option<Batch> {
        let front = self.runs.front_mut()?;
        if front.unsettled(Earlier::Nothing) == 0 {
            // They are few and only read: from the least on, beside the sweep.
            let members = sweep::cut(&mut [(self.settled, &front.records, &mut front.asked)], &mut 0, self.limits);
            if !members.is_empty() {
                return Some(Batch::new(Step::Compare, members, Outcome::Duplicate));
            }
        }
        let limits = self.limits_for_new();
        let runs = (self.settled..).zip(&mut self.runs);
        let mut runs: Vec<_> = runs.map(|(number, run)| (number, &run.records[..], &mut run.new)).collect();
        let members = sweep::cut(&mut runs, &mut self.sweep, limits);
        self.uncut -= members.len();
        let step = if self.looks_first { Step::Compare } else { Step::Insert };
        (!members.is_empty()).then(|| Batch::new(step, members, Outcome::Present))
    }
}

impl Run {
    /// A run that joins the sweep where it is.
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

    /// Everything before is settled: `holds_all` says whether that alone tells what is stored under the identity of a record
    /// whose content came before. If not, it is asked like one of other content.
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
