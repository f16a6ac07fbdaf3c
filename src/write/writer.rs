//! Executes the actions of the state machine: sends commands, waits, and passes complete chunks on.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bson::RawDocumentBuf;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::batch::{BatchId, Member, Step};
use super::bulk::{Bulk, Comparison, Parcel};
use super::chunk::KindChunk;
use super::group::Losers;
use super::machine::{Action, Complaint, Doubts, Earlier, Event, Limits, Machine, Reply};
use super::outcome::{Mode, Outcome, Policy, Refusal};
use super::seen::Seen;
use super::shards::ShardMap;
use crate::encode::{Entry, IdentityKey, Version};
use crate::ledger::Exceptions;
use crate::outputs::limit_hint;
use crate::server::{Failure, Patience, codes};

/// The cause that stops a writer.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A batch cannot be written: the server refused the command, or all attempts failed.
    #[error("cannot write to the collection: {0}")]
    Server(Failure),
    /// The server replaced none of the records of a batch in all attempts, because their documents were no longer those
    /// with which the records had been compared.
    #[error(
        "cannot write to the collection: stored documents changed again before each attempt, or cannot be compared with newer records; \
         look for other programs that change the collection, and for documents that Medlift did not write; then run the \
         same command again"
    )]
    Changing,
    /// The temporary file with the `_id`s of this load cannot be used.
    #[error("cannot store the `_id`s of this load in a temporary file (TMPDIR sets the directory): {0}{hint}", hint = limit_hint(.0))]
    Seen(#[from] io::Error),
}

/// A complete chunk: all its records and those of all earlier chunks have their final outcomes.
#[derive(Debug)]
pub struct Settled {
    /// The chunk, with its records.
    pub chunk: Arc<KindChunk>,
    /// One outcome for each entry of the chunk.
    pub outcomes: Vec<Outcome>,
    /// Records of the chunk that were not sent, because another record with the same `_id` was sent in their place.
    pub losers: Losers,
    /// Records that may be missing or different when the load is verified.
    pub exceptions: Exceptions,
    /// The numbers of outcomes that are uncertain.
    pub doubts: Doubts,
}

/// A chunk that is not complete.
struct Open {
    chunk: Arc<KindChunk>,
    /// For each entry, whether an earlier chunk of this load contained its `_id`.
    earlier: Vec<Earlier>,
    /// Contents of documents in the collection. The key is the position of the entry with the same `_id`. Contains only
    /// documents that differ from their entry, and only if several records of the chunk have the `_id`.
    stored: HashMap<u32, Version>,
    /// The queries that find documents which are older than the entry with the same `_id`. The key is the position of
    /// the entry. A query is removed when the server has answered it.
    older: HashMap<u32, Arc<RawDocumentBuf>>,
}

/// The result of an action. The machine receives `event`. `failure` is kept for the error message.
struct Finished {
    event: Event,
    failure: Option<(BatchId, Failure)>,
    stored: Vec<(Member, Version)>,
    older: Vec<(Member, RawDocumentBuf)>,
    /// Records whose queries are no longer needed.
    answered: Vec<Member>,
    /// The batch, if the server found changed documents.
    changed: Option<BatchId>,
}

/// Writes the chunks of one kind of document to its collection.
pub struct Writer {
    bulk: Bulk,
    policy: Policy,
    comparison: Comparison,
    machine: Machine,
    shards: ShardMap,
    seen: Seen,
    chunks: HashMap<u64, Open>,
    chunks_taken: u64,
    under_way: FuturesUnordered<BoxFuture<'static, Finished>>,
    failures: HashMap<BatchId, Failure>,
    /// Batches for which the server found changed documents.
    changed: HashSet<BatchId>,
    /// Reports the batches that failed and are sent again. The key is the first record of the batch, because the batch
    /// has a new id each time it is sent. An entry is removed when the server answers its batch.
    repeated: HashMap<Member, Patience>,
}

impl Finished {
    fn of(event: Event) -> Self {
        Self { event, failure: None, stored: Vec::new(), older: Vec::new(), answered: Vec::new(), changed: None }
    }

