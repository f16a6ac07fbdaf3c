//! Measures how many rows per second each processing stage handles on one core. Run it with `cargo bench`.
//!
//! Parsing, cleaning and encoding alternate: 64 rows are parsed, then cleaned, then encoded, then the next 64 rows
//! follow. Each stage thus finds its input in the first-level cache, as in a load. The 64 rows are a *turn*. The time
//! of each turn is measured in several rounds, and the medians of all turns are added. Other work on the machine
//! therefore hardly changes the result.
//!
//! Splitting and sorting process whole blocks. For them, the processor time of the thread is measured. The same is done
//! for the whole path from splitting to encoding.

use std::error::Error;
use std::fs;
use std::io::{Cursor, Write};
use std::time::Instant;

use medlift::clean::{Cleaner, Record, Tally};
use medlift::encode::{EncodedBlock, Encoder, IdentityKey};
use medlift::generate::{self, Damage};
use medlift::parse::{Cells, Parser};
use medlift::pipeline::{Bench, Plan, Wishes};
use medlift::read::{Block, ReadError, ReadOptions, Reader};
use medlift::spec::Spec;
use medlift::write::{Chunk, Mode, Policy};

const ROWS: u64 = 100_000;
const ROUNDS: usize = 15;
/// Number of rows in one turn. A turn parses these rows, then cleans them, then encodes them. Their cells and records
/// fit in the first-level cache.
const TURN_ROWS: usize = 64;
/// Splitting is measured over several passes, because the clock is too coarse for one.
const SPLIT_PASSES: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut rows = Vec::new();
    generate::write(&mut rows, ROWS, 1, Damage::Typical)?;
    let plan = plan(&rows)?;
    let blocks = split(&plan, &rows)?;
    println!("{ROWS} rows, {:.1} MB, {ROUNDS} rounds, one thread", rows.len() as f64 / 1e6);
    println!("{:<24}{:>10}{:>16}", "stage", "ns/row", "rows/s per core");
    let seconds = rounds(|| {
        let split_all = || (0..SPLIT_PASSES).try_for_each(|_| split_only(&plan, &rows));
        processor_seconds(split_all).map(|seconds| seconds / SPLIT_PASSES as f64)
    })?;
    tell("split", seconds);
    let [parse, clean, encode] = turns(&plan, &blocks);
    tell("parse", parse);
    tell("clean", clean);
    tell("encode and hash", encode);
    tell("sort", rounds(|| sort(&plan, &blocks))?);
    tell("split to encoded, hashed", rounds(|| processor_seconds(|| whole_path(&plan, &rows)))?);
    Ok(())
}

fn tell(stage: &str, seconds: f64) {
    println!("{stage:<24}{:>10.0}{:>16.0}", seconds / ROWS as f64 * 1e9, ROWS as f64 / seconds);
}

/// Creates the plan of a load. A plan needs a file, so the rows are written to a temporary file.
fn plan(rows: &[u8]) -> Result<Plan, Box<dyn Error>> {
    let mut file = tempfile::Builder::new().suffix(".csv").tempfile()?;
    file.write_all(rows)?;
    let wishes = Wishes { sources: vec![file.path().display().to_string()], ..Wishes::default() };
    Ok(Plan::new(Spec::built_in(), IdentityKey::default(), &wishes)?)
}

fn reader(plan: &Plan, rows: &[u8]) -> Result<Reader, ReadError> {
    let mut reader = Reader::from_read("rows", Box::new(Cursor::new(rows.to_vec())), 0, &ReadOptions::default())?;
    reader.start(plan.sources[0].layout.format.framing());
    Ok(reader)
}

fn split(plan: &Plan, rows: &[u8]) -> Result<Vec<Block>, ReadError> {
    let mut reader = reader(plan, rows)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block(Block::default())? {
        blocks.push(block);
    }
    Ok(blocks)
}

fn split_only(plan: &Plan, rows: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut reader = reader(plan, rows)?;
    let mut block = Block::default();
    while let Some(next) = reader.next_block(block)? {
        block = next;
    }
    Ok(())
}

fn whole_path(plan: &Plan, rows: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut reader = reader(plan, rows)?;
    let mut bench = Bench::new(plan, 0, None);
    let (mut block, mut documents) = (Block::default(), vec![Vec::new()]);
    while let Some(next) = reader.next_block(block)? {
        let encoded = std::hint::black_box(bench.encode(&next, documents));
        documents = encoded.kinds.into_iter().map(|kind| kind.documents).collect();
        documents.iter_mut().for_each(Vec::clear);
        block = next;
    }
    Ok(())
}

