//! Drives the machine through bad histories: lost replies, write concerns that are not met, steps down that roll back
//! what was acknowledged without one, duplicates, refusals; and holds it to what it promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::batch::{BatchId, Member, Step};
use super::machine::{Action, Complaint, Earlier, Event, Limits, Machine, Planned, Reply, Verdict};
use super::outcome::{Mode, Outcome, Policy, Refusal};
use super::run::RUNS_MAX;
use crate::spec::OnConflict;

/// A record of the simulated source: identity and content.
type Record = (u16, u8);

/// One server with a journal: what is applied may be lost until it is durable.
#[derive(Debug, Default)]
struct Server {
    durable: BTreeMap<u16, u8>,
    applied: BTreeMap<u16, u8>,
}

/// What goes wrong with one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Carried out, and nobody hears of it.
    ReplyLost,
    /// Never arrives.
    CommandLost,
    /// Answered with a write concern error beside everything else, and kept.
    ConcernMissed,
    /// The same, and then rolled back.
    RolledBack,
}

/// The identity that the validator refuses.
const REFUSED: u16 = 7;

impl Server {
    fn current(&self, id: u16) -> Option<u8> {
        self.applied.get(&id).or_else(|| self.durable.get(&id)).copied()
    }

    fn write(&mut self, step: Step, records: &[Record]) -> Vec<(u32, Complaint)> {
        let mut errors = Vec::new();
        for (position, &(id, content)) in records.iter().enumerate() {
            if id == REFUSED {
                errors.push((position as u32, Complaint::Code(121)));
            } else if step == Step::Insert && self.current(id).is_some() {
                errors.push((position as u32, Complaint::Taken));
            } else {
                self.applied.insert(id, content);
            }
        }
        errors
    }

    fn make_durable(&mut self) {
        self.durable.append(&mut self.applied);
    }

