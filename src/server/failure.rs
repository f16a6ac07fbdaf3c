//! The failure of a call, reduced to a code and to messages written here.
//!
//! A server's message may quote a document (E11000 quotes the key, 121 the whole document), so it is never passed on.
//! The meaning of a code is in the table of [`codes`](super::codes).

use std::fmt;

use bson::Document;
use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::codes::{self, Meaning};

/// The reason why a call to the server failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No server can be reached.
    Unreachable(Unreachable),
    /// The server rejects the sign-in.
    SignIn(SignIn),
    /// The user is signed in but lacks a privilege.
    NotAuthorized {
        /// The name of the refused command, e.g. `insert`, if the server gives it.
        command: Option<String>,
    },
    /// The server requires TLS, and the connection does not use it.
    TlsRequired,
    /// The server does not use TLS, and the connection does.
    TlsRefused,
    /// The server's certificate does not prove its identity.
    Certificate(CertificateFault),
    /// The server requires a client certificate, and none was given or the server does not trust the given one.
    ClientCertificate,
    /// The deployment cannot give the requested acknowledgement, or did not give it in time.
    WriteConcern {
        /// The server's code.
        code: i32,
    },
    /// The member is not the primary, or is shutting down.
    NotPrimary {
        /// The server's code.
        code: i32,
    },
    /// The time limit of the server or of the client was exceeded.
    Timeout,
    /// Any other failure.
    Other {
        /// The server's code. `None` if the error is from the driver.
        code: Option<i32>,
        /// The name of the code, e.g. `NamespaceNotFound`, or the kind of the driver's error.
        name: String,
    },
}

/// The reason why no server can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The host name has no address.
    Name,
    /// Nothing listens on the port.
    Refused,
    /// There was no answer within the time limit.
    Silent,
    /// The connection broke.
    Lost,
    /// Servers answer, but none of them is the primary.
    NoPrimary,
    /// The members use host names for each other that cannot be reached from this machine.
    Members,
    /// The server belongs to another replica set than the URI names, or to none.
    OtherReplicaSet,
}

/// The reason why a sign-in fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// The server requires a sign-in, and no user is given.
    Missing,
    /// The user exists in the auth database, but the password is wrong.
    WrongPassword {
        /// The name of the user.
        user: String,
        /// The auth database in which the server looked for the user.
        database: String,
    },
    /// The user exists, but in another database.
    WrongAuthDatabase {
        /// The name of the user.
        user: String,
        /// The auth database that was tried.
        tried: String,
        /// The database in which the user is stored.
        found: String,
    },
    /// None of the examined databases has this user.
    UnknownUser {
        /// The name of the user.
        user: String,
        /// The auth database in which the server looked for the user.
        database: String,
    },
    /// The server has no user for the subject of the client certificate.
    UnknownCertificate,
    /// The server refuses the sign-in and gives no reason.
    Refused,
}

/// The fault of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateFault {
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// The certificate is for another host.
    WrongHost,
    /// The certificate is not signed by a trusted authority.
    UnknownIssuer,
    /// Another fault.
    Invalid,
}

impl Failure {
    /// Returns the failure for an error of the driver.
    pub fn of(error: &Error) -> Self {
        match error.kind.as_ref() {
            ErrorKind::Authentication { .. } => Self::SignIn(SignIn::Refused),
            ErrorKind::Command(command) => {
                Self::of_code(command.code, &command.code_name, refused_command(&command.message))
            }
            ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Self::of_write_concern(concern.code),
            ErrorKind::Write(WriteFailure::WriteError(write)) => {
                Self::of_code(write.code, write.code_name.as_deref().unwrap_or_default(), None)
            }
            ErrorKind::InsertMany(many) => match (&many.write_concern_error, &many.write_errors) {
                (Some(concern), _) => Self::of_write_concern(concern.code),
                (None, Some(errors)) if !errors.is_empty() => {
                    Self::of_code(errors[0].code, errors[0].code_name.as_deref().unwrap_or_default(), None)
                }
                _ => Self::other("InsertMany"),
            },
            ErrorKind::DnsResolve { .. } => Self::Unreachable(Unreachable::Name),
            ErrorKind::Io(error) => Self::of_io(error),
            ErrorKind::ConnectionPoolCleared { .. } => Self::Unreachable(Unreachable::Lost),
            ErrorKind::ServerSelection { .. } => Self::Unreachable(Unreachable::Silent),
            ErrorKind::InvalidTlsConfig { .. } => Self::other("InvalidTlsConfig"),
            ErrorKind::InvalidArgument { .. } => Self::other("InvalidArgument"),
            ErrorKind::InvalidResponse { .. } | ErrorKind::Bson(_) => Self::other("InvalidResponse"),
            ErrorKind::IncompatibleServer { .. } => Self::other("IncompatibleServer"),
            _ => Self::other("DriverError"),
        }
    }

