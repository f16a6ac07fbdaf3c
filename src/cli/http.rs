//! The options of the HTTP listener of `medlift listen`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use medlift::error::Error;
use medlift::listen::http::{HttpListener, IngestOptions, Token};
use medlift::listen::{Network, TlsFiles};
use medlift::server::{Connection, Target};
use medlift::spec::Dataset;

use super::address::address;
use super::connection::destination_for;
use super::number::whole;
use super::reading::identity_key;
use super::settings;
use super::writing::options_of_listener;

/// The specs that a sender can name if the user gives no `--http-spec`.
const BUILT_IN: [&str; 3] = ["admissions", "hl7v2", "fhir-r4"];

/// The environment variable with the token that senders need.
const TOKEN_VARIABLE: &str = "MEDLIFT_HTTP_TOKEN";

/// The options of the HTTP listener.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub(super) struct HttpArgs {
    #[arg(
        long,
        value_name = "[ADDRESS:]PORT",
        value_parser = address,
        help = "Address for HTTP: POST /ingest, and GET /health, /ready and /metrics. A port alone is one of 127.0.0.1. Senders need the token in MEDLIFT_HTTP_TOKEN, or a client certificate"
    )]
    http: Option<SocketAddr>,
    /// Dataset spec of the data that is sent to /ingest/NAME, where NAME is the name of the file without its extension;
    /// can be given several times [default: the built-in specs]
    #[arg(long, value_name = "FILE|NAME", requires = "http")]
    http_spec: Vec<PathBuf>,
    /// Maximum number of requests whose data are loaded at the same time; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = whole(1_u16, 256), requires = "http")]
    http_requests_max: u16,
    /// Largest size of the data in one request, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1_024, value_parser = whole(1_u32, 1_048_576), requires = "http")]
    http_body_max: u32,
    /// Seconds for which a sender may be silent in the middle of its data
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = whole(1_u32, 86_400), requires = "http")]
    http_silence_max: u32,
}

impl HttpArgs {
    /// Returns true if the user wants an HTTP listener.
    pub(super) const fn is_wanted(&self) -> bool {
        self.http.is_some()
    }

    /// Binds the listener. Returns `None` if the user wants none. `connection` has the collection that the user gave.
    pub(super) async fn bind(
        self,
        connection: &Connection,
        target: &Target,
        tls: Option<&TlsFiles>,
        allow: Vec<Network>,
        folds: bool,
    ) -> Result<Option<HttpListener>, Error> {
        let Some(address) = self.http else { return Ok(None) };
        let datasets = self.datasets()?;
        let (connection, connected) = (connection.clone(), target.clone());
        let is_only = datasets.len() == 1;
        let target_of = move |spec: &_| {
            // With several specs, `--collection` would be the collection of all of them.
            let collection = connection.collection.clone().filter(|_| is_only);
            let destination = destination_for(&Connection { collection, ..connection.clone() }, spec)?;
            Ok(connected.in_collection(&destination.collection))
        };
        let options = IngestOptions {
            datasets,
            detects: self.http_spec.is_empty(),
            folds,
            key: identity_key()?,
            load: options_of_listener(target.is_local),
            target_of: Box::new(target_of),
            token: settings::load()?.secret(TOKEN_VARIABLE)?.map(|secret| Token::new(&secret)).transpose()?,
            requests_max: self.http_requests_max.into(),
            body_bytes_max: u64::from(self.http_body_max) << 20,
            silence_max: Duration::from_secs(self.http_silence_max.into()),
        };
        let listener = HttpListener::bind(address, options, target).await?.with_allowed(allow);
        match tls {
            Some(tls) => listener.with_tls(tls).map(Some),
            None => Ok(Some(listener)),
        }
    }

    fn datasets(&self) -> Result<Vec<(String, Dataset)>, Error> {
        let built_in = BUILT_IN.map(PathBuf::from);
        let paths = if self.http_spec.is_empty() { &built_in[..] } else { &self.http_spec };
        let dataset = |path: &PathBuf| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, Dataset::from_file(path)?))
        };
        let datasets: Vec<(String, Dataset)> = paths.iter().map(dataset).collect::<Result<_, Error>>()?;
        let is_same = |at: usize| datasets[..at].iter().any(|(name, _)| *name == datasets[at].0);
        match (0..datasets.len()).find(|at| is_same(*at)) {
            Some(at) => Err(Error::Usage(format!(
                "--http-spec: two specs have the name {}; rename one of the files, because senders name a spec by its file",
                datasets[at].0
            ))),
            None => Ok(datasets),
        }
    }
}
