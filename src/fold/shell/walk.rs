//! Folds all messages, document by document: to compare the result with the stored documents, or to correct them.
//!
//! The events of all messages are sorted on disk by the documents that they touch. Memory therefore stays bounded, even
//! if very many messages are about the same document.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bson::{RawDocument, RawDocumentBuf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::basis::Basis;
use super::notes::FOLDED;
use super::spool::{Spool, Spooled};
use super::store::{LAST, Store, id_of};
use super::write::{Put, Replaces, last_message};
use super::{FoldError, Folded, Folder};
use crate::encode::{Id, IdentityKey};
use crate::fold::folding::Folding;
use crate::fold::{Event, Key, Kind, Merges};
use crate::server::Target;
use crate::spec::Spec;
use crate::verify::{Batch, RangeScan, ScanError};

/// A group of documents that are compared together has about this number of documents and bytes.
const GROUP_DOCUMENTS: usize = 5_000;
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// At most this number of differences are listed.
const DIFFERENCES_MAX: usize = 1_000;

/// The result of folding all messages again and comparing the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// The counts of `patients`, `visits` and `results`.
    pub counts: [StateCounts; 3],
    /// The first differences.
    pub differences: Vec<StateDifference>,
    /// Stored messages that are not folded yet. The documents can differ because of them.
    pub not_folded: u64,
}

/// The counts of the documents of one collection of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    /// Documents that are as the messages say.
    pub equal: u64,
    /// Documents that follow from the messages, but are not stored.
    pub missing: u64,
    /// Documents that follow from no message.
    pub extra: u64,
    /// Documents with another content.
    pub different: u64,
}

/// A document of the state that is not as the messages say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDifference {
    /// The collection.
    pub collection: &'static str,
    /// The `_id`.
    pub id: Id,
    /// `missing`, `extra` or `different`.
    pub what: &'static str,
}

/// Folds all messages of `target` again and compares the result with the stored documents. Writes nothing. Returns
/// `None` if no messages were ever folded in this database. Adds the number of messages that are read to `read`.
///
/// # Errors
/// The messages cannot be folded with this spec or key, another process folds, or the server or the temporary file
/// fails.
pub async fn check(
    target: &Target,
    spec: &Spec,
    identity: &IdentityKey,
    read: &Arc<AtomicU64>,
) -> Result<Option<Checked>, FoldError> {
    let basis = Basis::new(target, spec, identity)?;
    basis.refuse_other_identity().await?;
    let known = basis.known().await?;
    basis.refuse_other_rule(known.as_ref(), &basis.record().await?)?;
    let Some(record) = &known else { return Ok(None) };
    basis.refuse_other_version(record)?;
    let fence = basis.last_fence().await?;
    let (store, reader) = (Store::new(target, spec, None)?, basis.reader.clone());
    let read = Arc::clone(read);
    let mut folder = Folder { store, reader, basis, known, folded: Folded::default(), read };
    let mut checked = folder.walk(false).await?;
    checked.not_folded = folder.new_messages().await?.new.len() as u64;
    if folder.basis.last_fence().await? != fence {
        return Err(FoldError::Moved(target.database.clone()));
    }
    Ok(Some(checked))
}

/// Documents with neighbouring keys.
#[derive(Debug)]
struct Group {
    /// The keys of this group are after `after`, and at most `to`.
    after: Option<Id>,
    to: Id,
    documents: BTreeMap<Key, RawDocumentBuf>,
    /// The messages of each key, in order.
    touches: Vec<(Id, Vec<Id>)>,
    bytes: usize,
}

