//! A bucket: the client for its store, and the requests that Medlift sends.

use std::fmt;
use std::ops::Range;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::client::ClientConfigKey;
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, RetryConfig};
use tokio::runtime::{Builder, Handle};

use super::create_only::CreateOnly;
use super::credentials::{TOKEN_VARIABLE, Way};
use super::patience::Patience;
use super::problem::{Cause, Facts, Failed, Problem, cause_of, innermost};

/// The time limits of requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A request is repeated at most this long if no byte is received.
    pub(crate) patience: Duration,
    /// The first connection is tried at most this long. The time is short: if the first connection fails, often a
    /// setting is wrong.
    pub(crate) first_contact: Duration,
    /// If a connection delivers nothing for this number of seconds, it is closed and the request is repeated.
    pub(crate) stall_seconds: u64,
}

const LIMITS: Limits =
    Limits { patience: Duration::from_mins(1), first_contact: Duration::from_secs(4), stall_seconds: 10 };

/// Number of bytes that are requested to examine an object. It is not 1, because some stores misinterpret a range of
/// one byte.
const HEAD_BYTES: u64 = 16;
/// Time limit of one request. After this time, the bytes that were not received are requested again.
const REQUEST: &str = "600s";

/// The version of an object that a request asks for. The request fails if this version does not exist any more. If both
/// fields are `None`, a request asks for the current version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) etag: Option<String>,
    pub(crate) version_id: Option<String>,
}

/// A bucket and the client for its store. All requests share connections and credentials.
pub(crate) struct Bucket {
    pub(super) store: AmazonS3,
    way: Way,
    /// True if requests are not signed, which public buckets permit.
    is_anonymous: bool,
    pub(super) facts: Facts,
    limits: Limits,
}

/// Shows only the address of the bucket and the address of the store, because other settings can be secret.
impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{} at {}", self.facts.bucket, self.facts.endpoint)
    }
}

impl Bucket {
    /// Returns the client for a bucket, with the settings of the environment. A process has one client per bucket.
    pub(crate) fn open(name: &str) -> Result<Arc<Self>, Problem> {
        static OPENED: Mutex<Vec<Arc<Bucket>>> = Mutex::new(Vec::new());
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = opened.iter().find(|bucket| bucket.facts.bucket == name) {
            return Ok(Arc::clone(bucket));
        }
        let bucket = Arc::new(Self::new(name, &settings(), LIMITS)?);
        opened.push(Arc::clone(&bucket));
        Ok(bucket)
    }

    /// Makes a client. `settings` are the settings of the store and its credentials.
    pub(crate) fn new(name: &str, settings: &AmazonS3Builder, limits: Limits) -> Result<Self, Problem> {
        let value = |key| settings.get_config_value(&key);
        let endpoint = value(AmazonS3ConfigKey::S3Endpoint).or_else(|| value(AmazonS3ConfigKey::Endpoint));
        if endpoint.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            let problem = "AWS_ENDPOINT_URL is not a URL; it must begin with https:// or http://";
            return Err(Problem::Setting(problem.to_owned()));
        }
        let is_set = |name: &str| match name {
            TOKEN_VARIABLE => std::env::var_os(name).is_some_and(|value| !value.is_empty()),
            _ => name.to_ascii_lowercase().parse().is_ok_and(|key: AmazonS3ConfigKey| value(key).is_some()),
        };
        let way = Way::of(is_set).map_err(Problem::Setting)?;
        let region = value(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
        let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let is_anonymous = value(AmazonS3ConfigKey::SkipSignature).is_some_and(|value| value == "true");
        let facts = Facts { bucket: name.to_owned(), endpoint, region, way: way.name() };
        let store = client(settings.clone(), &facts, limits)
            .map_err(|error| Problem::Setting(format!("a setting for S3 is wrong ({})", innermost(&error))))?;
        Ok(Self { store, way, is_anonymous, facts, limits })
    }

    pub(crate) fn name(&self) -> &str {
        &self.facts.bucket
    }

    /// Fetches the credentials. Does nothing if the credentials are known already, or if requests are not signed.
    pub(crate) async fn sign_in(&self) -> Result<(), Problem> {
        if self.is_anonymous {
            return Ok(());
        }
        let mut patience = Patience::new(self.limits.first_contact);
        loop {
            let Err(error) = self.store.credentials().get_credential().await else { return Ok(()) };
            if !patience.wait().await {
                return Err(Problem::NoCredentials(self.way.tried(&cause_of(&error))));
            }
        }
    }

