//! Bytes that another program sends, for example the body of an HTTP request. They can be read only once.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};

use crate::read::ReadError;

/// Bytes that arrive while they are read.
#[derive(Clone)]
pub struct StreamOrigin {
    name: String,
    size_guess: Option<u64>,
    bytes: Arc<Mutex<Option<Box<dyn Read + Send>>>>,
}

impl StreamOrigin {
    /// Makes a source from bytes. `size_guess` is the number of bytes, if the sender has said it. It may be wrong.
    pub(crate) fn new(name: &str, size_guess: Option<u64>, bytes: Box<dyn Read + Send>) -> Self {
        Self { name: name.to_owned(), size_guess, bytes: Arc::new(Mutex::new(Some(bytes))) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) const fn size_guess(&self) -> Option<u64> {
        self.size_guess
    }

    /// Returns the bytes.
    ///
    /// # Errors
    /// They were opened before.
    pub(super) fn open(&self) -> Result<Box<dyn Read + Send>, ReadError> {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner).take();
        bytes.ok_or_else(|| {
            let error = io::Error::new(ErrorKind::Unsupported, "its bytes can be read only once");
            ReadError::from_io(&self.name, 0, error)
        })
    }
}

impl PartialEq for StreamOrigin {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }
}

impl Eq for StreamOrigin {}

impl fmt::Debug for StreamOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StreamOrigin").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_stream_are_read_once() {
        let stream = StreamOrigin::new("a request", Some(3), Box::new(&b"abc"[..]));
        let mut text = String::new();
        stream.clone().open().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
        assert!(stream.open().err().unwrap().to_string().contains("`a request`"));
        assert_ne!(stream, StreamOrigin::new("a request", Some(3), Box::new(&b"abc"[..])));
    }
}
