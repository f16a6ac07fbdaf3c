//! One connection: reads frames, hands their messages to the queue, and writes the answers in the order of the messages.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{timeout, timeout_at};

use super::Shared;
use super::answer::{Reason, Verdict, answer, header_of, is_readable, is_wanted};
use super::metrics::Count;
use super::mllp::{Frame, Splitter, put_frame};
use super::queue::{Outcome, Pending};

/// Maximum number of messages of a connection that wait for their answers. Then no more are read.
const PIPELINED_MAX: usize = 100;
/// Bytes that are read at a time.
const READ_BYTES: usize = 8 << 10;
/// A connection may always use this memory for a message that is not complete. For a larger message, it waits for a
/// place in the queue. A larger buffer is freed when it is empty.
const KEPT_BYTES: usize = 64 << 10;
/// After a message that is too long, the rest of it is read and dropped, for so long and up to so many bytes. Otherwise
/// the system would reset the connection, and the sender would not see the answer.
const DROPPED_FOR: Duration = Duration::from_secs(2);
const DROPPED_BYTES_MAX: usize = 64 << 20;
/// How long an answer may take after the listener was asked to stop.
const STOPPING: Duration = Duration::from_secs(4);

/// The limits of a connection.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The longest message.
    pub message_bytes_max: usize,
    /// How long a connection may be silent between two messages.
    pub idle: Duration,
    /// How long a message may take from its first byte to its last. Also how long the sender may take to receive an
    /// answer.
    pub slow: Duration,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The sender closed it, or the listener stops.
    Closed,
    /// The sender was silent or too slow.
    Refused,
    /// A message was too long.
    TooLong,
}

/// Serves a connection until it ends.
pub(super) async fn serve<S>(
    stream: S,
    shared: Arc<Shared>,
    limits: Arc<ConnectionLimits>,
    stop: watch::Receiver<bool>,
) -> End
where
    S: AsyncRead + AsyncWrite,
{
    let (from, to) = tokio::io::split(stream);
    let (to_answer, pending) = mpsc::channel(PIPELINED_MAX);
    // The messages of this connection that have no answer yet.
    let open = Count::default();
    let side = Side { shared: &shared, limits: &limits, open: &open };
    let mut reading = std::pin::pin!(Receiving { side, to_answer }.run(from, stop.clone()));
    let mut writing = std::pin::pin!(side.write(to, pending, stop));
    let end = tokio::select! {
        end = &mut reading => if writing.await.is_ok() { end } else { End::Refused },
        // After the last answer, the rest of a message that is too long is still read.
        written = &mut writing => if written.is_ok() { reading.await } else { End::Refused },
    };
    shared.metrics.in_flight.subtract(open.get());
    end
}

/// What both sides of a connection use.
#[derive(Clone, Copy)]
struct Side<'c> {
    shared: &'c Shared,
    limits: &'c ConnectionLimits,
    open: &'c Count,
}

/// The reading side of a connection.
struct Receiving<'c> {
    side: Side<'c>,
    to_answer: mpsc::Sender<Pending>,
}

impl Receiving<'_> {
    async fn run(self, from: impl AsyncRead, stop: watch::Receiver<bool>) -> End {
        let mut from = std::pin::pin!(from);
        let mut splitter = Splitter::new(self.side.limits.message_bytes_max);
        let end = self.receive_all(&mut from, &mut splitter, stop).await;
        self.note(&mut splitter);
        self.side.shared.metrics.frames_unfinished.add(u64::from(splitter.is_inside()));
        drop(splitter);
        drop(self.to_answer);
        if end == End::TooLong {
            let _ = timeout(DROPPED_FOR, drop_rest(&mut from)).await;
        }
        end
    }

    /// Counts the bytes between frames, and the frames without an end.
    fn note(&self, splitter: &mut Splitter) {
        let metrics = &self.side.shared.metrics;
        metrics.bytes_ignored.add(std::mem::take(&mut splitter.ignored));
        metrics.frames_unfinished.add(std::mem::take(&mut splitter.unfinished));
    }

    async fn receive_all(
        &self,
        from: &mut Pin<&mut impl AsyncRead>,
        splitter: &mut Splitter,
        mut stop: watch::Receiver<bool>,
    ) -> End {
        // Of the message that is not complete: when it began, and its place in the queue if it is large.
        let (mut begun, mut place) = (None, None);
        loop {
            while let Some(frame) = splitter.next_frame() {
                begun = None;
                let (pending, is_last) = match frame {
                    Frame::Whole(message) => (self.receive(message.to_vec()).await, false),
                    Frame::TooLong(beginning) => (self.refuse_long(beginning), true),
                };
                if self.to_answer.send(pending).await.is_err() {
                    return End::Closed;
                }
                if is_last {
                    return End::TooLong;
                }
            }
            self.note(splitter);
            let until = match begun {
                None if !splitter.is_inside() => Instant::now() + self.side.limits.idle,
                _ => *begun.get_or_insert_with(Instant::now) + self.side.limits.slow,
            };
            let buffer = splitter.buffer();
            if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
                *buffer = Vec::new();
            }
            if buffer.len() <= KEPT_BYTES {
                place = None;
            } else if place.is_none() {
                let large = self.side.shared.queue.large(self.side.limits.message_bytes_max);
                let Ok(taken) = timeout_at(until.into(), large).await else { return End::Refused };
                place = Some(taken);
            }
            buffer.reserve(READ_BYTES);
            tokio::select! {
                received = timeout_at(until.into(), from.read_buf(buffer)) => match received {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0) | Err(_)) => return End::Closed,
                    Err(_) => return End::Refused,
                },
                _ = stop.wait_for(|is_asked| *is_asked) => return End::Closed,
            }
        }
    }

    /// Hands a message to the queue. If the queue has no room for it after `busy_after`, the message is answered as
    /// busy.
    async fn receive(&self, message: Vec<u8>) -> Pending {
        let arrived = Instant::now();
        self.side.begin();
        let header = header_of(&message).to_vec();
        let adding = self.side.shared.queue.add(message);
        // A sender that wants no negative answer would not repeat the message, so its message waits without a limit.
        let busy_after = self.side.shared.busy_after.filter(|_| is_wanted(&header, &busy_verdict()));
        let outcome = match busy_after {
            None => Outcome::Awaited(adding.await),
            Some(after) => match timeout(after, adding).await {
                Ok(receiver) => Outcome::Awaited(receiver),
                Err(_) => Outcome::Known(busy(self.side.shared)),
            },
        };
        Pending { header, arrived, busy_after, outcome }
    }

    fn refuse_long(&self, beginning: &[u8]) -> Pending {
        let text = format!("the message is longer than {} bytes", self.side.limits.message_bytes_max);
        let (header, reason) = (header_of(beginning).to_vec(), Reason::internal(text));
        self.side.begin();
        let verdict = if is_readable(&header) { Verdict::Refused(reason) } else { Verdict::Unreadable(reason) };
        Pending { header, arrived: Instant::now(), busy_after: None, outcome: Outcome::Known(verdict) }
    }
}

