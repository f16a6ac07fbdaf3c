//! Writes the documents that a load of a source writes, in the load's order, as BSON back to back.
//!
//! `dump_documents SOURCE FILE`. The benchmark replays the file to find what the server alone costs.

use std::collections::HashSet;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use medlift::encode::{Id, IdentityKey};
use medlift::pipeline::{Bench, Plan, Wishes};
use medlift::read::{Block, ReadOptions, Reader};
use medlift::spec::Spec;
use medlift::write::{EncodedRun, Mode, Policy, RUN_BYTES_DEFAULT, RunBuilder};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, out] = arguments.as_slice() else { return Err("usage: dump_documents SOURCE FILE".into()) };
    let wishes = Wishes { sources: vec![source.clone()], ..Wishes::default() };
    let plan = Plan::new(Spec::built_in(), IdentityKey::default(), &wishes)?;
    let mut dump = Dump { out: BufWriter::with_capacity(1 << 20, File::create(out)?), seen: HashSet::new() };
    dump.write_all(&plan)?;
    dump.out.flush()?;
    Ok(())
}

struct Dump {
    out: BufWriter<File>,
    seen: HashSet<Id>,
}

impl Dump {
    fn write_all(&mut self, plan: &Plan) -> Result<(), Box<dyn Error>> {
        let policy = Policy { mode: Mode::Insert, on_conflict: plan.spec.identity.on_conflict, empty_at_start: true };
        let mut builder = RunBuilder::new(policy, RUN_BYTES_DEFAULT, 0);
        let mut bench = Bench::new(plan, 0, None);
        let mut reader = Reader::open(&plan.sources[0].source, 0, &ReadOptions::default())?;
        reader.start(&plan.sources[0].layout.format);
        while let Some(block) = reader.next_block(Block::default())? {
            if let Some(run) = builder.push(bench.encode(&block, Vec::new())) {
                self.write(&run)?;
            }
        }
        builder.finish().map_or(Ok(()), |run| self.write(&run))
    }

    /// Of a record that an earlier run held, the load writes nothing.
    fn write(&mut self, run: &EncodedRun) -> Result<(), Box<dyn Error>> {
        for entry in run.entries.iter().filter(|entry| self.seen.insert(entry.id)) {
            self.out.write_all(run.document(entry))?;
        }
        Ok(())
    }
}
