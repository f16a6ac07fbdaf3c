//! The answers to requests. No answer contains a value of a row.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::body::End;
use crate::error::Error;
use crate::ledger::Counts;
use crate::report::summary::{ListedReject, LoadSummary};

/// Seconds after which a sender may try again if too many requests are under way.
const BUSY_SECONDS: u32 = 1;

/// Seconds after which a sender may try again if the database cannot be used.
const AWAY_SECONDS: u32 = 5;

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    content_type: &'static str,
    body: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The answer to a body whose rows were all read.
#[derive(Debug, Serialize)]
struct Loaded<'a> {
    /// The id of the load in the ledger.
    load: Option<&'a str>,
    read: u64,
    written: u64,
    already_present: u64,
    duplicates: u64,
    conflicts: u64,
    rejected: u64,
    /// The first rejects.
    rejects: &'a [ListedReject],
    /// Number of rejects that are not in the list.
    rejects_left_off: u64,
}

/// The answer if something is wrong.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    problem: &'a str,
    /// Number of rows at the beginning of the body whose documents are durable.
    rows_committed: u64,
}

impl Answer {
    fn new(status: StatusCode, content_type: &'static str, body: String) -> Self {
        Self { status, content_type, body, headers: Vec::new() }
    }

    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::new(StatusCode::OK, "text/plain; charset=utf-8", text.into())
    }

    /// Returns the metrics. Prometheus asks for this content type.
    pub(super) fn metrics(text: String) -> Self {
        Self::new(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
    }

    pub(super) fn problem(status: StatusCode, problem: &str) -> Self {
        Self::json(status, &Problem { problem, rows_committed: 0 })
    }

    fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("an answer must serialize to JSON");
        Self::new(status, "application/json", body + "\n")
    }

    fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn unauthorized(problem: &str) -> Self {
        let challenge = HeaderValue::from_static("Bearer");
        Self::problem(StatusCode::UNAUTHORIZED, problem).with(WWW_AUTHENTICATE, challenge)
    }

    pub(super) fn not_allowed(methods: &'static str) -> Self {
        let problem = "this path does not have this method";
        Self::problem(StatusCode::METHOD_NOT_ALLOWED, problem).with(ALLOW, HeaderValue::from_static(methods))
    }

    pub(super) fn busy() -> Self {
        let problem = "too many requests are under way; send this one again later";
        Self::problem(StatusCode::TOO_MANY_REQUESTS, problem).with(RETRY_AFTER, BUSY_SECONDS)
    }

    pub(super) fn away() -> Self {
        let problem = "the database does not take writes now; send the request again later";
        Self::problem(StatusCode::SERVICE_UNAVAILABLE, problem).with(RETRY_AFTER, AWAY_SECONDS)
    }

    /// Returns the answer to a body whose rows all have their outcomes. `lost` is the number of records that were not
    /// stored, because a stored record with the same identity and other content was kept.
    pub(super) fn of_summary(summary: &LoadSummary, lost: u64) -> Self {
        let sum = |count: fn(&Counts) -> u64| summary.documents().map(|found| count(&found.counts)).sum();
        let rejected = summary.rejected();
        let loaded = Loaded {
            load: summary.run.as_deref(),
            read: summary.rows_read(),
            written: sum(|counts| counts.written),
            already_present: sum(|counts| counts.already_present),
            duplicates: sum(|counts| counts.duplicates),
            conflicts: sum(|counts| counts.conflicts),
            rejected,
            rejects: &summary.listed_rejects,
            rejects_left_off: rejected.saturating_sub(summary.listed_rejects.len() as u64),
        };
        let status = match (rejected, lost) {
            (0, 0) => StatusCode::OK,
            (0, _) => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::json(status, &loaded)
    }

    /// Returns the answer to a body whose load failed. `end` says how the body ended.
    pub(super) fn of_error(error: &Error, end: End) -> Self {
        let rows_committed = if let Error::Unfinished { settled, .. } = error { *settled } else { 0 };
        // The end of the body is the cause only if the body could not be read to its end.
        let (status, retry_after) = match end {
            End::TooLong if error.is_of_source() => (StatusCode::PAYLOAD_TOO_LARGE, None),
            End::Silent if error.is_of_source() => (StatusCode::REQUEST_TIMEOUT, None),
            End::Stopped => (StatusCode::SERVICE_UNAVAILABLE, Some(AWAY_SECONDS)),
            _ if error.is_temporary() || error.is_interrupted() => {
                (StatusCode::SERVICE_UNAVAILABLE, Some(AWAY_SECONDS))
            }
            _ if error.is_of_source() => (StatusCode::BAD_REQUEST, None),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        let text = error.to_string();
        // Other errors can name the server or a user. They are in the log of the listener.
        let problem = match status {
            StatusCode::INTERNAL_SERVER_ERROR => "the rows cannot be stored; the log of the listener has the reason",
            StatusCode::SERVICE_UNAVAILABLE => "the rows cannot be stored now; send the request again later",
            _ => &text,
        };
        let answer = Self::json(status, &Problem { problem, rows_committed });
        retry_after.into_iter().fold(answer, |answer, seconds: u32| answer.with(RETRY_AFTER, seconds))
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::from(self.body)));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        response.headers_mut().extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::ReadError;

    #[test]
    fn rejects_make_the_answer_400_and_have_no_values() {
        let mut summary = LoadSummary { run: Some("l".into()), ..LoadSummary::default() };
        summary.document.counts = Counts { read: 2, written: 2, ..Counts::default() };
        assert_eq!(Answer::of_summary(&summary, 0).status, StatusCode::OK);
        assert_eq!(Answer::of_summary(&summary, 1).status, StatusCode::CONFLICT);
        summary.document.counts = Counts { read: 2, written: 1, rejected: 1, ..Counts::default() };
        summary.listed_rejects = vec![ListedReject {
            line: 2,
            byte_offset: 9,
            field: Some("Age".into()),
            reason: "not_an_integer",
            message: "expected a whole number".into(),
        }];
        let answer = Answer::of_summary(&summary, 1);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let expected = r#"{"load":"l","read":2,"written":1,"already_present":0,"duplicates":0,"conflicts":0,"rejected":1,"rejects":[{"line":2,"byte_offset":9,"field":"Age","reason":"not_an_integer","message":"expected a whole number"}],"rejects_left_off":0}"#;
        assert_eq!(answer.body.trim_end(), expected);
    }

    #[test]
    fn the_status_says_whether_to_send_again() {
        let empty = || Error::Read(ReadError::Empty { name: "a request".into() });
        let unfinished = |cause| Error::Unfinished { cause: Box::new(cause), written: 3, settled: 4, afterwards: "x" };
        let check = |error: &Error, end: End, status: u16, rows_committed: u64| {
            let answer = Answer::of_error(error, end);
            assert_eq!(answer.status.as_u16(), status, "{error:?}");
            assert!(answer.body.contains(&format!("\"rows_committed\":{rows_committed}")), "{}", answer.body);
            let repeats = answer.headers.iter().any(|(name, _)| name == RETRY_AFTER);
            assert_eq!(repeats, status == 503);
        };
        check(&empty(), End::Whole, 400, 0);
        check(&unfinished(empty()), End::Broken, 400, 4);
        check(&unfinished(empty()), End::TooLong, 413, 4);
        check(&unfinished(empty()), End::Silent, 408, 4);
        check(&unfinished(empty()), End::Stopped, 503, 4);
        check(&Error::NoLongerEmpty, End::Whole, 503, 0);
        check(&Error::NoLongerEmpty, End::Silent, 503, 0);
        check(&Error::Usage("at db.example".into()), End::TooLong, 500, 0);
        check(&unfinished(Error::Interrupted), End::Whole, 503, 4);
        check(&Error::Usage("at db.example".into()), End::Whole, 500, 0);
        let shown = Answer::of_error(&Error::Usage("at db.example".into()), End::Whole).body;
        assert!(!shown.contains("db.example"), "{shown}");
    }
}
