//! Connects to the deployment, signs in, and tests the connection with one harmless command.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, ConnectionString, Credential, HostInfo, ReadConcern, ReadPreference, ServerAddress,
    Tls, TlsOptions, WriteConcern,
};
use mongodb::{Client, Collection, Database};

use super::credential::{SignInAs, sign_in_as};
use super::diagnose::{self, Tell};
use super::documentdb::{self, Product};
use super::names;
use super::patience::{Patience, set_attempt_timeout};
use super::{ATTEMPTS_MAX, Account, Connection, Failure, Purpose, Secret, ServerError, Settings, patiently, uri};
use crate::wording::file_problem;

/// Files with the system's certificate authorities on Debian, Fedora, SUSE, RHEL, Alpine and macOS.
const SYSTEM_CA_FILES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Time limit for finding the primary, if the connection string sets no limit.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The server, database, collection and credential to use. All settings are complete, but no connection has been tried.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The connection string, completed with all settings.
    pub(super) uri: ConnectionString,
    /// The database for the data.
    pub database: String,
    /// The collection for the data.
    pub collection: String,
    /// A second database in which the user may be stored. It is tried if the sign-in with the first one fails.
    other_auth_database: Option<String>,
    /// The user's account, if `medlift provision` creates this user.
    account: Option<Account>,
    /// The name of the writer, according to the settings.
    writer: String,
    /// The database that `DB_NAME` names, and the default database. If the name in `database` is misspelled, the user
    /// is probably stored in one of these. They are searched only to explain a failed sign-in.
    usual_databases: Vec<String>,
    /// The product behind the connection, if the user names it.
    product: Option<Product>,
    /// The purpose of the connection.
    purpose: Purpose,
}

/// A connected deployment, with the database and the collection for the data. If there is a user, the sign-in
/// succeeded.
#[derive(Debug, Clone)]
pub struct Target {
    /// The driver's client. Writes with write concern majority and journal, reads with read concern majority from the
    /// primary, and does not repeat writes.
    pub client: Client,
    /// The database for the data.
    pub database: String,
    /// The collection for the data.
    pub collection: String,
    /// Hosts and ports, for messages.
    pub address: String,
    /// The name of the user who signed in. `None` without a sign-in, or after a sign-in with a client certificate.
    pub user: Option<String>,
    /// The user's account, if `medlift provision` creates this user in the database for the data.
    pub account: Option<Account>,
    /// Whether the sign-in used a client certificate.
    pub is_certificate_sign_in: bool,
    /// The name of the user who may write (`WRITER_USER` in the settings). Another user may have signed in.
    pub writer: String,
    /// Whether the deployment runs on this machine, according to its addresses.
    pub is_local: bool,
    /// The product behind the connection, if the user names it.
    pub product: Option<Product>,
}

impl Target {
    /// Returns the name of the collection with its database, for example `hospital.admissions`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.database, self.collection)
    }

    /// Returns true if nobody signed in. The server then accepts everybody.
    pub const fn accepts_everybody(&self) -> bool {
        self.user.is_none() && !self.is_certificate_sign_in
    }

    /// Returns the same target with another collection.
    #[must_use]
    pub fn in_collection(&self, collection: &str) -> Self {
        Self { collection: collection.to_owned(), ..self.clone() }
    }

    /// Returns the database for the data.
    pub fn db(&self) -> Database {
        self.client.database(&self.database)
    }

    /// Returns the collection for the data.
    pub fn documents(&self) -> Collection<RawDocumentBuf> {
        self.db().collection(&self.collection)
    }

    /// Runs a command that changes nothing, on the database for the data. Repeats it after temporary failures.
    pub(crate) async fn look(&self, command: Document) -> Result<Document, Failure> {
        let database = self.db();
        patiently(|| database.run_command(command.clone()).into_future()).await
    }

    /// Runs a command that changes something. Repeats it after temporary failures, until a journaled majority
    /// acknowledges it. `doing` describes the command in error messages.
    ///
    /// For `dropIndexes`, `Ok` does not prove that a majority has acknowledged the change. Reason: if the index no
    /// longer exists when the command is repeated, there is no command left that a majority could acknowledge.
    pub(crate) async fn run(
        &self,
        database: &str,
        mut command: Document,
        doing: impl FnOnce() -> String,
    ) -> Result<Document, ServerError> {
        let (mut attempt, mut patience) = (1, Patience::default());
        loop {
            let failure = match self.run_once(database, command.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_done = was_done_before(attempt, &failure);
            if attempt >= ATTEMPTS_MAX || !(is_done || failure.is_retryable()) {
                return Err(ServerError::Command { doing: doing(), failure });
            }
            if is_done {
                let Some(again) = acknowledged_again(&command) else { return Ok(Document::new()) };
                command = again;
            } else {
                patience.pause(attempt, &failure).await;
            }
            attempt += 1;
        }
    }

    /// Runs a command that changes something, without repetition. Fails if no majority acknowledges the change.
    pub(crate) async fn run_once(&self, database: &str, mut command: Document) -> Result<Document, Failure> {
        command.insert("writeConcern", doc! { "w": "majority", "j": true });
        let answer = self.client.database(database).run_command(command).await?;
        Failure::in_answer(&answer).map_or(Ok(answer), Err)
    }
}

