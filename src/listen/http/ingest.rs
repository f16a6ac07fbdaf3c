//! `POST /ingest`: loads the body of a request like a file. The answer is sent when the rows are durable.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, EXPECT, HeaderMap};
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
use crate::spec::{Dataset, OnConflict, Spec};

/// If a body is not loaded, at most this much of it is read, for at most this time.
const DISCARDED_BYTES_MAX: usize = 16 << 20;
const DISCARDING_MAX: Duration = Duration::from_secs(2);

/// Finds the database and the collection for the documents of a spec.
pub type FindTarget = Box<dyn Fn(&Spec) -> Result<Target, Error> + Send + Sync>;

/// What is loaded, and how.
pub struct IngestOptions {
    /// The datasets that a sender can name, with their names.
    pub datasets: Vec<(String, Dataset)>,
    /// Whether the format of a body decides which built-in spec is used, if the sender names none. Otherwise the sender
    /// must name a dataset if there are several.
    pub detects: bool,
    /// Whether HL7 v2 messages are folded.
    pub folds: bool,
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
    /// Interrupts the loads when the listener must end soon. They then commit the rows that they have read.
    pub(super) interrupt: Interrupt,
    requests: AtomicU64,
    /// The notes of loads that were already written to the log.
    told: Mutex<HashSet<String>>,
}

/// Counts a body that is being loaded, until it is dropped.
struct InProgress(Arc<Ingest>);

impl InProgress {
    fn new(ingest: &Arc<Ingest>) -> Self {
        ingest.counts.in_progress.add(1);
        Self(Arc::clone(ingest))
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.counts.in_progress.subtract(1);
    }
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
        let told = Mutex::default();
        let (counts, requests) = (HttpCounts::default(), AtomicU64::new(0));
        Self { options, places, counts, readiness, folder, interrupt, requests, told }
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
            Ok(_) if !self.readiness.is_ready().await => Err(Answer::away()),
            accepted => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(answer) => {
                discard_some(request).await;
                return answer;
            }
        };
        let length = stated_length(request.body());
        let limits = Limits { bytes_max: self.options.body_bytes_max, silence_max: self.options.silence_max };
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let source = format!("HTTP request {number} from {sender}");
        let (receiver, reader) = receive(&source, request.into_body(), limits);
        let this = InProgress::new(self);
        // The load reads the body with calls that block. It must go on if the sender closes the connection, because the
        // rows that were read may be written already.
        let loading = tokio::task::spawn_blocking(move || {
            let result = this.0.load(&accepted, &source, length, reader);
            if let Err(error) = &result {
                Progress::default().say(&format!("{source}: {error}"));
            }
            drop(accepted.place);
            result
        });
        let receiving = receiver.run(|bytes| self.counts.bytes.add(bytes), self.interrupt.asked());
        let (end, result) = tokio::join!(receiving, loading);
        match result {
            Ok(Ok((summary, lost))) => Answer::of_summary(&summary, lost),
            Ok(Err(error)) => Answer::of_error(&error, end),
            Err(_) => Answer::of_error(&Error::Stopped("the load ended early".into()), end),
        }
    }

    /// Decides whether the body of a request is loaded, before the body is read. If not, returns the answer.
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

    /// Returns the dataset with this name. Without a name, returns the only one. Returns `None` if the format of the body
    /// decides.
    fn dataset(&self, name: Option<&str>) -> Result<Option<Dataset>, Answer> {
        let datasets = self.options.datasets.as_slice();
        if name.is_none() && self.options.detects {
            return Ok(None);
        }
        let is_meant = |known: &str| name.map_or(datasets.len() == 1, |name| known == name);
        let found = datasets.iter().find(|(known, _)| is_meant(known)).map(|(_, dataset)| dataset.clone());
        found.map(Some).ok_or_else(|| {
            let known: Vec<&str> = datasets.iter().map(|(name, _)| name.as_str()).collect();
            let known = known.join(", ");
            let problem = format!("this listener has no such spec; send to /ingest/NAME with one of: {known}");
            Answer::problem(StatusCode::NOT_FOUND, &problem)
        })
    }

    /// Loads a body. Blocks until the outcome of each row is known. Returns the summary, and the number of records that
    /// were not stored, because a stored record with the same identity and other content was kept.
    fn load(
        &self,
        Accepted { dataset, format, .. }: &Accepted,
        source: &str,
        length: Option<u64>,
        reader: BodyReader,
    ) -> Result<(LoadSummary, u64), Error> {
        let stream = StreamOrigin::new(source, length, Box::new(reader));
        let wishes =
            Wishes { layout: LayoutOptions { format: *format, ..LayoutOptions::default() }, ..Wishes::default() };
        let plan = Plan::of_stream(dataset.clone(), self.options.key.clone(), &wishes, stream)?;
        let target = (self.options.target_of)(&plan.kinds[0])?;
        let progress = Progress::default();
        let loading = load(&plan, &target, &self.options.load, &self.interrupt, &progress);
        let result = Handle::current().block_on(loading);
        if self.options.folds {
            self.folder.note(&plan.kinds, &target);
        }
        let summary = result?;
        let mut lost = 0;
        for (found, spec) in summary.documents().zip(&plan.kinds) {
            self.counts.note_rows(&found.counts);
            if spec.identity.on_conflict == OnConflict::KeepFirst {
                lost += found.counts.conflicts;
            }
        }
        self.tell_notes(&summary);
        Ok((summary, lost))
    }

    /// Writes the notes of a load to the log, each once.
    fn tell_notes(&self, summary: &LoadSummary) {
        let of_kinds = summary.documents().flat_map(|found| &found.collection_notes);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for note in of_kinds.chain(&summary.notes) {
            if told.insert(note.clone()) {
                Progress::default().say(note);
            }
        }
    }

    /// Folds the messages that an earlier listener stored but did not fold.
    pub(super) fn fold_what_is_left(&self) {
        for (_, dataset) in self.options.datasets.iter().filter(|_| self.options.folds) {
            let target = dataset.columns.is_of_messages().then(|| (self.options.target_of)(&dataset.kinds[0]));
            if let Some(Ok(target)) = target {
                self.folder.note(&dataset.kinds, &target);
            }
        }
    }
}

/// Reads the beginning of a body that is not loaded. If a connection is closed with data that were not read, its sender
/// may not see the answer. A sender that waits for the answer before it sends the body needs none of this.
async fn discard_some(request: Request<Incoming>) {
    if request.headers().contains_key(EXPECT) {
        return;
    }
    let mut body = request.into_body();
    let discarding = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.into_data().map_or(0, |data| data.len());
            if bytes > DISCARDED_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARDING_MAX, discarding).await;
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
        // These types do not decide the format: for example, NDJSON can contain FHIR resources. curl sends the form
        // type if it is given no other type.
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
