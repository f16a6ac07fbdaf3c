//! Folds a batch of new messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

use bson::{RawDocument, RawDocumentBuf};

use super::notes::FOLDED;
use super::spool::Spool;
use super::store::{IDS_MAX, id_of};
use super::write::{Put, Replaces};
use super::{FoldError, Folder};
use crate::encode::Id;
use crate::fold::elements::get;
use crate::fold::folding::Folding;
use crate::fold::{Advanced, Event, Key, Kind, Merge, State, advance, fold};
use crate::verify::RangeScan;

/// New messages that are folded together.
#[derive(Default)]
pub(super) struct Batch {
    events: Vec<Event>,
    /// The `_id`s of the documents that were read. Not all of them are messages that can be read.
    pub messages: Vec<Id>,
    /// The size of the messages.
    pub bytes: usize,
}

impl Folder {
    /// Adds the messages with these `_id`s to a batch.
    pub(super) async fn read_batch(&mut self, ids: &[Id], batch: &mut Batch) -> Result<(), FoldError> {
        let mut scan = self.store.scan_of(ids);
        while let Some(documents) = scan.next_batch().await? {
            for document in documents.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
                batch.messages.extend(id_of(document).and_then(Id::from_binary));
                // A document of another program is no message. It is noted as folded, so that it is not read again.
                let Some((id, bytes)) = self.store.message(document) else { continue };
                batch.bytes += bytes.len();
                self.folded.messages += 1;
                match self.reader.event(id, bytes) {
                    Ok(event) => batch.events.push(event),
                    Err(_) => self.folded.unreadable += 1,
                }
            }
        }
        self.read.fetch_add(ids.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Folds a batch.
    pub(super) async fn fold_batch(&mut self, batch: Batch) -> Result<(), FoldError> {
        let Batch { mut events, mut messages, .. } = batch;
        if messages.is_empty() {
            return Ok(());
        }
        events.sort_by(|one, other| one.order().cmp(other.order()));
        let stored = self.stored_states(&events).await?;
        let lost = self.without_document(&events, &stored).await?;
        self.note_touches(&events).await?;
        let states = self.next_states(&events, &stored, &lost).await?;
        let mut merged: BTreeSet<Id> = events.iter().flat_map(Event::merged).collect();
        merged.extend(states.iter().filter(|state| is_merged_otherwise(state, &stored)).map(|state| state.key().id));
        self.write(states, &stored).await?;
        self.store.follow_merges(merged).await?;
        messages.sort_unstable();
        self.store.note(std::iter::once((FOLDED, &messages[..]))).await
    }

    async fn stored_states(&self, events: &[Event]) -> Result<HashMap<Key, RawDocumentBuf>, FoldError> {
        let keys: BTreeSet<Key> = events.iter().flat_map(Event::keys).collect();
        let mut stored = HashMap::with_capacity(keys.len());
        for kind in Kind::ALL {
            let ids: Vec<Id> = keys.iter().filter(|key| key.kind == kind).map(|key| key.id).collect();
            let found = self.store.states(kind, &ids).await?;
            stored.extend(found.into_iter().map(|(id, document)| (Key { kind, id }, document)));
        }
        Ok(stored)
    }

    /// Returns the keys that earlier messages touch, but that have no document, because somebody removed it.
    async fn without_document(
        &self,
        events: &[Event],
        stored: &HashMap<Key, RawDocumentBuf>,
    ) -> Result<HashSet<Id>, FoldError> {
        let keys: BTreeSet<Key> = events.iter().flat_map(Event::keys).collect();
        let missing: Vec<Id> = keys.into_iter().filter(|key| !stored.contains_key(key)).map(|key| key.id).collect();
        self.store.touched(&missing).await
    }

    async fn note_touches(&self, events: &[Event]) -> Result<(), FoldError> {
        let touches: Vec<(Id, Id)> =
            events.iter().flat_map(|event| event.keys().map(|key| (key.id, event.order().message))).collect();
        self.store.note(touches.iter().map(|(key, message)| (*key, std::slice::from_ref(message)))).await
    }

    /// Extends the states of all keys that the events touch, or folds them anew. The events are in order. `lost` are the
    /// keys whose documents were removed.
    async fn next_states(
        &mut self,
        events: &[Event],
        stored: &HashMap<Key, RawDocumentBuf>,
        lost: &HashSet<Id>,
    ) -> Result<Vec<State>, FoldError> {
        let mut new: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
        for event in events {
            event.keys().for_each(|key| new.entry(key).or_default().push(event));
        }
        let mut states = Vec::with_capacity(new.len());
        for (key, mut events) in new {
            let state = match stored.get(&key).map(|document| State::read(key.kind, document)) {
                None if lost.contains(&key.id) => self.fold_all(key).await?,
                None => fold(key, &mut events),
                Some(Ok(state)) => match advance(state, &events) {
                    Advanced::To(state) => Some(state),
                    Advanced::NeedsAll => self.fold_all(key).await?,
                },
                // Another program changed the document.
                Some(Err(_)) => self.fold_all(key).await?,
            };
            states.extend(state);
        }
        Ok(states)
    }

    /// Folds all messages of a key. They are sorted outside of memory, because they can be many.
    async fn fold_all(&mut self, key: Key) -> Result<Option<State>, FoldError> {
        let mut spool = Spool::new();
        for ids in self.store.touching(key.id).await?.chunks(IDS_MAX) {
            self.spool_events(key, self.store.scan_of(ids), &mut spool).await?;
        }
        let (mut sorted, mut folding) = (spool.into_sorted()?, Folding { key, state: None });
        while let Some((_, events)) = sorted.next_piece()? {
            folding.add(&mut events.iter().collect::<Vec<_>>());
        }
        Ok(folding.state)
    }

    async fn spool_events(&mut self, key: Key, mut scan: RangeScan, spool: &mut Spool) -> Result<(), FoldError> {
        while let Some(documents) = scan.next_batch().await? {
            let documents = documents.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok());
            for (id, bytes) in documents.filter_map(|document| self.store.message(document)) {
                if let Ok(event) = self.reader.event(id, bytes) {
                    spool.push(key, &event)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the states that differ from the stored documents.
    async fn write(&mut self, states: Vec<State>, stored: &HashMap<Key, RawDocumentBuf>) -> Result<(), FoldError> {
        let merges = self.store.chains(&states).await?;
        for kind in Kind::ALL {
            let of_kind = states.iter().filter(|state| state.key().kind == kind);
            let changed: Vec<Put> = of_kind
                .filter_map(|state| {
                    let document = state.document(state.patient().map(|patient| merges.survivor(patient)));
                    let replaces = match stored.get(&state.key()) {
                        Some(stored) if *stored == document => return None,
                        Some(stored) => Replaces::of(stored),
                        None => Replaces::Nothing,
                    };
                    Some(Put { document, replaces })
                })
                .collect();
            self.folded.written += changed.len() as u64;
            self.store.put(kind, changed).await?;
        }
        Ok(())
    }
}

/// Returns true if the stored document of a patient names another merge than its state, or none.
fn is_merged_otherwise(state: &State, stored: &HashMap<Key, RawDocumentBuf>) -> bool {
    if state.key().kind != Kind::Patient {
        return false;
    }
    let before = stored.get(&state.key()).and_then(|document| Merge::read(get(document, "mergedInto")?));
    before != state.merge()
}