    fn event(&mut self, batch: BatchId, step: Step, records: &[Record], fault: Fault) -> Event {
        if fault == Fault::CommandLost {
            return Event::Failed { batch, transient: true };
        }
        if step == Step::Compare {
            let verdict = |&(id, content): &Record| match self.durable.get(&id) {
                None => Verdict::Absent,
                Some(&stored) if stored == content => Verdict::Equal,
                Some(_) => Verdict::Different,
            };
            return Event::Compared(batch, records.iter().map(verdict).collect());
        }
        let errors = self.write(step, records);
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

struct Simulation {
    machine: Machine,
    server: Server,
    /// The runs that are written; those before were settled by an earlier load.
    runs: Vec<Vec<Record>>,
    settled: Vec<Vec<Outcome>>,
    waiting: VecDeque<Event>,
    faults: VecDeque<Fault>,
}

impl Simulation {
    fn run(
        [passed, runs]: [&[Vec<Record>]; 2],
        stored: &BTreeMap<u16, u8>,
        policy: Policy,
        faults: Vec<Fault>,
        order: &[u8],
    ) -> Self {
        let limits = Limits { batch_docs_max: 3, batch_bytes_max: 25, in_flight_max: 3, attempts_max: 200 };
        let server = Server { durable: model(passed, stored, policy).0, applied: BTreeMap::new() };
        let machine = Machine::new(limits, policy);
        let (runs, settled, waiting) = (runs.to_vec(), Vec::new(), VecDeque::new());
        let mut this = Self { machine, server, runs, settled, waiting, faults: faults.into() };
        for _ in passed {
            this.tell(Event::Passed);
        }
        let mut seen: BTreeMap<u16, u8> = passed.iter().flatten().copied().collect();
        let mut coming = VecDeque::new();
        for run in &this.runs {
            coming.push_back(run.iter().map(|&record| planned(record, &seen)).collect());
            seen.extend(run.iter().copied());
        }
        let mut order = order.iter().cycle();
        loop {
            let taken = this.runs.len() - coming.len();
            let may_come = !coming.is_empty() && taken - this.settled.len() < RUNS_MAX;
            let choices = this.waiting.len() + usize::from(may_come);
            if choices == 0 {
                break;
            }
            let at = usize::from(*order.next().expect("the order is not empty")) % choices;
            let event = this.waiting.remove(at).or_else(|| coming.pop_front().map(Event::Run));
            this.tell(event.expect("the choice is among what there is"));
            if coming.is_empty() {
                this.tell(Event::Ended);
            }
        }
        this
    }

    fn tell(&mut self, event: Event) {
        for action in self.machine.on(event) {
            match action {
                Action::Send { batch, step, members } => {
                    assert!(!members.is_empty() && members.len() <= 3);
                    let record = |member: &Member| self.runs[member.run as usize][member.at as usize];
                    let records: Vec<Record> = members.iter().map(record).collect();
                    let fault = self.faults.pop_front().unwrap_or(Fault::None);
                    let event = self.server.event(batch, step, &records, fault);
                    self.waiting.push_back(event);
                }
                Action::Delay(batch, delay_ms) => {
                    assert!(delay_ms <= 5_000);
                    self.waiting.push_back(Event::Elapsed(batch));
                }
                Action::Settle { run, outcomes, .. } => {
                    assert_eq!(run as usize, self.settled.len(), "runs settle in order");
                    self.settled.push(outcomes);
                }
                Action::Stop(_) => panic!("nothing here lasts long enough to stop a load"),
            }
        }
    }
}

fn planned((id, content): Record, seen: &BTreeMap<u16, u8>) -> Planned {
    let earlier = match seen.get(&id) {
        None => Earlier::Nothing,
        Some(&before) if before == content => Earlier::Equal,
        Some(_) => Earlier::Other,
    };
    Planned { bytes: 10, earlier, lead: u32::from(id / 3) << 29 }
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
    let rule = prop_oneof![Just(OnConflict::KeepFirst), Just(OnConflict::KeepLast), Just(OnConflict::Reject)];
    let mode = prop_oneof![2 => Just(Mode::Insert), 1 => Just(Mode::Upsert)];
    (mode, rule)
}

/// What the collection must hold in the end, and the outcomes if nothing goes wrong: the records applied one after the
/// other, by the rule alone.
fn model(runs: &[Vec<Record>], stored: &BTreeMap<u16, u8>, policy: Policy) -> (BTreeMap<u16, u8>, Vec<Vec<Outcome>>) {
    let (mut held, mut came) = (stored.clone(), BTreeSet::new());
    let mut outcome = |&(id, content): &Record| {
        let is_own = !came.insert(id);
        match held.get(&id) {
            _ if id == REFUSED => Outcome::Refused(Refusal::Validation),
            Some(&before) if before == content && is_own => Outcome::Duplicate,
            Some(&before) if before == content => Outcome::Present,
            Some(_) if !policy.later_wins() => policy.on_different().expect_err("what is stored is kept"),
            before => {
                let outcome =
                    before.map_or(Outcome::Written, |_| if is_own { Outcome::ReplacedOwn } else { Outcome::Replaced });
                held.insert(id, content);
                outcome
            }
        }
    };
    let outcomes = runs.iter().map(|run| run.iter().map(&mut outcome).collect()).collect();
    (held, outcomes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_history_ends_with_the_right_documents_and_an_outcome_each(
        runs in prop::collection::vec(prop::collection::btree_map(0u16..20, 0u8..3, 0..9), 0..10),
        passed in prop_oneof![3 => Just(0), 1 => 0usize..10],
        stored in prop::collection::btree_map(0u16..20, 0u8..3, 0..6),
        (mode, on_conflict) in policy(),
        faults in prop_oneof![1 => Just(Vec::new()), 3 => prop::collection::vec(fault(), 0..30)],
        order in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let stored: BTreeMap<u16, u8> = stored.into_iter().filter(|(id, _)| *id != REFUSED).collect();
        let runs: Vec<Vec<Record>> = runs.into_iter().map(|run| run.into_iter().collect()).collect();
        let policy = Policy { mode, on_conflict, empty_at_start: stored.is_empty(), is_resumed: false };
        let faultless = faults.iter().all(|fault| *fault == Fault::None);
        let (before, after) = runs.split_at(passed.min(runs.len()));
        let done = Simulation::run([before, after], &stored, policy, faults, &order);
        let (held, expected) = model(&runs, &stored, policy);
        prop_assert!(done.machine.is_idle());
        prop_assert_eq!(done.settled.len(), after.len());
        prop_assert_eq!(&done.server.durable, &held);
        prop_assert!(done.server.applied.is_empty(), "nothing settled may still be lost");
        for (&(id, _), outcome) in after.iter().flatten().zip(done.settled.iter().flatten()) {
            prop_assert_ne!(*outcome, Outcome::Pending);
            prop_assert_eq!(*outcome == Outcome::Refused(Refusal::Validation), id == REFUSED);
        }
        if faultless {
            prop_assert_eq!(&done.settled, &expected[before.len()..]);
        }
        if stored.is_empty() {
            let written = done.settled.iter().flatten().filter(|outcome| matches!(outcome, Outcome::Written)).count();
            let there = model(before, &stored, policy).0.len();
            prop_assert_eq!(there + written, done.server.durable.len(), "each document was written once and counted once");
        }
    }
}

/// A run of one record and another one of the same, with a server that takes everything: the steps that are sent.
fn steps_for_a_repeat(earlier: Earlier, first: Outcome) -> Vec<Step> {
    let limits = Limits { batch_docs_max: 10, batch_bytes_max: 100, in_flight_max: 1, attempts_max: 3 };
    let policy = Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let mut machine = Machine::new(limits, policy);
    let record = |earlier| Event::Run(vec![Planned { bytes: 10, earlier, lead: 0 }]);
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
                let refused = (0, Complaint::Code(121));
                let errors = if first == Outcome::Written { Vec::new() } else { vec![refused] };
                actions.extend(machine.on(Event::Replied(batch, Reply { errors, durable: true })));
            }
            Action::Settle { outcomes: settled, .. } => outcomes.extend(settled),
            other => panic!("{other:?} has no reason here"),
        }
    }
    assert_eq!(outcomes, [first, Outcome::Duplicate]);
    steps
}

