//! Verifies a collection: reads the sources again, reads the collection, and compares the documents with the same
//! `_id`.

use std::time::Instant;

use super::plan::Plan;
use super::stages::{Interrupt, encode_alone};
use crate::deployment::schema;
use crate::encode::{Encoded, EncodedBlock, OrderField, Reference};
use crate::error::Error;
use crate::fold::shell::{self as fold, FoldError};
use crate::ledger::{
    CollectionIdentity, LEASE_DEFAULT, Ledger, LedgerError, LoadDocument, SourceIdentity, TargetState,
};
use crate::reject::RejectedRow;
use crate::report::fold::StateProof;
use crate::report::{Phase, Progress};
use crate::server::{Failure, Target};
use crate::spec::{FormatName, OnConflict};
use crate::spill::SORTER_BYTES_DEFAULT;
use crate::verify::{
    self, Excused, Expectation, Expected, OtherLoad, OtherLoads, Referenced, References, Scan, Share, Verification,
    Wanted,
};
use crate::write::{Bulk, Mode, WriteError};

/// The options of a verification.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Index of the kind of document whose collection is verified.
    pub kind: usize,
    /// Maximum number of differences that are listed, for each kind of difference. All differences are counted.
    pub differences_max: usize,
    /// Whether to report the values of fields that differ. These values are patients' data.
    pub show_values: bool,
    /// Whether documents that are not in the sources are permitted. They are counted, but are not differences.
    pub only_source: bool,
    /// The mode with which the sources were loaded. It decides which of several records with one `_id` must be stored.
    pub mode: Mode,
    /// Records that may be missing or different. The ledger lists them, because the server refused them or because
    /// other content was kept under their `_id`s.
    pub excused: Option<Excused>,
    /// The share of the `_id`s that is verified.
    pub share: Share,
    /// The expected documents, if the sources were already read.
    pub expected: Option<Expectations>,
    /// The identities of the sources, if they are already known.
    pub sources: Option<Vec<SourceIdentity>>,
}

/// The expected documents and references of each kind of document, as the sources give them.
#[derive(Debug, Clone)]
pub struct Expectations(Vec<Given>);

/// The expected documents and references of one kind of document.
#[derive(Debug, Clone)]
struct Given {
    /// The documents that the collection must contain.
    expected: Expected,
    /// The references to documents of this kind.
    referenced: Referenced,
    /// Number of references to documents of kinds that the spec does not describe.
    references_elsewhere: u64,
    /// Number of rejected rows.
    rejected: u64,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            kind: 0,
            differences_max: 100,
            show_values: false,
            only_source: false,
            mode: Mode::Insert,
            excused: None,
            share: Share::ALL,
            expected: None,
            sources: None,
        }
    }
}