/// Error codes that show that an earlier attempt of the same command was executed: the collection, role or user already
/// exists, or the index no longer exists.
const DONE_ALREADY: [i32; 4] = [48, 51_002, 51_003, 27];

/// Returns true if the server already executed the command in an earlier attempt. Attempts are counted from 1.
fn was_done_before(attempt: u32, failure: &Failure) -> bool {
    attempt > 1 && failure.code().is_some_and(|code| DONE_ALREADY.contains(&code))
}

/// The options of `create` that `collMod` accepts too.
const OF_COLL_MOD: [&str; 5] = ["validator", "validationLevel", "validationAction", "viewOn", "pipeline"];

/// Returns the command to send if `command` was executed, but its reply was lost or no majority acknowledged it. For
/// example, `createUser` becomes `updateUser` with the same arguments. The reply to `updateUser` is then the missing
/// acknowledgement. Returns `None` if there is no such command, for example for `dropIndexes`.
fn acknowledged_again(command: &Document) -> Option<Document> {
    let (name, _) = command.iter().next()?;
    let again = match name.as_str() {
        "createUser" => "updateUser",
        "createRole" => "updateRole",
        "create" => "collMod",
        _ => return None,
    };
    // `collMod` does not accept the other options of `create`.
    let is_kept = |key: &String| again != "collMod" || key == name || OF_COLL_MOD.contains(&key.as_str());
    let kept = command.iter().filter(|(key, _)| is_kept(key));
    Some(kept.map(|(key, value)| (if key == name { again } else { key }.to_owned(), value.clone())).collect())
}

impl Destination {
    /// Completes `wishes` from `settings`. `collection` is the spec's collection. It is used if neither `wishes` nor
    /// `COLLECTION_NAME` names a collection.
    pub fn settle(wishes: &Connection, settings: &Settings, collection: &str) -> Result<Self, ServerError> {
        let (mut settled, auth_source) = Self::settle_server(wishes, settings, collection)?;
        let SignInAs { credential, other_database, account } =
            sign_in_as(wishes, settings, &settled.uri, auth_source.as_deref(), &settled.database)?;
        let user = credential.as_ref().and_then(|credential| credential.username.as_deref());
        names::refuse_connection_string("--username", user.unwrap_or_default())?;
        settled.uri.credential = credential;
        (settled.other_auth_database, settled.account) = (other_database, account);
        Ok(settled)
    }

    /// Completes `wishes` like [`settle`](Self::settle), but without a user.
    pub fn settle_without_user(
        wishes: &Connection,
        settings: &Settings,
        collection: &str,
    ) -> Result<Self, ServerError> {
        let (mut settled, _) = Self::settle_server(wishes, settings, collection)?;
        settled.uri.credential = None;
        Ok(settled)
    }