#[test]
fn the_server_is_not_asked_for_what_the_load_wrote_itself() {
    let refused = Outcome::Refused(Refusal::Validation);
    assert_eq!(steps_for_a_repeat(Earlier::Equal, Outcome::Written), [Step::Insert]);
    assert_eq!(steps_for_a_repeat(Earlier::Other, Outcome::Written), [Step::Insert, Step::Compare]);
    assert_eq!(steps_for_a_repeat(Earlier::Equal, refused), [Step::Insert, Step::Compare]);
}

#[test]
fn a_batch_that_never_succeeds_stops_the_load() {
    let limits = Limits { batch_docs_max: 10, batch_bytes_max: 100, in_flight_max: 2, attempts_max: 3 };
    let policy = Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let mut machine = Machine::new(limits, policy);
    let mut actions: VecDeque<Action> =
        machine.on(Event::Run(vec![Planned { bytes: 10, earlier: Earlier::Nothing, lead: 0 }])).into();
    let mut sent = 0;
    while let Some(action) = actions.pop_front() {
        match action {
            Action::Send { batch, .. } => {
                sent += 1;
                actions.extend(machine.on(Event::Failed { batch, transient: true }));
            }
            Action::Delay(batch, _) => actions.extend(machine.on(Event::Elapsed(batch))),
            Action::Stop(_) => {
                assert_eq!(sent, 4, "once, and three times again");
                return;
            }
            Action::Settle { .. } => panic!("nothing was written"),
        }
    }
    panic!("the machine waits for ever");
}

#[test]
fn no_batch_exceeds_its_bounds_and_a_large_document_goes_alone() {
    let limits = Limits { batch_docs_max: 4, batch_bytes_max: 100, in_flight_max: 100, attempts_max: 3 };
    let policy = Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let sizes = [40, 40, 40, 500, 10, 10, 10, 10, 10];
    let run = sizes.iter().map(|&bytes| Planned { bytes, earlier: Earlier::Nothing, lead: 0 }).collect();
    let actions = Machine::new(limits, policy).on(Event::Run(run));
    let batches: Vec<Vec<u32>> = actions
        .into_iter()
        .filter_map(|action| if let Action::Send { members, .. } = action { Some(members) } else { None })
        .map(|members| members.iter().map(|member| member.at).collect())
        .collect();
    assert_eq!(batches, [vec![0, 1], vec![2], vec![3], vec![4, 5, 6, 7], vec![8]]);
}

#[test]
fn what_is_left_in_the_end_is_shared_by_the_commands_under_way() {
    let limits = Limits { batch_docs_max: 4_000, batch_bytes_max: 1 << 20, in_flight_max: 2, attempts_max: 3 };
    let policy = Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: true, is_resumed: false };
    let mut machine = Machine::new(limits, policy);
    let record = Planned { bytes: 10, earlier: Earlier::Nothing, lead: 0 };
    let mut waiting: VecDeque<Action> = machine.on(Event::Run(vec![record; 14_000])).into();
    machine.on(Event::Ended);
    let mut lengths = Vec::new();
    while let Some(Action::Send { batch, members, .. }) = waiting.pop_front() {
        lengths.push(members.len());
        waiting.extend(machine.on(Event::Replied(batch, Reply { errors: Vec::new(), durable: true })));
    }
    assert_eq!(lengths, [4_000, 4_000, 3_000, 1_500, 750, 500, 250]);
}
