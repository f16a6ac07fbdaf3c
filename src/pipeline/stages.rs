//! Reads the sources, and parses, cleans and encodes their rows with several threads. Passes the encoded blocks on in
//! the order of the sources.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::plan::Plan;
use super::spares::{Spares, empty};
use crate::clean::{Cleaner, Record};
use crate::encode::{
    EncodedBlock, EncodedKind, Encoder, Entry, HASHED_TOGETHER, Id, IdentityKey, Lineage, OrderField, Originals,
    PatientKey, Reference, ResourceIds,
};
use crate::error::Error;
use crate::parse::{BundleIds, Cells, Layout, Parser};
use crate::read::{Block, RowSpan};
use crate::reject::{Reason, Reject, RejectedRow};
use crate::report::Progress;
use crate::spec::Spec;

/// The expected size of the documents of a block, relative to its text. BSON is larger than CSV, because it contains
/// field names, types and lengths.
const GROWTH: usize = 3;

/// Maximum number of blocks that wait between two stages, even if there are many workers.
const WAITING_MAX: usize = 4;

/// Interval at which a waiting task checks whether a stop was requested.
const ASKED_POLL: Duration = Duration::from_millis(50);

/// A request to stop. All threads share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Requests a stop. The reader then sends no further blocks. Blocks that were already sent are still processed.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits until a stop is requested.
    pub async fn asked(&self) {
        while !self.is_asked() {
            tokio::time::sleep(ASKED_POLL).await;
        }
    }

    /// Returns true if a stop was requested.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A block to be encoded.
struct Task {
    block: Block,
    /// For each full URL in the Bundles of the source: the resource with this URL (see [`Plan::bundle_ids`]). The memory is
    /// freed with the last block of the source.
    ids: Option<Arc<BundleIds>>,
}

/// Encodes the sources of a plan.
pub(super) struct Stages<'a> {
    pub(super) plan: &'a Plan,
    /// The id of the load, if each document is to contain its lineage: this id and the row number.
    pub(super) lineage: Option<[u8; 16]>,
    /// Number of threads that encode.
    pub(super) workers: usize,
    /// Whether the documents of each block are sorted by `_id`.
    pub(super) sorts: bool,
    pub(super) interrupt: &'a Interrupt,
    pub(super) progress: &'a Progress,
    pub(super) spares: &'a Spares,
}

