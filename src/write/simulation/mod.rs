//! Runs the state machine against a simulated server with random failures, and checks the final documents and outcomes.
//! The failures are lost commands, lost replies, write concern errors, and rollbacks after a change of the primary.
//! Some records are duplicates, and the server refuses some.

mod newest;
mod owners;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use super::batch::{BatchId, Member, Step};
use super::chunk::CHUNKS_MAX;
use super::machine::{Action, Complaint, Doubts, Earlier, Event, Limits, Machine, Planned, Reply, Verdict};
use super::outcome::{Mode, Outcome, Policy, Refusal};
use crate::encode::{Digest, Version};
use crate::spec::OnConflict;

/// A record of the simulated source: its identity and its content. The content is a number below [`OTHERS`]. Of two
/// contents, the greater one is newer.
type Record = (u16, u8);

/// This bit of a stored content stands for a field that another program wrote. A merge keeps the bit; a replacement
/// clears it.
const OTHERS: u8 = 0x10;

/// A simulated server. A write is first in `applied`, where it may be lost, and later in `durable`.
#[derive(Debug, Default)]
struct Server {
    durable: BTreeMap<u16, u8>,
    applied: BTreeMap<u16, u8>,
}

/// The failure of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The command is executed, but its reply is lost.
    ReplyLost,
    /// The command never arrives.
    CommandLost,
    /// The writes are kept, but the reply contains a write concern error. It also contains the errors of single
    /// records.
    ConcernMissed,
    /// The reply contains a write concern error, and the writes are rolled back.
    RolledBack,
}

/// The validator refuses records with this identity.
const REFUSED: u16 = 7;

/// Returns the content of a stored document after a record was merged into it.
const fn merged(before: u8, content: u8) -> u8 {
    before & !(OTHERS - 1) | content
}

/// Returns true if a record adds nothing to the stored content.
fn is_equal(stored: u8, content: u8, policy: Policy) -> bool {
    stored == content || policy.mode == Mode::Merge && merged(stored, content) == stored
}

fn version(content: u8) -> Version {
    Digest(content.into()).into()
}

impl Server {
    fn current(&self, id: u16) -> Option<u8> {
        self.applied.get(&id).or_else(|| self.durable.get(&id)).copied()
    }

    /// Executes a write. `read` has the contents with which the records were compared.
    fn write(&mut self, step: Step, records: &[Record], read: &[Option<u8>]) -> Vec<(u32, Complaint)> {
        let mut errors = Vec::new();
        for (position, &(id, content)) in records.iter().enumerate() {
            let before = self.current(id);
            if id == REFUSED {
                errors.push((position as u32, Complaint::Refused(Refusal::Validation)));
            } else if before.is_some()
                && (step == Step::Insert || step == Step::ReplaceOlder && before != read[position])
            {
                errors.push((position as u32, Complaint::Taken));
            } else {
                let merges = step == Step::Merge;
                self.applied.insert(id, if merges { merged(before.unwrap_or(0), content) } else { content });
            }
        }
        errors
    }

    fn make_durable(&mut self) {
        self.durable.append(&mut self.applied);
    }

    fn verdict(&self, (id, content): Record, policy: Policy) -> Verdict {
        match self.durable.get(&id) {
            None => Verdict::Absent,
            Some(&stored) if is_equal(stored, content, policy) => Verdict::Equal,
            Some(&stored) if policy.newest_wins() && stored > content => Verdict::Newer,
            Some(_) => Verdict::Different,
        }
    }

    fn event(
        &mut self,
        (batch, step): (BatchId, Step),
        records: &[Record],
        read: &[Option<u8>],
        policy: Policy,
        fault: Fault,
    ) -> Event {
        if fault == Fault::CommandLost {
            return Event::Failed { batch, transient: true };
        }
        if step == Step::Compare {
            return Event::Compared(batch, records.iter().map(|&record| self.verdict(record, policy)).collect());
        }
        let errors = self.write(step, records, read);
        match fault {
            Fault::RolledBack => self.applied.clear(),
            _ => self.make_durable(),
        }
        match fault {
            Fault::ReplyLost => Event::Failed { batch, transient: true },
            Fault::ConcernMissed | Fault::RolledBack => Event::Replied(batch, Reply { errors, durable: false }),
            _ => Event::Replied(batch, Reply { errors, durable: true }),
        }
    }
}

