//! The reasons why an object in S3 cannot be read or written. Most of them are determined from the errors of
//! `object_store`.
//!
//! A message may contain the error code of a reply of S3, but no other text of the reply. Reason: a reply can contain
//! parts of a signature.

use std::error::Error;

use object_store::client::{HttpError, HttpErrorKind};

/// The reason why an object or a bucket cannot be used. The text continues the sentence "cannot read `s3://…`: " or
/// "cannot write `s3://…`: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The argument is not the address of an object.
    #[error("{0}; give s3://BUCKET/KEY, or a pattern such as s3://BUCKET/2026/*.csv.gz")]
    Address(&'static str),
    /// The argument is not the address of a prefix.
    #[error("give a prefix that ends with `/`, such as s3://BUCKET/rejects/")]
    NoPrefix,
    /// An environment variable has a wrong value, or a second variable that it needs is missing.
    #[error("{0}")]
    Setting(String),
    /// No way to get credentials succeeded. The text lists the ways and the result of each.
    #[error(
        "there are no credentials for S3. Tried: {0}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run medlift \
         with a role. Files such as ~/.aws/credentials are not read"
    )]
    NoCredentials(String),
    /// S3 does not accept the credentials.
    #[error("S3 does not accept the credentials of {way} ({code}); correct or renew them")]
    Refused {
        /// The way by which the credentials were found.
        way: &'static str,
        /// The error code of S3.
        code: String,
    },
    /// S3 denies the access. Reason: the credentials lack a permission, or the object does not exist and the
    /// credentials may not list the bucket.
    #[error(
        "access denied for the credentials of {way}, or there is no such object; allow s3:GetObject for the object (if \
         the bucket stores versions, also s3:GetObjectVersion), and s3:ListBucket for the bucket"
    )]
    Denied {
        /// The way by which the credentials were found.
        way: &'static str,
    },
    /// S3 denies an action that is needed to write objects.
    #[error(
        "{action} is denied for the credentials of {way}; allow s3:PutObject, s3:GetObject and s3:DeleteObject for the \
         objects, and s3:ListBucket for the bucket"
    )]
    ActionDenied {
        /// The action, for example `s3:PutObject`.
        action: &'static str,
        /// The way by which the credentials were found.
        way: &'static str,
    },
    /// The bucket is in another region than the requests were signed for.
    #[error("the bucket is in another region than {region}; set AWS_REGION to the region of the bucket")]
    WrongRegion {
        /// The region that was used.
        region: String,
    },
    /// The bucket does not exist.
    #[error("{endpoint} has no bucket `{bucket}`; correct the name, or set AWS_ENDPOINT_URL for a store outside AWS")]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// The store.
        endpoint: String,
    },
    /// The object does not exist.
    #[error("the bucket has no object with this key; `aws s3 ls` lists the keys")]
    NoObject,
    /// No object matches the pattern.
    #[error("no object matches this pattern; the bucket has {listed} whose key begins with `{prefix}`")]
    NoMatch {
        /// The beginning of the pattern, before its first special character.
        prefix: String,
        /// Number of objects with this prefix.
        listed: usize,
    },
    /// The object was replaced or deleted after its version was pinned.
    #[error("the object was replaced or deleted after the command began; run the same command again")]
    Replaced,
    /// The object has no bytes.
    #[error("it is empty")]
    Empty,
    /// No connection to the store was possible when the command began.
    #[error("cannot connect to {endpoint} ({cause}); check the network, AWS_REGION and AWS_ENDPOINT_URL")]
    Unreachable {
        /// The store.
        endpoint: String,
        /// The error of the network.
        cause: String,
    },
    /// Requests failed for too long because of a temporary problem.
    #[error(
        "S3 did not deliver the bytes from {offset} on for {seconds} s ({cause}); run the same command again later"
    )]
    Passing {
        /// The first byte that was not received.
        offset: u64,
        /// Time without progress, in seconds.
        seconds: u64,
        /// The last error.
        cause: String,
    },
    /// A request to write, list or delete objects failed for too long because of a temporary problem.
    #[error("S3 did not accept {action} for {seconds} s ({cause}); run the same command again later")]
    PassingAction {
        /// The action, for example `s3:PutObject`.
        action: &'static str,
        /// Time without success, in seconds.
        seconds: u64,
        /// The last error.
        cause: String,
    },
    /// S3 sent another reply that Medlift cannot use.
    #[error("S3 answered {0}; if the store is not AWS, it must support ranges, If-Match and ETags")]
    Other(String),
}

impl Problem {
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Address(_) | Self::NoPrefix | Self::Setting(_) => 2,
            Self::NoCredentials(_) | Self::Refused { .. } | Self::Unreachable { .. } => 3,
            Self::Passing { .. } | Self::PassingAction { .. } => 6,
            _ => 1,
        }
    }

    /// Adds the action to a problem that can have several actions as its cause.
    pub(super) fn of_action(self, action: &'static str) -> Self {
        match self {
            Self::Denied { way } => Self::ActionDenied { action, way },
            Self::Passing { seconds, cause, .. } => Self::PassingAction { action, seconds, cause },
            other => other,
        }
    }
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The same request may succeed later.
    Passing(Cause),
    /// The same request will fail again.
    Lasting(Problem),
}

/// The temporary cause of a failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) text: String,
    /// True if the connection to the store could not be opened.
    pub(crate) is_connection: bool,
}

/// The facts about a bucket that messages contain.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) bucket: String,
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) way: &'static str,
}

