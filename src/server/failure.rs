//! The failure of a call to the server, reduced to a code. This file contains the text of each message.
//!
//! A message from the server may quote a document: E11000 quotes the key, 121 the whole document. So no message from
//! the server is ever shown. The table in [`codes`] defines the meaning of the codes.

use std::fmt;

use bson::Document;
use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::codes::{self, Meaning};

/// The cause of a failed call to the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No server, or no primary, can be reached.
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
    /// The server's certificate is not valid or not trusted.
    Certificate(CertificateFault),
    /// The server requires a client certificate that it trusts.
    ClientCertificate,
    /// A journaled majority did not acknowledge the write in time, or the deployment can never acknowledge writes by a
    /// majority.
    WriteConcern {
        /// The server's code.
        code: i32,
    },
    /// The member is not the primary, or is shutting down.
    NotPrimary {
        /// The server's code.
        code: i32,
    },
    /// The server exceeded the time limit of the operation.
    Timeout,
    /// Any other failure.
    Other {
        /// The server's code. `None` if the error is from the driver.
        code: Option<i32>,
        /// The name of the code, e.g. `NamespaceNotFound`, or the kind of the driver's error.
        name: String,
    },
}

/// The reason why no server, or no primary, can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// The host name has no address in the DNS.
    Name,
    /// Nothing listens on the port.
    Refused,
    /// There was no answer within the time limit.
    Silent,
    /// The connection broke.
    Lost,
    /// Servers answer, but none of them is the primary.
    NoPrimary,
    /// Some members answer, but none of them is the primary. Other members cannot be reached from this machine by the
    /// host names in the replica set's configuration.
    Members,
    /// The server belongs to another replica set than the one in the connection string, or to none.
    OtherReplicaSet,
}

/// The cause of a failed sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// The server requires a sign-in, and no user is given.
    Missing,
    /// The user exists in the auth database, but the password is wrong.
    WrongPassword {
        /// The name of the user.
        user: String,
        /// The auth databases that have this user: one, or two if two were tried.
        databases: Vec<String>,
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
    /// The user was found neither in the database for the data nor in `admin`, but in another database. The name of the
    /// database for the data may be misspelled.
    OtherDatabase {
        /// The name of the user.
        user: String,
        /// The database for the data.
        data: String,
        /// The database in which the user is stored.
        found: String,
    },
    /// None of the examined databases has this user.
    UnknownUser {
        /// The name of the user.
        user: String,
        /// The auth databases in which the server looked for the user: one, or two if two were tried.
        databases: Vec<String>,
        /// The database in which `medlift provision` would create this user. `None` if it does not create this user.
        created_in: Option<String>,
    },
    /// The server has no user for the subject of the client certificate.
    UnknownCertificate,
    /// The server refuses the sign-in without a reason.
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
    /// Converts an error of the driver.
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

    /// Converts an error code of the server. `name` is the server's name of the code. `command` is the name of the
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

    /// Converts the error code in the `writeConcernError` of a reply. The write was executed, but may be lost if the
    /// primary fails.
    pub fn of_write_concern(code: i32) -> Self {
        match codes::meaning(code) {
            Meaning::NotPrimary => Self::NotPrimary { code },
            Meaning::NetworkLost => Self::Unreachable(Unreachable::Lost),
            _ => Self::WriteConcern { code },
        }
    }

    /// Returns the failure in the `writeConcernError` of a reply, if the reply has one. The driver does not report this
    /// failure as an error, because such a reply has `ok: 1`.
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

    /// Converts the text of an I/O error to a failure. The driver wraps the errors of rustls in I/O errors and hides
    /// their type, so only the text shows the cause. The texts about TLS are those of `Error` and `CertificateError` in
    /// rustls. They name certificates, never data.
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

    /// Returns true if the same call may succeed when it is repeated.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable(how) => !matches!(how, Unreachable::Name | Unreachable::OtherReplicaSet),
            Self::NotPrimary { .. } | Self::Timeout => true,
            Self::WriteConcern { code } | Self::Other { code: Some(code), .. } => codes::meaning(*code).is_passing(),
            _ => false,
        }
    }

    /// Returns the server's error code. `None` if this failure has no code, for example `SignIn`.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::WriteConcern { code } | Self::NotPrimary { code } => Some(*code),
            Self::Other { code, .. } => *code,
            _ => None,
        }
    }

    /// Returns true if the call failed because of an index build on the collection.
    pub fn is_index_build(&self) -> bool {
        self.code().is_some_and(|code| codes::meaning(code) == Meaning::IndexBuild)
    }

    /// Returns the exit code of a command that stops with this failure. It is 3 if the connection or the sign-in
    /// failed, and otherwise 1.
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

impl Failure {
    /// If this failure is about an unknown user, stores the database in which `medlift provision` would create this
    /// user. The message can then propose this command.
    pub(super) fn of_user_created_in(mut self, database: Option<&str>) -> Self {
        if let Self::SignIn(SignIn::UnknownUser { created_in, .. }) = &mut self {
            *created_in = database.map(str::to_owned);
        }
        self
    }
}

