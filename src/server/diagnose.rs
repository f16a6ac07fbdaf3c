//! Opens a connection, and finds the cause if that fails.
//!
//! The driver reports most failures as "no server found in time". But it also sends a heartbeat to each server, and
//! the failures of heartbeats are more precise. If they do not show the cause, this module makes a second connection
//! without sign-in, for one of these purposes:
//! - to try TLS if the first connection had none, and no TLS if it had TLS
//! - to query the name of the server's replica set
//! - to query whether a database contains the user (with `saslSupportedMechs` in the command `hello`)

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bson::{Document, doc};
use mongodb::Client;
use mongodb::event::EventHandler;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::{AuthMechanism, ClientOptions, Tls, TlsOptions};
use tokio::sync::Notify;

use super::patience::patiently_while;
use super::{Failure, SignIn, Unreachable};

/// Time limit for reaching the server with a second connection. This connection finds the cause if the first one
/// failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// If the time limit for the connection is shorter, the user gets no message about the wait.
const TOLD_TIMEOUT_MIN: Duration = Duration::from_secs(2);

/// A function that shows a message to the user.
pub(super) type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// The results of the driver's heartbeats: the servers that answered, and the failures.
#[derive(Debug, Clone, Default)]
pub(super) struct Heartbeats(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    servers: Mutex<Servers>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Servers {
    answered: HashSet<String>,
    failed: HashMap<String, Failure>,
}

impl Heartbeats {
    pub(super) fn handler(&self) -> EventHandler<SdamEvent> {
        let seen = Arc::clone(&self.0);
        EventHandler::callback(move |event| {
            let mut servers = seen.servers.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                SdamEvent::ServerHeartbeatSucceeded(event) => {
                    servers.answered.insert(event.server_address.to_string());
                }
                SdamEvent::ServerHeartbeatFailed(event) => {
                    servers.failed.insert(event.server_address.to_string(), Failure::of(&event.failure));
                }
                _ => return,
            }
            seen.changed.notify_waiters();
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Servers) -> T) -> T {
        look(&self.0.servers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for a failure that a longer wait cannot change, for example an expired certificate. Returns that failure.
    async fn hopeless(&self) -> Failure {
        loop {
            let changed = self.0.changed.notified();
            if let Some(failure) =
                self.read(|servers| servers.failed.values().find(|failure| is_lasting(failure)).cloned())
            {
                return failure;
            }
            changed.await;
        }
    }

    /// Waits until all hosts have refused the connection. Then calls `tell` once, if the time limit for the connection
    /// is at least `TOLD_TIMEOUT_MIN`. Never returns.
    async fn tell_if_refused(&self, options: &ClientOptions, tell: Tell<'_>) -> Infallible {
        let refused = Failure::Unreachable(Unreachable::Refused);
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        let timeout = options.server_selection_timeout.unwrap_or_default();
        loop {
            let changed = self.0.changed.notified();
            if self.read(|servers| hosts.iter().all(|host| servers.failed.get(host) == Some(&refused))) {
                break;
            }
            changed.await;
        }
        if timeout >= TOLD_TIMEOUT_MIN {
            let seconds = timeout.as_secs();
            tell(&format!(
                "nothing listens on {}; trying for {seconds} s more, because it may be starting",
                hosts.join(",")
            ));
        }
        std::future::pending().await
    }

    /// Returns the cause, after the driver could not select a server.
    fn verdict(&self) -> Failure {
        self.read(|servers| match (servers.answered.is_empty(), servers.failed.values().next()) {
            (true, Some(failure)) => failure.clone(),
            (true, None) => Failure::Unreachable(Unreachable::Silent),
            (false, Some(_)) => Failure::Unreachable(Unreachable::Members),
            (false, None) => Failure::Unreachable(Unreachable::NoPrimary),
        })
    }
}

fn is_lasting(failure: &Failure) -> bool {
    matches!(failure, Failure::Certificate(_) | Failure::ClientCertificate | Failure::TlsRefused)
}

/// Connects, signs in, and runs a harmless command. The command succeeds for every user who can sign in.
///
/// The first of `databases` is the database for the data. If its name is misspelled, the user may be stored in one of
/// the other `databases`. They are searched only to explain a failed sign-in.
///
/// If all addresses refuse the connection, calls `tell` while it waits.
pub(super) async fn open(
    options: ClientOptions,
    databases: (&str, &[String]),
    tell: Tell<'_>,
) -> Result<Client, Failure> {
    // The command tests the sign-in. Every signed-in user may run `connectionStatus`. Without a sign-in,
    // `listCollections` succeeds only if the server has no access control.
    let command = if options.credential.is_some() {
        doc! { "connectionStatus": 1 }
    } else {
        doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true }
    };
    open_with(options, command, databases, tell).await
}

/// Connects without a sign-in, and runs a command that needs none.
pub(super) async fn reach(options: ClientOptions) -> Result<Client, Failure> {
    open_with(options, doc! { "hello": 1 }, ("admin", &[]), &|_| ()).await
}

async fn open_with(
    options: ClientOptions,
    command: Document,
    databases: (&str, &[String]),
    tell: Tell<'_>,
) -> Result<Client, Failure> {
    let heartbeats = Heartbeats::default();
    let client = with_heartbeats(options.clone(), &heartbeats).map_err(|error| Failure::of(&error))?;
    let alone = options.hosts.len() == 1;
    let tried = tokio::select! {
        tried = greet(&client, command, databases.0) => tried,
        failure = heartbeats.hopeless(), if alone => Err(failure),
        never = heartbeats.tell_if_refused(&options, tell) => match never {},
    };
    match tried {
        Ok(()) => Ok(client),
        Err(failure) => Err(explain(failure, &heartbeats, &options, databases).await),
    }
}

async fn greet(client: &Client, command: Document, database: &str) -> Result<(), Failure> {
    let database = client.database(database);
    patiently_while(is_of_a_reached_server, || database.run_command(command.clone()).into_future()).await.map(drop)
}

/// Returns true if a server was reached and the same call may succeed when it is repeated. Until a server is reached,
/// the driver itself repeats its attempts.
fn is_of_a_reached_server(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable(how) => *how == Unreachable::Lost,
        other => other.is_retryable(),
    }
}

async fn explain(
    failure: Failure,
    heartbeats: &Heartbeats,
    options: &ClientOptions,
    databases: (&str, &[String]),
) -> Failure {
    match failure {
        Failure::NotAuthorized { .. } if options.credential.is_none() => Failure::SignIn(SignIn::Missing),
        Failure::SignIn(_) => sign_in(options, databases).await,
        Failure::Unreachable(Unreachable::Silent) => match heartbeats.verdict() {
            Failure::Unreachable(Unreachable::Lost) => other_protocol(options).await,
            Failure::Unreachable(Unreachable::NoPrimary | Unreachable::Members) => {
                no_primary(heartbeats, options).await
            }
            verdict => verdict,
        },
        Failure::Unreachable(Unreachable::Lost) => other_protocol(options).await,
        other => other,
    }
}

/// Finds the cause if servers answer, but no primary can be reached.
async fn no_primary(heartbeats: &Heartbeats, options: &ClientOptions) -> Failure {
    let Some(asked) = &options.repl_set_name else { return heartbeats.verdict() };
    match hello(probe_options(options), doc! { "hello": 1 }).await {
        Ok(reply) if reply.get_str("setName").is_ok_and(|name| name == asked) => heartbeats.verdict(),
        Ok(reply) if reply.get_bool("isreplicaset").unwrap_or(false) => heartbeats.verdict(),
        Ok(_) => Failure::Unreachable(Unreachable::OtherReplicaSet),
        Err(_) => heartbeats.verdict(),
    }
}

/// Finds the cause if the port accepts connections and closes them. Tries TLS if the first connection had none, and no
/// TLS if it had TLS.
async fn other_protocol(options: &ClientOptions) -> Failure {
    let encrypted = matches!(options.tls, Some(Tls::Enabled(_)));
    let mut turned = probe_options(options);
    turned.tls = Some(if encrypted { Tls::Disabled } else { Tls::Enabled(TlsOptions::default()) });
    match (encrypted, hello(turned, doc! { "hello": 1 }).await) {
        (true, Ok(_)) => Failure::TlsRefused,
        (false, Ok(_) | Err(Failure::Certificate(_) | Failure::ClientCertificate)) => Failure::TlsRequired,
        // The first connection used TLS, the second did not, and the server closed both. A server without TLS would
        // have answered the second one. So the server uses TLS, but refuses this client. With TLS 1.3, the server
        // reports a missing client certificate late or not at all.
        (true, Err(Failure::Unreachable(Unreachable::Lost))) => Failure::ClientCertificate,
        (_, Err(_)) => Failure::Unreachable(Unreachable::Lost),
    }
}

fn probe_options(options: &ClientOptions) -> ClientOptions {
    let mut probe = options.clone();
    probe.credential = None;
    probe.repl_set_name = None;
    probe.server_selection_timeout = Some(PROBE_TIMEOUT);
    probe.hosts.truncate(1);
    probe.direct_connection = Some(true);
    probe
}

/// Sends `command` to the first host of the connection string, over a new connection without a sign-in.
async fn hello(options: ClientOptions, command: Document) -> Result<Document, Failure> {
    let heartbeats = Heartbeats::default();
    let client = with_heartbeats(options, &heartbeats).map_err(|error| Failure::of(&error))?;
    let asked = tokio::select! {
        asked = async { client.database("admin").run_command(command).await } => asked.map_err(|error| Failure::of(&error)),
        failure = heartbeats.hopeless() => Err(failure),
    };
    asked.map_err(|failure| match failure {
        Failure::Unreachable(Unreachable::Silent) => heartbeats.verdict(),
        other => other,
    })
}

/// Finds out which is wrong: the password, the auth database or the user name.
async fn sign_in(options: &ClientOptions, (database, usual): (&str, &[String])) -> Failure {
    let Some(credential) = &options.credential else { return Failure::SignIn(SignIn::Missing) };
    if credential.mechanism == Some(AuthMechanism::MongoDbX509) {
        return Failure::SignIn(SignIn::UnknownCertificate);
    }
    let (Some(user), Some(tried)) = (credential.username.clone(), credential.source.clone()) else {
        return Failure::SignIn(SignIn::Refused);
    };
    let knows = async |place: &str| knows_user(options, place, &user).await;
    match knows(&tried).await {
        Ok(true) => return Failure::SignIn(SignIn::WrongPassword { user, databases: vec![tried] }),
        Err(_) => return Failure::SignIn(SignIn::Refused),
        Ok(false) => {}
    }
    let in_path = options.default_database.as_deref();
    let places = ["admin", database].into_iter().chain(in_path).chain(usual.iter().map(String::as_str));
    for place in places.filter(|place| *place != tried) {
        if matches!(knows(place).await, Ok(true)) {
            let found = place.to_owned();
            return Failure::SignIn(if place == "admin" || place == database {
                SignIn::WrongAuthDatabase { user, tried, found }
            } else {
                SignIn::OtherDatabase { user, data: database.to_owned(), found }
            });
        }
    }
    Failure::SignIn(SignIn::UnknownUser { user, databases: vec![tried], created_in: None })
}

async fn knows_user(options: &ClientOptions, database: &str, user: &str) -> Result<bool, Failure> {
    let command = doc! { "hello": 1, "saslSupportedMechs": format!("{database}.{user}") };
    Ok(hello(probe_options(options), command).await?.contains_key("saslSupportedMechs"))
}

/// Creates a client that reports its heartbeats to `heartbeats`.
pub(super) fn with_heartbeats(
    mut options: ClientOptions,
    heartbeats: &Heartbeats,
) -> Result<Client, mongodb::error::Error> {
    options.sdam_event_handler = Some(heartbeats.handler());
    Client::with_options(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::CertificateFault;

    fn heartbeats(answered: &[&str], failed: &[Failure]) -> Heartbeats {
        let answered = answered.iter().map(|host| (*host).to_owned()).collect();
        let failed = failed.iter().enumerate().map(|(at, failure)| (at.to_string(), failure.clone())).collect();
        let servers = Mutex::new(Servers { answered, failed });
        Heartbeats(Arc::new(Seen { servers, changed: Notify::default() }))
    }

    #[test]
    fn heartbeats_explain_why_no_server_was_selected() {
        let refused = Failure::Unreachable(Unreachable::Refused);
        let check = |answered: &[&str], failed: &[Failure], expected: Failure| {
            assert_eq!(heartbeats(answered, failed).verdict(), expected);
        };
        check(&[], &[], Failure::Unreachable(Unreachable::Silent));
        check(&[], std::slice::from_ref(&refused), refused.clone());
        check(&["a"], &[refused], Failure::Unreachable(Unreachable::Members));
        check(&["a"], &[], Failure::Unreachable(Unreachable::NoPrimary));
    }

    #[test]
    fn only_tls_failures_end_the_wait_for_a_server() {
        for failure in [
            Failure::Certificate(CertificateFault::Expired),
            Failure::Certificate(CertificateFault::UnknownIssuer),
            Failure::ClientCertificate,
            Failure::TlsRefused,
        ] {
            assert!(is_lasting(&failure), "{failure}");
        }
        for failure in [
            Failure::Unreachable(Unreachable::Lost),
            Failure::Unreachable(Unreachable::Refused),
            Failure::Unreachable(Unreachable::Name),
            Failure::TlsRequired,
            Failure::Timeout,
            Failure::NotPrimary { code: 91 },
        ] {
            assert!(!is_lasting(&failure), "{failure}");
        }
    }

    #[test]
    fn the_test_command_is_repeated_only_if_a_server_was_reached() {
        let check =
            |failure: Failure, expected: bool| assert_eq!(is_of_a_reached_server(&failure), expected, "{failure}");
        check(Failure::Unreachable(Unreachable::Lost), true);
        check(Failure::NotPrimary { code: 91 }, true);
        check(Failure::Timeout, true);
        for how in
            [Unreachable::Name, Unreachable::Refused, Unreachable::Silent, Unreachable::NoPrimary, Unreachable::Members]
        {
            check(Failure::Unreachable(how), false);
        }
        check(Failure::NotAuthorized { command: None }, false);
        check(Failure::SignIn(SignIn::Refused), false);
    }

    #[test]
    fn the_second_connection_is_to_the_first_server_without_sign_in() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let uri = "mongodb://u:p@a:1,b:2/?replicaSet=rs0&tls=true&serverSelectionTimeoutMS=60000&appName=x";
        let options = runtime.block_on(ClientOptions::parse(uri).into_future()).expect("a connection string");
        let probe = probe_options(&options);
        let hosts: Vec<String> = probe.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a:1"]);
        assert!(probe.credential.is_none() && probe.repl_set_name.is_none() && probe.tls.is_some());
        assert_eq!(
            (probe.direct_connection, probe.server_selection_timeout),
            (Some(true), Some(Duration::from_secs(2)))
        );
    }

    #[test]
    fn a_failure_with_a_known_cause_needs_no_second_connection() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let options =
            |uri: &str| runtime.block_on(ClientOptions::parse(uri).into_future()).expect("a connection string");
        let (nobody, somebody) = (options("mongodb://a:1/"), options("mongodb://u:p@a:1/"));
        let none = heartbeats(&[], &[]);
        let explained =
            |failure: Failure, options: &ClientOptions| runtime.block_on(explain(failure, &none, options, ("d", &[])));
        let refused = || Failure::NotAuthorized { command: Some("listCollections".to_owned()) };
        assert_eq!(explained(refused(), &nobody), Failure::SignIn(SignIn::Missing));
        assert_eq!(explained(refused(), &somebody), refused());
        assert_eq!(explained(Failure::SignIn(SignIn::Refused), &nobody), Failure::SignIn(SignIn::Missing));
        let silent = Failure::Unreachable(Unreachable::Silent);
        assert_eq!(explained(silent.clone(), &nobody), silent);
        let known = heartbeats(&[], &[Failure::Unreachable(Unreachable::Refused)]);
        let found = runtime.block_on(explain(silent, &known, &nobody, ("d", &[])));
        assert_eq!(found, Failure::Unreachable(Unreachable::Refused));
        assert_eq!(explained(Failure::Timeout, &nobody), Failure::Timeout);
        let certificate = options("mongodb://a:1/?authMechanism=MONGODB-X509&tls=true");
        assert_eq!(
            explained(Failure::SignIn(SignIn::Refused), &certificate),
            Failure::SignIn(SignIn::UnknownCertificate)
        );
    }
}
