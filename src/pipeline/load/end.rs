//! The end of a load: builds indexes, attaches the validator, marks the load as complete in the ledger, and verifies
//! the collection.

use std::time::Instant;

use bson::DateTime;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::feed::ReadSide;
use super::{Load, LoadTarget, keeping, reading, source_notes};
use crate::deployment::{build_indexes, schema};
use crate::error::Error;
use crate::ledger::{Claim, Counts, State, TargetState};
use crate::pipeline::stages::Interrupt;
use crate::pipeline::verify::{self, Expectations, VerifyOptions};
use crate::report::summary::{self, DocumentSummary, LoadSummary};
use crate::report::{Phase, Progress};
use crate::server::ServerError;
use crate::spec::Spec;
use crate::spill::SORTER_BYTES_DEFAULT;
use crate::verify::{Excused, Excuses, VerifyError};
use crate::wording::counted;
use crate::write::Mode;

/// Number of collections whose indexes are built at the same time. By default, a server builds those of three
/// collections at once (parameter `maxNumActiveUserIndexBuilds`).
const FINISHED_TOGETHER: usize = 3;

impl Load<'_> {
    /// Ends the writing part of a load. After success, completes the reject files. After a failure or a stop, records
    /// in the ledger that the load ended, and returns the error. Writes nothing to the ledger if it does not contain
    /// the load, or if another process has taken over the load.
    pub(super) async fn end(
        &mut self,
        result: Result<ReadSide, Error>,
        interrupt: &Interrupt,
    ) -> Result<ReadSide, Error> {
        let (state, cause) = match result {
            // Another process took over the load. Only that process may now write the load's ledger document.
            Err(_) if self.claim.as_ref().is_some_and(Claim::is_lost) => return Err(Error::TakenOver),
            Err(Error::TakenOver) => return Err(Error::TakenOver),
            // The ledger does not contain the load yet, and nothing was written. So there is no load to close.
            Err(cause) if self.document.started == DateTime::MIN => return Err(cause),
            Err(cause) => (State::Failed, cause),
            Ok(read) if self.is_over_limit(&read) => (State::Stopped, self.too_many_rejects(&read)),
            Ok(_) if interrupt.is_asked() => (State::Stopped, Error::Interrupted),
            Ok(read) => {
                if let Some(lost) = self.not_conserved(&read) {
                    return Err(self.close(State::Failed, lost).await);
                }
                self.account.rejects.finish()?;
                return Ok(read);
            }
        };
        Err(self.close(state, cause).await)
    }

    /// Records in the ledger that the load ended without success. Returns the error for the user.
    pub(super) async fn close(&mut self, state: State, cause: Error) -> Error {
        self.document.state = state;
        self.account.rejects.remove_empty();
        // If this write fails too, ignore its error. The user must see the first error, `cause`.
        let _ = self.ledger.put_once(&mut self.document).await;
        let (written, settled) = (self.document.documents_written(), self.document.rows_read());
        let begins_anew = self.options.drop || self.options.reload;
        let afterwards = afterwards(&cause, self.plan.is_read_once(), begins_anew);
        Error::Unfinished { cause: Box::new(cause), written, settled, afterwards }
    }

    pub(super) fn is_over_limit(&self, read: &ReadSide) -> bool {
        // A percentage of rejects is checked at the end of the load, even if few rows were read. The end of a part is
        // not the end of the load.
        let at_end = !self.scope.is_part();
        let exceeds = |counts: Counts| {
            self.options.rejects_max.is_some_and(|max| max.is_exceeded(counts.rejected, counts.read, at_end))
        };
        read.over_limit || self.plan.limited(self.counts_with_other_parts()).into_iter().any(exceeds)
    }

    /// Returns the counts of this load for each kind of document. If this is a part, adds those of the other parts.
    fn counts_with_other_parts(&self) -> Vec<Counts> {
        let mut counts: Vec<Counts> = self.document.targets().iter().map(|state| state.counts).collect();
        let others = self.scope.others();
        counts.iter_mut().enumerate().for_each(|(kind, counts)| counts.add(&others.of_kind(kind)));
        counts
    }

    fn too_many_rejects(&self, read: &ReadSide) -> Error {
        let others = self.scope.others();
        let mut counts = self.counts_with_other_parts();
        for (kind, counts) in counts.iter_mut().enumerate() {
            // Rows that were read but not committed count too.
            let others = others.of_kind(kind);
            let (rows, rejected) = read.of_kind(kind);
            counts.rejected = counts.rejected.max(rejected + others.rejected);
            counts.read = counts.read.max(rows + others.read);
        }
        let files: Vec<String> = self.account.rejects.files().into_iter().map(String::from).collect();
        too_many_rejects(&self.plan.kinds, &counts, read.advice(self.plan), &files)
    }

    fn not_conserved(&self, read: &ReadSide) -> Option<Error> {
        not_conserved(&self.document.targets(), read)
    }

    /// Calls `LoadTarget::finish` for each collection, after all documents are written. Returns the notes for the
    /// summary, by kind of document.
    pub(super) async fn finish_collections(&self, progress: &Progress) -> Result<Vec<Vec<String>>, Error> {
        let is_divided = self.plan.spec.is_divided();
        let finish = async |(lane, state): (&LoadTarget<'_>, TargetState)| {
            // Most sources have resources of only a few types. A type without resources gets no collection.
            if is_divided && state.counts.read == 0 { Ok(Vec::new()) } else { lane.finish(&state, progress).await }
        };
        stream::iter(self.targets.iter().zip(self.document.targets()))
            .map(finish)
            .buffered(FINISHED_TOGETHER)
            .try_collect()
            .await
    }

    /// Marks the load as complete in the ledger. First checks that this process still has the lease, and that no
    /// collection was dropped and created again during the load.
    pub(super) async fn complete(&mut self) -> Result<(), Error> {
        if let Some(claim) = &self.claim {
            claim.guard().confirm().await.map_err(keeping)?;
        }
        for (lane, state) in self.targets.iter().zip(self.document.targets()) {
            let uuid = schema::uuid(&lane.target).await?;
            if let (Some(then), Some(now)) = (state.collection_uuid, uuid)
                && then != now
            {
                return Err(Error::Stopped(
                    "the collection was dropped and made again while the load ran, so documents are missing; run the \
                     same command again"
                        .into(),
                ));
            }
        }
        self.document.state = State::Complete;
        self.document.finished = Some(DateTime::now());
        self.document.checkpoint.rejects = self.account.rejects.states();
        self.ledger.put(&mut self.document).await.map_err(keeping)?;
        self.account.rejects.clean_up();
        Ok(())
    }

    /// Returns true if the counts may be wrong. Outcomes can be uncertain after a lost reply or a rollback, and in a
    /// resumed load.
    ///
    /// A first load (a load into an empty collection) counts the records in `in_doubt` as written. This is right if no
    /// other load ran at the same time. Any other load cannot know whether it wrote these records itself. If
    /// `repeats_in_doubt` is not 0, the counts of any load may be wrong.
    pub(super) async fn counts_are_estimates(&self) -> Result<bool, Error> {
        for (lane, state) in self.targets.iter().zip(self.document.targets()) {
            let Counts { in_doubt, repeats_in_doubt, .. } = state.counts;
            let is_alone = state.first_load && in_doubt > 0 && repeats_in_doubt == 0 && self.is_alone(lane).await?;
            if repeats_in_doubt > 0 || in_doubt > 0 && !is_alone {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns true if no other load can have written to the collection since this load began.
    pub(super) async fn is_alone(&self, lane: &LoadTarget<'_>) -> Result<bool, Error> {
        if lane.ledger.has_overlapping_loads(&self.document).await.map_err(reading)? {
            return Ok(false);
        }
        // A load that began before this one may have written documents since then, but not yet changed its ledger
        // document. So return false while another load into this collection has a lease.
        let is_own = |key: &str| self.document.has_lease(key);
        Ok(lane.ledger.other_load(is_own).await.map_err(reading)?.is_none())
    }

    pub(super) fn summary(&self, read: &ReadSide, outcome: &str) -> LoadSummary {
        let spec = &self.plan.spec;
        let mut rejects = read.rejects.list(spec);
        rejects.extend(self.account.refused.list(spec));
        let document = |(lane, state): (&LoadTarget<'_>, TargetState)| DocumentSummary {
            target: Some(format!("{} on {}", lane.target.full_name(), lane.target.address)),
            counts: state.counts,
            digest: state.digest,
            ..DocumentSummary::of_kind(lane.spec, self.targets.len())
        };
        let mut documents = self.targets.iter().zip(self.document.targets()).map(document);
        let mut summary = LoadSummary {
            outcome: outcome.to_owned(),
            advice: read.advice(self.plan),
            run: Some(self.document.id.to_string()),
            document: documents.next().unwrap_or_default(),
            further: documents.collect(),
            sources: source_notes(self.plan, &read.notices),
            rejects,
            changes: summary::changes(&read.tallies, &self.plan.kinds),
            warnings: summary::warnings(&read.tallies, &self.plan.kinds),
            reject_files: self.account.rejects.files(),
            listed_rejects: self.account.listed.clone(),
            continued_after: self.continued_after,
            notes: self.notes.iter().chain(self.account.rejects.notes()).cloned().collect(),
            ..LoadSummary::default()
        };
        summary.add_up(spec);
        summary
    }

    /// Records the result of the verification in the ledger, if there was one.
    pub(super) async fn record_proof(&mut self, summary: &LoadSummary) -> Result<(), Error> {
        self.document.proof = summary.proof();
        match self.document.proof {
            Some(_) => self.ledger.put_proof(&self.document).await.map_err(keeping),
            None => Ok(()),
        }
    }

    /// Verifies a load that is complete according to the ledger. Writes only the result, to the ledger.
    pub(super) async fn verify_only(
        &mut self,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<LoadSummary, Error> {
        let reject_files = self.account.rejects.left_by(&self.document);
        let mut summary = self.summary(&ReadSide::default(), "already loaded, verified instead");
        summary.reject_files = reject_files;
        let expected = self.expect_all(interrupt, progress)?;
        for kind in 0..self.targets.len() {
            let counts = &mut summary.document_mut(kind).counts;
            let already_present = counts.written + counts.already_present;
            *counts = Counts { written: 0, replaced: 0, in_doubt: 0, repeats_in_doubt: 0, already_present, ..*counts };
            self.prove(kind, expected.as_ref(), &mut summary, interrupt, progress).await?;
            if self.options.check_validator {
                self.check_conformity(kind, &mut summary, interrupt, progress).await?;
            }
        }
        summary.add_up(&self.plan.spec);
        self.record_proof(&summary).await?;
        Ok(summary)
    }

    /// Reads the sources again for the verification of all kinds of documents, if there are several and the load is
    /// verified.
    pub(super) fn expect_all(&self, interrupt: &Interrupt, progress: &Progress) -> Result<Option<Expectations>, Error> {
        let mode = self.options.mode;
        if !self.options.verify || mode == Mode::Merge || self.plan.is_read_once() {
            return Ok(None);
        }
        let options = VerifyOptions { mode, ..VerifyOptions::default() };
        let expected = verify::expect_all(self.plan, &options, interrupt, progress);
        if interrupt.is_asked() { expected.map_err(|_| unproven()) } else { expected }
    }

    /// Verifies the collection of one kind of document, and adds the result to the summary. The ledger lists records
    /// that were not written. These may be missing or different. If a verification is not wanted or not possible, adds
    /// the reason to the summary.
    pub(super) async fn prove(
        &self,
        kind: usize,
        expected: Option<&Expectations>,
        summary: &mut LoadSummary,
        interrupt: &Interrupt,
        progress: &Progress,
    ) -> Result<(), Error> {
        if !self.options.verify {
            summary.unverified = Some("--no-verify was given".into());
        } else if self.options.mode == Mode::Merge {
            summary.unverified = Some(
                "merged documents may have fields that the sources lack; `medlift verify` lists these fields".into(),
            );
        } else if self.plan.is_read_once() {
            summary.unverified = Some(
                "a source such as standard input cannot be read again; to verify, save its data in a file and run \
                 `medlift verify`"
                    .into(),
            );
        } else {
            let started = Instant::now();
            let lane = &self.targets[kind];
            let state = &self.document.targets()[kind];
            let excused = self.excused(kind).await?;
            let mode = self.options.mode;
            // Before a first load, the collection was empty. So a document that is not in the sources is a difference.
            // If another load may have written such documents, `permit_extra` permits them below.
            let options = VerifyOptions {
                kind,
                only_source: !state.first_load,
                mode,
                excused,
                expected: expected.cloned(),
                sources: Some(self.document.sources.clone()),
                ..VerifyOptions::default()
            };
            let proof = verify::verify(self.plan, &lane.target, &options, interrupt, progress).await;
            let mut proof = if interrupt.is_asked() { proof.map_err(|_| unproven())? } else { proof? };
            // The ledger is read after the collection, because another load may begin while the collection is
            // scanned. Each load writes its ledger document before it writes its first document to the collection.
            if proof.extra > 0 && !self.is_alone(lane).await? {
                proof.permit_extra();
            }
            let document = summary.document_mut(kind);
            document.verification = Some(proof);
            document.verification_seconds = started.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// Returns the records that this load and its parts did not write, according to the ledger. `None` if there are
    /// none.
    async fn excused(&self, kind: usize) -> Result<Option<Excused>, Error> {
        let parts = self.read_parts().await?;
        let loads = std::iter::once(&self.document).chain(&parts);
        let lists: Vec<_> = loads.map(|load| (load.id, load.targets()[kind].exceptions)).collect();
        if lists.iter().all(|(_, lists)| *lists == 0) {
            return Ok(None);
        }
        let mut excuses = Excuses::new(SORTER_BYTES_DEFAULT);
        for (load, lists) in lists {
            for number in 0..lists {
                let list = self.ledger.exceptions(load, kind, number).await.map_err(reading)?;
                excuses.add(&list).map_err(VerifyError::from)?;
            }
        }
        Ok(Some(excuses.settle().map_err(VerifyError::from)?))
    }
}

impl LoadTarget<'_> {
    /// Builds the indexes and attaches the validator, if this is a first load (a load into an empty collection), or if
    /// a first load of this collection did not complete. Any other load only reports what is missing. Returns notes for
    /// the summary.
    async fn finish(&self, load: &TargetState, progress: &Progress) -> Result<Vec<String>, Error> {
        progress.enter(Phase::Indexes);
        let (target, spec) = (&self.target, self.spec);
        let command = schema::provision_command(target, spec);
        let state = match schema::read(target).await {
            Ok(state) => state,
            Err(error) if error.is_not_authorized() => {
                return Ok(vec!["indexes and validator were not checked: this user has no permission to list them; see `medlift doctor`".into()]);
            }
            Err(error) => return Err(error.into()),
        };
        let missing: Vec<&str> = state.missing_indexes(spec).iter().map(|index| index.name.as_str()).collect();
        let is_guarded = state.is_guarded_by(spec);
        if missing.is_empty() && is_guarded && !load.first_load {
            return Ok(Vec::new());
        }
        let uuid = load.collection_uuid;
        let builds = load.first_load || self.ledger.has_unfinished_first_load(uuid).await.map_err(reading)?;
        if !builds {
            let provision = format!("run `{command}` as an administrator");
            let indexes =
                (!missing.is_empty()).then(|| format!("indexes missing: {}; {provision}", missing.join(", ")));
            let validator = (!is_guarded).then(|| format!("the collection lacks the spec's validator; {provision}"));
            return Ok(indexes.into_iter().chain(validator).collect());
        }
        let built = if missing.is_empty() {
            "the spec's indexes are there".to_owned()
        } else {
            format!("indexes built: {}", missing.join(", "))
        };
        let waiting = |text: &str| progress.say(text);
        let indexes = note_of(build_indexes(target, spec, waiting).await, built, "indexes were not built", &command)?;
        progress.enter(Phase::Validator);
        let attached = schema::attach(target, spec, waiting).await;
        let replaced = state.other_validator(spec).map_or_else(String::new, |other| format!("; it replaces {other}"));
        let attached_note = format!("validator attached{replaced}");
        let validator = note_of(attached, attached_note, "validator was not attached", &command)?;
        Ok(vec![indexes, validator])
    }
}

/// Returns the error of a load with too many rejected rows. `counts` has one value for each kind of document. `files`
/// are the reject files, or their directory.
pub(in crate::pipeline) fn too_many_rejects(
    kinds: &[Spec],
    counts: &[Counts],
    advice: Vec<String>,
    files: &[String],
) -> Error {
    let rejected = kinds.iter().map(|kind| kind.name.as_str()).zip(counts.iter().map(|counts| counts.rejected));
    let problem = too_many(&rejected.collect::<Vec<_>>(), counts.first().map_or(0, |counts| counts.read));
    Error::Rejects {
        problem: [vec![problem], advice].concat().join("; "),
        hint: format!("see {}; correct them, or allow more with --max-rejects", files.join(", ")),
    }
}

/// Returns the error message of a load with too many rejected rows. With several kinds of documents, the message
/// contains one number for each kind. A row can be counted in several of these numbers, and the message says so.
fn too_many(rejected: &[(&str, u64)], read: u64) -> String {
    let (counts, note) = match rejected {
        [(_, only)] => (counted(*only, "row", "rows"), ""),
        kinds => {
            let count = |(kind, count): &(&str, u64)| format!("{count} ({kind})");
            let counts = kinds.iter().map(count).collect::<Vec<_>>().join(", ");
            (format!("{counts} rows"), " (a row can count for several kinds of documents)")
        }
    };
    format!("{counts} rejected of {read} read{note}, more than allowed")
}

/// Returns an error if a kind of document does not have one outcome for each row that was read.
fn not_conserved(targets: &[TargetState], read: &ReadSide) -> Option<Error> {
    let mut counts = targets.iter().map(|state| &state.counts).enumerate();
    let is_lost = |(kind, counts): &(usize, &Counts)| !counts.are_conserved() || counts.read != read.of_kind(*kind).0;
    let (kind, counts) = counts.find(is_lost)?;
    Some(Error::NotConserved { read: read.of_kind(kind).0, accounted: counts.accounted() })
}

/// Returns the text that tells the user how to continue a load that stopped. `begins_anew` is true with `--drop` or
/// `--reload`.
const fn afterwards(cause: &Error, is_read_once: bool, begins_anew: bool) -> &'static str {
    match cause {
        // Exit code 6 means that the store of the source fails for now. The source itself has not changed, so the same
        // command can continue later. After another error, the source may have to be changed, and the next load begins
        // again.
        Error::Read(error) if error.exit_code() != 6 => {
            "the next load without --drop does not store these documents again"
        }
        _ if is_read_once => {
            "the next load must read the source from its beginning; without --drop, it does not store these documents again"
        }
        _ if begins_anew => "the same command without --drop and --reload continues after these rows",
        _ => "the same command continues after these rows",
    }
}

fn unproven() -> Error {
    Error::Stopped(
        "interrupted during the verification; all documents are written, but they were not compared with the sources: \
         run `medlift verify`, or the same command again"
            .into(),
    )
}

/// Turns a result into a note for the summary. If the user lacks a permission, the note has the command that
/// provisions the collection. Any other failure is returned as an error.
fn note_of(done: Result<(), ServerError>, note: String, undone: &str, command: &str) -> Result<String, Error> {
    match done {
        Ok(()) => Ok(note),
        Err(error) if error.is_not_authorized() => {
            Ok(format!("{undone}: this user has no permission; run `{command}` as an administrator"))
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::EncodedKind;

    #[test]
    fn too_many_rejects_are_reported_for_each_kind() {
        assert_eq!(too_many(&[("stay", 1)], 9), "1 row rejected of 9 read, more than allowed");
        assert_eq!(too_many(&[("stay", 3)], 9), "3 rows rejected of 9 read, more than allowed");
        let several = "3 (stay), 5 (doctor) rows rejected of 9 read (a row can count for several kinds of documents), \
                       more than allowed";
        assert_eq!(too_many(&[("stay", 3), ("doctor", 5)], 9), several);
    }

    #[test]
    fn a_stopped_load_says_how_the_next_one_continues() {
        let check = |cause: &Error, is_read_once: bool, begins_anew: bool, expected: &str| {
            let found = afterwards(cause, is_read_once, begins_anew);
            assert!(found.contains(expected), "{found}");
        };
        check(&Error::Interrupted, false, false, "the same command continues");
        check(&Error::Interrupted, false, true, "without --drop and --reload");
        check(&Error::Interrupted, true, true, "from its beginning");
        let missing = crate::read::expand(&["/nonexistent/a.csv".to_owned()]).expect_err("there is no such file");
        check(&Error::Read(missing), false, false, "the next load without --drop does not store these documents again");
        #[cfg(feature = "s3")]
        {
            let problem = crate::s3::Problem::Passing { offset: 1, seconds: 60, cause: "SlowDown".to_owned() };
            let passing = crate::read::ReadError::Object { name: "s3://b/a.csv".to_owned(), problem };
            check(&Error::Read(passing), false, false, "the same command continues");
        }
    }

    #[test]
    fn conservation_is_checked_for_every_kind() {
        let state = |read, written| {
            let counts = Counts { read, written, ..Counts::default() };
            TargetState { counts, ..TargetState::new("a") }
        };
        let mut read = ReadSide::default();
        for rows in [3, 0] {
            let kinds =
                vec![EncodedKind { rows, ..EncodedKind::default() }, EncodedKind { rows, ..EncodedKind::default() }];
            read.kinds_of(&kinds);
        }
        assert!(not_conserved(&[state(3, 3), state(3, 3)], &read).is_none());
        for lost in [[state(3, 3), state(3, 2)], [state(2, 3), state(3, 3)], [state(3, 3), state(2, 2)]] {
            assert!(matches!(not_conserved(&lost, &read), Some(Error::NotConserved { read: 3, .. })), "{lost:?}");
        }
    }
}
