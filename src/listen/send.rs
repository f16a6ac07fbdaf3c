//! Sends messages of files over MLLP, and waits for the answer to each. For trying a listener out.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::{Stamp, Verdict, answer, header_of};
use super::mllp::{Frame, Splitter, put_frame};
use super::tls;
use crate::error::Error;
use crate::pipeline::Interrupt;
use crate::read::{Block, Ending, Framing, ReadOptions, Reader, expand};
use crate::wording::counted;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// So many messages that were not accepted are listed.
const LISTED_MAX: usize = 20;

/// Where and how messages are sent.
#[derive(Debug, Clone)]
pub struct SendOptions {
    /// Name or address of the receiver.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// PEM file with the authorities of the receiver's certificate. `None` for no TLS.
    pub tls_authorities: Option<PathBuf>,
    /// Number of connections. On each, one message at a time waits for its answer.
    pub connections: usize,
    /// Messages per second on all connections together. `None` for as many as possible.
    pub rate: Option<u32>,
    /// How often all messages are sent.
    pub repeat: u64,
    /// How long to wait for an answer.
    pub patience: Duration,
}

/// A message of a file.
#[derive(Debug)]
pub struct Outgoing {
    /// The file, and the number of the message in it.
    place: String,
    frame: Vec<u8>,
    /// The control id, which the answer repeats.
    control_id: Vec<u8>,
    /// Whether the sender of the message wants an answer if it is stored.
    wants_answer: bool,
}

/// The result of sending.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sent {
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that were accepted (AA or CA).
    pub accepted: u64,
    /// Messages with an error in their content (AE or CE).
    pub errors: u64,
    /// Messages that were refused and can be sent again (AR or CR).
    pub refused: u64,
    /// Messages without an answer, or whose answer cannot be used.
    pub unanswered: u64,
    /// Messages that want no answer if they are stored, according to MSH-15 and MSH-16.
    pub without_answer: u64,
    /// The time from the first message to the last answer.
    pub seconds: f64,
    /// Accepted messages per second.
    pub per_second: f64,
    /// Half of the answers came within this time, in milliseconds. With a rate, it counts from when the message was due.
    pub p50_ms: f64,
    /// 99 of 100 answers came within this time.
    pub p99_ms: f64,
    /// The longest time.
    pub max_ms: f64,
    /// The first messages that were not accepted.
    pub not_accepted: Vec<String>,
}

impl fmt::Display for Sent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = counted(self.sent, "message sent", "messages sent");
        write!(formatter, "{sent} in {:.2} s: {} accepted (AA or CA)", self.seconds, self.accepted)?;
        for (count, what) in [
            (self.errors, "with errors (AE or CE)"),
            (self.refused, "refused for now (AR or CR)"),
            (self.unanswered, "without an answer"),
            (self.without_answer, "that want no answer"),
        ] {
            if count > 0 {
                write!(formatter, ", {count} {what}")?;
            }
        }
        let Self { per_second, p50_ms, p99_ms, max_ms, .. } = self;
        write!(formatter, "\n{per_second:.0} accepted per second, answers: p50 {p50_ms:.2} ms, p99 {p99_ms:.2} ms")?;
        write!(formatter, ", longest {max_ms:.2} ms")?;
        self.not_accepted.iter().try_for_each(|line| write!(formatter, "\n{line}"))
    }
}

/// Reads the messages of files. All of them are in memory.
///
/// # Errors
/// A file cannot be read, or contains text that is not a message.
pub fn read_messages(names: &[String]) -> Result<Vec<Outgoing>, Error> {
    let mut messages = Vec::new();
    for (index, origin) in expand(names)?.into_iter().enumerate() {
        let mut reader = Reader::open(&origin, index, &ReadOptions::default())?;
        reader.start(Framing::Hl7);
        let (mut number, mut spare) = (0_u64, Block::default());
        while let Some(block) = reader.next_block(spare)? {
            for span in &block.rows {
                number += 1;
                if span.ending == Ending::Whole {
                    messages.push(Outgoing::new(format!("{} message {number}", origin.name()), block.row(*span)));
                }
            }
            spare = block;
        }
    }
    if messages.is_empty() {
        return Err(Error::Usage("the files have no HL7 v2 message".into()));
    }
    Ok(messages)
}

