//! `POST /ingest`: loads the body of a request like a file. The answer is sent when the rows are durable.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use hyper::{Request, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Answer;
use super::body::{BodyReader, Limits, receive, stated_length};
use super::counts::HttpCounts;
use super::folding::Folder;
use super::readiness::Readiness;
use super::token::Token;
use crate::encode::IdentityKey;
use crate::error::Error;
use crate::parse::{FormatName, LayoutOptions};
use crate::pipeline::load::{LoadOptions, load};
use crate::pipeline::{Interrupt, Plan, Wishes};
use crate::read::StreamOrigin;
use crate::report::Progress;
use crate::report::summary::LoadSummary;
use crate::server::Target;
use crate::spec::{Dataset, Spec};

/// Finds the database and the collection for the documents of a spec.
pub type FindTarget = Box<dyn Fn(&Spec) -> Result<Target, Error> + Send + Sync>;

/// What is loaded, and how.
pub struct IngestOptions {
    /// The datasets that a sender can name, with their names. If a sender names none, the format of the body decides,
    /// unless there is only one.
    pub datasets: Vec<(String, Dataset)>,
    /// The secret key of the `_id`s.
    pub key: IdentityKey,
    /// The options of each load. The first rejects are in the answer, so `lists_rejects` must be true.
    pub load: LoadOptions,
    /// Finds the target of a load.
    pub target_of: FindTarget,
    /// The token that a sender must have. Without it, only a sender with a client certificate may send.
    pub token: Option<Token>,
    /// Maximum number of bodies that are loaded at the same time.
    pub requests_max: usize,
    /// The longest body, in bytes.
    pub body_bytes_max: u64,
    /// How long a sender may be silent.
    pub silence_max: Duration,
}

/// Loads the bodies of requests.
pub(super) struct Ingest {
    options: IngestOptions,
    places: Arc<Semaphore>,
    pub(super) counts: HttpCounts,
    pub(super) readiness: Readiness,
    folder: Folder,
    /// Asked when the listener must end soon. Loads then commit the rows that they have read.
    pub(super) interrupt: Interrupt,
    requests: AtomicU64,
}

/// A request that will be loaded.
struct Accepted {
    dataset: Option<Dataset>,
    format: Option<FormatName>,
    place: OwnedSemaphorePermit,
}

impl Ingest {
    pub(super) fn new(options: IngestOptions, target: &Target) -> Self {
        let places = Arc::new(Semaphore::new(options.requests_max));
        let (interrupt, readiness) = (Interrupt::default(), Readiness::new(target));
        let folder = Folder::new(options.key.clone(), interrupt.clone());
        let (counts, requests) = (HttpCounts::default(), AtomicU64::new(0));
        Self { options, places, counts, readiness, folder, interrupt, requests }
    }