    /// Returns size, `ETag` and version id of an object.
    ///
    /// Requests the first bytes of the object. Reason: the reply to a `HEAD` request has no body, so it does not say
    /// whether the bucket or the object is missing.
    pub(crate) async fn describe(&self, key: &Path, pin: &Pin) -> Result<ObjectMeta, Problem> {
        let mut tries = if *pin == Pin::default() { self.first_tries() } else { self.tries() };
        loop {
            match self.first_bytes(key, options(pin, 0..HEAD_BYTES)).await {
                Ok(meta) => return Ok(meta),
                Err(error) => tries.wait_after(self.facts.judge(&error), &self.facts).await?,
            }
        }
    }

    async fn first_bytes(&self, key: &Path, options: GetOptions) -> object_store::Result<ObjectMeta> {
        let reply = self.store.get_opts(key, options).await?;
        let meta = reply.meta.clone();
        // A connection is used again only if its reply was read to the end.
        reply.bytes().await?;
        Ok(meta)
    }

    /// Returns the keys that begin with `prefix` and are accepted by `is_wanted`, and the number of keys that begin
    /// with `prefix`. If `is_nested` is false, the keys with a `/` after the prefix are left out.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        is_nested: bool,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(Vec<ObjectMeta>, usize), Problem> {
        let (mut found, mut listed, mut page_token) = (Vec::new(), 0, None);
        loop {
            let delimiter = (!is_nested).then_some("/".into());
            let options = PaginatedListOptions { delimiter, page_token, ..PaginatedListOptions::default() };
            let page = self.page(prefix, &options).await?;
            listed += page.result.objects.len();
            found.extend(page.result.objects.into_iter().filter(|object| is_wanted(object.location.as_ref())));
            page_token = page.page_token;
            if page_token.is_none() {
                return Ok((found, listed));
            }
        }
    }

    async fn page(&self, prefix: &str, options: &PaginatedListOptions) -> Result<PaginatedListResult, Problem> {
        let mut tries = self.first_tries();
        loop {
            match self.store.list_paginated(Some(prefix), options.clone()).await {
                Ok(page) => return Ok(page),
                Err(error) => tries.wait_after(self.facts.judge(&error), &self.facts).await?,
            }
        }
    }

    /// Requests the bytes of a range and sends them to `reader`. If a request fails temporarily or its reply ends too
    /// early, requests the remaining bytes. Fails if no byte is received for the time `Limits::patience`.
    pub(crate) async fn read(
        &self,
        key: &Path,
        pin: &Pin,
        mut range: Range<u64>,
        reader: &Sender<Result<Bytes, Problem>>,
    ) -> Result<(), Problem> {
        let mut patience = Patience::new(self.limits.patience);
        loop {
            let before = range.start;
            let cause = match self.append(key, pin, &mut range, reader).await {
                Ok(()) if range.is_empty() => return Ok(()),
                Ok(()) => "the reply was too short".to_owned(),
                Err(error) => match self.facts.judge(&error) {
                    Failed::Lasting(Problem::NoObject | Problem::Empty) => return Err(Problem::Replaced),
                    Failed::Lasting(problem) => return Err(problem),
                    Failed::Passing(cause) => cause.text,
                },
            };
            if range.start > before {
                patience.renew();
            }
            if !patience.wait().await {
                return Err(Problem::Passing { offset: range.start, seconds: patience.seconds(), cause });
            }
        }
    }

    /// Sends one request for `range`. When bytes are received, moves the start of `range` behind them.
    async fn append(
        &self,
        key: &Path,
        pin: &Pin,
        range: &mut Range<u64>,
        reader: &Sender<Result<Bytes, Problem>>,
    ) -> object_store::Result<()> {
        let mut stream = self.store.get_opts(key, options(pin, range.clone())).await?.into_stream();
        while let Some(received) = stream.next().await {
            let mut bytes = received?;
            bytes.truncate((range.end - range.start) as usize);
            // An empty piece is not sent, because the reader would take it for the end of the object.
            if !bytes.is_empty() {
                range.start += bytes.len() as u64;
                // An error is ignored: it means that the reader was dropped, and a dropped reader also stops this task.
                let _ = reader.send(Ok(bytes));
            }
        }
        Ok(())
    }

    pub(super) fn tries(&self) -> Tries {
        Tries { patience: Patience::new(self.limits.patience), contact: None }
    }

    /// Returns the attempts of a request that is sent before the load. Attempts without a connection have the short
    /// limit `Limits::first_contact`, because the settings may be wrong.
    fn first_tries(&self) -> Tries {
        Tries { contact: Some(Patience::new(self.limits.first_contact)), ..self.tries() }
    }
}