impl Outgoing {
    fn new(place: String, message: &[u8]) -> Self {
        let mut frame = Vec::new();
        put_frame(message, &mut frame);
        let header = header_of(message);
        let stamp = Stamp { at: String::new(), control_id: String::new() };
        let wants_answer = answer(header, &Verdict::Stored, &stamp).is_some();
        Self { place, frame, control_id: field(header, 10), wants_answer }
    }
}

/// Returns a field of the first segment, as it is written. `MSH-1` is the separator itself.
fn field(header: &[u8], number: usize) -> Vec<u8> {
    let Some(&separator) = header.get(3) else { return Vec::new() };
    header.split(|byte| *byte == separator).nth(number - 1).unwrap_or_default().to_vec()
}

/// Sends all messages. Stops after the next answers if `interrupt` asks.
///
/// # Errors
/// The receiver cannot be reached, or a certificate cannot be used.
pub async fn send(messages: Vec<Outgoing>, options: SendOptions, interrupt: &Interrupt) -> Result<Sent, Error> {
    let connector = options.tls_authorities.as_deref().map(tls::connector).transpose()?;
    let tls = connector.map(|connector| Ok::<_, Error>((connector, tls::name_of(&options.host)?))).transpose()?;
    let total = messages.len() as u64 * options.repeat;
    let connections = options.connections;
    let job =
        Job { messages, options, tls, total, next: AtomicU64::new(0), begun: Instant::now(), result: Mutex::default() };
    // The first connection shows whether there is a receiver at all.
    let first = job.connect().await.map_err(|error| job.unreachable(&error))?;
    let (job, interrupt, mut first) = (Arc::new(job), interrupt.clone(), Some(first));
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        senders.spawn(Arc::clone(&job).work(first.take(), interrupt.clone()));
    }
    while senders.join_next().await.is_some() {}
    let seconds = job.begun.elapsed().as_secs_f64();
    let Tally { mut sent, mut micros } = std::mem::take(&mut *job.tally());
    micros.sort_unstable();
    let quantile = |percent: usize| {
        let at = (micros.len() * percent).div_ceil(100).saturating_sub(1);
        micros.get(at).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
    };
    (sent.seconds, sent.per_second) = (seconds, sent.accepted as f64 / seconds.max(1e-9));
    (sent.p50_ms, sent.p99_ms, sent.max_ms) = (quantile(50), quantile(99), quantile(100));
    Ok(sent)
}

/// What was counted so far.
#[derive(Default)]
struct Tally {
    sent: Sent,
    micros: Vec<u32>,
}

/// What all connections share.
struct Job {
    messages: Vec<Outgoing>,
    options: SendOptions,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    total: u64,
    next: AtomicU64,
    begun: Instant,
    result: Mutex<Tally>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection to the receiver.
struct Line {
    stream: Box<dyn Stream>,
    answers: Splitter,
}

/// The answer to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    Accepted,
    Error,
    Refused,
    /// The sender wants no answer.
    NotWanted,
    /// No answer, an answer to another message, or an answer without a known code.
    No,
}

impl Answered {
    /// Reads an answer. `control_id` is that of the message.
    fn of(answer: &[u8], control_id: &[u8]) -> Self {
        let segments = answer.split(|byte| matches!(byte, b'\r' | b'\n'));
        let Some(msa) = segments.into_iter().find(|segment| segment.starts_with(b"MSA")) else { return Self::No };
        if field(msa, 3) != control_id {
            return Self::No;
        }
        match &field(msa, 2)[..] {
            b"AA" | b"CA" => Self::Accepted,
            b"AE" | b"CE" => Self::Error,
            b"AR" | b"CR" => Self::Refused,
            _ => Self::No,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Error => "AE",
            Self::Refused => "AR",
            Self::NotWanted => "wants no answer",
            Self::No => "no answer",
        }
    }
}

