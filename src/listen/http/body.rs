//! The body of a request as a source of rows. The task that serves the request receives pieces of the body and puts them
//! into a short channel. The thread that reads rows takes them out. If it is slow, the channel is full, so no more pieces
//! are received and the sender must wait.

use std::io::{self, ErrorKind, Read};
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::read::ReadError;

/// Maximum number of pieces in the channel. A piece is what the network gave at once, usually at most 400 KiB.
const PIECES_MAX: usize = 4;

/// How the body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All of it was received.
    Whole,
    /// Nobody reads the rest, because the load has ended early.
    NotRead,
    /// It is longer than allowed.
    TooLong,
    /// No byte arrived for too long.
    Silent,
    /// The connection broke off.
    Broken,
    /// The listener ends.
    Stopped,
}

/// A piece of a body, or its end.
enum Piece {
    Bytes(Bytes),
    End(End),
}

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes_max: u64,
    /// How long the sender may be silent.
    pub(super) silence_max: Duration,
}

/// Receives a body.
pub(super) struct Receiver<B> {
    body: B,
    pieces: mpsc::Sender<Piece>,
    limits: Limits,
}

/// The bytes of a body, for a thread that may block.
pub(super) struct BodyReader {
    /// The name of the source, for errors.
    name: String,
    received: u64,
    pieces: mpsc::Receiver<Piece>,
    piece: Bytes,
    is_at_end: bool,
}

/// Makes the receiver of a body, and the reader of its bytes.
pub(super) fn receive<B>(name: &str, body: B, limits: Limits) -> (Receiver<B>, BodyReader) {
    let (to_reader, pieces) = mpsc::channel(PIECES_MAX);
    let (piece, name) = (Bytes::new(), name.to_owned());
    let reader = BodyReader { name, received: 0, pieces, piece, is_at_end: false };
    (Receiver { body, pieces: to_reader, limits }, reader)
}

/// Returns the length of a body, if its sender has said it.
pub(super) fn stated_length(body: &Incoming) -> Option<u64> {
    body.size_hint().exact()
}

impl<B: Body<Data = Bytes> + Unpin> Receiver<B> {
    /// Receives the body to its end, or until `stop` is ready. Says how it ended. `count` is called with the length of
    /// each piece.
    pub(super) async fn run(mut self, count: impl Fn(u64), stop: impl Future<Output = ()>) -> End {
        let (mut received, mut stop) = (0, pin!(stop));
        let end = loop {
            let frame = tokio::select! {
                frame = timeout(self.limits.silence_max, self.body.frame()) => frame,
                () = self.pieces.closed() => return End::NotRead,
                () = &mut stop => break End::Stopped,
            };
            let frame = match frame {
                Err(_) => break End::Silent,
                Ok(None) => break End::Whole,
                Ok(Some(Err(_))) => break End::Broken,
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers are ignored.
            let Ok(bytes) = frame.into_data() else { continue };
            received += bytes.len() as u64;
            count(bytes.len() as u64);
            if received > self.limits.bytes_max {
                break End::TooLong;
            }
            if self.pieces.send(Piece::Bytes(bytes)).await.is_err() {
                return End::NotRead;
            }
        };
        // Fails only if the load has ended. The load then does not need the end.
        let _ = self.pieces.send(Piece::End(end)).await;
        end
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_at_end {
            match self.pieces.blocking_recv() {
                Some(Piece::Bytes(bytes)) => self.piece = bytes,
                Some(Piece::End(End::Whole)) => self.is_at_end = true,
                Some(Piece::End(end)) => return Err(self.broken(end)),
                // The task that serves the request has ended, because the connection is closed.
                None => return Err(self.broken(End::Broken)),
            }
        }
        let length = self.piece.len().min(into.len());
        self.piece.copy_to_slice(&mut into[..length]);
        self.received += length as u64;
        Ok(length)
    }
}

impl BodyReader {
    /// Returns the error for a body without an end. It contains a `ReadError`, so that a decompressor does not take it
    /// for damaged data.
    fn broken(&self, end: End) -> io::Error {
        let error = broken(end);
        let (kind, name) = (error.kind(), self.name.clone());
        io::Error::new(kind, ReadError::Io { name, offset: self.received, error })
    }
}

fn broken(end: End) -> io::Error {
    let (kind, text) = match end {
        End::TooLong => (ErrorKind::FileTooLarge, "the body is longer than --http-body-max permits"),
        End::Silent => (ErrorKind::TimedOut, "the sender was silent for longer than --http-silence-max permits"),
        End::Stopped => (ErrorKind::Other, "the listener ends"),
        End::Whole | End::NotRead | End::Broken => (ErrorKind::ConnectionAborted, "the connection was closed"),
    };
    io::Error::new(kind, text)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    /// A body of these pieces. After the last one, it ends, breaks off or is silent.
    struct Pieces(VecDeque<&'static str>, End);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            match (self.0.pop_front(), self.1) {
                (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece))))),
                (None, End::Broken) => Poll::Ready(Some(Err(ErrorKind::UnexpectedEof.into()))),
                (None, End::Silent) => Poll::Pending,
                (None, _) => Poll::Ready(None),
            }
        }
    }

    fn run(pieces: &[&'static str], last: End) -> (End, io::Result<String>) {
        let limits = Limits { bytes_max: 10, silence_max: Duration::from_millis(20) };
        let (receiver, mut reader) = receive("x", Pieces(pieces.iter().copied().collect(), last), limits);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        (runtime.block_on(receiver.run(|_| (), std::future::pending())), reading.join().unwrap())
    }

    #[test]
    fn only_a_whole_body_has_an_end() {
        let (end, text) = run(&["ab", "", "cdefghij"], End::Whole);
        assert_eq!((end, text.unwrap().as_str()), (End::Whole, "abcdefghij"));
        for (pieces, last) in [(&["ab"][..], End::Broken), (&["ab"], End::Silent), (&["abcdef", "ghijk"], End::TooLong)]
        {
            let (end, text) = run(pieces, last);
            assert_eq!(end, last);
            assert_eq!(text.unwrap_err().kind(), broken(last).kind());
        }
    }

    #[test]
    fn a_closed_connection_is_not_the_end_of_a_body() {
        let limits = Limits { bytes_max: 10, silence_max: Duration::from_secs(9) };
        let (receiver, mut reader) = receive("x", (), limits);
        drop(receiver);
        let error = reader.read(&mut [0; 9]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }

    #[test]
    fn a_body_that_nobody_reads_is_not_received() {
        let limits = Limits { bytes_max: 10, silence_max: Duration::from_secs(9) };
        let (receiver, reader) = receive("x", Pieces(["ab"].into(), End::Whole), limits);
        drop(reader);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        assert_eq!(runtime.block_on(receiver.run(|_| (), std::future::pending())), End::NotRead);
    }
}
