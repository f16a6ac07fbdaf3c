//! A private mongod on a loopback port, for one test, benchmark or demo. By default it is a one-node replica set.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use bson::doc;

use crate::watchdog::{Target, Watchdog};
use crate::wire::Wire;
use crate::{Doing, Error, Result};

/// The user with all rights on a server with access control. It is stored in the database `admin`.
pub const ROOT_USER: &str = "root";

const REPLICA_SET: &str = "rs0";
const START_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(3);
/// mongod's exit code when its port is taken.
const EXIT_NET_ERROR: i32 = 48;
/// Messages in mongod's log that show that a server is ready.
const LISTENING: &str = "\"Waiting for connections\"";
const PRIMARY: &str = "\"Transition to primary complete";
const PORT_ATTEMPTS: usize = 10;

/// The settings of a server to start. By default: a one-node replica set, no access control, no TLS, a cache of 256 MB.
#[derive(Debug, Clone)]
pub struct Builder {
    access_control: bool,
    replica_set: bool,
    tls: Option<Tls>,
    cache_gb: f64,
    dir: Option<PathBuf>,
    arguments: Vec<String>,
}

#[derive(Debug, Clone)]
struct Tls {
    mode: String,
    certificate_key_file: PathBuf,
    ca_file: PathBuf,
}

impl Default for Builder {
    fn default() -> Self {
        Self { access_control: false, replica_set: true, tls: None, cache_gb: 0.25, dir: None, arguments: Vec::new() }
    }
}

impl Builder {
    /// Switches access control on: users must sign in. [`ROOT_USER`] is created with a random password.
    #[must_use]
    pub fn access_control(mut self) -> Self {
        self.access_control = true;
        self
    }

    /// Starts a standalone server instead of a replica set: no oplog, no majority, no retryable writes.
    #[must_use]
    pub fn standalone(mut self) -> Self {
        self.replica_set = false;
        self
    }

    /// Switches TLS on. `mode` is mongod's `--tlsMode` (`requireTLS`, `preferTLS`, …); the files are PEM.
    #[must_use]
    pub fn tls(mut self, mode: &str, certificate_key_file: &Path, ca_file: &Path) -> Self {
        self.tls = Some(Tls {
            mode: mode.to_owned(),
            certificate_key_file: certificate_key_file.to_owned(),
            ca_file: ca_file.to_owned(),
        });
        self
    }

    /// Sets the storage engine's cache in gigabytes, at least 0.25.
    #[must_use]
    pub fn cache_gb(mut self, cache_gb: f64) -> Self {
        self.cache_gb = cache_gb;
        self
    }

    /// Sets the directory for data and log, which must not exist yet. By default it is in the system's temporary
    /// directory.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Adds an argument to mongod's command line, for example `--setParameter` and then `name=value`.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts the server and returns when it accepts writes.
    pub fn start(self) -> Result<Server> {
        let program = super::find()?;
        for _ in 0..PORT_ATTEMPTS {
            if let Some(server) = Server::start_on(free_port()?, &program, &self)? {
                return Ok(server);
            }
        }
        Err(Error::failed(format!("no free loopback port in {PORT_ATTEMPTS} attempts")))
    }

    fn make_dir(&self) -> Result<PathBuf> {
        let doing = || "creating a directory for mongod".to_owned();
        let Some(dir) = &self.dir else {
            return Ok(tempfile::Builder::new().prefix("medlift-mongod-").tempdir().doing(doing)?.keep());
        };
        fs::create_dir(dir).doing(doing)?;
        Ok(dir.clone())
    }

    /// mongod's command line without TLS, because the replica set and the root user are created before TLS is switched
    /// on.
    fn command_line(&self, port: u16, dir: &Path) -> Vec<String> {
        let mut line: Vec<String> = ["--bind_ip", "127.0.0.1", "--nounixsocket", "--logappend"].map(Into::into).into();
        line.extend(["--port".to_owned(), port.to_string()]);
        line.extend(["--dbpath".to_owned(), dir.join("db").display().to_string()]);
        line.extend(["--logpath".to_owned(), dir.join("log").display().to_string()]);
        line.extend(["--wiredTigerCacheSizeGB".to_owned(), self.cache_gb.to_string()]);
        for parameter in ["diagnosticDataCollectionEnabled=false", "shutdownTimeoutMillisForSignaledShutdown=0"] {
            line.extend(["--setParameter".to_owned(), parameter.to_owned()]);
        }
        if self.replica_set {
            line.extend(["--replSet", REPLICA_SET, "--oplogSize", "990"].map(Into::into));
        }
        match (self.access_control, self.replica_set) {
            (true, true) => line.extend(["--keyFile".to_owned(), dir.join("key").display().to_string()]),
            (true, false) => line.push("--auth".to_owned()),
            (false, _) => {}
        }
        line.extend(self.arguments.iter().cloned());
        line
    }
}

