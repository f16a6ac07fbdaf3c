//! Folds new messages, key by key.
//!
//! The events of all new messages are sorted on disk by key and time. So a key is folded once, in the order of its
//! messages, and memory stays bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;

use bson::{RawDocument, RawDocumentBuf};

use super::notes::FOLDED;
use super::spool::{Spool, Spooled};
use super::store::{IDS_MAX, id_of};
use super::write::{Put, Replaces};
use super::{FoldError, Folder};
use crate::encode::Id;
use crate::fold::elements::get;
use crate::fold::folding::Folding;
use crate::fold::{Advanced, Event, Key, Kind, Merge, State, advance, fold};
use crate::verify::{Batch, RangeScan};

/// A group has about this number of keys, and events of about this size. In memory, events are several times as large.
const GROUP_KEYS: usize = 5_000;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Stored documents of about this size are extended and written together.
const EXTENDED_BYTES: usize = 4 * 1024 * 1024;

/// Keys that are folded together, and their new events. The last key can have more events, which are later.
#[derive(Default)]
struct Group {
    events: BTreeMap<Key, Vec<Event>>,
    bytes: usize,
}

impl Group {
    fn add(&mut self, key: Key, events: Vec<Event>, bytes: usize) {
        self.bytes += bytes;
        self.events.entry(key).or_default().extend(events);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= GROUP_KEYS || self.bytes >= GROUP_BYTES
    }

    fn ids(&self, kind: Kind) -> Vec<Id> {
        self.events.keys().filter(|key| key.kind == kind).map(|key| key.id).collect()
    }
}

/// The events of new messages.
struct New {
    events: Spooled,
    /// Patients whose documents, and those of the patients merged into them, must follow a merge.
    merged: BTreeSet<Id>,
}

/// States to write, and the documents that they replace.
#[derive(Default)]
struct Extended {
    states: Vec<State>,
    stored: HashMap<Key, RawDocumentBuf>,
    bytes: usize,
}

impl Folder {
    /// Folds the messages with these `_id`s, which are in order.
    pub(super) async fn fold_new(&mut self, ids: &[Id]) -> Result<(), FoldError> {
        let mut new = self.spool_new(ids).await?;
        let mut group = Group::default();
        while let Some((key, events)) = new.events.next_piece()? {
            group.add(key, events, new.events.piece_bytes);
            if group.is_full() {
                self.fold_group(std::mem::take(&mut group), &mut new).await?;
            }
        }
        self.fold_group(group, &mut new).await?;
        self.store.follow_merges(new.merged).await?;
        self.store.note(std::iter::once((FOLDED, ids))).await
    }