impl Job {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, error: &io::Error) -> Error {
        let SendOptions { host, port, .. } = &self.options;
        Error::Stopped(format!("cannot connect to {host}:{port}: {error}; is `medlift listen` running there?"))
    }

    async fn connect(&self) -> io::Result<Line> {
        let connecting = async {
            let stream = TcpStream::connect((self.options.host.as_str(), self.options.port)).await?;
            stream.set_nodelay(true)?;
            let stream: Box<dyn Stream> = match &self.tls {
                None => Box::new(stream),
                Some((connector, name)) => Box::new(connector.connect(name.clone(), stream).await?),
            };
            Ok(Line { stream, answers: Splitter::new(ANSWER_BYTES_MAX) })
        };
        timeout(self.options.patience, connecting).await?
    }

    /// Sends messages one by one until none is left.
    async fn work(self: Arc<Self>, mut line: Option<Line>, interrupt: Interrupt) {
        while !interrupt.is_asked() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                return;
            }
            let due = self.due(number).await;
            let message = &self.messages[(number % self.messages.len() as u64) as usize];
            let exchanged = self.exchange(&mut line, message).await;
            let answered = exchanged.unwrap_or(Answered::No);
            if answered == Answered::No {
                // Closes the connection. Otherwise a late answer to this message would be taken for the answer to the
                // next message.
                line = None;
            }
            self.note(message, answered, due.elapsed());
        }
    }

    /// Waits until a message is due. Returns the time from which its answer is measured.
    async fn due(&self, number: u64) -> Instant {
        let Some(rate) = self.options.rate else { return Instant::now() };
        let due = self.begun + Duration::from_secs_f64(number as f64 / f64::from(rate));
        tokio::time::sleep_until(due.into()).await;
        due
    }

    async fn exchange(&self, line: &mut Option<Line>, message: &Outgoing) -> io::Result<Answered> {
        let line = match line {
            Some(line) => line,
            none => none.insert(self.connect().await?),
        };
        let exchanging = async {
            line.stream.write_all(&message.frame).await?;
            line.stream.flush().await?;
            if !message.wants_answer {
                return Ok(Answered::NotWanted);
            }
            loop {
                match line.answers.next_frame() {
                    Some(Frame::Whole(answer)) => return Ok(Answered::of(answer, &message.control_id)),
                    Some(Frame::TooLong(_)) => return Err(io::ErrorKind::InvalidData.into()),
                    None => {}
                }
                if line.stream.read_buf(line.answers.buffer()).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        };
        timeout(self.options.patience, exchanging).await?
    }

    fn note(&self, message: &Outgoing, answered: Answered, took: Duration) {
        let mut tally = self.tally();
        let Tally { sent, micros } = &mut *tally;
        sent.sent += 1;
        match answered {
            Answered::Accepted => sent.accepted += 1,
            Answered::Error => sent.errors += 1,
            Answered::Refused => sent.refused += 1,
            Answered::NotWanted => sent.without_answer += 1,
            Answered::No => sent.unanswered += 1,
        }
        if !matches!(answered, Answered::No | Answered::NotWanted) {
            micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        }
        let is_listed = !matches!(answered, Answered::Accepted | Answered::NotWanted);
        if is_listed && sent.not_accepted.len() < LISTED_MAX {
            sent.not_accepted.push(format!("{}: {}", message.place, answered.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_repeat_the_control_id() {
        let check = |answer: &str, expected| assert_eq!(Answered::of(answer.as_bytes(), b"7"), expected, "{answer}");
        check("MSH|^~\\&|||||1||ACK|1|P|2.5\rMSA|AA|7\r", Answered::Accepted);
        check("MSH|^~\\&\rMSA|CA|7", Answered::Accepted);
        check("MSH#*:!%\rMSA#AE#7#a reason\r", Answered::Error);
        check("MSH|^~\\&\nMSA|CR|7", Answered::Refused);
        check("MSH|^~\\&\rMSA|AA|8", Answered::No);
        check("MSH|^~\\&\rMSA|XX|7", Answered::No);
        check("MSH|^~\\&", Answered::No);
        assert_eq!(field(b"MSH|^~\\&|A", 3), b"A");
    }
}
