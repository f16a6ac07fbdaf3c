//! The HTTP listener: `POST /ingest` loads the body of a request; `GET /health`, `/ready` and `/metrics` tell how the
//! listener is.

mod answer;
mod body;
mod counts;
mod folding;
mod ingest;
mod prometheus;
mod readiness;
mod token;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use self::answer::Answer;
use self::ingest::Ingest;
pub use self::ingest::{FindTarget, IngestOptions};
pub use self::token::Token;
use super::allow::is_allowed;
use super::place::refuse_unfit_spec;
use super::{Network, Shared, TlsFiles};
use crate::error::Error;
use crate::pipeline::Interrupt;
use crate::report::Progress;
use crate::server::Target;

/// Maximum number of open connections. More connections wait until one is closed.
const CONNECTIONS_MAX: usize = 256;

/// How long a client may take for a TLS handshake, or for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(10);

/// How long a stopping listener waits for the loads under way before it interrupts them.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// How long a stopping listener then waits for their answers.
const STOP_LIMIT: Duration = Duration::from_secs(4);

/// The pause after a connection could not be accepted, for example because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that is bound to its address.
pub struct HttpListener {
    socket: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    /// Whether a sender needs a client certificate for its connection.
    has_client_certificates: bool,
    /// Addresses from which connections are accepted. Empty for all.
    allow: Vec<Network>,
    ingest: Arc<Ingest>,
    /// The MLLP listener of this process, if there is one.
    feed: Option<Arc<Shared>>,
}

impl HttpListener {
    /// Binds a listener to its address. `target` is the database whose readiness is reported.
    ///
    /// # Errors
    /// The address cannot be used, or a spec of messages could lose messages.
    pub async fn bind(address: SocketAddr, options: IngestOptions, target: &Target) -> Result<Self, Error> {
        let of_messages =
            options.datasets.iter().flat_map(|(_, dataset)| &dataset.kinds).filter(|spec| spec.is_of_messages());
        of_messages.into_iter().try_for_each(refuse_unfit_spec)?;
        let socket = TcpListener::bind(address).await.map_err(|error| cannot_listen(address, &error))?;
        let address = socket.local_addr().unwrap_or(address);
        let ingest = Arc::new(Ingest::new(options, target));
        let (tls, allow, feed) = (None, Vec::new(), None);
        Ok(Self { socket, address, tls, has_client_certificates: false, allow, ingest, feed })
    }

    /// Adds TLS.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn with_tls(self, files: &TlsFiles) -> Result<Self, Error> {
        let has_client_certificates = files.client_authorities.is_some();
        Ok(Self { tls: Some(files.acceptor()?), has_client_certificates, ..self })
    }

    /// Accepts only connections from these addresses. An empty list permits all.
    #[must_use]
    pub fn with_allowed(self, allow: Vec<Network>) -> Self {
        Self { allow, ..self }
    }

    /// Adds the numbers of an MLLP listener to the metrics.
    #[must_use]
    pub fn with_feed(self, feed: Arc<Shared>) -> Self {
        Self { feed: Some(feed), ..self }
    }

    /// Returns the address to which the listener is bound. It has the real port if port 0 was wanted.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves requests until `interrupt` is asked. Then accepts no more connections, and waits for the answers to the
    /// requests under way. If this takes too long, interrupts their loads, which commit the rows that they have read.
    pub async fn serve(self, interrupt: &Interrupt) {
        self.ingest.fold_what_is_left();
        let (stop, stopping) = watch::channel(false);
        let (this, places) = (Arc::new(self), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = this.accept(&places) => accepted,
                () = interrupt.asked() => break,
            };
            let Some((stream, peer, place)) = accepted else { continue };
            let (this, stopping) = (Arc::clone(&this), stopping.clone());
            connections.spawn(async move {
                this.serve_stream(stream, peer, stopping).await;
                drop(place);
            });
            while connections.try_join_next().is_some() {}
        }
        let _ = stop.send(true);
        let all_ended = async |connections: &mut JoinSet<()>| while connections.join_next().await.is_some() {};
        if timeout(STOP_PATIENCE, all_ended(&mut connections)).await.is_err() {
            this.ingest.interrupt.ask();
            let _ = timeout(STOP_LIMIT, all_ended(&mut connections)).await;
        }
        this.ingest.interrupt.ask();
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        match self.socket.accept().await {
            Ok((stream, peer)) => is_allowed(&self.allow, peer.ip()).then_some((stream, peer, place)),
            Err(error) => {
                Progress::default().say(&format!("a connection cannot be accepted: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }

    async fn serve_stream(&self, stream: TcpStream, peer: SocketAddr, stopping: watch::Receiver<bool>) {
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.serve_connection(stream, peer, stopping).await,
            Some(tls) => {
                if let Ok(Ok(stream)) = timeout(HEAD_MAX, tls.accept(stream)).await {
                    self.serve_connection(stream, peer, stopping).await;
                }
            }
        }
    }

    /// Serves the requests of a connection. A connection that fails ends silently: its client knows.
    async fn serve_connection(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send,
        peer: SocketAddr,
        mut stopping: watch::Receiver<bool>,
    ) {
        let service = service_fn(|request| self.respond(request, peer));
        let mut builder = http1::Builder::new();
        // Each connection has one request. Otherwise a client that does not read its answers could keep its connection.
        builder.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX).keep_alive(false);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopping.wait_for(|stops| *stops) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }

    async fn respond(&self, request: Request<Incoming>, peer: SocketAddr) -> Result<Response<Full<Bytes>>, Infallible> {
        let answer = self.answer(request, peer).await;
        self.ingest.counts.note_answer(answer.status);
        Ok(answer.into_response())
    }

    fn metrics(&self) -> String {
        prometheus::render(&self.ingest.counts, self.feed.as_deref().map(|feed| &feed.metrics))
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let path = request.uri().path().to_owned();
        let is_ingest = path == "/ingest" || path.starts_with("/ingest/");
        match path.as_str() {
            "/health" if is_read => Answer::text("ok\n"),
            "/ready" if is_read && self.ingest.readiness.is_ready().await => Answer::text("ready\n"),
            "/ready" if is_read => Answer::away(),
            "/metrics" if is_read => Answer::metrics(self.metrics()),
            "/health" | "/ready" | "/metrics" => Answer::not_allowed("GET, HEAD"),
            _ if is_ingest && request.method() == Method::POST => {
                let name = path.strip_prefix("/ingest/").filter(|name| !name.is_empty());
                self.ingest.answer(request, name, peer.ip(), self.has_client_certificates).await
            }
            _ if is_ingest => Answer::not_allowed("POST"),
            _ => Answer::problem(StatusCode::NOT_FOUND, "there is no such path; send data to /ingest"),
        }
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> Error {
    Error::Stopped(format!("cannot listen to {address}: {error}; give another address with --http"))
}
