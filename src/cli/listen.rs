//! `medlift listen`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use medlift::error::Error;
use medlift::listen::http::HttpListener;
use medlift::listen::{ConnectionLimits, Listener, Network, Options, Received, TlsFiles};
use medlift::pipeline::Interrupt;
use medlift::server::{Connection, Purpose};
use medlift::spec::{Dataset, Spec};

use super::address::address;
use super::connection::{DeploymentArgs, connect, destination_for};
use super::http::HttpArgs;
use super::number::whole;
use super::output;
use super::reading::identity_key;

const EXAMPLES: &str = "Examples:
  medlift listen --mllp 2575 --uri mongodb://localhost:27017
  medlift listen --mllp 0.0.0.0:2575 --allow 10.1.0.0/16 --tls-cert cert.pem --tls-key key.pem
  medlift listen --http 8080 --http-spec my.toml";

/// Receive HL7 v2 messages over MLLP, and data by HTTP; answer when they are stored durably
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListenArgs {
    /// Address for MLLP. A port without an address listens on 127.0.0.1 only; give 0.0.0.0:PORT so that other machines can
    /// connect
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = address)]
    mllp: Option<SocketAddr>,
    /// Spec of the messages over MLLP: a file, or the name of a built-in spec
    #[arg(long, value_name = "FILE|NAME", default_value = "hl7v2")]
    spec: PathBuf,
    #[command(flatten)]
    behaviour: BehaviourArgs,
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    network: NetworkArgs,
    /// Print the result as JSON when the listener has ended
    #[arg(long)]
    json: bool,
    /// Print no messages except errors
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    deployment: DeploymentArgs,
}

/// What happens to messages.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
struct BehaviourArgs {
    /// Time in seconds after which a message that is not stored is answered with AR, because the database is away
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = whole(1_u64, 3_600))]
    busy_after: u64,
    /// What to do after that time: answer AR (reject), or wait without an answer (silent)
    #[arg(long, value_enum, default_value_t)]
    busy: Busy,
    /// Only store messages; medlift fold folds them
    #[arg(long)]
    no_fold: bool,
    /// If more messages than this wait to be folded, receiving slows down
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = whole(1_u64, 100_000_000))]
    fold_lag_max: u64,
    /// Encoding of messages that name none in MSH-18 and are not UTF-8: windows-1252. Without it, they are refused
    #[arg(long, value_name = "NAME", value_parser = latin_1)]
    encoding: Option<Latin1>,
    /// Longest message, in KiB
    #[arg(long, value_name = "KIB", default_value_t = 8_192, value_parser = whole(1_usize, 15_360))]
    message_size_max: usize,
    /// Messages in memory that wait for their commit
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = whole(1_usize, 1_000_000))]
    in_flight_max: usize,
    /// Memory for messages that wait for their commit, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = whole(1_usize, 65_536))]
    in_flight_size_max: usize,
    /// Commits that run at the same time
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = whole(1_usize, 16))]
    commits: usize,
}

/// Who may send.
#[derive(Debug, Args)]
#[command(next_help_heading = "Connections")]
struct NetworkArgs {
    /// Address or range from which connections are accepted, for example 10.1.0.0/16; several are possible [default:
    /// all]
    #[arg(long, value_name = "CIDR", value_parser = network)]
    allow: Vec<Network>,
    /// Maximum number of connections
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = whole(1_usize, 100_000))]
    connections_max: usize,
    /// Seconds without a message after which a connection is closed
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = whole(1_u64, 31_536_000))]
    idle_timeout: u64,
    /// Seconds within which a message must arrive completely, and an answer must be received; otherwise the connection is
    /// closed
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = whole(1_u64, 3_600))]
    slow_timeout: u64,
    /// PEM file with the certificate of this listener; turns TLS on
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// PEM file with its private key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// PEM file with the authorities whose clients are accepted; other clients are refused
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

/// What to do with messages that cannot be stored for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Busy {
    /// Answer AR
    #[default]
    Reject,
    /// Wait without an answer
    Silent,
}

#[derive(Debug, Clone, Copy)]
struct Latin1;

