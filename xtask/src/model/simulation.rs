//! The simulation. Workers take parts, read and encode their rows, and send them to the shards. Cores, disks,
//! connections to S3 and the ledger are queueing servers. The unit of work is a *slice* of a part: several batches that
//! one connection sends one after another.
//!
//! Workers fail at random. The part of a failed worker becomes free when its lease expires. The next worker reads the
//! part from its beginning, and writes only the slices that are not written yet.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::constants::whole;
use super::costs::{CHECKPOINT_SECONDS, Costs};
use super::station::{Station, Time};

/// Maximum number of slices of a part. With more slices, the results differ by less than 1 %.
const SLICES_MAX: u64 = 16;
/// The longest interval between two looks of a waiting worker (`POLL_MAX` in src/pipeline/parts/mod.rs). On average,
/// half of this interval passes until the worker notices that it can continue.
const POLL_SECONDS: f64 = 4.0;
/// The parts that a worker looks at with one query (`PARTS_PER_LOOK` in src/pipeline/parts/mod.rs).
const PARTS_PER_LOOK: usize = 500;
/// The simulation stops after a simulated year, even if the load is not complete. Such a load would probably never be
/// complete, because its workers fail before they have written anything.
const SECONDS_MAX: f64 = 366.0 * 86_400.0;

/// The load to simulate.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    pub(super) rows: u64,
    pub(super) part_rows: u64,
    pub(super) shards: usize,
    pub(super) workers: usize,
    pub(super) worker_cores: usize,
    pub(super) shard_cores: usize,
    /// Whether workers and server use the same cores. There is then only one shard, with `shard_cores` cores.
    pub(super) is_one_machine: bool,
    /// Bulk commands that a worker sends at the same time.
    pub(super) in_flight: usize,
    /// Bulk commands that all workers together send at the same time (`--writers-max`).
    pub(super) writers_max: Option<usize>,
    pub(super) lease_seconds: f64,
    pub(super) failures_per_hour: f64,
    /// Time until a new or failed worker looks for a part.
    pub(super) start_seconds: f64,
    pub(super) seed: u64,
}

/// The result of a simulation.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) seconds: f64,
    /// How many times each part was completed.
    pub(super) completed: Vec<u32>,
    /// Number of slices written for each part.
    pub(super) written: Vec<u64>,
    pub(super) slices: u64,
    pub(super) failures: u64,
    /// The name of each resource, and the share of the time in which it is busy. For several equal resources, the
    /// highest share.
    pub(super) busy: Vec<(&'static str, f64)>,
    /// Highest share of the ledger's time that waiting workers need when they look for parts. Above 1, the ledger is
    /// overloaded.
    pub(super) polling: f64,
}

impl Outcome {
    /// Returns the resource that limits the load, or `None` if no resource is busy for most of the time.
    pub(super) fn limit(&self) -> Option<&'static str> {
        let busiest = self.busy.iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
        (busiest.1 > 0.8).then_some(busiest.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The worker looks for a part.
    Look(usize),
    /// The worker has prepared its part.
    Begin(usize, u64),
    /// The worker has read a slice.
    Read(usize, u64),
    /// The worker has encoded a slice.
    Encoded(usize, u64),
    /// A shard has acknowledged a slice.
    Written(usize, u64),
    Fail(usize, u64),
    /// The lease of a failed worker has expired. The worker's part and its tokens (see `writers_max`) are free again.
    Expired(usize, usize),
}

#[derive(Debug, Clone, Default)]
struct Worker {
    /// Increases when the worker takes a part, completes it or fails. An event with an earlier number is ignored.
    life: u64,
    part: Option<usize>,
    unread: u64,
    /// Number of slices of the part that an earlier worker has already written. This worker does not write them again.
    skipped: u64,
    encoding: usize,
    ready: usize,
    writing: usize,
    slots: usize,
    next_shard: usize,
}

struct Simulation<'a> {
    setup: &'a Setup,
    costs: &'a Costs,
    now: f64,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    pushed: u64,
    random: u64,
    workers: Vec<Worker>,
    free_parts: VecDeque<usize>,
    waiting: Vec<usize>,
    tokens: usize,
    readers: Vec<Station>,
    /// The cores of the workers, then those of the shards. On one machine, only the first station is used.
    cores: Vec<Station>,
    disks: Vec<Station>,
    ledger: Station,
    stored: Vec<f64>,
    outcome: Outcome,
    unfinished: usize,
}

