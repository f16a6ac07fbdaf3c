//! Simulates loads whose owner changes: processes are killed or frozen, leases expire, and a frozen process continues
//! after another process has taken its load over. A lease is a process's right to write a load for a limited time
//! (`ledger/lease.rs`).

use super::*;
use crate::ledger::{Lease, Owner};

/// Length of a lease, in ticks of the simulation.
const LEASE: i64 = 20;

/// The load's ledger document, with its lease.
#[derive(Default)]
struct Ledger {
    lease: Option<Lease>,
    fence: Option<i64>,
    settled: Vec<Vec<Outcome>>,
    doubts: Doubts,
}

/// A process, with the lease that it received when it started.
struct Loader {
    owner: Owner,
    fence: i64,
    /// The time until which the process believes that it may send.
    until: i64,
    /// Number of chunks that were committed when the process began.
    base: usize,
    process: Process,
    /// Complete chunks that are not in the ledger yet. Later chunks may be written meanwhile.
    unrecorded: VecDeque<SettledChunk>,
    is_frozen: bool,
}

/// An event of the simulation.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// A process executes one of its possible events.
    Step(u8),
    /// A process is killed. Its last commands may or may not reach the server.
    Kill(u8),
    /// A process freezes, or a frozen process continues.
    Freeze(u8),
    /// Another process starts. If the process with the lease was killed, the new process knows it.
    Start,
    /// Time passes.
    Wait(u8),
}

struct World {
    chunks: Vec<Vec<Record>>,
    policy: Policy,
    server: Server,
    ledger: Ledger,
    loaders: Vec<Loader>,
    /// The owners whose processes have ended.
    killed: Vec<Owner>,
    now: i64,
    faults: VecDeque<Fault>,
}

impl World {
    fn start(&mut self) {
        let owner = Owner::this_process();
        let held = self.ledger.lease.as_ref();
        let ended = held.filter(|held| self.killed.contains(&held.owner)).map(|held| held.fence);
        let Ok(lease) = Lease::take(held, &owner, self.now, LEASE, ended) else { return };
        let is_resumed = self.ledger.fence.is_some();
        let (fence, until, base) = (lease.fence, lease.until_ms, self.ledger.settled.len());
        assert!(Lease::admits(self.ledger.fence, fence), "a new owner must have a higher fence than all before it");
        (self.ledger.lease, self.ledger.fence) = (Some(lease), Some(fence));
        let (passed, left) = self.chunks.split_at(base);
        let process = Process::new(passed, left, Policy { is_resumed, ..self.policy }, 1);
        self.loaders.push(Loader { owner, fence, until, base, process, unrecorded: VecDeque::new(), is_frozen: false });
    }

    /// Returns true if a process may still send commands. If at most half of its lease is left, the process first tries
    /// to renew the lease. If the ledger has the lease of another process, the renewal fails. The process may then send
    /// only until its own lease expires.
    fn confirms(&mut self, at: usize) -> bool {
        let loader = &mut self.loaders[at];
        if self.now < loader.until - LEASE / 2 {
            return true;
        }
        match &mut self.ledger.lease {
            Some(lease) if lease.fence == loader.fence => {
                lease.until_ms = self.now + LEASE;
                loader.until = lease.until_ms;
                true
            }
            _ => self.now < loader.until,
        }
    }

    fn step(&mut self, at: usize, choice: u8) {
        let loader = &self.loaders[at];
        let (can_go_on, can_record) = (loader.process.choices() > 0, !loader.unrecorded.is_empty());
        if loader.is_frozen || !can_go_on && !can_record {
            return;
        }
        if !self.confirms(at) {
            self.kill(at);
        } else if can_record && (!can_go_on || choice.is_multiple_of(4)) {
            self.record(at);
        } else {
            let loader = &mut self.loaders[at];
            loader.unrecorded.extend(loader.process.step(choice.into(), &mut self.server, &mut self.faults));
        }
    }

