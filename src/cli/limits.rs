//! Checks the limits that the operating system sets for the process. Libraries panic or abort when they reach a limit.
//! Therefore the limits are checked before the work begins, and the message says which limit to raise.

use std::sync::mpsc::channel;
use std::thread;

use medlift::error::Error;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of open files that a command with a connection needs: connections, sources, temporary files.
const FILES_MIN: u64 = 64;

/// Number of open files that is requested, if the system allows it. A load may have hundreds of sources.
const FILES_WANTED: u64 = 65_536;

/// Number of files that the async runtime opens when it starts.
const RUNTIME_FILES: u64 = 16;

/// Number of threads that a command needs in addition to the threads that encode. Some belong to the async runtime,
/// which starts another thread if one is blocked. Others look up host names, read the sources, or write.
const THREADS_MIN: usize = 8;

/// Address space that a command with a connection needs, in bytes. Each thread reserves address space for its stack and
/// its heap.
const SERVER_BYTES_MIN: u64 = 384 << 20;

/// Address space that a command with sources needs, in bytes. Sorting alone reserves 64 MiB.
const READING_BYTES_MIN: u64 = 1024 << 20;

/// Bytes of address space that a load needs per byte of `--run-size`, in addition to [`READING_BYTES_MIN`].
const BYTES_PER_RUN_BYTE: u64 = 12;

/// The number of the signal SIGXFSZ on all systems for which Medlift is built.
const SIGNAL_FILE_TOO_LARGE: i32 = 25;

/// Raises the limit of open files to 65,536, or to what the system allows if that is less. If the size of files is
/// limited, also makes the process ignore the signal that it gets when a file reaches the limit. The write then returns
/// an error, which can be reported. Otherwise the signal would end the process.
pub(super) fn prepare() {
    let files = getrlimit(Resource::Nofile);
    if let Some(current) = files.current {
        let wanted = files_to_ask_for(current, files.maximum);
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: files.maximum });
    }
    if getrlimit(Resource::Fsize).current.is_some() && !is_below(Resource::Nofile, RUNTIME_FILES) {
        ignore_file_size_signal();
    }
}

/// Returns the number of open files to request: 65,536, or `maximum` if that is less. The current limit is never
/// lowered.
fn files_to_ask_for(current: u64, maximum: Option<u64>) -> u64 {
    maximum.map_or(FILES_WANTED, |maximum| maximum.min(FILES_WANTED)).max(current)
}

/// Installs a signal handler that does nothing. The handler stays installed after the runtime that created it has
/// ended.
fn ignore_file_size_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    let _inside = runtime.enter();
    let kind = tokio::signal::unix::SignalKind::from_raw(SIGNAL_FILE_TOO_LARGE);
    let _ = tokio::signal::unix::signal(kind);
}

/// Returns an error if a limit is too low for a command that reads sources.
pub(super) fn require_for_reading() -> Result<(), Error> {
    require_memory(READING_BYTES_MIN)?;
    require_threads()
}

/// Returns an error if the memory limit is too low for a load. `run_bytes` is the value of `--run-size` in bytes.
pub(super) fn require_for_load(run_bytes: u64) -> Result<(), Error> {
    require_memory(load_bytes_min(run_bytes))
}

/// Returns the address space that a load needs, in bytes.
const fn load_bytes_min(run_bytes: u64) -> u64 {
    READING_BYTES_MIN + BYTES_PER_RUN_BYTE * run_bytes
}

/// Returns an error if a limit is too low for a command that connects to a server.
pub(super) fn require_for_server() -> Result<(), Error> {
    if is_below(Resource::Nofile, FILES_MIN) {
        return Err(Error::Stopped(format!(
            "the limit for open files is too low: this command needs {FILES_MIN}; raise it with ulimit -n {}",
            FILES_MIN * 16
        )));
    }
    require_memory(SERVER_BYTES_MIN)?;
    require_threads()
}

fn is_below(resource: Resource, least: u64) -> bool {
    is_too_low(getrlimit(resource).current, least)
}

/// Returns true if there is a limit and it is less than `least`.
fn is_too_low(limit: Option<u64>, least: u64) -> bool {
    limit.is_some_and(|limit| limit < least)
}

/// Checks the limit of memory. Without this check, a program that gets no more memory is aborted without a useful
/// message.
fn require_memory(least: u64) -> Result<(), Error> {
    if !is_below(Resource::As, least) && !is_below(Resource::Data, least) {
        return Ok(());
    }
    let mib = least >> 20;
    Err(Error::Stopped(format!(
        "the limit for memory is too low: this command needs {mib} MiB; raise it with ulimit -v {} and ulimit -d",
        least >> 10
    )))
}

/// Checks that enough threads can be started, by starting them and ending them again. Without this check, the runtime
/// panics if it cannot start a thread.
fn require_threads() -> Result<(), Error> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let (end, ended) = channel::<()>();
    let ended = &std::sync::Mutex::new(ended);
    thread::scope(move |scope| {
        let wait = move || {
            // Waits until the sender is dropped.
            let _ = ended.lock().map(|ended| ended.recv());
        };
        for _ in 0..THREADS_MIN + cores {
            thread::Builder::new().spawn_scoped(scope, wait).map_err(|error| Error::no_thread(&error))?;
        }
        drop(end);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_too_low_only_below_what_is_needed() {
        let found = [None, Some(0), Some(63), Some(64), Some(65)].map(|limit| is_too_low(limit, 64));
        assert_eq!(found, [false, true, true, false, false]);
    }

    #[test]
    fn at_most_65536_open_files_are_requested() {
        let check = |current: u64, maximum: Option<u64>, expected: u64| {
            assert_eq!(files_to_ask_for(current, maximum), expected);
        };
        check(1_024, None, 65_536);
        check(1_024, Some(4_096), 4_096);
        check(1_024, Some(1_000_000), 65_536);
        check(100_000, Some(1_000_000), 100_000);
        check(1_024, Some(1_024), 1_024);
    }

    #[test]
    fn a_load_needs_one_gibibyte_and_twelve_times_its_run_size() {
        assert_eq!((load_bytes_min(0), load_bytes_min(20 << 20)), (1 << 30, (1024 + 240) << 20));
        assert_eq!((FILES_MIN, SERVER_BYTES_MIN, READING_BYTES_MIN), (64, 384 << 20, 1 << 30));
    }
}