impl Tls {
    fn command_line(&self) -> [String; 7] {
        [
            "--tlsMode".to_owned(),
            self.mode.clone(),
            "--tlsCertificateKeyFile".to_owned(),
            self.certificate_key_file.display().to_string(),
            "--tlsCAFile".to_owned(),
            self.ca_file.display().to_string(),
            "--tlsAllowConnectionsWithoutCertificates".to_owned(),
        ]
    }
}

/// A running mongod. If this value is dropped, mongod is killed and its files are removed. If the process that started
/// mongod is killed, a watchdog does the same.
#[derive(Debug)]
pub struct Server {
    // Fields are dropped in this order: mongod must end before the watchdog removes its files.
    process: Process,
    watchdog: Watchdog,
    program: PathBuf,
    command_line: Vec<String>,
    dir: PathBuf,
    port: u16,
    replica_set: bool,
    tls: Option<Tls>,
    root_password: Option<String>,
}

impl Server {
    /// Returns a builder to configure and start a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts a server on a port. Returns `None` if another program took the port in the meantime.
    fn start_on(port: u16, program: &Path, wanted: &Builder) -> Result<Option<Self>> {
        let dir = wanted.make_dir()?;
        let watchdog = Watchdog::guard(Some(&dir))?;
        fs::create_dir(dir.join("db")).doing(|| format!("creating {}", dir.join("db").display()))?;
        let root_password = wanted.access_control.then(random_hex).transpose()?;
        if wanted.access_control {
            write_key_file(&dir.join("key"))?;
        }
        let mut server = Self {
            process: Process(None),
            watchdog,
            program: program.to_owned(),
            command_line: wanted.command_line(port, &dir),
            dir,
            port,
            replica_set: wanted.replica_set,
            tls: wanted.tls.clone(),
            root_password,
        };
        server.spawn()?;
        let Some(mut wire) = server.connect()? else { return Ok(None) };
        server.initiate(&mut wire)?;
        if let Some(tls) = &server.tls {
            server.command_line.extend(tls.command_line());
            server.restart()?;
        }
        Ok(Some(server))
    }

    /// The connection string, with [`ROOT_USER`]'s credentials if there is access control.
    pub fn uri(&self) -> String {
        match &self.root_password {
            Some(password) => self.uri_as(ROOT_USER, password, "admin"),
            None => self.uri_with("", None),
        }
    }

    /// The connection string without credentials, even if there is access control.
    pub fn uri_anonymous(&self) -> String {
        self.uri_with("", None)
    }

    /// The connection string for a user. User name and password are percent-encoded here.
    pub fn uri_as(&self, user: &str, password: &str, auth_db: &str) -> String {
        self.uri_with(&format!("{}:{}@", percent_encoded(user), percent_encoded(password)), Some(auth_db))
    }

    fn uri_with(&self, credentials: &str, auth_db: Option<&str>) -> String {
        let mut options = Vec::new();
        if self.replica_set {
            options.push(format!("replicaSet={REPLICA_SET}"));
        } else {
            options.push("directConnection=true".to_owned());
        }
        options.extend(auth_db.map(|auth_db| format!("authSource={}", percent_encoded(auth_db))));
        if let Some(tls) = &self.tls {
            options.push(format!("tls=true&tlsCAFile={}", percent_encoded(&tls.ca_file.display().to_string())));
        }
        format!("mongodb://{credentials}127.0.0.1:{}/?{}", self.port, options.join("&"))
    }

    /// The loopback port. A restart keeps it.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of [`ROOT_USER`], if there is access control.
    pub fn root_password(&self) -> Option<&str> {
        self.root_password.as_deref()
    }

    /// The process id; `None` if the server does not run.
    pub fn pid(&self) -> Option<u32> {
        self.process.0.as_ref().map(Child::id)
    }

