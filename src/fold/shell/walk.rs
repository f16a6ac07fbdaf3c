//! Folds all messages, key by key: to compare the result with the stored documents, or to correct them.
//!
//! The pairs of key and message are sorted on disk, so that memory stays bounded. All messages of one key are in memory
//! at the same time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bson::{RawDocument, RawDocumentBuf};

use super::store::{FIRST, FOLDED, LAST};
use super::{FoldError, Folder};
use crate::encode::{Digest, Id};
use crate::fold::{Event, Key, Kind, Merges, fold};
use crate::spill::{SORTER_BYTES_DEFAULT, Sorted, Sorter, SpilledEntry};
use crate::verify::{Range, Scan};

/// Number of pairs of key and message that are folded together.
const PAIRS: usize = 5_000;

/// Number of `_id`s that are read at once.
const PAGE: u32 = 20_000;

/// The result of folding all messages again and comparing the documents.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Documents that are as the messages say.
    pub equal: u64,
    /// Documents that differ, are missing, or that no message supports.
    pub different: u64,
    /// The first differences.
    pub differences: Vec<StateDifference>,
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

/// At most this number of differences are kept.
const DIFFERENCES_MAX: usize = 1_000;

/// The pairs of some keys: all messages of each key. The keys are in order.
struct Group {
    pairs: Vec<(Key, Id)>,
    /// The keys of this group are after `after`, and at most `to`.
    after: Option<Id>,
    to: Id,
}

impl Folder {
    /// Folds all messages key by key. Corrects the documents if `repair` is true.
    pub(super) async fn walk(&mut self, repair: bool) -> Result<Checked, FoldError> {
        let (sorted, merges) = self.pairs(repair).await?;
        let mut checked = Checked::default();
        let mut group = Group { pairs: Vec::new(), after: None, to: LAST };
        for entry in sorted.range(FIRST, None)? {
            let (key, message) = pair_of(entry?);
            let last = group.pairs.last().map(|(key, _)| *key);
            if group.pairs.len() >= PAIRS && last.is_some_and(|last| last.id != key.id) {
                group.to = last.map_or(LAST, |last| last.id);
                self.compare(&group, &merges, repair, &mut checked).await?;
                group = Group { pairs: Vec::new(), after: Some(group.to), to: LAST };
            }
            group.pairs.push((key, message));
        }
        self.compare(&group, &merges, repair, &mut checked).await?;
        if repair {
            self.note_all_folded().await?;
        }
        Ok(checked)
    }