impl ListenArgs {
    /// Runs the command.
    pub(super) fn run(self: Box<Self>) -> Result<ExitCode, Error> {
        if self.mllp.is_none() && !self.http.is_wanted() {
            return Err(Error::Usage(
                "give an address to listen to: --mllp [ADDRESS:]PORT or --http [ADDRESS:]PORT".into(),
            ));
        }
        let options = self.mllp.map(|address| self.options(address));
        let Self { spec, json, quiet, deployment, http, network, behaviour, .. } = *self;
        let folds = !behaviour.no_fold;
        let (spec, key): (Spec, _) = (Dataset::from_file(&spec)?.into_only()?, identity_key()?);
        let typed = deployment.into_connection_args("to name a spec, use --spec or --http-spec")?;
        let given = typed.collection().map(str::to_owned);
        let connection = typed.in_collection_of(&spec, quiet)?.into_connection(Purpose::Load)?;
        let received = super::run_gracefully("stopping; messages that arrived are settled", async |interrupt| {
            let target = connect(&destination_for(&connection, &spec)?).await?;
            let mllp = match options {
                Some(options) => {
                    let tell = Box::new(|text: &str| output::tell(text));
                    Some(Listener::bind(options, &target, &spec, &key, tell).await?)
                }
                None => None,
            };
            let connection = Connection { collection: given, ..connection.clone() };
            let http = http.bind(&connection, &target, network.tls().as_ref(), network.allow.clone(), folds).await?;
            if !quiet {
                if let Some(mllp) = &mllp {
                    output::tell(format_args!("listening on {} for {}", mllp.address(), target.full_name()));
                }
                if let Some(http) = &http {
                    output::tell(format_args!("listening on {} for HTTP", http.address()));
                }
            }
            run(mllp, http, interrupt).await
        })?;
        if let Some(received) = received.filter(|_| json || !quiet) {
            output::print(&received, json)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn options(&self, address: SocketAddr) -> Options {
        let (behaviour, network) = (&self.behaviour, &self.network);
        Options {
            address,
            tls: network.tls(),
            allow: network.allow.clone(),
            connections_max: network.connections_max,
            limits: ConnectionLimits {
                message_bytes_max: behaviour.message_size_max << 10,
                idle: Duration::from_secs(network.idle_timeout),
                slow: Duration::from_secs(network.slow_timeout),
            },
            messages_max: behaviour.in_flight_max,
            bytes_max: behaviour.in_flight_size_max << 20,
            busy_after: (behaviour.busy == Busy::Reject).then(|| Duration::from_secs(behaviour.busy_after)),
            committers: behaviour.commits,
            folds: !behaviour.no_fold,
            fold_lag_max: behaviour.fold_lag_max,
            is_latin_1: behaviour.encoding.is_some(),
        }
    }
}

impl NetworkArgs {
    fn tls(&self) -> Option<TlsFiles> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        let client_authorities = self.tls_client_ca.clone();
        files.map(|(certificate, key)| TlsFiles { certificate, key, client_authorities })
    }
}

/// Runs the listeners until `interrupt` asks to stop. If one fails, the other one ends too. Returns the result of the
/// MLLP listener, if there is one.
async fn run(
    mllp: Option<Listener>,
    http: Option<HttpListener>,
    interrupt: &Interrupt,
) -> Result<Option<Received>, Error> {
    let shared = mllp.as_ref().map(Listener::shared);
    let receiving = async {
        let received = match mllp {
            Some(mllp) => mllp.run(interrupt).await.map(Some),
            None => Ok(None),
        };
        if received.is_err() {
            interrupt.ask();
        }
        received
    };
    let serving = async {
        if let Some(http) = http {
            shared.into_iter().fold(http, HttpListener::with_feed).serve(interrupt).await;
        }
    };
    tokio::join!(receiving, serving).0
}

fn network(text: &str) -> Result<Network, String> {
    text.parse()
}

fn latin_1(text: &str) -> Result<Latin1, String> {
    match text.to_ascii_lowercase().as_str() {
        "windows-1252" => Ok(Latin1),
        _ => Err("only windows-1252 is possible; messages in UTF-8 need no option".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_other_encoding_is_possible() {
        assert!(latin_1("Windows-1252").is_ok() && latin_1("utf-8").is_err());
    }
}