/// A complete chunk: its number among the chunks of the process, its outcomes, and how many of them are uncertain.
type SettledChunk = (u64, Vec<Outcome>, Doubts);

/// A process that writes the chunks. The server executes each command immediately. The answers arrive in any order.
struct Process {
    machine: Machine,
    policy: Policy,
    /// The contents with which records were compared, for [`Step::ReplaceOlder`].
    read: HashMap<Member, Option<u8>>,
    /// The chunks that the process writes. Chunks that an earlier process committed are not among them.
    chunks: Vec<Vec<Record>>,
    /// Number of shards of the collection.
    shards: u16,
    coming: VecDeque<Event>,
    settled: u64,
    waiting: VecDeque<Event>,
}

impl Process {
    fn new(passed: &[Vec<Record>], chunks: &[Vec<Record>], policy: Policy, shards: u16) -> Self {
        let limits = Limits { batch_docs_max: 3, batch_bytes_max: 25, in_flight_max: 3, attempts_max: 200 };
        let mut machine = Machine::new(limits, policy, shards.into());
        for _ in passed {
            assert_eq!(machine.on(Event::Passed), []);
        }
        let mut seen: BTreeMap<u16, u8> = passed.iter().flatten().copied().collect();
        let mut coming = VecDeque::new();
        for chunk in chunks {
            coming.push_back(Event::Chunk(chunk.iter().map(|&record| planned(record, &seen, shards)).collect()));
            seen.extend(chunk.iter().copied());
        }
        let chunks = chunks.to_vec();
        let (read, waiting) = (HashMap::new(), VecDeque::new());
        Self { machine, policy, read, chunks, shards, coming, settled: 0, waiting }
    }

    /// Returns how many different events may happen next. Returns 0 at the end.
    fn choices(&self) -> usize {
        let taken = self.chunks.len() - self.coming.len();
        let may_come = !self.coming.is_empty() && taken - (self.settled as usize) < CHUNKS_MAX;
        self.waiting.len() + usize::from(may_come)
    }

    /// Makes one of the possible events happen: the one with the number `choice`.
    fn step(&mut self, choice: usize, server: &mut Server, faults: &mut VecDeque<Fault>) -> Vec<SettledChunk> {
        let event = self.waiting.remove(choice % self.choices()).or_else(|| self.coming.pop_front());
        let mut settled = Vec::new();
        self.tell(event.expect("the choice must be one of the possible events"), server, faults, &mut settled);
        if self.coming.is_empty() {
            self.tell(Event::Ended, server, faults, &mut settled);
        }
        settled
    }

    fn tell(&mut self, event: Event, server: &mut Server, faults: &mut VecDeque<Fault>, into: &mut Vec<SettledChunk>) {
        for action in self.machine.on(event) {
            match action {
                Action::Send { batch, step, members } => {
                    assert!(!members.is_empty() && members.len() <= 3);
                    let record = |member: &Member| self.chunks[member.chunk as usize][member.at as usize];
                    let records: Vec<Record> = members.iter().map(record).collect();
                    let mut shards = records.iter().map(|(id, _)| shard_of(*id, self.shards));
                    let first = shards.next();
                    assert!(shards.all(|shard| Some(shard) == first), "a command must go to one shard: {records:?}");
                    let fault = faults.pop_front().unwrap_or(Fault::None);
                    if step == Step::Compare {
                        let stored = |(id, _): &Record| server.durable.get(id).copied();
                        self.read.extend(members.iter().copied().zip(records.iter().map(stored)));
                    }
                    let read: Vec<Option<u8>> =
                        members.iter().map(|member| self.read.get(member).copied().flatten()).collect();
                    self.waiting.push_back(server.event((batch, step), &records, &read, self.policy, fault));
                }
                Action::Delay(batch, delay_ms) => {
                    assert!(delay_ms <= 5_000);
                    self.waiting.push_back(Event::Elapsed(batch));
                }
                Action::Settle { chunk, outcomes, doubts } => {
                    assert_eq!(chunk, self.settled, "chunks must become complete in order");
                    self.settled += 1;
                    into.push((chunk, outcomes, doubts));
                }
                Action::Stop(_) => panic!("the simulated failures must not stop a load"),
            }
        }
    }
}

