//! Reads an object in ranges and requests several ranges at the same time. The reading thread blocks until bytes
//! arrive.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, mpsc};

use bytes::Bytes;
use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::read::ReadError;
use crate::s3::{Bucket, Pin, Problem};

const RANGE_BYTES: u64 = 16 << 20;
/// Maximum number of ranges that are requested and not yet read to their end. Together they use at most 64 MiB of
/// memory.
const RANGES_MAX: usize = 4;
/// Until more than this number of bytes is read, only one range is requested at a time. Reason: the layout of a source
/// is determined from its first 8 MiB, and more bytes may never be needed.
const SAMPLE_BYTES: u64 = 8 << 20;

/// The pinned content of an object.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) name: String,
    pub(super) bucket: Arc<Bucket>,
    pub(super) key: Path,
    pub(super) pin: Pin,
}

/// Reads a range of an object. The bytes are returned in their order in the object.
pub(super) struct ObjectReader {
    content: Arc<Content>,
    runtime: Handle,
    /// The bytes that are not requested yet.
    left: Range<u64>,
    fetches: VecDeque<Fetch>,
    /// The bytes that were received last and are not read yet.
    current: Bytes,
    read_bytes: u64,
}

/// A requested range. If this value is dropped, the request is stopped.
struct Fetch {
    received: mpsc::Receiver<Result<Bytes, Problem>>,
    /// Number of bytes of the range that were not yet taken from `received`.
    left: u64,
    task: AbortHandle,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ObjectReader {
    pub(super) fn new(content: Arc<Content>, runtime: Handle, left: Range<u64>) -> Self {
        Self { content, runtime, left, fetches: VecDeque::new(), current: Bytes::new(), read_bytes: 0 }
    }

    fn request(&mut self) {
        let ranges_max = if self.read_bytes > SAMPLE_BYTES { RANGES_MAX } else { 1 };
        while self.fetches.len() < ranges_max && !self.left.is_empty() {
            let end = self.left.end.min(self.left.start + RANGE_BYTES);
            let range = std::mem::replace(&mut self.left.start, end)..end;
            self.fetches.push_back(self.fetch(range));
        }
    }

    fn fetch(&self, range: Range<u64>) -> Fetch {
        let (to_reader, received) = mpsc::channel();
        let (content, left) = (Arc::clone(&self.content), range.end - range.start);
        let task = self.runtime.spawn(async move {
            let Content { bucket, key, pin, .. } = &*content;
            if let Err(problem) = bucket.read(key, pin, range, &to_reader).await {
                let _ = to_reader.send(Err(problem));
            }
        });
        Fetch { received, left, task: task.abort_handle() }
    }

    /// Waits for the next bytes and stores them in `current`. If all bytes were read, `current` stays empty.
    fn advance(&mut self) -> io::Result<()> {
        self.request();
        let Some(fetch) = self.fetches.front_mut() else { return Ok(()) };
        let received = fetch.received.recv().map_err(|_| io::Error::other("the requests to S3 have ended"))?;
        let failed = |problem| io::Error::other(ReadError::in_object(&self.content.name, problem));
        self.current = received.map_err(failed)?;
        fetch.left -= self.current.len() as u64;
        if fetch.left == 0 {
            self.fetches.pop_front();
        }
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.advance()?;
        }
        let length = into.len().min(self.current.len());
        into[..length].copy_from_slice(&self.current.split_to(length));
        self.read_bytes += length as u64;
        Ok(length)
    }
}
