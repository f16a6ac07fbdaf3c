//! Reads all messages, and sorts their events by the documents that they touch.

use std::sync::atomic::Ordering;

use bson::RawDocument;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::notes::FOLDED;
use super::spool::{Packed, Sorted, Spool};
use super::store::{Store, id_of};
use super::walk::{joined, parallel};
use super::{FoldError, Folder};
use crate::encode::Id;
use crate::fold::{Event, Merges, Reader};
use crate::verify::{Batch, RangeScan, ScanError};

/// The packed events of a batch are passed on in pieces of about this size. A batch can have up to 16 MiB of messages,
/// and its packed events can be much larger, because each result contains what OBR says. At most two pieces for each
/// thread are in memory.
const PIECE_BYTES: usize = 4 * 1024 * 1024;

/// A piece of what the messages of a batch say.
#[derive(Default)]
struct Decoded {
    /// The `_id`s of all documents of the batch. Only the last piece of a batch has them, and the two counts.
    ids: Vec<Id>,
    messages: u64,
    unreadable: u64,
    packed: Packed,
    merges: Merges,
}

/// Passes on what a batch says.
struct Pieces {
    next: Decoded,
    sender: mpsc::Sender<Decoded>,
}

/// The fold was stopped.
struct Stopped;

impl Pieces {
    fn push(&mut self, event: &Event) -> Result<(), Stopped> {
        for key in event.keys() {
            self.next.packed.push(key, event);
            if self.next.packed.size() >= PIECE_BYTES {
                let packed = std::mem::take(&mut self.next.packed);
                self.send(Decoded { packed, ..Decoded::default() })?;
            }
        }
        Ok(())
    }

    fn send(&self, piece: Decoded) -> Result<(), Stopped> {
        self.sender.blocking_send(piece).map_err(|_| Stopped)
    }
}

impl Folder {
    /// Reads all messages. Returns their events, sorted, and all merges. If `repair` is true, also notes as folded
    /// the messages that were read.
    pub(super) async fn spool_all(&mut self, repair: bool) -> Result<(Sorted, Merges), FoldError> {
        let (mut spool, mut merges) = (Spool::new(), Merges::default());
        let (mut batches, mut reading) = read_ahead(self.store.scan());
        let (sender, mut pieces) = mpsc::channel(parallel());
        // `None` when all batches were read.
        let mut sender = Some(sender);
        let mut decoding = JoinSet::new();
        loop {
            tokio::select! {
                batch = batches.recv(), if sender.is_some() && decoding.len() < parallel() => {
                    let Some(batch) = batch.transpose()? else {
                        sender = None;
                        continue;
                    };
                    let (store, reader) = (self.store.clone(), self.reader.clone());
                    let pieces = sender.clone().map(|sender| Pieces { next: Decoded::default(), sender });
                    decoding.spawn_blocking(move || pieces.map(|pieces| decode(&batch, &store, reader, pieces)));
                }
                Some(piece) = pieces.recv() => self.take_piece(piece, &mut spool, &mut merges, repair).await?,
                Some(ended) = decoding.join_next() => drop(joined(ended)),
                else => break,
            }
        }
        // Passes on a panic of the task that reads. Otherwise the panic would look like the end of the collection.
        while let Some(ended) = reading.join_next().await {
            joined(ended);
        }
        Ok((spool.into_sorted()?, merges))
    }

    async fn take_piece(
        &mut self,
        piece: Decoded,
        spool: &mut Spool,
        merges: &mut Merges,
        repair: bool,
    ) -> Result<(), FoldError> {
        self.folded.messages += piece.messages;
        self.folded.unreadable += piece.unreadable;
        merges.append(piece.merges);
        spool.append(piece.packed)?;
        self.read.fetch_add(piece.ids.len() as u64, Ordering::Relaxed);
        if repair {
            self.store.note(std::iter::once((FOLDED, &piece.ids[..]))).await?;
        }
        Ok(())
    }
}

fn decode(batch: &Batch, store: &Store, mut reader: Reader, mut pieces: Pieces) -> Result<(), Stopped> {
    for document in batch.documents().filter_map(|bytes| RawDocument::from_bytes(bytes).ok()) {
        pieces.next.ids.extend(id_of(document).and_then(Id::from_binary));
        let Some((id, bytes)) = store.message(document) else { continue };
        pieces.next.messages += 1;
        let Ok(event) = reader.event(id, bytes) else {
            pieces.next.unreadable += 1;
            continue;
        };
        event.add_merges(&mut pieces.next.merges);
        pieces.push(&event)?;
    }
    let last = std::mem::take(&mut pieces.next);
    pieces.send(last)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::IdentityKey;
    use crate::spec::Spec;

    #[test]
    fn the_events_of_a_large_message_are_passed_on_in_pieces() {
        let spec = Spec::from_toml(include_str!("../../../specs/hl7v2.toml"), "hl7v2").expect("a spec");
        let mut reader = super::super::basis::reader_of(&spec, &IdentityKey::default()).expect("a reader");
        // Each result contains the panel.
        let header = format!("MSH|^~\\&|A|B|||20260301||ORU^R01|1|P|2.5\rOBR|1||F1|CBC^{}", "x".repeat(3_000));
        let results = (0..4_000).map(|code| format!("OBX|1|NM|C{code}||1||||||F"));
        let text = std::iter::once(header).chain(results).collect::<Vec<_>>().join("\r");
        let event = reader.event(Id([7; 16]), text.as_bytes()).expect("a message");
        let (sender, mut pieces) = mpsc::channel(100);
        let mut sending = Pieces { next: Decoded::default(), sender };
        assert!(sending.push(&event).is_ok());
        let mut sizes = vec![sending.next.packed.size()];
        while let Ok(piece) = pieces.try_recv() {
            sizes.push(piece.packed.size());
        }
        assert!(sizes.iter().sum::<usize>() > 12_000_000, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size < PIECE_BYTES + 5_000), "{sizes:?}");
        drop(pieces);
        assert!(sending.send(Decoded::default()).is_err(), "nobody receives it");
    }
}