/// The attempts of one request.
pub(super) struct Tries {
    patience: Patience,
    /// The time limit for attempts that fail without a connection. If it is `None`, `patience` is the limit for these
    /// attempts too.
    contact: Option<Patience>,
}

impl Tries {
    /// Waits before the next attempt.
    ///
    /// # Errors
    /// Another attempt would fail too, or the time limit has passed.
    pub(super) async fn wait_after(&mut self, failed: Failed, facts: &Facts) -> Result<(), Problem> {
        let Cause { text: cause, is_connection } = match failed {
            Failed::Lasting(problem) => return Err(problem),
            Failed::Passing(cause) => cause,
        };
        if let Some(contact) = self.contact.as_mut().filter(|_| is_connection) {
            let unreachable = Problem::Unreachable { endpoint: facts.endpoint.clone(), cause };
            return if contact.wait().await { Ok(()) } else { Err(unreachable) };
        }
        let seconds = self.patience.seconds();
        if self.patience.wait().await { Ok(()) } else { Err(Problem::Passing { offset: 0, seconds, cause }) }
    }
}

/// Makes the client of a store.
fn client(settings: AmazonS3Builder, facts: &Facts, limits: Limits) -> object_store::Result<AmazonS3> {
    // Installs `ring` for the cryptography of TLS, which the MongoDB driver uses too. An error means that a provider is
    // already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let option = AmazonS3ConfigKey::Client;
    settings
        .with_bucket_name(&facts.bucket)
        .with_region(&facts.region)
        .with_allow_http(facts.endpoint.starts_with("http://"))
        .with_config(option(ClientConfigKey::AllowInvalidCertificates), "false")
        .with_config(option(ClientConfigKey::ReadTimeout), format!("{}s", limits.stall_seconds))
        .with_config(option(ClientConfigKey::Timeout), REQUEST)
        // A bucket with Object Lock accepts only writes that have a checksum.
        .with_checksum_algorithm(Checksum::SHA256)
        .with_http_connector(CreateOnly::default())
        // This module repeats requests itself, because it knows how many bytes were received.
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
        .build()
}

/// Returns the settings of the environment: the variables `AWS_…`. An empty value counts as not set.
fn settings() -> AmazonS3Builder {
    std::env::vars_os().fold(AmazonS3Builder::new(), |settings, (name, value)| {
        let name = name.to_str().filter(|name| name.starts_with("AWS_")).map(str::to_ascii_lowercase);
        match (name.and_then(|name| name.parse().ok()), value.to_str()) {
            (Some(key), Some(value)) if !value.is_empty() => settings.with_config(key, value),
            _ => settings,
        }
    })
}

fn options(pin: &Pin, range: Range<u64>) -> GetOptions {
    GetOptions {
        if_match: pin.etag.clone(),
        version: pin.version_id.clone(),
        range: Some(GetRange::Bounded(range)),
        ..GetOptions::default()
    }
}

/// Returns the runtime for requests to S3. It is not the runtime of the MongoDB driver. Reason: a thread of the
/// driver's runtime may block until bytes arrive, and it must not block the request for these bytes.
pub(crate) fn runtime() -> std::io::Result<Handle> {
    static RUNTIME: Mutex<Option<Handle>> = Mutex::new(None);
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*runtime {
        return Ok(handle.clone());
    }
    let made = Builder::new_multi_thread().worker_threads(2).thread_name("s3").enable_all().build()?;
    let handle = made.handle().clone();
    // The runtime is never dropped, because requests run until the process ends.
    std::mem::forget(made);
    *runtime = Some(handle.clone());
    Ok(handle)
}

/// Runs requests and waits for their result. Unlike `block_on`, this function may also be called on a thread of another
/// runtime.
pub(crate) fn wait_for<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> std::io::Result<T> {
    let (to_caller, result) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        let _ = to_caller.send(work.await);
    });
    result.recv().map_err(|_| std::io::Error::other("the thread for S3 ended"))
}
