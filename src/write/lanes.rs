//! Writes chunks that contain one or more kinds of documents.
//!
//! A *lane* is the writer of one kind of document to its own collection. For example, if a row gives a patient document
//! and an admission document, the load has two lanes. A chunk is complete when all lanes have written their documents
//! of the chunk.

use std::pin::pin;

use futures_util::future::{self, Either};
use tokio::sync::mpsc;

use super::chunk::Chunk;
use super::writer::{Settled, WriteError, Writer};

/// Writes all chunks until the channel closes. `writers` has one writer for each kind of document. When a chunk is
/// complete, calls `settle` with one `Settled` for each kind. Meanwhile other chunks are written.
///
/// # Errors
/// If a batch cannot be written, if the temporary file with the `_id`s of the load cannot be used, or if `settle`
/// fails. Chunks that are already committed stay committed.
pub async fn write_all<E: From<WriteError>>(
    writers: &mut [Writer],
    mut chunks: mpsc::Receiver<Chunk>,
    mut settle: impl AsyncFnMut(Vec<Settled>) -> Result<(), E>,
) -> Result<(), E> {
    let (mut to_lanes, mut settled, mut lanes) = (Vec::new(), Vec::new(), Vec::new());
    for writer in writers {
        let (to_lane, chunks) = mpsc::channel(1);
        let (to_settle, from_lane) = mpsc::unbounded_channel();
        to_lanes.push(to_lane);
        settled.push(from_lane);
        lanes.push(writer.send_all(chunks, to_settle));
    }
    let dividing = async move {
        while let Some(chunk) = chunks.recv().await {
            for (chunk, to_lane) in chunk.into_kinds().into_iter().zip(&to_lanes) {
                if to_lane.send(chunk).await.is_err() {
                    return;
                }
            }
        }
    };
    let settling = async move {
        while let Some(kinds) = next_of_each(&mut settled).await {
            settle(kinds).await?;
        }
        Ok(())
    };
    let writing = future::join(future::join_all(lanes), settling);
    let (written, settled) = match future::select(pin!(dividing), pin!(writing)).await {
        Either::Left(((), writing)) => writing.await,
        // A writer failed, or `settle` failed. Do not wait for `dividing`, because it may never end. It ends when the
        // sender of the chunks closes the channel. But the sender may wait for a commit that no longer happens.
        Either::Right((ended, _)) => ended,
    };
    // If a writer and `settle` both fail, the writer's error is the cause.
    written.into_iter().collect::<Result<(), WriteError>>().map_err(E::from).and(settled)
}

/// Waits until the writer of each kind of document has completed its next chunk. Returns `None` if a writer has ended.
async fn next_of_each(lanes: &mut [mpsc::UnboundedReceiver<Settled>]) -> Option<Vec<Settled>> {
    let mut settled = Vec::with_capacity(lanes.len());
    for lane in lanes {
        settled.push(lane.recv().await?);
    }
    Some(settled)
}