/// Returns the shard that owns the `_id`. Each shard owns several ranges.
const fn shard_of(id: u16, shards: u16) -> u16 {
    id / 2 % shards
}

fn planned((id, content): Record, seen: &BTreeMap<u16, u8>, shards: u16) -> Planned {
    let earlier = match seen.get(&id) {
        None => Earlier::Nothing,
        Some(&before) if before == content => Earlier::Equal,
        Some(_) => Earlier::Other,
    };
    Planned { bytes: 10, earlier, lead: u32::from(id / 3) << 29, shard: shard_of(id, shards) }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::ReplyLost),
        1 => Just(Fault::CommandLost),
        1 => Just(Fault::ConcernMissed),
        1 => Just(Fault::RolledBack),
    ]
}

fn policy() -> impl Strategy<Value = (Mode, OnConflict)> {
    let newest = OnConflict::Newest { order_by: 0 };
    let rule = prop_oneof![
        1 => Just(OnConflict::KeepFirst),
        1 => Just(OnConflict::KeepLast),
        1 => Just(OnConflict::Reject),
        2 => Just(newest)
    ];
    let mode = prop_oneof![2 => Just(Mode::Insert), 1 => Just(Mode::Upsert), 1 => Just(Mode::Merge)];
    (mode, rule)
}

/// Applies the policy to one record after another. Returns the final content of the collection and the outcomes that a
/// load without failures must have.
fn model(chunks: &[Vec<Record>], stored: &BTreeMap<u16, u8>, policy: Policy) -> (BTreeMap<u16, u8>, Vec<Vec<Outcome>>) {
    let (mut held, mut came) = (stored.clone(), BTreeSet::new());
    let mut outcome = |&(id, content): &Record| {
        let is_own = !came.insert(id);
        match held.get(&id) {
            _ if id == REFUSED => Outcome::Refused(Refusal::Validation),
            Some(&before) if is_equal(before, content, policy) && is_own => Outcome::Duplicate,
            Some(&before) if is_equal(before, content, policy) => Outcome::Present,
            Some(&before) if !policy.replaces(version(before), version(content)) => {
                policy.on_different().err().unwrap_or(Outcome::Conflict)
            }
            before => {
                let outcome =
                    before.map_or(Outcome::Written, |_| if is_own { Outcome::ReplacedOwn } else { Outcome::Replaced });
                let merges = policy.mode == Mode::Merge;
                held.insert(id, if merges { merged(before.copied().unwrap_or(0), content) } else { content });
                outcome
            }
        }
    };
    let outcomes = chunks.iter().map(|chunk| chunk.iter().map(&mut outcome).collect()).collect();
    (held, outcomes)
}

/// Generates chunks whose records have unique `_id`s and are sorted.
fn chunks() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let chunk = prop::collection::btree_map(0u16..20, 0u8..3, 0..9);
    prop::collection::vec(chunk, 0..10)
        .prop_map(|chunks| chunks.into_iter().map(|chunk| chunk.into_iter().collect()).collect())
}