impl Stages<'_> {
    /// Passes each encoded block to `take`, in the order of the sources. The caller gives the memory of a block back to
    /// `spares` when it no longer needs the block.
    ///
    /// # Errors
    /// If `take` fails, a source cannot be read, or no thread can be started. If both `take` and a reader fail,
    /// returns the error of `take`. All threads have ended when this function returns.
    pub(super) fn encode_all(&self, mut take: impl FnMut(EncodedBlock) -> Result<(), Error>) -> Result<(), Error> {
        thread::scope(|scope| {
            // `waiting_max` blocks are enough to keep all threads busy. More blocks would only need more memory.
            let waiting_max = (self.workers + 1).min(WAITING_MAX);
            let (to_workers, blocks) = sync_channel::<Task>(waiting_max);
            let (to_order, encoded) = sync_channel::<EncodedBlock>(waiting_max);
            let blocks = Arc::new(Mutex::new(blocks));
            let reading = thread::Builder::new().spawn_scoped(scope, move || self.read_all(&to_workers));
            let reading = reading.map_err(|error| Error::no_thread(&error))?;
            for worker in 0..self.workers {
                let (blocks, to_order) = (Arc::clone(&blocks), to_order.clone());
                let working = thread::Builder::new().spawn_scoped(scope, move || self.work(&blocks, &to_order));
                match working {
                    Ok(_) => {}
                    Err(error) if worker == 0 => return Err(Error::no_thread(&error)),
                    // The command also works with fewer workers, but more slowly.
                    Err(_) => break,
                }
            }
            drop((blocks, to_order));
            let taken = in_order(&encoded, &mut take);
            drop(encoded);
            let read = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            taken.and(read)
        })
    }

    /// Reads all sources in order and numbers their blocks consecutively. Ends early, without an error, if a stop was
    /// requested or all workers have ended.
    fn read_all(&self, to_workers: &SyncSender<Task>) -> Result<(), Error> {
        let sources = &self.plan.sources;
        let mut sequence = 0;
        for index in 0..sources.len() {
            let ids = self.plan.bundle_ids(index, || self.interrupt.is_asked(), &self.progress.entries)?;
            let mut reader = self.plan.open(index)?;
            let read_before = sources[..index].iter().filter_map(|plan| plan.origin.size_bytes()).sum::<u64>();
            while let Some(mut block) = reader.next_block(self.spares.take_block())? {
                if self.interrupt.is_asked() {
                    return Ok(());
                }
                block.sequence = sequence;
                sequence += 1;
                self.progress.bytes.store(read_before + reader.consumed_bytes(), Ordering::Relaxed);
                if to_workers.send(Task { block, ids: ids.clone() }).is_err() {
                    return Ok(());
                }
            }
            sources[index].origin.check_unchanged()?;
        }
        Ok(())
    }

    /// Runs one worker: encodes blocks until no more arrive.
    fn work(&self, blocks: &Mutex<Receiver<Task>>, to_order: &SyncSender<EncodedBlock>) {
        let mut bench: Option<Bench> = None;
        // The unsorted documents of a block, by kind. All blocks use the same memory, so that it stays in the
        // processor's cache.
        let mut unsorted: Vec<Vec<u8>> = Vec::new();
        loop {
            let next = blocks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Task { block, ids }) = next else { return };
            let bench = match &mut bench {
                Some(bench) if bench.source == block.source => bench,
                other => other.insert(Bench::new(self.plan, block.source, self.lineage).with_bundle_ids(ids)),
            };
            unsorted.resize_with(self.plan.kinds.len(), Vec::new);
            // A block of FHIR resources has only a few of the many types. So no memory is reserved for each type: a
            // buffer grows when it is needed.
            let documents_bytes = if self.plan.spec.is_divided() { 0 } else { block.bytes.len() * GROWTH };
            let mut encoded = if self.sorts {
                for memory in &mut unsorted {
                    memory.reserve(documents_bytes);
                }
                bench.encode(&block, std::mem::take(&mut unsorted))
            } else {
                let memory = |_| self.spares.take_documents(documents_bytes);
                bench.encode(&block, (0..self.plan.kinds.len()).map(memory).collect())
            };
            if self.sorts {
                for kind in &mut encoded.kinds {
                    let mut sorted = kind.sort(self.spares.take_documents(kind.documents.len()));
                    empty(&mut sorted);
                    unsorted.push(sorted);
                }
            }
            self.spares.give_block(block);
            self.progress.rows.fetch_add(encoded.rows, Ordering::Relaxed);
            self.progress.rows_rejected.fetch_add(encoded.rejects.len() as u64, Ordering::Relaxed);
            if to_order.send(encoded).is_err() {
                return;
            }
        }
    }
}

/// Encodes the sources and passes each block to `take`, without writing to a server. Uses as many threads as the user
/// wants, or all cores.
pub(super) fn encode_alone(
    plan: &Plan,
    interrupt: &Interrupt,
    progress: &Progress,
    mut take: impl FnMut(&EncodedBlock) -> Result<(), Error>,
) -> Result<(), Error> {
    let spares = Spares::default();
    let workers = plan.workers(false);
    let stages = Stages { plan, lineage: None, workers, sorts: false, interrupt, progress, spares: &spares };
    stages.encode_all(|block| {
        take(&block)?;
        spares.give_documents(block);
        Ok(())
    })
}

/// Passes the blocks to `take` in the order of their numbers.
fn in_order(
    encoded: &Receiver<EncodedBlock>,
    take: &mut impl FnMut(EncodedBlock) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut early = BTreeMap::new();
    let mut next = 0;
    for block in encoded {
        early.insert(block.sequence, block);
        while let Some(block) = early.remove(&next) {
            take(block)?;
            next += 1;
        }
    }
    Ok(())
}