    /// Completes all settings except the user. Also returns the value of the option `authSource` in the connection
    /// string.
    fn settle_server(
        wishes: &Connection,
        settings: &Settings,
        collection: &str,
    ) -> Result<(Self, Option<String>), ServerError> {
        let from_settings = || settings.get("MONGODB_URI").map(Secret::from);
        let given = wishes.uri.clone().or_else(from_settings).unwrap_or_else(|| "mongodb://localhost:27017".into());
        let auth_source = uri::auth_source(given.reveal());
        let mut uri = uri::parse(given.reveal())?;
        let database = names::database(wishes, settings, &uri)?;
        let collection = names::collection(wishes, settings, collection, &database)?;
        uri.tls = tls(wishes, uri.tls.take())?;
        uri.write_concern = Some(journaled_majority(uri.write_concern.take()));
        uri.read_concern = Some(ReadConcern::majority());
        uri.read_preference = Some(ReadPreference::Primary);
        uri.retry_writes = Some(false);
        uri.app_name.get_or_insert_with(|| "medlift".to_owned());
        set_attempt_timeout(*uri.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT));
        uri.max_pool_size.get_or_insert(32);
        if matches!(&uri.host_info, HostInfo::HostIdentifiers(hosts) if are_on_this_machine(hosts)) {
            uri.compressors = None;
        }
        let usual_databases =
            settings.get("DB_NAME").into_iter().chain([names::DATABASE_DEFAULT]).map(str::to_owned).collect();
        let writer = settings.user_name(Account::Writer).to_owned();
        let settled = Self {
            uri,
            database,
            collection,
            other_auth_database: None,
            account: None,
            writer,
            usual_databases,
            product: wishes.product,
            purpose: wishes.purpose,
        };
        Ok((settled, auth_source))
    }

    /// Returns the paths of the files with certificates and keys. Empty without TLS.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.uri.tls {
            Some(Tls::Enabled(tls)) => tls.ca_file_path.iter().chain(&tls.cert_key_file_path).cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns the same destination with another user and password.
    #[must_use]
    pub fn as_user(&self, name: &str, password: &Secret, auth_database: &str) -> Self {
        let mut other = self.clone();
        let password = password.reveal().to_owned();
        let source = auth_database.to_owned();
        let credential = Credential::builder().username(name.to_owned()).password(password).source(source).build();
        other.uri.credential = Some(credential);
        (other.other_auth_database, other.account) = (None, None);
        other
    }

    /// Connects, signs in and runs one harmless command. If the user may be stored in two databases, tries both.
    pub async fn connect(&self) -> Result<Target, ServerError> {
        self.open(&|_| ()).await
    }

    /// Connects like [`connect`](Self::connect). If all addresses refuse the connection, the server may still be
    /// starting. Then calls `tell` with a message that the command waits, unless the time limit is shorter than 2
    /// seconds. After the sign-in, fails if the server is Amazon DocumentDB and lacks features that a connection for
    /// this purpose needs.
    pub async fn connect_telling(&self, tell: Tell<'_>) -> Result<Target, ServerError> {
        let target = self.open(tell).await?;
        documentdb::refuse(&target, self.purpose).await?;
        Ok(target)
    }

    async fn open(&self, tell: Tell<'_>) -> Result<Target, ServerError> {
        let connected = self.try_connect(None, tell).await;
        let (Err(ServerError::Connect { address, failure: Failure::SignIn(first) }), Some(other)) =
            (&connected, &self.other_auth_database)
        else {
            return connected;
        };
        match self.try_connect(Some(other), tell).await {
            Err(ServerError::Connect { failure: Failure::SignIn(second), .. }) => {
                let failure = Failure::SignIn(first.clone().also_in(second));
                Err(ServerError::Connect { address: address.clone(), failure })
            }
            connected => connected,
        }
    }

    /// Connects with the auth database of the credential, or with `auth_database` instead.
    async fn try_connect(&self, auth_database: Option<&str>, tell: Tell<'_>) -> Result<Target, ServerError> {
        let mut options = self.options().await?;
        if let (Some(credential), Some(database)) = (&mut options.credential, auth_database) {
            credential.source = Some(database.to_owned());
        }
        let connected = diagnose::open(options.clone(), (&self.database, &self.usual_databases), tell).await;
        let created_in = self.account.map(|_| self.database.as_str());
        let credential = self.uri.credential.as_ref();
        let target = self.target(&options, connected.map_err(|failure| failure.of_user_created_in(created_in)))?;
        Ok(Target {
            user: credential.and_then(|credential| credential.username.clone()),
            account: self.account,
            is_certificate_sign_in: credential.is_some_and(|credential| credential.username.is_none()),
            ..target
        })
    }

    /// Connects without a sign-in, and only checks that the server answers.
    pub(crate) async fn reach(&self) -> Result<Target, ServerError> {
        let mut options = self.options().await?;
        options.credential = None;
        let reached = diagnose::reach(options.clone()).await;
        self.target(&options, reached)
    }

    /// Returns the target for a connection. The fields about the user are empty.
    fn target(&self, options: &ClientOptions, connected: Result<Client, Failure>) -> Result<Target, ServerError> {
        let address = address(options);
        let client = connected.map_err(|failure| ServerError::Connect { address: address.clone(), failure })?;
        Ok(Target {
            client,
            database: self.database.clone(),
            collection: self.collection.clone(),
            address,
            user: None,
            account: None,
            is_certificate_sign_in: false,
            writer: self.writer.clone(),
            is_local: are_on_this_machine(&options.hosts),
            product: self.product,
        })
    }

    /// Returns the options for the driver. Resolves the host name of a `mongodb+srv` connection string.
    pub(crate) async fn options(&self) -> Result<ClientOptions, ServerError> {
        ClientOptions::parse(self.uri.clone()).await.map_err(|error| ServerError::Connect {
            address: host_names(&self.uri.host_info),
            failure: super::Failure::of(&error),
        })
    }
}