impl Folder {
    /// Folds all messages document by document. Corrects the stored documents if `repair` is true.
    pub(super) async fn walk(&mut self, repair: bool) -> Result<Checked, FoldError> {
        if repair {
            self.store.forget().await?;
        }
        let (mut spooled, merges) = self.spool_all(repair).await?;
        let mut checked = Checked::default();
        let mut group = Group::new(None);
        // While a group is compared and written, the next one is folded.
        let mut comparing = JoinSet::new();
        while let Some((state, touches)) = next_state(&mut spooled)? {
            group.add(state.key(), state.document(state.patient().map(|patient| merges.survivor(patient))), touches);
            if group.is_full() {
                let after = group.to;
                let full = std::mem::replace(&mut group, Group::new(Some(after)));
                self.compare_behind(&mut comparing, full, repair, &mut checked).await?;
            }
        }
        group.to = LAST;
        self.compare_behind(&mut comparing, group, repair, &mut checked).await?;
        while let Some(found) = comparing.join_next().await {
            checked.add(joined(found)?);
        }
        Ok(checked)
    }

    /// Begins to compare a group, after the group before it is compared.
    async fn compare_behind(
        &self,
        comparing: &mut JoinSet<Result<Checked, FoldError>>,
        group: Group,
        repair: bool,
        checked: &mut Checked,
    ) -> Result<(), FoldError> {
        while let Some(found) = comparing.join_next().await {
            checked.add(joined(found)?);
        }
        comparing.spawn(group.compare(self.store.clone(), repair));
        Ok(())
    }

    /// Reads all messages. Returns their events, sorted, and all merges. If `repair` is true, also notes as folded
    /// the messages that were read.
    async fn spool_all(&mut self, repair: bool) -> Result<(Spooled, Merges), FoldError> {
        let (mut spool, mut merges) = (Spool::new(), Merges::default());
        let (mut batches, _reading) = read_ahead(self.store.scan());
        while let Some(batch) = batches.recv().await {
            let batch = batch?;
            let mut ids = Vec::new();
            for document in batch.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
                ids.extend(id_of(document).and_then(Id::from_binary));
                let Some((id, bytes)) = self.store.message(document) else { continue };
                self.folded.messages += 1;
                let Ok(event) = self.reader.event(id, bytes) else {
                    self.folded.unreadable += 1;
                    continue;
                };
                event.add_merges(&mut merges);
                event.keys().try_for_each(|key| spool.push(key, &event))?;
            }
            self.read.fetch_add(ids.len() as u64, Ordering::Relaxed);
            if repair {
                self.store.note(std::iter::once((FOLDED, &ids[..]))).await?;
            }
        }
        Ok((spool.into_sorted()?, merges))
    }
}

/// Reads a collection, while the caller works on the batch before.
fn read_ahead(mut scan: RangeScan) -> (mpsc::Receiver<Result<Batch, ScanError>>, JoinSet<()>) {
    let (sender, receiver) = mpsc::channel(1);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        while let Some(batch) = scan.next_batch().await.transpose() {
            if sender.send(batch).await.is_err() {
                return;
            }
        }
    });
    (receiver, reading)
}

/// Returns the state of the next document, and its messages in the order of their `_id`s.
fn next_state(spooled: &mut Spooled) -> Result<Option<(crate::fold::State, Vec<Id>)>, FoldError> {
    let Some((key, events)) = spooled.next_piece()? else { return Ok(None) };
    let (mut folding, mut messages) = (Folding { key, state: None }, Vec::new());
    let mut add = |events: Vec<Event>| {
        messages.extend(events.iter().map(|event| event.order().message));
        folding.add(&mut events.iter().collect::<Vec<_>>());
    };
    add(events);
    while let Some(events) = spooled.next_piece_of(key)? {
        add(events);
    }
    messages.sort_unstable();
    Ok(folding.state.map(|state| (state, messages)))
}

