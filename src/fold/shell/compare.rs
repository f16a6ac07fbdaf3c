//! Compares documents with those that are stored, and corrects the stored ones.

use std::collections::BTreeMap;

use bson::{RawDocument, RawDocumentBuf};

use super::FoldError;
use super::checked::Checked;
use super::store::{Store, id_of};
use super::write::{Put, Replaces, last_message};
use crate::encode::Id;
use crate::fold::{Key, Kind};

/// Documents that are compared together have about this number of documents and bytes.
const GROUP_DOCUMENTS: usize = 2_500;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// Documents with neighbouring keys.
#[derive(Debug)]
pub(super) struct Group {
    /// The keys of this group are after `after`, and at most `to`.
    after: Option<Id>,
    to: Id,
    /// The documents of each kind.
    documents: [BTreeMap<Id, RawDocumentBuf>; 3],
    count: usize,
    /// The messages of each key that has several, in order.
    touches: Vec<(Id, Vec<Id>)>,
    bytes: usize,
}

impl Group {
    /// Makes an empty group for keys after `after`, at most `to`.
    pub(super) fn new(after: Option<Id>, to: Id) -> Self {
        Self { after, to, documents: Default::default(), count: 0, touches: Vec::new(), bytes: 0 }
    }

    /// Ends the group at its last key. Returns an empty group for the keys between this one and `to`.
    pub(super) fn end(&mut self) -> Self {
        let last = self.documents.iter().filter_map(|documents| Some(*documents.last_key_value()?.0)).max();
        let (last, to) = (last.unwrap_or(self.to), self.to);
        self.to = last;
        Self::new(Some(last), to)
    }

    /// Adds a document, and the messages that touch it.
    pub(super) fn add(&mut self, key: Key, document: RawDocumentBuf, messages: Vec<Id>) {
        self.bytes += document.as_bytes().len() + 16 * messages.len();
        self.count += 1;
        self.documents[key.kind as usize].insert(key.id, document);
        // A single message needs no note, because the document names it.
        if messages.len() > 1 {
            self.touches.push((key.id, messages));
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= GROUP_DOCUMENTS || self.bytes >= GROUP_BYTES
    }

    /// Compares the documents with those that are stored in the range of these keys. Corrects the stored ones if
    /// `repair` is true.
    pub(super) async fn compare(self, store: Store, repair: bool) -> Result<Checked, FoldError> {
        let Self { after, to, documents, touches, .. } = self;
        let [patients, visits, results] = documents;
        let range = Range { after, to, store: &store, repair };
        let notes = async {
            if !repair {
                return Ok(());
            }
            store.note(touches.iter().map(|(key, messages)| (*key, &messages[..]))).await
        };
        // After an error, the other writes must end before this process gives back the lease.
        let (patients, visits, results, written) = tokio::join!(
            range.compare(Kind::Patient, patients),
            range.compare(Kind::Visit, visits),
            range.compare(Kind::Result, results),
            notes
        );
        written?;
        let mut checked = patients?;
        checked.add(visits?);
        checked.add(results?);
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
                        checked.foreign += u64::from(last_message(stored).is_none());
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
