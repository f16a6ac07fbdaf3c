//! The processes that store messages and have not folded them yet.
//!
//! A process is listed before it stores its first message, and struck off after its messages are folded. So if all
//! listed processes work, each of them folds its own messages, and nobody needs to look for messages that are not
//! folded. If one of them has ended, somebody must look.

use std::sync::Arc;

use bson::{Bson, DateTime, Document, Uuid, doc};

use super::claim::{Claim, Guard};
use super::store::{Ledger, LedgerError, patiently};

/// The `_id` of the list, in the collection of the leases. A database has at most one.
const ID: &str = "fold writers";

/// The entry of a process in the list. A process whose entry was struck off while it was suspended is listed again
/// under another id, so that nobody strikes off an entry that was made meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    id: Uuid,
    /// The key of the lease that the process renews while it works.
    lease: String,
}

/// The registration of a process that stores messages all the time. It ends with the process, or by
/// [`end`](Registration::end).
#[derive(Debug)]
pub(crate) struct Registration {
    ledger: Ledger,
    key: Arc<str>,
    claim: Claim,
}

/// Checks that a process is still listed. Used before each write of messages.
#[derive(Debug, Clone)]
pub struct Listing {
    ledger: Ledger,
    key: Arc<str>,
    guard: Guard,
}

impl Ledger {
    /// Lists a process that will store messages. `lease` is the key of its lease.
    pub(crate) async fn list_writer(&self, lease: &str) -> Result<(), LedgerError> {
        let entry = doc! { "$push": { "writers": { "id": Uuid::new(), "lease": lease, "since": DateTime::now() } } };
        // After a lost reply, the process is listed twice. Both entries are struck off together.
        patiently(|| self.leases.update_one(doc! { "_id": ID }, entry.clone()).upsert(true).into_future()).await?;
        Ok(())
    }

    /// Returns the entries of processes that have ended, or whose lease has expired.
    pub(crate) async fn ended_writers(&self) -> Result<Vec<Listed>, LedgerError> {
        let list = patiently(|| self.leases.find_one(doc! { "_id": ID }).into_future()).await?;
        let mut listed = list.as_ref().map(entries).unwrap_or_default();
        let keys: Vec<&str> = listed.iter().map(|entry| entry.lease.as_str()).collect();
        if !keys.is_empty() {
            let held = self.leases_of(&keys).await?;
            listed.retain(|entry| held.get(&entry.lease).is_none_or(super::Held::is_over));
        }
        Ok(listed)
    }

    /// Strikes off processes whose messages are folded.
    pub(crate) async fn strike_off(&self, listed: &[Listed]) -> Result<(), LedgerError> {
        let ids: Vec<Bson> = listed.iter().map(|entry| Bson::from(entry.id)).collect();
        if ids.is_empty() { Ok(()) } else { self.pull(doc! { "id": { "$in": ids } }).await }
    }

    /// Strikes off the process with this lease.
    pub(crate) async fn strike_off_lease(&self, lease: &str) -> Result<(), LedgerError> {
        self.pull(doc! { "lease": lease }).await
    }

    async fn pull(&self, entries: Document) -> Result<(), LedgerError> {
        let change = doc! { "$pull": { "writers": entries } };
        patiently(|| self.leases.update_one(doc! { "_id": ID }, change.clone()).into_future()).await?;
        Ok(())
    }

    /// Registers this process, which will store messages all the time.
    pub(crate) async fn register(&self) -> Result<Registration, LedgerError> {
        let key = format!("messages {}", Uuid::new());
        let claim = Claim::take(self, &key).await?.map_err(|_| LedgerError::Unreadable)?;
        self.list_writer(&key).await?;
        Ok(Registration { ledger: self.clone(), key: key.into(), claim })
    }
}

impl Registration {
    /// Returns what the code that stores messages needs.
    pub(crate) fn listing(&self) -> Listing {
        Listing { ledger: self.ledger.clone(), key: Arc::clone(&self.key), guard: self.claim.guard() }
    }

    /// Strikes this process off. All its messages are folded, and it stores no more.
    pub(crate) async fn end(self) -> Result<(), LedgerError> {
        self.ledger.strike_off_lease(&self.key).await?;
        self.claim.release().await;
        Ok(())
    }
}

impl Listing {
    /// Makes sure that this process is listed. Asks the server only if the process may have been counted as ended, for
    /// example because it was suspended.
    ///
    /// # Errors
    /// If the server cannot be reached.
    pub async fn ensure(&self) -> Result<(), LedgerError> {
        if !self.guard.has_lapsed() {
            return Ok(());
        }
        self.guard.confirm().await?;
        self.guard.set_lapsed(false);
        self.ledger.list_writer(&self.key).await.inspect_err(|_| self.guard.set_lapsed(true))
    }
}

fn entries(list: &Document) -> Vec<Listed> {
    let listed = list.get_array("writers").into_iter().flatten().filter_map(Bson::as_document);
    let entry = |entry: &Document| {
        let id = entry.get("id").and_then(|id| if let Bson::Binary(id) = id { id.to_uuid().ok() } else { None })?;
        Some(Listed { id, lease: entry.get_str("lease").ok()?.to_owned() })
    };
    listed.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_from_the_list() {
        let id = Uuid::from_bytes([7; 16]);
        let list = doc! { "_id": ID, "writers": [{ "id": id, "lease": "a" }, { "lease": "without an id" }, 1] };
        assert_eq!(entries(&list), [Listed { id, lease: "a".to_owned() }]);
        assert_eq!(entries(&doc! {}), []);
    }
}