    /// Makes the result of a command that replaces older documents. The queries of its records are no longer needed,
    /// except for a record that is sent again without another comparison.
    fn replaced(batch: BatchId, reply: Reply, members: &[Member]) -> Self {
        let error_of = |at: usize| reply.errors.iter().find(|(of, _)| *of as usize == at).map(|(_, error)| *error);
        let is_answered = |(at, _): &(usize, &Member)| error_of(*at) != Some(Complaint::Passing);
        let answered = members.iter().enumerate().filter(is_answered).map(|(_, member)| *member).collect();
        let is_changed = reply.durable && reply.errors.iter().any(|(_, error)| *error == Complaint::Taken);
        Self { answered, changed: is_changed.then_some(batch), ..Self::of(Event::Replied(batch, reply)) }
    }

    fn failed(batch: BatchId, failure: Failure) -> Self {
        let event = Event::Failed { batch, transient: failure.is_retryable() };
        Self { failure: Some((batch, failure)), ..Self::of(event) }
    }
}

impl Open {
    fn new(chunk: KindChunk, earlier: Vec<Earlier>) -> Self {
        Self { chunk: Arc::new(chunk), earlier, stored: HashMap::new(), older: HashMap::new() }
    }

    fn settle(self, mut outcomes: Vec<Outcome>, doubts: Doubts, policy: Policy) -> Settled {
        let mut losers = Losers::default();
        for (&member, group) in &self.chunk.groups {
            let outcome = &mut outcomes[member as usize];
            let winner = &self.chunk.entries[member as usize];
            let came_before = self.earlier[member as usize] != Earlier::Nothing;
            let stored = self.stored.get(&member).copied().filter(|_| came_before);
            let version = |entry: &Entry| self.chunk.version(entry);
            losers.add(Losers::beside(winner, group, outcome, stored, policy, version));
        }
        let exceptions = self.exceptions(&outcomes, policy);
        Settled { chunk: self.chunk, outcomes, losers, exceptions, doubts }
    }

    /// Lists two sorts of records: those that the server refused, and those that were *kept out*, because other content
    /// is stored under their `_id`.
    ///
    /// A record is not listed as kept out if its `_id` occurred earlier in this load. The verification itself finds out
    /// which record must be stored under such an `_id`. If the newest record wins, no record is listed as kept out: the
    /// verification recognises that the stored document is newer.
    fn exceptions(&self, outcomes: &[Outcome], policy: Policy) -> Exceptions {
        let mut exceptions = Exceptions::default();
        for ((entry, outcome), earlier) in self.chunk.entries.iter().zip(outcomes).zip(&self.earlier) {
            match outcome {
                Outcome::Conflict if policy.newest_wins() => {}
                Outcome::Refused(Refusal::Conflict) | Outcome::Conflict if *earlier == Earlier::Nothing => {
                    exceptions.kept_out.push(entry.id);
                }
                Outcome::Refused(Refusal::Validation | Refusal::UniqueIndex | Refusal::Server(_)) => {
                    exceptions.refused.push(entry.id);
                }
                _ => {}
            }
        }
        exceptions
    }
}

impl Writer {
    /// Makes a writer for one collection. `shards` are the shards of the collection. `key` is the key of the `_id`s and
    /// digests. `records_guess` is the expected number of records.
    pub fn new(
        bulk: Bulk,
        limits: Limits,
        policy: Policy,
        shards: ShardMap,
        key: IdentityKey,
        records_guess: u64,
    ) -> Self {
        Self {
            bulk,
            policy,
            comparison: Comparison { merge: policy.mode == Mode::Merge, newest: policy.newest_wins(), key },
            machine: Machine::new(limits, policy, shards.count()),
            shards,
            seen: Seen::new(records_guess),
            chunks: HashMap::new(),
            chunks_taken: 0,
            under_way: FuturesUnordered::new(),
            failures: HashMap::new(),
            changed: HashSet::new(),
            repeated: HashMap::new(),
        }
    }