/// The parser, cleaners and encoders of one worker for one source. They are reused for every row.
pub struct Bench {
    source: usize,
    run: Option<[u8; 16]>,
    parser: Parser,
    cells: Cells,
    /// Indexes of the cells that several kinds of documents read by different rules. Their original texts are stored
    /// for the reject file, because they cannot be made again from a document.
    contested: Arc<[usize]>,
    /// True if the reject file contains whole records instead of cells.
    keeps_whole: bool,
    kinds: Vec<KindBench>,
    /// The `_id`s of the resources to which other resources refer.
    ids: ResourceIds,
}

/// The cleaner and the encoder for one kind of document.
struct KindBench {
    /// Index of the kind's first field in [`Plan::spec`], which contains the fields of all kinds.
    first_field: usize,
    cleaner: Cleaner,
    encoder: Encoder,
    record: Record,
    /// True if a field contains the whole record.
    has_whole: bool,
    patient: Option<PatientKey>,
    order_field: Option<OrderField>,
}

impl Bench {
    /// Makes the parser, cleaners and encoders for the source with this index. If `run` is the id of a load, each
    /// document contains its lineage: this id and the row number.
    pub fn new(plan: &Plan, source: usize, run: Option<[u8; 16]>) -> Self {
        let layout = &plan.sources[source].layout;
        Self { source, run, ..Self::of_layout(&plan.spec, &plan.kinds, &plan.key, layout) }
    }

    /// Makes them for rows that are no source of a plan. `columns` has the fields of all kinds of documents.
    pub(crate) fn of_layout(columns: &Spec, kinds: &[Spec], key: &IdentityKey, layout: &Layout) -> Self {
        let mut first_field = 0;
        let kind = |spec: &Spec| {
            let fields = first_field..first_field + spec.fields.len();
            first_field = fields.end;
            KindBench {
                first_field: fields.start,
                cleaner: Cleaner::new(spec, &layout.of_fields(fields)),
                encoder: Encoder::new(spec, key.clone()),
                record: Record::default(),
                has_whole: spec.whole().is_some(),
                patient: PatientKey::new(spec, key),
                order_field: OrderField::of(spec),
            }
        };
        let (parser, contested) = (Parser::new(layout, columns), layout.contested_cells(columns).into());
        let keeps_whole = layout.format.keeps_whole();
        let ids = ResourceIds::new(kinds, key);
        let kinds = kinds.iter().map(kind).collect();
        Self { source: 0, run: None, parser, cells: Cells::default(), contested, keeps_whole, kinds, ids }
    }

    /// Sets which resource each full URL in the Bundles of the source names (see [`Plan::bundle_ids`]).
    #[must_use]
    pub fn with_bundle_ids(mut self, ids: Option<Arc<BundleIds>>) -> Self {
        self.parser.set_bundle_ids(ids);
        self
    }

