//! Repeats calls after failures that may pass.

use std::time::Duration;

use super::Failure;

/// Largest number of attempts. With the pauses between them, ten attempts take at least 21 seconds, which is longer
/// than an election.
pub const ATTEMPTS_MAX: u32 = 10;

/// Returns the pause before a call that has failed `failures` times is repeated: 100 ms after the first failure, then
/// twice as long each time, up to 5 s.
pub fn pause(failures: u32) -> Duration {
    Duration::from_millis((50 << failures.min(10)).min(5_000))
}

/// Repeats `call` until it succeeds, up to [`ATTEMPTS_MAX`] times, with increasing pauses. It must be safe to carry
/// out the call twice: if a reply is lost, the first call may have been carried out.
///
/// # Errors
/// At the first failure that does not pass, and after the last attempt.
pub async fn patiently<T, E, F>(call: impl FnMut() -> F) -> Result<T, Failure>
where
    E: Into<Failure>,
    F: Future<Output = Result<T, E>>,
{
    patiently_while(Failure::is_retryable, call).await
}

/// Like [`patiently`], but repeats the call only after failures for which `passes` returns true.
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
        match call().await.map_err(Into::into) {
            Err(failure) if attempt < ATTEMPTS_MAX && passes(&failure) => {
                tokio::time::sleep(pause(attempt)).await;
                attempt += 1;
            }
            ended => return ended,
        }
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
    fn a_passing_failure_is_tried_again_and_a_lasting_one_is_not() {
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
}
