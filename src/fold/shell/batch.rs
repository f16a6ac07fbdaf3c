//! Folds new messages, key by key.
//!
//! The events of all new messages are sorted on disk by key and time. So a key is folded once, in the order of its
//! messages, and memory stays bounded.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use bson::{RawDocument, RawDocumentBuf};

use super::notes::FOLDED;
use super::spool::{Spool, Spooled};
use super::store::{IDS_MAX, id_of};
use super::write::{Put, Replaces, named_messages};
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
const MADE_BYTES: usize = 4 * 1024 * 1024;

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
    /// The `_id`s of the documents that were read, in order. Only these are noted as folded. The document of an `_id`
    /// that was not found may be stored later.
    read: Vec<Id>,
}

/// States to write together.
#[derive(Default)]
struct Made {
    states: Vec<State>,
    /// The documents that they replace.
    stored: HashMap<Key, RawDocumentBuf>,
    /// Which messages touch the documents. These notes are stored before the documents are written.
    notes: Vec<(Id, Vec<Id>)>,
    bytes: usize,
}

impl Made {
    /// Notes each message by itself, because earlier notes can name some of them.
    fn note_each(&mut self, key: Key, messages: impl IntoIterator<Item = Id>) {
        self.notes.extend(messages.into_iter().map(|message| (key.id, vec![message])));
    }

    fn is_full(&self) -> bool {
        self.bytes >= MADE_BYTES || self.states.len() >= IDS_MAX
    }
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
        self.store.note(std::iter::once((FOLDED, &new.read[..]))).await
    }

    async fn spool_new(&mut self, ids: &[Id]) -> Result<New, FoldError> {
        let (mut spool, mut merged, mut read) = (Spool::new(), BTreeSet::new(), Vec::with_capacity(ids.len()));
        for ids in ids.chunks(IDS_MAX) {
            let mut scan = self.store.scan_of(ids);
            while let Some(documents) = scan.next_batch().await? {
                for document in documents.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
                    read.extend(id_of(document).and_then(Id::from_binary));
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
        read.sort_unstable();
        Ok(New { events: spool.into_sorted()?.all()?, merged, read })
    }

    /// Extends the documents of the keys of a group, and makes those that do not exist.
    async fn fold_group(&mut self, mut group: Group, new: &mut New) -> Result<(), FoldError> {
        let mut made = Made::default();
        for kind in Kind::ALL {
            for ids in group.ids(kind).chunks(IDS_MAX) {
                let mut scan = self.store.scan_states_of(kind, ids);
                while let Some(documents) = scan.next_batch().await? {
                    self.extend(kind, &documents, &mut group, new, &mut made).await?;
                }
            }
        }
        self.make(group, new, &mut made).await?;
        self.write(made, new).await
    }

    /// Extends stored documents by the events of a group, and removes these events from the group.
    async fn extend(
        &mut self,
        kind: Kind,
        documents: &Batch,
        group: &mut Group,
        new: &mut New,
        made: &mut Made,
    ) -> Result<(), FoldError> {
        for document in documents.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
            let Some(id) = id_of(document).and_then(Id::from_binary) else { continue };
            let key = Key { kind, id };
            let Some(events) = group.events.remove(&key) else { continue };
            let named = named_messages(document);
            let mut messages: BTreeSet<Id> = events.iter().map(|event| event.order().message).collect();
            // If the document names only one message, that message is perhaps not noted yet, so it is noted now.
            if let (1, Some(&only)) = (named.len(), named.first()) {
                messages.insert(only);
            }
            if messages != named {
                made.note_each(key, messages.iter().copied());
            }
            let state = match State::read(kind, document).map(|state| advance(state, events)) {
                Some(Advanced::To(state)) => Some(state),
                // An event is earlier than the state, or another program changed the document.
                Some(Advanced::NeedsAll) | None => {
                    messages.extend(named);
                    self.fold_all(key, messages, new, made).await?
                }
            };
            made.bytes += document.as_bytes().len();
            made.stored.insert(key, document.to_owned());
            made.states.extend(state);
            if made.is_full() {
                self.write(std::mem::take(made), new).await?;
            }
        }
        Ok(())
    }

    /// Makes the documents of keys that have none.
    async fn make(&mut self, group: Group, new: &mut New, made: &mut Made) -> Result<(), FoldError> {
        let keys: Vec<Id> = group.events.keys().map(|key| key.id).collect();
        // If a key has notes but no document, somebody removed the document. It is then made from all its messages. A
        // document with a single message has no notes. If such a document was removed, it is made from the new messages
        // only.
        let touched = self.store.touched(&keys).await?;
        for (key, events) in group.events {
            let messages: BTreeSet<Id> = events.iter().map(|event| event.order().message).collect();
            let state = if touched.contains(&key.id) {
                made.note_each(key, messages.iter().copied());
                self.fold_all(key, messages, new, made).await?
            } else {
                // A single message needs no note, because the document names it.
                if messages.len() > 1 {
                    made.notes.push((key.id, messages.into_iter().collect()));
                }
                fold(key, events)
            };
            made.states.extend(state);
            if made.is_full() {
                self.write(std::mem::take(made), new).await?;
            }
        }
        Ok(())
    }

    /// Folds all messages of a key: those in the notes, those in `messages`, and new ones that are not in the group
    /// yet. If their events are many, they are sorted on disk.
    async fn fold_all(
        &mut self,
        key: Key,
        mut messages: BTreeSet<Id>,
        new: &mut New,
        made: &mut Made,
    ) -> Result<Option<State>, FoldError> {
        while let Some(later) = new.events.next_piece_of(key)? {
            let later = later.iter().map(|event| event.order().message);
            made.note_each(key, later.clone());
            messages.extend(later);
        }
        messages.extend(self.store.touching(key.id).await?);
        let messages: Vec<Id> = messages.into_iter().collect();
        let mut spool = Spool::new();
        for ids in messages.chunks(IDS_MAX) {
            self.spool_events(key, self.store.scan_of(ids), &mut spool).await?;
        }
        let (mut sorted, mut folding) = (spool.into_sorted()?.all()?, Folding { key, state: None });
        while let Some((_, events)) = sorted.next_piece()? {
            folding.add(events);
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

    /// Notes which messages touch the documents, and then writes those that differ from the stored ones.
    async fn write(&mut self, made: Made, new: &mut New) -> Result<(), FoldError> {
        let Made { states, stored, notes, .. } = made;
        self.store.note(notes.iter().map(|(key, messages)| (*key, &messages[..]))).await?;
        if states.is_empty() {
            return Ok(());
        }
        new.merged
            .extend(states.iter().filter(|state| is_merged_otherwise(state, &stored)).map(|state| state.key().id));
        let merges = self.store.chains(&states).await?;
        let mut changed: [Vec<Put>; 3] = Default::default();
        for state in &states {
            let document = state.document(state.patient().map(|patient| merges.survivor(patient)));
            let replaces = match stored.get(&state.key()) {
                Some(stored) if *stored == document => continue,
                Some(stored) => Replaces::of(stored),
                None => Replaces::Nothing,
            };
            self.folded.written += 1;
            self.folded.foreign += u64::from(replaces == Replaces::AsOf(None));
            changed[state.key().kind as usize].push(Put { document, replaces });
        }
        let [patients, visits, results] = changed;
        // After an error, the other writes must end before this process gives back the lease.
        let (patients, visits, results) = tokio::join!(
            self.store.put(Kind::Patient, patients),
            self.store.put(Kind::Visit, visits),
            self.store.put(Kind::Result, results)
        );
        patients.and(visits).and(results)
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
