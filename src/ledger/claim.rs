//! The lease of a load, kept while the load runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinHandle;

use super::store::{Held, Ledger, LedgerError};
use crate::access::{ATTEMPTS_MAX, pause};

/// A lease is renewed so many times before it would run out.
const RENEWALS: u32 = 3;

/// How long a load that ends tries to give its lease back.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// The lease of the load that runs here. Another task renews it until this is dropped.
#[derive(Debug)]
pub struct Claim {
    guard: Guard,
    renewing: JoinHandle<()>,
}

/// Tells whoever writes for the load whether the load is still ours.
#[derive(Debug, Clone)]
pub struct Guard {
    ledger: Ledger,
    key: Arc<str>,
    fence: i64,
    /// Until when nobody else can have taken the lease, by [`since_boot`].
    until: Arc<Mutex<Duration>>,
    is_lost: Arc<AtomicBool>,
}

impl Claim {
    /// Takes the lease of the loads with this key, or says who holds it.
    ///
    /// # Errors
    /// When the server cannot be reached.
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

    /// The fence that every write to the ledger names.
    pub const fn fence(&self) -> i64 {
        self.guard.fence
    }

    /// For those who write documents.
    pub fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Whether another process is known to have taken the load over.
    pub fn is_lost(&self) -> bool {
        self.guard.is_lost.load(Ordering::Relaxed)
    }

    /// Gives the lease back, so that the next load need not wait. If that fails, the lease runs out by itself.
    pub async fn release(mut self) {
        self.renewing.abort();
        // A renewal under way would come after the release.
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
    /// Makes sure that the load is ours: asks the ledger if the lease may have run out, as after this process was frozen.
    ///
    /// # Errors
    /// [`LedgerError::TakenOver`], or when the server cannot be reached.
    pub async fn ensure(&self) -> Result<(), LedgerError> {
        let is_over = since_boot() >= *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if is_over { self.renew().await } else { Ok(()) }
    }

    /// Moves the end of the lease on, and tries again while the failures are ones that pass.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure).
    pub async fn confirm(&self) -> Result<(), LedgerError> {
        let mut attempt = 1;
        loop {
            match self.renew().await {
                Err(LedgerError::Server(failure)) if attempt < ATTEMPTS_MAX && failure.is_retryable() => {
                    tokio::time::sleep(pause(attempt)).await;
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    /// Moves the end of the lease on. Tries once: whoever writes documents tries again as a whole.
    async fn renew(&self) -> Result<(), LedgerError> {
        let asked = since_boot();
        if !self.ledger.renew(&self.key, self.fence).await? {
            self.is_lost.store(true, Ordering::Relaxed);
            return Err(LedgerError::TakenOver);
        }
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + self.ledger.lease();
        Ok(())
    }
}

/// Time since the machine was started, also while it was suspended: the server's clock goes on then.
fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    const CLOCK: ClockId = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    const CLOCK: ClockId = ClockId::Monotonic;
    let now = clock_gettime(CLOCK);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// A renewal that fails is tried again with the next: nobody else may take the lease until it has run out, and whoever writes
/// then asks first.
async fn keep(guard: Guard) {
    loop {
        tokio::time::sleep(guard.ledger.lease() / RENEWALS).await;
        if let Err(LedgerError::TakenOver) = guard.renew().await {
            return;
        }
    }
}
