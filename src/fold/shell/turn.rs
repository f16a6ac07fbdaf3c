//! Folds messages that were just stored, for a program that receives them one after another. Their `_id`s are known, so
//! the collection need not be compared.
//!
//! Several programs can receive messages for one database. They take turns: each folds its own messages while it has
//! the lease of the folds. If a program is killed, it may have stored a message and not folded it. The next program
//! that starts compares all messages and finds this one.

use super::basis::Basis;
use super::store::Store;
use super::{FoldError, Folded, Folder, Job};
use crate::encode::Id;
use crate::ledger::Claim;

/// The right to fold the messages of a database, for some time.
pub struct Turn {
    folder: Folder,
    claim: Claim,
}

impl Turn {
    /// Takes the lease of the folds. Folds all messages that are not folded yet if `is_first` is true, or if the ledger
    /// does not say that a fold with this collection and spec is complete.
    ///
    /// # Errors
    /// The same as for [`fold`](super::fold).
    pub async fn take(job: &Job<'_>, is_first: bool) -> Result<Self, FoldError> {
        let basis = Basis::new(job.target, job.spec, job.identity)?;
        if is_first {
            basis.refuse_other_identity().await?;
            basis.known().await?;
        }
        let claim = basis.claim().await?;
        let taken = Self::begin(job, basis, &claim, is_first).await;
        match taken {
            Ok(folder) => Ok(Self { folder, claim }),
            Err(error) => {
                claim.release().await;
                Err(error)
            }
        }
    }

    async fn begin(job: &Job<'_>, basis: Basis, claim: &Claim, is_first: bool) -> Result<Folder, FoldError> {
        let known = if is_first { basis.known().await? } else { basis.last().await? };
        let store = Store::new(job.target, job.spec, Some(claim.guard()))?;
        let read = std::sync::Arc::clone(&job.read);
        let mut folder = Folder { store, reader: basis.reader.clone(), basis, known, folded: Folded::default(), read };
        let record = folder.basis.record().await?;
        folder.basis.refuse_other_rule(folder.known.as_ref(), &record)?;
        if is_first || folder.known.as_ref() != Some(&record) {
            folder.catch_up().await?;
        }
        Ok(folder)
    }

    /// Folds the messages with these `_id`s. To fold a message again is harmless.
    ///
    /// # Errors
    /// The server or the temporary file fails, or another process has taken the lease.
    pub async fn fold(&mut self, mut ids: Vec<Id>) -> Result<(), FoldError> {
        ids.sort_unstable();
        ids.dedup();
        self.folder.fold_new(&ids).await
    }

    /// Returns what was folded in this turn.
    pub const fn folded(&self) -> Folded {
        self.folder.folded
    }

    /// Ends the turn, so that another program can fold.
    pub async fn end(self) {
        self.claim.release().await;
    }
}
