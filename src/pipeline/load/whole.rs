//! A load that is divided into parts: its beginning, before any part, and its end, after all parts.
//!
//! The load has a ledger document like any other load, and each part has one too. The counts of the load are computed
//! at the end, from the counts of the parts and from the verification. They therefore do not depend on the order in
//! which the parts were loaded.

use std::path::Path;

use super::feed::ReadSide;
use super::{LOADED, Load, LoadOptions, Scope, WholeScope, keeping, reading, too_many_rejects, writing};
use crate::encode::Digest;
use crate::error::Error;
use crate::ledger::{Counts, LoadDocument, State, TargetState};
use crate::pipeline::plan::Plan;
use crate::pipeline::rejects::s3_address;
use crate::pipeline::stages::Interrupt;
use crate::report::summary::{FileOfRejects, LoadSummary};
use crate::report::{Phase, Progress};
use crate::server::Target;
use crate::verify::Verification;

/// Returns the ledger document of the load. Creates the document if the ledger has no such load, or if the documents of
/// the earlier load are no longer in the collection. Also creates it if the earlier load did not complete and does not
/// belong to this manifest. `plan` may contain only one source of the table.
///
/// # Errors
/// [`Error::Held`] if another process creates the document at the same time. Other errors if the ledger or the
/// collection cannot be used.
pub(in crate::pipeline) async fn register(
    plan: &Plan,
    target: &Target,
    options: &LoadOptions,
    scope: WholeScope,
) -> Result<LoadDocument, Error> {
    let mut load = Load::begin(plan, target, options, Scope::Whole(scope.clone())).await?;
    if let Some(prior) = load.prior(&scope).await? {
        return Ok(prior);
    }
    let document = load.create_once(scope).await;
    load.release().await;
    document
}

/// Ends a load whose parts are complete: builds the indexes, attaches the validator, verifies the collection, and
/// records the counts. If the load is already complete, only verifies the collection. Folds HL7 v2 messages that are
/// not folded yet, in both cases.
///
/// # Errors
/// [`Error::Held`] if another process is ending the load. [`Error::Stopped`] if a part is not complete. Other errors if
/// a source, the ledger or the collection cannot be used.
pub(in crate::pipeline) async fn finish(
    plan: &Plan,
    target: &Target,
    options: &LoadOptions,
    scope: WholeScope,
    interrupt: &Interrupt,
    progress: &Progress,
) -> Result<LoadSummary, Error> {
    progress.enter(Phase::Preparation);
    let mut load = Load::begin(plan, target, options, Scope::Whole(scope.clone())).await?;
    let result = load.finish(&scope, interrupt, progress).await;
    load.release().await;
    result
}

