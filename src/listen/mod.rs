//! Receives HL7 v2 messages over MLLP, stores them, and acknowledges each when a journaled majority has it. Also receives
//! data by HTTP.
//!
//! | file | what |
//! | --- | --- |
//! | `mllp`, `answer`, `decode` | pure: frames, acknowledgements, documents |
//! | `connection`, `server` | sockets: reads frames, writes answers in order; accepts, limits and stops |
//! | `queue`, `commit`, `rejected` | group commit: all messages that wait are committed together |
//! | `folding` | folds messages after they were acknowledged |
//! | `place`, `run` | the collection before the first message, and the listener's document in the ledger |
//! | `send` | a sender, to try a listener out |
//! | `http/` | the HTTP listener: loads the bodies of requests, and renders the metrics of all listeners |
//!
//! A message is acknowledged only after it is durable. Everything before that may be lost: the sender repeats a message
//! that was not acknowledged, and a message that is stored already is not stored again.

mod allow;
pub mod answer;
mod commit;
mod connection;
mod decode;
mod folding;
pub mod http;
pub mod metrics;
pub mod mllp;
mod place;
mod queue;
mod rejected;
mod repeats;
mod run;
pub mod send;
mod server;
mod threads;
mod tls;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

pub use allow::Network;
pub use connection::ConnectionLimits;
pub use server::{Listener, Options, Received};
pub use tls::TlsFiles;

use answer::Stamp;
use metrics::Metrics;
use queue::Queue;

/// Receives messages for the user.
pub type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// What the tasks of a listener share.
pub struct Shared {
    queue: Queue,
    /// The numbers of the listener.
    pub metrics: Metrics,
    /// After this time, a message that is not stored is answered with AR. `None` if it is not answered.
    busy_after: Option<Duration>,
    tell: Tell,
    /// A [`Intake`] as a number.
    intake: AtomicU8,
    /// Set when a message arrived that was stored before. Perhaps another listener stored it and did not fold it.
    has_foreign: AtomicBool,
    answers: AtomicU64,
    /// Distinguishes the answers of this listener from those of others.
    mark: u32,
}

/// Whether messages are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Intake {
    Open,
    /// The server is away.
    Away,
    /// The server refuses messages.
    Refused,
    /// Too many messages wait to be folded.
    WaitsForFold,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(queue: Queue, busy_after: Option<Duration>, tell: Tell) -> Self {
        let [a, b, c, d, ..] = bson::Uuid::new().bytes();
        Self {
            queue,
            metrics: Metrics::default(),
            busy_after,
            tell,
            intake: AtomicU8::new(Intake::Open as u8),
            has_foreign: AtomicBool::new(false),
            answers: AtomicU64::new(0),
            mark: u32::from_be_bytes([a, b, c, d]),
        }
    }

    fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// Notes whether messages are stored. Says so when that changes. `problem` is the cause if the server refuses them.
    fn note_intake(&self, intake: Intake, problem: &str) {
        if self.intake.swap(intake as u8, Ordering::Relaxed) == intake as u8 {
            return;
        }
        match intake {
            Intake::Open => self.tell("messages are stored again"),
            Intake::Away => self.tell("the database cannot take messages now; nothing is acknowledged until it can"),
            Intake::Refused => self.tell(&format!("messages cannot be stored and are answered with AR: {problem}")),
            Intake::WaitsForFold => self.tell(
                "too many messages wait to be folded, so no more are stored for now; see --fold-lag-max, and whether \
                 another process folds messages in this database",
            ),
        }
    }

    /// Notes that messages wait too long. Does nothing if another cause is known already.
    fn note_busy(&self) {
        if self.takes_messages() {
            self.note_intake(Intake::Away, "");
        }
    }

    /// Returns true if messages are stored, as far as it is known.
    pub fn takes_messages(&self) -> bool {
        self.intake.load(Ordering::Relaxed) == Intake::Open as u8
    }

    /// Returns the time and the number of the next answer.
    fn stamp(&self) -> Stamp {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let at = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S+0000").to_string();
        Stamp { at, control_id: format!("{:x}-{number:x}", self.mark) }
    }
}
