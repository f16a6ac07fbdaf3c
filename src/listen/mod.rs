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

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Whether the last message could not be stored in time, or the last commit failed, because the server was away.
    is_away: AtomicBool,
    answers: AtomicU64,
    /// Distinguishes the answers of this listener from those of others.
    begun: i64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl Shared {
    fn new(queue: Queue, busy_after: Option<Duration>, tell: Tell) -> Self {
        let (metrics, begun) = (Metrics::default(), jiff::Timestamp::now().as_second());
        let (is_away, answers) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { queue, metrics, busy_after, tell, is_away, answers, begun }
    }

    fn tell(&self, text: &str) {
        (self.tell)(text);
    }

    /// Notes whether the server is away. Says so when that changes.
    fn set_away(&self, is_away: bool) {
        if self.is_away.swap(is_away, Ordering::Relaxed) != is_away {
            self.tell(if is_away {
                "the database cannot take messages now; nothing is acknowledged until it can"
            } else {
                "the database takes messages again"
            });
        }
    }

    /// Returns true if messages are stored, as far as it is known.
    pub fn takes_messages(&self) -> bool {
        !self.is_away.load(Ordering::Relaxed)
    }

    /// Returns the time and the number of the next answer.
    fn stamp(&self) -> Stamp {
        let number = self.answers.fetch_add(1, Ordering::Relaxed);
        let at = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S+0000").to_string();
        Stamp { at, control_id: format!("{:x}-{number:x}", self.begun) }
    }
}
