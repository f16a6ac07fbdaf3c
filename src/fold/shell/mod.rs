//! Folds the messages of a collection, and writes the documents of the state.
//!
//! Messages that are not folded yet are found by comparing the `_id`s of the messages with a list of those that are
//! folded. For each batch of new messages, in this order: it is noted which messages touch which keys; the documents of
//! these keys are extended or folded anew, and written; documents follow the merges; the messages are noted as folded.
//! After a kill, the messages of the last batch are still new. Folding them again ends in the same documents.
//!
//! A lease makes sure that only one process folds the messages of a collection at a time.

mod batch;
mod indexes;
mod store;
mod walk;

use std::collections::HashSet;

use crate::encode::{Id, IdentityKey};
use crate::ledger::{Claim, Held, LEASE_DEFAULT, Ledger, LedgerError};
use crate::parse::hl7::Charset;
use crate::server::{Failure, ServerError, Target};
use crate::spec::{FormatName, Spec};
use crate::spill::SpillError;
use crate::verify::ScanError;

use super::Reader;
use super::identifier::PatientRule;
pub use indexes::{indexes, is_folded, missing_indexes};
use store::Store;
pub use walk::{Checked, StateDifference};

/// A batch of new messages has at most this number of messages, and not many more bytes than this. The larger a batch,
/// the more messages of a patient are folded together.
const BATCH_MESSAGES: usize = 10_000;
const BATCH_BYTES: usize = 24 * 1024 * 1024;

/// If more new messages than this are found, all keys are folded anew, in the order of their keys. So they are if more
/// than half of many messages are new. Reason: new messages are found in the order of their `_id`s, so every batch
/// would meet the same patients again.
const NEW_MAX: usize = 50_000;

/// Why messages cannot be folded.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// The spec does not describe HL7 v2 messages that are stored whole.
    #[error(
        "only HL7 v2 messages can be folded: give a spec whose [source] has type = \"hl7\", with a field with whole = true \
         and a [patient] whose identifier is a part of PID, for example --spec hl7v2"
    )]
    Spec,
    /// The server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The messages cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The temporary file cannot be used.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another process folds the messages.
    #[error(
        "the messages of {collection} are being folded by {held}; wait until it has ended, then run the same command again"
    )]
    Held {
        /// Database and collection.
        collection: String,
        /// The lease of the other process.
        held: Box<Held>,
    },
}

impl FoldError {
    /// Returns true if the same command may succeed later, because another process works on the same messages.
    pub(crate) const fn is_passing(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Ledger(LedgerError::TakenOver))
    }

    /// Returns the failure of the server that caused this error. `None` if the error has another cause.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Server(error) => error.failure(),
            Self::Scan(error) => Some(error.failure()),
            Self::Ledger(LedgerError::Server(failure)) => Some(failure),
            _ => None,
        }
    }

    /// Returns the exit code of an error that is not [passing](Self::is_passing).
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Spec => 2,
            Self::Server(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// The counts of a fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Folded {
    /// Messages that were folded.
    pub messages: u64,
    /// Of these, messages that cannot be read. They change no state.
    pub unreadable: u64,
    /// Documents of the state that were written.
    pub written: u64,
    /// Documents that were removed, because no message supports them.
    pub removed: u64,
}

/// Folds the messages of one collection.
pub struct Folder {
    store: Store,
    reader: Reader,
    folded: Folded,
    claim: Option<Claim>,
}