impl Facts {
    /// Decides from the error of a request whether the request should be repeated.
    pub(crate) fn judge(&self, error: &object_store::Error) -> Failed {
        if let Some(http) = http_error(error) {
            return Failed::Passing(Cause {
                text: innermost(http),
                is_connection: http.kind() == HttpErrorKind::Connect,
            });
        }
        let text = error.to_string();
        let (status, code) = (status_of(&text), code_of(&text));
        let name = cause_of(error);
        if is_passing(status, code) {
            return Failed::Passing(Cause { text: name, is_connection: false });
        }
        Failed::Lasting(self.lasting(error, status, code, name))
    }

    fn lasting(&self, error: &object_store::Error, status: Option<u16>, code: Option<&str>, name: String) -> Problem {
        match (status, code) {
            (_, Some("NoSuchBucket")) => {
                Problem::NoBucket { bucket: self.bucket.clone(), endpoint: self.endpoint.clone() }
            }
            (
                _,
                Some(
                    "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch"
                    | "ExpiredToken"
                    | "InvalidToken"
                    | "TokenRefreshRequired"
                    | "RequestTimeTooSkewed"
                    | "InvalidClientTokenId",
                ),
            ) => Problem::Refused { way: self.way, code: name },
            (_, Some("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException"))
            | (Some(301 | 307), _) => Problem::WrongRegion { region: self.region.clone() },
            (Some(401 | 403), _) | (_, Some("AccessDenied")) => Problem::Denied { way: self.way },
            (Some(404), _) => Problem::NoObject,
            (Some(412), _) => Problem::Replaced,
            (Some(416), _) => Problem::Empty,
            (None, None) if error.to_string().contains("redirect without LOCATION") => {
                Problem::WrongRegion { region: self.region.clone() }
            }
            _ => Problem::Other(name),
        }
    }
}

/// Returns the cause of a failed request in a few words: the error code of S3, the status, or the error of the network.
pub(crate) fn cause_of(error: &object_store::Error) -> String {
    let text = error.to_string();
    match (code_of(&text), status_of(&text)) {
        (Some(code), _) => code.to_owned(),
        (None, Some(status)) => format!("status {status}"),
        (None, None) => innermost(error),
    }
}

/// Returns true for the replies after which the request should be repeated: too many requests, a timeout, or a failure
/// of the server.
fn is_passing(status: Option<u16>, code: Option<&str>) -> bool {
    const CODES: [&str; 6] = [
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "Throttling",
        // Another request wrote an object with the same key at the same time.
        "ConditionalRequestConflict",
    ];
    matches!(status, Some(408 | 429 | 500..)) || code.is_some_and(|code| CODES.contains(&code))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn http_error(error: &object_store::Error) -> Option<&HttpError> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// Returns the text of the innermost error, for example `Connection refused (os error 111)`.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// Returns the HTTP status in an error text of `object_store`. The text is searched, because the error has no field for
/// the status.
fn status_of(text: &str) -> Option<u16> {
    let (_, after) = text.split_once("status code: ")?;
    after.get(..3)?.parse().ok()
}

/// Returns the error code of S3 in an error text: the element `Code` of the reply. For an object that could not be
/// deleted, the text has the form `(code: AccessDenied)`.
fn code_of(text: &str) -> Option<&str> {
    let between = |before: &str, after: &str| Some(text.split_once(before)?.1.split_once(after)?.0);
    let code = between("<Code>", "</Code>").or_else(|| between("(code: ", ")"))?;
    code.chars().all(|letter| letter.is_ascii_alphanumeric()).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let (bucket, endpoint, region) = ("b".to_owned(), "http://h".to_owned(), "r".to_owned());
        Facts { bucket, endpoint, region, way: "the environment" }
    }

    fn judge(text: &str) -> Failed {
        facts().judge(&object_store::Error::Generic { store: "S3", source: text.to_owned().into() })
    }

    fn reply(status: u16, code: &str) -> String {
        format!(
            "Server returned non-2xx status code: {status} X: <Error><Code>{code}</Code><StringToSign>s</StringToSign>"
        )
    }

    #[test]
    fn answers_that_may_pass_are_repeated() {
        let passing = [
            reply(503, "SlowDown"),
            reply(500, "InternalError"),
            reply(429, "x y"),
            reply(400, "RequestTimeout"),
            "Server returned error response: <Code>SlowDown</Code>".to_owned(),
        ];
        for text in passing {
            assert!(matches!(judge(&text), Failed::Passing(Cause { is_connection: false, .. })), "{text}");
        }
    }

    #[test]
    fn each_answer_has_its_message() {
        let cases = [
            (reply(404, "NoSuchBucket"), "has no bucket `b`"),
            (reply(404, "NoSuchKey"), "no object with this key"),
            (reply(403, "AccessDenied"), "access denied for the credentials of the environment"),
            (reply(403, "SignatureDoesNotMatch"), "the environment (SignatureDoesNotMatch)"),
            (reply(403, "InvalidAccessKeyId"), "the environment (InvalidAccessKeyId)"),
            (reply(400, "ExpiredToken"), "the environment (ExpiredToken)"),
            (reply(301, "PermanentRedirect"), "another region than r; set AWS_REGION"),
            (reply(400, "AuthorizationHeaderMalformed"), "another region than r"),
            ("Received redirect without LOCATION".to_owned(), "another region than r"),
            ("Failed to delete k: Access Denied (code: AccessDenied)".to_owned(), "access denied"),
            (reply(412, "PreconditionFailed"), "replaced or deleted"),
            (reply(416, "InvalidRange"), "it is empty"),
            (reply(405, "MethodNotAllowed"), "S3 answered MethodNotAllowed"),
            ("Received non-partial response".to_owned(), "Received non-partial response"),
        ];
        for (text, expected) in cases {
            let Failed::Lasting(problem) = judge(&text) else { panic!("{text}") };
            let message = problem.to_string();
            assert!(message.contains(expected) && !message.contains("StringToSign"), "{message}");
        }
    }
}