/// Returns the seconds that two steps take together: first the documents of each block are sorted, then all blocks are
/// sorted and deduplicated as one chunk.
fn sort(plan: &Plan, blocks: &[Block]) -> Result<f64, Box<dyn Error>> {
    let policy = Policy {
        mode: Mode::Insert,
        on_conflict: plan.spec.identity.on_conflict,
        empty_at_start: true,
        is_resumed: false,
    };
    let mut bench = Bench::new(plan, 0, None);
    let mut encoded: Vec<EncodedBlock> = blocks.iter().map(|block| bench.encode(block, vec![Vec::new()])).collect();
    let mut chunk: Option<Chunk> = None;
    let mut memory = Vec::with_capacity(encoded.iter().map(EncodedBlock::documents_bytes).max().unwrap_or_default());
    let seconds = processor_seconds(|| {
        for block in &mut encoded {
            memory = block.kinds[0].sort(std::mem::take(&mut memory));
            memory.clear();
        }
        chunk = Some(Chunk::new(std::mem::take(&mut encoded), &[policy], false));
        Ok(())
    })?;
    Ok(seconds)
}

/// The parser, cleaner and encoder of one worker. They work in turns: a turn parses up to [`TURN_ROWS`] rows, then
/// cleans them, then encodes them. `rows` has the block and the first row of each turn.
struct Turns<'a> {
    parser: Parser,
    cleaner: Cleaner,
    encoder: Encoder,
    cells: Vec<Cells>,
    records: Vec<Record>,
    tally: Tally,
    out: Vec<u8>,
    rows: Vec<(&'a Block, usize)>,
}

/// Returns the seconds for parsing, cleaning and encoding all rows, in this order.
fn turns(plan: &Plan, blocks: &[Block]) -> [f64; 3] {
    let turns = blocks.iter().flat_map(|block| (0..block.rows.len()).step_by(TURN_ROWS).map(move |at| (block, at)));
    let layout = &plan.sources[0].layout;
    let mut work = Turns {
        parser: Parser::new(layout, &plan.spec),
        cleaner: Cleaner::new(&plan.spec, layout),
        encoder: Encoder::new(&plan.spec, plan.key.clone()),
        cells: (0..TURN_ROWS).map(|_| Cells::default()).collect(),
        records: vec![Record::default(); TURN_ROWS],
        tally: Tally::default(),
        out: Vec::new(),
        rows: turns.collect(),
    };
    let mut seconds = vec![[const { Vec::new() }; 3]; work.rows.len()];
    for _ in 0..ROUNDS {
        for (turn, seconds) in seconds.iter_mut().enumerate() {
            work.turn(turn).into_iter().zip(seconds).for_each(|(stage, all)| all.push(stage));
        }
    }
    let total = |stage: usize| seconds.iter().map(|turn: &[Vec<f64>; 3]| median(turn[stage].clone())).sum();
    [total(0), total(1), total(2)]
}

impl Turns<'_> {
    /// Parses, cleans and encodes up to [`TURN_ROWS`] rows. Returns the seconds of each of these three stages. Ignores
    /// errors of the stages: no generated row is rejected, so there are none.
    fn turn(&mut self, turn: usize) -> [f64; 3] {
        let (block, at) = self.rows[turn];
        let spans = &block.rows[at..block.rows.len().min(at + TURN_ROWS)];
        if at == 0 {
            self.out.clear();
        }
        let parse = Instant::now();
        for (&span, cells) in spans.iter().zip(&mut self.cells) {
            let _ = std::hint::black_box(self.parser.parse(block.row(span), span, cells));
        }
        let clean = Instant::now();
        for ((&span, cells), record) in spans.iter().zip(&self.cells).zip(&mut self.records) {
            let _ = std::hint::black_box(self.cleaner.clean(block.row(span), cells, record, &mut self.tally));
        }
        let encode = Instant::now();
        for (_, record) in spans.iter().zip(&self.records) {
            let _ = std::hint::black_box(self.encoder.write(record, None, &mut self.out));
        }
        std::hint::black_box(self.encoder.name_all(&mut self.out));
        let end = Instant::now();
        [clean - parse, encode - clean, end - encode].map(|time| time.as_secs_f64())
    }
}

fn rounds(mut round: impl FnMut() -> Result<f64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    (0..ROUNDS).map(|_| round()).collect::<Result<_, _>>().map(median)
}

/// Returns the processor time that this thread spends on `work`, in seconds.
fn processor_seconds(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let before = spent_seconds()?;
    work()?;
    Ok(spent_seconds()? - before)
}

/// Returns the time that this thread has run, in seconds. The first number of `schedstat` is this time in nanoseconds.
fn spent_seconds() -> Result<f64, Box<dyn Error>> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = schedstat.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