impl Folder {
    /// Begins to fold the messages of `target`. Takes the lease, and builds the indexes that are missing.
    ///
    /// # Errors
    /// The spec is not one of HL7 v2 messages, another process is folding, or the server fails.
    pub async fn open(target: &Target, spec: &Spec, identity: &IdentityKey) -> Result<Self, FoldError> {
        let mut folder = Self::to_read(target, spec, identity)?;
        let ledger = Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT);
        let key = format!("fold {}", target.collection);
        let claim = match Claim::take(&ledger, &key).await? {
            Ok(claim) => claim,
            Err(held) => return Err(FoldError::Held { collection: target.full_name(), held: Box::new(held) }),
        };
        folder.store.guard = Some(claim.guard());
        folder.claim = Some(claim);
        folder.store.build_indexes().await?;
        Ok(folder)
    }

    /// Makes a folder that writes nothing.
    fn to_read(target: &Target, spec: &Spec, identity: &IdentityKey) -> Result<Self, FoldError> {
        let (Some(whole), Some(rule)) = (spec.whole(), PatientRule::of(spec)) else { return Err(FoldError::Spec) };
        if spec.source.format != Some(FormatName::Hl7) {
            return Err(FoldError::Spec);
        }
        // A message that is not UTF-8 and names no character set was only stored with --encoding windows-1252.
        let charset = Charset::Iso8859(1);
        let reader = Reader::new(identity.clone(), rule, spec.source.zone, charset);
        let store = Store { target: target.clone(), whole: whole.name.clone(), guard: None };
        Ok(Self { store, reader, folded: Folded::default(), claim: None })
    }

    /// Folds all messages that are not folded yet.
    ///
    /// # Errors
    /// If the server fails. What was folded before stays.
    pub async fn catch_up(&mut self) -> Result<(), FoldError> {
        let (new, total) = self.new_messages().await?;
        if new.len() > NEW_MAX || (new.len() > BATCH_MESSAGES && new.len() > total / 2) {
            return self.rebuild().await;
        }
        let mut batch = Vec::new();
        for ids in new.chunks(store::IDS_MAX) {
            batch.extend(self.store.messages(ids).await?);
            let bytes: usize = batch.iter().map(|(_, bytes)| bytes.len()).sum();
            if batch.len() >= BATCH_MESSAGES || bytes >= BATCH_BYTES {
                self.fold_messages(&batch).await?;
                batch.clear();
            }
        }
        self.fold_messages(&batch).await
    }

    /// Folds the messages of all keys anew. Replaces the documents that differ, and removes those that no message
    /// supports.
    ///
    /// # Errors
    /// If the server or the temporary file fails.
    pub async fn rebuild(&mut self) -> Result<(), FoldError> {
        self.walk(true).await.map(drop)
    }

    /// Releases the lease, and returns the counts.
    pub async fn finish(mut self) -> Folded {
        if let Some(claim) = self.claim.take() {
            claim.release().await;
        }
        self.folded
    }

    /// Returns the `_id`s of messages that are not folded yet, at most one more than [`NEW_MAX`], and the number of all
    /// messages.
    async fn new_messages(&self) -> Result<(Vec<Id>, usize), FoldError> {
        const PAGE: u32 = 20_000;
        let (mut new, mut total, mut after) = (Vec::new(), 0, None);
        loop {
            let page = self.store.ids(after, PAGE).await?;
            let (Some(&first), Some(&last)) = (page.first(), page.last()) else { return Ok((new, total)) };
            let folded = self.store.touches_between((store::FOLDED, first), (store::FOLDED, last), true).await?;
            let folded: HashSet<Id> = folded.into_iter().map(|(_, message)| message).collect();
            total += page.len();
            new.extend(page.into_iter().filter(|id| !folded.contains(id)));
            if new.len() > NEW_MAX {
                new.truncate(NEW_MAX + 1);
                return Ok((new, total));
            }
            after = Some(last);
        }
    }
}

/// Folds all messages of `target` again and compares the result with the stored documents. Writes nothing.
///
/// # Errors
/// The spec is not one of HL7 v2 messages, or the server or the temporary file fails.
pub async fn check(
    target: &Target,
    spec: &Spec,
    identity: &IdentityKey,
    differences_max: usize,
) -> Result<Checked, FoldError> {
    let mut folder = Folder::to_read(target, spec, identity)?;
    let mut checked = folder.walk(false).await?;
    checked.differences.truncate(differences_max);
    Ok(checked)
}