impl Load<'_> {
    /// Returns the ledger document of the earlier load with this key. Returns `None` if there is no such load, or if
    /// some of its documents are no longer in the collection. Also returns `None` if the load did not complete and
    /// belongs to another manifest or to none, or if `--reload` asks to repeat a complete load.
    async fn prior(&self, scope: &WholeScope) -> Result<Option<LoadDocument>, Error> {
        let Some(prior) = self.ledger.find(&self.document.key).await.map_err(reading)? else { return Ok(None) };
        let is_of_manifest = prior.manifest.as_ref().is_some_and(|of| of.id == scope.of.id);
        if !is_of_manifest && prior.state != State::Complete || self.options.reload && prior.state == State::Complete {
            return Ok(None);
        }
        if self.is_invalid(&prior).await?.is_some() {
            return Ok(None);
        }
        for part in self.ledger.parts(prior.id, &scope.of.parts).await.map_err(reading)? {
            if self.is_invalid(&part).await?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(prior))
    }

    /// Takes the lease and creates the ledger document. If another worker created the document before this worker had
    /// the lease, returns that document.
    async fn create_once(&mut self, scope: WholeScope) -> Result<LoadDocument, Error> {
        self.claim().await?;
        if let Some(prior) = self.prior(&scope).await? {
            return Ok(prior);
        }
        self.create(scope).await?;
        Ok(self.document.clone())
    }

    async fn create(&mut self, mut scope: WholeScope) -> Result<(), Error> {
        scope.of.documents_before.clear();
        for (lane, state) in self.targets.iter().zip(self.document.targets()) {
            let count = if state.first_load { 0 } else { lane.bulk.count().await.map_err(writing)? };
            scope.of.documents_before.push(count);
        }
        self.document.manifest = Some(scope.of);
        if let Some(claim) = &self.claim {
            claim.guard().confirm().await.map_err(keeping)?;
        }
        self.ledger.supersede(&self.document.key, self.document.id, self.document.fence).await.map_err(keeping)?;
        self.ledger.put(&mut self.document).await.map_err(keeping)
    }

    async fn finish(
        &mut self,
        scope: &WholeScope,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<LoadSummary, Error> {
        self.claim().await?;
        let prior = self.prior(scope).await?.ok_or_else(|| {
            Error::Stopped(
                "the ledger has no load of this manifest: none of its parts is loaded, its documents were dropped, or \
                 another load of the same sources replaced it; load with the same command without --finish"
                    .into(),
            )
        })?;
        let is_complete = prior.state == State::Complete;
        self.document = LoadDocument { fence: self.document.fence, ..prior };
        if !is_complete {
            self.document.state = State::Running;
        }
        self.parts = self.read_parts().await?;
        if is_complete {
            return self.verify_again(interrupt, progress).await;
        }
        let complete: Vec<u32> =
            self.parts.iter().filter(|part| part.state == State::Complete).filter_map(number_of).collect();
        if complete.len() < scope.of.parts.len() {
            let missing: Vec<u32> =
                scope.of.parts.iter().copied().filter(|number| !complete.contains(number)).collect();
            return Err(not_complete(&missing, scope.of.parts.len()));
        }
        self.refuse_too_many_rejects().await?;
        let finished = tokio::select! {
            finished = self.finish_collections(progress) => finished?,
            () = interrupt.asked() => return Err(Error::Interrupted),
        };
        self.add_up();
        let mut summary = self.summary(&ReadSide::default(), LOADED);
        summary.reject_files = self.reject_files();
        let expected = self.expect_all(interrupt, progress)?;
        for (kind, notes) in finished.into_iter().enumerate() {
            summary.document_mut(kind).collection_notes = notes;
            self.prove(kind, expected.as_ref(), &mut summary, interrupt, progress).await?;
            if !self.settle_counts(kind, &mut summary).await? {
                summary.counts_are_estimates = true;
                summary.notes.push(
                    "the counts are sums of the parts: a record that occurs in two parts is counted as written in one and \
                     as already present in the other"
                        .into(),
                );
            }
        }
        summary.add_up(&self.plan.spec);
        self.document.proof = summary.proof();
        self.complete().await?;
        summary.fold = Box::pin(self.fold(interrupt, progress)).await;
        for kind in 0..self.targets.len() {
            self.check_conformity(kind, &mut summary, interrupt, progress).await?;
        }
        Ok(summary)
    }

    /// Verifies a load that is complete already, after a fold of its messages. Also looks for the reject files of its
    /// parts.
    async fn verify_again(&mut self, interrupt: &Interrupt, progress: &Progress) -> Result<LoadSummary, Error> {
        let fold = Box::pin(self.fold(interrupt, progress)).await;
        let mut summary = self.verify_only(interrupt, progress).await?;
        summary.fold = fold;
        if !self.parts.is_empty() {
            let is_there = |file: &FileOfRejects| {
                let path = Path::new(&file.path);
                s3_address(path).is_some() || path.exists()
            };
            let (there, missing): (Vec<_>, Vec<_>) = self.reject_files().into_iter().partition(is_there);
            summary.reject_files = there;
            summary.notes.extend(missing.iter().map(not_there));
        }
        Ok(summary)
    }

    /// Fails if the parts together have more rejected rows than allowed. The load then stays incomplete.
    async fn refuse_too_many_rejects(&mut self) -> Result<(), Error> {
        let before = self.document.targets();
        self.add_up();
        let (is_over, counts) = (self.is_over_limit(&ReadSide::default()), self.document.targets());
        // The document of an incomplete load has no counts. Its parts have them.
        self.document.set_targets(before);
        if !is_over {
            return Ok(());
        }
        self.document.state = State::Stopped;
        self.ledger.put(&mut self.document).await.map_err(keeping)?;
        let counts: Vec<Counts> = counts.into_iter().map(|state| state.counts).collect();
        let files: Vec<String> = self.reject_files().into_iter().map(String::from).collect();
        Err(too_many_rejects(&self.plan.kinds, &counts, Vec::new(), &files))
    }

    /// Reads the ledger documents of the parts. The result is empty if the load is not divided into parts.
    pub(super) async fn read_parts(&self) -> Result<Vec<LoadDocument>, Error> {
        match &self.document.manifest {
            Some(manifest) => self.ledger.parts(self.document.id, &manifest.parts).await.map_err(reading),
            None => Ok(Vec::new()),
        }
    }

    /// Adds up the counts of the parts.
    fn add_up(&mut self) {
        let mut states = self.document.targets();
        for (kind, state) in states.iter_mut().enumerate() {
            let parts: Vec<TargetState> =
                self.parts.iter().filter_map(|part| part.targets().into_iter().nth(kind)).collect();
            state.counts = Counts::default();
            for part in &parts {
                state.counts.add(&part.counts);
            }
            state.collection_uuid =
                state.collection_uuid.or_else(|| parts.iter().find_map(|part| part.collection_uuid));
            state.digest = match &parts[..] {
                [only] => only.digest.clone(),
                // Several parts can contain the same record, and the sum of their digests could count it twice. So the
                // sum stays empty until a verification computes it.
                _ => String::new(),
            };
        }
        self.document.set_targets(states);
    }

    /// Replaces the sums of the parts' counts by the counts that one process would have found. If there is only one
    /// part, keeps its counts.
    ///
    /// Returns false if the counts may be wrong. With one part, they may be wrong if the part does not know which
    /// records it wrote itself. With several parts, they may be wrong if the load was not verified, or if another load
    /// or program wrote to the collection.
    async fn settle_counts(&mut self, kind: usize, summary: &mut LoadSummary) -> Result<bool, Error> {
        let is_alone = self.is_alone(&self.targets[kind]).await?;
        let mut states = self.document.targets();
        let state = &mut states[kind];
        let before = self.document.manifest.as_ref().and_then(|of| of.documents_before.get(kind).copied()).unwrap_or(0);
        let found = summary.document_mut(kind);
        let is_exact = match &found.verification {
            _ if self.parts.len() == 1 => state.counts.in_doubt == 0 || state.first_load,
            Some(proof) if is_alone => match settled(&state.counts, before, proof) {
                Some(counts) => {
                    state.counts = counts;
                    state.digest = digest(proof);
                    true
                }
                None => false,
            },
            _ => false,
        };
        (found.counts, found.digest) = (state.counts, state.digest.clone());
        self.document.set_targets(states);
        Ok(is_exact)
    }

    /// Returns the reject files of the parts, without the empty ones.
    fn reject_files(&self) -> Vec<FileOfRejects> {
        let files = self.parts.iter().flat_map(|part| &part.checkpoint.rejects).filter(|file| file.bytes > 0);
        let path = |name: &String| match &self.options.rejects {
            Some(directory) => directory.join(name).display().to_string(),
            None => name.clone(),
        };
        files.map(|file| FileOfRejects { path: path(&file.name), source: None }).collect()
    }
}