impl Side<'_> {
    /// Counts a message that has arrived.
    fn begin(self) {
        self.shared.metrics.received.add(1);
        self.shared.metrics.in_flight.add(1);
        self.open.add(1);
    }

    /// Counts a message that is answered.
    fn end(self, verdict: &Verdict, arrived: Instant) {
        let metrics = &self.shared.metrics;
        metrics.in_flight.subtract(1);
        self.open.subtract(1);
        if matches!(verdict, Verdict::Later(_)) {
            metrics.postponed.add(1);
        }
        metrics.note_answer(arrived.elapsed());
    }

    /// Writes the answers until no more messages can arrive.
    async fn write(
        self,
        to: impl AsyncWrite,
        mut pending: mpsc::Receiver<Pending>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let Self { shared, limits, .. } = self;
        let mut to = std::pin::pin!(to);
        let mut out = Vec::new();
        loop {
            let next = match pending.try_recv() {
                Ok(next) => Some(next),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
                Err(mpsc::error::TryRecvError::Empty) => {
                    flush(&mut to, &mut out, limits).await?;
                    pending.recv().await
                }
            };
            let Some(Pending { header, arrived, busy_after, outcome }) = next else { break };
            let verdict = match outcome {
                Outcome::Known(verdict) => verdict,
                Outcome::Awaited(mut receiver) => match receiver.try_recv() {
                    Ok(verdict) => verdict,
                    Err(oneshot::error::TryRecvError::Closed) => stopping(),
                    Err(oneshot::error::TryRecvError::Empty) => {
                        // Answers that are ready do not wait for this one.
                        flush(&mut to, &mut out, limits).await?;
                        let until = busy_after.map(|after| arrived + after);
                        settled(receiver, until, shared, &mut stop).await
                    }
                },
            };
            if let Some(answer) = answer(&header, &verdict, &shared.stamp()) {
                put_frame(&answer, &mut out);
            }
            self.end(&verdict, arrived);
        }
        flush(&mut to, &mut out, limits).await?;
        timeout(limits.slow, to.shutdown()).await?
    }
}

/// Reads and drops bytes until the sender ends.
async fn drop_rest(from: &mut Pin<&mut impl AsyncRead>) {
    let (mut dropped, mut bytes) = (0, vec![0; READ_BYTES]);
    while dropped < DROPPED_BYTES_MAX {
        match from.read(&mut bytes).await {
            Ok(count @ 1..) => dropped += count,
            _ => return,
        }
    }
}

async fn flush(to: &mut Pin<&mut impl AsyncWrite>, out: &mut Vec<u8>, limits: &ConnectionLimits) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let written = async {
        to.write_all(out).await?;
        to.flush().await
    };
    timeout(limits.slow, written).await??;
    out.clear();
    Ok(())
}

/// Waits until it is known what becomes of a message.
async fn settled(
    receiver: oneshot::Receiver<Verdict>,
    busy_at: Option<Instant>,
    shared: &Shared,
    stop: &mut watch::Receiver<bool>,
) -> Verdict {
    let stopped = async {
        let _ = stop.wait_for(|is_asked| *is_asked).await;
        tokio::time::sleep(STOPPING).await;
    };
    let waited = async {
        match busy_at {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    let verdict = tokio::select! {
        biased;
        verdict = receiver => return verdict.unwrap_or_else(|_| stopping()),
        () = waited => busy(shared),
        () = stopped => stopping(),
    };
    // The message need not be committed any more, if its commit has not begun.
    shared.queue.forget_abandoned();
    verdict
}

fn busy(shared: &Shared) -> Verdict {
    shared.note_busy();
    busy_verdict()
}

fn busy_verdict() -> Verdict {
    Verdict::Later(Reason::internal("the message cannot be stored now; send it again later"))
}

fn stopping() -> Verdict {
    Verdict::Later(Reason::internal("the listener stops; send the message again later"))
}
