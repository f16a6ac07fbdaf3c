//! Reads all messages, and sorts their events by the documents that they touch.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use bson::RawDocument;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};

use super::notes::FOLDED;
use super::spool::{Packed, Sorted, Spool};
use super::store::{Store, id_of};
use super::walk::{joined, parallel};
use super::{FoldError, Folder};
use crate::encode::Id;
use crate::fold::{Merges, Reader};
use crate::verify::{Batch, RangeScan, ScanError};

/// What the messages of a batch say.
#[derive(Default)]
struct Decoded {
    /// The `_id`s of all documents of the batch.
    ids: Vec<Id>,
    messages: u64,
    unreadable: u64,
    packed: Packed,
    merges: Merges,
}

impl Folder {
    /// Reads all messages. Returns their events, sorted, and all merges. If `repair` is true, also notes as folded
    /// the messages that were read.
    pub(super) async fn spool_all(&mut self, repair: bool) -> Result<(Sorted, Merges), FoldError> {
        let (mut spool, mut merges) = (Spool::new(), Merges::default());
        let (mut batches, _reading) = read_ahead(self.store.scan());
        let mut decoding: VecDeque<JoinHandle<Decoded>> = VecDeque::new();
        loop {
            let batch = batches.recv().await.transpose()?;
            let is_last = batch.is_none();
            if let Some(batch) = batch {
                let (store, reader) = (self.store.clone(), self.reader.clone());
                decoding.push_back(spawn_blocking(move || decode(&batch, &store, reader)));
            }
            while decoding.len() >= parallel() || is_last && !decoding.is_empty() {
                let Some(decoded) = decoding.pop_front() else { break };
                let decoded = joined(decoded.await);
                self.folded.messages += decoded.messages;
                self.folded.unreadable += decoded.unreadable;
                merges.append(decoded.merges);
                spool.append(decoded.packed)?;
                self.read.fetch_add(decoded.ids.len() as u64, Ordering::Relaxed);
                if repair {
                    self.store.note(std::iter::once((FOLDED, &decoded.ids[..]))).await?;
                }
            }
            if is_last {
                return Ok((spool.into_sorted()?, merges));
            }
        }
    }
}

fn decode(batch: &Batch, store: &Store, mut reader: Reader) -> Decoded {
    let mut decoded = Decoded::default();
    for document in batch.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
        decoded.ids.extend(id_of(document).and_then(Id::from_binary));
        let Some((id, bytes)) = store.message(document) else { continue };
        decoded.messages += 1;
        let Ok(event) = reader.event(id, bytes) else {
            decoded.unreadable += 1;
            continue;
        };
        event.add_merges(&mut decoded.merges);
        event.keys().for_each(|key| decoded.packed.push(key, &event));
    }
    decoded
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