/// Compares a collection with the documents that the plan's sources give. Verifies one kind of document.
///
/// # Errors
/// If a source, the collection or the ledger cannot be read, or a temporary file cannot be used. Also if the
/// collection's `_id`s were made from other fields or with another key, or if the user interrupts the program.
/// Differences are not errors.
pub async fn verify(
    plan: &Plan,
    target: &Target,
    options: &VerifyOptions,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Verification, Error> {
    let kind = options.kind;
    progress.enter(Phase::Verification);
    refuse_other_identity(plan, kind, target).await?;
    let started = Instant::now();
    let known = options.expected.as_ref().map(|Expectations(all)| all[kind].clone());
    let Given { expected, referenced, references_elsewhere, rejected } = match known {
        Some(known) => known,
        None => tokio::task::block_in_place(|| expect(plan, options, interrupt, progress))?,
    };
    progress.tell(|| format!("{} records read again in {:.2} s", expected.records(), started.elapsed().as_secs_f64()));
    progress.expect_documents(expected.records());
    let scan = Scan::new(&target.documents()).counted_by(&progress.documents);
    let settings = verify::Options {
        differences_max: options.differences_max,
        show_values: options.show_values,
        excused: options.excused.clone(),
        share: options.share,
        order_field: OrderField::of(&plan.kinds[kind]),
        ..verify::Options::new(plan.key.clone())
    };
    let started = Instant::now();
    let mut verification = tokio::select! {
        compared = verify::compare(&scan, &expected, &settings) => compared?,
        () = interrupt.asked() => return Err(interrupted()),
    };
    (verification.rejected, verification.references_elsewhere) = (rejected, references_elsewhere);
    verification.references_to_nothing = referenced.to_nothing(&scan).await?;
    // The ledger is read after the collection, because another load may begin while the collection is scanned. Each
    // load writes its ledger document before it writes its first document to the collection.
    if verification.superseded > 0 {
        let others = other_loads(plan, target, options.sources.as_deref()).await?;
        verification.judge_newer(others, options.differences_max);
    }
    let (found, seconds) = (verification.found, started.elapsed().as_secs_f64());
    progress.tell(|| format!("{found} documents scanned and compared in {seconds:.2} s"));
    let mut wanted = verification.wanted();
    if !wanted.is_complete() && !plan.is_read_once() {
        tokio::task::block_in_place(|| find(plan, kind, &mut wanted, interrupt, progress))?;
        verify::name_fields(&scan, &mut verification, &wanted, options.show_values)
            .await
            .map_err(verify::VerifyError::from)?;
    }
    if options.only_source {
        verification.permit_extra();
    }
    Ok(verification)
}

/// Folds the stored HL7 v2 messages of a plan again, and compares the result with the stored patients, visits and
/// results. Writes nothing. Returns `None` if the plan's sources are not HL7 v2 messages. If a comparison is not
/// possible, for example because no messages were folded, the result contains the reason.
///
/// # Errors
/// If the messages or the state cannot be read, or the state was made with another spec or key. Differences are not
/// errors.
pub async fn verify_state(
    plan: &Plan,
    target: &Target,
    differences_max: usize,
    progress: &Progress,
) -> Result<Option<StateProof>, Error> {
    if plan.spec.source.format != Some(FormatName::Hl7) {
        return Ok(None);
    }
    progress.enter(Phase::Fold);
    let mut unfit = None;
    for (spec, target) in plan.targets(target) {
        let checked = fold::check(&target, spec, &plan.key, &progress.documents).await;
        let is_forbidden = |error: &FoldError| matches!(error.failure(), Some(Failure::NotAuthorized { .. }));
        return Ok(Some(match checked {
            Ok(Some(checked)) => StateProof::new(&checked, differences_max),
            Ok(None) => StateProof::not_compared("no messages were folded in this database; run `medlift fold`"),
            Err(error) if error.is_of_spec() => {
                unfit = unfit.or(Some(error.to_string()));
                continue;
            }
            Err(error) if error.is_of_place() || is_forbidden(&error) => StateProof::not_compared(error.to_string()),
            Err(error) => return Err(error.into()),
        }));
    }
    Ok(Some(StateProof::not_compared(unfit.unwrap_or_default())))
}

/// For each result with extra documents, adds the loads of other sources that wrote into its collection. These loads
/// may have written the extra documents. Does nothing if the ledger cannot be read, because the result of the
/// verification does not depend on it.
pub async fn name_other_loads(plan: &Plan, results: impl IntoIterator<Item = (&Target, &mut Verification)>) {
    // All sources must be read for their hashes. This is done only if the ledger has loads, and only once.
    let mut own = None;
    for (target, found) in results {
        let mut writers = if found.extra == 0 { Vec::new() } else { writers(target).await };
        writers.retain(|(_, state)| state.counts.written > 0);
        if writers.is_empty() {
            continue;
        }
        let own = own.get_or_insert_with(|| tokio::task::block_in_place(|| plan.identities()));
        let Ok(own) = own else { return };
        let is_own = |source: &SourceIdentity| own.iter().any(|own| own.version == source.version);
        let others = writers.into_iter().filter(|(load, _)| !load.sources.iter().all(is_own));
        let other = |(load, state): (LoadDocument, TargetState)| OtherLoad {
            load: load.id.to_string(),
            sources: load.sources.into_iter().map(|source| source.name).collect(),
            written: state.counts.written,
            extra: found.extra_of_load.get(&load.id.bytes()).copied(),
        };
        found.other_loads = others.map(other).collect();
    }
}

/// Looks in the ledger for loads that can have stored newer documents than those of the plan's sources: loads of other
/// sources or with another spec. `own` are the identities of the plan's sources, if they are known.
async fn other_loads(plan: &Plan, target: &Target, own: Option<&[SourceIdentity]>) -> Result<OtherLoads, Error> {
    let writers = writers(target).await;
    if writers.is_empty() {
        return Ok(OtherLoads::Unknown);
    }
    let read = match own {
        Some(_) => Vec::new(),
        None => tokio::task::block_in_place(|| plan.identities())?,
    };
    let own = own.unwrap_or(&read);
    let is_own = |source: &SourceIdentity| own.iter().any(|own| own.version == source.version);
    let is_other = |load: &LoadDocument| load.spec_hash != plan.spec.hash || !load.sources.iter().all(is_own);
    let is_recorded = writers.iter().any(|(load, _)| is_other(load));
    Ok(if is_recorded { OtherLoads::Recorded } else { OtherLoads::Nobody })
}

/// Returns the loads that wrote into the collection. Returns none if the ledger cannot be read.
async fn writers(target: &Target) -> Vec<(LoadDocument, TargetState)> {
    let Ok(uuid) = schema::uuid(target).await else { return Vec::new() };
    Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT).writers(uuid).await.unwrap_or_default()
}