/// Returns the hosts and ports for messages. They contain no secret.
pub(crate) fn address(options: &ClientOptions) -> String {
    options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn host_names(hosts: &HostInfo) -> String {
    match hosts {
        HostInfo::HostIdentifiers(hosts) => hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        HostInfo::DnsRecord(name) => name.clone(),
        _ => String::new(),
    }
}

fn journaled_majority(given: Option<WriteConcern>) -> WriteConcern {
    let mut concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
    concern.w_timeout = given.and_then(|given| given.w_timeout);
    concern
}

/// Returns true if every address is `localhost`, a loopback address such as `127.0.0.1`, or a Unix socket.
pub(crate) fn are_on_this_machine(hosts: &[ServerAddress]) -> bool {
    hosts.iter().all(is_loopback)
}

fn is_loopback(host: &ServerAddress) -> bool {
    match host {
        ServerAddress::Tcp { host, .. } => {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        _ => true,
    }
}

/// Returns the TLS settings. Without a CA file, the certificate authorities are those of the system, because the owner
/// of the machine can change that list. The driver's own list cannot be changed.
fn tls(wishes: &Connection, given: Option<Tls>) -> Result<Option<Tls>, ServerError> {
    let asked = wishes.tls || wishes.tls_ca_file.is_some() || wishes.tls_certificate_key_file.is_some();
    let mut options = match given {
        Some(Tls::Enabled(options)) => options,
        other if !asked => return Ok(other),
        _ => TlsOptions::default(),
    };
    if let Some(path) = &wishes.tls_ca_file {
        options.ca_file_path = Some(path.clone());
    }
    if let Some(path) = &wishes.tls_certificate_key_file {
        options.cert_key_file_path = Some(path.clone());
    }
    let authorities = options.ca_file_path.take().map_or_else(system_ca_file, Ok)?;
    require_pem(&authorities, "--tls-ca-file", &["CERTIFICATE"])?;
    options.ca_file_path = Some(authorities);
    if let Some(path) = &options.cert_key_file_path {
        require_pem(path, "--tls-certificate-key-file", &["CERTIFICATE", "PRIVATE KEY"])?;
    }
    Ok(Some(Tls::Enabled(options)))
}

/// Returns the file with the system's certificate authorities: `SSL_CERT_FILE`, as in OpenSSL, or a known location.
fn system_ca_file() -> Result<PathBuf, ServerError> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_CA_FILES.map(PathBuf::from)).find(|path| path.is_file()).ok_or_else(|| {
        ServerError::Setting {
            setting: "--tls-ca-file".to_owned(),
            problem: "this machine has no file of certificate authorities; install ca-certificates, or give a file"
                .to_owned(),
        }
    })
}

/// Checks that a file contains the PEM sections `parts`. The driver would accept a file without certificates, and then
/// trust no server.
fn require_pem(path: &Path, setting: &str, parts: &[&str]) -> Result<(), ServerError> {
    let wrong = |problem: String| ServerError::Setting { setting: setting.to_owned(), problem };
    let bytes = std::fs::read(path)
        .map_err(|error| wrong(format!("cannot read {}: {}", path.display(), file_problem(&error))))?;
    let text = String::from_utf8_lossy(&bytes);
    match parts.iter().find(|part| !text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(*part))) {
        Some(part) => Err(wrong(format!("{} contains no PEM section {part}", path.display()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
