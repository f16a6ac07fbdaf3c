//! Owns the lease of a load in this process, and renews it while the load runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

use super::leases::Held;
use super::store::{Ledger, LedgerError};
use crate::server::{Failure, patiently};

/// A lease is renewed each time a third of its length has passed.
const RENEWALS: u32 = 3;

/// How long the end of a load waits for the release of its lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The lease of the load that this process executes. A background task renews the lease until this value is dropped.
#[derive(Debug)]
pub struct Claim {
    guard: Guard,
    renewing: JoinHandle<()>,
}

/// Checks that no other process has taken the lease. Used before each command that writes documents.
#[derive(Debug, Clone)]
pub struct Guard {
    ledger: Ledger,
    key: Arc<str>,
    fence: i64,
    /// No other process can take the lease before this time. Measured by the clock of [`since_boot`].
    until: Arc<Mutex<Duration>>,
    is_lost: Arc<AtomicBool>,
}

impl Claim {
    /// Takes the lease of the load with this key. If another process has the lease, returns that lease as [`Held`].
    ///
    /// # Errors
    /// If the server cannot be reached, the lease document cannot be read, or other processes take the lease again and
    /// again.
    pub async fn take(ledger: &Ledger, key: &str) -> Result<Result<Self, Held>, LedgerError> {
        let asked = since_boot();
        let fence = match ledger.take_lease(key).await? {
            Ok(fence) => fence,
            Err(held) => return Ok(Err(held)),
        };
        let guard = Guard {
            ledger: ledger.clone(),
            key: key.into(),
            fence,
            until: Arc::new(Mutex::new(asked + ledger.lease())),
            is_lost: Arc::default(),
        };
        let renewing = tokio::spawn(keep(guard.clone()));
        Ok(Ok(Self { guard, renewing }))
    }

    /// Returns the fence of this lease: its number. Every write to the load's ledger document must contain the fence.
    pub const fn fence(&self) -> i64 {
        self.guard.fence
    }

    /// Returns a guard for the code that writes documents.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Returns true if this process knows that another process has taken the load over.
    pub fn is_lost(&self) -> bool {
        self.guard.is_lost.load(Ordering::Relaxed)
    }

    /// Releases the lease, so that the next load need not wait until it expires. Ignores a failure.
    pub async fn release(mut self) {
        self.renewing.abort();
        // Wait for the task, because a renewal that is still running could reach the server after the release.
        let _ = (&mut self.renewing).await;
        let Guard { ledger, key, fence, .. } = &self.guard;
        let _ = tokio::time::timeout(RELEASE_TIMEOUT, ledger.release(key, *fence)).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Guard {
    /// Returns the fence of the lease.
    pub(super) const fn fence(&self) -> i64 {
        self.fence
    }

    /// Checks that this process still owns the load. Queries the ledger only if the lease may have expired, for example
    /// after this process was suspended.
    ///
    /// # Errors
    /// [`LedgerError::TakenOver`] if another process owns the load, or an error if the server cannot be reached.
    pub async fn ensure(&self) -> Result<(), LedgerError> {
        let is_over = since_boot() >= *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over { self.renew().await } else { Ok(()) }
    }

    /// Extends the lease. Repeats the call after temporary failures.
    ///
    /// # Errors
    /// The same as for [`ensure`](Self::ensure).
    pub async fn confirm(&self) -> Result<(), LedgerError> {
        self.note(patiently(|| self.extend()).await?)
    }

    /// Extends the lease with a single call. The callers try again after a failure.
    async fn renew(&self) -> Result<(), LedgerError> {
        self.note(self.extend().await?)
    }

    /// Makes the server extend the lease. Returns the new value of `until`, or `None` if another process has the lease.
    async fn extend(&self) -> Result<Option<Duration>, Failure> {
        let asked = since_boot();
        let is_ours = self.ledger.renew(&self.key, self.fence).await?;
        Ok(is_ours.then(|| asked + self.ledger.lease()))
    }

    fn note(&self, until: Option<Duration>) -> Result<(), LedgerError> {
        let Some(until) = until else {
            self.is_lost.store(true, Ordering::Relaxed);
            return Err(LedgerError::TakenOver);
        };
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
        Ok(())
    }
}

/// Returns the time since the machine started. On Linux, this includes the time during which the machine was suspended.
/// Reason: the lease expires by the server's clock, which does not stop meanwhile.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Renews the lease at regular intervals, until another process has it. A failed renewal is repeated at the next
/// interval. The failure is harmless: no other process can take the lease before it expires, and after that
/// [`Guard::ensure`] queries the ledger before each write.
async fn keep(guard: Guard) {
    loop {
        tokio::time::sleep(guard.ledger.lease() / RENEWALS).await;
        if let Err(LedgerError::TakenOver) = guard.renew().await {
            return;
        }
    }
}

#[cfg(test)]
impl Guard {
    /// A guard whose lease has expired.
    pub(crate) fn expired(database: &mongodb::Database) -> Self {
        let ledger = Ledger::new(database, "rows", Duration::ZERO);
        Self { ledger, key: "key".into(), fence: 1, until: Arc::default(), is_lost: Arc::default() }
    }
}