impl SignIn {
    /// Combines the failures of two sign-ins of the same user, with two auth databases. Two `WrongPassword` become one
    /// with both databases, and so do two `UnknownUser`. If only one failure is `WrongPassword`, it is returned,
    /// because its database has the user. In all other cases, the second failure is returned.
    pub(super) fn also_in(self, second: Self) -> Self {
        match (self, second) {
            (Self::WrongPassword { user, mut databases }, Self::WrongPassword { databases: others, .. }) => {
                databases.extend(others);
                Self::WrongPassword { user, databases }
            }
            (Self::UnknownUser { user, mut databases, created_in }, Self::UnknownUser { databases: others, .. }) => {
                databases.extend(others);
                Self::UnknownUser { user, databases, created_in }
            }
            (first @ Self::WrongPassword { .. }, _) => first,
            (_, second) => second,
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

/// Returns the name of the command in the server's message. From "not authorized on hospital to execute command
/// { insert: …", returns `insert`. Discards the rest of the message, because it may quote a document.
fn refused_command(message: &str) -> Option<String> {
    let (_, after) = message.split_once("to execute command { ")?;
    let (name, _) = after.split_once(':')?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic())).then(|| name.to_owned())
}

/// Returns `name` if it consists of at most 64 ASCII letters and digits. Otherwise returns `UnknownError`, because the
/// text may contain more than the name of a code.
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
                    "the user may not run `{command}` there (code 13); grant the user a role for it, or sign in as another user"
                )
            }
            Self::NotAuthorized { command: None } => formatter.write_str(
                "the user lacks the privilege (code 13); grant the user a role for it, or sign in as another user",
            ),
            Self::TlsRequired => formatter.write_str("the server accepts only TLS; add --tls (or tls=true to the URI)"),
            Self::TlsRefused => formatter.write_str(
                "the server does not use TLS on this port; remove --tls (or tls=true), or enable TLS on the server",
            ),
            Self::Certificate(fault) => fault.fmt(formatter),
            Self::ClientCertificate => formatter.write_str(
                "the server requires a client certificate that it trusts; give one with --tls-certificate-key-file",
            ),
            Self::WriteConcern { code } if codes::meaning(*code) == Meaning::WriteConcernImpossible => write!(
                formatter,
                "the deployment cannot acknowledge writes by a journaled majority (code {code}); make sure that it has enough \
                 data-bearing members"
            ),
            Self::WriteConcern { code } => write!(
                formatter,
                "no journaled majority acknowledged the write (code {code}); make sure that a majority of the data-bearing members runs"
            ),
            Self::NotPrimary { code } => {
                write!(
                    formatter,
                    "the member is not the primary or is shutting down (code {code}); try again once a primary is elected"
                )
            }
            Self::Timeout => {
                formatter.write_str("the server exceeded its time limit; try again, or increase the limit")
            }
            Self::Other { code: Some(code), name } if self.is_index_build() => write!(
                formatter,
                "indexes of the collection are being built, or their build was aborted (code {code}, {name}); run the \
                 command again when the builds have ended"
            ),
            Self::Other { code: Some(code), name } => {
                write!(formatter, "the server refused the command with code {code} ({name})")
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
                "the server is not in the replica set that the URI names; correct or remove replicaSet="
            }
            Self::Members => {
                "the server answers, but the host names of its replica set members cannot be reached from here; \
                 add directConnection=true to the URI, or make these names known to this machine"
            }
        })
    }
}

impl fmt::Display for SignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str(
                "the server requires a sign-in, and no user is given; use --username and -p, the URI, or the variables of a user: \
                 MONGO_ROOT_USER and MONGO_ROOT_PASS for `medlift provision`, WRITER_USER and WRITER_PASS for other commands",
            ),
            Self::WrongPassword { user, databases } => {
                write!(formatter, "wrong password for user `{user}` of database `{}`", databases.join("` and of database `"))
            }
            Self::OtherDatabase { user, data, found } => write!(
                formatter,
                "database `{data}` has no user `{user}`, but database `{found}` has one; correct --db or DB_NAME if the \
                 name is misspelled, otherwise add --authentication-database {found}"
            ),
            Self::WrongAuthDatabase { user, tried, found } => write!(
                formatter,
                "wrong auth database: user `{user}` is not in `{tried}` but in `{found}`; add --authentication-database {found}"
            ),
            Self::UnknownUser { user, databases, created_in } => {
                match &databases[..] {
                    [one, other] => write!(formatter, "neither database `{one}` nor database `{other}` has a user `{user}`")?,
                    all => write!(formatter, "database `{}` has no user `{user}`", all.join("`, `"))?,
                }
                match created_in {
                    Some(database) => write!(
                        formatter,
                        "; check the spelling of --db (or DB_NAME): if the name `{database}` is right, `medlift provision \
                         --db {database}` creates this user"
                    ),
                    None => formatter.write_str(
                        "; check the name, or give the user's database with --authentication-database; on a new server, \
                         first create the root user, as docs/install.md shows (\"The first user of a new server\")",
                    ),
                }
            }
            Self::UnknownCertificate => formatter.write_str(
                "the server has no user for the client certificate; create one in `$external` with the certificate's subject, or sign in with a user name",
            ),
            Self::Refused => formatter.write_str(
                "the server refuses the sign-in; check user, password, auth database and --db; if the user does not \
                 exist yet, `medlift provision` creates the users of the settings",
            ),
        }
    }
}

impl fmt::Display for CertificateFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Expired => "the server's certificate has expired; renew it (and check this machine's clock)",
            Self::NotYetValid => "the server's certificate is not valid yet; check this machine's clock",
            Self::WrongHost => "the server's certificate is for another host; use a host name that is in the certificate",
            Self::UnknownIssuer => {
                "the server's certificate is not signed by a trusted authority; give the authority's file with --tls-ca-file"
            }
            Self::Invalid => "the server's certificate is not valid; replace it",
        })
    }
}

#[cfg(test)]
mod tests;