/// Fails if the ledger says that the collection's `_id`s were made with other identity fields or another key. Every
/// record would then be reported as missing. Succeeds if the collection is empty, if the ledger has no entry about
/// it, or if the user has no permission to read the ledger.
async fn refuse_other_identity(plan: &Plan, kind: usize, target: &Target) -> Result<(), Error> {
    let ledger = Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT);
    match ledger.identity().await {
        Ok(Some(stored)) => {
            let bulk = Bulk::new(target.db(), &target.collection, None);
            if bulk.is_empty().await.map_err(WriteError::Server)? {
                return Ok(());
            }
            Error::if_identities_differ(target, &stored, &CollectionIdentity::of(&plan.kinds[kind], &plan.key))
        }
        Ok(None) | Err(LedgerError::Server(Failure::NotAuthorized { .. })) => Ok(()),
        Err(error) => Err(Error::of_ledger("read", error)),
    }
}

/// Collects the expected documents and references of one kind of document.
struct Collector {
    kind: usize,
    rule: OnConflict,
    share: Share,
    expectation: Expectation,
    references: References,
    references_elsewhere: u64,
    rejected: u64,
}

impl Collector {
    fn new(plan: &Plan, kind: usize, options: &VerifyOptions) -> Self {
        let rule = options.mode.rule(plan.kinds[kind].identity.on_conflict);
        Self {
            kind,
            rule,
            share: options.share,
            expectation: expectation(plan, rule),
            references: References::new(sorter_bytes(plan)),
            references_elsewhere: 0,
            rejected: 0,
        }
    }

    fn add(&mut self, block: &EncodedBlock) -> Result<(), Error> {
        let is_of_kind = |row: &&RejectedRow| row.kinds.counting(block.kinds.len()).contains(&self.kind);
        self.rejected += block.rejects.iter().filter(is_of_kind).count() as u64;
        for Reference { kind, target, .. } in &block.references {
            match kind {
                Some(kind) if usize::from(*kind) == self.kind && self.share.contains(*target) => {
                    self.references.add(*target).map_err(verify::VerifyError::from)?;
                }
                // References to kinds that the spec does not describe. Only the first kind counts them, because
                // otherwise each kind would count the same references.
                None if self.kind == 0 && self.share.index == 0 => self.references_elsewhere += 1,
                _ => {}
            }
        }
        push(&mut self.expectation, block, self.kind, self.share)
    }

    fn settle(self) -> Result<Given, Error> {
        let expected = self.expectation.settle(self.rule).map_err(verify::VerifyError::from)?;
        let referenced = self.references.settle().map_err(verify::VerifyError::from)?;
        let (rejected, references_elsewhere) = (self.rejected, self.references_elsewhere);
        Ok(Given { expected, referenced, references_elsewhere, rejected })
    }
}

/// Reads the sources and determines which document must be stored under each `_id` of the share. Needs no database.
///
/// # Errors
/// If a source cannot be read to its end, a temporary file cannot be used, or the user interrupts the program.
fn expect(plan: &Plan, options: &VerifyOptions, interrupt: &Interrupt, progress: &Progress) -> Result<Given, Error> {
    let mut collector = Collector::new(plan, options.kind, options);
    encode_alone(plan, interrupt, progress, |block| collector.add(block))?;
    stop_if_asked(interrupt)?;
    collector.settle()
}

