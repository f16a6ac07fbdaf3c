//! Folds a batch of new messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bson::RawDocumentBuf;

use super::store::{FOLDED, Store, Stored, touches_of};
use super::{FoldError, Folder};
use crate::encode::Id;
use crate::fold::{Advanced, Event, Key, Kind, Merges, State, advance, fold};

impl Folder {
    /// Folds messages that are stored durably: their `_id`s and their bytes. Messages that are noted as folded are left
    /// out.
    ///
    /// # Errors
    /// If the server fails, or another process has taken the lease. The messages are then folded by the next
    /// [`catch_up`](Self::catch_up).
    pub async fn fold_messages(&mut self, messages: &[(Id, Vec<u8>)]) -> Result<(), FoldError> {
        let folded = self.store.folded(messages.iter().map(|(id, _)| *id)).await?;
        let messages: Vec<&Stored> = messages.iter().filter(|(id, _)| !folded.contains(id)).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let mut events = self.read(messages.iter().copied());
        events.sort_by(|one, other| one.order().cmp(other.order()));
        let touches = events.iter().flat_map(|event| touches_of(event.keys(), event.order().message));
        self.store.touch(&touches.collect::<Vec<_>>()).await?;
        let stored = self.stored_states(&events).await?;
        let states = self.next_states(&events, &stored).await?;
        self.write(states, &stored).await?;
        let merged: BTreeSet<Id> = events.iter().flat_map(Event::merged).collect();
        self.store.follow_merges(merged).await?;
        let folded: Vec<(Id, Id)> = messages.iter().map(|(id, _)| (FOLDED, *id)).collect();
        self.folded.messages += messages.len() as u64;
        self.store.touch(&folded).await
    }

    /// Returns the events of the messages. Counts messages that cannot be read.
    pub(super) fn read<'m>(&mut self, messages: impl IntoIterator<Item = &'m Stored>) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, bytes) in messages {
            match self.reader.event(*id, bytes) {
                Ok(event) => events.push(event),
                Err(_) => self.folded.unreadable += 1,
            }
        }
        events
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

    /// Extends the states of all keys that the events touch, or folds them anew. The events are in order.
    async fn next_states(
        &mut self,
        events: &[Event],
        stored: &HashMap<Key, RawDocumentBuf>,
    ) -> Result<Vec<State>, FoldError> {
        let mut new: BTreeMap<Key, Vec<&Event>> = BTreeMap::new();
        for event in events {
            event.keys().for_each(|key| new.entry(key).or_default().push(event));
        }
        let mut states = Vec::with_capacity(new.len());
        for (key, mut events) in new {
            let state = match stored.get(&key).map(|document| State::read(key.kind, document)) {
                // Without a document, no message of the key was folded before.
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

    /// Folds all messages of a key.
    async fn fold_all(&mut self, key: Key) -> Result<Option<State>, FoldError> {
        let ids = self.store.touching(key.id).await?;
        let messages = self.store.messages(&ids).await?;
        let events = self.read(&messages);
        Ok(fold(key, &mut events.iter().collect()))
    }

    /// Writes the states that differ from the stored documents.
    async fn write(&mut self, states: Vec<State>, stored: &HashMap<Key, RawDocumentBuf>) -> Result<(), FoldError> {
        let merges = self.store.chains(&states).await?;
        for kind in Kind::ALL {
            let of_kind = states.iter().filter(|state| state.key().kind == kind);
            let documents = of_kind.map(|state| {
                let patient = state.patient().map(|patient| merges.survivor(patient));
                (state.key(), state.document(patient))
            });
            let is_new = |(key, document): &(Key, RawDocumentBuf)| stored.get(key) != Some(document);
            let changed: Vec<RawDocumentBuf> = documents.filter(is_new).map(|(_, document)| document).collect();
            self.store.put(kind, &changed).await?;
            self.folded.written += changed.len() as u64;
        }
        Ok(())
    }
}

impl Store {
    /// Returns the merges that lead on from the patients of these states.
    async fn chains(&self, states: &[State]) -> Result<Merges, FoldError> {
        let mut merges = Merges::default();
        for (key, merge) in states.iter().filter_map(|state| Some((state.key().id, state.merge()?))) {
            merges.add(key, merge);
        }
        let known: HashSet<Id> =
            states.iter().map(State::key).filter(|key| key.kind == Kind::Patient).map(|key| key.id).collect();
        let patients: BTreeSet<Id> = states.iter().filter_map(State::patient).collect();
        self.lead_on(patients, &known, &mut merges).await?;
        Ok(merges)
    }

    /// Adds the merges that lead on from these patients. The merges of `known` patients are complete already.
    async fn lead_on(&self, from: BTreeSet<Id>, known: &HashSet<Id>, merges: &mut Merges) -> Result<(), FoldError> {
        let (mut next, mut seen) = (from, BTreeSet::new());
        while !next.is_empty() {
            let unknown: Vec<Id> = next.iter().copied().filter(|id| !known.contains(id)).collect();
            for (key, merge) in self.merges("_id", &unknown).await? {
                merges.add(key, merge);
            }
            let into: BTreeSet<Id> = next.iter().filter_map(|&id| Some(merges.of(id)?.into)).collect();
            seen.append(&mut next);
            next = into.difference(&seen).copied().collect();
        }
        Ok(())
    }

    /// Makes the documents of these patients, and of all patients who were merged into them, point to the patients who
    /// survive. The merges are stored already.
    async fn follow_merges(&self, patients: BTreeSet<Id>) -> Result<(), FoldError> {
        if patients.is_empty() {
            return Ok(());
        }
        let mut merges = Merges::default();
        let (mut affected, mut next) = (patients.clone(), patients);
        while !next.is_empty() {
            let found = self.merges("mergedInto.patient", &next.into_iter().collect::<Vec<_>>()).await?;
            next = found.iter().map(|(key, _)| *key).filter(|key| affected.insert(*key)).collect();
            for (key, merge) in found {
                merges.add(key, merge);
            }
        }
        self.lead_on(affected.clone(), &HashSet::new(), &mut merges).await?;
        let survivors: Vec<(Id, Id)> = affected.into_iter().map(|key| (key, merges.survivor(key))).collect();
        self.redirect(&survivors).await
    }
}
