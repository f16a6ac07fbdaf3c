//! Writes the documents of a load as BSON, one directly after another, in the order in which the load sends them.
//!
//! Usage: `dump_documents SOURCE FILE`. The benchmark sends the file to measure the time of the server alone.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use medlift::encode::{Id, IdentityKey};
use medlift::pipeline::{Bench, Plan, Wishes};
use medlift::read::{Block, ReadOptions, Reader};
use medlift::spec::Spec;
use medlift::write::machine::{Action, Earlier, Event, Machine, Reply};
use medlift::write::{BatchId, CHUNK_BYTES_DEFAULT, CHUNKS_MAX, Chunk, ChunkBuilder, KindChunk, Limits, Mode, Policy};

/// One batch at a time. The size of the batches does not matter, because the documents are written without gaps.
const LIMITS: Limits = Limits { batch_docs_max: 1_000, batch_bytes_max: 1 << 20, in_flight_max: 1, attempts_max: 1 };

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, out] = arguments.as_slice() else { return Err("usage: dump_documents SOURCE FILE".into()) };
    let wishes = Wishes { sources: vec![source.clone()], ..Wishes::default() };
    let plan = Plan::new(Spec::built_in(), IdentityKey::default(), &wishes)?;
    let policy = Policy {
        mode: Mode::Insert,
        on_conflict: plan.spec.identity.on_conflict,
        empty_at_start: true,
        is_resumed: false,
    };
    let mut dump = Dump {
        out: BufWriter::with_capacity(1 << 20, File::create(out)?),
        machine: Machine::new(LIMITS, policy),
        chunks: HashMap::new(),
        chunks_taken: 0,
        sent: None,
        seen: HashSet::new(),
    };
    dump.write_all(&plan, policy)?;
    dump.out.flush()?;
    Ok(())
}

/// The load's own writer, with a simulated server that accepts everything at once.
struct Dump {
    out: BufWriter<File>,
    machine: Machine,
    chunks: HashMap<u64, KindChunk>,
    chunks_taken: u64,
    sent: Option<BatchId>,
    seen: HashSet<Id>,
}

impl Dump {
    fn write_all(&mut self, plan: &Plan, policy: Policy) -> Result<(), Box<dyn Error>> {
        let mut builder = ChunkBuilder::new(vec![policy], CHUNK_BYTES_DEFAULT, 0);
        let mut bench = Bench::new(plan, 0, None);
        let mut reader = Reader::open(&plan.sources[0].origin, 0, &ReadOptions::default())?;
        reader.start(plan.sources[0].layout.format.framing());
        while let Some(block) = reader.next_block(Block::default())? {
            if let Some(chunk) = builder.push(bench.encode(&block, vec![Vec::new()])) {
                self.take(chunk)?;
            }
        }
        builder.finish().map_or(Ok(()), |chunk| self.take(chunk))?;
        self.answer_until(0)
    }

    /// Adds a chunk when there is a free place besides the one for the next chunk. This gives the order of a load, except
    /// for its timing.
    fn take(&mut self, chunk: Chunk) -> Result<(), Box<dyn Error>> {
        let mut chunk = chunk.into_kinds().remove(0);
        self.answer_until(CHUNKS_MAX - 2)?;
        // A load writes no record whose `_id` an earlier chunk contained.
        chunk.entries.retain(|entry| self.seen.insert(entry.id));
        let planned = chunk.planned(&vec![Earlier::Nothing; chunk.entries.len()]);
        self.chunks.insert(self.chunks_taken, chunk);
        self.chunks_taken += 1;
        let actions = self.machine.on(Event::Chunk(planned));
        Ok(self.carry_out(actions)?)
    }

    fn answer_until(&mut self, open_max: usize) -> Result<(), Box<dyn Error>> {
        while self.chunks.len() > open_max {
            let batch = self.sent.take().ok_or("a chunk is open and no batch is under way")?;
            let actions = self.machine.on(Event::Replied(batch, Reply { errors: Vec::new(), durable: true }));
            self.carry_out(actions)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, actions: Vec<Action>) -> io::Result<()> {
        for action in actions {
            match action {
                Action::Send { batch, members, .. } => {
                    self.sent = Some(batch);
                    for member in members {
                        let chunk = &self.chunks[&member.chunk];
                        self.out.write_all(chunk.document(&chunk.entries[member.at as usize]))?;
                    }
                }
                Action::Settle { chunk, .. } => drop(self.chunks.remove(&chunk)),
                Action::Delay(..) | Action::Stop(_) => unreachable!("nothing goes wrong here"),
            }
        }
        Ok(())
    }
}
