//! Reads an object by ranges, several ahead, for a thread that blocks.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, mpsc};

use object_store::path::Path;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::bucket::{Bucket, Pin};
use super::problem::Problem;
use crate::read::ReadError;

/// Size of a range, in bytes.
const RANGE_BYTES: u64 = 16 << 20;
/// Maximum number of ranges that are requested or wait to be read. One more range is being read, so the reader has at
/// most four ranges in memory: 64 MiB.
const AHEAD_MAX: usize = 3;

/// The pinned content of an object.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) name: String,
    pub(super) bucket: Arc<Bucket>,
    pub(super) key: Path,
    pub(super) pin: Pin,
}

/// Reads the bytes of a range of an object in their order.
pub(super) struct ObjectReader {
    content: Arc<Content>,
    runtime: Handle,
    /// The bytes that are not requested yet.
    left: Range<u64>,
    ahead: VecDeque<Fetch>,
    current: Vec<u8>,
    position: usize,
}

/// A requested range. The request is given up when this is dropped.
struct Fetch {
    result: mpsc::Receiver<Result<Vec<u8>, Problem>>,
    task: AbortHandle,
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ObjectReader {
    pub(super) fn new(content: Arc<Content>, runtime: Handle, left: Range<u64>) -> Self {
        Self { content, runtime, left, ahead: VecDeque::new(), current: Vec::new(), position: 0 }
    }

    /// Requests ranges until `ahead_max` ranges are requested.
    fn request(&mut self, ahead_max: usize) {
        while self.ahead.len() < ahead_max && !self.left.is_empty() {
            let end = self.left.end.min(self.left.start + RANGE_BYTES);
            let range = std::mem::replace(&mut self.left.start, end)..end;
            self.ahead.push_back(self.fetch(range));
        }
    }

    fn fetch(&self, range: Range<u64>) -> Fetch {
        let (to_reader, result) = mpsc::sync_channel(1);
        let content = Arc::clone(&self.content);
        let task = self.runtime.spawn(async move {
            let Content { bucket, key, pin, .. } = &*content;
            let _ = to_reader.send(bucket.read(key, pin, range).await);
        });
        Fetch { result, task: task.abort_handle() }
    }

    /// Waits for the next range. Returns false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        self.current = Vec::new();
        self.position = 0;
        self.request(1);
        let Some(fetch) = self.ahead.pop_front() else { return Ok(false) };
        let received = fetch.result.recv().map_err(|_| io::Error::other("the thread for S3 ended"))?;
        self.current = received.map_err(|problem| ReadError::in_object(&self.content.name, problem).into_io())?;
        Ok(true)
    }
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.position == self.current.len() && !self.advance()? {
            return Ok(0);
        }
        let length = into.len().min(self.current.len() - self.position);
        into[..length].copy_from_slice(&self.current[self.position..self.position + length]);
        self.position += length;
        // A plan reads only the first 8 MiB of each source. For these, no further range is requested.
        if self.position as u64 > RANGE_BYTES / 2 {
            self.request(AHEAD_MAX);
        }
        Ok(length)
    }
}