    /// The directory of the data and the log.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Shuts the server down cleanly. Kills it if it still runs after 30 seconds. Its data remains for
    /// [`Server::restart`].
    pub fn stop(&mut self) -> Result<()> {
        self.resume()?;
        self.signal("TERM")?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.process.exit_status().is_none() && self.pid().is_some() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// Kills the server immediately with SIGKILL, so that it cannot shut down cleanly. Its data remains for
    /// [`Server::restart`].
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill();
        self.watchdog.watch(Target::Nothing)
    }

    /// Starts the server again on the same port and data. A server that still runs is shut down cleanly first.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let log_bytes = fs::metadata(self.log()).map_or(0, |log| log.len());
        self.spawn()?;
        let sign = if self.replica_set { PRIMARY } else { LISTENING };
        self.wait_until("it accepts writes", |server| server.log_says(sign, log_bytes))
    }

    /// Lets mongod continue to run, and keeps its files, when this program ends.
    pub fn leave_running(mut self) -> Result<()> {
        self.process.0 = None;
        self.watchdog.keep()
    }

    /// Freezes the server: its connections stay open, and it answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal("STOP")
    }

    /// Lets a frozen server continue.
    pub fn resume(&self) -> Result<()> {
        self.signal("CONT")
    }

    fn signal(&self, name: &str) -> Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let doing = || format!("sending SIG{name} to mongod {pid}");
        let status = Command::new("kill").args(["-s", name, &pid.to_string()]).stderr(Stdio::null()).status();
        status.doing(doing).map(drop)
    }

    fn spawn(&mut self) -> Result<()> {
        let mut mongod = Command::new(&self.program);
        mongod.args(&self.command_line).current_dir(&self.dir).process_group(0);
        let output = File::create(self.dir.join("output")).doing(|| "creating mongod's output file".to_owned())?;
        mongod.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output);
        let child = mongod.spawn().doing(|| format!("starting {}", self.program.display()))?;
        let pid = child.id();
        self.process.0 = Some(child);
        self.watchdog.watch(Target::Process(pid))
    }

    /// Connects to the starting server. Returns `None` if another program has taken the port. Waits for a message in
    /// mongod's log first, because a connection alone does not show which program listens on the port.
    fn connect(&mut self) -> Result<Option<Wire>> {
        let listens = self.wait_until("it listens", |server| server.log_says(LISTENING, 0));
        if self.process.exit_status().is_some_and(|status| status.code() == Some(EXIT_NET_ERROR)) {
            return Ok(None);
        }
        listens?;
        Wire::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), COMMAND_TIMEOUT).map(Some)
    }

    /// Creates the replica set and the root user. With access control, mongod permits both to a client on the same
    /// machine as long as there is no user (the localhost exception).
    fn initiate(&mut self, wire: &mut Wire) -> Result<()> {
        if self.replica_set {
            let member = doc! { "_id": 0, "host": format!("127.0.0.1:{}", self.port) };
            let config = doc! { "_id": REPLICA_SET, "members": [member] };
            wire.command(&doc! { "replSetInitiate": config, "$db": "admin" })?;
            self.wait_until("it is primary", |_| is_primary(wire))?;
        }
        if let Some(password) = &self.root_password {
            let command = doc! { "createUser": ROOT_USER, "pwd": password, "roles": ["root"], "$db": "admin" };
            wire.command(&command)?;
        }
        Ok(())
    }

    fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !condition(self) {
            let exited = self.process.exit_status();
            if exited.is_some() || Instant::now() > deadline {
                let state = exited.map_or_else(|| "gave up waiting".to_owned(), |status| status.to_string());
                return Err(Error::failed(format!(
                    "waiting until mongod says that {what}: {state}\n{}",
                    self.last_words()
                )));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Returns true if mongod's log contains the message `sign` after byte `offset`. The log is used, and not a
    /// connection, because it can be read without TLS and without a sign-in.
    fn log_says(&self, sign: &str, offset: u64) -> bool {
        let log = fs::read(self.log()).unwrap_or_default();
        let new = log.get(usize::try_from(offset).unwrap_or(0)..).unwrap_or_default();
        new.windows(sign.len()).any(|window| window == sign.as_bytes())
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn last_words(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        let text = read("log") + &read("output");
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

/// A child process that is killed when this value is dropped.
#[derive(Debug)]
struct Process(Option<Child>);

impl Process {
    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_primary(wire: &mut Wire) -> bool {
    let reply = wire.command(&doc! { "hello": 1, "$db": "admin" });
    reply.is_ok_and(|reply| reply.get_bool("isWritablePrimary").unwrap_or(false))
}

/// Returns a port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map(|address| address.port()).doing(|| "looking for a free port".to_owned())
}

fn random_hex() -> Result<String> {
    let mut bytes = [0; 16];
    let source = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    source.doing(|| "reading random bytes".to_owned())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Writes the secret that the members of a replica set share. mongod refuses a key file that others can read.
fn write_key_file(path: &Path) -> Result<()> {
    let doing = || format!("writing {}", path.display());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).doing(doing)?;
    file.write_all(random_hex()?.as_bytes()).doing(doing)
}

/// Percent-encodes all bytes except RFC 3986's unreserved characters.
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(server: &Server, timeout: Duration) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        Wire::connect(address, timeout)?.command(&doc! { "ping": 1, "$db": "admin" }).map(drop)
    }

    #[track_caller]
    fn expect_answer(server: &Server) {
        ping(server, COMMAND_TIMEOUT).expect("an answer");
    }

    #[track_caller]
    fn expect_silence(server: &Server) {
        ping(server, Duration::from_millis(300)).expect_err("no answer");
    }

    fn gone(pid: u32) -> bool {
        !Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn a_started_server_accepts_writes() {
        let started = Instant::now();
        let server = Server::builder().start().expect("starts");
        eprintln!("started in {} ms", started.elapsed().as_millis());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        let mut wire = Wire::connect(address, COMMAND_TIMEOUT).expect("connects");
        let insert = doc! { "insert": "rows", "$db": "test", "writeConcern": { "w": "majority", "j": true } };
        let documents =
            [doc! { "_id": 1 }, doc! { "_id": 1 }].map(|document| document.to_vec().expect("encodes")).concat();
        let sequence = crate::wire::Sequence { argument: "documents", documents: &documents };
        let reply = wire.command_with(&insert, Some(sequence)).expect("inserts");
        assert_eq!(reply.get_i32("n").ok(), Some(1));
        assert_eq!(reply.get_array("writeErrors").map(Vec::len).ok(), Some(1));
    }

    #[test]
    fn a_dropped_server_leaves_no_process_and_no_files() {
        let server = Server::builder().standalone().start().expect("starts");
        let (pid, dir) = (server.pid().expect("runs"), server.dir().to_owned());
        assert!(!gone(pid) && dir.exists());
        drop(server);
        assert!(gone(pid) && !dir.exists());
    }

    #[test]
    fn a_server_answers_again_after_a_freeze_a_stop_and_a_kill() {
        let mut server = Server::builder().start().expect("starts");
        server.pause().expect("pauses");
        expect_silence(&server);
        server.resume().expect("resumes");
        expect_answer(&server);
        server.stop().expect("stops");
        expect_silence(&server);
        let started = Instant::now();
        server.restart().expect("restarts");
        eprintln!("restarted in {} ms", started.elapsed().as_millis());
        expect_answer(&server);
        server.kill().expect("is killed");
        expect_silence(&server);
        server.restart().expect("recovers");
        expect_answer(&server);
    }

    #[test]
    fn access_control_refuses_those_who_do_not_sign_in() {
        let server = Server::builder().access_control().start().expect("starts");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()));
        let mut wire = Wire::connect(address, COMMAND_TIMEOUT).expect("connects");
        let refused = wire.command(&doc! { "listDatabases": 1, "$db": "admin" });
        assert!(matches!(refused, Err(Error::Command { code: 13, .. })), "{refused:?}");
        assert!(server.uri().starts_with("mongodb://root:") && server.uri().ends_with("&authSource=admin"));
        assert!(!server.uri_anonymous().contains('@'));
    }

    #[test]
    fn a_taken_port_is_not_an_error() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let port = taken.local_addr().expect("bound").port();
        let program = crate::mongod::find().expect("a mongod");
        assert!(Server::start_on(port, &program, &Builder::default()).expect("no failure").is_none());
    }

    #[test]
    fn a_server_that_cannot_start_says_why() {
        let error = Server::builder().argument("--no-such-option").start().expect_err("refused");
        assert!(error.to_string().contains("no-such-option"), "{error}");
    }

    #[test]
    fn credentials_are_percent_encoded() {
        assert_eq!(percent_encoded("a:b/c@é"), "a%3Ab%2Fc%40%C3%A9");
    }
}