fn not_there(file: &FileOfRejects) -> String {
    format!(
        "the reject file {} of a part is not there; perhaps the worker of the part had another directory for rejects",
        file.path
    )
}

fn number_of(part: &LoadDocument) -> Option<u32> {
    part.part.as_ref().map(|of| of.number)
}

fn not_complete(missing: &[u32], parts: usize) -> Error {
    const NAMED_MAX: usize = 10;
    let named: Vec<String> = missing.iter().take(NAMED_MAX).map(u32::to_string).collect();
    let more = if missing.len() > NAMED_MAX { ", …" } else { "" };
    let problem = format!("{} of {parts} parts are not loaded yet: {}{more}", missing.len(), named.join(", "));
    Error::Stopped(format!("{problem}; load them with the same command without --finish"))
}

/// Computes the counts of the whole load. `sums` are the sums of the parts' counts, and `before` is the number of
/// documents in the collection when the load began.
///
/// The sums depend on the order of the parts: a part counts a record as already present if another part has written
/// it. The number of documents in the collection does not depend on that order.
///
/// Returns `None` if the numbers contradict each other. Another program has then written to the collection.
fn settled(sums: &Counts, before: u64, proof: &Verification) -> Option<Counts> {
    let stored = proof.equal;
    let written = if before == 0 { stored } else { proof.found.checked_sub(before)? };
    if written < sums.written || written > sums.written + sums.in_doubt {
        return None;
    }
    let already_present = stored.checked_sub(written)?;
    let outcomes = sums.rejected + sums.conflicts + stored;
    let duplicates = sums.read.checked_sub(outcomes)?;
    Some(Counts { written, already_present, duplicates, in_doubt: 0, repeats_in_doubt: 0, ..*sums })
}

/// Returns the sum of the digests of the stored records. The result is empty if some expected documents are missing or
/// different, because the sum is then not known.
fn digest(proof: &Verification) -> String {
    let is_source = proof.equal == proof.expected;
    let sum: Option<Digest> = is_source.then_some(proof.source_digest);
    sum.map_or_else(String::new, |sum| sum.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_depend_on_the_order_of_the_parts() {
        let proof = |equal, found| Verification { equal, expected: equal, found, ..Verification::default() };
        // Ten rows: one is rejected, three records occur twice.
        let sums = |written, already_present, duplicates| Counts {
            read: 10,
            written,
            already_present,
            duplicates,
            rejected: 1,
            ..Counts::default()
        };
        let check = |sums: Counts, before, proof: &Verification, expected: Option<[u64; 3]>| {
            let found = settled(&sums, before, proof);
            assert_eq!(found.map(|counts| [counts.written, counts.already_present, counts.duplicates]), expected);
            assert!(found.is_none_or(|counts| counts.are_conserved()));
        };
        for sums in [sums(6, 3, 0), sums(6, 1, 2), sums(6, 0, 3)] {
            check(sums, 0, &proof(6, 6), Some([6, 0, 3]));
        }
        for sums in [sums(4, 5, 0), sums(4, 3, 2), Counts { in_doubt: 1, ..sums(3, 5, 1) }] {
            check(sums, 4, &proof(6, 8), Some([4, 2, 3]));
        }
        // Another program added two documents.
        check(sums(4, 5, 0), 4, &proof(6, 10), None);
        check(sums(6, 3, 0), 9, &proof(6, 8), None);
        check(sums(6, 3, 0), 1, &proof(6, 8), None);
        check(sums(6, 3, 0), 0, &proof(10, 10), None);
    }
}