    /// Returns the failure for a server code. `name` is the server's name for the code, `command` the name of the
    /// refused command.
    pub fn of_code(code: i32, name: &str, command: Option<String>) -> Self {
        match codes::meaning(code) {
            Meaning::NotAuthorized => Self::NotAuthorized { command },
            Meaning::SignIn => Self::SignIn(SignIn::Refused),
            Meaning::Timeout => Self::Timeout,
            Meaning::WriteConcernTimeout | Meaning::WriteConcernImpossible => Self::WriteConcern { code },
            Meaning::NetworkLost => Self::Unreachable(Unreachable::Lost),
            Meaning::NotPrimary => Self::NotPrimary { code },
            _ => Self::Other {
                code: Some(code),
                name: codes::name(code).map_or_else(|| identifier(name), str::to_owned),
            },
        }
    }

    /// Returns the failure for the code in a reply's `writeConcernError`. The write was applied, but it may not be
    /// durable.
    pub fn of_write_concern(code: i32) -> Self {
        match codes::meaning(code) {
            Meaning::NotPrimary => Self::NotPrimary { code },
            Meaning::NetworkLost => Self::Unreachable(Unreachable::Lost),
            _ => Self::WriteConcern { code },
        }
    }

    /// Returns the failure that a reply with `ok: 1` reports in its `writeConcernError`, if it has one.
    pub fn in_answer(answer: &Document) -> Option<Self> {
        let error = answer.get_document("writeConcernError").ok()?;
        let code = error.get_i32("code").or_else(|_| error.get_i64("code").map(|code| code as i32));
        Some(Self::of_write_concern(code.unwrap_or(codes::WRITE_CONCERN_TIMEOUT)))
    }

    fn other(name: &str) -> Self {
        Self::Other { code: None, name: name.to_owned() }
    }

    fn of_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind::{ConnectionRefused, TimedOut};
        match error.kind() {
            ConnectionRefused => Self::Unreachable(Unreachable::Refused),
            TimedOut => Self::Unreachable(Unreachable::Silent),
            _ => Self::of_tls_text(&error.to_string()),
        }
    }

    /// Returns the failure for the text of an I/O error. The driver wraps errors of rustls in I/O errors and does not
    /// expose their type, so only the text can be examined (rustls `Error` and `CertificateError`). The text names
    /// certificates, never data.
    fn of_tls_text(text: &str) -> Self {
        let has = |part: &str| text.contains(part);
        if has("invalid peer certificate") {
            return Self::Certificate(CertificateFault::of_text(text));
        }
        if has("fatal alert") && (has("Certificate") || has("UnknownCA") || has("AccessDenied")) {
            return Self::ClientCertificate;
        }
        if has("failed to lookup address") || has("No address associated") || has("Name or service not known") {
            return Self::Unreachable(Unreachable::Name);
        }
        if has("corrupt message of type InvalidContentType") {
            return Self::TlsRefused;
        }
        Self::Unreachable(Unreachable::Lost)
    }

    /// Returns true if the same call may succeed when it is made again.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(how) => !matches!(how, Unreachable::Name | Unreachable::OtherReplicaSet),
            Self::NotPrimary { .. } | Self::Timeout => true,
            Self::WriteConcern { code } | Self::Other { code: Some(code), .. } => codes::meaning(*code).is_passing(),
            _ => false,
        }
    }

    /// Returns the server's code, if the failure keeps one.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::WriteConcern { code } | Self::NotPrimary { code } => Some(*code),
            Self::Other { code, .. } => *code,
            _ => None,
        }
    }

    /// Returns true if an index build on the collection prevents the call.
    pub fn is_index_build(&self) -> bool {
        self.code().is_some_and(|code| codes::meaning(code) == Meaning::IndexBuild)
    }

    /// Returns the exit code of a command that stops with this failure: 3 if the connection or the sign-in failed,
    /// otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_)
            | Self::SignIn(_)
            | Self::TlsRequired
            | Self::TlsRefused
            | Self::Certificate(_)
            | Self::ClientCertificate => 3,
            _ => 1,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of(&error)
    }
}

impl CertificateFault {
    fn of_text(text: &str) -> Self {
        let has = |part: &str| text.contains(part);
        if has("certificate expired") || has("Expired") {
            Self::Expired
        } else if has("not valid yet") || has("NotValidYet") {
            Self::NotYetValid
        } else if has("not valid for name") || has("NotValidForName") {
            Self::WrongHost
        } else if has("UnknownIssuer") || has("CaUsedAsEndEntity") || has("BadSignature") {
            Self::UnknownIssuer
        } else {
            Self::Invalid
        }
    }
}