    /// Answers a request. `name` is the name of the dataset in its path, if there is one. `is_trusted` is true if the
    /// sender has shown a client certificate.
    pub(super) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        name: Option<&str>,
        sender: IpAddr,
        is_trusted: bool,
    ) -> Answer {
        let accepted = match self.accept(request.headers(), request.body(), name, is_trusted) {
            Ok(accepted) => accepted,
            Err(answer) => return answer,
        };
        if !self.readiness.is_ready().await {
            return Answer::away();
        }
        let length = stated_length(request.body());
        let limits = Limits { bytes_max: self.options.body_bytes_max, silence_max: self.options.silence_max };
        let (receiver, reader) = receive(request.into_body(), limits);
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let source = format!("HTTP request {number} from {sender}");
        let this = Arc::clone(self);
        // The load reads the body with calls that block. It must go on if the sender closes the connection, because the
        // rows that were read may be written already.
        let loading = tokio::task::spawn_blocking(move || {
            this.counts.in_progress.add(1);
            let result = this.load(&accepted, &source, length, reader);
            this.counts.in_progress.subtract(1);
            if let Err(error) = &result {
                Progress::default().say(&format!("{source}: {error}"));
            }
            drop(accepted.place);
            result
        });
        let receiving = receiver.run(|bytes| self.counts.bytes.add(bytes), self.interrupt.asked());
        let (end, result) = tokio::join!(receiving, loading);
        match result {
            Ok(Ok(summary)) => Answer::of_summary(&summary),
            Ok(Err(error)) => Answer::of_error(&error, end),
            Err(_) => Answer::of_error(&Error::Stopped("the load ended early".into()), end),
        }
    }

    /// Decides whether a request is loaded, before its body is read. Otherwise returns the answer.
    fn accept(
        &self,
        headers: &HeaderMap,
        body: &Incoming,
        name: Option<&str>,
        is_trusted: bool,
    ) -> Result<Accepted, Answer> {
        let options = &self.options;
        match &options.token {
            _ if is_trusted => {}
            Some(token) if token.is_in(headers.get(AUTHORIZATION)) => {}
            Some(_) => return Err(Answer::unauthorized("the header Authorization does not have the right token")),
            None => {
                let problem = "this listener receives no data, because it has no token; set MEDLIFT_HTTP_TOKEN";
                return Err(Answer::unauthorized(problem));
            }
        }
        let dataset = self.dataset(name)?;
        let format = format_of(headers)?;
        if stated_length(body).is_some_and(|length| length > options.body_bytes_max) {
            let problem = format!("the body is longer than {} bytes; divide it", options.body_bytes_max);
            return Err(Answer::problem(StatusCode::PAYLOAD_TOO_LARGE, &problem));
        }
        if self.interrupt.is_asked() {
            return Err(Answer::away());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Answer::busy())?;
        Ok(Accepted { dataset, format, place })
    }

    /// Returns the dataset with this name. Without a name, returns the only one, or `None` if the format of the body
    /// decides.
    fn dataset(&self, name: Option<&str>) -> Result<Option<Dataset>, Answer> {
        let datasets = &self.options.datasets;
        match (name, datasets.as_slice()) {
            (None, [(_, only)]) => Ok(Some(only.clone())),
            (None, _) => Ok(None),
            (Some(name), _) => match datasets.iter().find(|(known, _)| known == name) {
                Some((_, dataset)) => Ok(Some(dataset.clone())),
                None => {
                    let known: Vec<&str> = datasets.iter().map(|(name, _)| name.as_str()).collect();
                    let known = known.join(", ");
                    let problem = format!("this listener has no such spec; send to /ingest/NAME with one of: {known}");
                    Err(Answer::problem(StatusCode::NOT_FOUND, &problem))
                }
            },
        }
    }

    /// Loads a body. Blocks until the outcome of each row is known.
    fn load(
        &self,
        Accepted { dataset, format, .. }: &Accepted,
        source: &str,
        length: Option<u64>,
        reader: BodyReader,
    ) -> Result<LoadSummary, Error> {
        let stream = StreamOrigin::new(source, length, Box::new(reader));
        let wishes =
            Wishes { layout: LayoutOptions { format: *format, ..LayoutOptions::default() }, ..Wishes::default() };
        let plan = Plan::of_stream(dataset.clone(), self.options.key.clone(), &wishes, stream)?;
        let target = (self.options.target_of)(&plan.kinds[0])?;
        let progress = Progress::default();
        let loading = load(&plan, &target, &self.options.load, &self.interrupt, &progress);
        let result = Handle::current().block_on(loading);
        if let Ok(summary) = &result {
            summary.documents().for_each(|found| self.counts.note_rows(&found.counts));
        }
        self.folder.note(&plan, &target);
        result
    }
}

/// Returns the format that the header `Content-Type` says. Returns `None` if it says nothing, or nothing certain. The
/// content then decides.
fn format_of(headers: &HeaderMap) -> Result<Option<FormatName>, Answer> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let value = value.to_str().unwrap_or_default();
    let media = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "text/csv" | "text/tab-separated-values" => Ok(Some(FormatName::Csv)),
        "application/fhir+json" | "application/fhir+ndjson" => Ok(Some(FormatName::Fhir)),
        "application/hl7-v2" | "application/hl7-v2+er7" | "x-application/hl7-v2+er7" => Ok(Some(FormatName::Hl7)),
        // NDJSON can have FHIR resources. curl sends the form type if it is given no other.
        ""
        | "application/json"
        | "application/x-ndjson"
        | "application/ndjson"
        | "text/plain"
        | "application/gzip"
        | "application/zstd"
        | "application/octet-stream"
        | "application/x-www-form-urlencoded" => Ok(None),
        _ => {
            let problem =
                "this Content-Type cannot be loaded; send CSV, NDJSON, HL7 v2 messages or FHIR resources as JSON";
            Err(Answer::problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn the_content_type_can_name_the_format() {
        let check = |text: &str, expected: Result<Option<FormatName>, u16>| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(text).expect("a header"));
            assert_eq!(format_of(&headers).map_err(|answer| answer.status.as_u16()), expected, "{text}");
        };
        check("text/csv; charset=utf-8", Ok(Some(FormatName::Csv)));
        check("Application/FHIR+JSON", Ok(Some(FormatName::Fhir)));
        check("application/hl7-v2", Ok(Some(FormatName::Hl7)));
        check("application/json", Ok(None));
        check("", Ok(None));
        check("multipart/form-data; boundary=x", Err(415));
        check("application/xml", Err(415));
        assert_eq!(format_of(&HeaderMap::new()).ok(), Some(None));
    }
}