    async fn spool_new(&mut self, ids: &[Id]) -> Result<New, FoldError> {
        let (mut spool, mut merged) = (Spool::new(), BTreeSet::new());
        for ids in ids.chunks(IDS_MAX) {
            let mut scan = self.store.scan_of(ids);
            while let Some(documents) = scan.next_batch().await? {
                for document in documents.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
                    // A document of another program is not a message. Its `_id` is noted as folded, so that it is not
                    // read again.
                    let Some((id, bytes)) = self.store.message(document) else { continue };
                    self.folded.messages += 1;
                    let Ok(event) = self.reader.event(id, bytes) else {
                        self.folded.unreadable += 1;
                        continue;
                    };
                    merged.extend(event.merged());
                    event.keys().try_for_each(|key| spool.push(key, &event))?;
                }
            }
            self.read.fetch_add(ids.len() as u64, Ordering::Relaxed);
        }
        Ok(New { events: spool.into_sorted()?, merged })
    }

    /// Notes which messages touch the keys of a group, and extends their documents.
    async fn fold_group(&mut self, mut group: Group, new: &mut New) -> Result<(), FoldError> {
        let fresh = self.fresh_keys(&group).await?;
        let touches = group.events.iter().flat_map(|(key, events)| events.iter().map(|event| (key.id, event)));
        self.note_touches(touches).await?;
        for kind in Kind::ALL {
            for ids in group.ids(kind).chunks(IDS_MAX) {
                let mut scan = self.store.scan_states_of(kind, ids);
                while let Some(documents) = scan.next_batch().await? {
                    self.extend(kind, &documents, &mut group, new).await?;
                }
            }
        }
        let mut made = Extended::default();
        for (key, events) in group.events {
            let state = if fresh.contains(&key.id) {
                fold(key, &mut events.iter().collect::<Vec<_>>())
            } else {
                self.fold_all(key, new).await?
            };
            made.states.extend(state);
            if made.states.len() >= IDS_MAX {
                self.write(std::mem::take(&mut made), new).await?;
            }
        }
        self.write(made, new).await
    }

    /// Returns the keys that have no document and that no earlier message touches. If an earlier message touches a
    /// key without a document, somebody removed the document. The key is then not returned, and all its messages are
    /// folded again.
    async fn fresh_keys(&self, group: &Group) -> Result<HashSet<Id>, FoldError> {
        let mut fresh = HashSet::new();
        for kind in Kind::ALL {
            let ids = group.ids(kind);
            let stored = self.store.stored_among(kind, &ids).await?;
            let missing: Vec<Id> = ids.into_iter().filter(|id| !stored.contains(id)).collect();
            let touched = self.store.touched(&missing).await?;
            fresh.extend(missing.into_iter().filter(|id| !touched.contains(id)));
        }
        Ok(fresh)
    }

    async fn note_touches(&self, touches: impl Iterator<Item = (Id, &Event)>) -> Result<(), FoldError> {
        self.store.note(touches.map(|(key, event)| (key, std::slice::from_ref(&event.order().message)))).await
    }

    /// Extends stored documents by the events of a group, and removes these events from the group.
    async fn extend(
        &mut self,
        kind: Kind,
        documents: &Batch,
        group: &mut Group,
        new: &mut New,
    ) -> Result<(), FoldError> {
        let mut extended = Extended::default();
        for document in documents.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
            let Some(id) = id_of(document).and_then(Id::from_binary) else { continue };
            let key = Key { kind, id };
            let Some(events) = group.events.remove(&key) else { continue };
            let mut events: Vec<&Event> = events.iter().collect();
            events.sort_by(|one, other| one.order().cmp(other.order()));
            let state = match State::read(kind, document).map(|state| advance(state, &events)) {
                Some(Advanced::To(state)) => Some(state),
                // An event is earlier than the state, or another program changed the document.
                Some(Advanced::NeedsAll) | None => self.fold_all(key, new).await?,
            };
            extended.bytes += document.as_bytes().len();
            extended.stored.insert(key, document.to_owned());
            extended.states.extend(state);
            if extended.bytes >= EXTENDED_BYTES {
                self.write(std::mem::take(&mut extended), new).await?;
            }
        }
        self.write(extended, new).await
    }

    /// Folds all messages of a key, also those that are not in the group yet. The messages are sorted outside of
    /// memory, because they can be many.
    async fn fold_all(&mut self, key: Key, new: &mut New) -> Result<Option<State>, FoldError> {
        while let Some(later) = new.events.next_piece_of(key)? {
            self.note_touches(later.iter().map(|event| (key.id, event))).await?;
        }
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
    async fn write(&mut self, extended: Extended, new: &mut New) -> Result<(), FoldError> {
        let Extended { states, stored, .. } = extended;
        if states.is_empty() {
            return Ok(());
        }
        new.merged
            .extend(states.iter().filter(|state| is_merged_otherwise(state, &stored)).map(|state| state.key().id));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_full_by_keys_or_by_bytes() {
        let check = |sizes: &[usize], expected: bool| {
            let mut group = Group::default();
            for (at, bytes) in sizes.iter().enumerate() {
                let id = Id((at as u128).to_be_bytes());
                group.add(Key { kind: Kind::Result, id }, Vec::new(), *bytes);
            }
            assert_eq!(group.is_full(), expected, "{} keys", sizes.len());
        };
        check(&[], false);
        check(&[1, GROUP_BYTES - 2], false);
        check(&[1, GROUP_BYTES - 1], true);
        check(&vec![1; GROUP_KEYS - 1], false);
        check(&vec![1; GROUP_KEYS], true);
    }
}
