//! Keeps the lease of a load while the load runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

use super::leases::Held;
use super::store::{Ledger, LedgerError};
use crate::server::{Failure, patiently};

/// A lease is renewed this many times within its length.
const RENEWALS: u32 = 3;

/// How long a load that ends tries to release its lease.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The lease of the load in this process. A background task renews it until this value is dropped.
#[derive(Debug)]
pub struct Claim {
    guard: Guard,
    renewing: JoinHandle<()>,
}

/// Checks before each write of the load that this process still has the lease.
#[derive(Debug, Clone)]
pub struct Guard {
    ledger: Ledger,
    key: Arc<str>,
    fence: i64,
    /// Time until which nobody else can have taken the lease, on the clock of [`since_boot`].
    until: Arc<Mutex<Duration>>,
    is_lost: Arc<AtomicBool>,
}

impl Claim {
    /// Takes the lease of the loads with this key. Returns the current lease if another owner has it.
    ///
    /// # Errors
    /// If the server cannot be reached.
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

    /// The fence that every write to the ledger must name.
    pub const fn fence(&self) -> i64 {
        self.guard.fence
    }

    /// A guard for the code that writes documents.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Returns true if this process knows that another one has taken over the load.
    pub fn is_lost(&self) -> bool {
        self.guard.is_lost.load(Ordering::Relaxed)
    }

    /// Releases the lease, so that the next load need not wait. If the release fails, the lease expires by itself.
    pub async fn release(mut self) {
        self.renewing.abort();
        // A renewal that is still running could reach the server after the release.
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
    /// Checks that the load still belongs to this process. Asks the ledger only if the lease may have expired, for
    /// example after this process was frozen.
    ///
    /// # Errors
    /// [`LedgerError::TakenOver`], or an error if the server cannot be reached.
    pub async fn ensure(&self) -> Result<(), LedgerError> {
        let is_over = since_boot() >= *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over { self.renew().await } else { Ok(()) }
    }

    /// Extends the lease. Tries again after failures that are transient.
    ///
    /// # Errors
    /// The same as for [`ensure`](Self::ensure).
    pub async fn confirm(&self) -> Result<(), LedgerError> {
        self.note(patiently(|| self.ask()).await?)
    }

    /// Extends the lease. Tries once, because the code that writes documents repeats the whole step.
    async fn renew(&self) -> Result<(), LedgerError> {
        self.note(self.ask().await?)
    }

    /// Asks the server to extend the lease. Returns the new time in `until`; `None` if another process has the lease.
    async fn ask(&self) -> Result<Option<Duration>, Failure> {
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

/// Time since the machine started, including the time during which it was suspended, because the server's clock
/// continues then.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Renews the lease at regular intervals. A failed renewal is tried again at the next interval. This is safe: nobody
/// else can take the lease before it expires, and after that the code that writes asks the ledger first.
async fn keep(guard: Guard) {
    loop {
        tokio::time::sleep(guard.ledger.lease() / RENEWALS).await;
        if let Err(LedgerError::TakenOver) = guard.renew().await {
            return;
        }
    }
}