/// Returns the name of the command in "not authorized on hospital to execute command { insert: …". The text after the
/// name is dropped.
fn refused_command(message: &str) -> Option<String> {
    let (_, after) = message.split_once("to execute command { ")?;
    let (name, _) = after.split_once(':')?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| name.to_owned())
}

/// Returns the name of a code if it is an identifier. Any other text from the server is dropped.
fn identifier(name: &str) -> String {
    let fits = !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if fits { name.to_owned() } else { "UnknownError".to_owned() }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(how) => how.fmt(formatter),
            Self::SignIn(how) => how.fmt(formatter),
            Self::NotAuthorized { command: Some(command) } => {
                write!(
                    formatter,
                    "the user may not run `{command}` there (code 13); grant a role that may, or sign in as one who has it"
                )
            }
            Self::NotAuthorized { command: None } => formatter.write_str(
                "the user lacks the privilege (code 13); grant a role that has it, or sign in as one who may",
            ),
            Self::TlsRequired => formatter.write_str("the server accepts TLS only; add --tls (or tls=true to the URI)"),
            Self::TlsRefused => formatter.write_str(
                "the server does not speak TLS on this port; drop --tls (or tls=true), or switch TLS on at the server",
            ),
            Self::Certificate(fault) => fault.fmt(formatter),
            Self::ClientCertificate => formatter.write_str(
                "the server wants a client certificate that it trusts; give one with --tls-certificate-key-file",
            ),
            Self::WriteConcern { code } if codes::meaning(*code) == Meaning::WriteConcernImpossible => write!(
                formatter,
                "the deployment cannot give a journaled majority's acknowledgement (code {code}); see that it has enough \
                 data-bearing members"
            ),
            Self::WriteConcern { code } => write!(
                formatter,
                "no journaled majority acknowledged the write (code {code}); see that a majority of the data-bearing members is up"
            ),
            Self::NotPrimary { code } => {
                write!(
                    formatter,
                    "the member is not the primary or is shutting down (code {code}); try again once a primary is elected"
                )
            }
            Self::Timeout => {
                formatter.write_str("the server did not finish within the time; try again, or give it more time")
            }
            Self::Other { code: Some(code), name } if self.is_index_build() => write!(
                formatter,
                "indexes of the collection are being built, or their build was aborted (code {code}, {name}); run the \
                 command again when the builds have ended"
            ),
            Self::Other { code: Some(code), name } => {
                write!(formatter, "the server refused it with code {code} ({name})")
            }
            Self::Other { code: None, name } => write!(formatter, "the driver failed ({name})"),
        }
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Name => "the host name has no address; check its spelling and the DNS",
            Self::Refused => "nothing listens on that port; start the server or correct the port",
            Self::Silent => "no answer; check host, port and firewall",
            Self::Lost => "the connection broke; see the server's log, then run the command again",
            Self::NoPrimary => {
                "the servers answer, but none is the primary; initiate the replica set or wait for an election"
            }
            Self::OtherReplicaSet => {
                "the server is not in the replica set that the URI names; correct or drop replicaSet="
            }
            Self::Members => {
                "the server answers, but calls its members by names that cannot be reached from here; \
                 add directConnection=true to the URI, or use the members' names"
            }
        })
    }
}

impl fmt::Display for SignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str(
                "the server wants a sign-in, and no user is given; use --username and -p, the URI, or WRITER_USER and WRITER_PASS",
            ),
            Self::WrongPassword { user, database } => {
                write!(formatter, "wrong password for user `{user}` of database `{database}`")
            }
            Self::WrongAuthDatabase { user, tried, found } => write!(
                formatter,
                "wrong auth database: user `{user}` is not in `{tried}` but in `{found}`; add --authentication-database {found}"
            ),
            Self::UnknownUser { user, database } => write!(
                formatter,
                "database `{database}` has no user `{user}`; check the name, or name the user's database with --authentication-database"
            ),
            Self::UnknownCertificate => formatter.write_str(
                "the client certificate's subject is no user of the server; create it in `$external`, or sign in with a user name",
            ),
            Self::Refused => formatter.write_str("the server refuses the sign-in; check user, password and auth database"),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Expired => "the server's certificate has expired; renew it (and check this machine's clock)",
            Self::NotYetValid => "the server's certificate is not valid yet; check this machine's clock",
            Self::WrongHost => "the server's certificate is for another host; connect by a name that stands in it",
            Self::UnknownIssuer => {
                "the server's certificate is signed by nobody we trust; name the authority's file with --tls-ca-file"
            }
            Self::Invalid => "the server's certificate is not valid; have it issued again",
        })
    }
}

#[cfg(test)]
mod tests;
