//! Looks whether the database takes writes.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::ledger::{LEASE_DEFAULT, Ledger};
use crate::server::Target;

/// How long the database may take for a write.
const LIMIT: Duration = Duration::from_secs(2);

/// A result is used for this time, so that many requests do not cause many writes.
const VALID: Duration = Duration::from_secs(1);

/// Says whether the database takes writes.
#[derive(Debug)]
pub(super) struct Readiness {
    ledger: Ledger,
    last: Mutex<Option<(Instant, bool)>>,
}

impl Readiness {
    pub(super) fn new(target: &Target) -> Self {
        let ledger = Ledger::new(&target.db(), &target.collection, LEASE_DEFAULT);
        Self { ledger, last: Mutex::new(None) }
    }

    /// Returns true if the database takes writes now. Requests that ask at the same time share one check.
    pub(super) async fn is_ready(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((_, is_ready)) = last.filter(|(at, _)| at.elapsed() < VALID) {
            return is_ready;
        }
        let is_ready = matches!(tokio::time::timeout(LIMIT, self.ledger.try_write()).await, Ok(Ok(())));
        *last = Some((Instant::now(), is_ready));
        is_ready
    }
}