    /// Writes a complete chunk to the ledger. The ledger refuses the chunk if another process has taken the load over.
    fn record(&mut self, at: usize) {
        let loader = &mut self.loaders[at];
        let (fence, base) = (loader.fence, loader.base as u64);
        let (chunk, outcomes, doubts) =
            loader.unrecorded.pop_front().expect("a complete chunk must be waiting for the ledger");
        if !Lease::admits(self.ledger.fence, fence) {
            self.kill(at);
            return;
        }
        assert_eq!(base + chunk, self.ledger.settled.len() as u64, "a checkpoint must move by one chunk");
        self.ledger.fence = Some(fence);
        self.ledger.settled.push(outcomes);
        self.ledger.doubts.stored += doubts.stored;
        self.ledger.doubts.repeats += doubts.repeats;
    }

    fn kill(&mut self, at: usize) {
        let loader = self.loaders.remove(at);
        self.killed.push(loader.owner);
    }

    fn take(&mut self, turn: Turn) {
        let count = self.loaders.len();
        let chosen = |which: u8| usize::from(which) % count.max(1);
        match turn {
            Turn::Start => self.start(),
            Turn::Wait(ticks) => self.now += i64::from(ticks),
            _ if count == 0 => {}
            Turn::Step(choice) => self.step(chosen(choice >> 5), choice & 31),
            Turn::Kill(which) => self.kill(chosen(which)),
            Turn::Freeze(which) => {
                let loader = &mut self.loaders[chosen(which)];
                loader.is_frozen = !loader.is_frozen;
            }
        }
    }

    /// Finishes the load: the remaining processes continue, and a new process starts as soon as the lease is free.
    fn finish(&mut self) {
        let mut turns = 0;
        while self.ledger.settled.len() < self.chunks.len() {
            self.loaders.iter_mut().for_each(|loader| loader.is_frozen = false);
            self.now += 1;
            let at = turns % (self.loaders.len() + 1);
            if at == self.loaders.len() {
                self.start();
            } else {
                self.step(at, turns as u8 & 31);
            }
            turns += 1;
            assert!(turns < 10_000, "the load must end");
        }
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        12 => any::<u8>().prop_map(Turn::Step),
        1 => any::<u8>().prop_map(Turn::Kill),
        1 => any::<u8>().prop_map(Turn::Freeze),
        2 => Just(Turn::Start),
        1 => (0..2 * LEASE as u8).prop_map(Turn::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_load_with_several_owners_ends_as_if_one_process_had_done_it(
        chunks in chunks(),
        stored in stored(),
        (mode, on_conflict) in policy(),
        faults in prop_oneof![1 => Just(Vec::new()), 1 => prop::collection::vec(fault(), 0..30)],
        turns in prop::collection::vec(turn(), 0..200),
    ) {
        let policy = Policy { mode, on_conflict, empty_at_start: stored.is_empty(), is_resumed: false };
        let server = Server { durable: stored.clone(), applied: BTreeMap::new() };
        let (ledger, loaders, killed) = (Ledger::default(), Vec::new(), Vec::new());
        let mut world = World { chunks: chunks.clone(), policy, server, ledger, loaders, killed, now: 0, faults: faults.into() };
        world.start();
        for turn in turns {
            world.take(turn);
        }
        world.finish();
        let (held, expected) = model(&chunks, &stored, policy);
        let settled = &world.ledger.settled;
        prop_assert_eq!(settled.iter().map(Vec::len).collect::<Vec<_>>(), chunks.iter().map(Vec::len).collect::<Vec<_>>());
        prop_assert!(!settled.iter().flatten().any(|outcome| *outcome == Outcome::Pending));
        prop_assert_eq!(&world.server.durable, &held);
        let duplicates = |outcomes: &[Vec<Outcome>]| {
            outcomes.iter().flatten().filter(|outcome| **outcome == Outcome::Duplicate).count()
        };
        let wrong = duplicates(settled).abs_diff(duplicates(&expected)) as u64;
        prop_assert!(wrong <= world.ledger.doubts.repeats, "{} duplicates wrong, {:?}", wrong, world.ledger.doubts);
        let written = |outcomes: &[Vec<Outcome>]| outcomes.iter().flatten().filter(|outcome| **outcome == Outcome::Written).count();
        if stored.is_empty() {
            prop_assert_eq!(written(settled), held.len(), "a load into an empty collection must count exactly, even if it was killed");
        } else {
            let wrong = written(settled).abs_diff(written(&expected)) as u64;
            prop_assert!(wrong <= world.ledger.doubts.stored, "{} wrong, {} in doubt", wrong, world.ledger.doubts.stored);
        }
    }
}
