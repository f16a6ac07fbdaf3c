//! Folds messages soon after they are stored, for a process that stores messages all the time.
//!
//! Such a process knows what it stored, so only these messages are folded. All messages are compared with the notes only
//! at the beginning, after an error, and if another process ended before its messages were folded: every process that
//! stores messages is listed in the ledger until then.

use std::sync::Arc;
use std::time::Duration;

use super::basis::Basis;
use super::store::Store;
use super::{FoldError, Folded, Folder};
use crate::encode::{Id, IdentityKey};
use crate::ledger::{Guard, Listing, Registration};
use crate::server::Target;
use crate::spec::Spec;

/// If more messages than this wait to be folded, their `_id`s are forgotten, and all messages are compared instead.
const WAITING_MAX: usize = 1_000_000;

/// How often a fold looks whether the fold of another process has ended.
const LOOK: Duration = Duration::from_millis(200);

/// Folds the messages that this process stores.
pub struct Follower {
    folder: Folder,
    registration: Registration,
    /// The fence of the last fold of this process. If the next one is higher by more than one, another process folded
    /// meanwhile.
    fence: Option<i64>,
    /// Messages that are stored and not folded yet.
    waiting: Vec<Id>,
    /// True if all messages must be compared.
    compares: bool,
}

impl Follower {
    /// Registers this process in the ledger, and checks that the messages of `target` can be folded. Folds nothing.
    ///
    /// # Errors
    /// The messages cannot be folded with this spec or key in this database, or the server fails.
    pub async fn begin(target: &Target, spec: &Spec, identity: &IdentityKey) -> Result<Self, FoldError> {
        let basis = Basis::new(target, spec, identity)?;
        basis.refuse_other_identity().await?;
        let known = basis.known().await?;
        basis.refuse_other_rule(known.as_ref(), &basis.record().await?)?;
        let registration = basis.ledger.register().await?;
        let (store, reader) = (Store::new(target, spec, None)?, basis.reader.clone());
        let read = Arc::default();
        let folder = Folder { store, reader, basis, known, folded: Folded::default(), read };
        Ok(Self { folder, registration, fence: None, waiting: Vec::new(), compares: true })
    }

    /// Returns the listing of this process. The code that stores messages must call [`Listing::ensure`] before each
    /// write. Otherwise messages that are stored after this process was suspended are possibly not folded.
    pub fn listing(&self) -> Listing {
        self.registration.listing()
    }

    /// Returns the number of messages that are stored and not folded yet, as far as it is known.
    pub const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Folds messages that are stored durably. `ids` can be in any order, and can contain messages that were stored
    /// before. The first call folds everything that is not folded yet, which can take long. If another process folds,
    /// waits until it has ended.
    ///
    /// After an error, and if the future is dropped, the messages wait for the next call. That call may have no `ids`.
    ///
    /// # Errors
    /// The messages cannot be folded with this spec or key in this database, or the server or the temporary file fails.
    pub async fn fold(&mut self, ids: &[Id]) -> Result<Folded, FoldError> {
        self.waiting.extend_from_slice(ids);
        if self.waiting.len() > WAITING_MAX {
            (self.waiting, self.compares) = (Vec::new(), true);
        }
        if self.waiting.is_empty() && !self.compares {
            return Ok(Folded::default());
        }
        let claim = loop {
            match self.folder.basis.claim().await {
                Err(FoldError::Held { .. }) => tokio::time::sleep(LOOK).await,
                claim => break claim?,
            }
        };
        let folded = Box::pin(self.fold_with(claim.guard(), claim.fence())).await;
        claim.release().await;
        folded
    }

    async fn fold_with(&mut self, guard: Guard, fence: i64) -> Result<Folded, FoldError> {
        let folder = &mut self.folder;
        (folder.folded, folder.store.guard) = (Folded::default(), Some(guard));
        if self.fence.take().is_none_or(|last| last + 1 != fence) {
            folder.known = folder.basis.known().await?;
            let record = folder.basis.record().await?;
            folder.basis.refuse_other_rule(folder.known.as_ref(), &record)?;
            self.compares |= folder.known.as_ref().is_none_or(|known| !known.is_complete_for(&record));
        }
        if self.compares || !folder.basis.ledger.ended_writers().await?.is_empty() {
            // If this is interrupted, the next call compares again.
            self.compares = true;
            folder.fold_unfolded(false).await?;
        } else {
            self.waiting.sort_unstable();
            self.waiting.dedup();
            folder.fold_new(&self.waiting).await?;
        }
        self.waiting.clear();
        (self.compares, self.fence) = (false, Some(fence));
        Ok(folder.folded)
    }

    /// Ends the registration of this process, which stores no more messages. If messages wait to be folded, other
    /// processes find that out.
    ///
    /// # Errors
    /// If the server cannot be reached. The other processes then compare all messages.
    pub async fn end(self) -> Result<(), FoldError> {
        if self.waiting.is_empty() && !self.compares {
            self.registration.end().await?;
        }
        Ok(())
    }
}