/// Generates documents of other programs. Some are equal to records, and some have a field that no record has.
fn stored() -> impl Strategy<Value = BTreeMap<u16, u8>> {
    let content = prop_oneof![3 => 0u8..3, 1 => OTHERS..OTHERS + 3];
    let stored = prop::collection::btree_map(0u16..20, content, 0..6);
    stored.prop_map(|stored| stored.into_iter().filter(|(id, _)| *id != REFUSED).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_run_ends_with_the_right_documents_and_an_outcome_for_each_record(
        chunks in chunks(),
        shards in prop_oneof![1 => Just(1u16), 1 => 2u16..5],
        passed in prop_oneof![3 => Just(0), 1 => 0usize..10],
        stored in stored(),
        (mode, on_conflict) in policy(),
        faults in prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(fault(), 0..30)],
        order in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let policy = Policy { mode, on_conflict, empty_at_start: stored.is_empty(), is_resumed: false };
        let faultless = faults.iter().all(|fault| *fault == Fault::None);
        let (before, after) = chunks.split_at(passed.min(chunks.len()));
        let mut server = Server { durable: model(before, &stored, policy).0, applied: BTreeMap::new() };
        let mut process = Process::new(before, after, policy, shards);
        let (mut faults, mut order) = (faults.into(), order.iter().cycle());
        let mut settled = Vec::new();
        while process.choices() > 0 {
            let choice = usize::from(*order.next().expect("the order is not empty"));
            settled.extend(process.step(choice, &mut server, &mut faults));
        }
        let (held, expected) = model(&chunks, &stored, policy);
        prop_assert!(process.machine.is_idle());
        prop_assert_eq!(settled.len(), after.len());
        prop_assert_eq!(&server.durable, &held);
        prop_assert!(server.applied.is_empty(), "a record with an outcome must be durable");
        let in_doubt: u64 = settled.iter().map(|(.., doubts)| doubts.stored + doubts.repeats).sum();
        let settled: Vec<Vec<Outcome>> = settled.into_iter().map(|(_, outcomes, _)| outcomes).collect();
        for (&(id, _), outcome) in after.iter().flatten().zip(settled.iter().flatten()) {
            prop_assert_ne!(*outcome, Outcome::Pending);
            prop_assert_eq!(*outcome == Outcome::Refused(Refusal::Validation), id == REFUSED);
        }
        if faultless {
            prop_assert_eq!(&settled, &expected[before.len()..]);
            prop_assert_eq!(in_doubt, 0);
        }
        let written = |outcomes: &[Vec<Outcome>]| outcomes.iter().flatten().filter(|outcome| **outcome == Outcome::Written).count();
        if stored.is_empty() {
            let there = model(before, &stored, policy).0.len();
            prop_assert_eq!(there + written(&settled), server.durable.len(), "each document must be counted as written exactly once");
        } else {
            let expected = written(&expected[before.len()..]);
            prop_assert!(expected.abs_diff(written(&settled)) as u64 <= in_doubt, "a wrong count must be reported as uncertain");
        }
    }
}

/// Sends two chunks to the machine. Each has one record, with the same `_id` in both. Returns the commands that follow
/// if the first record has the outcome `first`.
fn steps_for_a_repeat(earlier: Earlier, first: Outcome) -> Vec<Step> {
    let limits = Limits { batch_docs_max: 10, batch_bytes_max: 100, in_flight_max: 1, attempts_max: 3 };
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let mut machine = Machine::new(limits, policy, 1);
    let record = |earlier| Event::Chunk(vec![Planned { bytes: 10, earlier, lead: 0, shard: 0 }]);
    let mut actions: VecDeque<Action> = machine.on(record(Earlier::Nothing)).into();
    actions.extend(machine.on(record(earlier)));
    let (mut steps, mut outcomes) = (Vec::new(), Vec::new());
    while let Some(action) = actions.pop_front() {
        match action {
            Action::Send { batch, step: Step::Compare, .. } => {
                steps.push(Step::Compare);
                actions.extend(machine.on(Event::Compared(batch, vec![Verdict::Equal])));
            }
            Action::Send { batch, step, .. } => {
                steps.push(step);
                let refused = (0, Complaint::Refused(Refusal::Validation));
                let errors = if first == Outcome::Written { Vec::new() } else { vec![refused] };
                actions.extend(machine.on(Event::Replied(batch, Reply { errors, durable: true })));
            }
            Action::Settle { outcomes: settled, .. } => outcomes.extend(settled),
            other => panic!("unexpected action {other:?}"),
        }
    }
    assert_eq!(outcomes, [first, Outcome::Duplicate]);
    steps
}

