//! Folds the messages of a collection, and writes the documents of the state.
//!
//! Messages that are not folded yet are found by comparing the `_id`s of the messages with a list of those that are
//! folded. Their events are sorted by key and time. For each group of keys, it is noted which messages touch them; then
//! their documents are extended or folded anew, and written. At the end, documents follow the merges, and the messages
//! are noted as folded. After a kill, the messages are still new. Folding them again ends in the same documents.
//!
//! In the first fold, and if more than 10,000 messages are new and they are more than a quarter of all, all messages are
//! folded anew, document by document. The ledger notes when this begins and ends. If the fold is killed in between, the next fold
//! also folds all messages.
//!
//! A database has the state of only one collection of messages. A lease makes sure that only one process folds in a
//! database at a time.

mod basis;
mod batch;
mod checked;
mod compare;
mod error;
mod indexes;
mod merging;
mod notes;
mod read;
mod spool;
mod store;
mod turn;
mod walk;
mod write;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::encode::{Id, IdentityKey};
use crate::ledger::{FoldRecord, Guard};
use crate::server::Target;
use crate::spec::Spec;

use super::Reader;
use basis::Basis;
pub use checked::{Checked, StateCounts, StateDifference};
pub use error::FoldError;
pub use indexes::{indexes, is_folded, missing_indexes};
use store::Store;
pub use turn::Turn;
pub use walk::check;

/// If more new messages than this are found, and they are more than a quarter of all messages, all messages are
/// folded anew.
const MOST_MIN: usize = 10_000;

/// If more new messages than this are found, all messages are folded anew, because the list of the new ones would be
/// too large.
const NEW_MAX: usize = 2_000_000;

/// The counts of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Messages that were folded.
    pub messages: u64,
    /// Of these, messages that cannot be read. They change no state.
    pub unreadable: u64,
    /// Documents of the state that were written.
    pub written: u64,
    /// Documents that were removed, because they follow from no message.
    pub removed: u64,
    /// How many of the written documents replaced a document that named no message. Another program had written the
    /// replaced document.
    pub foreign: u64,
}

/// Folds the messages of one collection.
struct Folder {
    store: Store,
    reader: Reader,
    basis: Basis,
    /// The record in the ledger when the fold began. `None` if no messages were folded before.
    known: Option<FoldRecord>,
    folded: Folded,
    /// The number of messages that were read, for the progress.
    read: Arc<AtomicU64>,
}

/// Checks that the messages of `target` can be folded with this spec. Writes nothing. A load calls it before it
/// writes messages. `is_new` is true if the collection does not exist or will be dropped. The key is not checked
/// here, because the load itself checks it.
///
/// # Errors
/// The reason why [`fold`] would refuse the messages.
pub async fn refuse_unfit(target: &Target, spec: &Spec, identity: &IdentityKey, is_new: bool) -> Result<(), FoldError> {
    let basis = Basis::new(target, spec, identity)?;
    let known = basis.known().await?;
    if is_new { Ok(()) } else { basis.refuse_other_rule(known.as_ref(), &basis.record().await?) }
}

/// What to fold, and how.
#[derive(Debug, Clone)]
pub struct Job<'a> {
    /// The collection with the messages.
    pub target: &'a Target,
    /// The spec of the messages.
    pub spec: &'a Spec,
    /// The key with which the messages were loaded.
    pub identity: &'a IdentityKey,
    /// Whether to fold all messages again, and not only those that are not folded yet.
    pub rebuild: bool,
    /// The fold adds the number of messages that it has read to this number, for the progress.
    pub read: Arc<AtomicU64>,
}

/// Folds messages. If `stop` is ready first, returns `None`, and the next fold does the rest.
///
/// # Errors
/// The messages cannot be folded with this spec or key, another process is folding, or the server or the temporary file
/// fails.
pub async fn fold(job: &Job<'_>, stop: impl Future<Output = ()>) -> Result<Option<Folded>, FoldError> {
    let basis = Basis::new(job.target, job.spec, job.identity)?;
    basis.refuse_other_identity().await?;
    basis.known().await?;
    let claim = basis.claim().await?;
    let folded = tokio::select! {
        // Boxed, because this future is large, and the future of a load contains it.
        folded = Box::pin(fold_with(job, basis, claim.guard())) => folded.map(Some),
        () = stop => Ok(None),
    };
    // After an interruption, the lease is not released, because a last write can still be on its way to the server.
    // The lease expires, or ends with the process.
    if !matches!(folded, Ok(None)) {
        claim.release().await;
    }
    folded
}