/// Simulates a load. The same setup always gives the same outcome.
pub(super) fn simulate(setup: &Setup, costs: &Costs) -> Outcome {
    let parts = setup.rows.div_ceil(setup.part_rows) as usize;
    let slices = (setup.rows / parts as u64).div_ceil(whole(costs.batch_rows)).clamp(1, SLICES_MAX);
    let outcome = Outcome {
        seconds: 0.0,
        completed: vec![0; parts],
        written: vec![0; parts],
        slices,
        failures: 0,
        busy: Vec::new(),
        polling: 0.0,
    };
    let cores = std::iter::repeat_n(setup.worker_cores, setup.workers)
        .chain(std::iter::repeat_n(setup.shard_cores, setup.shards))
        .map(|count| Station::new(if setup.is_one_machine { setup.shard_cores } else { count }));
    let mut simulation = Simulation {
        setup,
        costs,
        now: 0.0,
        events: BinaryHeap::new(),
        pushed: 0,
        random: setup.seed | 1,
        workers: vec![Worker::default(); setup.workers],
        free_parts: (0..parts).collect(),
        waiting: Vec::new(),
        tokens: setup.writers_max.unwrap_or(usize::MAX),
        readers: vec![Station::new(1); setup.workers],
        cores: cores.collect(),
        disks: vec![Station::new(1); setup.shards],
        ledger: Station::new(setup.shard_cores),
        stored: vec![0.0; setup.shards],
        outcome,
        unfinished: parts,
    };
    (0..setup.workers).for_each(|worker| simulation.push(setup.start_seconds, Event::Look(worker)));
    simulation.run()
}