/// Reads the sources once for all kinds of documents, if there are several. Otherwise returns `None`, because
/// [`verify()`] reads the sources itself.
///
/// # Errors
/// If a source cannot be read to its end, a temporary file cannot be used, or the user interrupts the program.
pub fn expect_all(
    plan: &Plan,
    options: &VerifyOptions,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<Option<Expectations>, Error> {
    if plan.kinds.len() == 1 {
        return Ok(None);
    }
    progress.enter(Phase::Verification);
    let mut collectors: Vec<Collector> =
        (0..plan.kinds.len()).map(|kind| Collector::new(plan, kind, options)).collect();
    tokio::task::block_in_place(|| {
        encode_alone(plan, interrupt, progress, |block| {
            collectors.iter_mut().try_for_each(|collector| collector.add(block))
        })
    })?;
    stop_if_asked(interrupt)?;
    let all: Result<_, Error> = collectors.into_iter().map(Collector::settle).collect();
    Ok(Some(Expectations(all?)))
}

/// Makes an empty list of records. `rule` says which of several records with one `_id` is expected.
pub(super) fn expectation(plan: &Plan, rule: OnConflict) -> Expectation {
    let expectation = Expectation::new(sorter_bytes(plan));
    match rule {
        OnConflict::Newest { .. } => expectation.with_ranks(sorter_bytes(plan)),
        _ => expectation,
    }
}

/// Returns how many bytes of memory may be used to sort the records of one kind of document. If each row belongs to one
/// kind only, all kinds share the memory that one kind would have alone.
fn sorter_bytes(plan: &Plan) -> usize {
    SORTER_BYTES_DEFAULT / if plan.spec.is_divided() { plan.kinds.len() } else { 1 }
}

/// Adds the records of a block to the expectation, except those whose `_id` is not in the share.
pub(super) fn push(
    expectation: &mut Expectation,
    block: &EncodedBlock,
    kind: usize,
    share: Share,
) -> Result<(), Error> {
    let documents = &block.kinds[kind];
    for entry in &documents.entries {
        if share != Share::ALL && !share.contains(entry.id) {
            continue;
        }
        let row = block.first_row + u64::from(entry.row);
        let version = documents.version(entry);
        expectation.push(entry.id, version, block.source as u32, row).map_err(verify::VerifyError::from)?;
    }
    Ok(())
}

/// Reads the sources again, and copies the documents that `wanted` lists. The copies are needed to name the fields that
/// differ.
fn find(
    plan: &Plan,
    kind: usize,
    wanted: &mut Wanted,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<(), Error> {
    progress.enter(Phase::Verification);
    encode_alone(plan, interrupt, progress, |block| {
        let documents = &block.kinds[kind];
        for entry in &documents.entries {
            let document = documents.document(entry);
            let encoded = Encoded { id: entry.id, digest: entry.digest, len: document.len() };
            wanted.offer(&encoded, document);
        }
        Ok(())
    })?;
    stop_if_asked(interrupt)
}

pub(super) fn stop_if_asked(interrupt: &Interrupt) -> Result<(), Error> {
    if interrupt.is_asked() { Err(interrupted()) } else { Ok(()) }
}

fn interrupted() -> Error {
    Error::Stopped("interrupted before the end, so there is no result".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Id;
    use crate::pipeline::settle::tests::plan_of;

    #[test]
    fn expected_documents_have_the_sources_and_rows_of_their_records() {
        let files = [("a.csv", "Name,Age\nann,1\nbea,2\ncam,x\n"), ("b.csv", "Age,Name\n2,bea\n3,ann\n")];
        let (_dir, plan) = plan_of(&files);
        let check = |mode: Mode, of_ann: &[(u32, u64)]| {
            let options = VerifyOptions { mode, ..VerifyOptions::default() };
            let found = expect(&plan, &options, &Interrupt::default(), &Progress::default()).unwrap();
            let Given { expected, rejected, .. } = found;
            assert_eq!(rejected, 1);
            let documents = expected.range(Id([0; 16]), None).unwrap();
            let mut found: Vec<_> = documents.map(Result::unwrap).map(|found| (found.rows, found.duplicates)).collect();
            found.sort();
            let mut wanted = [(of_ann.to_vec(), 0), (vec![(0, 2), (1, 1)], 1)];
            wanted.sort();
            assert_eq!(found, wanted, "{mode:?}");
            assert_eq!(expected.records(), 4);
        };
        check(Mode::Insert, &[(0, 1)]);
        check(Mode::Upsert, &[(1, 2)]);
        check(Mode::Merge, &[(1, 2)]);
    }

    #[test]
    fn an_interrupted_verification_has_no_result() {
        let (_dir, plan) = plan_of(&[("a.csv", "Name,Age\nann,1\n")]);
        let interrupt = Interrupt::default();
        let options = VerifyOptions::default();
        assert!(expect(&plan, &options, &interrupt, &Progress::default()).is_ok());
        let progress = Progress::default();
        assert!(find(&plan, 0, &mut Wanted::default(), &interrupt, &progress).is_ok());
        interrupt.ask();
        let stopped = |ended: Result<(), Error>| matches!(ended, Err(Error::Stopped(why)) if why.contains("no result"));
        assert!(stopped(expect(&plan, &options, &interrupt, &Progress::default()).map(drop)));
        assert!(stopped(find(&plan, 0, &mut Wanted::default(), &interrupt, &progress)));
    }
}
