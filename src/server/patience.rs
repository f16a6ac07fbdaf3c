//! Repeats calls to the server after temporary failures.

use std::time::Duration;

use super::Failure;

/// Maximum number of attempts. The pauses between ten attempts take 21 seconds together. The election of a new primary
/// usually takes less time.
pub const ATTEMPTS_MAX: u32 = 10;

/// Returns the pause after a call has failed `failures` times: 100 ms after the first failure, then twice as long each
/// time, up to 5 s.
pub(crate) fn pause(failures: u32) -> Duration {
    Duration::from_millis((50 << failures.min(10)).min(5_000))
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
    let mut attempt = 1;
    loop {
        let ended = call().await.map_err(Into::into);
        match (&ended, pause_after(attempt)) {
            (Err(failure), Some(pause)) if passes(failure) => tokio::time::sleep(pause).await,
            _ => return ended,
        }
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
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
