//! Accepts connections, and begins and ends the tasks of a listener.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::allow::{Network, is_allowed};
use super::commit::Committer;
use super::connection::{ConnectionLimits, End, serve};
use super::decode::Decoder;
use super::folding::{FoldTask, folding};
use super::metrics::Metrics;
use super::place::{Place, prepare};
use super::queue::Queue;
use super::repeats::ControlIds;
use super::run::Run;
use super::threads::Threads;
use super::tls::TlsFiles;
use super::{Shared, Tell};
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::parse::Charset;
use crate::pipeline::Interrupt;
use crate::server::Target;
use crate::spec::Spec;
use crate::wording::counted;

/// How often the ledger gets the counts.
const NOTE_EVERY: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// When a listener ends, first the connections have this time to end, then the commits, then the fold.
const CONNECTIONS_END: Duration = Duration::from_secs(5);
const COMMITS_END: Duration = Duration::from_secs(1);
const FOLD_END: Duration = Duration::from_millis(500);
/// The pause after a failure to accept a connection, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The settings of a listener.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub address: SocketAddr,
    /// The certificates, if it uses TLS.
    pub tls: Option<TlsFiles>,
    /// Addresses from which connections are accepted. Empty for all.
    pub allow: Vec<Network>,
    /// Maximum number of connections.
    pub connections_max: usize,
    /// The limits of each connection.
    pub limits: ConnectionLimits,
    /// Maximum number of messages in memory.
    pub messages_max: usize,
    /// Maximum number of bytes of messages in memory.
    pub bytes_max: usize,
    /// After this time, a message that is not stored is answered with AR. `None` if it is not answered.
    pub busy_after: Option<Duration>,
    /// Number of commits that run at the same time.
    pub committers: usize,
    /// Whether messages are folded.
    pub folds: bool,
    /// If more messages than this wait to be folded, commits wait.
    pub fold_lag_max: u64,
    /// Whether a message that names no character set and is not UTF-8 is Latin-1. Otherwise it is refused.
    pub is_latin_1: bool,
}

/// A listener that is ready to accept connections.
pub struct Listener {
    socket: TcpListener,
    acceptor: Option<TlsAcceptor>,
    options: Options,
    shared: Arc<Shared>,
    committers: Vec<Committer>,
    folding: Option<FoldTask>,
    run: Run,
}

/// The result of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Messages that were stored.
    pub stored: u64,
    /// Messages that were stored already.
    pub already_stored: u64,
    /// Messages that were refused because of their content.
    pub rejected: u64,
    /// Messages that were answered with AR because they could not be stored in time.
    pub postponed: u64,
    /// Stored messages that are not folded. The next listener, or `medlift fold`, folds them.
    pub not_folded: u64,
}

impl Received {
    fn of(metrics: &Metrics, folds: bool) -> Self {
        Self {
            stored: metrics.stored.get(),
            already_stored: metrics.repeated.get(),
            rejected: metrics.rejected.get(),
            postponed: metrics.postponed.get(),
            not_folded: if folds { metrics.fold_lag.get() } else { metrics.stored.get() },
        }
    }
}

impl fmt::Display for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stored = counted(self.stored, "message stored", "messages stored");
        write!(formatter, "{stored}, {} stored already, {} rejected", self.already_stored, self.rejected)?;
        if self.postponed > 0 {
            write!(formatter, ", {} answered with AR", self.postponed)?;
        }
        if self.not_folded > 0 {
            let left = counted(self.not_folded, "message is", "messages are");
            write!(formatter, "; {left} not folded yet, which the next listener or `medlift fold` does")?;
        }
        Ok(())
    }
}

impl Listener {
    /// Prepares the collection and opens the socket. `tell` receives messages for the user.
    ///
    /// # Errors
    /// The spec or the collection cannot be used, a certificate cannot be read, or the address is in use.
    pub async fn bind(
        options: Options,
        target: &Target,
        spec: &Spec,
        key: &IdentityKey,
        tell: Tell,
    ) -> Result<Self, Error> {
        let acceptor = options.tls.as_ref().map(TlsFiles::acceptor).transpose()?;
        let Place { destination, is_empty, folds } = prepare(target, spec, key, options.folds, &tell).await?;
        let unusable = |error: io::Error| {
            Error::Stopped(format!("cannot listen to {}: {error}; give another address with --mllp", options.address))
        };
        // The address is taken first. Connections are accepted when everything else is ready.
        let socket = bound(options.address).map_err(unusable)?;
        let address = socket.local_addr().unwrap_or(options.address);
        let run = Run::begin(target, spec, key, is_empty, format!("mllp {address}")).await?;
        let socket = socket.listen(BACKLOG).map_err(unusable)?;
        let queue = Queue::new(options.messages_max, options.bytes_max);
        let shared = Arc::new(Shared::new(queue, options.busy_after, tell));
        let (fold_queue, folding) = if folds {
            let (queue, task) = folding(&shared, target, spec, key, options.fold_lag_max);
            (Some(queue), Some(task))
        } else {
            (None, None)
        };
        let control_ids = Arc::<Mutex<ControlIds>>::default();
        let charset = options.is_latin_1.then_some(Charset::Iso8859(1));
        let mut committers = Vec::new();
        for _ in 0..options.committers.max(1) {
            let decoder = Decoder::new(spec, key, charset)
                .map_err(|problem| Error::Layout { source_name: "messages".to_owned(), problem })?;
            committers.push(Committer {
                shared: Arc::clone(&shared),
                decoder,
                destination: destination.clone(),
                control_ids: Arc::clone(&control_ids),
                folding: fold_queue.clone(),
            });
        }
        Ok(Self { socket, acceptor, options, shared, committers, folding, run })
    }