fn joined(found: Result<Result<Checked, FoldError>, tokio::task::JoinError>) -> Result<Checked, FoldError> {
    match found {
        Ok(found) => found,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

impl Group {
    const fn new(after: Option<Id>) -> Self {
        Self { after, to: LAST, documents: BTreeMap::new(), touches: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, key: Key, document: RawDocumentBuf, messages: Vec<Id>) {
        self.bytes += document.as_bytes().len() + 16 * messages.len();
        self.to = key.id;
        self.documents.insert(key, document);
        self.touches.push((key.id, messages));
    }

    fn is_full(&self) -> bool {
        self.documents.len() >= GROUP_DOCUMENTS || self.bytes >= GROUP_BYTES
    }

    /// Compares the documents with those that are stored in the range of these keys. Corrects the stored ones if
    /// `repair` is true.
    async fn compare(self, store: Store, repair: bool) -> Result<Checked, FoldError> {
        let Self { after, to, documents, touches, .. } = self;
        let mut of_kinds: [BTreeMap<Id, RawDocumentBuf>; 3] = Default::default();
        for (key, document) in documents {
            of_kinds[key.kind as usize].insert(key.id, document);
        }
        let [patients, visits, results] = of_kinds;
        let range = Range { after, to, store: &store, repair };
        let notes = async {
            if !repair {
                return Ok(());
            }
            store.note(touches.iter().map(|(key, messages)| (*key, &messages[..]))).await
        };
        let (patients, visits, results, ()) = tokio::try_join!(
            range.compare(Kind::Patient, patients),
            range.compare(Kind::Visit, visits),
            range.compare(Kind::Result, results),
            notes
        )?;
        let mut checked = patients;
        checked.add(visits);
        checked.add(results);
        Ok(checked)
    }
}

/// A range of keys whose documents are compared.
struct Range<'s> {
    after: Option<Id>,
    to: Id,
    store: &'s Store,
    repair: bool,
}

impl Range<'_> {
    async fn compare(&self, kind: Kind, mut expected: BTreeMap<Id, RawDocumentBuf>) -> Result<Checked, FoldError> {
        let (mut checked, mut wrong, mut extra) = (Checked::default(), Vec::new(), Vec::new());
        let mut scan = self.store.scan_states(kind, self.after, self.to);
        while let Some(batch) = scan.next_batch().await? {
            for stored in batch.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
                let Some(id) = id_of(stored).and_then(Id::from_binary) else { continue };
                match expected.remove(&id) {
                    Some(document) if *document == *stored => checked.counts[kind as usize].equal += 1,
                    Some(document) => {
                        checked.note(kind, id, "different");
                        wrong.push(Put { document, replaces: Replaces::of(stored) });
                    }
                    // A document without a last message is of another program, so it does not count.
                    None if last_message(stored).is_some() => {
                        checked.note(kind, id, "extra");
                        extra.push(id);
                    }
                    None => {}
                }
            }
        }
        for id in expected.keys() {
            checked.note(kind, *id, "missing");
        }
        if self.repair {
            wrong.extend(expected.into_values().map(|document| Put { document, replaces: Replaces::Nothing }));
            self.store.put(kind, wrong).await?;
            self.store.remove(kind, &extra).await?;
        }
        Ok(checked)
    }
}

impl Checked {
    fn note(&mut self, kind: Kind, id: Id, what: &'static str) {
        let counts = &mut self.counts[kind as usize];
        match what {
            "missing" => counts.missing += 1,
            "extra" => counts.extra += 1,
            _ => counts.different += 1,
        }
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(StateDifference { collection: kind.collection(), id, what });
        }
    }

    fn add(&mut self, other: Self) {
        for (counts, more) in self.counts.iter_mut().zip(other.counts) {
            counts.equal += more.equal;
            counts.missing += more.missing;
            counts.extra += more.extra;
            counts.different += more.different;
        }
        let room = DIFFERENCES_MAX - self.differences.len();
        self.differences.extend(other.differences.into_iter().take(room));
    }

    /// Returns the number of documents that are missing or have another content.
    pub(super) fn wrong(&self) -> u64 {
        self.counts.iter().map(|counts| counts.missing + counts.different).sum()
    }

    /// Returns the number of documents that follow from no message.
    pub(super) fn extra(&self) -> u64 {
        self.counts.iter().map(|counts| counts.extra).sum()
    }

    /// Returns true if all documents are as the messages say.
    pub fn is_clean(&self) -> bool {
        self.wrong() == 0 && self.extra() == 0
    }
}
