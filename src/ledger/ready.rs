//! Finds out whether the database takes writes now.

use bson::doc;

use super::store::{Ledger, LedgerError, is_duplicate_key};
use crate::server::Failure;

impl Ledger {
    /// Writes the time to a document that nobody reads, once, without repetition. Only a write shows whether a journaled
    /// majority acknowledges writes, and whether the user has the right to write.
    ///
    /// # Errors
    /// If the write is not acknowledged.
    pub async fn try_write(&self) -> Result<(), LedgerError> {
        let change = vec![doc! { "$set": { "at": "$$NOW" } }];
        match self.leases.update_one(doc! { "_id": "ready" }, change).upsert(true).await {
            // Another process has just created the document.
            Err(error) if !is_duplicate_key(&error) => Err(LedgerError::Server(Failure::of(&error))),
            _ => Ok(()),
        }
    }
}