    /// Returns the address at which the listener listens.
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap_or(self.options.address)
    }

    /// Returns what the tasks of the listener share, with its numbers.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Receives messages until `interrupt` asks to stop. Then settles and answers what was received.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub async fn run(self, interrupt: &Interrupt) -> Result<Received, Error> {
        let Self { socket, acceptor, options, shared, committers, folding, mut run } = self;
        let folds_messages = folding.is_some();
        let (stop, is_stopped) = watch::channel(false);
        let (mut commits, mut folds) = (Threads::new(), Threads::new());
        committers.into_iter().try_for_each(|committer| commits.run(|| committer.run()))?;
        folding.into_iter().try_for_each(|task| folds.run(|| task.run()))?;
        let mut connections = JoinSet::new();
        let accept = Accept {
            shared: Arc::clone(&shared),
            acceptor,
            limits: Arc::new(options.limits.clone()),
            is_stopped,
            was_full: AtomicBool::new(false),
        };
        let has_failed = tokio::select! {
            () = accept.all(&socket, &options, &mut connections) => false,
            () = note(&mut run, &shared.metrics) => false,
            () = commits.panicked() => true,
            () = folds.panicked() => true,
            () = interrupt.asked() => false,
        };
        drop(socket);
        let _ = stop.send(true);
        end(&mut connections).await;
        shared.queue.close();
        commits.end(COMMITS_END).await;
        folds.end(FOLD_END).await;
        run.end(&shared.metrics).await;
        if has_failed {
            return Err(Error::Stopped(
                "a task of the listener failed, which is a defect of medlift, please report it; start the listener \
                 again: nothing that was acknowledged is lost"
                    .into(),
            ));
        }
        Ok(Received::of(&shared.metrics, folds_messages))
    }
}

/// Takes an address.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A listener that starts again does not wait for the old connections of its address.
    socket.set_reuseaddr(true)?;
    // Connections inherit it. The system then notices senders that are gone.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Records the counts in the ledger again and again.
async fn note(run: &mut Run, metrics: &Metrics) {
    loop {
        tokio::time::sleep(NOTE_EVERY).await;
        run.note(metrics).await;
    }
}

/// Waits until the connections have ended. Ends those that take too long.
async fn end(connections: &mut JoinSet<()>) {
    let until = Instant::now() + CONNECTIONS_END;
    while let Ok(Some(_)) = tokio::time::timeout_at(until.into(), connections.join_next()).await {}
    connections.abort_all();
}

/// Accepts connections.
struct Accept {
    shared: Arc<Shared>,
    acceptor: Option<TlsAcceptor>,
    limits: Arc<ConnectionLimits>,
    is_stopped: watch::Receiver<bool>,
    was_full: AtomicBool,
}

impl Accept {
    async fn all(&self, socket: &TcpListener, options: &Options, connections: &mut JoinSet<()>) {
        let metrics = &self.shared.metrics;
        loop {
            let Ok((stream, peer)) = socket.accept().await else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            while connections.try_join_next().is_some() {}
            let is_full = connections.len() >= options.connections_max;
            if is_full && !self.was_full.swap(true, Ordering::Relaxed) {
                self.shared.tell("connections are refused, because --connections-max are open; this is said once");
            }
            if is_full || !is_allowed(&options.allow, peer.ip()) {
                metrics.connections_refused.add(1);
                continue;
            }
            metrics.connections_accepted.add(1);
            metrics.connections.add(1);
            connections.spawn(self.serve(stream));
        }
    }

    /// Serves a connection until it ends.
    fn serve(&self, stream: TcpStream) -> impl Future<Output = ()> + Send + 'static {
        let (shared, limits) = (Arc::clone(&self.shared), Arc::clone(&self.limits));
        let (acceptor, is_stopped) = (self.acceptor.clone(), self.is_stopped.clone());
        async move {
            let _ = stream.set_nodelay(true);
            let end = match acceptor {
                None => serve(stream, Arc::clone(&shared), limits, is_stopped).await,
                Some(acceptor) => match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => serve(stream, Arc::clone(&shared), limits, is_stopped).await,
                    _ => End::Refused,
                },
            };
            shared.metrics.connections.subtract(1);
            if end != End::Closed {
                shared.metrics.connections_failed.add(1);
            }
        }
    }
}