    /// Writes all chunks until the channel closes, and passes complete chunks to `to_settle`. Returns `Ok` early if the
    /// receiver of `to_settle` is closed.
    ///
    /// # Errors
    /// If a batch cannot be written, because the server refused the command or all attempts failed. Also if the
    /// temporary file with the `_id`s of the load cannot be used. Chunks that are already committed stay committed.
    pub(super) async fn send_all(
        &mut self,
        mut chunks: mpsc::Receiver<KindChunk>,
        to_settle: mpsc::UnboundedSender<Settled>,
    ) -> Result<(), WriteError> {
        let mut open = true;
        while open || !self.machine.is_idle() {
            let actions = tokio::select! {
                biased;
                () = to_settle.closed() => return Ok(()),
                Some(finished) = self.under_way.next() => {
                    self.note(&finished);
                    self.failures.extend(finished.failure);
                    for (member, version) in finished.stored {
                        self.chunks.get_mut(&member.chunk).map(|open| open.stored.insert(member.at, version));
                    }
                    self.changed.extend(finished.changed);
                    for member in finished.answered {
                        self.chunks.get_mut(&member.chunk).map(|open| open.older.remove(&member.at));
                    }
                    for (member, query) in finished.older {
                        self.chunks.get_mut(&member.chunk).map(|open| open.older.insert(member.at, Arc::new(query)));
                    }
                    self.machine.on(finished.event)
                }
                // An answer that has arrived is processed before a new chunk is received. Reason: the preparation of a
                // chunk takes time, and the connection would be idle meanwhile.
                chunk = chunks.recv(), if open => {
                    open = chunk.is_some();
                    match chunk {
                        Some(chunk) => self.take(chunk)?,
                        None => self.machine.on(Event::Ended),
                    }
                }
            };
            self.carry_out(actions, &to_settle)?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        actions: Vec<Action>,
        to_settle: &mpsc::UnboundedSender<Settled>,
    ) -> Result<(), WriteError> {
        let mut given_up = None;
        for action in actions {
            match action {
                Action::Send { batch, step, members } => self.send(batch, step, members),
                Action::Delay(batch, delay_ms) => self.wait(batch, delay_ms),
                Action::Settle { chunk, outcomes, doubts } => {
                    let open = self.chunks.remove(&chunk).expect("a chunk must be open until it is complete");
                    // If the receiver is closed, `send_all` returns in the next iteration of its loop.
                    let _ = to_settle.send(open.settle(outcomes, doubts, self.policy));
                }
                Action::Stop(batch) => given_up = Some(batch),
            }
        }
        given_up.map_or(Ok(()), |batch| Err(self.why(batch)))
    }

    /// Notes a temporary failure of a batch, so that it is reported. Ends the report when the server answers this
    /// batch. The answer to another batch does not end the report. Reason: the load stops if one batch fails too often,
    /// even if the server answers the others.
    fn note(&mut self, finished: &Finished) {
        let (Event::Failed { batch, .. } | Event::Replied(batch, _) | Event::Compared(batch, _)) = &finished.event
        else {
            return;
        };
        let Some((first, failures)) = self.machine.repetition(*batch) else { return };
        match (&finished.event, &finished.failure) {
            (Event::Failed { transient: true, .. }, Some((_, failure))) => {
                self.repeated.entry(first).or_default().note(failures, failure);
            }
            (Event::Failed { .. }, _) => {}
            _ => drop(self.repeated.remove(&first)),
        }
    }

    fn take(&mut self, chunk: KindChunk) -> Result<Vec<Action>, WriteError> {
        let earlier = self.seen.note(&chunk.entries)?;
        if chunk.is_settled {
            return Ok(self.machine.on(Event::Passed));
        }
        let planned = chunk.planned(&earlier, &self.shards);
        self.chunks.insert(self.chunks_taken, Open::new(chunk, earlier));
        self.chunks_taken += 1;
        Ok(self.machine.on(Event::Chunk(planned)))
    }

    fn send(&self, batch: BatchId, step: Step, members: Vec<Member>) {
        let (bulk, rule) = (self.bulk.clone(), self.comparison.clone());
        let mut parcel = Parcel::new(members, |chunk| Arc::clone(&self.chunks[&chunk].chunk));
        if step == Step::ReplaceOlder {
            parcel = parcel.with_queries(|member| Arc::clone(&self.chunks[&member.chunk].older[&member.at]));
        }
        let call = async move {
            if step == Step::Compare {
                let compared = bulk.compare(&parcel, &rule).await?;
                let event = Event::Compared(batch, compared.verdicts);
                let (stored, older) = (compared.stored, compared.older);
                return Ok(Finished { stored, older, ..Finished::of(event) });
            }
            let reply = bulk.send(step, &parcel).await?;
            if step == Step::ReplaceOlder {
                return Ok(Finished::replaced(batch, reply, parcel.members()));
            }
            Ok(Finished::of(Event::Replied(batch, reply)))
        };
        self.under_way.push(Box::pin(async move {
            // Runs as a separate task, so that one command can be built while another waits for its answer.
            match tokio::spawn(call).await.unwrap_or_else(|stopped| std::panic::resume_unwind(stopped.into_panic())) {
                Ok(finished) => finished,
                Err(failure) => Finished::failed(batch, failure),
            }
        }));
    }

    fn wait(&self, batch: BatchId, delay_ms: u64) {
        self.under_way.push(Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            Finished::of(Event::Elapsed(batch))
        }));
    }

    /// Returns the error of the batch's last command. If the server answered the command, no error is stored. The
    /// function then returns [`WriteError::Changing`] if the server found changed documents. Otherwise it returns a
    /// write concern timeout, which is the usual cause of repeated attempts.
    fn why(&mut self, batch: BatchId) -> WriteError {
        match self.failures.remove(&batch) {
            Some(failure) => WriteError::Server(failure),
            None if self.changed.contains(&batch) => WriteError::Changing,
            None => WriteError::Server(Failure::WriteConcern { code: codes::WRITE_CONCERN_TIMEOUT }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::machine::Planned;
    use super::*;
    use crate::encode::{Digest, EncodedBlock, EncodedKind, Id};
    use crate::server::Unreachable;
    use crate::spec::OnConflict;

    const PLAIN: Policy =
        Policy { mode: Mode::Insert, on_conflict: OnConflict::KeepFirst, empty_at_start: false, is_resumed: false };

    fn entry(number: u8, content: u8) -> Entry {
        Entry { id: Id([number; 16]), digest: Digest(content.into()), row: content.into(), ..Entry::default() }
    }

    fn one_block() -> Arc<Vec<EncodedBlock>> {
        let kinds = vec![EncodedKind::default()];
        Arc::new(vec![EncodedBlock { kinds, ..EncodedBlock::default() }])
    }

    /// Makes an unfinished chunk with one record for each item of `earlier`. The `_id`s are numbered from 0.
    fn open(earlier: &[Earlier]) -> Open {
        let entries = (0..earlier.len() as u8).map(|number| entry(number, 0)).collect();
        let (blocks, groups) = (one_block(), BTreeMap::new());
        let chunk = KindChunk { blocks, kind: 0, entries, groups, is_settled: false };
        Open::new(chunk, earlier.to_vec())
    }

    #[test]
    fn exceptions_are_refused_records_and_those_kept_out_by_older_documents() {
        let outcomes = [
            (Outcome::Conflict, Earlier::Nothing),
            (Outcome::Conflict, Earlier::Other),
            (Outcome::Refused(Refusal::Conflict), Earlier::Nothing),
            (Outcome::Refused(Refusal::Conflict), Earlier::Other),
            (Outcome::Refused(Refusal::Validation), Earlier::Nothing),
            (Outcome::Refused(Refusal::UniqueIndex), Earlier::Other),
            (Outcome::Written, Earlier::Nothing),
            (Outcome::Present, Earlier::Nothing),
            (Outcome::Replaced, Earlier::Nothing),
            (Outcome::ReplacedOwn, Earlier::Other),
            (Outcome::Duplicate, Earlier::Equal),
        ];
        let (outcomes, earlier): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        let settled = open(&earlier).settle(outcomes, Doubts { stored: 3, repeats: 4 }, PLAIN);
        let ids = |numbers: [u8; 2]| numbers.map(|number| Id([number; 16])).to_vec();
        assert_eq!(settled.exceptions, Exceptions { refused: ids([4, 5]), kept_out: ids([0, 2]) });
        assert_eq!(settled.doubts, Doubts { stored: 3, repeats: 4 });
    }

    /// Tests a group of two records with one `_id`. Only the first record is sent. The stored document has the
    /// content of the second record, so the first record is a conflict.
    #[track_caller]
    fn check_group(earlier: Earlier, duplicates: u64, conflicts: u64) {
        let mut open = open(&[earlier]);
        let group = vec![entry(0, 0), entry(0, 1)];
        open.chunk = Arc::new(KindChunk {
            blocks: one_block(),
            kind: 0,
            entries: vec![group[0]],
            groups: BTreeMap::from([(0, group)]),
            is_settled: false,
        });
        open.stored.insert(0, Digest(1).into());
        let settled = open.settle(vec![Outcome::Conflict], Doubts::default(), PLAIN);
        assert_eq!((settled.losers.duplicates, settled.losers.conflicts), (duplicates, conflicts), "{earlier:?}");
    }

    #[test]
    fn equal_stored_content_is_a_duplicate_only_if_this_load_stored_it() {
        check_group(Earlier::Other, 1, 0);
        check_group(Earlier::Nothing, 0, 1);
    }

    /// Runs `test` with a writer that has no server. The writer sends each record in its own batch, and at most two
    /// batches at the same time.
    fn with_writer(mode: Mode, test: impl FnOnce(&mut Writer)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = mongodb::Client::with_uri_str("mongodb://127.0.0.1:9/").await.unwrap();
            let bulk = Bulk::new(client.database("d"), "rows", None);
            let limits = Limits { batch_docs_max: 1, batch_bytes_max: 1, in_flight_max: 2, attempts_max: 9 };
            test(&mut Writer::new(
                bulk,
                limits,
                Policy { mode, ..PLAIN },
                ShardMap::default(),
                IdentityKey::default(),
                1,
            ));
        });
    }

    #[test]
    fn an_answer_to_one_batch_does_not_end_the_report_about_another() {
        with_writer(Mode::Insert, |writer| {
            let record = |lead| Planned { bytes: 1, earlier: Earlier::Nothing, lead, shard: 0 };
            let actions = writer.machine.on(Event::Chunk(vec![record(1), record(2)]));
            let batch = |action| if let Action::Send { batch, .. } = action { Some(batch) } else { None };
            let batches: Vec<BatchId> = actions.into_iter().filter_map(batch).collect();
            let lost = || Failure::Unreachable(Unreachable::Lost);
            for batch in &batches {
                writer.note(&Finished::failed(*batch, lost()));
            }
            assert_eq!(writer.repeated.len(), 2);
            let reply = Reply { durable: true, errors: Vec::new() };
            let event = Event::Replied(batches[1], reply);
            writer.note(&Finished::of(event));
            let first = writer.machine.repetition(batches[0]).map(|(first, _)| first);
            assert_eq!(writer.repeated.keys().copied().collect::<Vec<_>>(), Vec::from_iter(first));
        });
    }

    #[test]
    fn the_query_of_a_record_is_kept_only_if_the_record_is_sent_again_without_comparison() {
        let members: Vec<Member> = (0..4).map(|at| Member { chunk: 0, at }).collect();
        let check = |errors: &[(u32, Complaint)], durable, answered: &[u32], is_changed| {
            let reply = Reply { errors: errors.to_vec(), durable };
            let finished = Finished::replaced(BatchId(3), reply, &members);
            assert_eq!(finished.answered.iter().map(|member| member.at).collect::<Vec<_>>(), answered, "{errors:?}");
            assert_eq!(finished.changed.is_some(), is_changed, "{errors:?}");
        };
        check(&[], true, &[0, 1, 2, 3], false);
        check(&[(1, Complaint::Passing), (2, Complaint::Taken)], true, &[0, 2, 3], true);
        check(&[(2, Complaint::Taken)], false, &[0, 1, 2, 3], false);
    }

    #[test]
    fn a_stopped_load_reports_the_last_error_of_the_batch() {
        with_writer(Mode::Merge, |writer| {
            assert!(writer.comparison.merge);
            writer.failures.insert(BatchId(4), Failure::Timeout);
            writer.changed.insert(BatchId(6));
            assert!(matches!(writer.why(BatchId(4)), WriteError::Server(Failure::Timeout)));
            assert!(matches!(writer.why(BatchId(5)), WriteError::Server(Failure::WriteConcern { code: 64 })));
            assert!(matches!(writer.why(BatchId(6)), WriteError::Changing));
        });
    }
}