impl Simulation<'_> {
    fn run(mut self) -> Outcome {
        while self.unfinished > 0
            && self.now < SECONDS_MAX
            && let Some(Reverse((Time(now), _, event))) = self.events.pop()
        {
            self.now = now;
            match event {
                Event::Look(worker) => self.look(worker),
                Event::Expired(part, tokens) => {
                    self.tokens = self.tokens.saturating_add(tokens);
                    self.free_parts.push_front(part);
                    self.wake();
                }
                Event::Begin(worker, life)
                | Event::Read(worker, life)
                | Event::Encoded(worker, life)
                | Event::Written(worker, life)
                | Event::Fail(worker, life) => {
                    if self.workers[worker].life == life {
                        self.advance(worker, event);
                    }
                }
            }
        }
        let seconds = self.now;
        let highest =
            |stations: &[Station]| stations.iter().map(|station| station.utilisation(seconds)).fold(0.0, f64::max);
        let (workers, shards) = self.cores.split_at(self.setup.workers);
        self.outcome.busy = vec![
            ("CPU of workers", highest(workers)),
            ("S3", highest(&self.readers)),
            ("CPU of shards", highest(shards)),
            ("disks of shards", highest(&self.disks)),
            ("ledger", self.ledger.utilisation(seconds)),
        ];
        Outcome { seconds, ..self.outcome }
    }

    fn push(&mut self, after: f64, event: Event) {
        self.pushed += 1;
        self.events.push(Reverse((Time(self.now + after), self.pushed, event)));
    }

    /// Returns a random number between 0 and 1 (xorshift64*).
    fn random(&mut self) -> f64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn look(&mut self, worker: usize) {
        if self.free_parts.is_empty() || self.tokens == 0 {
            self.waiting.push(worker);
            let polling = self.waiting.len() as f64 * self.costs.look(self.unfinished)
                / (POLL_SECONDS * self.setup.shard_cores as f64);
            self.outcome.polling = self.outcome.polling.max(polling);
            return;
        }
        let part = self.free_parts.pop_front();
        let looked_at = self.unfinished.min(PARTS_PER_LOOK);
        let (slots, slices) = (self.setup.in_flight.min(self.tokens), self.outcome.slices);
        self.tokens -= if self.setup.writers_max.is_some() { slots } else { 0 };
        let skipped = part.map_or(0, |part| self.outcome.written[part]);
        let next_shard = whole(self.random() * self.setup.shards as f64) as usize;
        let life = self.workers[worker].life + 1;
        self.workers[worker] = Worker { life, part, unread: slices, skipped, slots, next_shard, ..Worker::default() };
        let taken = self.ledger.serve(self.now, self.costs.look(looked_at) + self.costs.part_updates);
        self.push(taken - self.now + self.costs.part_seconds, Event::Begin(worker, life));
        if self.setup.failures_per_hour > 0.0 {
            let failure = -(1.0 - self.random()).ln() * 3600.0 / self.setup.failures_per_hour;
            self.push(failure, Event::Fail(worker, life));
        }
    }

    fn advance(&mut self, worker: usize, event: Event) {
        match event {
            Event::Fail(..) => return self.fail(worker),
            Event::Read(_, life) => {
                let station = if self.setup.is_one_machine { 0 } else { worker };
                let seconds = self.costs.encode * self.slice_rows();
                let encoded = self.cores[station].serve(self.now, seconds);
                self.push(encoded - self.now, Event::Encoded(worker, life));
            }
            Event::Encoded(..) if self.workers[worker].skipped > 0 => {
                self.workers[worker].encoding -= 1;
                self.workers[worker].skipped -= 1;
            }
            Event::Encoded(..) => {
                self.workers[worker].encoding -= 1;
                self.workers[worker].ready += 1;
            }
            Event::Written(..) => self.written(worker),
            _ => {}
        }
        self.read(worker);
        self.write(worker);
        self.end_part(worker);
    }

    fn slice_rows(&self) -> f64 {
        self.setup.rows as f64 / (self.outcome.written.len() as f64 * self.outcome.slices as f64)
    }

    /// Reads further slices while the worker has memory for them.
    fn read(&mut self, worker: usize) {
        let seconds = self.costs.read * self.slice_rows();
        let ahead = self.setup.worker_cores + self.setup.in_flight;
        loop {
            let state = &mut self.workers[worker];
            if state.unread == 0 || state.encoding + state.ready + state.writing >= ahead {
                return;
            }
            (state.unread, state.encoding) = (state.unread - 1, state.encoding + 1);
            let event = Event::Read(worker, state.life);
            let read = self.readers[worker].serve(self.now, seconds);
            self.push(read - self.now, event);
        }
    }

    /// Sends encoded slices while the worker may send further commands.
    fn write(&mut self, worker: usize) {
        let rows = self.slice_rows();
        while self.workers[worker].ready > 0 && self.workers[worker].writing < self.workers[worker].slots {
            let state = &mut self.workers[worker];
            (state.ready, state.writing, state.next_shard) = (state.ready - 1, state.writing + 1, state.next_shard + 1);
            let (shard, event) = (state.next_shard % self.setup.shards, Event::Written(worker, state.life));
            let cost = self.costs.write(self.stored[shard], self.stored[shard] / self.now.max(1.0));
            let station = if self.setup.is_one_machine { 0 } else { self.setup.workers + shard };
            let stored = self.cores[station].serve(self.now, cost.cpu * rows);
            let on_disk = self.disks[shard].serve(self.now, cost.disk * rows);
            // Changed pages are written later. If the disk is too slow, the next checkpoint waits, and so do the
            // writers.
            let late = on_disk - CHECKPOINT_SECONDS;
            let acknowledged = (stored + cost.wait * rows).max(late) + self.costs.commit * rows;
            self.stored[shard] += rows;
            self.push(acknowledged - self.now, event);
        }
    }

    fn written(&mut self, worker: usize) {
        let rows = self.slice_rows();
        self.ledger.serve(self.now, self.costs.checkpoint * rows);
        self.workers[worker].writing -= 1;
        if let Some(part) = self.workers[worker].part {
            self.outcome.written[part] += 1;
        }
    }

    fn end_part(&mut self, worker: usize) {
        let state = &mut self.workers[worker];
        let Some(part) = state.part else { return };
        if state.unread > 0 || state.encoding + state.ready + state.writing > 0 {
            return;
        }
        state.part = None;
        state.life += 1;
        let slots = state.slots;
        self.outcome.completed[part] += 1;
        self.unfinished -= 1;
        self.release(slots);
        self.push(0.0, Event::Look(worker));
    }

    fn release(&mut self, slots: usize) {
        if self.setup.writers_max.is_some() {
            self.tokens += slots;
            self.wake();
        }
    }

    /// Wakes a waiting worker, because a part or a token is free. A token is the right to send one bulk command at a
    /// time (see `writers_max`). The worker notices this only when it looks again, on average after half an interval.
    fn wake(&mut self) {
        if let Some(worker) = self.waiting.pop() {
            self.push(POLL_SECONDS / 2.0, Event::Look(worker));
        }
    }

    fn fail(&mut self, worker: usize) {
        let state = &mut self.workers[worker];
        let Some(part) = state.part.take() else { return };
        state.life += 1;
        self.outcome.failures += 1;
        let tokens = if self.setup.writers_max.is_some() { state.slots } else { 0 };
        self.push(self.setup.lease_seconds, Event::Expired(part, tokens));
        self.push(self.setup.start_seconds, Event::Look(worker));
    }
}
