//! Writes the documents that a load of a source would send to the server, as BSON without separators and in the same
//! order.
//!
//! Usage: `dump_documents SOURCE FILE [SPEC]`. The benchmark sends the file's documents to measure the time of the server
//! alone. `SPEC` is the name of a built-in spec. If it describes several kinds of documents, the file has the documents
//! of each chunk, one kind after another.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fs::File;
use std::io::{self, BufWriter, Write};

use medlift::encode::{Id, IdentityKey};
use medlift::pipeline::{Bench, Plan, Wishes};
use medlift::read::{Block, ReadOptions, Reader};
use medlift::spec::Dataset;
use medlift::write::machine::{Action, Earlier, Event, Machine, Reply};
use medlift::write::{
    BatchId, CHUNK_BYTES_DEFAULT, CHUNKS_MAX, Chunk, ChunkBuilder, KindChunk, Limits, Mode, Policy, ShardMap,
};

/// Sends one batch at a time. The size of a batch does not matter, because the file does not show where a batch ends.
const LIMITS: Limits = Limits { batch_docs_max: 1_000, batch_bytes_max: 1 << 20, in_flight_max: 1, attempts_max: 1 };

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (source, out, spec) = match arguments.as_slice() {
        [source, out] => (source, out, "admissions"),
        [source, out, spec] => (source, out, spec.as_str()),
        _ => return Err("usage: dump_documents SOURCE FILE [SPEC]".into()),
    };
    let wishes = Wishes { sources: vec![source.clone()], ..Wishes::default() };
    let plan =
        Plan::new(Dataset::built_in(spec).ok_or("no built-in spec has this name")?, IdentityKey::default(), &wishes)?;
    let policy = Policy {
        mode: Mode::Insert,
        on_conflict: plan.spec.identity.on_conflict,
        empty_at_start: true,
        is_resumed: false,
    };
    let mut dump = Dump {
        out: BufWriter::with_capacity(1 << 20, File::create(out)?),
        machine: Machine::new(LIMITS, policy, 1),
        chunks: HashMap::new(),
        chunks_taken: 0,
        sent: None,
        seen: HashSet::new(),
    };
    if plan.kinds.len() > 1 {
        dump.write_kinds(&plan, policy)?;
    } else {
        dump.write_all(&plan, policy)?;
    }
    dump.out.flush()?;
    Ok(())
}

/// The state machine of a load's writer, with a simulated server that accepts every batch at once.
struct Dump {
    out: BufWriter<File>,
    machine: Machine,
    chunks: HashMap<u64, KindChunk>,
    chunks_taken: u64,
    sent: Option<BatchId>,
    seen: HashSet<Id>,
}

impl Dump {
    /// Reads and encodes the source, and writes the documents of several kinds.
    fn write_kinds(&mut self, plan: &Plan, policy: Policy) -> Result<(), Box<dyn Error>> {
        let kinds = plan.kinds.len();
        let mut builder = ChunkBuilder::new(vec![policy; kinds], CHUNK_BYTES_DEFAULT, 0);
        let mut bench = Bench::new(plan, 0, None);
        let mut reader = Reader::open(&plan.sources[0].origin, 0, &ReadOptions::default())?;
        reader.start(plan.sources[0].layout.format.framing());
        loop {
            let block = reader.next_block(Block::default())?;
            let is_last = block.is_none();
            let full = block.and_then(|block| builder.push(bench.encode(&block, vec![Vec::new(); kinds])));
            let chunk = if is_last { builder.finish() } else { full };
            for kind in chunk.into_iter().flat_map(Chunk::into_kinds) {
                for entry in kind.entries.iter().filter(|entry| self.seen.insert(entry.id)) {
                    self.out.write_all(kind.document(entry))?;
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Reads and encodes the source, and writes all documents.
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

    /// Adds a chunk. First lets the simulated server accept batches until at most `CHUNKS_MAX - 2` chunks are open: in
    /// a load, one more chunk is being filled. The order of documents depends on the number of open chunks.
    fn take(&mut self, chunk: Chunk) -> Result<(), Box<dyn Error>> {
        let mut chunk = chunk.into_kinds().remove(0);
        self.answer_until(CHUNKS_MAX - 2)?;
        // A load does not insert a record whose `_id` was in an earlier chunk.
        chunk.entries.retain(|entry| self.seen.insert(entry.id));
        let planned = chunk.planned(&vec![Earlier::Nothing; chunk.entries.len()], &ShardMap::default());
        self.chunks.insert(self.chunks_taken, chunk);
        self.chunks_taken += 1;
        let actions = self.machine.on(Event::Chunk(planned));
        Ok(self.carry_out(actions)?)
    }

    /// Accepts batches until at most `open_max` chunks are open.
    fn answer_until(&mut self, open_max: usize) -> Result<(), Box<dyn Error>> {
        while self.chunks.len() > open_max {
            let batch = self.sent.take().ok_or("a chunk is open, but no batch was sent")?;
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
                Action::Delay(..) | Action::Stop(_) => unreachable!("the simulated server never fails"),
            }
        }
        Ok(())
    }
}
