//! Repeats calls to the server after temporary failures. Knows at any time whether calls are being repeated, so that
//! the user can be told why a command waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Failure;

/// Maximum number of attempts. The pauses between ten attempts take 21 seconds together. The election of a new primary
/// usually takes less time.
pub const ATTEMPTS_MAX: u32 = 10;

/// Returns the pause after a call has failed `failures` times: 100 ms after the first failure, then twice as long each
/// time, up to 5 s.
pub(crate) fn pause(failures: u32) -> Duration {
    Duration::from_millis((50 << failures.min(10)).min(5_000))
}

/// The maximum time that an attempt takes if no server can be reached, in milliseconds. [`set_attempt_timeout`] sets
/// it.
static ATTEMPT_TIMEOUT_MS: AtomicU64 = AtomicU64::new(10_000);

/// The calls that failed and are being repeated, each with a number as its key. The variable is static, because many
/// modules repeat calls, and these modules have no access to the code that informs the user.
static REPEATED: Mutex<BTreeMap<u64, Repeated>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, Copy)]
struct Repeated {
    is_gone: bool,
    /// The latest time at which the call is given up, if all further attempts fail.
    until: Instant,
}

/// The reason why a command waits: calls failed and are being repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// True if the server cannot be reached. False if it is reached, but cannot execute a call now.
    pub is_gone: bool,
    /// The maximum time until the call is given up.
    pub left: Duration,
}

/// Returns the reason why a command waits, or `None` if no call is being repeated. If several calls are being repeated,
/// the result is about the call that is given up first if all attempts fail.
pub fn trouble() -> Option<Trouble> {
    let repeated = REPEATED.lock().unwrap_or_else(PoisonError::into_inner);
    let first = repeated.values().min_by_key(|repeated| repeated.until)?;
    Some(Trouble { is_gone: first.is_gone, left: first.until.saturating_duration_since(Instant::now()) })
}

/// Sets the maximum time that an attempt takes if no server can be reached: the server selection timeout of the
/// connection.
pub(super) fn set_attempt_timeout(timeout: Duration) {
    ATTEMPT_TIMEOUT_MS.store(timeout.as_millis() as u64, Ordering::Relaxed);
}

/// The repetitions of one call. The call counts as being repeated from its first failure until this value is dropped.
/// [`trouble`] reports calls that are being repeated.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<u64>);

impl Patience {
    /// Waits after the call has failed for the `attempt`-th time.
    pub(crate) async fn pause(&mut self, attempt: u32, failure: &Failure) {
        self.note(attempt, failure);
        tokio::time::sleep(pause(attempt)).await;
    }

    /// Notes that the call has failed for the `attempt`-th time, and will be repeated.
    pub(crate) fn note(&mut self, attempt: u32, failure: &Failure) {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let number = *self.0.get_or_insert_with(|| NUMBERS.fetch_add(1, Ordering::Relaxed));
        let is_gone = matches!(failure, Failure::Unreachable(_));
        let until = Instant::now() + time_left(attempt);
        let mut repeated = REPEATED.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = repeated.get(&number).map_or(until, |earlier| earlier.until);
        repeated.insert(number, Repeated { is_gone, until: until.min(earlier) });
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            REPEATED.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
    }
}

/// Returns the maximum time until a call is given up. `attempt` is the number of times that the call has failed.
fn time_left(attempt: u32) -> Duration {
    let pauses: Duration = (attempt..).map_while(pause_after).sum();
    let timeout = Duration::from_millis(ATTEMPT_TIMEOUT_MS.load(Ordering::Relaxed));
    pauses + timeout * ATTEMPTS_MAX.saturating_sub(attempt)
}

/// Returns the pause between this attempt and the next one. `None` after the last attempt.
fn pause_after(attempt: u32) -> Option<Duration> {
    (attempt < ATTEMPTS_MAX).then(|| pause(attempt))
}

/// Executes `call` until it succeeds, at most [`ATTEMPTS_MAX`] times, with increasing pauses. Repeats it only after
/// temporary failures. Use this function only for calls that are safe to repeat, because the server may have executed a
/// call whose reply was lost.
///
/// # Errors
/// The failure of the last attempt, or the first failure that is not temporary.
pub(crate) async fn patiently<T, E, F>(call: impl FnMut() -> F) -> Result<T, Failure>
where
    E: Into<Failure>,
    F: Future<Output = Result<T, E>>,
{
    patiently_while(Failure::is_retryable, call).await
}

/// Repeats a call like [`patiently`], but only after failures for which `passes` returns true.
pub(super) async fn patiently_while<T, E, F>(
    passes: impl Fn(&Failure) -> bool,
    mut call: impl FnMut() -> F,
) -> Result<T, Failure>
where
    E: Into<Failure>,
    F: Future<Output = Result<T, E>>,
{
    let (mut attempt, mut patience) = (1, Patience::default());
    loop {
        let ended = call().await.map_err(Into::into);
        match &ended {
            Err(failure) if attempt < ATTEMPTS_MAX && passes(failure) => patience.pause(attempt, failure).await,
            _ => return ended,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Unreachable;
    use super::*;
    use std::cell::Cell;

    fn check(code: i32, failures: u32, calls_expected: u32, succeeds: bool) {
        let calls = Cell::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let ended = runtime.block_on(patiently(|| {
            calls.set(calls.get() + 1);
            let failed = calls.get() <= failures;
            async move { if failed { Err(Failure::of_code(code, "", None)) } else { Ok(()) } }
        }));
        assert_eq!((calls.get(), ended.is_ok()), (calls_expected, succeeds), "code {code}");
    }

    #[test]
    fn a_call_is_repeated_only_after_temporary_failures() {
        check(11602, 2, 3, true);
        check(12587, 1, 2, true);
        check(13, 1, 1, false);
        check(100, 1, 1, false);
    }

    #[test]
    fn a_call_counts_as_repeated_until_it_ends() {
        let is_noted = |patience: &Patience| {
            let repeated = REPEATED.lock().unwrap();
            patience.0.and_then(|number| repeated.get(&number).copied())
        };
        let mut patience = Patience::default();
        assert!(is_noted(&patience).is_none());
        patience.note(1, &Failure::Unreachable(Unreachable::Lost));
        let first = is_noted(&patience).expect("noted");
        assert!(first.is_gone && first.until > Instant::now() + Duration::from_secs(20));
        assert!(trouble().is_some());
        patience.note(2, &Failure::of_code(91, "", None));
        let second = is_noted(&patience).expect("noted");
        assert!(!second.is_gone && second.until <= first.until);
        let number = patience.0.expect("a number");
        drop(patience);
        assert!(!REPEATED.lock().unwrap().contains_key(&number));
    }

    #[test]
    fn the_time_left_includes_pauses_and_attempts() {
        // Ten attempts take 10 seconds each if no server can be reached. The first has already failed.
        assert_eq!(time_left(1), Duration::from_millis(21_300 + 90_000));
        assert_eq!(time_left(9), Duration::from_secs(5 + 10));
        assert_eq!((time_left(10), time_left(11)), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn pauses_grow_to_five_seconds() {
        let pauses: Vec<u128> = (0..12).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn ten_attempts_take_21_seconds() {
        let pauses: Vec<Duration> = (1..).map_while(pause_after).collect();
        assert_eq!((pauses.len(), pauses.iter().sum::<Duration>()), (9, Duration::from_millis(21_300)));
        assert_eq!((pause_after(9), pause_after(10), pause_after(11)), (Some(Duration::from_secs(5)), None, None));
    }
}