#[test]
fn a_repeat_is_not_compared_if_this_load_wrote_its_content() {
    let refused = Outcome::Refused(Refusal::Validation);
    assert_eq!(steps_for_a_repeat(Earlier::Equal, Outcome::Written), [Step::Insert]);
    assert_eq!(steps_for_a_repeat(Earlier::Other, Outcome::Written), [Step::Insert, Step::Compare]);
    assert_eq!(steps_for_a_repeat(Earlier::Equal, refused), [Step::Insert, Step::Compare]);
}

#[test]
fn a_batch_that_never_succeeds_stops_the_load() {
    let limits = Limits { batch_docs_max: 10, batch_bytes_max: 100, in_flight_max: 2, attempts_max: 3 };
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let mut machine = Machine::new(limits, policy, 1);
    let mut actions: VecDeque<Action> =
        machine.on(Event::Chunk(vec![Planned { bytes: 10, earlier: Earlier::Nothing, lead: 0, shard: 0 }])).into();
    let mut sent = 0;
    while let Some(action) = actions.pop_front() {
        match action {
            Action::Send { batch, .. } => {
                sent += 1;
                actions.extend(machine.on(Event::Failed { batch, transient: true }));
            }
            Action::Delay(batch, _) => actions.extend(machine.on(Event::Elapsed(batch))),
            Action::Stop(_) => {
                assert_eq!(sent, 4, "a batch must be sent once and repeated three times");
                return;
            }
            Action::Settle { .. } => panic!("a chunk must not be complete if its batch failed"),
        }
    }
    panic!("the machine must stop the load");
}

#[test]
fn no_batch_exceeds_its_limits_and_a_large_document_is_sent_alone() {
    let limits = Limits { batch_docs_max: 4, batch_bytes_max: 100, in_flight_max: 100, attempts_max: 3 };
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let sizes = [40, 40, 40, 500, 10, 10, 10, 10, 10];
    let chunk = sizes.iter().map(|&bytes| Planned { bytes, earlier: Earlier::Nothing, lead: 0, shard: 0 }).collect();
    let actions = Machine::new(limits, policy, 1).on(Event::Chunk(chunk));
    let batches: Vec<Vec<u32>> = actions
        .into_iter()
        .filter_map(|action| if let Action::Send { members, .. } = action { Some(members) } else { None })
        .map(|members| members.iter().map(|member| member.at).collect())
        .collect();
    assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4, 5, 6, 7], vec![8]]);
}

#[test]
fn the_last_records_are_divided_among_the_concurrent_commands() {
    let limits = Limits { batch_docs_max: 4_000, batch_bytes_max: 1 << 20, in_flight_max: 2, attempts_max: 3 };
    let policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let mut machine = Machine::new(limits, policy, 1);
    let record = Planned { bytes: 10, earlier: Earlier::Nothing, lead: 0, shard: 0 };
    let mut waiting: VecDeque<Action> = machine.on(Event::Chunk(vec![record; 14_000])).into();
    machine.on(Event::Ended);
    let mut lengths = Vec::new();
    while let Some(Action::Send { batch, members, .. }) = waiting.pop_front() {
        lengths.push(members.len());
        waiting.extend(machine.on(Event::Replied(batch, Reply { errors: Vec::new(), durable: true })));
    }
    assert_eq!(lengths, [4_000, 4_000, 3_000, 1_500, 750, 500, 250]);
}