    /// Reads all messages. Returns the pairs of key and message, sorted, and all merges.
    async fn pairs(&mut self, is_counted: bool) -> Result<(Sorted, Merges), FoldError> {
        let mut sorter = Sorter::new(SORTER_BYTES_DEFAULT);
        let mut merges = Merges::default();
        let mut scan = Scan::new(&self.store.target.documents()).range(Range::default());
        while let Some(batch) = scan.next_batch().await? {
            let documents = batch.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok());
            let messages: Vec<_> = documents.filter_map(|document| self.store.message(document)).collect();
            let before = self.folded.unreadable;
            let events = self.read(&messages);
            if is_counted {
                self.folded.messages += messages.len() as u64;
            } else {
                self.folded.unreadable = before;
            }
            for event in &events {
                event.add_merges(&mut merges);
                for key in event.keys() {
                    sorter.push(entry_of(key, event.order().message))?;
                }
            }
        }
        Ok((sorter.into_sorted()?, merges))
    }

    /// Folds the keys of a group, and compares the documents with those that are stored in the range of these keys.
    async fn compare(
        &mut self,
        group: &Group,
        merges: &Merges,
        repair: bool,
        checked: &mut Checked,
    ) -> Result<(), FoldError> {
        let expected = self.fold_group(group, merges).await?;
        for kind in Kind::ALL {
            let ids: Vec<Id> = expected.keys().filter(|key| key.kind == kind).map(|key| key.id).collect();
            let stored: HashMap<Id, RawDocumentBuf> = self.store.states(kind, &ids).await?.into_iter().collect();
            let mut wrong = Vec::new();
            for id in ids {
                let document = &expected[&Key { kind, id }];
                match stored.get(&id) {
                    Some(stored) if stored == document => checked.equal += 1,
                    found => {
                        checked.note(kind, id, if found.is_some() { "different" } else { "missing" });
                        wrong.push(document.clone());
                    }
                }
            }
            let extra = self.extra(kind, group, &expected, checked).await?;
            if repair {
                self.folded.written += wrong.len() as u64;
                self.folded.removed += extra.len() as u64;
                self.store.put(kind, &wrong).await?;
                self.store.remove(kind, &extra).await?;
            }
        }
        if repair { self.correct_touches(group).await } else { Ok(()) }
    }

    async fn fold_group(&mut self, group: &Group, merges: &Merges) -> Result<BTreeMap<Key, RawDocumentBuf>, FoldError> {
        let ids: BTreeSet<Id> = group.pairs.iter().map(|(_, message)| *message).collect();
        let messages = self.store.messages(&ids.into_iter().collect::<Vec<_>>()).await?;
        let before = self.folded.unreadable;
        let events = self.read(&messages);
        self.folded.unreadable = before;
        let by_id: HashMap<Id, &Event> = events.iter().map(|event| (event.order().message, event)).collect();
        let mut expected = BTreeMap::new();
        for pairs in group.pairs.chunk_by(|one, other| one.0 == other.0) {
            let mut events = pairs.iter().filter_map(|(_, message)| by_id.get(message).copied()).collect();
            if let Some(state) = fold(pairs[0].0, &mut events) {
                let patient = state.patient().map(|patient| merges.survivor(patient));
                expected.insert(state.key(), state.document(patient));
            }
        }
        Ok(expected)
    }

    /// Returns the documents in the range of the group that no message supports.
    async fn extra(
        &self,
        kind: Kind,
        group: &Group,
        expected: &BTreeMap<Key, RawDocumentBuf>,
        checked: &mut Checked,
    ) -> Result<Vec<Id>, FoldError> {
        let (mut extra, mut after) = (Vec::new(), group.after);
        loop {
            let page = self.store.state_ids(kind, after, group.to, PAGE).await?;
            let Some(&last) = page.last() else { return Ok(extra) };
            after = Some(last);
            for id in page.into_iter().filter(|&id| !expected.contains_key(&Key { kind, id })) {
                checked.note(kind, id, "extra");
                extra.push(id);
            }
        }
    }

    /// Makes the touches of the group's keys those that the messages say.
    async fn correct_touches(&self, group: &Group) -> Result<(), FoldError> {
        let wanted: BTreeSet<(Id, Id)> = group.pairs.iter().map(|(key, message)| (key.id, *message)).collect();
        let start = group.after.map_or((FOLDED, LAST), |after| (after, LAST));
        let stored: BTreeSet<(Id, Id)> =
            self.store.touches_between(start, (group.to, LAST), false).await?.into_iter().collect();
        self.store.remove_touches(&stored.difference(&wanted).copied().collect::<Vec<_>>()).await?;
        self.store.touch(&wanted.difference(&stored).copied().collect::<Vec<_>>()).await
    }

    /// Notes that all messages are folded, and forgets messages that are no longer stored.
    async fn note_all_folded(&self) -> Result<(), FoldError> {
        let mut after = None;
        loop {
            let page = self.store.ids(after, PAGE).await?;
            let to = page.last().copied();
            let start = (FOLDED, after.unwrap_or(FIRST));
            let noted = self.store.touches_between(start, (FOLDED, to.unwrap_or(LAST)), false).await?;
            let wanted: BTreeSet<(Id, Id)> = page.iter().map(|id| (FOLDED, *id)).collect();
            let noted: BTreeSet<(Id, Id)> = noted.into_iter().collect();
            self.store.remove_touches(&noted.difference(&wanted).copied().collect::<Vec<_>>()).await?;
            self.store.touch(&wanted.difference(&noted).copied().collect::<Vec<_>>()).await?;
            if to.is_none() {
                return Ok(());
            }
            after = to;
        }
    }
}

impl Checked {
    fn note(&mut self, kind: Kind, id: Id, what: &'static str) {
        self.different += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(StateDifference { collection: kind.collection(), id, what });
        }
    }
}

/// Puts a pair into an entry of the sorter: the message's `_id` takes the place of the digest.
fn entry_of(key: Key, message: Id) -> SpilledEntry {
    SpilledEntry { id: key.id, source: key.kind as u32, row: 0, digest: Digest(u128::from_be_bytes(message.0)) }
}

fn pair_of(entry: SpilledEntry) -> (Key, Id) {
    let kind = Kind::ALL[entry.source as usize];
    (Key { kind, id: entry.id }, Id(entry.digest.0.to_be_bytes()))
}