    /// Parses, cleans, encodes and hashes all rows of a block in one pass. `memory` has one empty buffer for each kind
    /// of document.
    pub fn encode(&mut self, block: &Block, memory: Vec<Vec<u8>>) -> EncodedBlock {
        debug_assert!(memory.len() == self.kinds.len() && memory.iter().all(Vec::is_empty));
        let first = block.rows.first().copied();
        // A block of FHIR resources has only a few of the many types, so reserve no memory for the entries of each
        // type.
        let entries_max = if self.keeps_whole && self.kinds.len() > 1 { 0 } else { block.rows.len() };
        let kind = |(documents, bench): (Vec<u8>, &KindBench)| EncodedKind {
            documents,
            entries: Vec::with_capacity(entries_max),
            order_field: bench.order_field.clone(),
            ..EncodedKind::default()
        };
        let mut encoded = EncodedBlock {
            source: block.source,
            sequence: block.sequence,
            rows: block.rows.len() as u64,
            first_row: block.first_row,
            first_line: first.map_or(0, |span| span.line),
            first_offset: first.map_or(0, |span| span.offset),
            kinds: memory.into_iter().zip(&self.kinds).map(kind).collect(),
            originals: Originals::new(Arc::clone(&self.contested)),
            ..EncodedBlock::default()
        };
        for (row, &span) in block.rows.iter().enumerate() {
            match self.encode_row(block, span, row, &mut encoded) {
                Ok(()) => encoded.originals.push(|cell| self.cells.get(block.row(span), cell)),
                Err(reject) => {
                    encoded.rejects.push(self.rejected(block, span, reject));
                    encoded.originals.push(|_| &[]);
                }
            }
            let counting = self.parser.kinds().counting(encoded.kinds.len());
            encoded.kinds[counting].iter_mut().for_each(|kind| kind.rows += 1);
            if row % HASHED_TOGETHER == HASHED_TOGETHER - 1 {
                self.name(&mut encoded);
            }
        }
        self.name(&mut encoded);
        encoded.notices = self.parser.take_notices();
        encoded.notices.blank_rows = block.blank_rows;
        encoded
    }

    /// Computes the `_id`s and digests of the documents that were encoded since the last call.
    fn name(&mut self, encoded: &mut EncodedBlock) {
        for (bench, kind) in self.kinds.iter_mut().zip(&mut encoded.kinds) {
            let names = bench.encoder.name_all(&mut kind.documents);
            let first = kind.entries.len() - names.len();
            for (entry, &(id, digest)) in kind.entries[first..].iter_mut().zip(names) {
                (entry.id, entry.digest) = (id, digest);
            }
        }
    }

    /// Appends the row's documents: one of each kind, or for a FHIR resource only one of its own kind. If the row is
    /// rejected, appends none. [`name`](Self::name) computes their `_id`s later, for several documents at once.
    fn encode_row(&mut self, block: &Block, span: RowSpan, row: usize, into: &mut EncodedBlock) -> Result<(), Reject> {
        let bytes = block.row(span);
        self.parser.parse(bytes, span, &mut self.cells)?;
        if let Some(offset) = block.undecodable_offset(span) {
            return Err(undecodable(offset));
        }
        let lineage = self.run.map(|run| Lineage { run, row: block.first_row + row as u64 });
        let entry = Entry {
            row: row as u32,
            line: (span.line - into.first_line) as u32,
            offset: (span.offset - into.first_offset) as u32,
            ..Entry::default()
        };
        let text = self.parser.text(bytes);
        // The kinds of the row's documents. The row was parsed, so its kinds are known.
        let kinds = self.parser.kinds().counting(self.kinds.len());
        for kind in &mut self.kinds[kinds.clone()] {
            let cleaned = kind.cleaner.clean_only(text, &self.cells, &mut kind.record);
            cleaned.map_err(|reject| kind.among_all(reject))?;
            if kind.has_whole {
                kind.record.whole.extend_from_slice(self.parser.whole(bytes));
            }
            if let Some(patient) = &kind.patient {
                patient.set(&mut kind.record);
            }
        }
        for index in kinds.clone() {
            if let Err(reject) = self.kinds[index].write(lineage, entry, &mut into.kinds[index]) {
                self.take_back(kinds.start..index, into);
                return Err(reject);
            }
        }
        self.add_references(row as u32, &mut into.references);
        Ok(())
    }

    /// Adds the references of the last row.
    fn add_references(&mut self, row: u32, references: &mut Vec<Reference>) {
        let Self { parser, ids, .. } = self;
        for (kind, id) in parser.references() {
            let target = kind.map_or(Some(Id::default()), |kind| ids.id(kind, id));
            let reference = |target| Reference { row, kind: kind.map(|kind| kind as u16), target };
            references.extend(target.map(reference));
        }
    }