async fn fold_with(job: &Job<'_>, basis: Basis, guard: Guard) -> Result<Folded, FoldError> {
    // Reads the record again, because another process may have written it before this process had the lease.
    let known = basis.known().await?;
    let store = Store::new(job.target, job.spec, Some(guard))?;
    let read = Arc::clone(&job.read);
    let mut folder = Folder { store, reader: basis.reader.clone(), basis, known, folded: Folded::default(), read };
    if job.rebuild { folder.rebuild().await } else { folder.catch_up().await }?;
    Ok(folder.folded)
}

impl Folder {
    /// Folds all messages that are not folded yet.
    async fn catch_up(&mut self) -> Result<(), FoldError> {
        let record = self.basis.record().await?;
        self.basis.refuse_other_rule(self.known.as_ref(), &record)?;
        // If no fold of these messages by the present rules is complete, all are folded.
        if self.known.as_ref().is_none_or(|known| !known.is_complete_for(&record)) {
            return self.rebuild().await;
        }
        let Found { new, total, is_gone } = self.new_messages().await?;
        let is_most = new.len() > MOST_MIN && new.len() > total / 4;
        // If the UUID of the collection is not known, only a message that is gone shows that the collection was
        // dropped. All messages are then folded anew.
        if is_most || new.len() > NEW_MAX || (is_gone && record.collection_uuid.is_none()) {
            return self.rebuild().await;
        }
        self.store.build_indexes().await?;
        if self.known.as_ref() != Some(&record) {
            self.put(&record).await?;
            self.known = Some(record);
        }
        if new.is_empty() { Ok(()) } else { self.fold_new(&new).await }
    }

    async fn put(&self, record: &FoldRecord) -> Result<(), FoldError> {
        let guard = self.store.guard.as_ref();
        self.basis.put(record, guard.expect("a fold that writes has the lease")).await
    }

    /// Folds the messages of all keys anew. Replaces the documents that differ, and removes those that no message
    /// supports.
    async fn rebuild(&mut self) -> Result<(), FoldError> {
        let mut record = self.basis.record().await?;
        record.is_rebuilding = true;
        self.put(&record).await?;
        let checked = self.walk(true).await?;
        self.folded.written += checked.wrong();
        self.folded.removed += checked.extra();
        self.folded.foreign += checked.foreign;
        // An index is built faster from all documents than document by document.
        self.store.build_indexes().await?;
        record.is_rebuilding = false;
        self.put(&record).await?;
        self.known = Some(record);
        Ok(())
    }

    /// Compares the `_id`s of the messages with the notes.
    async fn new_messages(&self) -> Result<Found, FoldError> {
        const PAGE: u32 = 20_000;
        let (mut found, mut after, mut folded) = (Found::default(), None, HashSet::new());
        loop {
            let page = self.store.ids(after, PAGE).await?;
            let last = page.last().copied();
            // A note can also name messages of later pages, so `folded` keeps them until their page.
            folded.extend(self.store.folded(after, last.unwrap_or(store::LAST)).await?);
            found.total += page.len();
            found.new.extend(page.into_iter().filter(|id| !folded.remove(id)));
            let noted = folded.len();
            folded.retain(|id| last.is_some_and(|last| *id > last));
            found.is_gone |= folded.len() < noted;
            if last.is_none() || found.new.len() > NEW_MAX {
                return Ok(found);
            }
            after = last;
        }
    }
}

/// The messages that are not folded yet.
#[derive(Default)]
struct Found {
    /// The `_id`s, in order. If there are more than [`NEW_MAX`], not all of them.
    new: Vec<Id>,
    /// The number of messages that were compared.
    total: usize,
    /// True if a message that was folded is no longer stored.
    is_gone: bool,
}
