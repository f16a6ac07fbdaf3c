//! The lease of a load, kept while the load runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bson::DateTime;
use tokio::task::JoinHandle;

use super::keeping;
use crate::ledger::{Held, Ledger};
use crate::pipeline::Error;

/// A lease is renewed so many times before it would run out.
const RENEWALS: u32 = 3;

/// The lease of the load that runs here. Another task renews it until this is dropped.
pub(super) struct Claim {
    ledger: Ledger,
    key: String,
    pub(super) fence: i64,
    is_lost: Arc<AtomicBool>,
    renewing: JoinHandle<()>,
}

impl Claim {
    /// Takes the lease of the loads with this key.
    ///
    /// # Errors
    /// [`Error::Held`] when another process holds it.
    pub(super) async fn take(ledger: &Ledger, key: &str) -> Result<Self, Error> {
        let fence = ledger.take_lease(key).await.map_err(keeping)?.map_err(|held| Error::Held(Box::new(held)))?;
        let is_lost = Arc::new(AtomicBool::new(false));
        let renewing = tokio::spawn(renew(ledger.clone(), key.to_owned(), fence, Arc::clone(&is_lost)));
        Ok(Self { ledger: ledger.clone(), key: key.to_owned(), fence, is_lost, renewing })
    }

    /// Fails if another process is known to have taken the load over.
    ///
    /// # Errors
    /// [`Error::TakenOver`].
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.is_lost.load(Ordering::Relaxed) { Err(Error::TakenOver) } else { Ok(()) }
    }

    /// Asks the ledger whether the load is still ours.
    ///
    /// # Errors
    /// [`Error::TakenOver`], or when the ledger cannot be written.
    pub(super) async fn confirm(&self) -> Result<(), Error> {
        let is_ours = self.ledger.renew(&self.key, self.fence).await.map_err(keeping)?;
        if is_ours { Ok(()) } else { Err(Error::TakenOver) }
    }

    /// Gives the lease back, so that the next load need not wait. If that fails, the lease runs out by itself.
    pub(super) async fn release(self) {
        self.renewing.abort();
        // Not when the server is gone: the load has failed for that already, and waiting would hide it.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.ledger.release(&self.key, self.fence)).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// A renewal that fails is tried again with the next: until the lease has run out nobody else may take it, and if somebody
/// has, the next write to the ledger is refused.
async fn renew(ledger: Ledger, key: String, fence: i64, is_lost: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(ledger.lease() / RENEWALS).await;
        if let Ok(false) = ledger.renew(&key, fence).await {
            is_lost.store(true, Ordering::Relaxed);
            return;
        }
    }
}

/// Who holds a lease, since when and until when.
pub(in crate::pipeline) fn describe(held: &Held) -> String {
    let time = |ms| DateTime::from_millis(ms).try_to_rfc3339_string().unwrap_or_default();
    let lease = &held.lease;
    format!(
        "{}, since {}; its lease ends at {} unless it is renewed",
        lease.owner,
        time(lease.since_ms),
        time(lease.until_ms)
    )
}