    /// Removes the documents that were already made from a rejected row. The document of the row is the last one in
    /// each of the kinds `kinds`.
    fn take_back(&mut self, kinds: Range<usize>, encoded: &mut EncodedBlock) {
        for (bench, kind) in self.kinds[kinds.clone()].iter_mut().zip(&mut encoded.kinds[kinds]) {
            if let Some(entry) = kind.entries.pop() {
                kind.documents.truncate(entry.start as usize);
                bench.encoder.forget_last();
            }
        }
    }

    fn rejected(&self, block: &Block, span: RowSpan, reject: Reject) -> RejectedRow {
        let bytes = block.row(span);
        let cells = if self.keeps_whole {
            vec![bytes.to_vec()]
        } else {
            (0..self.cells.len()).map(|index| self.cells.get(bytes, index).to_vec()).collect()
        };
        RejectedRow {
            source: block.source,
            line: span.line,
            offset: span.offset,
            reject,
            kinds: self.parser.kinds(),
            cells,
        }
    }
}

impl KindBench {
    /// Appends the document of the cleaned record. `entry` already has the position of the row.
    fn write(&mut self, lineage: Option<Lineage>, entry: Entry, into: &mut EncodedKind) -> Result<(), Reject> {
        self.cleaner.count(&mut into.tally);
        let start = into.documents.len() as u32;
        let written = self.encoder.write(&self.record, lineage, &mut into.documents);
        let len = written.map_err(|reject| self.among_all(reject))? as u32;
        into.entries.push(Entry { start, len, ..entry });
        Ok(())
    }

    /// Converts a reject's field index from a position in the fields of this kind to a position in the fields of all
    /// kinds.
    fn among_all(&self, reject: Reject) -> Reject {
        Reject { field: reject.field.map(|field| self.first_field + field), ..reject }
    }
}

fn undecodable(offset: u64) -> Reject {
    let message = format!("the row has bytes that are not valid in the encoding, at byte {offset} of the source");
    Reject { field: None, reason: Reason::Undecodable, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::settle::tests::plan_of;

    /// The source index and the number of a block, and its numbers of rows, rejects, documents and blank rows.
    type Facts = (usize, u64, u64, usize, usize, u64);

    fn encode(plan: &Plan, interrupt: &Interrupt) -> Result<Vec<Facts>, Error> {
        let mut found = Vec::new();
        encode_alone(plan, interrupt, &Progress::default(), |block| {
            let [rejects, documents] = [block.rejects.len(), block.kinds[0].entries.len()];
            found.push((block.source, block.sequence, block.rows, rejects, documents, block.notices.blank_rows));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn blocks_of_all_sources_are_numbered_and_count_rows_rejects_and_blank_rows() {
        let files = [
            ("a.csv", "Name,Age\nann,1\n,\nbea,x\n"),
            ("b.csv", "Age,Name\n3,cy\n"),
            ("c.csv", "Name,Age\ned,4\n,\n,\n"),
        ];
        let (_dir, plan) = plan_of(&files);
        let found = encode(&plan, &Interrupt::default()).unwrap();
        assert_eq!(found, [(0, 0, 2, 1, 1, 1), (1, 1, 1, 0, 1, 0), (2, 2, 1, 0, 1, 2)]);
    }

    #[test]
    fn a_source_that_changed_since_the_load_began_is_an_error() {
        let (dir, plan) = plan_of(&[("a.csv", "Name,Age\nann,1\n"), ("b.csv", "Name,Age\nbea,2\n")]);
        assert_eq!(encode(&plan, &Interrupt::default()).unwrap().len(), 2);
        std::fs::write(dir.path().join("b.csv"), "Name,Age\nbea,2\ncy,3\n").unwrap();
        assert!(matches!(encode(&plan, &Interrupt::default()), Err(Error::Read(_))));
    }

    #[test]
    fn no_block_is_read_after_an_interrupt() {
        let (_dir, plan) = plan_of(&[("a.csv", "Name,Age\nann,1\n")]);
        let interrupt = Interrupt::default();
        interrupt.ask();
        assert_eq!(encode(&plan, &interrupt).unwrap().len(), 0);
    }
}
